"""What inputs with a covariance cost, as ratios to white inputs, measured in turn in one run.

python benchmarks/bench_inputs.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from odes import OrderParameters, Spectrum, Teacher, solve, spread, sweep
from simulations import sample_network, simulate

ROUNDS = 7
START = (
    OrderParameters(0.25 * np.eye(2), 0.05 * np.eye(2), np.array([[0.5], [0.3]])),
    Teacher(np.eye(2), np.ones((2, 1))),
)


def measured(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median seconds of each call, after a first one that compiles."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def report(title: str, calls: dict[str, Callable[[], Any]]) -> None:
    """Ratios to the first call."""
    found = measured(calls)
    first = next(iter(found.values()))
    print(f"{title}: " + ", ".join(f"{name} {each / first:.2f}" for name, each in found.items()))


def spectra() -> dict[str, Any]:
    """White inputs, groups of nearly the same variance, which take as many steps, and factors."""

    def nearly_white(groups: int) -> Spectrum:
        return Spectrum.power_law(0.01, N=1024, groups=groups)

    factors = np.linspace(0.9, 1.1, 16)
    return {
        "white": START,
        "S = 1": spread(*START, nearly_white(1)),
        "S = 8": spread(*START, nearly_white(8)),
        "S = 64": spread(*START, nearly_white(64)),
        "16 factors": spread(
            *START, nearly_white(1)._replace(factors=factors, factor_shares=np.full(16, 1 / 16))
        ),
    }


def main() -> None:
    times = np.linspace(0.0, 20.0, 20)
    given = spectra()

    def of_solve(start: Any) -> Callable[[], Any]:
        return lambda: solve(*start, rule="bp", lr=0.4, times=times)

    def of_sweep(start: Any) -> Callable[[], Any]:
        lrs = np.linspace(0.1, 0.5, 256)
        return lambda: sweep(*start, rule="bp", lr=lrs, times=times)

    report("solve", {name: of_solve(start) for name, start in given.items()})
    report("sweep", {name: of_sweep(start) for name, start in given.items()})

    N = 1000
    training: dict[str, Any] = {"rule": "bp", "lr": 0.4, "times": [5.0], "n_runs": 4, "n_test": 10}
    X = np.random.default_rng(0).normal(size=(4000, N)).astype("float32")
    power_law = Spectrum.power_law(0.5, N=N, groups=16)
    networks = {
        "white": sample_network(N=N, K=2, M=2),
        "groups": sample_network(N=N, K=2, M=2, inputs=power_law),
        "factors": sample_network(N=N, K=2, M=2, inputs=Spectrum.student_t(5.0)),
    }
    calls: dict[str, Callable[[], Any]] = {
        name: lambda network=network: simulate(network, **training)
        for name, network in networks.items()
    }
    calls["rows of data"] = lambda: simulate(networks["white"], data=X, **training)
    report("simulate", calls)

    N, sizes = 10_000, [4] * 63
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(N, sum(sizes))))[0]
    inputs = Spectrum.blocks([*np.ones(63), 0.0], [*sizes, N - sum(sizes)])
    wide = sample_network(N=N, K=2, M=2, inputs=inputs)
    turned = wide._replace(inputs=wide.inputs._replace(basis=basis))
    found = measured(
        {"diagonal": lambda: wide.overlaps("afa"), "eigenvectors": lambda: turned.overlaps("afa")}
    )
    words = ", ".join(f"{name} {each:.2f} s" for name, each in found.items())
    print(f"overlaps, N = 10,000, 64 groups: {words}")


if __name__ == "__main__":
    main()
