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

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import check_progress
from odes.common.order_parameters import state_of
from odes.common.progress import shown
from odes.common.schedules import parameters_at, probed, scheduled_hyperparameters
from odes.common.trajectory import Trajectory, trajectory_of_runs
from simulations.networks import Network, in_eigenbasis, overlaps_of
from simulations.rules import Rule, outputs, shape_drawn
from simulations.training.checks import check_runs, check_training, learned, per_run
from simulations.training.errors import errors_of, mistakes, tested
from simulations.training.inputs import rates
from simulations.training.steps import scaled, step, with_scale

NUMBERS = 2**21
"""Random numbers drawn at once."""


def simulate_chain(
    network: Network,
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
) -> Trajectory:
    """Train a network as :func:`simulations.simulate` does, at a cost that does not depend on N.

    The Markov chain of the overlaps of one network, run on K + M + O + 1 inputs (module
    docstring), in double precision.  One run has exactly the distribution of one run of
    ``simulate``, not its numbers.

    Args:
        network, rule, lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v, activation,
            times, n_runs, seed, n_test, progress: as for ``simulate``; N at least K + M + O, in
            either scaling of F, and a rule that is equivariant (``simulations/rules``).  As
            there, fewer than 2^31 samples a run.

    Returns:
        A Trajectory, as ``simulate`` returns it.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    parameters = scheduled_hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    progress = check_progress(progress)
    n_runs, n_test, seed = check_runs(n_runs, n_test, seed)
    network, chosen, units, steps = check_training(network, rule, activation, times, parameters)
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
    network = in_eigenbasis(network)
    (K, N), M, O = network.W.shape, len(network.W_star), network.v.shape[1]
    if N < K + M + O:
        raise ValueError(
            f"Argument `network` must have N of at least K + M + O = {K + M + O}, but N is {N}."
        )
    probed(parameters, steps[-1] / N)
    network, parameters = with_scale(network, parameters)
    streams = [
        [np.random.default_rng(stream) for stream in run.spawn(7)]
        for run in np.random.SeedSequence(seed).spawn(n_runs)
    ]
    saved, done = [], 0
    with jax.enable_x64(True), shown(progress, steps[-1], "samples", delay=1) as advance:
        networks = _compressed(network, chosen, n_runs)
        inputs = _Inputs(networks.inputs, _sizes(network), K + M + O)
        for last in steps:
            for x, zeta, xi, count in _ahead(
                _blocks(streams, last - done, inputs, O, shape_drawn(chosen, network.v))
            ):
                during = rates(parameters, N, done, done + count, len(x))
                samples = x, zeta, xi, count
                networks = jax.block_until_ready(
                    _train(networks, during, samples, rule=chosen, units=units, N=N)
                )
                advance(count)
                done += count
            scale = parameters_at(parameters, done / N).feedback_scale
            tests = np.stack([inputs.tests(run[3], run[6], n_test) for run in streams])
            measured = _measure(networks, tests, scale, rule=chosen, units=units)
            saved.append(jax.tree.map(np.asarray, measured))
    curves = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *saved)
    errors = [curves.pop(name) for name in ("generalization_error", "misclassification")]
    return trajectory_of_runs(
        np.array(steps) / N, state_of(curves), *errors, averages=tested(n_test)
    )


def _compressed(network: Network, rule: Rule, n_runs: int) -> Network:
    """The network on D + 1 inputs: teacher and F in the first M + O, nothing in the last.

    So it is in every group of inputs.
    """
    (K, N), M = network.W.shape, len(network.W_star)
    vectors = np.concatenate([network.W_star, network.F.T, network.W])
    coordinates, start = np.zeros((len(vectors), 0)), 0
    for size in _sizes(network):
        own = np.asarray(np.linalg.qr(vectors[:, start : start + size].T, mode="r")).T  # triangular
        own = np.pad(own, ((0, 0), (0, len(vectors) + 1 - own.shape[1])))
        coordinates, start = np.concatenate([coordinates, own], axis=1), start + size
    scale = np.sqrt(coordinates.shape[1] / N)
    small = network._replace(
        W=scale * coordinates[-K:], W_star=scale * coordinates[:M], F=coordinates[M:-K].T
    )
    if network.inputs is not None:
        shares = np.ones_like(network.inputs.shares)
        small = small._replace(inputs=network.inputs._replace(shares=shares / shares.size))
    runs = {name: np.tile(small.get(name), (n_runs, 1, 1)) for name in learned(rule)}
    return jax.tree.map(jnp.asarray, small.put(**runs))


def _sizes(network: Network) -> list[int]:
    """How many inputs are in each group."""
    N, inputs = network.W.shape[1], network.inputs
    return [N] if inputs is None else np.rint(inputs.shares * N).astype(int).tolist()


class _Inputs(NamedTuple):
    """Inputs in the coordinates of the chain, D + 1 of each group of inputs, of these sizes."""

    spectrum: Any
    sizes: list[int]
    D: int

    @property
    def width(self) -> int:
        """The number of coordinates."""
        return len(self.sizes) * (self.D + 1)

    def draw(
        self,
        span: np.random.Generator,
        rest: np.random.Generator,
        length: np.random.Generator,
        count: int,
    ) -> np.ndarray:
        """Inputs, (count, width): normals, and the length of what the span leaves of each group."""
        D, x = self.D, np.zeros((count, len(self.sizes), self.D + 1))
        normals = span.standard_normal((count, len(self.sizes) * D)).reshape(count, -1, D)
        sizes = np.array(self.sizes)
        if np.any(sizes > D):  # row by row, so that a sample does not depend on where blocks end
            beyond = rest.chisquare(np.maximum(sizes - D, 1), (count, sizes.size))
            x[:, :, D] = np.where(sizes > D, np.sqrt(beyond), 0.0)
        for s, size in enumerate(self.sizes):
            x[:, s, : min(D, size)] = normals[:, s, :size]
        return self._scaled(x, length)

    def tests(
        self, normals: np.random.Generator, length: np.random.Generator, count: int
    ) -> np.ndarray:
        """Inputs of which only the span matters, (count, width)."""
        x = normals.standard_normal((count, self.width))
        return self._scaled(x.reshape(count, len(self.sizes), -1), length)

    def _scaled(self, x: np.ndarray, length: np.random.Generator) -> np.ndarray:
        """Normals with the variances of the groups and a factor for each input."""
        count, spectrum = len(x), self.spectrum
        if spectrum is not None:
            x *= np.sqrt(spectrum.eigenvalues)[:, None]
            if spectrum.factors is not None:
                factors = length.choice(spectrum.factors, count, p=spectrum.factor_shares)
                x *= np.sqrt(factors)[:, None, None]
        return x.reshape(count, -1)


def _blocks(
    streams: list[list[np.random.Generator]],
    steps: int,
    inputs: _Inputs,
    O: int,
    drawn: tuple[int, ...],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Inputs (size, runs, width), normals for the noise (size, runs, O) and those of the rule.

    These are (size, runs, *drawn), or (size, runs, 0).  The last is how many samples are meant.
    Sample s of run r depends on the seed, r and s alone.
    """
    own = drawn or (0,)
    size = max(1, NUMBERS // (len(streams) * (inputs.width + O + math.prod(own))))
    for start in range(0, steps, size):
        count = min(size, steps - start)
        x = np.zeros((size, len(streams), inputs.width))
        zeta = np.zeros((size, len(streams), O))
        xi = np.zeros((size, len(streams), *own))
        for r, (for_span, for_rest, for_noise, _, for_own, for_length, _) in enumerate(streams):
            x[:count, r] = inputs.draw(for_span, for_rest, for_length, count)
            zeta[:count, r] = for_noise.standard_normal((count, O))
            xi[:count, r] = for_own.standard_normal((count, *own))
        yield x, zeta, xi, count


def _ahead(items: Iterator) -> Iterator:
    """The items, each prepared in a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


@partial(jax.jit, static_argnames=("rule", "units", "N"))
def _train(networks, parameters, samples, *, rule, units, N):
    """The networks after samples of :func:`_blocks`; the parameters as of :func:`rates`."""
    x, zeta, xi, count = samples
    K = networks.W.shape[1]
    groups = 1 if networks.inputs is None else len(networks.inputs.shares)

    def learn(network: Network, x: Any, zeta: Any, xi: Any, s: Any) -> Network:
        now = jax.tree.map(lambda each: each if each.ndim == 0 else each[s], parameters)
        y = outputs(network.W_star, network.v_star, x[None], units.g)[0] + now.noise * zeta
        network = step(network, x, y, now, xi=xi, rule=rule, g=units.hidden, N=N)
        W = network.W.reshape(K, groups, -1)
        kept = W.shape[2] - 1 - K
        beyond = jax.vmap(turned, 1, 1)(W[:, :, kept:])  # in a small group, among what it has
        W = jnp.concatenate([W[:, :, :kept], beyond], axis=2)
        return network._replace(W=W.reshape(K, -1))

    axes = per_run(rule, networks)
    one_step = jax.vmap(learn, (axes, 0, 0, 0, None), axes)
    return jax.lax.fori_loop(
        0, count, lambda s, state: one_step(state, x[s], zeta[s], xi[s], s), networks
    )


def turned(A: Any) -> Any:
    """A (K, K + 1) times a rotation that leaves it nothing in its last column, by reflections."""
    K = A.shape[0]
    for k in range(K):
        row = jnp.where(jnp.arange(K + 1) < k, 0, A[k])
        mirror = row.at[k].add(jnp.copysign(jnp.sqrt(row @ row), row[k]))
        square = mirror @ mirror
        A = A - jnp.outer(A @ mirror, mirror) * jnp.where(square > 0, 2 / square, 0)
    return A.at[:, K].set(0)


@partial(jax.jit, static_argnames=("rule", "units"))
def _measure(networks, tests, scale, *, rule, units):
    """Order parameters and errors of every network, the latter on inputs of its own."""

    def one_run(network: Network, X: Any) -> dict[str, Any]:
        fed_back = network if scale is None else scaled(network, scale)
        label = outputs(network.W_star, network.v_star, X, units.g)
        means = jnp.mean(mistakes(fed_back, X, label, rule=rule, units=units), axis=0)
        return {**overlaps_of(fed_back, rule), **errors_of(means, rule)}

    return jax.vmap(one_run, (per_run(rule, networks), 0))(networks, tests)
