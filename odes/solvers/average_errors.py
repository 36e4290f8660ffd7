"""How accurate averages over nodes are along a solution, and nodes for an accuracy asked for.

An average is compared with that over other nodes, finer ones or as many again, and relative to the
root mean square of what is averaged: ``|<f> - <f>'| / sqrt(<f^2>')``.  So it is not larger where a
mean happens to be small, as on a plateau.  Importing this module imports JAX.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from odes.averages.node_sums import ZERO_MEAN_SQUARE, NodeAverages, moment_sums
from odes.averages.nodes import ladder_of, reference_for
from odes.averages.quadrature import Points
from odes.common.schedules import parameters_at
from odes.problem import Problem
from odes.solvers.integrator import Integrated, Step

MAX_CORNERS = 64
"""Corners of a grid at which nodes are chosen, at most: all those of six axes."""

SAFETY = 2.0
"""What the largest difference found is multiplied by: the other nodes have errors, too, and the
states looked at are not all."""

N_STATES = 8
"""States of a solution that are looked at, at most."""

MAX_SIZE = 1e3
"""Of order parameters that are looked at: beyond, a solution is on its way to diverge."""


class Solved(NamedTuple):
    """A solution, over which nodes it was averaged, and the estimated error of the averages."""

    problem: Problem
    found: Integrated
    steps: list[Step]
    error: float


def solved_over_nodes(
    problem: Problem,
    average_rtol: float | None,
    run: Callable[[Problem], tuple[Integrated, list[Step]]],
    levels: Sequence[float] | None = None,
) -> Solved:
    """What ``run`` returns for a problem with points, or with others that are accurate enough.

    These are the coarsest of the rules there are, or of these ``levels``, whose error is below
    ``average_rtol`` all along the solution.  A RuntimeWarning says so if none is.
    """
    if average_rtol is None:
        found, steps = run(problem)
        return Solved(problem, found, steps, average_error(problem, _looked_at(found, steps)))
    ladder = ladder_of(problem)
    states = [(0.0, problem.pack(problem.initial))]
    levels = levels or ladder.levels
    for level in levels:
        problem = replace(problem, points=ladder.points(level))
        is_last = level == levels[-1]
        if average_error(problem, states) > average_rtol and not is_last:
            continue
        found, steps = run(problem)
        states = _looked_at(found, steps)
        error = average_error(problem, states)
        if not error > average_rtol:
            break
    else:
        _warn(problem.points, error, average_rtol)
    return Solved(problem, found, steps, error)


def nodes_for_grid(
    equations: list[partial[Problem]], average_rtol: float | None, shape: tuple[int, ...], run: Any
) -> tuple[list[partial[Problem]], list[float | None]]:
    """What makes problems, with nodes that are accurate at the corners of a grid; and their errors.

    The parameters of the problems are numbers or schedules, or arrays of all points of a grid of
    this shape.  Problems with closed forms, and all without a tolerance, stay as they are and have
    no error.
    """
    if average_rtol is None:
        return equations, [None for _ in equations]
    corners = itertools.product(*({0, n - 1} for n in shape))
    indices = [int(np.ravel_multi_index(each, shape)) if each else 0 for each in corners]
    found, errors = [], []
    for make in equations:
        problem, error = make(), None
        if problem.points is not None:
            at_corners = [_at_point(problem, index) for index in indices[:MAX_CORNERS]]
            points, error = _accurate_for_all(at_corners, average_rtol, run)
            make = partial(make, points=points)
        found.append(make)
        errors.append(error)
    return found, errors


def _at_point(problem: Problem, index: int) -> Problem:
    """The problem at one point of a grid, of its parameters there."""
    of_points = problem.parameters._asdict().items()
    numbers = {n: float(each[index]) for n, each in of_points if isinstance(each, np.ndarray)}
    return replace(problem, parameters=problem.parameters._replace(**numbers))


def _accurate_for_all(
    problems: list[Problem], average_rtol: float, run: Any
) -> tuple[Points, float]:
    """The nodes that are accurate enough for all problems, and the largest error with them."""
    ladder, coarsest, errors = ladder_of(problems[0]), 0, []
    sizes = [len(ladder.points(level).weights) for level in ladder.levels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # said once, of all problems
        for problem in problems:
            levels = ladder.levels[coarsest:]
            solved = solved_over_nodes(problem.with_scaled_start(), average_rtol, run, levels)
            coarsest = sizes.index(len(solved.problem.points.weights))
            errors.append(solved.error)
    points, error = ladder.points(ladder.levels[coarsest]), float(np.nanmax(errors))
    if error > average_rtol:
        _warn(points, error, average_rtol)
    return points, error


def _warn(points: Points, error: float, average_rtol: float) -> None:
    """RuntimeWarning that averages are less accurate than was asked for."""
    warnings.warn(
        f"Averages over {len(points.weights)} {points.kind} have an estimated error of {error:.1e},"
        f" above `average_rtol`, {average_rtol:.1e}; there are no more accurate ones.",
        RuntimeWarning, stacklevel=5,
    )  # fmt: skip


def _looked_at(found: Integrated, steps: list[Step]) -> list[tuple[float, np.ndarray]]:
    """Times and states of a solution, from its start to its end."""
    chosen = np.unique(np.linspace(0, len(steps) - 1, N_STATES - 1).round().astype(int))
    within = [((steps[i].start + steps[i].end) / 2, steps[i].middle) for i in chosen if steps]
    end = steps[-1].end if steps else 0.0
    return [*within, (end, found.end)]


def average_error(problem: Problem, states: Iterable[tuple[float, Any]]) -> float:
    """The largest estimated error at times and packed states; NaN without any that is finite."""
    others = replace(problem, points=reference_for(problem)).node_averages
    found = [_error_at(problem, others, t, y) for t, y in states if np.max(np.abs(y)) <= MAX_SIZE]
    return SAFETY * float(np.max(found)) if found else np.nan


def _error_at(problem: Problem, others: NodeAverages, t: float, y: np.ndarray) -> float:
    """The largest relative difference between the averages over two sets of nodes."""
    own, gaps = problem.node_averages, [0.0]

    def moments(C: Any, *given: Any, stream: Any = None) -> Any:
        sums = moment_sums, C, *given[:3]
        (mine, _), (theirs, squares) = (each.sums(*sums, stream=stream) for each in (own, others))
        gaps.extend(_relative(mine, theirs, squares, C))
        return mine

    for stream, rate, parameters in problem.by_stream(parameters_at(problem.parameters, t)):
        if rate != 0:
            problem.drift_by(y, parameters, stream=stream, moments=moments)
    if not problem.has_closed_error:
        state = problem.unpack(y)
        (mine, _), (theirs, squares) = (each.error(state) for each in (own, others))
        gaps.append(_gap(mine, theirs, squares))
    return max(gaps)


def _relative(mine: Any, theirs: Any, squares: Any, C: np.ndarray) -> list[float]:
    """The differences of all moments, relative to what is averaged."""
    variances = theirs.delta_delta.diagonal()
    slopes = mine.slopes - theirs.slopes
    along_fields = np.sqrt(np.maximum(np.sum((slopes @ C) * slopes, axis=1), 0.0))
    parts = (
        jax.tree.leaves((each.readout, each.gamma_error, each.weights))
        for each in (mine, theirs, squares)
    )
    return [
        _gap(along_fields, 0.0, variances),
        _gap(mine.delta_delta, theirs.delta_delta, np.outer(variances, variances)),
        *(_gap(*each) for each in zip(*parts, strict=True)),
    ]


def _gap(mine: Any, theirs: Any, squares: Any) -> float:
    """The largest difference relative to root mean squares."""
    return float(np.max(np.abs(mine - theirs) / np.sqrt(squares + ZERO_MEAN_SQUARE)))
