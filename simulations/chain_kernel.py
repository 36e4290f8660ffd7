"""The Markov chain of many networks within one kernel, a run in each lane.

All of a run is a few numbers (``simulations/chain.py``), and so it fits the registers of one thread
for all its samples; inputs, and the length of what the span leaves of them, are drawn by counter
where they are used.  Written for Pallas, which compiles it for a GPU; on a processor the same lanes
are compiled as vectors of all runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from odes.common.layers import have_layers
from odes.common.order_parameters import Hyperparameters
from simulations.activations import Activation
from simulations.kernels import counters
from simulations.kernels.entries import by_entries, filled, flat, restored, times
from simulations.kernels.programs import (
    Draws,
    Rates,
    compiled_by_triton,
    factors_of,
    loaded,
    table_of,
    unrolls,
    zeros_of,
)
from simulations.networks import Network
from simulations.rules import Rule, outputs, shape_drawn
from simulations.training.checks import learned
from simulations.training.inputs import rates
from simulations.training.plan import MOST_SAMPLES
from simulations.training.steps import step

LANES = 32
"""Runs of a program, one for each thread of a warp."""

PIECE = 2**31
"""Steps of all runs between two updates of progress."""

OF_INPUTS = ("deviations", "factors", "ends")
"""What is known of inputs: of groups, and of factors."""


class Coordinates(NamedTuple):
    """Inputs in the coordinates of the chain: D + 1 of each group of inputs."""

    sizes: tuple[int, ...]  # inputs of each group
    D: int  # vectors that they are seen through

    @property
    def width(self) -> int:
        """The number of coordinates."""
        return len(self.sizes) * (self.D + 1)

    @property
    def normals(self) -> int:
        """How many coordinates of an input are standard normals."""
        return sum(min(self.D, size) for size in self.sizes)

    def input(self, draw: Draws, s: Any, deviations: Any, factors: Any, ends: Any) -> np.ndarray:
        """An input: normals, and the length of what is beyond the span of each group."""
        normals = iter(draw.normals((self.normals,), s, counters.INPUTS))
        x: list[Any] = []
        for group, size in enumerate(self.sizes):
            inside = min(self.D, size)
            x += [next(normals) for _ in range(inside)]
            x += [np.float64(0)] * (self.D - inside)
            x.append(chi(draw, s, group, size - self.D) if size > self.D else np.float64(0))
            if deviations is not None:
                x[-self.D - 1 :] = [times(deviations[group], each) for each in x[-self.D - 1 :]]
        if factors is not None:
            length = draw.length(factors, ends, s)
            x = [times(length, each) for each in x]
        return filled((len(x),), x)


def chi(draw: Draws, s: Any, group: int, n: int) -> Any:
    """The length of n standard normals: sqrt(2 g) of a gamma variate g of shape n / 2.

    By the method of Marsaglia & Tsang (2000), which needs a shape of 1 at least.
    """
    if n == 1:
        words = draw.words(np.uint32(group << 16), s, counters.CHI)
        return jnp.abs(counters.normals(words, np.float64)[0])
    d = np.float64(n / 2 - 1 / 3)
    c = np.float64(1 / math.sqrt(9 * d))

    def attempt(count: Any) -> tuple[Any, Any]:
        words = draw.words(np.uint32(group << 16) + count, s, counters.CHI)
        z = counters.pair(*words[:2], np.float64)[0]
        root = jnp.maximum(np.float64(1) + c * z, np.float64(1e-300))
        v = root * root * root
        u = counters.uniform(words[2], np.float64)
        bound = np.float64(0.5) * z * z + d * (np.float64(1) - v + jnp.log(v))
        return v, (jnp.log(u) < bound) & (np.float64(1) + c * z > 0)

    def again(carried: Any) -> Any:
        count, v, accepted = carried
        tried, now = attempt(count)
        return count + np.uint32(1), jnp.where(accepted, v, tried), accepted | now

    v, accepted = attempt(np.uint32(0))
    _, v, _ = jax.lax.while_loop(
        lambda carried: jnp.sum((~carried[2]).astype(jnp.int32)) > 0,
        again,
        (jnp.uint32(1), v, accepted),
    )
    return jnp.sqrt(np.float64(2) * d * v)


def one_sample(
    network: Network,
    x: Any,
    zeta: Any,
    xi: Any,
    parameters: Hyperparameters,
    *,
    groups: int,
    rule: Rule,
    units: Activation,
    N: int,
    **task: Any,
) -> Network:
    """The network after an input in the coordinates of the chain, and turned back into them."""
    K = len(network.W)
    y = outputs(network.W_star, network.v_star, x[None], units.g)[0] + parameters.noise * zeta
    network = step(network, x, y, parameters, xi=xi, rule=rule, g=units.hidden, N=N, **task)
    W = network.W.reshape(K, groups, -1)
    kept = W.shape[2] - 1 - K
    beyond = jax.vmap(turned, 1, 1)(W[:, :, kept:])  # in a small group, among what it has
    W = jnp.concatenate([W[:, :, :kept], beyond], axis=2)
    return network._replace(W=W.reshape(K, -1))


def turned(A: Any) -> Any:
    """A (K, K + 1) times a rotation that leaves it nothing in its last column, by reflections."""
    K = A.shape[0]
    axes = np.eye(K + 1)
    for k in range(K):
        row = jnp.where(np.arange(K + 1) < k, 0, A[k])
        size = jnp.sqrt(row @ row)
        mirror = row + axes[k] * jnp.where(row[k] < 0, -size, size)
        square = mirror @ mirror
        A = A - jnp.outer(A @ mirror, mirror) * jnp.where(square > 0, 2 / square, 0)
    return jnp.where(np.arange(K + 1) < K, A, 0)


def sample_by_entries(
    weights: dict[str, Any],
    fixed: dict[str, Any],
    coordinates: Coordinates,
    parameters: Hyperparameters,
    rule: Rule,
    units: Activation,
    N: int,
) -> Callable:
    """:func:`one_sample`, of weights by name and by entries of all that it depends on."""

    def sample(weights: Any, fixed: Any, x: Any, zeta: Any, xi: Any, rates: Any) -> Any:
        nothing = Network(**dict.fromkeys(Network._fields))
        network = one_sample(
            nothing.put(**fixed).put(**weights),
            x, zeta, xi, rates, groups=len(coordinates.sizes), rule=rule, units=units, N=N,
        )  # fmt: skip
        return {name: network.get(name) for name in weights}

    def shape(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.float64)

    drawn = shape_drawn(rule, weights["v"])
    return by_entries(
        sample,
        {name: shape(*each.shape[1:]) for name, each in weights.items()},
        {name: shape(*each.shape) for name, each in fixed.items() if name not in OF_INPUTS},
        shape(coordinates.width),
        shape(weights["v"].shape[-1]),
        shape(*drawn) if drawn else None,
        Hyperparameters(*[each if each is None else shape() for each in parameters]),
    )


def learn_in_lanes(
    weights: dict[str, Any],
    fixed: dict[str, Any],
    key: Any,
    span: Any,
    parameters: Hyperparameters,
    *,
    coordinates: Coordinates,
    rule: Rule,
    units: Activation,
    N: int,
    kernel: bool,
) -> dict[str, Any]:
    """The weights that learn, (runs, ...), after the samples span[0], ..., span[1] - 1.

    Args:
        weights: in the coordinates of the chain, float64.
        fixed: those of the network that do not learn, and what the inputs are like.
        key: two words, uint32.
        span: first sample and the one after the last, int32.
        parameters: as for :func:`simulations.training.resident.learn_resident`.
        kernel: whether to compile a kernel, for a GPU; else vectors of all runs.

    Raises:
        CannotUnroll: for a rule or activation that cannot be carried out by entries.
    """
    table, rates = table_of(parameters)
    runs = weights["v"].shape[0]
    like = {name: np.empty(each.shape[1:], object) for name, each in weights.items()}
    sample = sample_by_entries(weights, fixed, coordinates, parameters, rule, units, N)
    drawn = shape_drawn(rule, weights["v"])
    chain = Chain(sample, like, tuple(fixed), coordinates, rates, drawn)
    state = jnp.concatenate([each.reshape(runs, -1) for each in weights.values()], axis=1).T
    given = [span, key, table, *fixed.values()]
    if kernel:
        state = jnp.pad(state, ((0, 0), (0, -runs % LANES)), mode="edge")
        after = pl.pallas_call(
            lambda *refs: chain(*refs),
            grid=(state.shape[1] // LANES,),
            out_shape=jax.ShapeDtypeStruct(state.shape, state.dtype),
            **compiled_by_triton(1),
        )(*given, state)
    else:
        number = jnp.arange(runs, dtype=jnp.uint32)
        after = jnp.stack(chain.after(given, list(state), number))
    ends = np.cumsum([each.size for each in like.values()])[:-1]
    parts = jnp.split(after[:, :runs].T, ends, axis=1)
    named = zip(weights.items(), parts, strict=True)
    return {name: part.reshape(before.shape) for (name, before), part in named}


class Chain(NamedTuple):
    """The chain of runs in lanes, and the program of a kernel for some of them."""

    sample: Callable  # what one sample does to the weights that learn, by entries
    like: dict[str, Any]  # arrays of the shapes of these weights
    fixed: tuple[str, ...]  # the names of what does not learn
    coordinates: Coordinates
    rates: Rates
    drawn: tuple[int, ...]  # what the rule draws

    def __call__(self, *refs: Any) -> None:
        """Some lanes of the state, (entries, runs), from one reference to another."""
        *given, before, after = refs
        first = pl.program_id(0) * LANES
        rows = range(before.shape[0])
        state = [before[i, pl.ds(first, LANES)] for i in rows]
        number = (first + jnp.arange(LANES, dtype=jnp.int32)).astype(jnp.uint32)
        for i, each in enumerate(self.after(given, state, number)):
            after[i, pl.ds(first, LANES)] = each

    def after(self, given: Any, state: list[Any], number: Any) -> list[Any]:
        """The entries after all samples, of runs of these numbers."""
        span, key, table, *others = given
        constants = {name: loaded(each) for name, each in zip(self.fixed, others, strict=True)}
        inputs = [constants.pop(name, None) for name in OF_INPUTS]
        draw = Draws((key[0], key[1]), number, np.float64)
        O = constants["v_star"].shape[1]

        def learn(s: Any, state: list[Any]) -> list[Any]:
            now = self.rates.at(table, s - span[0])
            zeta, xi = draw.beside(O, self.drawn, s, now.noise)
            x = self.coordinates.input(draw, s, *inputs)
            weights = restored(state, self.like)
            after = flat(self.sample(weights, constants, x, zeta, xi, now))
            return [jnp.broadcast_to(each, number.shape) for each in after]

        return jax.lax.fori_loop(span[0], span[1], learn, state)


class OnDevice:
    """The chain with numbers drawn by counter, where it is computed."""

    def __init__(
        self, networks: Network, coordinates: Coordinates, rule: Rule, units: Activation,
        seed: int, n_runs: int, N: int,
    ):  # fmt: skip
        self.networks, self.coordinates = networks, coordinates
        self.key, self.n_runs = jnp.asarray(counters.key_of(seed)), n_runs
        self.static: dict[str, Any] = {
            "coordinates": coordinates,
            "rule": rule,
            "units": units,
            "N": N,
        }
        self.fixed = fixed_of(networks, rule)

    def learn(self, first: int, last: int, parameters: Hyperparameters) -> Iterator[int]:
        """Train the networks on samples first, ..., last - 1; how many at a time."""
        size = min(MOST_SAMPLES, max(1, PIECE // self.n_runs))
        for start in range(first, last, size):
            end = min(start + size, last)
            during = rates(parameters, self.static["N"], start, end, size)
            weights = _learn(
                {name: self.networks.get(name) for name in learned(self.static["rule"])},
                self.fixed, self.key, jnp.array([start, end], jnp.int32), during,
                zero=zeros_of(during), kernel=jax.default_backend() == "gpu", **self.static,
            )  # fmt: skip
            self.networks = jax.block_until_ready(self.networks.put(**weights))
            yield end - start

    def tests(self, index: int, n_test: int, runs: range) -> Any:
        """Inputs of which only the span matters, (runs, n_test, width)."""
        numbers = jnp.arange(runs.start, runs.stop, dtype=jnp.uint32)
        inputs = {name: self.fixed.get(name) for name in OF_INPUTS}
        return _tests(self.key, numbers, index, inputs, n_test, self.coordinates)


def fixed_of(networks: Network, rule: Rule) -> dict[str, Any]:
    """What does not learn, and what is known of inputs, by name."""
    names = [name for name in ("W_star", "v_star", "F", "B") if name not in learned(rule)]
    fixed = {name: networks.get(name) for name in names}
    inputs = networks.inputs
    if inputs is not None:
        fixed["deviations"] = jnp.sqrt(inputs.eigenvalues)
    return fixed | factors_of(inputs)


def can_be_in_lanes(
    networks: Network, coordinates: Coordinates, rule: Rule, units: Activation
) -> bool:
    """Whether a kernel can carry out a rule and an activation."""
    if have_layers(networks.v, networks.v_star):
        return False
    weights = {name: networks.get(name) for name in learned(rule)}
    rates = Hyperparameters(*[0.0] * len(Hyperparameters._fields))
    fixed = fixed_of(networks, rule)
    return unrolls(lambda: sample_by_entries(weights, fixed, coordinates, rates, rule, units, 1))


@partial(jax.jit, static_argnames=("zero", "coordinates", "rule", "units", "N", "kernel"))
def _learn(weights, fixed, key, span, parameters, *, zero, **static):
    """:func:`learn_in_lanes`, with parameters that are 0 throughout."""
    parameters = parameters._replace(**dict.fromkeys(zero, np.float64(0)))
    return learn_in_lanes(weights, fixed, key, span, parameters, **static)


@partial(jax.jit, static_argnames=("n_test", "coordinates"))
def _tests(key, runs, index, inputs, n_test, coordinates):
    """Inputs for tests number ``index``, (runs, n_test, width)."""
    width = coordinates.width
    what = jnp.asarray(counters.TESTS + index, jnp.uint32)
    places = jnp.arange(-(-width // 4), dtype=jnp.uint32)
    tests = jnp.arange(n_test, dtype=jnp.uint32)[:, None]
    groups = np.repeat(np.arange(len(coordinates.sizes)), coordinates.D + 1)

    def one(run: Any) -> Any:
        words = counters.philox((places, tests, run, what), (key[0], key[1]))
        x = jnp.concatenate(counters.normals(words, np.float64), axis=1)[:, :width]
        if inputs["deviations"] is not None:
            x = x * inputs["deviations"][groups]
        if inputs["factors"] is not None:
            place = np.uint32(2**31)
            words = counters.philox((place, tests[:, 0], run, what), (key[0], key[1]))
            u = counters.uniform(words[0], np.float64)
            chosen = jnp.searchsorted(inputs["ends"][:-1], u, side="right")
            x = x * jnp.sqrt(inputs["factors"])[chosen][:, None]
        return x

    return jax.vmap(one)(runs)
