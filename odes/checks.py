"""What a valid argument is: the checks at the boundary of every public function.

Each raises a ValueError that names the argument, what it must be and what it was.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from odes.order_parameters import (
    ALWAYS,
    DIMENSIONS,
    MAGNITUDE_LIMIT,
    SYMMETRIC,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    is_state,
    joint_covariance,
    state_of,
)

PSD_TOLERANCE = 1e-7
"""How negative an eigenvalue of a correlation matrix may be: overlaps measured in single precision
are good to about that."""

LONG = 300
"""Characters of a value that an error shows."""

AS_FIRST = ("lr_v", "weight_decay_v")
"""The parameters of the readout that may be None."""

DECAYED = 1e-2
"""Vectors whose squared length is below this times that of the longest count as long as that in a
correlation matrix: what is left of a unit that decayed to nothing is rounding."""


def is_traced(value: Any) -> bool:
    """Whether a value, or one in lists of them, is a tracer of JAX."""
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    if isinstance(value, (list, tuple)):
        return any(map(is_traced, value))
    return isinstance(value, jax.core.Tracer)


def _plain(value: Any) -> Any:
    """The number or flag in an array without axes; anything else as it is."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind in list("biuf") and getattr(value, "ndim", None) == 0 and not is_traced(value):
        return value.item()
    return value


def check_number(name: str, value: Any, *, positive: bool = False) -> float:
    """``value`` as a float, if it is a finite number >= 0, or > 0 if ``positive``."""
    number = math.nan
    plain = _plain(value)
    if isinstance(plain, Real):
        with contextlib.suppress(OverflowError):
            number = float(plain)
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        least = "> 0" if positive else ">= 0"
        raise ValueError(
            f"Argument `{name}` must be a finite number {least}, but is {quoted(value)}."
            f"{_instead(name, value)}"
        )
    return number


def quoted(value: Any) -> str:
    """``value`` as an error quotes it, cut short where it is long."""
    try:
        words = repr(value)
    except ValueError:  # of an integer with more digits than Python prints
        words = f"an integer of {value.bit_length()} bits"
    return words if len(words) <= LONG else f"{words[: LONG - 3]}..."


def _instead(name: str, value: Any) -> str:
    """What takes a parameter that is an array, or one that is traced by JAX."""
    if is_traced(value):
        return "  To differentiate by it, or to trace it, use odes.flow()."
    if name in Hyperparameters._fields and (isinstance(value, (list, tuple)) or np.ndim(value)):
        return "  To vary it, use sweep(), which takes arrays."
    return ""


def check_mirror(mirror: Any) -> None:
    """Makes floats and flags of the parameters of a frozen mirror, or raises ValueError."""
    for name in ("lr", "noise", "decay"):
        value = check_number(f"{name} of the mirror", getattr(mirror, name))
        object.__setattr__(mirror, name, value)
    for name in ("nonlinear", "normalised"):
        if hasattr(mirror, name):
            flag = check_flag(f"{name} of the mirror", getattr(mirror, name))
            object.__setattr__(mirror, name, flag)


def check_count(name: str, value: Any, least: int = 1, below: int = 2**31) -> int:
    """``value`` as an int, if it is an integer >= ``least`` and < ``below``."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, np.integer)) or plain < least:
        raise ValueError(
            f"Argument `{name}` must be an integer >= {least}, but is {quoted(value)}."
        )
    if plain >= below:
        raise ValueError(f"Argument `{name}` must be below {below}, but is {quoted(value)}.")
    return int(plain)


def check_flag(name: str, value: Any) -> bool:
    """``value`` as a bool, if it is True or False."""
    if not isinstance(_plain(value), (bool, np.bool_)):
        raise ValueError(f"Argument `{name}` must be True or False, but is {quoted(value)}.")
    return bool(value)


def check_progress(progress: Any) -> bool | None:
    """``progress`` as it is, if it is True, False or None."""
    if progress is not None and not isinstance(progress, (bool, np.bool_)):
        raise ValueError(
            f"Argument `progress` must be True, False or None, but is {quoted(progress)}."
        )
    return None if progress is None else bool(progress)


def check_seed(seed: Any) -> int:
    """``seed`` as an int, if it is an integer >= 0 and < 2^32, all that a random key holds."""
    return check_count("seed", seed, least=0, below=2**32)


def _real(name: str, value: Any, read: Callable[[Any], Any], remedy: str = "") -> Any:
    """``read(value)``, if that is an array of real numbers."""
    try:
        array = read(value)
        if array.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(
            f"Argument `{name}` must be a real array, but is {quoted(value)}.{remedy}"
        ) from None
    return array


def check_array(name: str, value: Any, *, finite: bool = True) -> np.ndarray:
    """``value`` as a float64 array, if it is real, and finite unless it need not be."""
    array = _real(name, value, np.asarray, _instead(name, value))
    if finite and not np.all(np.isfinite(array)):
        raise ValueError(f"Argument `{name}` must be a finite array, but is {quoted(value)}.")
    return array.astype(float)


def check_untraced(name: str, value: Any) -> None:
    """ValueError for what JAX traces."""
    if is_traced(value):
        raise ValueError(
            f"Argument `{name}` must be an array of numbers, but is {quoted(value)}."
            f"{_instead(name, value)}"
        )


def check_traceable(name: str, value: Any) -> Array:
    """``value`` as a JAX array of the precision of floats, if it is real, and finite or traced."""
    import jax.numpy as jnp

    if not is_traced(value):
        return jnp.asarray(check_array(name, value))
    return _real(name, value, jnp.asarray).astype(float)


def check_double_precision(array: Any, name: str | None = None) -> None:
    """ValueError unless a NumPy or JAX array, or what JAX traces in its place, is in float64."""
    if array.dtype != np.float64:
        what = f"Argument `{name}`" if name else "All that JAX computes"
        raise ValueError(
            f"{what} must be in float64, but is in {array.dtype}.  With JAX, compute "
            "inside `with jax.enable_x64(True):`, or switch on jax_enable_x64."
        )


def check_times(times: Any, name: str = "times") -> np.ndarray:
    """The times as a float array (n,), if they are strictly increasing and >= 0."""
    array = check_array(name, times)
    if array.ndim != 1 or array.size == 0 or array[0] < 0 or not np.all(np.diff(array) > 0):
        raise ValueError(
            f"Argument `{name}` must be a one-dimensional, strictly increasing array of numbers "
            f">= 0, but is {quoted(times)}."
        )
    return array


def hyperparameters(
    *,
    lr: float,
    lr_v: float | None = None,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    feedback_scale: float = 1.0,
) -> Hyperparameters:
    """Checked scalars of the online update.

    ``lr_v=None`` means equal to ``lr``, and ``weight_decay_v=None`` equal to ``weight_decay``, but
    0 where ``lr_v`` is 0: a frozen readout stays as it is.

    Raises ValueError for anything but finite numbers >= 0.
    """
    return completed(
        {"lr": lr, "lr_v": lr_v, "noise": noise, "weight_decay": weight_decay,
         "weight_decay_v": weight_decay_v, "feedback_scale": feedback_scale},
        check_number,
    )  # fmt: skip


def completed(given: dict[str, Any], check: Callable[[str, Any], Any]) -> Hyperparameters:
    """Hyperparameters of what ``check(name, value)`` makes of numbers, arrays or schedules.

    Those of the readout that are None are as those of the first layer, but the decay 0 where
    ``lr_v`` is 0.
    """
    values = {
        name: check(name, each)
        for name, each in given.items()
        if not (each is None and name in AS_FIRST)
    }
    lr_v = values.setdefault("lr_v", values["lr"])
    if "weight_decay_v" not in values:
        learns = 1.0 if callable(lr_v) else lr_v != 0
        values["weight_decay_v"] = values["weight_decay"] * learns
    return Hyperparameters(**values)


def is_activation(own: Any) -> bool:
    """Whether this can be an activation: a function, or an object that has one as ``g``."""
    return callable(own) or hasattr(own, "g")


def lookup(
    name: str,
    known: dict[str, Any],
    choice: Any,
    own: str | None = None,
    accepts: Callable[[Any], bool] = callable,
) -> Any:
    """What ``choice`` names in ``known``, or ``choice`` itself if it is of the ``own`` kind."""
    if isinstance(choice, str) and choice in known:
        return known[choice]
    if own is not None and not isinstance(choice, str) and accepts(choice):
        return choice
    listed = ", ".join(f'"{key}"' for key in known) + (f", or {own}" if own else "")
    raise ValueError(f"Argument `{name}` must be one of {listed}, but is {quoted(choice)}.")


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
    """The two, if they hold arrays in float64 whose shapes agree, NumPy's or, if one is, JAX's.

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
    scale = np.sqrt(np.maximum(variance, DECAYED * max(variance.max(), 0.0)))
    scale = np.where(scale > 0, scale, 1.0)
    smallest = np.linalg.eigvalsh(matrix / scale[:, None] / scale)[0]
    if smallest < -PSD_TOLERANCE:
        raise ValueError(
            f"Argument {name} must be positive semidefinite, but has the eigenvalue "
            f"{np.linalg.eigvalsh(matrix)[0]:.3g}."
        )
