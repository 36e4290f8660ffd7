"""Functions that XLA is slow at in double precision on processors, as rational approximations.

How long XLA's take beside them: ``python benchmarks/bench_sweep.py``.  Importing this imports JAX.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

ARCSINE_NUMERATOR = (
    1.66666666666666657415e-01,
    -3.25565818622400915405e-01,
    2.01212532134862925881e-01,
    -4.00555345006794114027e-02,
    7.91534994289814532176e-04,
    3.47933107596021167570e-05,
)
ARCSINE_DENOMINATOR = (
    1.0,
    -2.40339491173441421878e00,
    2.02094576023350569471e00,
    -6.88283971605453293030e-01,
    7.70381505559019352791e-02,
)
"""Coefficients of ``(asin(s) - s) / s^3`` as a rational function of s^2 up to 1/4 (FDLIBM, Sun
Microsystems 1993)."""

ERF_NUMERATOR = (
    1.1283791670955126e00,
    2.2143972349042998e-01,
    6.6345583669251987e-02,
    6.9586453364304038e-03,
    8.6190038752399604e-04,
    5.7724638829437759e-05,
    3.9424927877010317e-06,
    1.7221953583703134e-07,
    6.8380571280483775e-09,
    1.7442297839561141e-10,
    3.3263175441183950e-12,
    2.1720201429376981e-14,
    1.5078859759203745e-17,
)
ERF_DENOMINATOR = (
    1.0000000000000000e00,
    5.2957917865536241e-01,
    1.3532363551773829e-01,
    2.2126423311471119e-02,
    2.5863486501541784e-03,
    2.2844263626204940e-04,
    1.5686655740932411e-05,
    8.4627772308466807e-07,
    3.5649046863257485e-08,
    1.1390971421385351e-09,
    2.5707008440635105e-11,
    3.2704619154127552e-13,
    8.5585881786952659e-16,
)
"""Coefficients of ``erf(x) / x`` as a rational function of x^2 up to 36, whose largest relative
error, 4.5e-17, is the smallest that these degrees allow (Remez exchange, in 60 digits).  All are
positive, so that no digits cancel."""


def polynomial(coefficients: tuple[float, ...], z: Any) -> Any:
    """Horner's scheme, lowest coefficient first."""
    value = coefficients[-1] * z + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * z + coefficient
    return value


@jax.custom_jvp
def arcsine(x: Any) -> Any:
    """asin(x) to 2.3e-16, NaN outside [-1, 1]; above 1/2 as ``pi/2 - 2 asin(sqrt((1 - x)/2))``."""
    size = jnp.abs(x)
    large = size > 0.5
    z = jnp.where(large, (1 - size) / 2, size * size)
    s = jnp.where(large, jnp.sqrt(z), size)
    value = s + s * (z * polynomial(ARCSINE_NUMERATOR, z) / polynomial(ARCSINE_DENOMINATOR, z))
    return jnp.copysign(jnp.where(large, math.pi / 2 - 2 * value, value), x)


@arcsine.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    return arcsine(x), dx / jnp.sqrt((1 - x) * (1 + x))


@jax.custom_jvp
@jax.jit
def erf(x: Any) -> Any:
    """The error function to a relative 1e-15, as one rational function without branches."""
    near = jnp.clip(x, -6.0, 6.0)  # beyond, it is 1 to rounding
    z = near * near
    return near * (polynomial(ERF_NUMERATOR, z) / polynomial(ERF_DENOMINATOR, z))


@erf.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    return erf(x), 2 / math.sqrt(math.pi) * jnp.exp(-x * x) * dx
