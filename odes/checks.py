"""What a valid argument is: the checks at the boundary of every public function.

Each raises a ValueError that names the argument, what it must be and what it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from odes.order_parameters import Hyperparameters


def check_number(name: str, value: Any, *, positive: bool = False) -> float:
    """``value`` as a float, if it is a finite number >= 0, or > 0 if ``positive``."""
    real = isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0)
    if not real or not math.isfinite(value) or value < 0 or (positive and value == 0):
        least = "> 0" if positive else ">= 0"
        raise ValueError(f"Argument `{name}` must be a finite number {least}, but is {value!r}.")
    return float(value)


def check_count(name: str, value: Any, least: int = 1, below: int = 2**31) -> int:
    """``value`` as an int, if it is an integer >= ``least`` and < ``below``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"Argument `{name}` must be an integer >= {least}, but is {value!r}.")
    if value >= below:
        raise ValueError(f"Argument `{name}` must be below {below}, but is {value!r}.")
    return int(value)


def check_seed(seed: Any) -> int:
    """``seed`` as an int, if it is an integer >= 0 and < 2^32, all that a random key holds."""
    return check_count("seed", seed, least=0, below=2**32)


def check_array(name: str, value: Any) -> np.ndarray:
    """``value`` as a float64 array, if it is real and finite."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(f"Argument `{name}` must be a real array, but is {value!r}.") from None
    if not np.all(np.isfinite(array)):
        raise ValueError(f"Argument `{name}` must be a finite array, but is {value!r}.")
    return array.astype(float)


def check_double_precision(array: Any) -> None:
    """ValueError unless a NumPy or JAX array, or what JAX traces in its place, is in float64."""
    if array.dtype != np.float64:
        raise ValueError(
            f"Order parameters must be in float64, but are in {array.dtype}.  With JAX, compute "
            "inside `with jax.enable_x64(True):`, or switch on jax_enable_x64."
        )


def check_times(times: Any) -> np.ndarray:
    """The times as a float array (n,), if they are strictly increasing and >= 0."""
    array = check_array("times", times)
    if array.ndim != 1 or array.size == 0 or array[0] < 0 or not np.all(np.diff(array) > 0):
        raise ValueError(
            "Argument `times` must be a one-dimensional, strictly increasing array of numbers "
            f">= 0, but is {times!r}."
        )
    return array


def hyperparameters(
    *,
    lr: float,
    lr_v: float | None = None,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
) -> Hyperparameters:
    """Checked scalars of the online update.

    ``lr_v=None`` means equal to ``lr``, and ``weight_decay_v=None`` equal to ``weight_decay``, but
    0 where ``lr_v`` is 0: a frozen readout stays as it is.

    Raises ValueError for anything but finite numbers >= 0.
    """
    lr_v = lr if lr_v is None else lr_v
    if weight_decay_v is None:
        weight_decay_v = weight_decay if lr_v else 0.0
    values = Hyperparameters(lr, lr_v, noise, weight_decay, weight_decay_v)
    return Hyperparameters(*map(check_number, Hyperparameters._fields, values))


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
    raise ValueError(f"Argument `{name}` must be one of {listed}, but is {choice!r}.")
