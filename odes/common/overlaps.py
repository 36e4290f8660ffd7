"""Checks of order parameters: their shapes agree, and vectors with these overlaps exist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from odes.common.checks import check_array, check_double_precision, quoted
from odes.common.order_parameters import (
    ALWAYS,
    DIMENSIONS,
    MAGNITUDE_LIMIT,
    SYMMETRIC,
    Array,
    OrderParameters,
    Teacher,
    is_state,
    joint_covariance,
    state_of,
)

PSD_TOLERANCE = 1e-7
"""How negative an eigenvalue of a correlation matrix may be: overlaps measured in single precision
are good to about that."""

DECAYED_FRACTION = 1e-2
"""Vectors whose squared length is below this times that of the longest count as long as that in a
correlation matrix: what is left of a unit that decayed to nothing is rounding."""


def check_overlaps(
    initial: OrderParameters, teacher: Teacher, needs: Any, name: str = "initial"
) -> tuple[OrderParameters, Teacher]:
    """The overlaps in float64 with explicit output axes, or a ValueError that says what is wrong.

    ``needs`` lists the optional ones that the rule uses, or has their dimensions by name; what it
    does not of the state is dropped.
    ``name`` is that of the argument with the state.
    """
    state, fixed = shape_overlaps(initial, teacher, needs, check_array, name)
    given = {**state._asdict(), **fixed._asdict()}
    for name, array in given.items():
        if array is not None and name != "P" and np.max(np.abs(array)) > MAGNITUDE_LIMIT:
            raise ValueError(
                f"Argument `{name}` must hold numbers of magnitude up to {MAGNITUDE_LIMIT:g}, "
                f"but is {array.tolist()}."
            )
    for name in SYMMETRIC:
        matrix = given.get(name)
        if matrix is not None and not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6):
            raise ValueError(f"Argument `{name}` must be symmetric, but is {matrix.tolist()}.")
    check_covariance("the joint covariance [[Q, R], [R^T, T]]", joint_covariance(state, fixed))
    if fixed.P is not None:
        check_covariance("P", fixed.P)
    if "F2" in needs:
        check_joint("F1", state, fixed, np.concatenate([given["B1"], given["S1"]]), given["P1"])
    return state, fixed


def check_states(name: str, state: Any, teacher: Any) -> None:
    """ValueError unless these are order parameters and a Teacher."""
    for argument, value, kind, fine in (
        (name, state, "OrderParameters", is_state(state)),
        ("teacher", teacher, "Teacher", isinstance(teacher, Teacher)),
    ):
        if not fine:
            raise ValueError(f"Argument `{argument}` must be {kind}(...), but is {quoted(value)}.")


def check_arrays(
    name: str, state: Any, teacher: Any, needs: Any, axes: bool, beside: Any = None
) -> tuple[Any, Any]:
    """State and teacher, if they hold float64 arrays whose shapes agree; JAX's if one of them is.

    So they are if ``beside`` is one of JAX.
    ``needs`` lists the optional ones that are looked at, and ``axes`` says whether those of the
    state may have leading axes.  Nothing is said about the numbers.
    """
    check_states(name, state, teacher)
    given: dict[str, Any] = {**state._asdict(), **teacher._asdict()}
    sizes: dict[str, int] = {}
    leading: tuple[int, ...] = ()
    seen = ("R", "Q", "v", "T", "v_star", *needs)
    for each in seen:
        array: Any = given.get(each)
        dimensions = _dimensions(needs)[each]
        if not hasattr(array, "__array_namespace__") or array.dtype.kind not in "biuf":
            raise ValueError(
                f"Argument `{each}` must be a real array of shape ({', '.join(dimensions)}), "
                f"but is {quoted(array)}."
            )
        check_double_precision(array, each)
        if axes and each == "R":
            leading = array.shape[:-2]
        before = leading if each in state._fields else ()
        for dimension, size in zip(dimensions, array.shape[len(before) :], strict=False):
            sizes.setdefault(dimension, size)
        expected = (*before, *(sizes.get(dimension, 1) for dimension in dimensions))
        if array.shape != expected or array.size == 0:
            raise ValueError(
                f"Argument `{each}` must have the shape {expected}, beside R of shape "
                f"{given['R'].shape}, but has {array.shape}."
            )
    jax = sys.modules.get("jax")
    if jax is None or not any(
        isinstance(each, jax.Array) for each in (beside, *(given[name] for name in seen))
    ):
        return state, teacher
    given |= {each: jax.numpy.asarray(given[each]) for each in seen}
    return (
        type(state)(*(given[each] for each in state._fields)),
        Teacher(*(given[each] for each in Teacher._fields)),
    )


def shape_overlaps(
    initial: OrderParameters,
    teacher: Teacher,
    needs: Any,
    read: Callable[[str, Any], Array],
    name: str = "initial",
) -> tuple[OrderParameters, Teacher]:
    """The overlaps as ``read(name, value)`` makes arrays of them, with explicit output axes.

    Raises ValueError for an overlap that is missing, and for shapes that disagree.
    """
    check_states(name, initial, teacher)
    given = {**initial._asdict(), **teacher._asdict()}
    dimensions = _dimensions(needs)
    own = [*ALWAYS, *(name for name in needs if name not in Teacher._fields)]
    given = {name: given.get(name) for name in ("Q", "R", "v", "B", *own, *Teacher._fields)}
    given["B"] = given["B"] if "B" in needs else None
    for name in ("Q", "R", "v", "T", "v_star", *needs):
        if given[name] is None:
            raise ValueError(
                f"Argument `{name}` must be an array of shape "
                f"({', '.join(dimensions[name])}) for this rule, but is None."
            )
    sizes: dict[str, int] = {}
    arrays = {
        name: None if each is None else _shaped(name, read(name, each), dimensions[name], sizes)
        for name, each in given.items()
    }
    fixed = Teacher(*(arrays.pop(name) for name in Teacher._fields))
    return state_of(arrays), fixed


def _dimensions(needs: Any) -> dict[str, Any]:
    """The dimensions of all overlaps by name, those of a rule's own weights among its needs."""
    return DIMENSIONS | (needs if isinstance(needs, dict) else {})


def check_feedback_matrix(state: OrderParameters, teacher: Teacher) -> None:
    """ValueError unless an F with the overlaps B, S and P exists in the aligned scaling."""
    check_joint("an aligned F", state, teacher, np.concatenate([state.B, teacher.S]), teacher.P)


def check_joint(
    name: str, state: OrderParameters, teacher: Teacher, overlaps: np.ndarray, own: Array
) -> None:
    """ValueError unless vectors with these overlaps with all units and with one another exist."""
    C = joint_covariance(state, teacher)
    check_covariance(
        f"the joint covariance of all units and {name}",
        np.block([[C, overlaps], [overlaps.T, own]]),
    )


def _shaped(name: str, array: Array, dimensions: tuple[str, ...], sizes: dict[str, int]) -> Array:
    """``array`` with an output axis, if its shape agrees with ``sizes``, which it extends."""
    shape = array.shape
    if array.ndim == 1 and dimensions[-1] == "O" and len(dimensions) == 2:
        array = array[:, None]
    for dimension, size in zip(dimensions, array.shape, strict=False):
        sizes.setdefault(dimension, size)
    expected = tuple(sizes.get(dimension, 1) for dimension in dimensions)
    if array.shape != expected or array.size == 0:
        known = ", ".join(f"{d} = {sizes[d]}" for d in dict.fromkeys(dimensions) if d in sizes)
        raise ValueError(
            f"Argument `{name}` must have shape ({', '.join(dimensions)}) with {known}, "
            f"but has shape {shape}."
        )
    return array


def check_covariance(name: str, matrix: np.ndarray) -> None:
    """ValueError unless the symmetric matrix is positive semidefinite to single precision."""
    variance = matrix.diagonal()
    scale = np.sqrt(np.maximum(variance, DECAYED_FRACTION * max(variance.max(), 0.0)))
    scale = np.where(scale > 0, scale, 1.0)
    smallest = np.linalg.eigvalsh(matrix / scale[:, None] / scale)[0]
    if smallest < -PSD_TOLERANCE:
        raise ValueError(
            f"Argument {name} must be positive semidefinite, but has the eigenvalue "
            f"{np.linalg.eigvalsh(matrix)[0]:.3g}."
        )
