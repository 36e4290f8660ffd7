"""Error of numerical averages, and the time of solutions that need them.

The largest error of any entry of the drift with erf over twelve random states, with student weights
of scale 0.5 and 1 and unit learning rate: of AFA against the closed form, and of PEPITA against a
finer Gauss-Hermite rule.  Then what PEPITA states over a round lattice, as sweeps and flows take it
by default, and over nodes that are chosen for 1e-4 and for 1e-6, by feedback scale.  Then, in fresh
processes, PEPITA solved to t = 100 and 256 paths of a random F to t = 20, in seconds, compilation
included.

    python benchmarks/quadrature.py
"""

import subprocess
import sys
import time

import numpy as np

from odes import drift, gauss_hermite, hyperparameters, sobol, solve
from odes.averages.levels import LATTICE_SPACINGS, Ladder
from odes.averages.quadrature import lattice
from odes.problem import prepare
from simulations import sample_network

COLD = """
import numpy as np
from odes import solve, solve_paths
from simulations import sample_network
network = sample_network(N=1000, K=2, M=2, v_star=[1.2, 0.6], feedback="{feedback}")
times = np.geomspace(0.1, {t}, 20)
found = {call}(*network.overlaps("{rule}"), rule="{rule}", lr=0.5, times=times{more})
print(found.averages, found.average_error)
"""


def error(rule, K, M, points, reference=None):
    """Largest error over the states, against the closed form or against reference points."""
    parameters = hyperparameters(lr=1.0)

    def moved(state, teacher, points):
        problem = prepare(
            state, teacher, rule=rule, activation="erf", points=points, parameters=parameters
        )
        return problem.changes(problem.velocity()(0.0, problem.pack(problem.initial)))

    gaps = []
    for scale in (0.5, 1.0):
        for seed in range(6):
            network = sample_network(N=100, K=K, M=M, student_scale=scale, seed=seed)
            state, teacher = network.overlaps(rule)
            if reference is None:
                exact = drift(state, teacher, parameters, rule=rule)
            else:
                exact = moved(state, teacher, reference)
            ours = moved(state, teacher, points)
            gaps += [float(abs(a - b).max()) for a, b in zip(ours, exact, strict=True)]
    return max(gaps)


def main():
    for K, M in ((1, 1), (1, 2), (2, 2), (2, 3), (4, 4)):
        ladder = Ladder(K + M, smooth=True, even=True, students=K)
        points = ladder.points(ladder.default)
        print(f"afa K = {K}, M = {M}, {len(points.nodes)} nodes: {error('afa', K, M, points):.1e}")
    for rule in ("pepita", "pepita-hebbian"):
        for K, fine in ((1, 128), (2, 44)):
            ladder = Ladder(2 * K, smooth=True, even=True, students=K)
            reference = gauss_hermite(2 * K, fine)
            points = ladder.points(ladder.default)
            print(f"{rule} K = M = {K}, default: {error(rule, K, K, points, reference):.1e}")
    for spacing in LATTICE_SPACINGS[2:8]:
        points = lattice(4, spacing, halved=True)
        print(
            f"K = M = 2  lattice of spacing {spacing:.2f}, {len(points.nodes)} nodes: "
            f"{error('afa', 2, 2, points):.1e}; exp(-16 / a^2) = {np.exp(-16 / spacing**2):.1e}"
        )
    for m in (16, 24, 32, 40):
        points = gauss_hermite(4, m)
        print(
            f"K = M = 2  {m} an axis, {len(points.nodes)} points: {error('afa', 2, 2, points):.1e}"
        )
    for n in (10, 13, 15, 17):
        print(f"K = M = 2  Sobol, 2^{n} points: {error('afa', 2, 2, sobol(4, 2**n)):.1e}")
    for k in (1, 3, 5):
        odd = max(abs(w @ z**k).max() for z, w in (sobol(D, 2**15) for D in (2, 4, 8)))
        print(f"Sobol, 2^15 points: <z^{k}> off by {odd:.1e}")
    overlaps = sample_network(N=1000, K=2, M=2, feedback="aligned").overlaps("pepita")
    for scale in (0.5, 1.0, 1.5, 2.0):
        given = {"rule": "pepita", "lr": 0.5, "feedback_scale": scale, "times": [100.0]}
        ladder = Ladder(4, smooth=True, even=True, students=2)
        curves = [solve(*overlaps, **given, points=ladder.points(ladder.default))]
        curves += [solve(*overlaps, **given, average_rtol=rtol) for rtol in (1e-4, 1e-6)]
        found = [f"{curve.averages}, {curve.average_error:.0e}" for curve in curves]
        print(
            f"pepita, feedback_scale={scale:g}: round, {found[0]}; chosen, {'; '.join(found[1:])}"
        )
    curve = solve(
        *sample_network(N=1000, K=4, M=4, O=2).overlaps("pepita"), rule="pepita", lr=0.3, noise=0.2,
        times=[1.0, 10.0, 30.0], average_rtol=1e-4, rtol=1e-6,
    )  # fmt: skip
    print(f"pepita, K = M = 4, O = 2, noise: {curve.averages}, {curve.average_error:.0e}")
    for rule, call, feedback, t, more in (
        ("pepita", "solve", "aligned", 100, ""),
        ("pepita", "solve", "aligned", 100, ", average_rtol=1e-4"),
        ("pepita", "solve", "aligned", 100, ", average_rtol=1e-6"),
        ("pepita-tl", "solve", "aligned", 100, ""),
        ("afa", "solve_paths", "random", 20, ", n_paths=256"),
        ("pepita", "solve_paths", "random", 20, ", n_paths=256"),
    ):
        script = COLD.format(rule=rule, call=call, feedback=feedback, t=t, more=more)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True)
        print(f"{call} {rule} to t = {t}{more}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
