"""The arcsines of erf's averages in JAX, fast and for many trajectories at once.

A solution of the equations spends its time in arcsines.  Of the averages I4(k, l, a, b), symmetric
in (k, l) and in (a, b), :func:`second_moment` takes the distinct ones alone, with the trajectories
("lanes") of a batch as the last axis, along which the processor's vector units work.  How much that
gains: ``python benchmarks/bench_sweep.py``.  Importing this module imports JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.averages.special_functions import arcsine
from odes.common.order_parameters import distinct_pairs


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def second_moment(c: Any, C: Any, differentiable: Callable[[Any, Any], Any]) -> Any:
    """``sum_ab c_ka c_lb I4(k, l, a, b) / J2(k, l)`` for erf, (K, K).

    Args:
        c: credit matrix, (K, K + M).
        C: covariance of all fields, (K + M, K + M).
        differentiable: the same function of c and C, of which derivatives are taken.
    """
    return _batched(c, C)


@second_moment.defjvp
def _(
    differentiable: Callable[[Any, Any], Any],
    primals: tuple[Any, Any],
    tangents: tuple[Any, Any],
) -> tuple[Any, Any]:
    derivative = jax.jvp(differentiable, primals, tangents)[1]
    return second_moment(*primals, differentiable), derivative


@jax.custom_batching.custom_vmap
def _batched(c: Any, C: Any) -> Any:
    """:func:`second_moment` of arrays with any axes after the first two.

    The tilted covariance of a pair is ``C - p p^T - q q^T`` with vectors p and q.  Divided by the
    norms, p, q and the reciprocal norms r give the argument of the arcsine of fields a and b.  The
    distinct pairs (a, b) are those with b = a + d modulo n, d up to n/2; each d is one pass over
    contiguous arrays.
    """
    n = C.shape[0]
    k, l, pair = distinct_pairs(c.shape[0])
    row = np.arange(k.size)
    a = np.arange(n)
    norm = 1 + C[a, a]  # (n, ...)
    p = C[k] * jax.lax.rsqrt(norm[k])[:, None]  # (pairs, n, ...)
    q = C[l] - p[row, l][:, None] * p
    q = q * jax.lax.rsqrt(1 + q[row, l])[:, None]
    r = jax.lax.rsqrt(norm - p * p - q * q)
    wrapped = [jnp.concatenate([x, x[:, : n // 2]], axis=1) for x in (p * r, q * r, r, c[k], c[l])]
    diagonals = C[a, (a + np.arange(n // 2 + 1)[:, None]) % n]  # (n // 2 + 1, n, ...)
    weights = np.ones(n // 2 + 1)
    weights[0] = 1 / 2  # (a, a) appears once, not as (a, b) and (b, a)
    if n % 2 == 0:
        weights[-1] = 1 / 2  # d = n/2 meets every pair twice

    def add(d: Any, total: Any) -> Any:
        p_a, q_a, r_a, c_ka, c_la = (x[:, :n] for x in wrapped)
        p_b, q_b, r_b, c_kb, c_lb = (jax.lax.dynamic_slice_in_dim(x, d, n, axis=1) for x in wrapped)
        angle = arcsine(diagonals[d] * (r_a * r_b) - p_a * p_b - q_a * q_b)
        return total + jnp.asarray(weights)[d] * (c_ka * c_lb + c_kb * c_la) * angle

    total = jax.lax.fori_loop(0, n // 2 + 1, add, jnp.zeros_like(p))
    return (2 / math.pi * jnp.sum(total, axis=1))[pair]


@_batched.def_vmap
def _(lanes: int, batched: list[bool], *arrays: Any) -> tuple[Any, bool]:
    last = (
        jnp.moveaxis(x, 0, -1) if has_lanes else jnp.broadcast_to(x[..., None], (*x.shape, lanes))
        for x, has_lanes in zip(arrays, batched, strict=True)
    )
    return jnp.moveaxis(_batched(*last), -1, 0), True
