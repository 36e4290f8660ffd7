"""A cold process that solves one trajectory, against a bare NumPy and SciPy script.

The two run in turn; every figure is the median of the ratios of neighbours, ours over theirs, with
the quartiles.  ``process`` is the whole life of the process, ``integration`` the call alone.

    python benchmarks/bench_solve.py [--pairs 20]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).parent


def run(script, K, M):
    """Seconds of the process and of the integration alone, and the final error."""
    command = [sys.executable, str(HERE / script), str(K), str(M), "1000"]
    start = time.perf_counter()
    output = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    ).stdout
    process = time.perf_counter() - start
    result = json.loads(output)
    return process, result["integration"], result["generalization_error"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    pairs = parser.parse_args().pairs
    for K, M in ((2, 2), (8, 4)):
        ratios = []
        for _ in tqdm(range(pairs), disable=None):
            ours, theirs = run("topdown_solve.py", K, M), run("bare_scipy.py", K, M)
            ratios.append((ours[0] / theirs[0], ours[1] / theirs[1]))
        for name, column in zip(("process", "integration"), np.array(ratios).T, strict=True):
            low, median, high = np.quantile(column, (0.25, 0.5, 0.75))
            print(f"K = {K}, M = {M}  {name:12s} {median:.2f} ({low:.2f} to {high:.2f})")
        print(f"K = {K}, M = {M}  difference of the final errors {abs(ours[2] - theirs[2]):.1e}")


if __name__ == "__main__":
    main()
