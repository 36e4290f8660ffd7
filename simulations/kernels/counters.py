"""Random numbers by counter: functions of a seed, a run, a sample and a coordinate alone.

Philox4x32-7 (Salmon et al. 2011) turns a counter of four words and a key of two into four words
that look random; Box-Muller turns these into four standard normals.  Nothing is kept between calls,
so that a kernel draws what it needs where it needs it, and the numbers depend on no device.  Made
of what kernels know: words of 32 bits, products of 64 bits, and floating-point operations.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ROUNDS = 7
"""With which the words pass the usual tests of randomness, says their paper."""

MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)

INPUTS, LABEL_NOISE, FACTOR, OWN, CHI, TESTS = range(6)
"""What is drawn for a sample: the last word of the counter; from TESTS on, at each time."""

SIN = (3.14159246, -5.16769865, 2.54999823, -0.59855057, 0.08074782, -0.00608947)
COS = (0.999999989, -4.93480112, 4.05869484, -1.33515843, 0.235029808, -0.0253589836, 0.00159391068)
"""sin(pi x) / x and cos(pi x) as polynomials in x^2 on (-1, 1), interpolated at Chebyshev nodes:
within 7e-7 in single precision."""


def key_of(seed: int) -> np.ndarray:
    """The key of a seed, two words."""
    return np.random.SeedSequence(seed).generate_state(2)


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four random words of counters, whose words may be lanes or numbers, all uint32.

    To be called in JAX's double precision, which has 64-bit products.
    """
    a, b, c, d = (jnp.asarray(word, jnp.uint32) for word in counter)
    shape = jnp.broadcast_shapes(a.shape, b.shape, c.shape, d.shape)
    a, b, c, d = (jnp.broadcast_to(word, shape) for word in (a, b, c, d))
    k, l = key

    def product(word: Any, factor: int) -> tuple[Any, Any]:
        wide = word.astype(jnp.uint64) * np.uint64(factor)
        return (wide >> np.uint64(32)).astype(jnp.uint32), wide.astype(jnp.uint32)

    for _ in range(ROUNDS):
        high_a, low_a = product(a, MULTIPLIERS[0])
        high_c, low_c = product(c, MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ l, low_a
        k, l = k + np.uint32(WEYL[0]), l + np.uint32(WEYL[1])
    return a, b, c, d


def uniform(word: Any, dtype: Any = np.float32) -> Any:
    """Uniform numbers in (0, 1), of 31 bits."""
    return _signed(word >> np.uint32(1), dtype) * dtype(2**-31) + dtype(2**-32)


def _signed(word: Any, dtype: Any) -> Any:
    """A word as a signed number."""
    return jax.lax.bitcast_convert_type(word, jnp.int32).astype(dtype)


def normals(words: tuple[Any, Any, Any, Any], dtype: Any = np.float32) -> list[Any]:
    """Four standard normals of four words, below 6.7 in size."""
    return [*pair(*words[:2], dtype), *pair(*words[2:], dtype)]


def pair(first: Any, second: Any, dtype: Any) -> tuple[Any, Any]:
    """Two standard normals of two words, by their radius and angle."""
    square = dtype(-2) * jnp.log(uniform(first, dtype)) + dtype(1e-30)
    radius = square * jax.lax.rsqrt(square)
    half_turns = _signed(second, dtype) * dtype(2**-31)
    if dtype == np.float64:
        angle = half_turns * dtype(math.pi)
        return radius * jnp.cos(angle), radius * jnp.sin(angle)
    x = half_turns * half_turns
    return radius * _polynomial(COS, x), radius * half_turns * _polynomial(SIN, x)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    """A polynomial in single precision, from its constant term upwards."""
    found = np.float32(coefficients[-1])
    for each in coefficients[-2::-1]:
        found = found * x + np.float32(each)
    return found
