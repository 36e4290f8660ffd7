"""The learning curve as a JAX function: compiled, batched and differentiated like any other.

:func:`odes.solve` integrates in NumPy, without compilation, and checks its input; :func:`flow`
integrates the same equations in JAX.  Importing this module imports JAX and diffrax.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from odes.checks import check_double_precision, shape_overlaps
from odes.drift import closed_moments, drift
from odes.local_fields import error_of, points_of, sampled_moments
from odes.order_parameters import (
    MAGNITUDE_LIMIT,
    STATUS,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
)
from odes.quadrature import Points
from odes.solve import (
    ROUGH,
    STEP,
    check_feedback,
    check_feedback_drift,
    check_tolerances,
    choose,
    has_closed_form,
    is_smooth,
    packing,
)

SMALLEST_STEP = 1e-13
"""Steps are not made shorter than this times the last time, and so do not end at a singularity."""

SHORTEST = 1e-9
"""The integrator needs an interval, also where the initial state is all that is wanted."""


class Flow(NamedTuple):
    """A :class:`odes.Trajectory` as JAX arrays, NaN from where it stopped."""

    times: Array  # (n,) samples / N
    order_parameters: OrderParameters  # leading axis n
    generalization_error: Array  # (n,)
    status: Array  # (), an index into STATUS
    n_steps: Array  # (), steps of the integrator, rejected ones among them


def flow(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: Any,
    lr_v: Any = None,
    feedback_scale: Any = 1.0,
    noise: Any = 0.0,
    weight_decay: Any = 0.0,
    weight_decay_v: Any = None,
    activation: Any = "erf",
    times: Any,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 10_000,
    points: int | Points | None = None,
) -> Flow:
    """The learning curve of ``odes.drift`` as a function for jax.jit, vmap, grad and jvp.

    Both modes of differentiation work, by every array and scalar but ``times`` and the
    tolerances; with few parameters, forward mode (jax.jvp, jax.jacfwd) compiles in half the time.
    Since arrays and scalars may be traced, only names, shapes and tolerances are checked.  JAX has
    to be in double precision: call it, and whatever transforms it, inside
    ``with jax.enable_x64(True):``.

    Args:
        initial, teacher, rule, lr, lr_v, noise, weight_decay, weight_decay_v, activation, times,
            max_steps, points: as for :func:`odes.solve`.
        feedback_scale: multiplies F, that is B and S, and P by its square.
        rtol, atol: relative and absolute accuracy.  The steps of the integrator (Tsit5) are held to
            0.03 times these, or to 1e-4 where the rule or the activation is not smooth.

    Returns:
        A Flow.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    check_double_precision(jnp.zeros(()))
    rule, activation = choose(rule, activation)
    rtol, atol, max_steps = check_tolerances(rtol, atol, max_steps)
    initial, teacher = shape_overlaps(
        initial, teacher, rule.needs, lambda name, value: jnp.asarray(value, float)
    )
    check_feedback(rule, initial)
    noisy = isinstance(noise, jax.core.Tracer) or bool(np.any(noise))
    if points is not None or not has_closed_form(rule, activation):
        points = points_of(initial, teacher, points, noisy, rule, activation)
    lr_v = lr if lr_v is None else lr_v
    if weight_decay_v is None:
        weight_decay_v = jnp.where(jnp.asarray(lr_v) == 0, 0.0, weight_decay)
    times = jnp.asarray(times, float)
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"Argument `times` must have shape (n,), but has shape {times.shape}.")
    given = Hyperparameters(lr, lr_v, noise, weight_decay, weight_decay_v)
    for name, value in {"feedback_scale": feedback_scale, **given._asdict()}.items():
        if jnp.ndim(value) != 0:
            raise ValueError(
                f"Argument `{name}` must be a scalar, but has shape {jnp.shape(value)}."
            )
    parameters = Hyperparameters(*(jnp.asarray(value, float) for value in given))
    return integrate(
        *scale_feedback(initial, teacher, feedback_scale),
        parameters,
        times,
        points,
        rule=rule,
        activation=activation,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
    )


def scale_feedback(
    initial: OrderParameters, teacher: Teacher, scale: Array
) -> tuple[OrderParameters, Teacher]:
    """The overlaps with F times ``scale``: B and S times it, and P times its square."""

    def times(overlap: Array | None, factor: Array) -> Array | None:
        return None if overlap is None else factor * overlap

    return (
        initial._replace(B=times(initial.B, scale)),
        teacher._replace(S=times(teacher.S, scale), P=times(teacher.P, scale * scale)),
    )


def integrate(
    initial: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    times: Array,
    points: Points | None,
    *,
    rule: Any,
    activation: Any,
    rtol: float,
    atol: float,
    max_steps: int,
) -> Flow:
    """:func:`flow` of arrays in double precision, with points None for closed forms."""
    moments = closed_moments if points is None else partial(sampled_moments, points=points)
    if points is not None and not is_smooth(rule, activation):
        rtol, atol = max(rtol, ROUGH / STEP), max(atol, ROUGH / STEP / 100)

    pack, unpack = packing(initial)

    def change(state: OrderParameters, teacher: Teacher) -> OrderParameters:
        return drift(state, teacher, parameters, rule=rule, activation=activation, moments=moments)

    check_feedback_drift(initial, jax.eval_shape(change, initial, teacher))

    def velocity(t: Any, y: Array, teacher: Teacher) -> Array:
        return pack(change(unpack(y), teacher))

    def beyond(y: Array) -> Array:
        return ~(jnp.max(jnp.abs(y), axis=-1) <= MAGNITUDE_LIMIT)

    end = jnp.maximum(times[-1], SHORTEST)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=0.0,
        t1=end,
        dt0=None,
        y0=pack(initial),
        args=teacher,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=diffrax.PIDController(
            rtol=STEP * rtol, atol=STEP * atol, dtmin=SMALLEST_STEP * end
        ),
        event=diffrax.Event(lambda t, y, teacher, **_: beyond(y)),
        max_steps=max_steps,
        adjoint=diffrax.DirectAdjoint(),
        throw=False,
    )
    y, (last,) = solution.ys
    y = jnp.where(times[:, None] == 0, pack(initial), y)
    ended = solution.result
    status = jnp.select(
        [
            ended == diffrax.RESULTS.successful,
            (ended == diffrax.RESULTS.event_occurred) & jnp.all(jnp.isfinite(last)),
            ended == diffrax.RESULTS.max_steps_reached,
        ],
        [STATUS.index("ok"), STATUS.index("diverged"), STATUS.index("max_steps")],
        STATUS.index("nonfinite"),
    )
    reached = jnp.cumsum(beyond(y)) == 0
    y = jnp.where(reached[:, None], y, pack(initial))  # where the error has a finite gradient
    error = error_of(unpack(y), teacher, points, activation=activation)
    return Flow(
        times,
        unpack(jnp.where(reached[:, None], y, jnp.nan)),
        jnp.where(reached, error, jnp.nan),
        status,
        solution.stats["num_steps"],
    )
