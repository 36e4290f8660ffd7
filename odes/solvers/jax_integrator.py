"""The equations integrated in JAX, by diffrax.

Importing this module imports JAX and diffrax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import diffrax
import jax.numpy as jnp
import optimistix

from odes.common.order_parameters import (
    MAGNITUDE_LIMIT,
    STATUS,
    Array,
    Hyperparameters,
    OrderParameters,
)
from odes.common.schedules import parameters_at
from odes.problem import Problem
from odes.solvers.stopping import distance
from odes.solvers.trajectory import LOCAL_ERROR_FRACTION, attainable

MIN_STEP_FRACTION = 1e-13
"""Steps are not made shorter than this times the last time, and so do not end at a singularity."""

CROSSING_RTOL = 1e-10
"""Of the time at which ``until`` is reached."""

MIN_INTERVAL = 1e-9
"""The integrator needs an interval, also where the initial state is all that is wanted."""


class Flow(NamedTuple):
    """A :class:`odes.Trajectory` as JAX arrays, NaN from where it stopped."""

    times: Array  # (n,) samples / N
    order_parameters: OrderParameters  # leading axis n
    generalization_error: Array  # (n,)
    status: Array  # (), an index into STATUS
    n_steps: Array  # (), steps of the integrator, rejected ones among them
    output_errors: Any = None  # (n, O), as of a Trajectory
    stopped: Any = None  # (), when it stopped; the last time if it did not
    final: Any = None  # OrderParameters then, to go on from


class Packed(NamedTuple):
    """A solution as packed states, infinite from where it stopped."""

    problem: Problem  # with the scale of learned feedback absorbed
    times: Array  # (n,)
    y: Array  # (n, size)
    last: Array  # (size,), the state where it stopped
    stopped: Array  # (), the time then
    status: Array  # (), an index into STATUS
    n_steps: Array  # ()

    def at(self, chosen: Any) -> Packed:
        """Some of the times."""
        return self._replace(times=self.times[chosen], y=self.y[chosen])

    def flow(self) -> Flow:
        """The learning curve at these times."""
        problem = self.problem
        reached = jnp.cumsum(_is_beyond(self.y)) == 0
        start = problem.pack(problem.initial)
        y = jnp.where(reached[:, None], self.y, start)  # where the error has a finite gradient
        errors = problem.output_errors(problem.unpack(y))
        states = problem.unpack(jnp.where(reached[:, None], y, jnp.nan))
        return Flow(
            self.times,
            problem.sent_back(states, self.times),
            jnp.where(reached, problem.total(errors), jnp.nan),
            self.status,
            self.n_steps,
            jnp.where(reached[:, None], errors, jnp.nan),
            self.stopped,
            problem.unpack(self.last),
        )


def _is_beyond(y: Array) -> Array:
    """Whether packed states, (..., size), are larger than order parameters may be."""
    return ~(jnp.max(jnp.abs(y), axis=-1) <= MAGNITUDE_LIMIT)


def _events(left: Callable[[Array], Array] | None, jumps: bool) -> diffrax.Event:
    """What ends an integration: a state beyond what there may be, or nothing left to go.

    The latter is found within a step, unless what is left ``jumps``.
    """

    def is_beyond(t: Any, y: Array, args: Any, **_: Any) -> Array:
        return _is_beyond(y)

    if left is None:
        return diffrax.Event(is_beyond)
    if jumps:
        return diffrax.Event((is_beyond, lambda t, y, args, **_: left(y) <= 0))
    newton: Any = optimistix.Newton(rtol=CROSSING_RTOL, atol=CROSSING_RTOL)
    crossing = (is_beyond, lambda t, y, args, **_: left(y))
    return diffrax.Event(crossing, newton, direction=(None, False))


def integrate(
    problem: Problem,
    parameters: Hyperparameters,
    times: Array,
    *,
    jumps: Any,
    rtol: float,
    atol: float,
    max_steps: int,
    until: Any = None,
    slack: Any = 1.0,
) -> Packed:
    """The solution at times (n,), of arrays in double precision, to be differentiated forward.

    The parameters jump at ``jumps`` (n,).  Tolerances are multiplied by ``slack``.
    """
    problem = replace(problem, parameters=parameters).with_scaled_start()
    rtol, atol = attainable(problem, rtol, atol)
    start = problem.pack(problem.initial)

    end = jnp.maximum(times[-1], MIN_INTERVAL)
    controller = diffrax.PIDController(
        rtol=LOCAL_ERROR_FRACTION * rtol * slack,
        atol=LOCAL_ERROR_FRACTION * atol * slack,
        dtmin=MIN_STEP_FRACTION * end,
    )
    if len(jumps):
        controller = diffrax.ClipStepSizeController(controller, jump_ts=jumps)
    left = None if until is None else distance(problem, until)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, _: problem.drift(y, parameters_at(problem.parameters, t))),
        diffrax.Tsit5(),
        t0=0.0,
        t1=end,
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=controller,
        event=_events(left, problem.rule.classifies and not callable(until)),
        max_steps=max_steps,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )
    (y, (last,)), (_, (stopped,)) = solution.ys, solution.ts
    y = jnp.where(times[:, None] == 0, start, y)
    ended = solution.result
    crossed = jnp.array(False)
    if left is not None:
        at_once = left(start) <= 0
        crossed = at_once | solution.event_mask[1]
        stopped, last = jnp.where(at_once, 0.0, stopped), jnp.where(at_once, start, last)
        y = jnp.where(at_once & (times > 0)[:, None], jnp.inf, y)
    status = jnp.select(
        [
            crossed,
            ended == diffrax.RESULTS.successful,
            (ended == diffrax.RESULTS.event_occurred) & jnp.all(jnp.isfinite(last)),
            ended == diffrax.RESULTS.max_steps_reached,
        ],
        [STATUS.index(each) for each in ("reached", "ok", "diverged", "max_steps")],
        STATUS.index("nonfinite"),
    )
    stopped = jnp.where(status == STATUS.index("ok"), times[-1], stopped)
    return Packed(problem, times, y, last, stopped, status, solution.stats["num_steps"])
