"""Integration by LSODA, restarted at jumps, with a status that says how it ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.integrate import LSODA
from scipy.optimize import brentq

from odes.common.order_parameters import MAGNITUDE_LIMIT, Array
from odes.common.schedules import Stretch, stretches

MAX_EULER_TIME = 1e-100
"""Up to this time one Euler step is exact in double precision; LSODA fails from about 1e-150 on."""

JACOBIAN_STEP = 1e-6
"""Step of the differences from which the integrator has the Jacobian of the drift, relative to an
order parameter above 1, and absolute below.

LSODA's own differences take a fraction of each order parameter: where that tends to 0, they are
rounding, and the time steps shrink without limit."""

MAX_SLIDING_DISTANCE = 1e-5
"""How close to a jump of the drift at 0 an order parameter is that slides along it."""


class Step(NamedTuple):
    """A step of the integrator, and the state at its middle, as one vector."""

    start: float
    end: float
    middle: np.ndarray


class Integrated(NamedTuple):
    """A solution, how and when it stopped, and where it was then."""

    y: np.ndarray  # at the times, (n, D), NaN from where it stopped
    status: str
    stopped: float | None  # None if it got to the last time
    end: np.ndarray  # at the last time, or where it stopped, (D,)


def integrated(
    velocity: Callable[[float, np.ndarray], Array],
    y0: np.ndarray,
    times: np.ndarray,
    jumps: list[float],
    rtol: float,
    atol: float,
    max_steps: int,
    steps: list[Step] | None = None,
    approximate: Callable[[float, np.ndarray], Array] | None = None,
    until: Callable[[np.ndarray], float] | None = None,
) -> Integrated:
    """The solution at ``times``, (n, size of y).

    The velocity may jump at ``jumps``, where it has the value from then on: integration begins anew
    there, and what is before sees the value from before.  The steps taken are appended to
    ``steps``.  The Jacobian is that of ``approximate``, a velocity that may be a little off.  It
    stops with the status "reached" where ``until`` of a state is no longer positive.

    LSODA is stepped by hand, because it calls a step to NaN a success, and because what was reached
    is to survive a failure.
    """
    y = np.full((times.size, y0.size), np.nan)
    done = 0
    if times[0] == 0:
        y[0], done = y0, 1
    if until is not None and until(y0) <= 0:
        return Integrated(y, "reached", 0.0, y0)
    if done == times.size:
        return Integrated(y, "ok", None, y0)
    initial_velocity = velocity(0.0, y0)
    if not np.all(np.isfinite(initial_velocity)):
        return Integrated(y, "nonfinite", 0.0, y0)
    if times[-1] <= MAX_EULER_TIME:
        y = y0 + times[:, None] * initial_velocity
        return Integrated(y, "ok", None, y[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSODA's own words on a failed step; the status says it
        pieces = iter(stretches(jumps, times[-1]))
        velocities = velocity, approximate or velocity
        solver = _integrator(*velocities, next(pieces), y0, rtol, atol)
        for _ in range(max_steps):
            solver.step()
            size = abs(solver.y).max()
            if np.isnan(size):
                return Integrated(y, "nonfinite", float(solver.t), solver.y)
            if solver.status == "failed":
                if not np.all(np.isfinite(velocity(solver.t, solver.y))):
                    return Integrated(y, "nonfinite", float(solver.t), solver.y)
                break
            until_then, crossed = solver.t, False
            if until is not None and until(solver.y) <= 0:
                until_then, crossed = _crossing(until, solver), True
            if steps is not None:
                middle = (solver.t_old + solver.t) / 2
                steps.append(Step(solver.t_old, solver.t, solver.dense_output()(middle)))
            if times[done] <= until_then:
                reached = np.searchsorted(times, until_then, side="right")
                y[done:reached] = solver.dense_output()(times[done:reached]).T
                done = reached
            if crossed:
                end = solver.dense_output()(until_then)
                return Integrated(y, "reached", until_then, end)
            if size > MAGNITUDE_LIMIT:
                return Integrated(y, "diverged", float(solver.t), solver.y)
            if solver.status == "finished":
                if done == times.size:
                    return Integrated(y, "ok", None, solver.y)
                solver = _integrator(*velocities, next(pieces), solver.y, rtol, atol)
    sliding = _is_sliding(partial(velocity, solver.t), solver.y)
    return Integrated(y, "sliding" if sliding else "max_steps", float(solver.t), solver.y)


def _crossing(until: Callable[[np.ndarray], float], solver: LSODA) -> float:
    """The first time within the last step at which ``until``, positive before it, is 0."""
    dense = solver.dense_output()
    if until(dense(solver.t_old)) <= 0:
        return float(solver.t_old)
    return float(brentq(lambda t: until(dense(t)), solver.t_old, solver.t, xtol=1e-12, rtol=1e-12))


def _is_sliding(velocity: Callable[[np.ndarray], Array], y: np.ndarray) -> bool:
    """Whether an order parameter is kept at 0, where the drift jumps.

    The jump between its two sides is then as large at a thousandth of the distance.
    """
    for index in np.flatnonzero(np.abs(y) < MAX_SLIDING_DISTANCE):
        jumps = []
        for distance in (MAX_SLIDING_DISTANCE, MAX_SLIDING_DISTANCE / 1000):
            sides = np.array([y, y])
            sides[:, index] = -distance, distance
            jumps.append(np.max(np.abs(velocity(sides[1]) - velocity(sides[0]))))
        if jumps[1] > jumps[0] / 2 > 0:
            return True
    return False


def _integrator(
    velocity: Callable[[float, np.ndarray], Array],
    approximate: Callable[[float, np.ndarray], Array],
    stretch: Stretch,
    y: np.ndarray,
    rtol: float,
    atol: float,
) -> LSODA:
    """The integrator of a stretch of time within which nothing jumps."""

    def clipped(t: float, y: np.ndarray) -> Array:
        return velocity(stretch.clipped(t), y)

    def jacobian(t: float, y: np.ndarray) -> np.ndarray:
        t = stretch.clipped(t)
        here = approximate(t, y)
        sizes = JACOBIAN_STEP * np.maximum(np.abs(y), 1.0)
        columns = [approximate(t, y + move) - here for move in np.diag(sizes)]
        return np.stack(columns, axis=1) / sizes

    return LSODA(clipped, stretch.start, y, stretch.end, rtol=rtol, atol=atol, jac=jacobian)
