"""Error of numerical averages, and the time of solutions that need them.

The largest error of any entry of AFA's drift with erf, against the closed form, over twelve random
states with student weights of scale 0.5 and 1 and unit learning rate; then, in fresh processes,
PEPITA solved to t = 100 and 256 paths of a random F to t = 20, in seconds, compilation included.

    python benchmarks/quadrature.py
"""

import subprocess
import sys
import time

import jax
import numpy as np

from odes import RULES, drift, gauss_hermite, hyperparameters, sobol
from odes.averages import Erf
from odes.local_fields import compiled, sampled_drift
from odes.quadrature import default_points
from simulations import sample_network

COLD = """
import numpy as np
from odes import solve, solve_paths
from simulations import sample_network
network = sample_network(N=1000, K=2, M=2, v_star=[1.2, 0.6], feedback="{feedback}")
times = np.geomspace(0.1, {t}, 20)
{call}(*network.overlaps("{rule}"), rule="{rule}", lr=0.5, times=times{more})
"""


def error(K, M, points):
    """Largest error over the states."""
    parameters = hyperparameters(lr=1.0)
    moved = compiled(sampled_drift, RULES["afa"], Erf)
    gaps = []
    for scale in (0.5, 1.0):
        for seed in range(6):
            network = sample_network(N=100, K=K, M=M, student_scale=scale, seed=seed)
            state, teacher = network.overlaps("afa")
            exact = drift(state, teacher, parameters, rule=RULES["afa"])
            with jax.enable_x64(True):
                ours = moved(state, teacher, parameters, points)
                gaps += [
                    np.max(np.abs(np.asarray(a) - b)) for a, b in zip(ours, exact, strict=True)
                ]
    return max(gaps)


def main():
    for K, M in ((1, 1), (1, 2), (2, 2), (2, 3), (4, 4)):
        points = default_points(K + M, smooth=True)
        print(f"K = {K}, M = {M}  default, {len(points.nodes)} points: {error(K, M, points):.1e}")
    for m in (16, 24, 32, 40):
        points = gauss_hermite(4, m)
        print(f"K = M = 2  {m} an axis, {len(points.nodes)} points: {error(2, 2, points):.1e}")
    for n in (10, 13, 15, 17):
        print(f"K = M = 2  Sobol, 2^{n} points: {error(2, 2, sobol(4, 2**n)):.1e}")
    for rule, call, feedback, t, more in (
        ("pepita", "solve", "aligned", 100, ""),
        ("pepita-tl", "solve", "aligned", 100, ""),
        ("afa", "solve_paths", "random", 20, ", n_paths=256"),
        ("pepita", "solve_paths", "random", 20, ", n_paths=256"),
    ):
        script = COLD.format(rule=rule, call=call, feedback=feedback, t=t, more=more)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True)
        print(f"{call} {rule} to t = {t}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
