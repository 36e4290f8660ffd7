"""Models merged from several students of one state, unit by unit.

The overlaps between students in one state are those that a model has whose weights are a linear
combination of theirs: ``w_k = sum_j a_j w_k^j``, ``v = sum_j a_j v^j``.  So its order parameters,
and its error on any task, follow exactly.  Which unit of one student goes with which of another is
found by matching weights, layer after layer (Ainsworth, Hayase & Srinivasa 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from odes.common.checks import check_array, check_flag, quoted
from odes.common.layers import (
    DIRECT,
    LAYERED,
    is_several,
    layers_of,
    over_layers,
    shapes_of,
    widths_of,
)
from odes.common.order_parameters import (
    ALWAYS,
    Array,
    OrderParameters,
    given_parts,
    is_state,
    over_parts,
)
from odes.common.tasks import Part, by_layer, chosen, units_by_layer

MAX_ROUNDS = 100
"""Rounds of matching over all hidden layers, at most."""


def merge(
    state: OrderParameters, groups: Any, weights: Any, *, match: bool = False
) -> OrderParameters:
    """The order parameters of a model merged from students that are groups of units of one state.

    For example, half of each of two students of two units::

        merge(state, [[0, 1], [2, 3]], [0.5, 0.5])

    Args:
        state: of all students together, or such states along a first axis, as of a Trajectory.
            What it has for each hidden unit, such as B, is merged as v is.
        groups: the units of each student, in the order in which they go together: as many for
            each.  With several hidden layers a tuple of units a layer, for each.
        weights: a number for each student, of either sign.
        match: whether units of the other students are first reordered to agree as much as they can
            with those of the first one, in overlaps and in weights above.  With several hidden
            layers they have to be.

    Returns:
        OrderParameters of as many hidden units as one student has; with :func:`odes.output_errors`,
        its errors on all tasks.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    if not is_state(state) or getattr(state, "B1", None) is not None:
        raise ValueError(
            "Argument `state` must be OrderParameters(...) without an F in factors, but is "
            f"{quoted(state)}."
        )
    given = {name: getattr(state, name) for name in ALWAYS} | given_parts(state)
    state = state._replace(
        **{
            name: over_layers(lambda a, n=name: check_array(f"state.{n}", a, finite=False), each)
            for name, each in given.items()
        }
    )
    match = check_flag("match", match)
    _check_shapes(state)
    if match and layers_of(state.v)[0].ndim > 2:
        each = [
            merge(over_parts(lambda a, i=i: a[i], state), groups, weights, match=True)
            for i in range(len(state.R))
        ]
        return over_parts_of(lambda *parts: np.stack(parts), each)
    students = _students(groups, state)
    a = check_array("weights", weights)
    if a.shape != (len(students),):
        raise ValueError(
            f"Argument `weights` must have a number for each of {len(students)} students, but has "
            f"the shape {a.shape}."
        )
    if match:
        students = [students[0], *(_matched(state, students[0], each) for each in students[1:])]
    elif is_several(state.v):
        raise ValueError(
            "Argument `match` must be True with several hidden layers, whose units have to go "
            "together for weights between them to be merged, but is False."
        )
    rows = [np.array(each.units[0]) for each in students]
    Q = sum(
        (a[i] * a[j]) * state.Q[..., one[:, None], other]
        for i, one in enumerate(rows)
        for j, other in enumerate(rows)
    )
    own = [_of(each, state) for each in students]
    merged = over_parts_of(
        lambda *parts: sum(weight * part for weight, part in zip(a, parts, strict=True)), own
    )
    return merged._replace(Q=Q)


def _check_shapes(state: OrderParameters) -> None:
    """ValueError unless all arrays are of as many units, along as many leading axes."""
    leading = state.R.shape[:-2]
    runs = layers_of(state.v)[0].shape[:-2]
    K = state.R.shape[-2:-1]
    for name, each in given_parts(state).items():
        first = layers_of(each)[0]
        wanted = (*runs, *K) if name not in ("Q", "R") else (*leading, *K)
        square = name != "Q" or first.shape[-1:] == K
        fits = first.ndim >= 2 and (*first.shape[: len(wanted) - 1], *first.shape[-2:-1]) == wanted
        if not fits or not square:
            raise ValueError(
                f"Argument `state.{name}` must be of the units that R, of shape {state.R.shape}, "
                f"has, but has the shape {first.shape}."
            )


def over_parts_of(function: Callable[..., Any], states: Sequence[OrderParameters]) -> Any:
    """``function`` of the arrays of the same name, and layer, of several states."""
    first = states[0]
    return first._replace(
        **{
            name: over_layers(function, *(getattr(each, name) for each in states))
            for name in given_parts(first)
        }
    )


def _students(groups: Any, state: OrderParameters) -> list[Part]:
    """The units of every student, in the order in which they are merged."""
    widths = widths_of(state.v)
    if isinstance(groups, np.ndarray) and groups.ndim == 2:
        groups = groups.tolist()
    if not isinstance(groups, (list, tuple)) or not groups:
        raise ValueError(
            f"Argument `groups` must be a list of units for each student, but is {quoted(groups)}."
        )
    found = []
    for index, group in enumerate(groups):
        layers = units_by_layer(group)
        if len(layers) != len(widths):
            raise ValueError(
                f"Argument `groups[{index}]` must be a tuple of units of each of {len(widths)} "
                f"hidden layers, but is {quoted(group)}."
            )
        units = (
            chosen(f"groups[{index}]", each, width)
            for each, width in zip(layers, widths, strict=True)
        )
        found.append(Part(tuple(units), ()))
    sizes = {tuple(map(len, each.units)) for each in found}
    if len(sizes) > 1:
        raise ValueError(
            f"Argument `groups` must have as many units for each student, but has {sorted(sizes)}."
        )
    for level in range(len(widths)):
        together = [unit for each in found for unit in each.units[level]]
        if len(set(together)) < len(together):
            raise ValueError(
                f"Argument `groups` must hold every unit once at most, but is {quoted(groups)}."
            )
    return found


def _of(student: Part, state: OrderParameters) -> OrderParameters:
    """What a state has of one student, but for Q."""

    def own(array: Array, names: list[str]) -> Array:
        for axis, index in enumerate(student.indices(tuple(names)), -len(names)):
            if index:
                array = np.take(array, index, axis=axis)
        return array

    def dimensions(name: str, each: Any) -> tuple[Any, ...]:
        if name == "v" or (is_several(each) and shapes_of(each) == shapes_of(state.v)):
            return LAYERED
        return DIRECT if is_several(each) else ("K", "whatever")

    return state._replace(
        **{
            name: over_layers(own, each, by_layer(dimensions(name, each), each))
            for name, each in given_parts(state).items()
            if name != "Q"
        }
    )


def _matched(state: OrderParameters, first: Part, other: Part) -> Part:
    """The other student with its units in the order that agrees best with that of the first.

    Layer after layer, the overlaps with what is below and with what is above, until nothing moves.
    """
    Q = state.Q if state.Q.ndim == 2 else state.Q.sum(axis=0)
    theirs = layers_of(_of(first, state).v)
    units = [np.array(each) for each in other.units]
    for _ in range(MAX_ROUNDS):
        before = [each.copy() for each in units]
        for level in range(len(units)):
            now = Part(tuple(map(tuple, units)), ())
            ours = layers_of(_of(now, state).v)
            if level == 0:
                alike = Q[np.ix_(np.array(first.units[0]), units[0])]
            else:
                alike = theirs[level - 1].T @ ours[level - 1]
            alike = alike + theirs[level] @ ours[level].T
            units[level] = units[level][linear_sum_assignment(alike, maximize=True)[1]]
        if all(map(np.array_equal, before, units)):
            break
    return Part(tuple(map(tuple, units)), ())
