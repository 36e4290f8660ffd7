"""What tasks, switches and many starts cost: ``python benchmarks/bench_tasks.py``.

All in one run, calls that are compared taking turns; ratios of the best of five.
"""

import time

import numpy as np

from odes import PiecewiseConstant, Task, solve, sweep
from simulations import sample_network, simulate

END = 100.0


def ratio(one, other, times=5):
    """The time of one call over that of another, after one of each that compiles."""
    best = [np.inf, np.inf]
    for round in range(times + 1):
        for index, call in enumerate((one, other)):
            start = time.perf_counter()
            call()
            if round > 0:
                best[index] = min(best[index], time.perf_counter() - start)
    return best[0] / best[1]


def switched(count):
    """Two tasks that take turns, with so many switches."""
    jumps = np.linspace(0, END, count + 2)[1:-1]
    on = np.arange(count + 1) % 2
    return [Task([0], PiecewiseConstant(jumps, 1.0 - on)), Task([1], PiecewiseConstant(jumps, on))]


def main():
    network = sample_network(N=1000, K=3, M=2, O=2, seed=0)
    halves = [Task([0], 0.5), Task([1], 0.5)]
    for rule, points in (("bp", None), ("pepita", 2**12)):
        start = network.overlaps(rule)
        given = {"rule": rule, "lr": 0.5, "times": [END], "points": points}
        calls = {
            name: lambda tasks=tasks, start=start, given=given: solve(*start, tasks=tasks, **given)
            for name, tasks in (
                ("none", None), ("mixed", halves), ("constant", switched(0)), ("10", switched(10)),
            )
        }  # fmt: skip
        print(
            f"solve, {rule}: 10 switches {ratio(calls['10'], calls['mixed']):.2f} of two tasks at"
        )
        print(
            f"  half rates, {ratio(calls['10'], calls['constant']):.2f} of the first task alone;",
            end="",
        )
        print(f" half rates {ratio(calls['mixed'], calls['none']):.2f} of one task that trains all")
    how = {"rule": "afa", "lr": 0.3, "times": [20.0], "n_runs": 4, "n_test": 100}
    names = {"one task": None, "half rates": halves, "10 switches": switched(10)}
    trained = {
        name: lambda tasks=tasks: simulate(network, tasks=tasks, **how)
        for name, tasks in names.items()
    }
    for name in ("half rates", "10 switches"):
        found = ratio(trained[name], trained["one task"])
        print(f"simulate, afa, N = 1000: {name} {found:.2f} of one task")
    pairs = [sample_network(N=200, K=2, M=2, seed=seed).overlaps("afa") for seed in range(200)]
    states, teachers = map(list, zip(*pairs, strict=True))
    given = {"rule": "afa", "times": np.linspace(0.5, 50, 100)}
    found = ratio(
        lambda: sweep(states, teachers, lr=0.5, **given),
        lambda: sweep(*pairs[0], lr=np.linspace(0.4, 0.6, 200), **given),
    )
    print(f"sweep, afa: 200 starts {found:.2f} of 200 learning rates")


if __name__ == "__main__":
    main()
