"""What one sample does to the order parameters of a large network, and how that scatters.

Importing this module imports JAX.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from odes.averages.closed import Moments
from odes.averages.sampled import along_feedback, roots, updates_at
from odes.common.groups import at_factor, has_groups, pooled
from odes.common.order_parameters import (
    Hyperparameters,
    OrderParameters,
    joint_covariance,
    scale_feedback,
)
from odes.common.tasks import Stream
from odes.problem import Problem


def _updates(
    problem: Problem,
    state: OrderParameters,
    parameters: Hyperparameters,
    stream: Stream | None = None,
) -> tuple[Any, Any, Any, Any]:
    """What the rule does at the points: see ``updates_at``, and the normals of the fields."""
    fed_back = pooled(*scale_feedback(state, problem.teacher, parameters.feedback_scale))
    C = joint_covariance(*fed_back)
    nodes = problem.points.nodes
    made = updates_at(nodes, C, *fed_back, parameters, problem.rule, problem.activation, stream)
    return *made, nodes[:, : len(C)]


def of_factor(problem: Problem, tau: Any) -> Problem:
    """The problem with inputs of this factor alone."""
    teacher = problem.teacher
    if teacher.inputs is None:
        return problem
    return replace(problem, teacher=teacher._replace(inputs=at_factor(teacher.inputs, tau)))


def squared_updates(
    problem: Problem, state: OrderParameters, parameters: Hyperparameters
) -> tuple[Any, Any]:
    """``<delta_k delta_l |x|^2 / N>`` and ``<delta_k delta_l (|x|^2 - <|x|^2>)>``, (K, K).

    Of the part of x in each group of inputs, (S, K, K), if there are any: given the fields lambda,
    ``<|x_s|^2> - N_s omega_s = omega_s^2 (q C_s q - trace(C_s C^-1))`` with ``q = C^-1 lambda``.
    """
    update, _, inverse, z = _updates(problem, state, parameters)
    weighted, inputs = problem.points.weights[:, None] * update.delta, problem.teacher.inputs
    delta_delta = weighted.T @ update.delta
    if inputs is None:
        longer = jnp.sum(z * z, axis=1) - z.shape[1]
        return delta_delta, (longer[:, None] * weighted).T @ update.delta
    C, q = joint_covariance(state, problem.teacher), z @ inverse
    trace = jnp.sum(C * (inverse.T @ inverse), axis=(1, 2))
    longer = jnp.einsum("na,sab,nb->sn", q, C, q) - trace[:, None]
    omega = inputs.eigenvalues[:, None, None]
    with_length = omega**2 * jnp.einsum("sn,nk,nl->skl", longer, weighted, update.delta)
    return omega * inputs.shares[:, None, None] * delta_delta, with_length


def diffusion(problem: Problem, y: Any, parameters: Hyperparameters, room: int = 1) -> Any:
    """D (``fluctuations.py`` beside this) at a packed state, averaged over the problem's points.

    With tasks, each of so many samples as there is ``room`` for in 1 / N of time is of one of them
    by chance, or of none: ``D = sum_j r_j <a a^T>_j - f f^T / room``, with the drift f.
    """
    if not problem.streams:
        return _diffusion_by(problem, y, parameters, None)[0]
    squares: Any = 0.0
    drift: Any = 0.0
    for stream, rate, own in problem.by_stream(parameters):
        D, mean = _diffusion_by(problem, y, own, stream)
        squares = squares + rate * (D + jnp.outer(mean, mean))
        drift = drift + rate * mean
    return squares - jnp.outer(drift, drift) / room


def _diffusion_by(
    problem: Problem, y: Any, parameters: Hyperparameters, stream: Stream | None
) -> tuple[Any, Any]:
    """The covariance and the mean of what a sample does that trains what the stream says."""

    def at(tau: Any) -> tuple[Any, Any]:
        return _diffusion(of_factor(problem, tau), y, parameters, stream)

    inputs = problem.teacher.inputs
    if inputs is None or inputs.factors is None:
        return at(1.0)
    D, means = jax.vmap(at)(inputs.factors)
    mean = inputs.factor_shares @ means
    off = means - mean
    D = jnp.tensordot(inputs.factor_shares, D, 1) + (inputs.factor_shares * off.T) @ off
    return D, mean


def _diffusion(
    problem: Problem, y: Any, parameters: Hyperparameters, stream: Stream | None
) -> tuple[Any, Any]:
    """D of Gaussian inputs, and the mean of what one sample does."""
    state, teacher, weights = problem.unpack(y), problem.teacher, problem.points.weights
    update, error, inverse, z = _updates(problem, state, parameters, stream)

    def increment(update: Any, error: Any, z: Any) -> Any:
        """What one sample does: the drift, with its own moments in place of averages."""
        gamma_error = along_feedback(update.gamma, error)
        own = Moments(
            slopes=jnp.outer(update.delta, z @ inverse),
            delta_delta=jnp.outer(update.delta, update.delta),
            readout=update.readout,
            gamma_error=gamma_error,
            weights=update.weights,
        )
        return problem.drift_by(y, parameters, stream=stream, moments=lambda *_, **__: own)

    a = jax.vmap(increment)(update, error, z)
    mean = weights @ a
    a = a - mean
    D = (weights[:, None] * a).T @ a
    if teacher.inputs is not None:
        return D + _beyond(problem, y, parameters, update.delta, inverse), mean
    if state.B is not None and teacher.P is not None and "S" in problem.rule.needs:
        explained = inverse @ jnp.concatenate([state.B, jnp.asarray(teacher.S)])
        unexplained = teacher.P - explained.T @ explained
        delta_delta = (weights[:, None] * update.delta).T @ update.delta
        size = state.B.size
        beyond = parameters.lr**2 * jnp.kron(delta_delta, unexplained)
        D = D.at[-size:, -size:].add(beyond)
    return D, mean


def _beyond(problem: Problem, y: Any, parameters: Hyperparameters, delta: Any, inverse: Any) -> Any:
    """What the fields of each group of inputs add to D beyond what all fields explain of them.

    With G_s the overlaps of all units, and F, in group s, such fields have the covariance
    ``delta_st omega_s G_s - omega_s omega_t G_s C^-1 G_t``, over the units in the middle.
    """
    state, teacher = problem.unpack(y), problem.teacher
    K, n = state.R.shape[-2], sum(state.R.shape[-2:])
    grouped_B = has_groups(state.B, state) and teacher.P is not None
    G = joint_covariance(state, teacher)
    if grouped_B:
        with_F = jnp.concatenate(jax.tree.map(jnp.asarray, [state.B, teacher.S]), axis=1)
        above = jnp.concatenate([G, with_F], axis=2)
        below = jnp.concatenate([with_F.mT, jnp.asarray(teacher.P)], axis=2)
        G = jnp.concatenate([above, below], axis=1)
    G = teacher.inputs.eigenvalues[:, None, None] * G
    S, size = G.shape[:2]
    explained = (inverse @ G[:, :n]).transpose(1, 0, 2).reshape(n, S * size)
    covariance = jax.scipy.linalg.block_diag(*G) - explained.T @ explained
    weighted = problem.points.weights[:, None] * delta
    root_delta, root = roots(weighted.T @ delta)[0], roots(covariance, jnp.trace(G.sum(0)))[0]
    still = problem.changes(0 * y)

    def change(delta: Any, fields: Any) -> Any:
        moved = -parameters.lr * delta[:, None] * fields.reshape(S, 1, size)
        own = {"B": moved[..., n:]} if grouped_B else {}
        Q = moved[..., :K] + moved[..., :K].mT
        return problem.pack(still._replace(Q=Q, R=moved[..., K:n], **own))

    columns = jax.vmap(jax.vmap(change, (None, 0)), (0, None))(root_delta, root)
    columns = columns.reshape(-1, y.size)
    return columns.T @ columns
