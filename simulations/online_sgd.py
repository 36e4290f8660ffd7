"""The training loop: online SGD on the weights of finite networks, many runs at once.

Inputs are drawn some at a time and forgotten, so that memory does not grow with time.  Sample s of
run r is a function of the seed, r and s alone: neither the saved times, nor how samples and runs
are put together, nor the number of runs change the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import check_count, check_progress, check_seed, check_times, lookup
from odes.common.chunks import processors
from odes.common.order_parameters import Hyperparameters, state_of
from odes.common.progress import shown
from odes.common.schedules import (
    PiecewiseConstant,
    check_scale,
    parameters_at,
    probed,
    scheduled_hyperparameters,
)
from odes.common.store import Arrays, load_arrays, open_store, save_arrays
from odes.common.trajectory import Trajectory, trajectory_of_runs
from simulations.activations import Units, check_units, choose_units
from simulations.blocks import learn_as_block, learn_in_turn, samples_of, scaled
from simulations.networks import Network, check_learned, check_network, overlaps_of
from simulations.rules import (
    Rule,
    as_matrix,
    choose_rule,
    known_name,
    outputs,
    see,
    shape_drawn,
)

DTYPES = {"float32": np.float32, "float64": np.float64}

BLOCK = 16
"""Samples learned together, where that is fast."""

BLOCK_FROM = {"K": 8, "N": 4000}
"""From these sizes on the exact block form is faster than one sample after another
(``python benchmarks/bench_simulate.py``)."""

ABREAST = 2**19
"""Numbers that BLOCK samples of the runs of a group may have: few enough for the cache."""

DRAWN = 2**13
"""Numbers drawn at once in the runs of a group, if BLOCK samples have no more: enough to be fast,
and few enough that those drawn in vain before a time of measurement take no time."""

HELD = 2**22
"""Numbers that may be held at once, if that is what it takes to draw BLOCK samples of one run."""

PIECE = 2**27
"""Numbers drawn between two looks at the progress and at the clock for checkpoints."""

MIRROR, OWN = 2**31, 2**31 + 1
"""Set the noise of mirrors, and what rules draw, apart from samples in the streams of a run."""

CHECKPOINT = "checkpoint.npz"
CHECKPOINT_SECONDS = 20.0


class Plan(NamedTuple):
    """How runs and samples are put together."""

    groups: int  # of runs, each in a thread of its own
    lanes: int  # runs of a group, side by side
    piece: int  # samples in one call of compiled code
    drawn: int  # samples drawn at once, a multiple of `learned`
    learned: int  # samples in one call of a learner
    as_block: bool  # whether by the exact block form


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
        block: samples learned together by the exact block form (``simulations/blocks.py``), up to
            N / 4 - O and for equivariant rules; 1 for one after another; None for what is fast.  It
            need not divide the number of samples between two times: the last block is cut short.
            Results differ by rounding alone.
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
    devices = jax.local_devices()
    cpu = devices[0].platform == "cpu" and len(devices) == 1
    threads = processors() if cpu else len(devices)
    plan = _plan(network, chosen, block, n_runs, threads)
    pieces = list(_pieces(steps, plan.piece))
    arguments = {
        "network": network, "rule": known_name(chosen) or chosen,
        **probed(parameters, steps[-1] / network.W.shape[1])._asdict(),
        "activation": activation, "times": times, "n_runs": n_runs, "seed": seed,
        "n_test": n_test, "dtype": dtype,
    }  # fmt: skip
    if not callable(parameters.feedback_scale):
        network = scaled(network, parameters.feedback_scale)
        parameters = parameters._replace(feedback_scale=None)
    in_samples = partial(rates, parameters, network.W.shape[1], dtype=DTYPES[dtype])
    layout = {**plan._asdict(), "devices": len(devices), "device": jax.default_backend()}

    def advance(
        group: Group, piece: Piece, during: Hyperparameters, then: Hyperparameters
    ) -> tuple[Group, Arrays]:
        """The group after a piece, and what is measured at its end; the parameters of both."""
        with _precision(dtype):  # JAX's settings belong to a thread
            group = _train(
                group, piece.first, piece.last, during, rule=chosen, units=units, plan=plan
            )
            measured = {}
            if piece.measured is not None:
                scale = then.feedback_scale
                measured = _measure(
                    group, piece.measured, n_test, scale, rule=chosen, units=units, plan=plan
                )
            jax.block_until_ready(group)
            return group, {name: np.asarray(each, float) for name, each in measured.items()}

    with (
        open_store(path, arguments, layout) as folder,
        _precision(dtype),
        ThreadPoolExecutor(threads) as pool,
        shown(progress, steps[-1], "samples", delay=1) as advanced,
    ):
        groups = _start(network, learned(chosen), seed, dtype, plan, devices)
        done = 0
        saved: list[Arrays] = []
        if folder is not None and (found := load_arrays(folder / CHECKPOINT)) is not None:
            done, saved = int(found["done"]), _unstacked(found)
            groups = _with_weights(groups, learned(chosen), found)
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
                weights = _weights(groups, learned(chosen))
                arrays = {"done": np.array(done), **weights, **_stacked(saved)}
                save_arrays(folder / CHECKPOINT, arrays)
                kept = time.monotonic()
    curves = {name: array[:n_runs] for name, array in _stacked(saved, prefix="").items()}
    errors = [curves.pop(name) for name in ("generalization_error", "misclassification")]
    return trajectory_of_runs(
        np.array(steps) / network.W.shape[1], state_of(curves), *errors, averages=tested(n_test)
    )


def tested(n_test: int) -> str:
    """How errors are averaged over inputs, as :class:`odes.Trajectory` says it."""
    return f"{n_test} test inputs"


def check_training(
    network: Network,
    rule: Any,
    activation: Any,
    times: Any,
    parameters: Hyperparameters,
) -> tuple[Network, Rule, Units, list[int]]:
    """The network, rule, activation functions, and times in samples; ValueError for what cannot be.

    Arguments are those of :func:`simulate`.  The network has no weights that the rule ignores.
    """
    chosen = choose_rule(rule)
    try:
        hash(chosen)
    except TypeError as error:
        raise ValueError(
            "Argument `rule` must hold what can be hashed, such as a tuple in `learns`, to be "
            f"compiled for: {error}"
        ) from error
    units = choose_units(activation)
    network = check_network(network)
    check_units(units, len(network.v))
    steps = whole_steps(check_times(times), network.W.shape[1])
    check_learned(network, chosen)
    check_scale(bool(chosen.learns), parameters)
    if "F1" not in chosen.learns:
        network = network._replace(F1=None, F2=None)
    _check_shapes(chosen, network, units.hidden)
    return network, chosen, units, steps


def check_runs(n_runs: Any, n_test: Any, seed: Any) -> tuple[int, int, int]:
    """The three as plain integers, if they are some."""
    return check_count("n_runs", n_runs), check_count("n_test", n_test), check_seed(seed)


def learned(rule: Rule) -> tuple[str, ...]:
    """The weights of a network that a rule moves."""
    return ("W", "v", *rule.learns)


def per_run(rule: Rule, network: Network) -> Network:
    """Which weights have a leading run axis: those that learn."""
    axes = {name: 0 if name in learned(rule) else None for name in Network._fields}
    own = network.own and {name: 0 if name in learned(rule) else None for name in network.own}
    return Network(**axes | {"own": own})


def whole_steps(times: np.ndarray, N: int, name: str = "times") -> list[int]:
    """The times in samples; ValueError if two are the same, or one is too many.

    ``name`` is that of the argument.
    """
    steps = np.rint(times * N)
    if steps[-1] >= 2**31 or np.any(np.diff(steps) == 0):
        raise ValueError(
            f"Argument `{name}` must be distinct numbers of samples below 2^31 at "
            f"N = {N}, but is {times!r}."
        )
    return steps.astype(int).tolist()


def _check_shapes(rule: Rule, network: Network, g: Callable) -> None:
    """ValueError unless what a rule returns has the shapes of the weights that it is about."""
    (K, N), O = network.W.shape, network.v.shape[1]
    on_jax = jax.tree.map(jnp.asarray, network)
    if rule.equivariant:
        on_jax = on_jax._replace(W_star=None)
    drawn = jnp.ones(shape_drawn(rule, network.v)) if rule.draws else None
    sample = see(on_jax, jnp.ones(N), jnp.ones(O), g, 1.0, drawn)
    learns = rule.learns if rule.mirror is None else ()
    names = ("dW", "dv", "dB") if learns else ("dW", "dv")

    def called() -> dict[str, Any]:
        found = dict(zip(names, rule.update(on_jax, sample), strict=True))
        found["dW"] = as_matrix(found["dW"])
        if isinstance(found.get("dB"), dict):
            changes = found.pop("dB")
            found |= {f"a change of {name}": changes[name] for name in learns}
            unknown = set(changes) - set(learns)
            if unknown:
                raise ValueError(f"a change of {min(unknown)}, which is not in `learns`.")
        found |= {
            "B": rule.feedback(on_jax),
            "a prediction": rule.predict(on_jax, jnp.ones((3, N)), g),
        }
        if rule.mirror is not None:
            changes = rule.mirror(on_jax, (jnp.ones(N), jnp.ones(K)), g)
            found |= {f"a change of {name}": changes[name] for name in rule.learns}
            unknown = set(changes) - set(learned(rule))
            if unknown:
                raise ValueError(f"a mirror that changes {min(unknown)}, which is not in `learns`.")
        return found

    try:
        returned = jax.tree.map(lambda array: array.shape, jax.eval_shape(called))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"Argument `rule` must return ({', '.join(names)}) and B, but failed with {error}"
        ) from error
    expected_shapes = {
        "dW": (K, N),
        "dv": (K, O),
        "dB": (K, O),
        "B": (K, O),
        "a prediction": (3, O),
    }
    expected_shapes |= {f"a change of {each}": network.get(each).shape for each in rule.learns}
    for name, shape in returned.items():
        expected = expected_shapes[name]
        if shape != expected and not (name == "B" and shape is None):
            raise ValueError(
                f"Argument `rule` must return {name} of shape {expected}, but returned {shape}."
            )


def _plan(
    network: Network,
    rule: Rule,
    block: int | None,
    n_runs: int,
    threads: int,
) -> Plan:
    """How to put runs and samples together; ValueError for a block that cannot be.

    Whatever the times, since compiled code is kept by plan.
    """
    (K, N), O = network.W.shape, network.v.shape[1]
    lanes = min(-(-n_runs // threads), max(1, ABREAST // (BLOCK * N)))
    held = max(1, HELD // (N * lanes))
    if block is None:
        fast = BLOCK_FROM["K"] <= K and BLOCK_FROM["N"] <= N and held >= BLOCK
        in_blocks = rule.equivariant and rule.mirror is None
        as_block = in_blocks and fast and O + BLOCK <= N / 4
        learned = min(BLOCK, held)
    else:
        as_block = check_count("block", block) > 1
        learned = block if as_block else min(BLOCK, held)
        if as_block and not rule.equivariant:
            raise ValueError(
                "Argument `block` must be None or 1 for a rule that is not declared equivariant, "
                f"but is {block}."
            )
        if as_block and rule.mirror is not None:
            raise ValueError(
                "Argument `block` must be None or 1 for a rule with a `mirror`, which runs beside "
                f"each sample, but is {block}."
            )
        if as_block and O + block > N / 4:
            raise ValueError(
                f"Argument `block` must be at most N / 4 - O = {N / 4 - O:g}, but is {block}."
            )
    drawn = learned * max(1, -(-(DRAWN // (N * lanes)) // learned))
    piece = drawn * max(1, PIECE // (N * lanes * drawn))
    return Plan(-(-n_runs // lanes), lanes, piece, drawn, learned, as_block)


class Piece(NamedTuple):
    """Samples first, ..., last - 1, and the index of the time at which they end, if they do."""

    first: int
    last: int
    measured: int | None


def _pieces(steps: list[int], size: int) -> Iterator[Piece]:
    """All samples in pieces of that size, cut short where networks are measured."""
    first = 0
    for index, step in enumerate(steps):
        while step - first > size:
            yield Piece(first, first + size, None)
            first += size
        yield Piece(first, step, index)
        first = step


@contextmanager
def _precision(dtype: str) -> Iterator[None]:
    """JAX's settings for this dtype, in this thread."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("float32"):
        yield


class Group(NamedTuple):
    """Runs side by side on one device."""

    networks: Network  # W and v with a run axis
    training: Any  # random keys of the training inputs, (lanes,)
    tests: Any  # and of the test inputs
    basis: tuple[Any, Any]  # Q_F and its triangle, for the exact block form


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


def _start(
    network: Network, names: tuple[str, ...], seed: int, dtype: str, plan: Plan, devices: list
) -> list[Group]:
    """All groups before the first sample, filled up with more runs than were asked for."""
    with np.errstate(over="ignore"):  # what is beyond single precision diverges
        start = jax.tree.map(lambda weights: jnp.asarray(weights, dtype), network)
    networks = start.put(**{name: jnp.tile(start.get(name), (plan.lanes, 1, 1)) for name in names})
    Q, triangle = jnp.linalg.qr(start.F)
    root = jax.random.key(seed, impl="threefry2x32")
    runs = jnp.arange(plan.groups * plan.lanes)
    keys = jax.vmap(lambda run: jax.random.split(jax.random.fold_in(root, run)))(runs)
    keys = keys.reshape(plan.groups, plan.lanes, 2)
    groups = [Group(networks, each[:, 0], each[:, 1], (Q, triangle)) for each in keys]
    return [jax.device_put(group, devices[i % len(devices)]) for i, group in enumerate(groups)]


def _weights(groups: Sequence[Group], names: tuple[str, ...]) -> Arrays:
    """The weights that learn, (groups, lanes, ...), by names such as "weights/W"."""
    return {f"weights/{w}": np.stack([g.networks.get(w) for g in groups]) for w in names}


def _with_weights(groups: Sequence[Group], names: tuple[str, ...], arrays: Arrays) -> list[Group]:
    """The groups with the weights that :func:`_weights` kept."""
    moved = []
    for index, group in enumerate(groups):
        weights = {
            name: jax.device_put(arrays[f"weights/{name}"][index], group.training.device)
            for name in names
        }
        moved.append(group._replace(networks=group.networks.put(**weights)))
    return moved


def _stacked(saved: list[Arrays], prefix: str = "measured/") -> Arrays:
    """Measurements (runs, times, ...) from those at single times, by names such as "measured/Q"."""
    names = saved[0] if saved else ()
    return {prefix + name: np.stack([each[name] for each in saved], axis=1) for name in names}


def _unstacked(arrays: Arrays, prefix: str = "measured/") -> list[Arrays]:
    """The measurements that :func:`_stacked` put together, among other arrays."""
    found = {n.removeprefix(prefix): each for n, each in arrays.items() if n.startswith(prefix)}
    count = min((each.shape[1] for each in found.values()), default=0)
    return [{name: each[:, index] for name, each in found.items()} for index in range(count)]


def _inputs(key: Any, first: Any, count: int, F: Any) -> tuple[Any, Any]:
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


@partial(jax.jit, static_argnames=("rule", "units", "plan"))
def _train(group, first, last, parameters, *, rule, units, plan):
    """The group after its samples first, ..., last - 1; the parameters as of :func:`rates`."""
    networks, keys, _, basis = group
    learner = partial(learn_as_block, basis) if plan.as_block else learn_in_turn

    def one_run(network: Network, key: Any) -> dict[str, Any]:
        def learn_drawn(d: Any, weights: dict[str, Any]) -> dict[str, Any]:
            start = first + d * plan.drawn
            X, zeta = _inputs(key, start, plan.drawn, network.F)
            Y = outputs(network.W_star, network.v_star, X, units.g) + parameters.noise * zeta
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
    networks, _, keys, _ = group
    size = plan.drawn

    def one_run(network: Network, key: Any) -> dict[str, Any]:
        key = jax.random.fold_in(key, index)
        fed_back = network if scale is None else scaled(network, scale)

        def add(b: Any, total: Any) -> Any:
            X, _ = _inputs(key, b * size, size, network.F)
            counted = b * size + jnp.arange(size) < n_test
            return total + counted @ mistakes(fed_back, X, rule=rule, units=units)

        total = jax.lax.fori_loop(0, -(-n_test // size), add, jnp.zeros(2, network.W.dtype))
        return {**overlaps_of(fed_back, rule), **errors_of(total / n_test, rule)}

    return jax.vmap(one_run, (per_run(rule, networks), 0))(networks, keys)


def mistakes(network: Network, X: Any, *, rule: Rule, units: Units) -> Any:
    """Half the squared error and the share of wrong signs on each of a block of inputs, (block, 2).

    Against the noiseless teacher.
    """
    label = outputs(network.W_star, network.v_star, X, units.g)
    prediction = rule.predict(network, X, units.hidden)
    wrong = jnp.mean((1 - jnp.sign(prediction) * jnp.sign(label)) / 2, axis=1)
    return jnp.stack([jnp.sum((prediction - label) ** 2, axis=1) / 2, wrong], axis=1)


def errors_of(means: Any, rule: Rule) -> dict[str, Any]:
    """The two errors by name, from the means of :func:`mistakes`."""
    squared, wrong = means
    error = wrong if rule.classifies else squared
    return {"generalization_error": error, "misclassification": wrong}
