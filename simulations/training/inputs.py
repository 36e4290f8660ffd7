"""Random numbers of every sample, each a function of the seed, the run and the sample alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.order_parameters import Hyperparameters
from odes.common.schedules import PiecewiseConstant
from simulations.networks import Network
from simulations.rules import Rule, shape_drawn

MIRROR, OWN = 2**31, 2**31 + 1
"""Set the noise of mirrors, and what rules draw, apart from samples in the streams of a run."""


def draw_inputs(key: Any, first: Any, count: int, F: Any) -> tuple[Any, Any]:
    """Samples first, first + 1, ...: inputs (count, N), and normals for the noise (count, O)."""
    N, O = F.shape

    def one(sample: Any) -> tuple[Any, Any]:
        for_x, for_noise = jax.random.split(jax.random.fold_in(key, sample))
        return jax.random.normal(for_x, (N,), F.dtype), jax.random.normal(for_noise, (O,), F.dtype)

    with jax.threefry_partitionable(False):  # half as many hashes for as many numbers
        return jax.vmap(one)(first + jnp.arange(count))


def mirror_noise(key: Any, first: Any, count: int, network: Network) -> tuple[Any, Any]:
    """Standard normals for the mirror beside samples first, ...: (count, N) and (count, K)."""
    K, N = network.W.shape

    def one(sample: Any) -> tuple[Any, Any]:
        for_inputs, for_hidden = jax.random.split(jax.random.fold_in(key, sample))
        dtype = network.W.dtype
        return jax.random.normal(for_inputs, (N,), dtype), jax.random.normal(
            for_hidden, (K,), dtype
        )

    with jax.threefry_partitionable(False):
        return jax.vmap(one)(first + jnp.arange(count))


def drawn_by(rule: Rule, key: Any, first: Any, count: int, network: Network) -> Any:
    """Standard normals that the rule draws for samples first, ..., (count, ...)."""
    shape = shape_drawn(rule, network.v)

    def one(sample: Any) -> Any:
        return jax.random.normal(jax.random.fold_in(key, sample), shape, network.W.dtype)

    with jax.threefry_partitionable(False):
        return jax.vmap(one)(first + jnp.arange(count))


def rates(
    parameters: Hyperparameters, N: int, first: int, last: int, size: int, dtype: Any = np.float64
) -> Hyperparameters:
    """The parameters of samples first, ..., last - 1: numbers, and of schedules arrays of ``size``.

    The value at the first sample is there also if there is none.
    """
    count = max(1, last - first)
    times = np.arange(first, first + count) / N

    @np.errstate(over="ignore")  # what is beyond single precision diverges
    def part(each: Any) -> Any:
        if not callable(each):
            return None if each is None else np.asarray(each, dtype)
        values = np.zeros(size, dtype)
        if isinstance(each.function, PiecewiseConstant):
            values[:count] = each.function(times)
        else:
            values[:count] = [each(t) for t in times.tolist()]
        return values

    return Hyperparameters(*map(part, parameters))
