"""Checks of arguments, which every public function makes before anything else.

Each raises a ValueError that names the argument, what it must be and what it was.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np

from odes.common.layers import is_several, over_layers
from odes.common.order_parameters import (
    Array,
    Hyperparameters,
)

MAX_QUOTED = 300
"""Characters of a value that an error shows."""

Function = TypeVar("Function", bound=Callable[..., Any])

AS_FIRST = ("lr_v", "weight_decay_v")
"""The parameters of the readout that may be None."""


def renamed(**names: str) -> Callable[[Function], Function]:
    """Decorator: arguments of these old names are taken for the new ones, with a warning."""

    def decorated(function: Function) -> Function:
        @wraps(function)
        def call(*positional: Any, **given: Any) -> Any:
            for old, new in names.items():
                if old in given:
                    message = f"Argument `{old}` is now called `{new}`."
                    if new in given:
                        raise ValueError(f"{message} Both are given.")
                    warnings.warn(message, DeprecationWarning, stacklevel=2)
                    given[new] = given.pop(old)
            return function(*positional, **given)

        return cast(Function, call)

    return decorated


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
    return words if len(words) <= MAX_QUOTED else f"{words[: MAX_QUOTED - 3]}..."


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


def check_real(name: str, value: Any) -> Array:
    """An overlap as an array that may have NaN; ValueError for what is no array of real numbers."""
    array = value
    if isinstance(value, np.ndarray) or not hasattr(value, "__array_namespace__"):
        try:
            array = np.asarray(value)
        except ValueError:  # rows of different lengths
            array = np.array(None)
    if array.dtype.kind not in "biuf" or array.ndim == 0 or array.size == 0:
        raise ValueError(f"Argument `{name}` must be a real array, but is {quoted(value)}.")
    return array if array.dtype.kind == "f" else array.astype(float)


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

    ``lr_v=None`` means equal to ``lr``, a tuple one rate for each layer above the first, and
    ``weight_decay_v=None`` equal to ``weight_decay``, but
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
    ``lr_v`` is 0.  Of several layers above the first, there may be one for each.
    """
    values = {
        name: tuple(check(f"{name}[{index}]", part) for index, part in enumerate(each))
        if name in AS_FIRST and is_several(each)
        else check(name, each)
        for name, each in given.items()
        if not (each is None and name in AS_FIRST)
    }
    lr_v = values.setdefault("lr_v", values["lr"])
    if "weight_decay_v" not in values:
        decay: Any = values["weight_decay"]
        values["weight_decay_v"] = over_layers(
            lambda rate: decay * (1.0 if callable(rate) else rate != 0), lr_v
        )
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
