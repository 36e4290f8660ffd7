"""Parameters that change with time: learning rates and the scale of the feedback.

Wherever a schedule is taken, a function of t stands in place of a number.  Between its jumps it has
to be continuous; where it jumps, it has the value from then on, and its attribute ``jumps`` says
when, so that integrators stop there and go on with the new value.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import check_array, check_number, check_traceable, completed, is_traced
from odes.common.layers import is_several, layers_of
from odes.common.order_parameters import Hyperparameters

SCHEDULED = ("lr", "lr_v", "feedback_scale")
"""The parameters that may change with time."""

MIN_JUMP_DISTANCE = 1e-12
"""Jumps that are no further apart than this times the last time count as one: no integrator takes
so short a step."""

N_PROBES = 65
"""Times at which a schedule is tried before compiled code takes it."""


class PiecewiseConstant(NamedTuple):
    """A parameter that jumps: ``values[i]`` from ``jumps[i - 1]`` on, and ``values[0]`` before.

    For example::

        solve(..., lr=PiecewiseConstant(jumps=[10.0, 30.0], values=[1.0, 0.3, 0.1]))

    With no jumps it is a constant.  Under JAX the values may be traced, the jumps not.
    """

    jumps: Any  # (n - 1,), strictly increasing and > 0, in samples / N
    values: Any  # (n,)

    def __call__(self, t: Any) -> Any:
        """The value at time t, or at an array of times."""
        if isinstance(t, (int, float)) and not math.isnan(t):
            return self.values[bisect_right(self.jumps, t)]
        if not hasattr(t, "__array_namespace__") or isinstance(t, np.ndarray):
            t = check_array("t", t)
        xp = t.__array_namespace__()
        return xp.asarray(self.values)[xp.searchsorted(xp.asarray(self.jumps), t, side="right")]


def parameters_at(parameters: Hyperparameters, t: Any) -> Hyperparameters:
    """The numbers at time t."""

    def now(each: Any) -> Any:
        return each(t) if callable(each) else each

    return Hyperparameters(*[in_each(now, each) for each in parameters])


def in_each(function: Callable[[Any], Any], parameter: Any) -> Any:
    """``function`` of a parameter, or of each of those that are one for each layer, or task."""
    return tuple(map(function, parameter)) if is_several(parameter) else function(parameter)


def jumps_of(parameters: Hyperparameters, end: float) -> list[float]:
    """The times between 0 and ``end`` at which any parameter jumps, in order."""
    schedules = (part for each in parameters for part in layers_of(each))
    jumps = [float(jump) for each in schedules for jump in getattr(each, "jumps", ())]
    return sorted({jump for jump in jumps if 0 < jump < end})


class Stretch(NamedTuple):
    """From ``start`` to ``end`` nothing jumps if times are clipped to ``start`` and ``last``."""

    start: float
    end: float
    last: float

    def clipped(self, t: float) -> float:
        """The time at which parameters are to be taken for time t."""
        return min(max(t, self.start), self.last)


def stretches(jumps: list[float], end: float) -> list[Stretch]:
    """Between jumps from 0 to ``end``; jumps that rounding may have parted count as one."""
    groups = [[0.0]]
    for time in (*jumps, end):
        if time - groups[-1][-1] <= MIN_JUMP_DISTANCE * end:
            groups[-1].append(time)
        else:
            groups.append([time])
    return [
        Stretch(before[-1], after[-1], float(np.nextafter(after[0], 0.0)))
        for before, after in pairwise(groups)
    ]


def scheduled_hyperparameters(**given: Any) -> Hyperparameters:
    """:func:`odes.hyperparameters`, where learning rates and feedback scale may be schedules.

    A schedule becomes a function whose values are checked whenever it is called.
    """

    return completed({"noise": 0.0, "weight_decay": 0.0} | given, check_scheduled)


def may_change(name: str) -> bool:
    """Whether a parameter of this name, such as "lr_v[0]" or "tasks[1].rate", may be a schedule."""
    return name.partition("[")[0] in SCHEDULED or name.endswith(".rate")


def check_scheduled(name: str, value: Any) -> Any:
    """A number, or a schedule where there may be one; ValueError otherwise."""
    scheduled = callable(value) and may_change(name)
    return check_schedule(name, value) if scheduled else check_number(name, value)


def check_scale(learns_feedback: bool, parameters: Hyperparameters) -> None:
    """ValueError for a feedback scale that changes with time, of a rule that learns its feedback.

    A number is the scale that such a feedback starts with.
    """
    if learns_feedback and callable(parameters.feedback_scale):
        raise ValueError(
            "Argument `feedback_scale` must be a number for a rule that learns its feedback, but "
            "is a schedule."
        )


def check_schedule(name: str, given: Any) -> Checked:
    """The same schedule, checked whenever it is called; ValueError for one that cannot be."""
    jumps = check_jumps(name, given)
    if isinstance(given, PiecewiseConstant):
        values = check_array(f"{name}.values", given.values)
        if np.any(values < 0):
            raise ValueError(f"Argument `{name}` must have values >= 0, but has {values.tolist()}.")
        given = PiecewiseConstant(jumps, values)
    return Checked(name, given, jumps)


def check_jumps(name: str, given: Any) -> np.ndarray:
    """The jumps of a schedule, (n,); ValueError unless they increase, and values are one more."""
    if is_traced(getattr(given, "jumps", ())):
        raise ValueError(
            f"Argument `{name}` must have jumps that are not traced by JAX, since there are no "
            "derivatives by them; its values may be."
        )
    jumps = check_array(f"{name}.jumps", getattr(given, "jumps", ()))
    if jumps.ndim != 1 or np.any(jumps <= 0) or np.any(np.diff(jumps) <= 0):
        raise ValueError(
            f"Argument `{name}` must have jumps that are > 0 and strictly increasing, "
            f"but has {given.jumps!r}."
        )
    if isinstance(given, PiecewiseConstant):
        traced = is_traced(given.values)
        values = (check_traceable if traced else check_array)(f"{name}.values", given.values)
        if values.shape != (jumps.size + 1,):
            raise ValueError(
                f"Argument `{name}` must have one value more than jumps, {jumps.size + 1}, "
                f"but has values of shape {values.shape}."
            )
    return jumps


class Checked(NamedTuple):
    """A schedule that returns finite numbers >= 0, or raises ValueError."""

    name: str
    function: Callable[[float], Any]
    jumps: Any

    def __call__(self, t: float) -> float:
        value = self._called(t)
        try:
            return check_number(self.name, value)
        except ValueError:
            raise ValueError(
                f"Argument `{self.name}` must return a finite number >= 0 at every time, "
                f"but returned {value!r} at t = {t:g}."
            ) from None

    def _called(self, t: float) -> Any:
        """What the function returns; if that is of JAX, as a NumPy array in double precision."""
        try:
            value = self.function(t)
            jax = sys.modules.get("jax")
            if jax is not None and isinstance(value, jax.Array):
                with jax.enable_x64(True):
                    value = np.asarray(self.function(t))
        except Exception as error:
            raise ValueError(
                f"Argument `{self.name}` must return a finite number >= 0 at every time, "
                f"but raised {error!r} at t = {t:g}."
            ) from error
        return value


def probed(parameters: Hyperparameters, end: float) -> Hyperparameters:
    """The parameters with schedules as the user gave them, unchecked.

    Raises ValueError if one returns no number >= 0 at its jumps or at some times between, so that
    neither compiled code, which cannot raise anything, nor a long simulation comes upon it.
    """
    times = np.union1d(np.linspace(0.0, end, N_PROBES), jumps_of(parameters, end))
    for t in times.tolist():
        parameters_at(parameters, t)

    def as_given(each: Any) -> Any:
        return getattr(each, "function", each)

    return Hyperparameters(*(in_each(as_given, each) for each in parameters))
