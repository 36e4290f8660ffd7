"""Finite networks, exactly in distribution, as a Markov chain in a few coordinates.

Inputs are isotropic, and learning looks at them through the weights of student and teacher and
through F alone.  So a network of N inputs can be run on D + 1, D = K + M + O: coordinates in the
span of those vectors, in which an input is standard normal, and one for the rest of the input,
whose length is chi distributed with N - D degrees of freedom.  A step takes the student out of the
span, along the rest of its input; a rotation of all directions but those of teacher and F, under
which the distribution of inputs stays what it is, brings it back.  Thus a step costs the same at N
= 10^6 as at N = 50, the overlaps are those of vectors and positive semidefinite by construction,
and the rules are those of ``simulations/rules`` as they stand: on inputs of length n in place of N,
weights count ``sqrt(n / N)`` times and learning rates n / N.  Inputs in groups of the same variance
have D + 1 coordinates a group, or all that it has if they are fewer.

The simulation of all N inputs has the rules in common with this, which is therefore no check on
them: it is a fast way to many runs and to large N.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.calls import remembered
from odes.common.order_parameters import Hyperparameters
from odes.common.progress import shown
from odes.common.schedules import parameters_at
from odes.common.tasks import Stream
from odes.common.trajectory import Trajectory
from simulations.activations import Activation
from simulations.chain_coordinates import (
    ChainState,
    compressed,
    expanded,
    sizes_of,
    state_before,
)
from simulations.chain_kernel import Coordinates, OnDevice, can_be_in_lanes, one_sample
from simulations.ensembles import Networks, ended, going_on
from simulations.networks import Network, in_eigenbasis, overlaps_of
from simulations.rules import Rule, outputs, shape_drawn
from simulations.training.arguments import begin
from simulations.training.checks import learned, per_run
from simulations.training.errors import errors_of, mistakes
from simulations.training.inputs import rates
from simulations.training.recording import called
from simulations.training.steps import scaled, with_scale
from simulations.training.stopping import NEVER, kept_where, measured_curves
from simulations.training.streams import chosen_streams, noise_of

NUMBERS = 2**21
"""Random numbers drawn at once."""

TESTED = 4096
"""Runs tested at once."""


@remembered
def simulate_chain(
    network: Network | Networks,
    *,
    rule: Any,
    lr: Any,
    lr_v: Any = None,
    feedback_scale: Any = 1.0,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    times: Any,
    n_runs: int = 1,
    seed: int = 0,
    n_test: int = 2000,
    progress: bool | None = None,
    tasks: Any = None,
    until: Any = None,
    record: Any = None,
    return_networks: bool = False,
) -> Trajectory:
    """Train a network as :func:`simulations.simulate` does, at a cost that does not depend on N.

    The Markov chain of the overlaps of one network, run on K + M + O + 1 inputs (module
    docstring), in double precision; on a GPU in a kernel, if the rule is made of simple operations,
    and with other numbers than on a processor.  One run has exactly the distribution of one run of
    ``simulate``, not its numbers.

    Args:
        network, rule, lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v, activation,
            times, n_runs, seed, n_test, progress, tasks, until, return_networks: as for
            ``simulate``; N at least K + M + O, in either scaling of F, and a rule that is
            equivariant (``simulations/rules``).  As there, fewer than 2^31 samples a run.  The
            networks that are returned have all N inputs, in one of the directions that they may be
            in; on a GPU, going on from them draws other numbers than those that would follow.
        record: as for ``simulate``, of networks in the coordinates of the chain.

    Returns:
        A Trajectory, as ``simulate`` returns it.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    begun = begin(
        network, rule, activation, times, lr=lr, lr_v=lr_v, noise=noise, n_runs=n_runs,
        weight_decay=weight_decay, weight_decay_v=weight_decay_v, feedback_scale=feedback_scale,
        n_test=n_test, seed=seed, progress=progress, tasks=tasks, until=until, record=record,
        return_networks=return_networks,
    )  # fmt: skip
    units, streams, steps, n_runs = begun.units, begun.streams, begun.steps, begun.n_runs
    _check_chain(begun.rule, rule, begun.network)
    chosen, weights = going_on(begun.before, begun.rule, begun.parameters, turned=True)
    unscaled = in_eigenbasis(begun.network)
    base, parameters = with_scale(unscaled, begun.parameters)
    base = base._replace(F=unscaled.F)
    (K, N), M, O = base.W.shape, len(base.W_star), base.F.shape[1]
    saved, done, at_end = list[Any](), 0, dict[str, Any]()
    state, seed = state_before(begun.before, begun.seed), begun.seed
    stopped = np.full(n_runs, NEVER)
    with jax.enable_x64(True), shown(begun.progress, steps[-1], "samples", delay=1) as advance:
        networks = compressed(base, weights, chosen, n_runs, state)
        scale = begun.parameters.feedback_scale
        networks = networks._replace(F=(1.0 if callable(scale) else scale) * networks.F)
        coordinates = Coordinates(tuple(sizes_of(base)), K + M + O)
        on_device = (
            not streams and _has_kernels() and can_be_in_lanes(networks, coordinates, chosen, units)
        )
        drawn: Any = OnDevice
        if not on_device:
            drawn = partial(OnHost, streams=streams, room=begun.room, drawn=state and state.drawn)
        elif begun.before is not None:
            seed = int(np.random.SeedSequence((seed, *begun.seen)).generate_state(1)[0])
        chain = drawn(networks, coordinates, chosen, units, seed, n_runs, N)
        for index, last in enumerate(steps):
            for count in chain.learn(done, last, parameters):
                advance(count)
                done += count
            scale = parameters_at(parameters, done / (begun.room * N)).feedback_scale
            kinds: dict[str, Any] = {"rule": chosen, "units": units, "record": record}
            parts = [
                _measure(some, chain.tests(index, begun.n_test, runs), scale, **kinds)
                for some, runs in _parts(chain.networks, chosen, n_runs)
            ]
            found = jax.tree.map(lambda *each: np.concatenate(each), *parts)
            saved.append(found)
            if begun.stops is not None:
                now = (stopped == NEVER) & begun.stops(found)
                at_end = kept_where(stopped == NEVER, at_end, _weights(chain.networks, chosen))
                stopped = np.where(now, index, stopped)
                if np.all(stopped < NEVER):
                    break
        if begun.look:
            at_end = kept_where(stopped == NEVER, at_end, _weights(chain.networks, chosen))
    trajectory = measured_curves(saved, begun.times, stopped, begun.n_test)
    if not begun.look:
        return trajectory
    reached = begun.seen[0] + done, begun.seen[1] + len(saved)
    final = ended(begun.given, expanded(base, at_end), *reached, turned=True)
    if isinstance(chain, OnHost):
        exact = ChainState(final.weights, at_end, begun.given, chain.drawn, seed)
        final = final._replace(chain=exact)
    return trajectory._replace(final=final)


def _weights(networks: Network, rule: Rule) -> dict[str, Any]:
    """The weights that learn, by name (runs, ...)."""
    return jax.tree.map(np.asarray, {name: networks.get(name) for name in learned(rule)})


def _check_chain(chosen: Rule, rule: Any, network: Network) -> None:
    """ValueError for a rule or a network that the chain is not exact for."""
    if not chosen.equivariant:
        raise ValueError(
            "Argument `rule` must be declared equivariant to be run in other coordinates, "
            f"but is {rule!r}."
        )
    if chosen.mirror is not None:
        raise ValueError(
            "Argument `rule` must have no `mirror`, whose noise has directions of its own in every "
            f"phase, but has {chosen.mirror!r}: simulate()."
        )
    N, least = network.W.shape[1], len(network.W) + len(network.W_star) + network.F.shape[1]
    if least > N:
        raise ValueError(
            f"Argument `network` must have N of at least K + M + O = {least}, but N is {N}."
        )


def _has_kernels() -> bool:
    """Whether the device at hand compiles kernels."""
    return jax.default_backend() == "gpu"


def _parts(networks: Network, rule: Rule, n_runs: int) -> Iterator[tuple[Network, range]]:
    """Runs that are tested together, and their numbers."""
    for first in range(0, n_runs, TESTED):
        runs = range(first, min(first + TESTED, n_runs))
        yield (
            networks.put(
                **jax.tree.map(
                    lambda each: each[runs.start : runs.stop],  # noqa: B023
                    {name: networks.get(name) for name in learned(rule)},
                )
            ),
            runs,
        )


class OnHost:
    """The chain with numbers of NumPy, a stream for every run and purpose."""

    def __init__(
        self, networks: Network, coordinates: Coordinates, rule: Rule, units: Activation,
        seed: int, n_runs: int, N: int, *, streams: tuple[Stream | None, ...], room: int,
        drawn: Any = None,
    ):  # fmt: skip
        self.networks, self.coordinates = networks, coordinates
        self.rule, self.units, self.N = rule, units, N
        self.tasks: dict[str, Any] = {"streams": streams, "room": room}
        self.drawn = copy.deepcopy(drawn) or [
            [np.random.default_rng(stream) for stream in run.spawn(8)]
            for run in np.random.SeedSequence(seed).spawn(n_runs)
        ]

    def learn(self, first: int, last: int, parameters: Hyperparameters) -> Iterator[int]:
        """Train the networks on samples first, ..., last - 1; how many at a time."""
        per_time = self.N * self.tasks["room"]
        kinds = {"rule": self.rule, "units": self.units, "N": self.N, **self.tasks}
        for *samples, count in _ahead(self._blocks(last - first)):
            during = rates(parameters, per_time, first, first + count, len(samples[0]))
            self.networks = jax.block_until_ready(
                _train(self.networks, during, samples, count, **kinds)
            )
            first += count
            yield count

    def tests(self, index: int, n_test: int, runs: range) -> np.ndarray:
        """Inputs of which only the span matters, (runs, n_test, width)."""
        found = []
        for run in runs:
            *_, for_tests, _, _, for_length, _ = self.drawn[run]
            x = for_tests.standard_normal((n_test, self.coordinates.width))
            x = x.reshape(n_test, len(self.coordinates.sizes), -1)
            found.append(self._scaled(x, for_length))
        return np.stack(found)

    def _inputs(self, streams: list[np.random.Generator], count: int) -> np.ndarray:
        """Inputs, (count, width): normals, and the length of what the span leaves of each group."""
        span, rest, *_, length, _, _ = streams
        D, sizes = self.coordinates.D, np.array(self.coordinates.sizes)
        x = np.zeros((count, sizes.size, D + 1))
        normals = span.standard_normal((count, sizes.size * D)).reshape(count, -1, D)
        if np.any(sizes > D):  # row by row, so that a sample does not depend on where blocks end
            beyond = rest.chisquare(np.maximum(sizes - D, 1), (count, sizes.size))
            x[:, :, D] = np.where(sizes > D, np.sqrt(beyond), 0.0)
        for s, size in enumerate(sizes):
            x[:, s, : min(D, size)] = normals[:, s, :size]
        return self._scaled(x, length)

    def _scaled(self, x: np.ndarray, length: np.random.Generator) -> np.ndarray:
        """Normals with the variances of the groups and a factor for each input."""
        count, spectrum = len(x), self.networks.inputs
        if spectrum is not None:
            x *= np.sqrt(spectrum.eigenvalues)[:, None]
            if spectrum.factors is not None:
                factors = length.choice(spectrum.factors, count, p=spectrum.factor_shares)
                x *= np.sqrt(factors)[:, None, None]
        return x.reshape(count, -1)

    def _blocks(self, steps: int) -> Iterator[tuple[Any, ...]]:
        """Inputs (size, runs, width), normals for the noise (size, runs, O) and those of the rule.

        These are (size, runs, *drawn), or (size, runs, 0).  Then uniform numbers that say which
        task it is, (size, runs), and how many samples are meant.  Sample s of run r depends on the
        seed, r and s alone.
        """
        runs, O = len(self.drawn), self.networks.F.shape[-1]
        own = shape_drawn(self.rule, self.networks.v) or (0,)
        width = self.coordinates.width
        size = max(1, NUMBERS // (runs * (width + O + math.prod(own))))
        for start in range(0, steps, size):
            count = min(size, steps - start)
            x, zeta = np.zeros((size, runs, width)), np.zeros((size, runs, O))
            xi, uniform = np.zeros((size, runs, *own)), np.zeros((size, runs))
            for r, drawn in enumerate(self.drawn):
                _, _, for_noise, _, for_own, _, _, for_task = drawn
                x[:count, r] = self._inputs(drawn, count)
                if self.tasks["streams"]:
                    uniform[:count, r] = for_task.random(count)
                zeta[:count, r] = for_noise.standard_normal((count, O))
                xi[:count, r] = for_own.standard_normal((count, *own))
            yield x, zeta, xi, uniform, count


def _ahead(items: Iterator) -> Iterator:
    """The items, each prepared in a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


@partial(jax.jit, static_argnames=("rule", "units", "N", "streams", "room"))
def _train(networks, parameters, samples, count, *, rule, units, N, streams, room):
    """The networks after samples of :func:`_blocks`; the parameters as of :func:`rates`."""
    groups = 1 if networks.inputs is None else len(networks.inputs.shares)
    kinds: dict[str, Any] = {"groups": groups, "rule": rule, "units": units, "N": N}

    def learn(network: Network, x: Any, zeta: Any, xi: Any, uniform: Any, s: Any) -> Network:
        now = jax.tree.map(lambda each: each if each.ndim == 0 else each[s], parameters)
        task: dict[str, Any] = {}
        if streams:
            which = chosen_streams(uniform[None], now, room)
            now = now._replace(noise=noise_of(which, now)[0, 0], rates=None)
            task = {"which": which[0], "streams": streams}
        return one_sample(network, x, zeta, xi, now, **kinds, **task)

    axes = per_run(rule, networks)
    one_step = jax.vmap(learn, (axes, 0, 0, 0, 0, None), axes)

    def one(s: Any, state: Network) -> Network:
        x, zeta, xi, uniform = (each[s] for each in samples)
        return one_step(state, x, zeta, xi, uniform, s)

    return jax.lax.fori_loop(0, count, one, networks)


@partial(jax.jit, static_argnames=("rule", "units", "record"))
def _measure(networks, tests, scale, *, rule, units, record):
    """Order parameters and errors of every network, the latter on inputs of its own."""

    def one_run(network: Network, X: Any) -> dict[str, Any]:
        fed_back = network if scale is None else scaled(network, scale)
        label = outputs(network.W_star, network.v_star, X, units.g)
        means = jnp.mean(mistakes(fed_back, X, label, rule=rule, units=units), axis=0)
        return {**overlaps_of(fed_back, rule), **errors_of(means, rule), **called(record, fed_back)}

    return jax.vmap(one_run, (per_run(rule, networks), 0))(networks, tests)
