"""Runs that are added until the mean learning curve is as precise as was asked for.

The scatter of few runs is known badly, and a start of runs that happen to agree looks more precise
than it is.  So the standard error counts with what is added for that: it is multiplied by
``sqrt((n - 1) / q)``, where q is the quantile of chi-square with n - 1 degrees of freedom below
which it is in :data:`CHANCE` of all cases.  For n = 8 that is 2.0, and for n = 100 it is 1.15.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.special import chdtri

from odes.common.checks import check_count, check_flag, check_number
from odes.common.trajectory import Trajectory
from simulations.ensembles import Networks

CHANCE = 0.05
"""With which, at one time, normal scatter of n runs would look so small that too few are run."""

MIN_RUNS = 8
"""Runs from which a scatter is told."""

MAX_RUNS = 2**14
"""Runs, at most."""

OF_RUNS = (
    "order_parameters", "generalization_error", "status", "misclassification", "output_errors",
    "recorded",
)  # fmt: skip
"""What of a Trajectory has an axis of runs, and may be None if it has it nowhere."""

MAX_GROWTH = 4
"""Times as many runs, at most, before it is looked again."""


def check_precision(until_standard_error: Any, network: Any, return_networks: Any) -> None:
    """ValueError unless runs can be added until their mean is so precise."""
    check_number("until_standard_error", until_standard_error, positive=True)
    if isinstance(network, Networks) or check_flag("return_networks", return_networks):
        raise ValueError(
            "Argument `until_standard_error` must be None for Networks to go on from and with "
            "`return_networks`, of which there is a fixed number."
        )


def precise_mean(
    train: Callable[..., Trajectory], until_standard_error: float, n_runs: Any, path: Any
) -> Trajectory:
    """All runs that it takes; ``train`` takes ``first_run``, ``n_runs`` and ``path``."""
    curves: list[Trajectory] = []
    n, wanted = 0, max(check_count("n_runs", n_runs), MIN_RUNS)
    while True:
        own = None if path is None else Path(path) / f"runs-from-{n}"
        curves.append(train(first_run=n, n_runs=wanted - n, path=own))
        errors = np.concatenate([each.generalization_error for each in curves])
        n, excess = wanted, _upper_standard_error(errors) / until_standard_error
        if not excess > 1 or n == MAX_RUNS:
            break
        wanted = min(math.ceil(n * min(excess**2, MAX_GROWTH)), MAX_RUNS)
    if excess > 1:
        warnings.warn(
            f"The standard error of {n} runs is {excess * until_standard_error:.1e} of the mean, "
            f"above `until_standard_error`, {until_standard_error:.1e}; no more are run.",
            RuntimeWarning, stacklevel=4,
        )  # fmt: skip
    return joined(curves)


def _upper_standard_error(errors: np.ndarray) -> float:
    """The largest relative standard error of the mean of errors (runs, n), not known too low.

    Of the times at which half of the runs, and two of them, are finite; NaN without any.
    """
    count = np.isfinite(errors).sum(axis=0)
    kept = errors[:, count >= max(2, len(errors) / 2)]
    if not kept.size:
        return np.nan
    count = np.isfinite(kept).sum(axis=0)
    standard = np.nanstd(kept, axis=0, ddof=1) / np.sqrt(count)
    upper = np.sqrt((count - 1) / chdtri(count - 1, 1 - CHANCE))
    return float(np.max(upper * standard / np.nanmean(kept, axis=0)))


def joined(curves: list[Trajectory]) -> Trajectory:
    """The runs of several trajectories of the same times as those of one."""
    never = [np.full(len(each.status), np.nan) for each in curves]
    stopped = [
        none if each.stopped is None else each.stopped
        for none, each in zip(never, curves, strict=True)
    ]
    own = [{name: getattr(each, name) for name in OF_RUNS} for each in curves]
    together = jax.tree.map(lambda *arrays: np.concatenate(arrays), *own)
    all_on = all(each.stopped is None for each in curves)
    return curves[0]._replace(**together, stopped=None if all_on else np.concatenate(stopped))
