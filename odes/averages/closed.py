"""The averages of rules with ``delta = g' (B e)``, in closed form."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from odes.common.layers import LAYERED
from odes.common.order_parameters import Array, Hyperparameters, OrderParameters, Teacher
from odes.common.tasks import Stream
from odes.rules import differentiates, learns_by_sample


def product(left: Array, right: Array) -> Array:
    """``left @ right``; under JAX as a sum, which XLA fuses with what is around it."""
    xp = left.__array_namespace__()
    if xp is np:
        return left @ right
    if right.ndim > left.ndim:  # of groups, along which processors are fast if they come last
        last = xp.moveaxis(right, 0, -1)
        total = sum(left[:, a, None, None] * last[a] for a in range(left.shape[1]))
        return xp.moveaxis(total, -1, 0)
    return (left[..., None] * right[..., None, :, :]).sum(axis=-2)


class Moments(NamedTuple):
    """Averages over one input of what a rule does to the weights."""

    slopes: Array  # <d delta_k / d lambda_a>, (K, K + M); times Cov(a, y) it is <delta_k y>
    delta_delta: Array  # <delta_k delta_l>, (K, K)
    readout: Array  # average change of the readout per -lr_v, (K, O)
    gamma_error: Array | None = None  # <gamma_k e_o>, (K, O), for rules whose update contains F e
    weights: dict[str, Array] | None = None  # d/dt of weights that learn by samples
    activities: Array | None = None  # <g_k g_a>, (K, K + M), in closed form


_identity = cache(np.eye)


def closed_moments(
    C: Array,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    stream: Stream | None = None,
) -> Moments:
    """The moments of ``delta_k = g'_k sum_o B_ko e_o`` in closed form (module docstring).

    C is the covariance of all fields, (..., K + M, K + M); the rest as for :func:`drift`.  Of a
    stream, each part has the v and B of its own units and outputs.
    """
    if not differentiates(rule) or learns_by_sample(rule):
        raise ValueError(
            "Argument `rule` must not override `update` or `learn` where averages are taken in "
            f"closed form, but is {rule!r}.  Use solve(), which averages over points."
        )
    v = state.v
    xp = v.__array_namespace__()
    K = v.shape[0]
    B = rule.feedback(state)
    if stream is None:
        U = xp.concat([v, -teacher.v_star])
        c = product(B, U.T)
    else:
        masks = [part.mask(v, LAYERED) for part in stream]
        Us = [xp.concat([mask * v, -teacher.v_star]) for mask in masks]
        c = sum(product(mask * B, U.T) for mask, U in zip(masks, Us, strict=True))
        B = sum(masks) * B
    variance = C.diagonal(0, -2, -1)
    if C.ndim == 2:  # views of fewer axes take less time
        C_ka, C_kk, C_aa = C[:K], variance[:K, None], variance
    else:
        C_ka, C_kk, C_aa = C[..., :K, :], variance[..., :K, None], variance[..., None, :]
    J2 = activation.J2(C_ka, C_kk, C_aa)
    own = xp.vecdot(c, activation.G2(C_ka, C_kk, J2))[..., None]
    slopes = c * J2 + own * _identity(K, C.shape[-1])
    noisy = activation.second_moment(c, C) + parameters.noise * parameters.noise * product(B, B.T)
    I2 = activation.I2(C_ka, C_kk, C_aa)
    if stream is None:
        readout = product(I2, U)
    else:
        readout = sum(mask * product(I2, U) for mask, U in zip(masks, Us, strict=True))
    return Moments(slopes, J2[..., :K] * noisy, readout, activities=I2)
