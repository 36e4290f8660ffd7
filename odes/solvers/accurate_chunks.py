"""Chunks of a sweep over nodes that are accurate for all points of the chunk.

Importing this module imports JAX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from odes.averages.blocks import HELD, handed_over
from odes.averages.nodes import ladder_of, takes_exact_nodes
from odes.averages.quadrature import Points
from odes.common.store import Arrays
from odes.problem import Problem
from odes.solvers.average_errors import ROUGH_RTOL, Case, accurate, middles_between_jumps

EARLIEST = 1e-2
"""Of the last time: when states are looked at first, besides the start."""

N_TIMES = 5
"""Times at which states are looked at, besides the start."""

MAX_LOOKED_AT = 256
"""Points of a chunk that are looked at, at most."""


class ChunkNodes(NamedTuple):
    """What a chunk is averaged over, how coarsely it is solved, and of which times what is kept."""

    blocks: Any
    slack: Any  # that multiplies the tolerances
    kept: Any  # indices of the times of the sweep
    looked_at: Any  # those of the times at which averages are looked at


def has_chosen_nodes(problem: Problem, average_rtol: float | None) -> bool:
    """Whether nodes are chosen for an accuracy: where there is one, and averages are over some."""
    if average_rtol is None or problem.points is None:
        return False
    return not takes_exact_nodes(problem)


def with_few_nodes(make: partial[Problem], average_rtol: float | None) -> partial[Problem]:
    """What makes a problem, over few nodes where they are to be chosen."""
    problem = make()
    if not has_chosen_nodes(problem, average_rtol):
        return make
    ladder = ladder_of(problem)
    return partial(make, points=ladder.points(ladder.coarse))


def warn_of_inaccurate_points(arrays: Arrays, average_rtol: float | None) -> None:
    """RuntimeWarning if some points of a sweep are less accurate than was asked for."""
    errors = arrays.get("average_error", np.zeros(1))
    n_worse = 0 if average_rtol is None else np.count_nonzero(errors > average_rtol)
    if n_worse:
        warnings.warn(
            f"Averages at {n_worse} points have an estimated error above `average_rtol`, "
            f"{average_rtol:.1e}, up to {np.nanmax(errors):.1e}; none more accurate were found.",
            RuntimeWarning, stacklevel=4,
        )  # fmt: skip


def solved_accurately(
    problem: Problem,
    times: np.ndarray,
    average_rtol: float,
    rtol: float,
    n_points: int,
    at_point: Callable[[int], Problem],
    run: Callable[[np.ndarray, ChunkNodes], Arrays],
) -> Arrays:
    """What ``run`` returns of a chunk over accurate nodes, with their number and error.

    Args:
        problem: of the rule.
        times: of the sweep.
        average_rtol, rtol: the accuracies asked for.
        n_points: of the chunk.
        at_point: the problem at a point of the chunk, by its index.
        run: a function of more times and of ChunkNodes, which returns packed states, "looked_at",
            besides.
    """
    looks = np.geomspace(EARLIEST * times[-1], times[-1], N_TIMES) if times[-1] else times[-1:]
    looks = np.union1d(looks, [0.0, *middles_between_jumps(at_point(0), times[-1])])
    every = np.union1d(times, looks)
    kept, looked_at = np.searchsorted(every, times), np.searchsorted(every, looks)
    chosen = np.unique(np.linspace(0, n_points - 1, MAX_LOOKED_AT).round().astype(int))
    problems = [at_point(index) for index in chosen.tolist()]

    def solved(points: Points, rough: bool) -> tuple[Arrays, list[Case]]:
        held = HELD
        while held < len(points.weights):
            held *= 2  # compiled anew for each
        (blocks,) = handed_over(points, held)
        slack = max(ROUGH_RTOL / rtol, 1.0) if rough else 1.0
        found = run(every, ChunkNodes(blocks, slack, kept, looked_at))
        states = found.pop("looked_at")
        found["n_nodes"] = np.full(n_points, len(points.weights))
        cases: list[Case] = [
            (own, list(zip(looks.tolist(), states[index], strict=True)))
            for own, index in zip(problems, chosen, strict=True)
        ]
        return found, cases

    found, errors = accurate(solved, ladder_of(problem), average_rtol)
    found["average_error"] = np.full(n_points, np.nan)
    found["average_error"][chosen] = errors
    return found
