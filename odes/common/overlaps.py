"""Checks of order parameters: their shapes agree, and vectors with these overlaps exist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from odes.common.checks import check_array, check_double_precision, quoted
from odes.common.layers import (
    ANYWHERE,
    LAYERED,
    as_weights,
    is_deep,
    is_several,
    layers_of,
    over_layers,
    plain,
    shaped_layers,
    shapes_at,
    widths_of,
)
from odes.common.order_parameters import (
    ALWAYS,
    DIMENSIONS,
    FIXED,
    GROUPED,
    MAGNITUDE_LIMIT,
    SYMMETRIC,
    Array,
    OrderParameters,
    Teacher,
    is_state,
    joint_covariance,
    state_of,
)
from odes.common.spectrum import Spectrum, check_spectrum

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
    given.pop("inputs")
    for name, weights in given.items():
        for array in () if weights is None or name == "P" else layers_of(weights):
            if np.max(np.abs(array)) > MAGNITUDE_LIMIT:
                raise ValueError(
                    f"Argument `{name}` must hold numbers of magnitude up to {MAGNITUDE_LIMIT:g}, "
                    f"but is {array.tolist()}."
                )
    for name in SYMMETRIC:
        matrix = given.get(name)
        if matrix is not None and not np.allclose(matrix, matrix.mT, rtol=1e-6, atol=1e-6):
            raise ValueError(f"Argument `{name}` must be symmetric, but is {matrix.tolist()}.")
    check_covariance("the joint covariance [[Q, R], [R^T, T]]", joint_covariance(state, fixed))
    if fixed.P is not None:
        check_covariance("P", fixed.P)
    if "F2" in needs:
        overlaps = np.concatenate([given["B1"], given["S1"]], axis=-2)
        check_joint("F1", state, fixed, overlaps, given["P1"])
    return state, fixed


def spread(
    initial: OrderParameters, teacher: Teacher, inputs: Spectrum
) -> tuple[OrderParameters, Teacher]:
    """Overlaps of white inputs, spread over the groups of other ones by their shares.

    So are, as N grows, those of weights drawn without regard to the covariance of the inputs.

    Args:
        initial, teacher: as for :func:`odes.solve`, without inputs.  B is that of F, and spread,
            where there is an S.
        inputs: an :class:`odes.Spectrum`.

    Returns:
        Both with the axis of groups, and the teacher with these inputs.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    inputs = check_spectrum(inputs)
    shares = inputs.shares[:, None, None]
    check_states("initial", initial, teacher)
    if teacher.inputs is not None:
        raise ValueError(
            f"Argument `teacher` must have no inputs yet, but has {quoted(teacher.inputs)}."
        )
    given = {**initial._asdict(), **teacher._asdict()}
    needs = {name: each for name, each in DIMENSIONS.items() if given.get(name) is not None}
    own = set(initial._fields) - set(DIMENSIONS)
    state, fixed = check_overlaps(initial, teacher, [*needs])
    names = (*GROUPED, "B") if fixed.S is not None else GROUPED

    def spread_out(parts: dict[str, Any]) -> dict[str, Any]:
        wide = {name for name in names if parts.get(name) is not None}
        return parts | {name: shares * parts[name] for name in wide}

    kept = {name: getattr(initial, name) for name in own}
    spread_teacher = Teacher(**spread_out(fixed._asdict()) | {"inputs": inputs.alone()})
    return state_of(spread_out(state._asdict()) | kept), spread_teacher


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
    inputs = _inputs(teacher)
    sizes = _groups(inputs)
    leading: tuple[int, ...] = ()
    seen = ("R", "Q", "v", "T", "v_star", *needs)
    known = _dimensions(needs, inputs)
    for each in seen:
        array: Any = given.get(each)
        if is_several(array):
            _check_layers(each, array, known[each], sizes, given)
            continue
        dimensions = plain(known[each])
        if not hasattr(array, "__array_namespace__") or array.dtype.kind not in "biuf":
            raise ValueError(
                f"Argument `{each}` must be a real array of shape ({', '.join(dimensions)}), "
                f"but is {quoted(array)}."
            )
        check_double_precision(array, each)
        if axes and each == "R":
            leading = array.shape[: max(array.ndim - len(dimensions), 0)]
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
    layers = [layer for name in seen for layer in layers_of(given[name])]
    parts = (beside, *(inputs or ()), *layers)
    if jax is None or not any(isinstance(each, jax.Array) for each in parts):
        return state, teacher._replace(inputs=inputs)
    given |= {each: over_layers(jax.numpy.asarray, given[each]) for each in seen}
    return (
        type(state)(*(given[each] for each in state._fields)),
        Teacher(
            **{each: given[each] for each in FIXED},
            inputs=jax.tree.map(jax.numpy.asarray, inputs),
        ),
    )


def _check_layers(
    name: str,
    layers: tuple[Array, ...],
    dimensions: Any,
    sizes: dict[str, int],
    given: dict[str, Any],
) -> None:
    """ValueError unless layers are float64 arrays whose shapes agree with all others."""
    for index, layer in enumerate(layers):
        if not hasattr(layer, "__array_namespace__") or layer.dtype.kind not in "biuf":
            raise ValueError(
                f"Argument `{name}[{index}]` must be a real array, but is {quoted(layer)}."
            )
        check_double_precision(layer, f"{name}[{index}]")
    widths = () if name in ("v", "v_star") else widths_of(given["v"])
    shaped_layers(name, layers, dimensions, sizes, widths)


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
    inputs = _inputs(teacher)
    dimensions = _dimensions(needs, inputs)
    own = [*ALWAYS, *(name for name in needs if name not in FIXED)]
    given = {name: given.get(name) for name in ("Q", "R", "v", "B", *own, *FIXED)}
    given["B"] = given["B"] if "B" in needs else None
    for name in ("Q", "R", "v", "T", "v_star", *needs):
        if given[name] is None:
            several = ... in dimensions[name] and is_deep(given["v"])
            what = "a tuple of one array a layer, not one" if several else "an array"
            raise ValueError(
                f"Argument `{name}` must be {what} of shape "
                f"({', '.join(plain(dimensions[name]))}) for this rule, but is None."
            )
    sizes = _groups(inputs)
    read_in = {
        name: None if each is None else _read(name, each, read) for name, each in given.items()
    }
    B: Any = read_in["B"]
    if inputs is not None and "G" not in dimensions["B"] and getattr(B, "ndim", 0) == 3:
        read_in["B"] = B.sum(axis=0)  # of a rule that feeds back no F, but what one sends back
    widths: tuple[int, ...] = ()
    arrays = {}
    for name, each in read_in.items():
        arrays[name] = (
            None if each is None else _shaped(name, each, dimensions[name], sizes, widths)
        )
        if name == "v":
            widths = widths_of(arrays[name])
    fixed = Teacher(**{name: arrays.pop(name) for name in FIXED}, inputs=inputs)
    return state_of(arrays), fixed


def _dimensions(needs: Any, inputs: Spectrum | None = None) -> dict[str, Any]:
    """The dimensions of all overlaps by name, those of a rule's own weights among its needs.

    With inputs in groups, G is their number.
    """
    known: dict[str, Any] = DIMENSIONS | {"B": ANYWHERE, "F2": LAYERED}
    if isinstance(needs, dict):
        known |= needs
    if inputs is None:
        return known
    in_groups = (*GROUPED, "B") if "S" in needs else GROUPED
    return known | {name: ("G", *known[name]) for name in in_groups}


def _inputs(teacher: Teacher) -> Spectrum | None:
    """What the equations know of the inputs, checked."""
    if teacher.inputs is None:
        return None
    return check_spectrum(teacher.inputs, "teacher.inputs").alone()


def _groups(inputs: Spectrum | None) -> dict[str, int]:
    """The number of groups as a size, where there are any."""
    return {} if inputs is None else {"G": len(inputs.eigenvalues)}


def check_feedback_matrix(state: OrderParameters, teacher: Teacher) -> None:
    """ValueError unless an F with the overlaps B, S and P exists in the aligned scaling."""
    overlaps = np.concatenate([state.B, teacher.S], axis=-2)
    check_joint("an aligned F", state, teacher, overlaps, teacher.P)


def check_joint(
    name: str, state: OrderParameters, teacher: Teacher, overlaps: np.ndarray, own: Array
) -> None:
    """ValueError unless vectors with these overlaps with all units and with one another exist."""
    C = joint_covariance(state, teacher)
    check_covariance(
        f"the joint covariance of all units and {name}",
        np.block([[C, overlaps], [overlaps.mT, own]]),
    )


def _read(name: str, value: Any, read: Callable[[str, Any], Array]) -> Any:
    """The array that ``read`` makes of an overlap, or of each of several layers."""
    if not is_deep(value):
        return read(name, value)
    return as_weights(read(f"{name}[{index}]", layer) for index, layer in enumerate(value))


def _shaped(
    name: str, array: Any, dimensions: Any, sizes: dict[str, int], widths: tuple[int, ...]
) -> Any:
    """``array`` with an output axis, if its shape agrees with ``sizes``, which it extends.

    Or each of several layers, of a student of these widths.
    """
    if is_several(array):
        return shaped_layers(name, array, dimensions, sizes, widths)
    if ... in dimensions and dimensions != ANYWHERE and len(widths) > 1:
        expected = shapes_at(dimensions, widths, sizes["O"])
        raise ValueError(
            f"Argument `{name}` must be a tuple of layers of shapes {expected}, but has "
            f"shape {array.shape}."
        )
    dimensions = plain(dimensions)
    shape = array.shape
    if array.ndim == 1 and dimensions[-1] == "O" and len(dimensions) == 2:
        array = array[:, None]
    for dimension, size in zip(dimensions, array.shape, strict=False):
        sizes.setdefault(dimension, size)
    expected = tuple(sizes.get(dimension, 1) for dimension in dimensions)
    if array.shape != expected or array.size == 0:
        known = ", ".join(f"{d} = {sizes[d]}" for d in dict.fromkeys(dimensions) if d in sizes)
        remedy = ""
        if "G" in dimensions:
            remedy = (
                "  Overlaps have an axis of the groups of the inputs: see odes.spread, or "
                "network.overlaps of a network with these inputs."
            )
        raise ValueError(
            f"Argument `{name}` must have shape ({', '.join(dimensions)}) with {known}, "
            f"but has shape {shape}.{remedy}"
        )
    return array


def check_covariance(name: str, matrix: np.ndarray) -> None:
    """ValueError unless symmetric matrices are positive semidefinite to single precision.

    One, or one for each group of inputs.
    """
    variance = matrix.diagonal(0, -2, -1)
    least = DECAYED_FRACTION * np.maximum(variance.max(axis=-1, keepdims=True), 0.0)
    scale = np.sqrt(np.maximum(variance, least))
    scale = np.where(scale > 0, scale, 1.0)
    smallest = np.linalg.eigvalsh(matrix / scale[..., :, None] / scale[..., None, :])
    if np.any(smallest < -PSD_TOLERANCE):
        raise ValueError(
            f"Argument {name} must be positive semidefinite, but has the eigenvalue "
            f"{np.linalg.eigvalsh(matrix).min():.3g}."
        )
