"""Random numbers of every sample, each a function of the seed, the run and the sample alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.groups import groups_of
from odes.common.layers import as_weights, is_several, widths_of
from odes.common.order_parameters import Hyperparameters
from odes.common.schedules import PiecewiseConstant
from simulations.networks import Network
from simulations.rules import Rule, outputs, shape_drawn

MIRROR, OWN, FACTOR, TASK = 2**31, 2**31 + 1, 2**31 + 2, 2**31 + 3
"""Set the noise of mirrors, what rules draw, and factors and tasks of samples apart from samples in
the streams of a run."""


class Data(NamedTuple):
    """A data matrix to draw inputs from."""

    rows: Any  # (n, N), less their mean
    labels: Any = None  # (n, O); None for those of the teacher


def draw_samples(
    key: Any, first: Any, count: int, network: Network, data: Data | None, g: Callable
) -> tuple[Any, Any, Any]:
    """Samples first, first + 1, ...: inputs (count, N), labels and normals for their noise.

    The labels are without noise, (count, O); g is the activation of the teacher.
    """
    if data is None:
        X, zeta = draw_inputs(key, first, count, network.F)
        if network.inputs is not None:
            X = X * deviations(network.inputs, X.shape[1])
            if network.inputs.factors is not None:
                X = X * draw_lengths(jax.random.fold_in(key, FACTOR), first, count, network)
        return X, outputs(network.W_star, network.v_star, X, g), zeta
    row, zeta = draw_rows(key, first, count, data, network.F)
    X = data.rows[row]
    if data.labels is not None:
        return X, data.labels[row], zeta
    return X, outputs(network.W_star, network.v_star, X, g), zeta


def deviations(inputs: Any, N: int) -> Any:
    """The standard deviation of each of N entries of an input of factor 1."""
    return jnp.sqrt(inputs.eigenvalues)[groups_of(inputs, N)]


def draw_lengths(key: Any, first: Any, count: int, network: Network) -> Any:
    """The root of the factor of samples first, ..., (count, 1)."""
    inputs = network.inputs
    ends = jnp.cumsum(inputs.factor_shares)
    uniform = draw_uniform(key, first, count, ends.dtype)
    chosen = jnp.searchsorted(ends[:-1], uniform, side="right")
    return jnp.sqrt(inputs.factors)[chosen][:, None]


def draw_uniform(key: Any, first: Any, count: int, dtype: Any) -> Any:
    """A number from 0 to 1 for each of samples first, ..., (count,)."""

    def one(sample: Any) -> Any:
        return jax.random.uniform(jax.random.fold_in(key, sample), (), dtype)

    with jax.threefry_partitionable(False):
        return jax.vmap(one)(first + jnp.arange(count))


def draw_rows(key: Any, first: Any, count: int, data: Data, F: Any) -> tuple[Any, Any]:
    """The row of each of samples first, ..., (count,), and normals for the noise (count, O)."""

    def one(sample: Any) -> tuple[Any, Any]:
        for_row, for_noise = jax.random.split(jax.random.fold_in(key, sample))
        row = jax.random.randint(for_row, (), 0, len(data.rows))
        return row, jax.random.normal(for_noise, F.shape[-1:], F.dtype)

    with jax.threefry_partitionable(False):
        return jax.vmap(one)(first + jnp.arange(count))


def draw_inputs(key: Any, first: Any, count: int, F: Any) -> tuple[Any, Any]:
    """Samples first, first + 1, ...: inputs (count, N), and normals for the noise (count, O)."""
    N, O = F.shape

    def one(sample: Any) -> tuple[Any, Any]:
        for_x, for_noise = jax.random.split(jax.random.fold_in(key, sample))
        return jax.random.normal(for_x, (N,), F.dtype), jax.random.normal(for_noise, (O,), F.dtype)

    with jax.threefry_partitionable(False):  # half as many hashes for as many numbers
        return jax.vmap(one)(first + jnp.arange(count))


def mirror_noise(key: Any, first: Any, count: int, network: Network) -> tuple[Any, Any]:
    """Standard normals for the mirror beside samples first, ...: (count, N) and (count, K).

    Of several hidden layers, the latter are a tuple of one for each.
    """
    N, dtype, widths = network.W.shape[1], network.W.dtype, widths_of(network.v)

    def one(sample: Any) -> tuple[Any, Any]:
        for_inputs, for_hidden = jax.random.split(jax.random.fold_in(key, sample))
        keys = [for_hidden, *(jax.random.fold_in(for_hidden, i) for i in range(1, len(widths)))]
        hidden = [jax.random.normal(k, (n,), dtype) for k, n in zip(keys, widths, strict=True)]
        return jax.random.normal(for_inputs, (N,), dtype), as_weights(hidden)

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
        if is_several(each):
            return tuple(map(part, each))
        if not callable(each):
            return None if each is None else np.asarray(each, dtype)
        values = np.zeros(size, dtype)
        if isinstance(each.function, PiecewiseConstant):
            values[:count] = each.function(times)
        else:
            values[:count] = [each(t) for t in times.tolist()]
        return values

    return Hyperparameters(*map(part, parameters))
