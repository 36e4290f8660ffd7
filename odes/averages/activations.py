r"""Gaussian averages of activations in closed form (Saad & Solla 1995; Biehl & Schwarze 1995).

The local fields of all units, students and teachers, are jointly normal with zero mean and
covariance C.  Write g_a for the activation at field a.  Every rule whose update is
``g'_k`` times a signal linear in the error needs four averages::

    I2(a,b)     = <g_a g_b>
    J2(k,a)     = <g'_k g'_a>
    I3(k,y,a)   = <g'_k y g_a>           y any field, also that of a direction without a unit
    I4(k,l,a,b) = <g'_k g'_l g_a g_b>

Two identities reduce the last two to the first two.  Integration by parts over the field y gives ::

    I3(k,y,a) = J2(k,a) C_ya + G2(k,a) C_yk,        G2(k,a) = <g''_k g_a>,

linear in the covariances of y, so that sums over a are matrix products.  And where g' is a
Gaussian, as for erf, the weight ``g'_k g'_l`` tilts the normal distribution of the fields into
another one of covariance C', so that ::

    I4(k,l,a,b) = J2(k,l) I2(a,b)  with C' for C.

An activation with closed forms is four functions: I2, J2 and G2 of matching entries of C, which
broadcast, and ``second_moment``, the sum over I4 that the equations contain.  They use only what
NumPy and JAX share, but for the arcsines, which JAX takes from ``special_functions.py``.  There
is ``g`` itself as well, for rules that have no closed form, and whether it is ``smooth``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from odes.common.order_parameters import Array, distinct_pairs


class Activation(NamedTuple):
    """An activation without closed forms, to be averaged numerically."""

    g: Callable[[Array], Array]  # elementwise, of JAX arrays
    smooth: bool = True  # without kinks, so that Gauss-Hermite quadrature converges fast
    hidden: Callable[[Array], Array] | None = None  # of all K fields of the student; None for g
    unit_length: bool = False  # whether ``hidden`` is ``g(fields) / |g(fields)|``


def tilted_second_moment(c: Array, C: Array, activation: Any) -> Array:
    """``sum_ab c_ka c_lb I2(a, b)``, I2 under the distribution tilted by ``g'_k g'_l``, (K, K).

    Args:
        c: credit matrix, (K, K + M).
        C: covariance of all fields, (..., K + M, K + M).
        activation: one with ``tilt``.
    """
    k, l, pair = distinct_pairs(c.shape[0])
    C_kl = activation.tilt(C, k, l)
    variance = C_kl.diagonal(0, -2, -1)
    I2 = activation.I2(C_kl, variance[..., None], variance[..., None, :])  # (..., P, K + M, K + M)
    return (c[k][:, None, :] @ I2 @ c[l][:, :, None])[..., pair, 0, 0]


class Erf:
    r"""``g(z) = erf(z / sqrt 2)``, so that ``g'(z) = sqrt(2/pi) exp(-z^2 / 2)``."""

    smooth = True

    @staticmethod
    def g(z: Array) -> Array:
        """On JAX arrays."""
        from odes.averages.special_functions import erf

        return erf(z / math.sqrt(2))

    @staticmethod
    def I2(C_ab: Array, C_aa: Array, C_bb: Array) -> Array:
        """``<g_a g_b> = (2/pi) asin( C_ab / sqrt((1 + C_aa)(1 + C_bb)) )``."""
        xp = C_ab.__array_namespace__()
        argument = C_ab / (xp.sqrt(1 + C_aa) * xp.sqrt(1 + C_bb))
        if xp is np:
            return 2 / math.pi * np.asin(argument)
        from odes.averages.special_functions import arcsine

        return 2 / math.pi * arcsine(argument)

    @staticmethod
    def J2(C_ka: Array, C_kk: Array, C_aa: Array) -> Array:
        """``<g'_k g'_a> = (2/pi) / sqrt( (1 + C_kk)(1 + C_aa) - C_ka^2 )``."""
        xp = C_ka.__array_namespace__()
        return 2 / math.pi / xp.sqrt((1 + C_kk) * (1 + C_aa) - C_ka * C_ka)

    @staticmethod
    def G2(C_ka: Array, C_kk: Array, J2_ka: Array) -> Array:
        """``<g''_k g_a> = -C_ka J2(k,a) / (1 + C_kk)``."""
        return -C_ka * J2_ka / (1 + C_kk)

    @staticmethod
    def tilt(C: Array, k: np.ndarray, l: np.ndarray) -> Array:
        """Covariance of the fields under the weights ``g'_k g'_l``, for P pairs of units.

        Each factor ``exp(-z^2 / 2)`` conditions the fields on a unit-variance observation of z:
        ``C' = C - C_.k C_k. / (1 + C_kk)``, then the same for l with C' in place of C.

        Args:
            C: covariance of all n fields, (..., n, n).
            k, l: indices of the pairs, (P,).

        Returns:
            C' of shape (..., P, n, n).
        """
        xp = C.__array_namespace__()
        pair = np.arange(k.size)
        along_k = C[..., k, :]
        along_k = along_k / xp.sqrt(1 + along_k[..., pair, k])[..., None]  # (..., P, n)
        along_l = C[..., l, :] - along_k[..., pair, l][..., None] * along_k  # row l of C' after k
        along_l = along_l / xp.sqrt(1 + along_l[..., pair, l])[..., None]
        tilted = C[..., None, :, :] - along_k[..., None] * along_k[..., None, :]
        return tilted - along_l[..., None] * along_l[..., None, :]

    @staticmethod
    def second_moment(c: Array, C: Array) -> Array:
        """``sum_ab c_ka c_lb I4(k, l, a, b) / J2(k, l)``; see :func:`tilted_second_moment`."""
        if C.__array_namespace__() is np:
            return _second_moment_of_erf(c, C)
        from odes.averages.arcsines import second_moment

        return second_moment(c, C, _second_moment_of_erf)


def _second_moment_of_erf(c: Array, C: Array) -> Array:
    """:func:`tilted_second_moment` of erf."""
    return tilted_second_moment(c, C, Erf)


class Linear:
    """``g(z) = z``: the fields keep their distribution, and only second moments are left."""

    smooth = True

    @staticmethod
    def g(z: Array) -> Array:
        """The field itself."""
        return z

    @staticmethod
    def I2(C_ab: Array, C_aa: Array, C_bb: Array) -> Array:
        """``<z_a z_b> = C_ab``."""
        return C_ab

    @staticmethod
    def J2(C_ka: Array, C_kk: Array, C_aa: Array) -> Array:
        """``<1> = 1``."""
        return 0 * C_ka + 1

    @staticmethod
    def G2(C_ka: Array, C_kk: Array, J2_ka: Array) -> Array:
        """``<0> = 0``."""
        return 0 * C_ka

    @staticmethod
    def second_moment(c: Array, C: Array) -> Array:
        """``sum_ab c_ka c_lb C_ab``."""
        return c @ C @ c.T


def tanh(z: Array) -> Array:
    """The hyperbolic tangent, on JAX arrays."""
    import jax.numpy as jnp

    return jnp.tanh(z)


def relu(z: Array) -> Array:
    """The rectified linear unit max(z, 0), on JAX arrays."""
    import jax

    return jax.nn.relu(z)


def normalised(g: Callable[[Array], Array]) -> Activation:
    """Student units with the activities ``h / |h|``, h = g(fields), taught by units of activity g.

    The activities jump where all fields vanish, and are 0 where h is.  Their derivative grows as
    1 / |h| there: for rules that differentiate, <delta_k delta_l> diverges with two hidden units,
    and with three its averages over points converge slowly.
    """

    def hidden(fields: Array) -> Array:
        import jax.numpy as jnp

        h = g(fields)
        square = h @ h
        return h / jnp.sqrt(jnp.where(square > 0, square, 1.0))

    return Activation(g, smooth=False, hidden=hidden, unit_length=True)


ACTIVATIONS: dict[str, Any] = {
    "erf": Erf,
    "linear": Linear,
    "tanh": Activation(tanh),
    "relu": Activation(relu, smooth=False),
}
ACTIVATIONS |= {f"{name}-normalised": normalised(each.g) for name, each in ACTIVATIONS.items()}
