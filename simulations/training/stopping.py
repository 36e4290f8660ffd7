"""When runs stop, each on its own, where they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from odes.common.checks import check_number
from odes.common.layers import over_layers
from odes.common.order_parameters import over_parts, state_of
from odes.common.store import Arrays
from odes.common.trajectory import Trajectory, trajectory_of_runs
from simulations.networks import Network
from simulations.training.checkpoints import stacked
from simulations.training.errors import ERRORS, tested
from simulations.training.recording import RECORDED, taken

NEVER = 2**31
"""The time, by its index, at which a run stops that does not."""


def stopping_at(until: Any, network: Network, rule: Any) -> Callable[[Arrays], np.ndarray] | None:
    """Whether each run has come to where it stops, (runs,), from what is measured at one time.

    None without ``until``.  Raises ValueError unless that is an error > 0, or a function.
    """
    if until is None:
        return None
    if not callable(until):
        level = check_number("until", until, positive=True)
        return lambda measured: measured["generalization_error"] <= level
    teacher = network.overlaps(rule)[1]

    def left(measured: Arrays) -> np.ndarray:
        states = state_of(
            {
                name: each
                for name, each in measured.items()
                if name not in ERRORS and not name.startswith(RECORDED)
            }
        )
        runs = len(measured["generalization_error"])
        each_run = (over_parts(lambda a, r=r: a[r], states) for r in range(runs))
        try:
            values = np.array([float(until(state, teacher)) for state in each_run])
            if np.any(np.isnan(values) & np.isfinite(measured["generalization_error"])):
                raise ValueError("NaN")
            return values <= 0
        except Exception as error:
            raise ValueError(
                "Argument `until` must return a number for order parameters and a teacher, but "
                f"raised {error!r}."
            ) from error

    return left


def stopped_at(
    reached: Callable[[Arrays], np.ndarray] | None, measured: list[Arrays], n_runs: int
) -> np.ndarray:
    """The index of the time at which each run stopped, (runs,); :data:`NEVER` if it has not."""
    found = np.full(n_runs, NEVER)
    if reached is not None:
        for index, each in enumerate(measured):
            found = np.where((found == NEVER) & reached(each), index, found)
    return found


def kept_where(going: np.ndarray, kept: Arrays, current: Arrays) -> Arrays:
    """The current weights of runs that are going on, and what was kept of the others, if anything.

    By name (runs, ...); ``going`` is (runs,).
    """
    if not kept or np.all(going):
        return current

    def chosen(old: Any, new: Any) -> np.ndarray:
        return np.where(going.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(chosen, kept, current)


def measured_curves(
    measured: list[Arrays], times: np.ndarray, stopped: np.ndarray, n_test: int
) -> Trajectory:
    """The Trajectory of what was measured so far; NaN after runs stopped."""
    curves = stacked(measured)
    missing = len(times) - len(measured)

    def padded(array: np.ndarray) -> np.ndarray:
        return np.pad(
            array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)], constant_values=np.nan
        )

    curves = {name: over_layers(padded, each) for name, each in curves.items()}
    errors = [curves.pop(name) for name in ERRORS]
    recorded = taken(curves)
    reached = stopped if np.any(stopped < NEVER) else None
    return trajectory_of_runs(
        times, state_of(curves), *errors, averages=tested(n_test), recorded=recorded,
        reached=reached,
    )  # fmt: skip
