"""Averages over nodes with a derivative at any covariance, also a singular one.

By Price's theorem, ::

    d<f>/dC_ab = 1/2 <d^2 f / dz_a dz_b>   for a = b, and twice that for the pair,

with z the fields and C their covariance.  It holds for singular C, too, such as that of a student
that equals its teacher, where the root of C has no derivative.  Importing this module imports JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from odes.averages.closed import Moments
from odes.averages.quadrature import Points
from odes.averages.sampled import along_feedback, field_roots, update_at
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher
from odes.common.tasks import Stream

CHUNK = 2**10
"""Points averaged over at once in second derivatives."""


def differentiable_moments(
    C: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    *,
    points: Points,
    stream: Stream | None = None,
) -> Moments:
    """The moments of ``odes.averages.sampled.sampled_moments``, with a derivative at any C.

    Fields with a direction are taken by Stein's lemma, ``<delta_k y> = sum_a <d delta_k / dz_a>
    C_ay``, and the dependence on C to first order, by Price's theorem (module docstring).
    """
    n = C.shape[0]
    C_here = jax.lax.stop_gradient(C)
    root_here, _ = field_roots(C_here, state.R.shape[-2])
    given = state, teacher, parameters
    kinds = rule, activation, stream

    def one(fields: Any, zeta: Any, given: Any) -> Any:
        """What is averaged: slopes of delta, delta delta, readout, and gamma e if there is one."""
        state, teacher, parameters = given

        def update(fields: Any) -> Any:
            made, error = update_at(fields, zeta, state, teacher, parameters, *kinds)
            along_F = along_feedback(made.gamma, error)
            others = jnp.outer(made.delta, made.delta), made.readout, along_F, made.weights
            return made.delta, others

        return jax.jacfwd(update, has_aux=True)(fields)

    def mean(function: Callable[[Any, Any], Any]) -> Any:
        """The average of a function of fields and noise."""

        def add(total: Any, chunk: Any) -> Any:
            nodes, weights = chunk
            values = jax.vmap(lambda z: function(root_here @ z[:n], z[n:]))(nodes)
            summed = jax.tree.map(lambda each: jnp.tensordot(weights, each, 1), values)
            return jax.tree.map(jnp.add, total, summed), None

        nodes, weights = jnp.asarray(points.nodes), jnp.asarray(points.weights)
        missing = -len(weights) % CHUNK
        nodes = jnp.pad(nodes, ((0, missing), (0, 0))).reshape(-1, CHUNK, nodes.shape[1])
        weights = jnp.pad(weights, (0, missing)).reshape(-1, CHUNK)
        shapes = jax.eval_shape(function, nodes[0, 0, :n], nodes[0, 0, n:])
        start = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), shapes)
        return jax.lax.scan(add, start, (nodes, weights))[0]

    values = mean(lambda fields, zeta: one(fields, zeta, given))
    here = jax.lax.stop_gradient(given)
    curved = mean(lambda fields, zeta: jax.hessian(one)(fields, zeta, here))
    change = C - C_here

    def to_first_order(value: Any, hessian: Any) -> Any:
        return value + jnp.tensordot(hessian, change, 2) / 2

    slopes, others = jax.tree.map(to_first_order, values, curved)
    return Moments(slopes, *others)
