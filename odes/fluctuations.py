"""How networks of N inputs scatter around the equations: the linear-noise approximation.

One sample moves the order parameters y by a / N, where a depends on the fields of that sample and
averages to the drift f(y).  To leading order in 1/N, y scatters around the trajectory as a normal
law whose covariance Sigma / N obeys (van Kampen's expansion; for online learning Barber, Saad and
Sollich 1996) ::

    dSigma/dt = J Sigma + Sigma J^T + D,    J = df/dy,    D = <a a^T> - <a><a>^T

with Sigma = 0 at the start, whose overlaps are known.  Where B moves along F, the part of the field
of F that no unit explains adds ``lr^2 <delta_k delta_l> (P - [B; S]^T C^-1 [B; S])`` to the D of
B.  It holds as long as Sigma / N stays small, also along directions that an escape from a plateau
amplifies.

The mean of y is off the trajectory by m / N, to the next order::

    dm/dt = J m + 1/2 sum_ab Sigma_ab d^2 f / dy_a dy_b + f_2 - 1/2 J f

from the curvature of f, from what a step of a finite network does besides f, f_2 / N, and from time
that is discrete.  Without gamma only Q has an f_2, with x the input ::

    f_2 = lr^2 <delta_k delta_l (|x|^2 - N)> + kappa ( lr^2 <delta_k delta_l> - f - kappa Q ).

Importing this module imports JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

from odes.drift import Moments, closed_moments, unchecked_drift, unchecked_error
from odes.local_fields import compiled, error_of, moments_over, packed_drift, points_of, updates_at
from odes.order_parameters import (
    Fluctuations,
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
)
from odes.quadrature import Points
from odes.schedules import parameters_at
from odes.solve import Step, has_closed_form, packing

POINTS = 2**13
"""Sobol points for D, unless the caller of ``solve`` chose others: good to about 1 per cent."""

PLACES = 2**8
"""Places for states that compiled code has at least; those that are empty cost nothing."""


def linear_noise(
    initial: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    *,
    points: int | Points | None,
    rule: Any,
    activation: Any,
    steps: list[Step],
    times: np.ndarray,
    y: np.ndarray,
) -> Fluctuations:
    """The fluctuations at ``times``, around the states y (n, D), which the steps lead to.

    The rest is as the caller of ``solve`` gave it, and B, S and P in units of the F that is fed
    back, whose scale is a number.  Within a step, J and D are taken at its middle,
    which was good to 1e-3 of Sigma at K = M = 1, less than what the points of D cost.
    """
    noisy = parameters.noise > 0
    noise_points = points_of(initial, teacher, points or POINTS, noisy, rule, activation)
    drift_points = None
    if points is not None or not has_closed_form(rule, activation):
        drift_points = points_of(initial, teacher, points, noisy, rule, activation)
    _, unpack = packing(initial)
    shared: dict[str, Any] = {"rule": rule, "activation": activation}
    given = initial, teacher
    closed = drift_points is None
    then = [parameters_at(parameters, (step.start + step.end) / 2) for step in steps]
    in_steps = Hyperparameters(
        *map(_padded, np.reshape(then, (-1, len(Hyperparameters._fields))).T)
    )
    middles = _padded(np.reshape([step.middle for step in steps], (-1, y.shape[1])))
    each_step, each_time = (len(steps), middles), (len(y), _padded(y))

    with jax.enable_x64(True):
        rates = compiled(_rates, **shared)(*each_step, in_steps, *given, drift_points, noise_points)
        slope = np.asarray(compiled(_slopes, **shared)(*each_time, *given, drift_points))[: len(y)]
    J, D = map(np.asarray, rates)
    Sigma, between = _covariances(J, D, steps, times)
    Sigma[np.any(np.isnan(y), axis=1)] = np.nan
    variances = unpack(Sigma.diagonal(0, -2, -1))
    bias = None
    if closed:
        with jax.enable_x64(True):
            drives = compiled(_drives, **shared)(
                *each_step, in_steps, between, *given, noise_points
            )
            curvature = compiled(_curvatures, **shared)(*each_time, *given)
        m = _shifts(J, np.asarray(drives), steps, times)
        curved = np.asarray(curvature)[: len(y)] * Sigma
        bias = np.sum(slope * m, axis=1) + np.sum(curved, axis=(1, 2)) / 2
    variance = np.maximum(np.einsum("na,nab,nb->n", slope, Sigma, slope), 0)  # but for rounding
    return Fluctuations(Sigma, variances, variance, bias)


def _padded(array: np.ndarray) -> np.ndarray:
    """Zeros behind it up to a power of two, for few sizes to compile for."""
    size = max(PLACES, 2 ** max(len(array) - 1, 0).bit_length())
    return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _first(count: Any, function: Callable[[Any], Any], given: Any) -> Any:
    """``function`` of each of the first ``count`` entries of arrays, and zeros for the others."""

    def entry(index: Any) -> Any:
        return jax.tree.map(lambda array: array[index], given)

    def put(index: Any, found: Any) -> Any:
        return jax.tree.map(
            lambda array, value: array.at[index].set(value), found, function(entry(index))
        )

    places = len(jax.tree.leaves(given)[0])
    none = jax.tree.map(
        lambda value: jnp.zeros((places, *value.shape), value.dtype),
        jax.eval_shape(function, jax.eval_shape(entry, 0)),
    )
    return jax.lax.fori_loop(0, count, put, none)


def _covariances(
    J: np.ndarray, D: np.ndarray, steps: list[Step], times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sigma at the times, (n, D, D), and at the middle of every step, of the length of J."""
    Sigma = np.zeros((times.size, *J.shape[1:]))
    between = np.zeros_like(J)
    now = np.zeros(J.shape[1:])
    for index, step in enumerate(steps):

        def after(h: float, index: int = index, now: np.ndarray = now) -> np.ndarray:
            flow, kicks = propagate(J[index], D[index], h)
            return flow @ now @ flow.T + kicks

        for at in np.flatnonzero((step.start < times) & (times <= step.end)):
            Sigma[at] = after(times[at] - step.start)
        between[index] = after((step.end - step.start) / 2)
        now = after(step.end - step.start)
    return Sigma, between


def _shifts(J: np.ndarray, drives: np.ndarray, steps: list[Step], times: np.ndarray) -> np.ndarray:
    """m at the times, (n, D), from ``dm/dt = J m + drive`` within every step."""
    m = np.zeros((times.size, J.shape[1]))
    now = np.zeros(J.shape[1])
    for J_step, drive, step in zip(J, drives, steps, strict=False):
        block = np.zeros((len(drive) + 1, len(drive) + 1))
        block[:-1, :-1], block[:-1, -1] = J_step, drive
        for at in np.flatnonzero((step.start < times) & (times <= step.end)):
            m[at] = (expm(block * (times[at] - step.start)) @ np.append(now, 1))[:-1]
        now = (expm(block * (step.end - step.start)) @ np.append(now, 1))[:-1]
    return m


def propagate(J: np.ndarray, D: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """``E = exp(J h)`` and the integral of ``exp(J s) D exp(J s)^T`` over s from 0 to h.

    By the block exponential of Van Loan (1978) over a short time, doubled until it is h.
    """
    n = len(J)
    doublings = math.ceil(math.log2(max(1.0, float(np.linalg.norm(J, 1)) * h)))
    block = expm(np.block([[-J, D], [np.zeros_like(J), J.T]]) * (h / 2**doublings))
    flow = block[n:, n:].T
    kicks = flow @ block[:n, n:]
    for _ in range(doublings):
        kicks = kicks + flow @ kicks @ flow.T
        flow = flow @ flow
    return flow, (kicks + kicks.T) / 2


def _rates(
    count: Any,
    middles: Any,
    in_steps: Hyperparameters,
    initial: OrderParameters,
    teacher: Teacher,
    points: Points | None,
    noise_points: Points,
    *,
    rule: Any,
    activation: Any,
) -> tuple[Any, Any]:
    """J and D at the first states, (places, D, D) each; the parameters have that axis, too."""
    _, unpack = packing(initial)
    shared = {"rule": rule, "activation": activation}

    def one(then: tuple[Any, Hyperparameters]) -> tuple[Any, Any]:
        y, parameters = then
        D = diffusion(unpack(y), teacher, parameters, noise_points, **shared)
        around = initial, teacher, parameters, moments_over(points)
        return jax.jacfwd(packed_drift)(y, *around, **shared), D

    return _first(count, one, (middles, in_steps))


def _drives(
    count: Any,
    middles: Any,
    in_steps: Hyperparameters,
    Sigma: Any,
    initial: OrderParameters,
    teacher: Teacher,
    points: Points,
    *,
    rule: Any,
    activation: Any,
) -> Any:
    """What drives m at the first states, (places, D), for rules with closed forms."""
    pack, unpack = packing(initial)

    def one(then: tuple[Any, Hyperparameters, Any]) -> Any:
        y, parameters, Sigma = then
        lr, decay = parameters.lr, parameters.weight_decay

        def velocity(y: Any) -> Any:
            around = initial, teacher, parameters, closed_moments
            return packed_drift(y, *around, rule=rule, activation=activation)

        def along(y: Any, direction: Any) -> Any:
            return jax.jvp(velocity, (y,), (direction,))[1]

        eigenvalues, vectors = jnp.linalg.eigh(Sigma)
        columns = (vectors * jnp.sqrt(jnp.maximum(eigenvalues, 0))).T

        def twice(column: Any) -> Any:
            return jax.jvp(lambda y: along(y, column), (y,), (column,))[1]

        state = unpack(y)
        C = joint_covariance(state, teacher)
        update, _, _ = updates_at(points.nodes, C, state, teacher, parameters, rule, activation)
        z = points.nodes[:, : len(C)]
        longer = points.weights * (jnp.sum(z * z, axis=1) - len(C))  # |x|^2 - N beside delta
        delta_delta, with_length = (
            (weight[:, None] * update.delta).T @ update.delta for weight in (points.weights, longer)
        )
        f = velocity(y)
        still = jax.tree.map(jnp.zeros_like, state)
        f_2 = lr**2 * with_length + decay * (lr**2 * delta_delta - unpack(f).Q - decay * state.Q)
        curved = jnp.sum(jax.vmap(twice)(columns), axis=0)
        return curved / 2 + pack(still._replace(Q=f_2)) - along(y, f) / 2

    return _first(count, one, (middles, in_steps, Sigma))


def _curvatures(
    count: Any,
    y: Any,
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    activation: Any,
) -> Any:
    """Second derivatives of the generalization error at the first states, (places, D, D)."""
    _, unpack = packing(initial)

    def error(y: Any) -> Any:
        return unchecked_error(unpack(y), teacher, activation)

    return _first(count, jax.hessian(error), y)


def diffusion(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    points: Points,
    *,
    rule: Any,
    activation: Any,
) -> Any:
    """D of the module docstring, in the order of :class:`odes.Fluctuations`."""
    pack, _ = packing(state)
    C = joint_covariance(state, teacher)
    update, error, inverse = updates_at(
        points.nodes, C, state, teacher, parameters, rule, activation
    )

    def increment(update: Any, error: Any, z: Any) -> Any:
        """What one sample does: the drift, with its own moments in place of averages."""
        gamma_error = None if update.gamma is None else jnp.outer(update.gamma, error)
        own = Moments(
            along=lambda overlaps: jnp.outer(update.delta, z @ (inverse @ overlaps)),
            delta_delta=jnp.outer(update.delta, update.delta),
            readout=update.readout,
            gamma_error=gamma_error,
        )
        change = unchecked_drift(
            state, teacher, parameters, rule=rule, activation=activation, moments=lambda *_: own
        )
        return pack(change)

    a = jax.vmap(increment)(update, error, points.nodes[:, : len(C)])
    a = a - points.weights @ a
    D = (points.weights[:, None] * a).T @ a
    if state.B is not None and teacher.P is not None and "S" in rule.needs:
        explained = inverse @ jnp.concatenate([state.B, jnp.asarray(teacher.S)])
        unexplained = teacher.P - explained.T @ explained
        delta_delta = (points.weights[:, None] * update.delta).T @ update.delta
        size = state.B.size
        kicks = parameters.lr**2 * jnp.kron(delta_delta, unexplained)
        D = D.at[-size:, -size:].add(kicks)
    return D


def _slopes(
    count: Any,
    y: Any,
    initial: OrderParameters,
    teacher: Teacher,
    points: Points | None,
    *,
    rule: Any,
    activation: Any,
) -> Any:
    """Gradient of the generalization error at the first states, (places, D)."""
    _, unpack = packing(initial)

    def error(y: Any) -> Any:
        states = jax.tree.map(lambda entry: entry[None], unpack(y))
        return error_of(states, teacher, points, rule=rule, activation=activation)[0]

    return _first(count, jax.grad(error), y)
