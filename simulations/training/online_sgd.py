"""The training loop: online SGD on the weights of finite networks, many runs at once.

Inputs are drawn some at a time and forgotten, so that memory does not grow with time.  Sample s of
run r is a function of the seed, r and s alone: neither the saved times, nor how samples and runs
are put together, nor the number of runs change the data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import check_progress, lookup
from odes.common.chunks import processors
from odes.common.order_parameters import Hyperparameters, state_of
from odes.common.progress import shown
from odes.common.schedules import parameters_at, probed, scheduled_hyperparameters
from odes.common.store import Arrays, load_arrays, open_store, save_arrays
from odes.common.trajectory import Trajectory, trajectory_of_runs
from simulations.activations import Activation
from simulations.networks import Network, overlaps_of
from simulations.rules import Rule, known_name
from simulations.training.blocks import learn_as_block
from simulations.training.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_SECONDS,
    stacked,
    unstacked,
    weights_of,
    with_weights,
)
from simulations.training.checks import (
    check_runs,
    check_training,
    learned,
    per_run,
    with_data,
)
from simulations.training.errors import errors_of, mistakes, tested
from simulations.training.inputs import (
    MIRROR,
    OWN,
    Data,
    draw_samples,
    drawn_by,
    mirror_noise,
    rates,
)
from simulations.training.plan import Piece, Plan, pieces_of, plan_of
from simulations.training.steps import learn_in_turn, samples_of, scaled, with_scale

DTYPES = {"float32": np.float32, "float64": np.float64}


def simulate(
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
    dtype: str = "float32",
    block: int | None = None,
    data: Any = None,
    labels: Any = None,
    path: Any = None,
    progress: bool | None = None,
) -> Trajectory:
    """Train copies of a network on different data and measure them as they learn.

    The runs are spread over the processors of this machine, or over all devices that JAX sees.

    Args:
        network: where every run starts; see :func:`simulations.sample_network`.
        rule: a name in ``simulations.RULES`` or a :class:`simulations.Rule`, whose functions are
            compiled once and must not depend on values that change.
        lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v: as for :func:`odes.solve`;
            the scale multiplies B and F of the network.  Sample s sees the value of a schedule at
            t = s / N, s = 0, 1, ...
        activation: "erf", "linear", "tanh", "relu"; one of these with "-normalised", for students
            whose hidden activities are ``h / |h|``; an elementwise function of JAX arrays, compiled
            once like a rule; or an object with such functions ``g`` and ``hidden``, of the teacher
            and of the student, the latter along the last axis.
        times: when to measure, (n,), in samples / N, strictly increasing and >= 0; rounded to whole
            samples, which must still differ.
        n_runs: number of runs, which differ in their training and test inputs.
        seed: of all inputs and label noise.
        n_test: fresh inputs on which each run is tested at each time.
        dtype: "float32" or "float64", of the weights and of the arithmetic.
        block: samples learned together by the exact block form (``blocks.py`` beside this), up to
            N / 4 - O and for equivariant rules; 1 for one after another; None for what is fast.  It
            need not divide the number of samples between two times: the last block is cut short.
            Results differ by rounding alone.
        data: a matrix (n, N) whose rows, less their mean, are the inputs, drawn at random with
            replacement, in training and tests; kept once, in ``dtype``.  None for Gaussian inputs,
            with the covariance that ``network.inputs`` has, if any.
        labels: of the rows of ``data``, (n, O) or (n,); None for the output of the teacher.
        path: a directory where a checkpoint is kept, every 20 seconds and at the end.  A simulation
            that was interrupted, by whatever means, and is called again with the same arguments
            and on as many processors and devices goes on from there and returns the same numbers to
            the last bit.
        progress: True shows how far it is, by a bar on a terminal and by a line after each tenth
            elsewhere; None by the bar alone; False not at all.

    Returns:
        A Trajectory.  The generalization error, (n_runs, n), is half the squared difference to the
        noiseless teacher, summed over outputs and averaged over the test inputs; the
        misclassification is the share of outputs of another sign, and is both for Forward-Forward.
        The order
        parameters, with leading axes (n_runs, n), are measured on the weights.  ``times`` are the
        rounded ones, and ``status`` has one entry a run, "ok" or "diverged".

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    parameters = scheduled_hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    lookup("dtype", DTYPES, dtype)
    progress = check_progress(progress)
    n_runs, n_test, seed = check_runs(n_runs, n_test, seed)
    network, chosen, units, steps = check_training(network, rule, activation, times, parameters)
    network, rows = with_data(network, chosen, data, labels, dtype)
    devices, threads = _workers()
    plan = plan_of(network, chosen, block, n_runs, threads)
    pieces = list(pieces_of(steps, plan.piece))
    arguments = {
        "network": network, "rule": known_name(chosen) or chosen,
        **probed(parameters, steps[-1] / network.W.shape[1])._asdict(),
        "activation": activation, "times": times, "n_runs": n_runs, "seed": seed,
        "n_test": n_test, "dtype": dtype, **({} if rows is None else {"data": rows}),
    }  # fmt: skip
    network, parameters = with_scale(network, parameters)
    in_samples = partial(rates, parameters, network.W.shape[1], dtype=DTYPES[dtype])
    layout = {**plan._asdict(), "devices": len(devices), "device": jax.default_backend()}
    advance = partial(_advance, rule=chosen, units=units, plan=plan, n_test=n_test, dtype=dtype)
    with (
        open_store(path, arguments, layout) as folder,
        _precision(dtype),
        ThreadPoolExecutor(threads) as pool,
        shown(progress, steps[-1], "samples", delay=1) as advanced,
    ):
        groups = _start(network, rows, learned(chosen), seed, dtype, plan, devices)
        done, saved = 0, list[Arrays]()
        if folder is not None and (found := load_arrays(folder / CHECKPOINT)) is not None:
            done, saved = int(found["done"]), unstacked(found)
            groups = with_weights(groups, learned(chosen), found)
            advanced(pieces[done - 1].last)
        if plan.groups > 1 and done < len(pieces):
            nothing = in_samples(0, 0, plan.piece), parameters_at(parameters, 0.0)
            advance(groups[0], Piece(0, 0, 0), *nothing)  # compiles, before all threads need it
        kept = time.monotonic()
        for piece in pieces[done:]:
            during = in_samples(piece.first, piece.last, plan.piece)
            then = parameters_at(parameters, piece.last / network.W.shape[1])
            shared = (repeat(each) for each in (piece, during, then))
            groups, measured = zip(*pool.map(advance, groups, *shared), strict=True)
            if piece.measured is not None:
                saved.append({n: np.concatenate([m[n] for m in measured]) for n in measured[0]})
            done += 1
            advanced(piece.last - piece.first)
            due = done == len(pieces) or time.monotonic() - kept > CHECKPOINT_SECONDS
            if folder is not None and due:
                arrays = weights_of(groups, learned(chosen)) | stacked(saved)
                save_arrays(folder / CHECKPOINT, {"done": np.array(done), **arrays})
                kept = time.monotonic()
    curves = {name: array[:n_runs] for name, array in stacked(saved, prefix="").items()}
    errors = [curves.pop(name) for name in ("generalization_error", "misclassification")]
    return trajectory_of_runs(
        np.array(steps) / network.W.shape[1], state_of(curves), *errors, averages=tested(n_test)
    )


def _workers() -> tuple[list, int]:
    """All devices, and how many threads are to use them."""
    devices = jax.local_devices()
    cpu = devices[0].platform == "cpu" and len(devices) == 1
    return devices, processors() if cpu else len(devices)


def _advance(
    group: Group,
    piece: Piece,
    during: Hyperparameters,
    then: Hyperparameters,
    *,
    rule: Rule,
    units: Activation,
    plan: Plan,
    n_test: int,
    dtype: str,
) -> tuple[Group, Arrays]:
    """The group after a piece, and what is measured at its end; the parameters of both."""
    shared: dict[str, Any] = {"rule": rule, "units": units, "plan": plan}
    with _precision(dtype):  # JAX's settings belong to a thread
        group = _train(group, piece.first, piece.last, during, **shared)
        measured = {}
        if piece.measured is not None:
            measured = _measure(group, piece.measured, n_test, then.feedback_scale, **shared)
        jax.block_until_ready(group)
        return group, {name: np.asarray(each, float) for name, each in measured.items()}


@contextmanager
def _precision(dtype: str) -> Iterator[None]:
    """JAX's settings for this dtype, in this thread."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("float32"):
        yield


class Group(NamedTuple):
    """Runs side by side on one device."""

    networks: Network  # W and v with a run axis
    training: Any  # random keys of the training inputs, (abreast,)
    tests: Any  # and of the test inputs
    basis: tuple[Any, Any]  # Q_F and its triangle, for the exact block form
    data: Data | None  # to draw inputs from


def _start(
    network: Network,
    data: Data | None,
    names: tuple[str, ...],
    seed: int,
    dtype: str,
    plan: Plan,
    devices: list,
) -> list[Group]:
    """All groups before the first sample, filled up with more runs than were asked for."""
    with np.errstate(over="ignore"):  # what is beyond single precision diverges
        start, data = jax.tree.map(lambda each: jnp.asarray(each, dtype), (network, data))
    held = [jax.device_put(data, device) for device in devices]
    networks = start.put(
        **{name: jnp.tile(start.get(name), (plan.abreast, 1, 1)) for name in names}
    )
    Q, triangle = jnp.linalg.qr(start.F)
    root = jax.random.key(seed, impl="threefry2x32")
    runs = jnp.arange(plan.groups * plan.abreast)
    keys = jax.vmap(lambda run: jax.random.split(jax.random.fold_in(root, run)))(runs)
    keys = keys.reshape(plan.groups, plan.abreast, 2)
    groups = [Group(networks, each[:, 0], each[:, 1], (Q, triangle), None) for each in keys]
    return [
        jax.device_put(group, devices[i % len(devices)])._replace(data=held[i % len(devices)])
        for i, group in enumerate(groups)
    ]


@partial(jax.jit, static_argnames=("rule", "units", "plan"))
def _train(group, first, last, parameters, *, rule, units, plan):
    """The group after its samples first, ..., last - 1; the parameters as of :func:`rates`."""
    networks, keys, _, basis, data = group
    learner = partial(learn_as_block, basis) if plan.as_block else learn_in_turn

    def one_run(network: Network, key: Any) -> dict[str, Any]:
        def learn_drawn(d: Any, weights: dict[str, Any]) -> dict[str, Any]:
            start = first + d * plan.drawn
            X, Y, zeta = draw_samples(key, start, plan.drawn, network, data, units.g)
            Y = Y + parameters.noise * zeta
            count = jnp.minimum(plan.drawn, last - start)
            now = samples_of(parameters, d * plan.drawn, plan.drawn)
            beside: dict[str, Any] = {}
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


@partial(jax.jit, static_argnames=("rule", "units", "plan"))
def _measure(group, index, n_test, scale, *, rule, units, plan):
    """Order parameters and errors of every network, the latter on test set ``index``.

    The scale of the feedback is None for networks whose B and F have it already.
    """
    networks, _, keys, _, data = group
    size = plan.drawn

    def one_run(network: Network, key: Any) -> dict[str, Any]:
        key = jax.random.fold_in(key, index)
        fed_back = network if scale is None else scaled(network, scale)

        def add(b: Any, total: Any) -> Any:
            X, Y, _ = draw_samples(key, b * size, size, network, data, units.g)
            counted = b * size + jnp.arange(size) < n_test
            return total + counted @ mistakes(fed_back, X, Y, rule=rule, units=units)

        total = jax.lax.fori_loop(0, -(-n_test // size), add, jnp.zeros(2, network.W.dtype))
        return {**overlaps_of(fed_back, rule), **errors_of(total / n_test, rule)}

    return jax.vmap(one_run, (per_run(rule, networks), 0))(networks, keys)
