"""Devices: plans for machines that are not at hand, kernels run by interpretation, lack of memory.

The kernels are those that a GPU compiles.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf as special_erf
from scipy import special, stats

from odes import PiecewiseConstant, Spectrum, hyperparameters, solve_paths, sweep
from odes.common.machine import Machine
from odes.common.order_parameters import Hyperparameters
from odes.common.schedules import scheduled_hyperparameters
from odes.problem import Problem, prepare
from odes.solvers import batches, sweeps
from simulations import RULES, Rule, chain, chain_kernel, sample_network, simulate, simulate_chain
from simulations.activations import choose_activation
from simulations.kernels import counters
from simulations.kernels.entries import CannotUnroll, by_entries, erf, filled
from simulations.kernels.programs import Draws, zeros_of
from simulations.rules import shape_drawn
from simulations.training import online_sgd, plan, runs
from simulations.training.blocks import basis_of
from simulations.training.checks import check_training, learned
from simulations.training.resident import can_be_resident, layout_of, learn_resident
from simulations.training.steps import learn_in_turn

GIB = 2**30
LAPTOP = Machine("cpu", 1, 8, 16 * GIB)
CARD = Machine("gpu", 1, 8, 24 * GIB)
H100 = Machine("gpu", 1, 16, 60 * GIB)
TWO = Machine("gpu", 2, 32, 60 * GIB)


def network_of(N, K=2):
    """The sizes of a network, without its weights."""
    shapes = {"W": (K, N), "v": (K, 1), "W_star": (2, N), "v_star": (2, 1), "B": (K, 1)}
    blank = sample_network(N=8, K=2, M=2)
    return blank._replace(**{name: np.broadcast_to(0.0, shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("machine", "N", "K", "n_runs", "how", "groups", "abreast", "stays"),
    [
        (LAPTOP, 1000, 2, 4096, "in turn", 128, 32, True),
        (LAPTOP, 10_000, 8, 2, "in blocks", 2, 1, True),
        (CARD, 1000, 2, 4096, "resident", 1, 4096, True),
        (H100, 10_000, 2, 512, "resident", 1, 512, True),
        (TWO, 10_000, 2, 512, "resident", 2, 256, True),
        (H100, 10**6, 2, 64, "in turn", 1, 64, True),
        (H100, 30_000, 8, 64, "in blocks", 1, 64, True),
        (H100, 20, 2, 1, "resident", 1, 1, True),
        (CARD, 10_000, 2, 10**6, "resident", 44, 23_008, False),
    ],
)
def test_plans_for_machines(machine, N, K, n_runs, how, groups, abreast, stays):
    """All runs at once where they fit, from the chip if they can; more are split."""
    resident = machine.kind == "gpu" and (K + 1) * N <= 45_000
    found = plan.plan_of(network_of(N, K), RULES["afa"], None, n_runs, machine, resident=resident)
    assert (found.how, found.stays) == (how, stays)
    assert (found.groups, found.abreast) == (groups, abreast)
    assert found.groups * found.abreast >= n_runs
    assert found.piece <= max(2**20, found.drawn)
    held = 4 * found.abreast * (2 * K + 3 * min(found.drawn, 1)) * N
    assert held * (found.groups if stays else 1) <= machine.memory * machine.devices
    assert found.drawn * N * found.abreast * 4 <= machine.memory / 2 or found.drawn == 1


@pytest.mark.parametrize(
    ("machine", "rule", "n_points", "n_times", "expected"),
    [
        (LAPTOP, "afa", 10**6, 60, 64),
        (LAPTOP, "pepita", 10**6, 60, 2**15 // 2941),
        (H100, "afa", 10**6, 4, 2**16),
        (H100, "afa", 1000, 4, 1024),
        (CARD, "pepita", 10**6, 4, 12 * GIB // 512 // 2941),
        (H100, "afa", 10**6, 10**4, 30 * GIB // (32 * 10**4 * 11)),
    ],
)
def test_batches_for_machines(machine, rule, n_points, n_times, expected):
    """As many points as are fast, but no more than fit with their nodes or their times."""
    problem = prepare(
        *sample_network(N=20, K=2, M=2).overlaps(rule), rule=rule, activation="erf", points=2941,
        parameters=hyperparameters(lr=0.1),
    )  # fmt: skip
    if rule == "afa":
        problem = replace(problem, points=None)
    else:
        expected = expected * 2941 // len(problem.points.weights)
    found = batches.default_batch_size([problem], n_points, n_times, machine)
    assert found == pytest.approx(expected, abs=1)
    paths = batches.batch_of_paths(n_points, machine, problem.points)
    assert paths == 64 if machine.kind == "cpu" else paths >= min(found, n_points)


def test_a_run_that_does_not_fit_is_refused_before_it_starts():
    with pytest.raises(
        ValueError, match=r"`network` must fit the memory: a run of K = 2, N = 10000"
    ):
        plan.plan_of(network_of(10_000), RULES["bp"], None, 1, Machine("gpu", 1, 8, 10**5))


def test_philox_gives_the_known_words():
    """The first two known answers of Random123 for seven rounds."""
    ones = np.uint32(2**32 - 1)
    with jax.enable_x64(True):
        for word, known in (
            (np.uint32(0), "5f6fb709 0d893f64 4f121f81 4f730a48"),
            (ones, "5207ddc2 45165e59 4d8ee751 8c52f662"),
        ):
            words = counters.philox((word,) * 4, (jnp.uint32(word), jnp.uint32(word)))
            assert " ".join(f"{int(each):08x}" for each in words) == known


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normals_of_counters_are_normal(dtype):
    """2^20 of each: Kolmogorov-Smirnov at 1e-6 each, and the fourth moment to five errors."""
    with jax.enable_x64(True):
        draw = Draws((jnp.uint32(1), jnp.uint32(2)), np.uint32(3), dtype)
        place = jnp.arange(2**18, dtype=jnp.uint32)
        z = np.stack(counters.normals(draw.words(place, jnp.uint32(7), counters.INPUTS), dtype))
        u = np.asarray(
            counters.uniform(draw.words(place, jnp.uint32(8), counters.FACTOR)[1], dtype)
        )
    assert z.dtype == dtype
    for each in (z.ravel(), z[0] * z[1], z[2] * z[3]):
        assert abs(each.mean()) < 5 * each.std() / each.size**0.5
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-6
    assert abs(np.mean(z.astype(float) ** 4) - 3) < 5 * 96**0.5 / z.size**0.5
    assert stats.kstest(u, "uniform").pvalue > 1e-6
    assert np.corrcoef(z).shape == (4, 4)
    assert np.max(np.abs(np.corrcoef(z) - np.eye(4))) < 5 / z.shape[1] ** 0.5


def test_the_error_function_of_kernels():
    x = np.concatenate([np.linspace(-7, 7, 10_001), np.geomspace(1e-20, 1, 50)])
    with jax.enable_x64(True):
        for dtype, bound in ((np.float32, 4e-7), (np.float64, 2e-15)):
            given = x.astype(dtype)
            found = np.asarray(jax.jit(erf)(given), float)
            assert np.max(np.abs(found - special.erf(given.astype(float)))) < bound


def drawn(shape, draw, samples, what):
    """Normals of every sample for each run, by the counter of their place."""
    with jax.enable_x64(True):
        rows = [draw.normals(shape, jnp.uint32(s), what) for s in samples]
    return np.array([[float(z) for z in row.ravel()] for row in rows]).reshape(-1, *shape)


def inputs_of(network, draw, samples):
    """The inputs of the kernel, (samples, N): four parts, a word of the counter for each."""
    K, N = network.W.shape
    layout = layout_of(N, K)
    size = layout.chunks * layout.lanes
    rows = []
    with jax.enable_x64(True):
        for s in samples:
            words = draw.words(jnp.arange(size, dtype=jnp.uint32), jnp.uint32(s), counters.INPUTS)
            x = np.concatenate(counters.normals(words))[:N].astype(float)
            if network.inputs is not None:
                lengths = draw.length(
                    filled((2,), network.inputs.factors),
                    filled((2,), np.cumsum(network.inputs.factor_shares)), jnp.uint32(s),
                )  # fmt: skip
                x *= np.sqrt(np.repeat(network.inputs.eigenvalues, [N // 2, N - N // 2]))
                x *= float(lengths)
            rows.append(x)
    return np.array(rows)


def noisy(network, sample):
    """BP whose signal has noise of its own."""
    dW, dv = RULES["bp"].update(network, sample)
    ((delta, x),) = dW
    return [(delta + 0.3 * sample.xi, x)], dv


MIXED = Spectrum([0.4, 1.6], [0.5, 0.5], factors=(0.25, 4.0), factor_shares=(0.8, 0.2))
FALLING = PiecewiseConstant([5 / 70], [0.4, 0.1])
CASES = {
    "pepita-modulated": ({"noise": 0.2, "weight_decay": 0.5, "lr": FALLING}, {"O": 2}),
    "dtp": ({"noise": 0.1}, {"inputs": MIXED, "M": 3}),
    "own draws": ({"noise": 0.1, "lr": 0.3}, {"N": 300}),
    "bp": ({}, {"K": 3}),
    "fa": ({}, {"K": 1}),
    "afa": ({"weight_decay_v": 0.2, "feedback_scale": FALLING}, {"O": 3}),
    "pepita": ({}, {"feedback": "random"}),
    "pepita-hebbian": ({}, {}),
    "pepita-tl": ({}, {}),
    "kolen-pollack": ({"weight_decay": 0.3}, {"O": 2}),
    "sign-random": ({}, {}),
    "ff": ({}, {}),
    "ff-symba": ({}, {}),
    "ff-topdown": ({}, {}),
}
LONG = list(CASES)[3:]


def setting(case):
    """Network, rule, units and parameters of a case, as the training loop has them."""
    how, sizes = CASES[case]
    network = sample_network(**{"N": 70, "K": 2, "M": 2, **sizes})
    rule = {**RULES, "own draws": Rule(noisy, lambda n: None, equivariant=True, draws=("K",))}[case]
    parameters = scheduled_hyperparameters(**{
        "lr": 0.3, "lr_v": None, "noise": 0.0, "weight_decay": 0.0, "weight_decay_v": None,
        "feedback_scale": 1.0, **how,
    })  # fmt: skip
    network, rule, units, *_ = check_training(network, rule, "erf", [1.0], parameters)
    return *online_sgd.with_scale(network, parameters), rule, units


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=pytest.mark.long if each in LONG else ()) for each in CASES]
)
def test_the_kernel_learns_as_one_sample_after_another(case):
    """From the same numbers, run 4 of seed 9: the same weights after 12 samples, to rounding."""
    network, parameters, rule, units = setting(case)
    N, O, samples = network.W.shape[1], network.v.shape[1], range(12)
    key = jnp.asarray(counters.key_of(9))
    draw = Draws((key[0], key[1]), jnp.uint32(4), np.float32)
    X = inputs_of(network, draw, samples)
    during = online_sgd.rates(parameters, N, 0, 12, 12, dtype=np.float32)
    during = jax.tree.map(jnp.asarray, during)
    labels = units.g(X @ network.W_star.T / N**0.5) @ network.v_star
    Y = labels + jnp.reshape(during.noise, (-1, 1)) * drawn(
        (O,), draw, samples, counters.LABEL_NOISE
    )
    own = shape_drawn(rule, network.v)
    start = jax.tree.map(lambda each: jnp.asarray(each, jnp.float32), network)
    expected = learn_in_turn(
        start, jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32), during, count=12, last=12,
        xi=jnp.asarray(drawn(own, draw, samples, counters.OWN), jnp.float32) if own else None,
        rule=rule, g=units.hidden, N=N,
    )  # fmt: skip
    found = learn_resident(
        {name: start.get(name)[None] for name in learned(rule)}, start,
        basis_of(start, rule, units.hidden), key, jnp.array([0, 12, 4, 0], jnp.int32),
        during, rule=rule, units=units,
    )  # fmt: skip
    for name, after in found.items():
        moved = np.max(np.abs(expected.get(name) - start.get(name)))
        np.testing.assert_allclose(after[0], expected.get(name), rtol=0, atol=2e-5 * max(moved, 1))
        assert moved > 1e-3


def test_what_a_kernel_learns_depends_on_seed_run_and_sample_alone():
    """Not on where pieces end, to the last bit; nor on how many runs there are, to rounding."""
    network, parameters, rule, units = setting("fa")
    start = jax.tree.map(lambda each: jnp.asarray(each, jnp.float32), network)
    during = jax.tree.map(jnp.asarray, online_sgd.rates(parameters, 70, 0, 9, 9, dtype=np.float32))
    names = learned(rule)

    @jax.jit
    def learn(weights, span):
        return learn_resident(
            weights, start, basis_of(start, rule, units.hidden), jnp.asarray(counters.key_of(0)),
            span, during, rule=rule, units=units,
        )  # fmt: skip

    def begun(n):
        return {name: jnp.tile(start.get(name), (n, 1, 1)) for name in names}

    whole = learn(begun(3), jnp.array([0, 9, 5, 0]))
    half = learn(begun(3), jnp.array([0, 4, 5, 0]))
    halves = learn(half, jnp.array([4, 9, 5, 0]))
    fewer = learn(begun(2), jnp.array([0, 9, 6, 0]))
    for name in names:
        np.testing.assert_array_equal(halves[name], whole[name])
        np.testing.assert_allclose(fewer[name], whole[name][1:], rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(whole["W"][0] - whole["W"][1])) > 1e-3


def like(monkeypatch, machine):
    """simulate() as on another machine, but for the numbers that it draws at once."""
    monkeypatch.setattr(online_sgd, "this_machine", lambda: machine)
    monkeypatch.setattr(plan, "ELSEWHERE", plan.ELSEWHERE._replace(drawn=2**16, held=2**16))


def apart(one, other):
    """p-values of Kolmogorov-Smirnov of the last Q and v of runs."""
    entries = [
        np.concatenate(
            [getattr(runs.order_parameters, n)[:, -1].reshape(len(runs.status), -1) for n in "Qv"],
            1,
        )
        for runs in (one, other)
    ]
    return [
        stats.ks_2samp(*columns).pvalue for columns in zip(*(e.T for e in entries), strict=True)
    ]


def by_case(network, sample):
    """BP where the first unit is active, else nothing."""
    ((delta, x),), dv = RULES["bp"].update(network, sample)
    delta = jax.lax.cond(delta[0] > 0, lambda: delta, lambda: 0 * delta)
    return [(delta, x)], dv


def test_a_gpu_takes_the_kernel_where_it_can(monkeypatch):
    """For rules that are made of known operations, on inputs that are drawn."""
    like(monkeypatch, CARD)
    hows = []
    monkeypatch.setattr(
        runs, "train", lambda group, *_, **how: hows.append(how["plan"].how) or group
    )
    network = sample_network(N=60, K=1, M=1)
    arguments = {"rule": "fa", "lr": 0.4, "times": [0.1], "n_test": 5}
    simulate(network, **arguments)
    simulate(network, **arguments, data=np.eye(60))
    simulate(network, **arguments, dtype="float64")
    simulate(network, **arguments, block=1)
    masked = Rule(lambda n, s: ([(n.v[:, 0], s.x * np.arange(60))], 0 * n.v), lambda n: None)
    for rule in (masked, "afa-mirror", Rule(by_case, lambda n: None, equivariant=True)):
        simulate(network, **arguments | {"rule": rule})
    assert hows == ["resident", *["in turn"] * 6]


def test_functions_by_entries():
    """Gathers, loops of known length, in both directions, products and cases."""

    def function(A, x):
        turned = jax.lax.fori_loop(0, 3, lambda i, y: A @ y + A[i] * jnp.take(x, i), x)
        sums = jax.lax.scan(lambda s, row: (s + row, s), x, A, reverse=True)[1]
        picked = A[np.array([2, 0])][:, ::-1] * jnp.diagonal(A) + jnp.copysign(x, A[0] - 1)
        return {"turned": turned, "sums": sums, "picked": picked, "erf": special_erf(x).sum()}

    rng = np.random.default_rng(0)
    A, x = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((3, 3), 3))
    entries = (filled(each.shape, each.ravel()) for each in (A, x))
    found = by_entries(function, A, x)(*entries)
    for name, expected in function(A, x).items():
        ours = np.array([float(each) for each in found[name].ravel()]).reshape(expected.shape)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_rule_of_unknown_operations_has_no_kernel():
    def sorted_signal(network, sample):
        ((delta, x),), dv = RULES["bp"].update(network, sample)
        return [(jnp.sort(delta), x)], dv

    network, units = sample_network(N=60, K=2, M=2), choose_activation("erf")
    assert can_be_resident(network, RULES["bp"], units)
    assert not can_be_resident(network, Rule(sorted_signal, lambda n: None), units)
    with pytest.raises(CannotUnroll, match="sort"):
        by_entries(jnp.sort, jnp.ones(3))
    with pytest.raises(CannotUnroll, match="depend on the arguments"):
        by_entries(lambda x: x[jnp.where(x[0] > 0, 0, 1)], jnp.ones(3))
    with pytest.raises(CannotUnroll, match="out of bounds"):
        by_entries(lambda x: jnp.take(x, np.array([0, 5])), jnp.ones(3))
    with pytest.raises(CannotUnroll, match="operations"):
        by_entries(lambda x: x @ x, jnp.ones((20, 20)))


@pytest.mark.long
def test_a_simulation_on_a_gpu_has_the_distribution_of_one_on_a_processor(monkeypatch):
    """300 runs on either side; false alarms 6e-6 for six overlaps."""
    network = sample_network(N=60, K=2, M=2)
    arguments = {"rule": "fa", "lr": 0.4, "noise": 0.1, "times": [0.5, 3.0], "n_runs": 300}
    here = simulate(network, **arguments, seed=1)
    like(monkeypatch, CARD)
    assert min(apart(here, simulate(network, **arguments, seed=2))) > 1e-6


@pytest.mark.parametrize("n", [1, 2, 3, 500])
def test_the_length_of_what_the_span_leaves(n):
    """chi of n degrees of freedom: Kolmogorov-Smirnov at 1e-6 on 2^16."""
    with jax.enable_x64(True):
        draw = Draws(
            (jnp.uint32(1), jnp.uint32(2)), jnp.arange(2**16, dtype=jnp.uint32), np.float64
        )
        lengths = np.asarray(chain_kernel.chi(draw, jnp.uint32(3), 1, n))
    assert stats.kstest(lengths, stats.chi(n).cdf).pvalue > 1e-6


def test_inputs_of_the_chain_have_the_variances_of_their_groups_and_factors():
    """In training and in tests of 2^14 runs: second moments within five standard errors.

    Groups of 50 and 2 inputs, the latter fewer than the D = 3 vectors, and factors of mean 1.
    """
    inputs = {
        "deviations": jnp.array([0.5, 2.0]), "factors": jnp.array([0.25, 4.0]),
        "ends": jnp.array([0.8, 1.0]),
    }  # fmt: skip
    coordinates = chain_kernel.Coordinates((50, 2), 3)
    expected = np.repeat([0.25, 4.0], 4) * [1, 1, 1, 47, 1, 1, 0, 0]
    with jax.enable_x64(True):
        key, run = jnp.asarray(counters.key_of(1)), jnp.arange(2**14, dtype=jnp.uint32)
        draw = Draws((key[0], key[1]), run, np.float64)
        entries = [filled(each.shape, each) for each in inputs.values()]
        x = coordinates.input(draw, jnp.uint32(2), *entries)
        x = np.stack([np.broadcast_to(each, run.shape) for each in x.tolist()], axis=1)
        shares = np.mean(np.asarray(draw.length(*entries[1:], jnp.uint32(3))) == 0.5)
        inputs = {name: jnp.asarray(each, float) for name, each in inputs.items()}
        ours, later, others = (
            np.asarray(chain_kernel._tests(key, runs, index, inputs, 2, coordinates))
            for runs, index in ((run, 0), (run, 1), (run[5:9], 0))
        )
    for rows, known in ((x, expected), (ours[:, 0], np.repeat([0.25, 4.0], 4))):
        squares = rows**2
        error = squares.std(0) / len(rows) ** 0.5
        assert np.all(np.abs(squares.mean(0) - known) <= 5 * error)
    assert np.corrcoef(np.abs(x[:, 0]), np.abs(x[:, 4]))[0, 1] > 0.2  # of one factor
    np.testing.assert_array_equal(others, ours[5:9])
    assert abs(np.corrcoef(ours.ravel(), later.ravel())[0, 1]) < 5 / ours.size**0.5
    assert abs(shares - 0.8) < 5 * (0.16 / 2**14) ** 0.5


def test_what_is_zero_throughout_is_left_out():
    falling = np.array([0.1, 0.0])
    parameters = Hyperparameters(
        np.array(0.0), np.array(0.0), np.array(0.3), np.array(0.0), falling
    )
    assert zeros_of(parameters) == ("weight_decay",)


@pytest.mark.parametrize(
    ("rule", "sizes"),
    [
        ("afa", {"N": 40}),
        *(
            pytest.param(rule, {"N": 60, "O": 2}, marks=pytest.mark.long)
            for rule in ("bp", "pepita-modulated", "pepita-tl", "kolen-pollack", "dtp")
        ),
        pytest.param(
            "afa",
            {"N": 40, "inputs": Spectrum([0.5, 1.5], [0.9, 0.1], (0.25, 4.0), (0.8, 0.2))},
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_chain_on_a_gpu_has_the_distribution_of_that_on_a_processor(rule, sizes, monkeypatch):
    """600 runs on either side, once in groups of 36 and 4 inputs; false alarms up to 2e-5."""
    network = sample_network(K=2, M=2, **sizes)
    arguments = {"rule": rule, "lr": 0.4, "noise": 0.1, "times": [0.2, 3.0], "n_runs": 600}
    here = simulate_chain(network, **arguments, seed=1)
    monkeypatch.setattr(chain, "_has_kernels", lambda: True)
    monkeypatch.setattr(chain, "TESTED", 256)
    monkeypatch.setattr(chain_kernel, "PIECE", 600 * 50)
    there = simulate_chain(network, **arguments, seed=2)
    assert min(apart(here, there)) > 1e-6
    assert (
        stats.ks_2samp(*(each.generalization_error[:, 1] for each in (here, there))).pvalue > 1e-6
    )


@pytest.mark.long
def test_a_run_of_the_chain_on_a_gpu_does_not_depend_on_the_others(monkeypatch):
    """Nor on how many are tested together; to rounding."""
    monkeypatch.setattr(chain, "_has_kernels", lambda: True)
    network = sample_network(N=40, K=2, M=2)
    arguments = {"rule": "afa", "lr": 0.4, "times": [0.2, 3.0], "seed": 2}
    many = simulate_chain(network, **arguments, n_runs=30)
    monkeypatch.setattr(chain, "TESTED", 4)
    few = simulate_chain(network, **arguments, n_runs=7)
    for ours, theirs in (
        (few.order_parameters.Q, many.order_parameters.Q[:7]),
        (few.generalization_error, many.generalization_error[:7]),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def out_of_memory(*arguments, **named):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")


def test_a_simulation_that_runs_out_of_memory_goes_on_with_less(monkeypatch, tmp_path):
    """In the middle, on a device where groups take turns: the same numbers, and a checkpoint."""
    network = sample_network(N=60, K=2, M=2)
    arguments = {"rule": "bp", "lr": 0.4, "times": [3.0], "n_runs": 5, "dtype": "float64"}
    expected = simulate(network, **arguments)
    machine = Machine("cpu", 1, 1, 40_000)
    monkeypatch.setattr(online_sgd, "this_machine", lambda: machine)
    monkeypatch.setattr(plan, "CPU", plan.CPU._replace(piece=2**13))
    plans, advance = [], online_sgd.advance

    def short_of_memory(group, piece, *rest, job):
        plans.append(job.plan)
        assert job.plan.stays or isinstance(group.networks.W, np.ndarray)
        if piece.first > 60 and job.plan.abreast > 1:
            out_of_memory()
        return advance(group, piece, *rest, job=job)

    monkeypatch.setattr(online_sgd, "advance", short_of_memory)
    with pytest.warns(RuntimeWarning, match="ran out of memory"):
        found = simulate(network, **arguments, path=tmp_path)
    assert plans[0].abreast > 1 == plans[-1].abreast
    assert not plans[0].stays
    for ours, theirs in ((found.order_parameters.Q, expected.order_parameters.Q),
                         (found.generalization_error, expected.generalization_error)):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    monkeypatch.setattr(online_sgd, "advance", None)
    again = simulate(network, **arguments, path=tmp_path)
    np.testing.assert_array_equal(again.order_parameters.Q, found.order_parameters.Q)
    like(monkeypatch, CARD)
    with pytest.raises(ValueError, match="other layout: `device"):
        simulate(network, **arguments, path=tmp_path)


def test_a_simulation_without_any_room_says_so(monkeypatch):
    monkeypatch.setattr(online_sgd, "advance", out_of_memory)
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"),
        pytest.warns(RuntimeWarning, match="ran out of memory"),
    ):
        simulate(sample_network(N=20, K=1, M=1), rule="bp", lr=0.1, times=[1.0], n_runs=4)


def test_paths_that_run_out_of_memory_go_on_with_fewer(monkeypatch):
    initial, teacher = sample_network(N=20, K=1, M=1, feedback="random").overlaps("afa")
    arguments = {"rule": "afa", "lr": 0.5, "times": [1.0], "n_paths": 3}
    monkeypatch.setattr(batches, "PATHS_ON_CPU", 1)
    expected = solve_paths(initial, teacher, **arguments)
    jitted, tried = Problem.jitted, []

    def short_of_memory(self, function, **static):
        tried.append(static["batch_size"])
        return out_of_memory if tried[-1] > 1 else jitted(self, function, **static)

    monkeypatch.setattr(Problem, "jitted", short_of_memory)
    monkeypatch.setattr(batches, "PATHS_ON_CPU", 3)
    with pytest.warns(RuntimeWarning, match="fewer paths") as said:
        found = solve_paths(initial, teacher, **arguments)
    assert tried == [3, 2, 1]
    assert {each.filename for each in said} == {__file__}
    np.testing.assert_array_equal(found.order_parameters.B, expected.order_parameters.B)


def test_a_sweep_that_runs_out_of_memory_goes_on_with_fewer_points(monkeypatch, tmp_path):
    """Halved until they fit, the same numbers; and it is not resumed on another device."""
    initial, teacher = sample_network(N=20, K=1, M=1).overlaps("afa")
    arguments = {"rule": "afa", "lr": np.linspace(0.1, 1, 8), "times": [1.0, 5.0]}
    expected = sweep(initial, teacher, **arguments)
    jitted = Problem.jitted

    def short_of_memory(self, *given, **named):
        solver = jitted(self, *given, **named)

        def solved(times, values, *others):
            return out_of_memory() if len(values) > 4 else solver(times, values, *others)

        return solved

    monkeypatch.setattr(Problem, "jitted", short_of_memory)
    with pytest.warns(RuntimeWarning, match="ran out of memory"):
        found = sweep(initial, teacher, **arguments, path=tmp_path)
    np.testing.assert_allclose(
        found.generalization_error, expected.generalization_error, rtol=1e-12
    )
    assert np.array_equal(found.n_steps, expected.n_steps)
    monkeypatch.setattr(sweeps, "this_machine", lambda: CARD)
    with pytest.raises(ValueError, match="other layout: `device"):
        sweep(initial, teacher, **arguments, path=tmp_path)
