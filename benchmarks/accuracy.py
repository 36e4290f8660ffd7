"""Error of the generalization error at the default tolerances, against a solution at rtol = 1e-12.

python benchmarks/accuracy.py
"""

import importlib

import numpy as np
from tqdm import tqdm

from odes import solve
from simulations import sample_network

solver = importlib.import_module("odes.solvers.trajectory")
TIMES = np.append(0, np.geomspace(0.1, 1000, 60))


def problems(scale):
    """Two rules, trained and frozen readout, three networks of K = M = 2 and one larger."""
    for K, M, seed in ((2, 2, 0), (2, 2, 1), (2, 2, 2), (8, 4, 0)):
        for rule in ("bp", "afa"):
            for lr_v, v in ((0.5, None), (0.0, np.ones(K))):
                network = sample_network(N=400, K=K, M=M, v=v, student_scale=scale, seed=seed)
                yield network.overlaps(rule), {"rule": rule, "lr": 0.5, "lr_v": lr_v}


def main():
    for scale in (0.5, 0.1, 0.01, 0.001):
        worst = {1.0: 0.0, solver.STEP: 0.0}
        for overlaps, parameters in tqdm(list(problems(scale)), disable=None, leave=False):
            exact = solve(
                *overlaps, times=TIMES, rtol=1e-12, atol=1e-14, max_steps=10**6, **parameters
            ).generalization_error
            for step in worst:
                solver.STEP = step
                error = solve(*overlaps, times=TIMES, **parameters).generalization_error
                worst[step] = max(worst[step], np.abs(error - exact).max())
        found = ", ".join(f"STEP = {step}: {error:.1e}" for step, error in worst.items())
        print(f"student_scale {scale}: {found}")


if __name__ == "__main__":
    main()
