"""Theory and simulation of what was chosen, kept for when it is chosen again."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from figures.explorer.choices import Choices
from odes import Teacher, Trajectory, solve
from simulations import Network, sample_network, simulate

LATEST = 64
"""So many curves are kept."""

N_TIMES, N_MEASURED = 200, 17
EARLIEST = 1e-3
"""The first time, of the last."""

ONE_AT_A_TIME = threading.Lock()
"""A simulation writes how far it is on standard error, of which there is one."""


class Curve(NamedTuple):
    """One rule in theory, and what it took."""

    trajectory: Trajectory
    teacher: Teacher
    seconds: float


def times_of(choices: Choices, n: int) -> np.ndarray:
    """When to report, three decades up to the end."""
    return np.geomspace(EARLIEST * choices.t_max, choices.t_max, n)


def whole_samples(choices: Choices) -> np.ndarray:
    """The fewer times at which networks are measured, of which small ones may have no two."""
    samples = np.ceil(choices.N * times_of(choices, N_MEASURED))
    return np.unique(samples) / choices.N


def training(choices: Choices) -> dict[str, Any]:
    """What theory and simulation take alike."""
    return {name: getattr(choices, name) for name in ("lr", "lr_v", "noise", "activation")}


def network_of(choices: Choices) -> Network:
    """The network that all rules start from; ValueError if there is none."""
    return _network(choices.N, choices.K, choices.M, choices.feedback_scale, choices.seed)


@lru_cache(2)
def _network(N: int, K: int, M: int, feedback_scale: float, seed: int) -> Network:
    return sample_network(N=N, K=K, M=M, feedback_scale=feedback_scale, seed=seed)


@lru_cache(LATEST)
def _theory(choices: Choices, rule: str) -> Curve:
    initial, teacher = network_of(choices).overlaps(rule)
    start = time.perf_counter()
    times = times_of(choices, N_TIMES)
    found = solve(initial, teacher, rule=rule, times=times, **training(choices))
    return Curve(found, teacher, time.perf_counter() - start)


def theory(choices: Choices, rule: str) -> Curve:
    """The theory of one rule; ValueError for what it cannot do."""
    return _theory(choices._replace(rules=(), n_runs=1), rule)


def key_of(choices: Choices, rule: str) -> tuple[Choices, str]:
    """What tells one simulation from another."""
    return choices._replace(rules=()), rule


def simulation(choices: Choices, rule: str, tell: Callable[[int], object]) -> Trajectory:
    """Networks trained by one rule; ``tell`` hears by how many per cent it has come further."""
    network = network_of(choices)
    with ONE_AT_A_TIME, redirect_stderr(Percentages(tell)):
        return simulate(
            network, rule=rule, times=whole_samples(choices), n_runs=choices.n_runs,
            seed=choices.seed, progress=True, **training(choices),
        )  # fmt: skip


class Percentages(io.TextIOBase):
    """A stream that reads the lines in which a simulation says how far it is."""

    def __init__(self, tell: Callable[[int], object]) -> None:
        self.further, self.reached, self.line = tell, 0, ""

    def write(self, text: str) -> int:
        """Tell of every line that is whole."""
        *whole, self.line = (self.line + text).split("\n")
        for line in whole:
            found = re.match(r"(\d+) % of", line)
            if found and int(found[1]) > self.reached:
                self.further(int(found[1]) - self.reached)
                self.reached = int(found[1])
        return len(text)
