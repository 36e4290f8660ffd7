"""Runs side by side on a device: where they start, what a piece of training does, and measuring.

Inputs are drawn some at a time and forgotten, so that memory does not grow with time.  Sample s of
run r is a function of the seed, r and s alone: neither the saved times, nor how samples and runs
are put together, nor the number of runs change the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.order_parameters import Hyperparameters
from odes.common.store import Arrays
from odes.common.tasks import Stream
from simulations.activations import Activation
from simulations.kernels import counters
from simulations.kernels.programs import zeros_of
from simulations.networks import Network, overlaps_of
from simulations.rules import Rule
from simulations.training.blocks import basis_of, learn_as_block
from simulations.training.checks import learned, per_run
from simulations.training.errors import errors_of, mistakes
from simulations.training.inputs import (
    MIRROR,
    OWN,
    TASK,
    Data,
    draw_samples,
    draw_uniform,
    drawn_by,
    mirror_noise,
)
from simulations.training.plan import Piece, Plan
from simulations.training.recording import called
from simulations.training.resident import learn_resident
from simulations.training.steps import learn_in_turn, samples_of, scaled
from simulations.training.streams import chosen_streams, noise_of


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """JAX's settings for this dtype, in this thread."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("float32"):
        yield


class Group(NamedTuple):
    """Runs side by side on one device."""

    networks: Network  # W and v with a run axis
    training: Any  # random keys of the training inputs, (abreast,)
    tests: Any  # and of the test inputs
    counter: Any  # the key of what is drawn by counter, and the number of the first run
    basis: Any  # Q_F and its triangle, where samples are seen in a few coordinates
    data: Data | None  # to draw inputs from


class Job(NamedTuple):
    """What all pieces of a simulation have in common."""

    rule: Rule
    units: Activation
    plan: Plan
    n_test: int
    dtype: str
    streams: tuple[Stream | None, ...]  # what the tasks train, if there are any
    room: int  # for how many samples there is in 1 / N of time
    record: Any = None  # a function of a network
    samples: int = 0  # that runs have seen before
    tests: int = 0  # sets of test inputs that they have been tested on before
    first_run: int = 0  # the number of the first of them


def start(
    network: Network, data: Data | None, seed: int, devices: list, job: Job, weights: Arrays
) -> list[Group]:
    """All groups, filled up with more runs than were asked for.

    They start from the network, or from ``weights``, by name (runs, ...).
    """
    rule, plan, dtype = job.rule, job.plan, job.dtype
    with np.errstate(over="ignore"):  # what is beyond single precision diverges
        network, data = jax.tree.map(lambda each: jnp.asarray(each, dtype), (network, data))
    held = [jax.device_put(data, device) for device in devices]
    basis = None if plan.how == "in turn" else basis_of(network, rule, job.units.hidden)
    root = jax.random.key(seed, impl="threefry2x32")
    numbered = np.arange(job.first_run, job.first_run + plan.groups * plan.abreast)
    runs = numbered.reshape(plan.groups, plan.abreast)
    keys = jax.vmap(jax.vmap(lambda run: jax.random.split(jax.random.fold_in(root, run))))(runs)
    key = jnp.asarray(counters.key_of(seed))
    groups = []
    for i, (numbers, own) in enumerate(zip(runs, keys, strict=True)):
        device = devices[i % len(devices)]
        if weights:
            pick = partial(_picked, numbers - job.first_run, dtype)
            begun = jax.tree.map(pick, weights)
        else:
            alike = {name: network.get(name) for name in learned(rule)}
            begun = jax.tree.map(partial(_repeated, plan.abreast), alike)
        streams = own[:, 0], own[:, 1], (key, np.int32(numbers[0]))
        group = jax.device_put(Group(network, *streams, basis, None), device)
        if plan.stays:
            begun = jax.device_put(begun, device)
        group = group._replace(networks=group.networks.put(**begun), data=held[i % len(devices)])
        groups.append(group)
    return groups


def _picked(numbers: np.ndarray, dtype: str, weights: Any) -> Any:
    """The weights of these runs; of the last one where there are no more."""
    return np.take(np.asarray(weights, dtype), numbers, axis=0, mode="clip")


def _repeated(runs: int, weights: Any) -> Any:
    """The same weights in all runs."""
    return np.broadcast_to(weights, (runs, *weights.shape))


def weights_of(groups: Sequence[Group], rule: Rule, n_runs: int) -> Arrays:
    """The weights that learn, by name (runs, ...)."""
    held = [{name: group.networks.get(name) for name in learned(rule)} for group in groups]
    return jax.tree.map(lambda *parts: np.concatenate(list(map(np.asarray, parts)))[:n_runs], *held)


def advance(
    group: Group, piece: Piece, during: Hyperparameters, then: Hyperparameters, *, job: Job
) -> tuple[Group, Arrays]:
    """The group after a piece, and what is measured at its end; the parameters of both."""
    shared: dict[str, Any] = {"rule": job.rule, "units": job.units, "plan": job.plan}
    with precision(job.dtype):  # JAX's settings belong to a thread
        zero = zeros_of(during) if job.plan.how == "resident" else ()
        tasks: dict[str, Any] = {"streams": job.streams, "room": job.room}
        span = piece.first + job.samples, piece.last + job.samples
        group = train(group, *span, during, zero=zero, **tasks, **shared)
        measured = {}
        if piece.measured is not None:
            index = piece.measured + job.tests
            measured = measure(
                group, index, job.n_test, then.feedback_scale, record=job.record, **shared
            )
        jax.block_until_ready(group)
        if not job.plan.stays:
            weights = {name: group.networks.get(name) for name in learned(job.rule)}
            weights = jax.tree.map(np.asarray, weights)
            group = group._replace(networks=group.networks.put(**weights))
        return group, jax.tree.map(lambda each: np.asarray(each, float), measured)


@partial(jax.jit, static_argnames=("zero", "rule", "units", "plan", "streams", "room"))
def train(group, first, last, parameters, *, zero, rule, units, plan, streams, room):
    """The group after its samples first, ..., last - 1; the parameters as of :func:`rates`.

    Those named in ``zero`` are 0 throughout.
    """
    networks, keys, _, (key, run), basis, data = group
    if plan.how == "resident":
        weights = learn_resident(
            {name: networks.get(name) for name in learned(rule)},
            networks,
            basis,
            key,
            jnp.array([first, last, run, 0], jnp.int32),
            parameters._replace(**dict.fromkeys(zero, np.float32(0))),
            rule=rule,
            units=units,
        )
        return group._replace(networks=networks.put(**weights))
    learner = learn_in_turn
    if plan.how == "in blocks":
        learner = partial(learn_as_block, basis)

    def one_run(network: Network, key: Any) -> dict[str, Any]:
        def learn_drawn(d: Any, weights: dict[str, Any]) -> dict[str, Any]:
            start = first + d * plan.drawn
            X, Y, zeta = draw_samples(key, start, plan.drawn, network, data, units.g)
            count = jnp.minimum(plan.drawn, last - start)
            now = samples_of(parameters, d * plan.drawn, plan.drawn)
            noise, beside = parameters.noise, dict[str, Any]()
            if streams:
                uniform = draw_uniform(jax.random.fold_in(key, TASK), start, plan.drawn, Y.dtype)
                which = chosen_streams(uniform, now, room)
                noise = noise_of(which, now)
                beside |= {"which": which, "streams": streams}
            Y = Y + noise * zeta
            if rule.draws:
                for_own = jax.random.fold_in(key, OWN)
                beside["xi"] = drawn_by(rule, for_own, start, plan.drawn, network)
            if rule.mirror is not None:
                for_mirror = jax.random.fold_in(key, MIRROR)
                beside["noise"] = mirror_noise(for_mirror, start, plan.drawn, network)

            def learn(index: Any, weights: dict[str, Any]) -> dict[str, Any]:
                after = learner(
                    network.put(**weights),
                    X,
                    Y,
                    now,
                    first=index * plan.learned,
                    count=plan.learned,
                    last=count,
                    rule=rule,
                    g=units.hidden,
                    N=X.shape[1],
                    **beside,
                )
                return {name: after.get(name) for name in weights}

            return jax.lax.fori_loop(0, -(-count // plan.learned), learn, weights)

        turns = -(-(last - first) // plan.drawn)
        start = {name: network.get(name) for name in learned(rule)}
        return jax.lax.fori_loop(0, turns, learn_drawn, start)

    weights = jax.vmap(one_run, (per_run(rule, networks), 0))(networks, keys)
    return group._replace(networks=networks.put(**weights))


@partial(jax.jit, static_argnames=("rule", "units", "plan", "record"))
def measure(group, index, n_test, scale, *, rule, units, plan, record):
    """Order parameters and errors of every network, the latter on test set ``index``.

    The scale of the feedback is None for networks whose B and F have it already.
    """
    networks, keys, data = group.networks, group.tests, group.data
    size = plan.drawn

    def one_run(network: Network, key: Any) -> dict[str, Any]:
        key = jax.random.fold_in(key, index)
        fed_back = network if scale is None else scaled(network, scale)

        def add(b: Any, total: Any) -> Any:
            X, Y, _ = draw_samples(key, b * size, size, network, data, units.g)
            counted = b * size + jnp.arange(size) < n_test
            each = mistakes(fed_back, X, Y, rule=rule, units=units)
            return total + jnp.tensordot(counted, each, 1)

        nothing = jnp.zeros((2, network.F.shape[1]), network.W.dtype)
        total = jax.lax.fori_loop(0, -(-n_test // size), add, nothing)
        errors = errors_of(total / n_test, rule)
        return {**overlaps_of(fed_back, rule), **errors, **called(record, fed_back)}

    return jax.vmap(one_run, (per_run(rule, networks), 0))(networks, keys)
