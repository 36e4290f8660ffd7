"""The equations of motion that every closed-form rule shares.

Saad & Solla (1995), Goldt et al. (2019) and, for the feedback, Refinetti et al. (2021).

Stack all units, students then teachers, with covariance ``C = [[Q, R], [R^T, T]]`` and signed
readouts ``U = [v; -v*]``: the error is ``e_o = sum_a U_ao g_a - noise zeta_o``, zeta_o normal.  A
rule that sends back B enters the first layer only through the credit matrix ``c = B U^T``, shape
(K, K + M), since ``delta_k = g'_k sum_a c_ka g_a`` up to the noise.  Averaged over an input, with
kappa the decays:

    d(w_k . u / N)/dt = -lr <delta_k y> - kappa w_k . u / N           u any direction, y its field
        <delta_k y>   = sum_a c_ka I3(k, y, a)
    dR_km/dt          = the above along u = w*_m
    dQ_kl/dt          = the above for k along w_l, plus for l along w_k, plus lr^2 <delta_k delta_l>
        <delta_k delta_l> = sum_ab c_ka c_lb I4(k, l, a, b) + noise^2 (B B^T)_kl J2(k, l)
    dv_ko/dt          = -lr_v sum_a I2(k, a) U_ao - kappa_v v_ko
    eps_g             = 1/2 sum_ab (U U^T)_ab I2(a, b)

The code runs on whatever array library its input belongs to: on NumPy as it stands, and on JAX
under jit, vmap and grad.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from odes.averages import Erf
from odes.order_parameters import (
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
)


@lru_cache
def distinct_pairs(K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index tables k, l of the pairs k <= l, (P,), and the pair that (k, l) belongs to, (K, K)."""
    k, l = np.triu_indices(K)
    pair = np.empty((K, K), dtype=int)
    pair[k, l] = pair[l, k] = np.arange(k.size)
    return k, l, pair


def second_moment(c: Array, C: Array, activation: Any) -> Array:
    """``sum_ab c_ka c_lb I4(k, l, a, b) / J2(k, l)`` for all pairs of students, (K, K).

    Args:
        c: credit matrix, (K, K + M).
        C: covariance of all fields, (K + M, K + M).
        activation: closed forms, as in :mod:`odes.averages`.
    """
    k, l, pair = distinct_pairs(c.shape[0])
    C_kl = activation.tilt(C, k, l)
    variance = C_kl.diagonal(0, -2, -1)
    I2 = activation.I2(C_kl, variance[:, :, None], variance[:, None, :])  # (P, K + M, K + M)
    return (c[k][:, None, :] @ I2 @ c[l][:, :, None])[pair, 0, 0]


def drift(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    *,
    rule: Any,
    activation: Any = Erf,
) -> OrderParameters:
    """Time derivative of the order parameters, exact as N grows (module docstring).

    Args:
        state: Q (K, K), R (K, M), v (K, O) and, for rules that need it, B (K, O).
        teacher: T (M, M), v_star (M, O) and, for rules that need it, S (M, O).
        parameters: learning rates, noise and decays.
        rule: a rule object of :mod:`odes.rules`.
        activation: closed forms of :mod:`odes.averages`.

    Returns:
        d/dt of each entry of ``state``, of the same shapes; t in samples / N.
    """
    v, B = state.v, state.B
    lr, lr_v, noise, decay, decay_v = parameters
    xp = v.__array_namespace__()
    K = v.shape[0]

    C = joint_covariance(state, teacher)
    U = xp.concat([v, -teacher.v_star])
    sent_back = rule.feedback(state)
    c = sent_back @ U.T

    variance = C.diagonal()
    C_ka, C_kk = C[:K], variance[:K, None]
    J2 = activation.J2(C_ka, C_kk, variance)
    own = xp.vecdot(c, activation.G2(C_ka, C_kk, J2))[:, None]
    others = c * J2

    def along(overlaps: Array) -> Array:
        """d(w_k . u / N)/dt from the overlaps of directions u with all units, (K + M, ...)."""
        return -lr * (others @ overlaps) - (lr * own + decay) * overlaps[:K]

    along_units = along(C)
    dQ = along_units[:, :K]
    delta_delta = second_moment(c, C, activation) + noise**2 * (sent_back @ sent_back.T)
    dB = None
    if B is not None:
        dB = rule.feedback_drift(state, teacher, along)
        dB = xp.zeros_like(B) if dB is None else dB
    return OrderParameters(
        Q=dQ + dQ.T + lr**2 * J2[:, :K] * delta_delta,
        R=along_units[:, K:],
        v=-lr_v * (activation.I2(C_ka, C_kk, variance) @ U) - decay_v * v,
        B=dB,
    )


def generalization_error(state: OrderParameters, teacher: Teacher, activation: Any = Erf) -> Array:
    """``eps_g = 1/2 sum_ab (U U^T)_ab I2(a, b)``, half the mean squared error, summed over outputs.

    ``state`` may have leading axes, as on a trajectory; the result has their shape.
    """
    xp = state.v.__array_namespace__()
    C = joint_covariance(state, teacher)
    variance = C.diagonal(0, -2, -1)
    v_star = xp.broadcast_to(teacher.v_star, state.v.shape[:-2] + teacher.v_star.shape)
    U = xp.concat([state.v, -v_star], axis=-2)
    I2 = activation.I2(C, variance[..., :, None], variance[..., None, :])
    return xp.sum((U @ U.mT) * I2, axis=(-2, -1)) / 2
