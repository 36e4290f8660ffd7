"""How accurate averages over nodes are along a solution, and nodes for an accuracy asked for.

An average is compared with that over other nodes, finer ones or as many again, and relative to the
root mean square of what is averaged: ``|<f> - <f>'| / sqrt(<f^2>')``.  So it is not larger where a
mean happens to be small, as on a plateau.  Importing this module imports JAX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from odes.averages.levels import DEFAULT_NODES, Ladder
from odes.averages.node_sums import (
    ZERO_MEAN_SQUARE,
    NodeAverages,
    moment_sums,
    steepness_sums,
)
from odes.averages.nodes import ladder_of, reference_for, takes_exact_nodes
from odes.averages.quadrature import Points
from odes.common.schedules import jumps_of, parameters_at
from odes.problem import Problem
from odes.solvers.integrator import Integrated, Step

SAFETY = 2.0
"""What the largest difference found is multiplied by: the other nodes have errors, too, and the
states looked at are not all."""

N_STATES = 12
"""States of a solution that are looked at, at most, besides one between two jumps of a schedule."""

MAX_JUMPS = 16
"""Jumps of schedules between which states are looked at, at most."""

N_HARDEST = 3
"""States by which nodes are chosen, at most."""

ROUGH_RTOL = 1e-4
"""Relative accuracy of the solution by which nodes are chosen."""

ROUGH_ERROR = 1e-2
"""That its averages should have."""

MOST_ROUGH_NODES = 2**14
"""That it is averaged over, at most."""

DEFAULT_RTOL = 1e-4
"""Of averages over a lattice, with which ``solve`` is content unless it is asked for another."""

AIMS = (0.9, 0.6, 0.3)
"""Parts of the accuracy asked for, for which nodes are chosen, one after another."""

LEAST_ERROR, LARGEST_ERROR = 1e-16, 1e2
"""Errors below the one are rounding; above the other, nodes are no good, however large they are."""

MAX_SIZE = 1e3
"""Of order parameters that are looked at: beyond, a solution is on its way to diverge."""


States = Iterable[tuple[float, np.ndarray]]
"""Times, and packed states."""

Case = tuple[Problem, States]
"""A problem, and states of its solution."""


class Solved(NamedTuple):
    """A solution, over which nodes it was averaged, and the estimated error of the averages."""

    problem: Problem
    found: Integrated
    steps: list[Step]
    error: float


def solved_over_nodes(
    problem: Problem,
    points: int | Points | None,
    average_rtol: float | None,
    rtol: float,
    run: Callable[..., tuple[Integrated, list[Step]]],
) -> Solved:
    """What ``run`` returns for a problem over its points, or over some that are accurate enough.

    It solves to ``rtol``, unless it is given another one.  ``points`` is as the caller of ``solve``
    gave it.  Nodes are chosen for ``average_rtol``, and a RuntimeWarning says so if none reach it;
    without one, lattices whose error is above ``DEFAULT_RTOL`` give way to better ones.
    """

    def solved(points: Points, rough: bool) -> tuple[Solved, list[Case]]:
        own = replace(problem, points=points)
        found, steps = run(own, rtol=max(rtol, ROUGH_RTOL) if rough else rtol)
        return Solved(own, found, steps, np.nan), [(own, _looked_at(own, found, steps))]

    ladder = ladder_of(problem)
    if average_rtol is not None and not takes_exact_nodes(problem):
        result, (error,) = accurate(solved, ladder, average_rtol)
        if not error <= average_rtol:
            nodes = result.problem.points
            warnings.warn(
                f"Averages over {len(nodes.weights)} {nodes.kind} have an estimated error of "
                f"{error:.1e}, above `average_rtol`, {average_rtol:.1e}; none more accurate were "
                "found.",
                RuntimeWarning, stacklevel=4,
            )  # fmt: skip
        return result._replace(error=error)
    result, cases = solved(problem.points, False)
    error = average_error(*cases[0])
    if points is None and ladder.lattices and error > DEFAULT_RTOL:
        ladder = ladder._replace(most=DEFAULT_NODES)
        other, (its_error,) = over_accurate_nodes(solved, ladder, DEFAULT_RTOL, cases)
        if its_error < error:
            result, error = other, its_error
    return result._replace(error=error)


def accurate(
    solved: Callable[[Points, bool], tuple[Any, list[Case]]],
    ladder: Ladder,
    average_rtol: float,
) -> tuple[Any, list[float]]:
    """What ``solved`` returns over nodes that are accurate along the solutions, and their errors.

    It is given points, and whether a rough solution will do, and returns besides its result each
    problem with the states that are to be looked at.  Nodes are chosen by those of a rough solution
    over few nodes, which are chosen in the same way.
    """
    _, cases = solved(ladder.points(ladder.coarse), True)
    few = ladder._replace(most=MOST_ROUGH_NODES)
    _, cases = solved(accurate_nodes(cases, few, max(average_rtol, ROUGH_ERROR))[0].points, True)
    return over_accurate_nodes(solved, ladder, average_rtol, cases)


def over_accurate_nodes(
    solved: Callable[[Points, bool], tuple[Any, list[Case]]],
    ladder: Ladder,
    average_rtol: float,
    cases: list[Case],
) -> tuple[Any, list[float]]:
    """:func:`accurate`, by nodes that are chosen by these states.

    They are chosen again by those of the solution that follows, if it turns out to need others.
    """
    for aim in AIMS:
        nodes, are_finest = accurate_nodes(cases, ladder, aim * average_rtol)
        result, cases = solved(nodes.points, False)
        errors = [nodes.error(*case) for case in cases]
        if are_finest or not any(error > average_rtol for error in errors):
            break
    return result, errors


class Nodes(NamedTuple):
    """Points, and the averages over them and over what to hold them against, of some problem."""

    points: Points
    own: NodeAverages
    others: NodeAverages

    def error(self, problem: Problem, states: States) -> float:
        """The largest estimated error at some states; NaN without any that is finite."""
        own, others = self.own.over(problem), self.others.over(problem)
        found = [_error_at(own, others, t, y) for t, y in _within(states)]
        return SAFETY * float(np.max(found)) if found else np.nan


def accurate_nodes(cases: list[Case], ladder: Ladder, average_rtol: float) -> tuple[Nodes, bool]:
    """Nodes that are accurate for some problems at some states, and whether there are no finer.

    They are among the coarsest of the ladder that are so at the states where few nodes are the
    least accurate.  Lattices get the shape of what is averaged at the first of these.
    """
    like = cases[0][0]
    few = _nodes(like, ladder, ladder.coarse)
    states = [(problem, [(t, y)]) for problem, some in cases for t, y in _within(some)]
    errors = np.array([few.error(*state) for state in states])
    hardest = np.argsort(-errors, kind="stable")[:N_HARDEST].tolist()
    if not hardest:
        return _nodes(like, ladder, ladder.default), True
    if ladder.lattices:
        ladder = ladder._replace(shape=_shape(few, *states[hardest[0]]))
    levels = ladder.levels
    fineness = np.array([ladder.fineness(level) for level in levels])
    decay, index, failed, before = ladder.decay, levels.index(ladder.coarse), -1, None
    while True:
        nodes = _nodes(like, ladder, levels[index])
        error = np.clip(max(nodes.error(*states[i]) for i in hardest), LEAST_ERROR, LARGEST_ERROR)
        x, y = fineness[index], np.log(error)
        if before is not None and before[0] != x:
            decay = np.clip((before[1] - y) / (x - before[0]), decay / 4, decay * 4)
        before = x, y
        enough = fineness >= x + np.log(error / average_rtol) / decay
        wanted = int(np.argmax(enough)) if np.any(enough) else len(levels) - 1
        if error > average_rtol and index < len(levels) - 1:
            failed, index = index, max(wanted, index + 1)
        elif error <= average_rtol and max(wanted, failed + 1) < index:
            index = max(wanted, failed + 1)
        else:
            others = [i for i in range(len(states)) if i not in hardest]
            errors = np.array([nodes.error(*states[i]) for i in others])
            if not np.any(errors > average_rtol) or index == len(levels) - 1:
                return nodes, index == len(levels) - 1
            hardest.append(others[int(np.nanargmax(errors))])


def _nodes(problem: Problem, ladder: Ladder, level: float) -> Nodes:
    """The nodes of a level, of problems like this one."""
    points, finer = ladder.points(level), ladder.finer(level)
    averages = (replace(problem, points=each).node_averages for each in (points, finer))
    return Nodes(points, *averages)


def _shape(nodes: Nodes, problem: Problem, states: States) -> tuple[tuple[float, ...], ...]:
    """The shape of a lattice for what is averaged at some states, by its steepness.

    With G the mean product of the derivatives by the normals z, relative to the mean square of what
    is averaged, spacings are as ``(1 + G)^-1/2``.  Student and other axes stay apart, so that each
    node keeps its partner (:func:`odes.averages.sampled.field_roots`).
    """
    K, D = problem.initial.R.shape[-2], nodes.points.nodes.shape[1]
    own, found = nodes.own.over(problem), [np.zeros((D, D))]

    def look(*given: Any, stream: Any) -> Any:
        products, squares = own.sums(steepness_sums, *given, stream=stream)
        some = squares > ZERO_MEAN_SQUARE
        if np.any(some):
            found.append(np.mean(products[some] / squares[some, None, None], axis=0))
        return own.sums(moment_sums, *given, stream=stream)[0]

    for t, y in states:
        _visit(problem, t, y, look)
    is_student = np.arange(D) < K
    steepness = np.where(is_student[:, None] == is_student, max(found, key=np.trace), 0)
    eigenvalues, vectors = np.linalg.eigh(np.eye(D) + steepness)
    spacings = (eigenvalues / np.prod(eigenvalues) ** (1 / D)) ** -0.5
    return tuple(map(tuple, ((vectors * spacings) @ vectors.T).tolist()))


def _looked_at(
    problem: Problem, found: Integrated, steps: list[Step]
) -> list[tuple[float, np.ndarray]]:
    """Times and states of a solution, from its start to its end, and between jumps of schedules."""
    chosen = np.linspace(0, len(steps) - 1, N_STATES - 1).round().astype(int)
    if steps:
        starts = [step.start for step in steps]
        between = np.searchsorted(starts, middles_between_jumps(problem, steps[-1].end)) - 1
        chosen = np.union1d(chosen, between)
    within = [((steps[i].start + steps[i].end) / 2, steps[i].middle) for i in chosen if steps]
    end = steps[-1].end if steps else 0.0
    return [*within, (end, found.end)]


def middles_between_jumps(problem: Problem, end: float) -> np.ndarray:
    """The times in the middle between two jumps of schedules that follow each other, up to here."""
    jumps = jumps_of(problem.parameters, end)[:MAX_JUMPS]
    edges = np.array([0.0, *jumps, end] if jumps else [])
    return (edges[1:] + edges[:-1]) / 2


def average_error(problem: Problem, states: States) -> float:
    """The largest estimated error at times and packed states; NaN without any that is finite."""
    others = replace(problem, points=reference_for(problem)).node_averages
    return Nodes(problem.points, problem.node_averages, others).error(problem, states)


def _within(states: States) -> list[tuple[float, Any]]:
    """The states that are on no way to diverge."""
    return [(t, y) for t, y in states if np.max(np.abs(y)) <= MAX_SIZE]


def _error_at(own: NodeAverages, others: NodeAverages, t: float, y: np.ndarray) -> float:
    """The largest relative difference between the averages over two sets of nodes."""
    gaps = [0.0]

    def look(C: Any, *given: Any, stream: Any) -> Any:
        sums = moment_sums, C, *given
        (mine, _), (theirs, squares) = (each.sums(*sums, stream=stream) for each in (own, others))
        gaps.extend(_relative(mine, theirs, squares, C))
        return mine

    _visit(own.problem, t, y, look)
    if not own.problem.has_closed_error:
        state = own.problem.unpack(y)
        (mine, _), (theirs, squares) = (each.error(state) for each in (own, others))
        gaps.append(_gap(mine, theirs, squares))
    return float(np.max(gaps))


def _visit(problem: Problem, t: float, y: np.ndarray, look: Callable[..., Any]) -> None:
    """``look``, which returns moments, at all averages of the drift at a time and a state."""

    def moments(C: Any, *given: Any, stream: Any = None) -> Any:
        return look(C, *given[:3], stream=stream)

    with jax.enable_x64(True):
        for stream, rate, parameters in problem.by_stream(parameters_at(problem.parameters, t)):
            if rate != 0:
                problem.drift_by(y, parameters, stream=stream, moments=moments)


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
    """The largest difference relative to root mean squares; infinite if there is no number.

    Weights may be negative, and so may be averages of squares over too few nodes.
    """
    found = np.max(np.abs(mine - theirs) / np.sqrt(np.maximum(squares, 0) + ZERO_MEAN_SQUARE))
    return float(np.nan_to_num(found, nan=np.inf))
