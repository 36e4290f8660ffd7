"""How networks of N inputs scatter around the equations: the linear-noise approximation.

One sample moves the order parameters y by a / N, where a depends on the fields of that sample and
averages to the drift f(y).  To leading order in 1/N, y scatters around the trajectory as a normal
distribution whose covariance Sigma / N obeys (van Kampen's expansion; for online learning Barber,
Saad and Sollich 1996) ::

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
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

from odes.averages.nodes import points_of
from odes.averages.quadrature import Points
from odes.averages.sampled import over_factors
from odes.common.layers import layers_of
from odes.common.order_parameters import (
    Hyperparameters,
    scale_feedback,
)
from odes.common.schedules import parameters_at
from odes.common.tasks import room_for
from odes.common.trajectory import Fluctuations
from odes.problem import Problem
from odes.solvers.diffusion_matrix import diffusion, of_factor, squared_updates
from odes.solvers.integrator import Step
from odes.state_vector import packing

POINTS = 2**13
"""Sobol points for D, unless the caller of ``solve`` chose others: good to about 1 per cent."""

ROOM_TRIED = 1e3
"""Times per unit of t at which rates that are functions are tried."""

MIN_LENGTH = 2**8
"""Least length of the padded arrays of states, so that few are compiled; padding costs nothing."""


def linear_noise(
    problem: Problem,
    *,
    points: int | Points | None,
    steps: list[Step],
    times: np.ndarray,
    y: np.ndarray,
) -> Fluctuations:
    """The fluctuations at ``times``, around the packed states y (n, D), which the steps lead to.

    ``points`` is as the caller of ``solve`` gave it.  Within a step, J and D are taken at its
    middle, which was good to 1e-3 of Sigma at K = M = 1, less than what the points of D cost.
    """
    initial, teacher, parameters = problem.initial, problem.teacher, problem.parameters
    noisy = any(noise > 0 for noise in layers_of(parameters.noise))
    rule, activation = problem.rule, problem.activation
    noise_points = points_of(initial, teacher, points or POINTS, noisy, rule, activation)
    middle_times = [(step.start + step.end) / 2 for step in steps] or [0.0]
    then = [parameters_at(parameters, t) for t in middle_times]
    in_steps = jax.tree.map(lambda *each: _padded(np.array(each, float)), *then)
    middles = _padded(np.reshape([step.middle for step in steps], (-1, y.shape[1])))
    each_step, each_time = (len(steps), middles), (len(y), _padded(y))

    room = np.array(room_for(parameters, ROOM_TRIED, times[-1]))
    J, D = problem.compiled(_rates)(*each_step, in_steps, noise_points, room)
    slope = problem.compiled(_slopes)(*each_time)[: len(y)]
    Sigma, between = _covariances(J, D, steps, times)
    Sigma[np.any(np.isnan(y), axis=1)] = np.nan
    bias = None
    if problem.points is None and not problem.streams:
        drives = problem.compiled(_drives)(*each_step, in_steps, between, noise_points)
        m = _shifts(J, drives, steps, times)
        curved = problem.compiled(_curvatures)(*each_time)[: len(y)] * Sigma
        bias = np.sum(slope * m, axis=1) + np.sum(curved, axis=(1, 2)) / 2
    variance = np.maximum(np.einsum("na,nab,nb->n", slope, Sigma, slope), 0)  # but for rounding
    covariance = _of_all(problem, Sigma)
    variances = packing(initial)[1](covariance.diagonal(0, -2, -1))
    return Fluctuations(covariance, variances, variance, bias)


def _of_all(problem: Problem, Sigma: np.ndarray) -> np.ndarray:
    """The covariance of all order parameters, as the rule sends B back, from that of y."""
    pack, _ = packing(problem.initial)
    ones = problem.changes(np.ones_like(problem.pack(problem.initial)))
    scale = problem.parameters.feedback_scale
    sizes = pack(scale_feedback(ones, problem.teacher, scale)[0])
    moving = np.flatnonzero(pack(ones))
    found = np.zeros((len(Sigma), sizes.size, sizes.size))
    found[:, moving[:, None], moving] = Sigma
    found[np.isnan(Sigma).any(axis=(1, 2))] = np.nan
    return found * np.outer(sizes, sizes)


def _padded(array: np.ndarray) -> np.ndarray:
    """The array, padded with zeros to a power of two, so that few sizes are compiled."""
    size = max(MIN_LENGTH, 2 ** max(len(array) - 1, 0).bit_length())
    return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _first(count: Any, function: Callable[[Any], Any], given: Any) -> Any:
    """``function`` of each of the first ``count`` entries of arrays, and zeros for the others."""

    def entry(index: Any) -> Any:
        return jax.tree.map(lambda array: array[index], given)

    def put(index: Any, found: Any) -> Any:
        return jax.tree.map(
            lambda array, value: array.at[index].set(value), found, function(entry(index))
        )

    entries = len(jax.tree.leaves(given)[0])
    none = jax.tree.map(
        lambda value: jnp.zeros((entries, *value.shape), value.dtype),
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
            flow, noise = propagate(J[index], D[index], h)
            return flow @ now @ flow.T + noise

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
    noise = flow @ block[:n, n:]
    for _ in range(doublings):
        noise = noise + flow @ noise @ flow.T
        flow = flow @ flow
    return flow, (noise + noise.T) / 2


def _rates(
    problem: Problem,
    count: Any,
    middles: Any,
    in_steps: Hyperparameters,
    noise_points: Points,
    room: Any,
) -> tuple[Any, Any]:
    """J and D at the first states, (entries, D, D) each; the parameters have that axis, too."""

    def one(then: tuple[Any, Hyperparameters]) -> tuple[Any, Any]:
        y, parameters = then
        J = jax.jacfwd(lambda y: problem.drift(y, parameters))(y)
        return J, diffusion(replace(problem, points=noise_points), y, parameters, room)

    return _first(count, one, (middles, in_steps))


def _drives(
    problem: Problem,
    count: Any,
    middles: Any,
    in_steps: Hyperparameters,
    Sigma: Any,
    noise_points: Points,
) -> Any:
    """What drives m at the first states, (entries, D), for rules with closed forms."""
    over_points = replace(problem, points=noise_points)

    def one(then: tuple[Any, Hyperparameters, Any]) -> Any:
        y, parameters, Sigma = then
        lr, decay = parameters.lr, parameters.weight_decay

        def velocity(y: Any) -> Any:
            return problem.drift(y, parameters)

        def along(y: Any, direction: Any) -> Any:
            return jax.jvp(velocity, (y,), (direction,))[1]

        eigenvalues, vectors = jnp.linalg.eigh(Sigma)
        columns = (vectors * jnp.sqrt(jnp.maximum(eigenvalues, 0))).T

        def twice(column: Any) -> Any:
            return jax.jvp(lambda y: along(y, column), (y,), (column,))[1]

        state = problem.unpack(y)
        squared, with_length = over_factors(
            lambda tau: squared_updates(of_factor(over_points, tau), state, parameters),
            problem.teacher.inputs,
        )
        f = velocity(y)
        dQ = problem.changes(f).Q
        f_2 = lr**2 * with_length + decay * (lr**2 * squared - dQ - decay * state.Q)
        of_Q = problem.pack(problem.changes(0 * y)._replace(Q=f_2))
        curved = jnp.sum(jax.vmap(twice)(columns), axis=0)
        return curved / 2 + of_Q - along(y, f) / 2

    return _first(count, one, (middles, in_steps, Sigma))


def _slopes(problem: Problem, count: Any, y: Any) -> Any:
    """Gradient of the generalization error at the first states, (entries, D)."""
    return _first(count, jax.grad(partial(_error, problem)), y)


def _curvatures(problem: Problem, count: Any, y: Any) -> Any:
    """Second derivatives of the generalization error at the first states, (entries, D, D)."""
    return _first(count, jax.hessian(partial(_error, problem)), y)


def _error(problem: Problem, y: Any) -> Any:
    """The generalization error of a packed state."""
    return problem.error(problem.unpack(y[None]))[0]
