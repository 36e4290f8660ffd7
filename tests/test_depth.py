"""Several hidden layers: both sides of every rule, known answers, and what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from odes import (
    RULES,
    ForwardForward,
    NonlinearTargetPropagation,
    OrderParameters,
    PiecewiseConstant,
    Spectrum,
    SymBa,
    Teacher,
    drift,
    feedback_angle,
    feedback_cosine,
    fixed_point,
    flow,
    gauss_hermite,
    generalization_error,
    hyperparameters,
    solve,
    solve_paths,
    sweep,
    symmetric_plateau,
    update_cosine,
)
from odes.averages.activations import ACTIVATIONS
from odes.averages.nodes import activities
from odes.averages.sampled import products
from odes.common.layers import layers_of
from odes.problem import prepare
from odes.rules import Mirrored, Rule, Sample
from simulations import (
    network_with_overlaps,
    pre_mirrored,
    sample_network,
    simulate,
    simulate_chain,
)
from simulations import sweep as sweep_networks
from simulations.activations import choose_activation
from simulations.rules import as_matrix, choose_rule, see
from simulations.training.inputs import mirror_noise
from tests.conftest import averaged_drift, quick_and_long

WIDTHS = [(3, 2), (2, 3, 2)]
VARIANTS = {
    "dtp-nonlinear": NonlinearTargetPropagation(step=0.7),
    "ff-plain": ForwardForward(normalised=False),
    "ff-overlapping": ForwardForward(SymBa(), overlapping=True),
    "ff-four-layers": ForwardForward(SymBa(1.5), overlapping=True),
}
UNMIRRORED = [name for name, rule in RULES.items() if not isinstance(rule, Mirrored)]


def network_for(rule, widths, N=40, **options):
    """A network with layers of these widths, and what the rule wants of the last one."""
    rule = RULES.get(rule, rule)
    labels = isinstance(rule, ForwardForward)
    options = {"O": 1 if labels else 2, "M": 2, "feedback_scale": 0.6, "seed": 3} | options
    return sample_network(N=N, K=widths, label_weights=labels, **options)


def assert_layers(found, expected, **tolerance):
    for one, other in zip(layers_of(found), layers_of(expected), strict=True):
        assert_allclose(np.asarray(one), np.asarray(other), **tolerance)


COINS = [(rule, 1.0) for rule in (*UNMIRRORED, *VARIANTS)]
COINS += [("ff-overlapping", -1.0), ("ff-four-layers", -1.0)]


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize(("rule", "coin"), COINS)
def test_what_a_sample_does_is_the_same_in_theory_and_in_networks(rule, coin, widths):
    """The changes of all weights by one sample, two implementations, to rounding.

    Time-local PEPITA to O(1/N): its networks know the length of an input, its theory the limit.
    """
    theory = VARIANTS.get(rule) or RULES[rule]
    widths = (*widths, 2, 3) if rule == "ff-four-layers" else widths
    network = network_for(theory, widths)
    algorithm = choose_rule(theory)
    rng = np.random.default_rng(8)
    x = rng.normal(size=40)
    if rule == "pepita-tl":  # an input at right angles to F, of length N
        x -= network.F @ np.linalg.lstsq(network.F, x, rcond=None)[0]
        x *= np.sqrt(40) / np.linalg.norm(x)
    with jax.enable_x64(True):
        on_jax = jax.tree.map(jnp.asarray, network)
        g, xi = choose_activation("erf").hidden, jnp.full(1, coin)
        y = on_jax.v_star.T @ g(on_jax.W_star @ x / 40**0.5) + 0.3
        dW, dv, *others = algorithm.update(on_jax, see(on_jax, jnp.asarray(x), y, g, 0.4, xi))
        initial, _ = network.overlaps(theory)
        B = theory.feedback(jax.tree.map(jnp.asarray, initial))
        fields, erf = on_jax.W @ x / 40**0.5, activities(ACTIVATIONS["erf"])
        own = Sample(fields, on_jax.v, y, B, erf, 0.4, xi)
        update, learned = theory.update(own), theory.learn(own)
        expected = jnp.outer(update.delta, x)
        if update.gamma is not None:
            expected += jnp.outer(update.gamma, on_jax.F @ own.error)
        dW = as_matrix(dW)
    assert np.max(np.abs(expected)) > 1e-3
    assert_layers(dW, expected, rtol=0, atol=1e-12)
    assert_layers(dv, update.readout, rtol=0, atol=1e-12)
    if rule == "kolen-pollack":
        assert_layers(others[0], update.readout, rtol=0, atol=1e-12)
    elif others:
        assert_layers(others[0]["B"], learned["B"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("nonlinear", [False, True])
def test_mirrors_of_every_layer_learn_what_the_theory_says(nonlinear):
    """The mean over 20,000 steps of a mirror alone: lr_W = 0; five standard errors."""
    rule = Mirrored("pepita", lr=0.8, noise=0.7, decay=0.3, nonlinear=nonlinear)
    network, algorithm = network_for(rule, (3, 2, 2)), choose_rule(rule)
    initial, teacher = network.overlaps(rule)
    exact = averaged_drift(initial, teacher, hyperparameters(lr=0.0), gauss_hermite(5, 3), rule)
    with jax.enable_x64(True):
        on_jax = jax.tree.map(jnp.asarray, network)
        noise = mirror_noise(jax.random.key(0), 0, 20_000, on_jax)
        g = choose_activation("erf").hidden
        changes = jax.vmap(lambda xi: algorithm.mirror(on_jax, xi, g)["F2"])(noise)
    fa = Mirrored("fa", lr=0.8, noise=0.7, decay=0.3)
    with jax.enable_x64(True):
        mirror = choose_rule(fa).mirror
        of_B = jax.vmap(lambda xi: mirror(on_jax, xi, g)["B"])(noise)
    state, _ = network.overlaps(fa)
    slopes = [0.8 * 0.49 * v - 0.3 * B for v, B in zip(state.v, state.B, strict=True)]
    pairs = [*zip(changes, exact.F2, strict=True), *zip(of_B, slopes, strict=True)]
    for layer, slope in pairs:
        each = 40 * np.asarray(layer)
        error = each.std(axis=0) / np.sqrt(len(each))
        assert np.all(np.abs(each.mean(axis=0) - slope) < 5 * error)
        assert np.all(error < 0.05)


QUICK = [("pepita-modulated", (2, 3, 2))]
LONG = [("bp", (2, 2, 2, 2)), ("fa-mirror", (3, 2)), ("ff", (3, 2))]


@pytest.mark.computes
@pytest.mark.parametrize(("rule", "widths"), quick_and_long(QUICK, *LONG))
def test_the_drift_of_every_layer_is_the_mean_change_of_networks(rule, widths):
    """One sample of 4000 networks, in float64, with noise, decay and two factors of the inputs.

    Five standard errors of some 30 numbers for each of four rules: false alarms 1e-4 in all, and
    1/N for what the limit leaves out.
    """
    inputs = Spectrum([2.0, 0.5], [1 / 3, 2 / 3], [0.5, 1.5], [0.5, 0.5])
    network = network_for(rule, widths, N=300, inputs=inputs, feedback_scale=0.3)
    training = {
        "lr": 0.9, "lr_v": (0.6, *[0.8] * (len(widths) - 1)), "noise": 0.5, "weight_decay": 0.3,
        "weight_decay_v": 0.2,
    }  # fmt: skip
    initial, teacher = network.overlaps(rule)
    exact = averaged_drift(initial, teacher, hyperparameters(**training), 2**13, rule)
    runs = simulate(
        network, rule=rule, **training, times=[1 / 300], n_runs=4000, n_test=1, dtype="float64"
    )
    assert np.all(runs.status == "ok")
    for name, before in initial._asdict().items():
        if before is None:
            continue
        parts = (before, getattr(runs.order_parameters, name), getattr(exact, name))
        for was, after, slope in zip(*map(layers_of, parts), strict=True):
            change = 300 * (after[:, 0] - was)
            error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
            allowed = 5 * error + 0.01 * np.max(np.abs(slope), initial=0.1)
            assert np.all(np.abs(change.mean(axis=0) - slope) <= allowed), name


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "widths"),
    [("dfa", (2, 2, 2)), ("ff-symba", (3, 2))],
)
def test_curves_follow_networks(rule, widths):
    """16 networks of N = 1000 at three times: five standard errors, and 2/N of what is left out.

    False alarms 1e-5.  The chain agrees with the same curve.
    """
    network = network_for(rule, widths, N=1000)
    training = {"rule": rule, "lr": 0.4, "times": [0.5, 1.5, 3.0], "weight_decay": 0.05}
    theory = solve(*network.overlaps(rule), points=2**15, **training)
    for runs in (
        simulate(network, n_runs=16, n_test=8000, **training),
        simulate_chain(network, n_runs=16, n_test=8000, **training),
    ):
        errors = runs.generalization_error
        error = errors.std(axis=0, ddof=1) / 4
        assert np.all(error < 0.03)
        room = 5 * error + 2e-3 * (1 + theory.generalization_error)
        assert np.all(np.abs(errors.mean(axis=0) - theory.generalization_error) < room)


# ---- known answers


def shallow(K=2, M=2, O=2, rule="pepita"):
    return sample_network(N=50, K=K, M=M, O=O, seed=5, feedback_scale=0.4).overlaps(rule)


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "afa", "pepita-modulated", "kolen-pollack"])
def test_an_upper_layer_that_is_the_identity_changes_nothing(rule):
    """Linear units, one hidden layer in closed form, and a second one that is kept as it is."""
    initial, teacher = shallow(rule=rule)
    B = initial.B
    if rule in ("fa", "kolen-pollack"):
        B = (np.eye(2), B)
    elif rule == "dfa":
        B = (B, B)
    deep = initial._replace(v=(np.eye(2), initial.v), B=B)
    training = {"rule": rule, "activation": "linear", "noise": 0.3, "lr": 0.2, "times": [1.0, 4.0]}
    one = solve(initial, teacher, lr_v=0.1, **training, points=gauss_hermite(6, 3))
    two = solve(deep, teacher, lr_v=(0.0, 0.1), **training)
    assert two.averages == "729 Gauss-Hermite nodes"
    if rule == "kolen-pollack":  # B of a frozen layer stays, as the layer does
        assert_allclose(two.order_parameters.B[0][-1], np.eye(2), atol=1e-12)
    assert_allclose(two.generalization_error, one.generalization_error, rtol=1e-7)
    assert_allclose(two.order_parameters.Q, one.order_parameters.Q, rtol=1e-7, atol=1e-9)
    assert_allclose(two.order_parameters.v[1], one.order_parameters.v, rtol=1e-7, atol=1e-9)


def deep_problem(rule, widths=(2, 3, 2), activation="erf", points=None, **options):
    """A problem at small rates, so that terms of second order are left out."""
    network = network_for(rule, widths, **options)
    initial, teacher = network.overlaps(rule)
    return prepare(
        initial, teacher, rule=rule, activation=activation, points=points,
        parameters=hyperparameters(lr=1e-9, lr_v=1e-9),
    )  # fmt: skip


def velocities(problem):
    """The drift per learning rate."""
    change = problem.velocity()(0.0, problem.pack(problem.initial))
    return problem.changes(change / 1e-9)


def test_backpropagation_descends_the_population_error():
    """-dE/dV for every layer, and -dE/dW in terms of the overlaps, by automatic derivatives."""
    problem = deep_problem("bp", points=gauss_hermite(4, 24), M=(2, 2))

    def error(Q, R, v):
        state = problem.initial._replace(Q=Q, R=R, v=v)
        return problem.error(jax.tree.map(lambda each: each[None], state))[0]

    Q, R, v, _ = problem.initial
    with jax.enable_x64(True):
        given = jax.tree.map(jnp.asarray, (Q, R, v))
        by_Q, by_R, by_v = jax.tree.map(np.asarray, jax.grad(error, (0, 1, 2))(*given))
    found, T = velocities(problem), problem.teacher.T
    assert_layers(found.v, tuple(-each for each in by_v), rtol=1e-6, atol=1e-7)
    by_Q = by_Q + by_Q.T
    assert_allclose(found.R, -(by_Q @ R + by_R @ T), rtol=1e-4, atol=1e-5)
    along = -(by_Q @ Q + by_R @ R.T)
    assert_allclose(found.Q, along + along.T, rtol=1e-4, atol=1e-5)


def test_direct_feedback_through_the_transposed_weights_is_backpropagation_of_linear_networks():
    problem = deep_problem("bp", activation="linear")
    v = problem.initial.v
    products = (v[0] @ v[1] @ v[2], v[1] @ v[2], v[2])
    teacher, given = problem.teacher, {"activation": "linear", "points": None}
    for rule, B in (("dfa", products), ("fa", v)):
        other = prepare(
            problem.initial._replace(B=B),
            teacher,
            rule=rule,
            parameters=problem.parameters,
            **given,
        )
        found, exact = velocities(other), velocities(problem)
        assert_allclose(found.Q, exact.Q, rtol=1e-9, atol=1e-9)
        assert_layers(found.v, exact.v, rtol=1e-9, atol=1e-9)
    assert_allclose(feedback_cosine(other.initial), 1.0)
    assert_allclose(feedback_cosine(problem.initial._replace(B=products)), 1.0)


@pytest.mark.parametrize("rule", ["fa", "pepita-hebbian"])
def test_the_order_of_units_in_a_middle_layer_means_nothing(rule):
    network = network_for(rule, (2, 3, 2))
    turned = [2, 0, 1]

    def permuted(layers):
        return (layers[0][:, turned], layers[1][turned], layers[2])

    initial, teacher = network.overlaps(rule)
    other = initial._replace(v=permuted(initial.v))
    if rule == "fa":
        other = other._replace(B=permuted(initial.B))
    training = {"rule": rule, "lr": 0.3, "times": [1.0], "points": 2**8}
    one, two = (solve(state, teacher, **training) for state in (initial, other))
    assert_allclose(one.generalization_error, two.generalization_error, rtol=1e-7)
    assert_layers(
        permuted([each[0] for each in one.order_parameters.v]),
        tuple(each[0] for each in two.order_parameters.v), rtol=1e-6, atol=1e-8,
    )  # fmt: skip


def test_pepita_becomes_afa_in_every_layer_as_the_feedback_gets_small():
    """What parts their drifts, over the scale, falls as the scale: by 2 as that is halved."""
    network = network_for("pepita", (2, 3, 2))
    initial, teacher = network.overlaps("pepita")
    apart = []
    for scale in (0.004, 0.002):
        parameters = hyperparameters(lr=1.0, feedback_scale=scale)
        pepita, afa = (
            averaged_drift(initial, teacher, parameters, gauss_hermite(4, 8), rule)
            for rule in ("pepita", "afa")
        )
        gaps = [(a - b) / scale for a, b in zip(pepita.v[:-1], afa.v[:-1], strict=True)]
        apart.append([np.max(np.abs(gap)) for gap in (*gaps, (pepita.R - afa.R) / scale)])
    assert_allclose(np.divide(*apart), 2.0, rtol=0.1)


def test_modes_of_deep_linear_networks_grow_as_saxe_says():
    """Three layers of weights, balanced: ``du/dt = 3 lr u^(4/3) (s - u)`` for each strength s.

    Saxe, McClelland & Ganguli (2014), for learning rates that tend to 0.
    """
    strengths, start, lr = np.array([1.5, 0.7]), 0.05, 1e-5
    a = np.full(2, start ** (1 / 3))
    R = np.diag(a)
    initial = OrderParameters(R @ R, R, (R, R))
    teacher = Teacher(np.eye(2), np.diag(strengths))
    times = np.array([1.0, 2.5, 6.0])
    found = solve(
        initial, teacher, rule="bp", lr=lr, activation="linear", times=times / lr, rtol=1e-10
    ).order_parameters
    R, (V, v) = found.R, found.v
    modes = np.einsum("tii,tii,tii->ti", R, V, v)

    exact = solve_ivp(
        lambda t, u: 3 * u ** (4 / 3) * (strengths - u), (0, times[-1]), [start, start],
        t_eval=times, rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    assert_allclose(modes, exact.y.T, rtol=1e-3)


def test_the_nodes_of_polynomials_are_exact():
    """Linear units: nodes of a higher degree give the same drift."""
    problem = deep_problem("dtp", activation="linear")
    finer = deep_problem("dtp", activation="linear", points=gauss_hermite(4, 6))
    one, two = velocities(problem), velocities(finer)
    assert_layers(one.v, two.v, rtol=1e-9, atol=1e-10)
    assert_layers(one.B, two.B, rtol=1e-9, atol=1e-10)


def test_quadrature_converges():
    """The error of Gauss-Hermite nodes falls by more than ten for eight more an axis."""
    drifts = [velocities(deep_problem("bp", points=gauss_hermite(4, n))).v[0] for n in (8, 16, 24)]
    coarse, fine = (np.max(np.abs(each - drifts[-1])) for each in drifts[:-1])
    assert fine < coarse / 10 < 1e-3


# ---- every function


DEEP = network_for("dfa", (3, 2), N=60, O=3)
STATE, TEACHER = DEEP.overlaps("dfa")
TRAINING = {"lr": 0.3, "points": 2**7}


def test_flow_has_derivatives_and_schedules():
    def last(lr, jump):
        schedule = PiecewiseConstant([0.4], jnp.stack([lr, jump]))
        curve = flow(STATE, TEACHER, rule="dfa", lr=schedule, times=[1.0], points=2**7)
        return curve.generalization_error[-1]

    with jax.enable_x64(True):
        found = jax.grad(last, (0, 1))(jnp.array(0.3), jnp.array(0.2))
        step = 1e-4
        for index, slope in enumerate(found):
            moved = [np.array([0.3, 0.2]) + sign * step * np.eye(2)[index] for sign in (1, -1)]
            up, down = (last(*map(jnp.asarray, each)) for each in moved)
            assert_allclose(slope, (up - down) / (2 * step), rtol=1e-4)


def test_sweeps_name_layers_as_a_state_does(tmp_path):
    swept = sweep(
        STATE, TEACHER, rule="dfa", lr=[0.1, 0.3], times=[1.0], points=2**7,
        order_parameters=("v", "B"), path=tmp_path / "theory",
    )  # fmt: skip
    assert swept["v[0]"].dims == ("lr", "time", "k", "h1")
    assert swept["v[1]"].dims == ("lr", "time", "h1", "o")
    assert swept["B[1]"].dims == ("lr", "time", "h1", "o")
    assert swept["B[0]"].dims == ("lr", "time", "k", "o")
    alone = solve(STATE, TEACHER, rule="dfa", times=[1.0], **TRAINING)
    assert_allclose(swept["v[0]"][1], alone.order_parameters.v[0], rtol=1e-5)
    swept.to_netcdf(tmp_path / "swept.nc")
    labelled = network_for("ff", (3, 2), N=30)
    networks = sweep_networks(
        labelled, rule="ff", lr=[0.3], times=[0.2], order_parameters="v", n_test=9
    )
    assert networks["v[0]"].dims == ("lr", "run", "time", "k", "h1")
    assert networks["v[1]"].dims == ("lr", "run", "time", "k", "o")


def test_a_simulation_of_layers_goes_on_from_its_checkpoint(tmp_path):
    training = {"rule": "kolen-pollack", "lr": 0.3, "n_runs": 3, "n_test": 50, "path": tmp_path}
    whole, again = (simulate(DEEP, times=[0.5, 1.0], **training) for _ in range(2))
    assert np.array_equal(whole.generalization_error, again.generalization_error)
    for name in ("v", "B"):
        pairs = (getattr(each.order_parameters, name) for each in (whole, again))
        assert_layers(*pairs, rtol=0)
    in_blocks = simulate(
        DEEP, times=[1.0], **(training | {"path": None, "dtype": "float64"}), block=7
    )
    in_turn = simulate(
        DEEP, times=[1.0], **(training | {"path": None, "dtype": "float64"}), block=1
    )
    assert_layers(in_blocks.order_parameters.B, in_turn.order_parameters.B, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("rule", ["bp", "dfa", "pepita-mirror", "kolen-pollack"])
def test_networks_of_given_layers_have_them(rule):
    initial, teacher = network_for(rule, (3, 2), M=(2, 3)).overlaps(rule)
    again = network_with_overlaps(initial, teacher, N=30, seed=2).overlaps(rule)
    for found, given in zip(
        jax.tree.leaves(again), jax.tree.leaves((initial, teacher)), strict=True
    ):
        assert_allclose(found, given, atol=1e-12)
    assert isinstance(teacher.v_star, tuple)


@pytest.mark.long
def test_fluctuations_paths_and_fixed_points_know_layers():
    """400 chains scatter as theory says, to a quarter: 3.5 standard errors of 6 variances."""
    training = {"rule": "fa", "lr": 0.3, "times": [0.0, 1.0]}
    initial, teacher = DEEP.overlaps("fa")
    theory = solve(initial, teacher, fluctuations=True, points=2**9, **training)
    chains = simulate_chain(DEEP, n_runs=400, n_test=1, **training).order_parameters
    variance = theory.fluctuations.order_parameters.v[0][-1] / 60
    assert_allclose(chains.v[0][:, -1].var(axis=0), variance, rtol=0.25)
    random = network_for("pepita", (3, 2), feedback="random", N=60)
    paths = solve_paths(
        *random.overlaps("pepita"),
        rule="pepita",
        lr=0.3,
        times=[0.2],
        n_paths=2,
        dt=0.1,
        points=2**6,
    )
    assert paths.order_parameters.v[0].shape == (2, 1, 3, 2)
    exact = OrderParameters(np.eye(2), np.eye(2), (np.eye(2), np.ones((2, 1))))
    taught = Teacher(np.eye(2), (np.eye(2), np.ones((2, 1))))
    assert fixed_point(exact, taught, rule="bp", lr=0.1, points=2**6).generalization_error < 1e-12


def test_angles_are_those_of_networks():
    """The cosines of steps summed over 20,000 inputs, of both rules on weights, to 3 per cent."""
    bp, dfa = (choose_rule(rule).update for rule in ("bp", "dfa"))
    with jax.enable_x64(True):
        on_jax = jax.tree.map(jnp.asarray, DEEP)
        g = choose_activation("erf").hidden
        X = jax.random.normal(jax.random.key(1), (20_000, 60))

        def steps(x):
            y = on_jax.v_star.T @ g(on_jax.W_star @ x / 60**0.5)
            sample = see(on_jax, x, y, g, 0.0)
            (own, dv), (exact, dv_exact) = dfa(on_jax, sample), bp(on_jax, sample)
            pairs = (own[0][0], exact[0][0]), (dv[0], dv_exact[0])
            return jnp.array([[(a * b).sum(), (a * a).sum(), (b * b).sum()] for a, b in pairs])

        overlap, own, exact = np.asarray(jax.vmap(steps)(X).sum(axis=0)).T
    found = update_cosine(STATE, TEACHER, rule="dfa", points=2**13)
    assert_allclose(found, overlap / np.sqrt(own * exact), atol=0.03)
    assert np.ptp(found) > 0.2


def test_mirrors_alone_turn_every_layer_towards_the_weights():
    network = network_for("fa-mirror", (3, 2, 2), N=30)
    before = pre_mirrored(network, rule="fa-mirror", t=60.0)
    for B, v in zip(before.B, before.v, strict=True):
        assert np.sum(B * v) / np.linalg.norm(B) / np.linalg.norm(v) > 0.9
    both = pre_mirrored(network, rule="pepita-mirror", t=1.0)
    assert_allclose(both.F, both.F1 @ both.F2[0] @ both.F2[1] @ both.F2[2] / 30**0.5)


def test_a_layer_that_does_not_learn_does_not_decay_unless_told_to():
    training = {"rule": "dfa", "lr": 0.3, "lr_v": (0.0, 0.1), "weight_decay": 0.5, "times": [1.0]}
    for run, options in ((solve, {"points": 2**5}), (simulate, {"n_test": 1})):
        given = (STATE, TEACHER) if run is solve else (DEEP,)
        kept = run(*given, **training, **options).order_parameters
        decayed = run(*given, **training, weight_decay_v=(0.4, 0.0), **options).order_parameters
        assert_allclose(kept.v[0].reshape(3, 2), STATE.v[0], rtol=1e-6)
        assert_allclose(decayed.v[0].reshape(3, 2), np.exp(-0.4) * STATE.v[0], rtol=5e-3)


def test_rates_of_layers_may_be_schedules_and_traced():
    rates = PiecewiseConstant([0.3], [0.3, 0.1]), 0.1
    training = {"rule": "dfa", "lr": 0.3, "lr_v": rates, "times": [0.5]}
    whole = solve(STATE, TEACHER, points=2**6, **training)
    with jax.enable_x64(True):

        @jax.jit
        def traced(values, rate):
            options = training | {"lr_v": (PiecewiseConstant([0.3], values), rate)}
            return flow(STATE, TEACHER, points=2**6, **options).generalization_error

        found = np.asarray(traced(jnp.array([0.3, 0.1]), 0.1))
    assert_allclose(found, whole.generalization_error, rtol=1e-6)
    runs = simulate(DEEP, n_runs=8, n_test=100, **training)
    assert_allclose(runs.order_parameters.v[0].mean(axis=0), whole.order_parameters.v[0], atol=0.1)


def test_layers_of_the_teacher_are_drawn_by_themselves():
    given = {"N": 40, "K": 2, "M": (2, 3), "seed": 1}
    drawn, told = sample_network(**given), sample_network(**given, v=[1.0, 2.0])
    assert_layers(drawn.v_star, told.v_star, rtol=0)
    assert_layers(drawn.B, sample_network(**given | {"M": 2}).B, rtol=0)


def test_a_scale_multiplies_the_product_of_all_factors_once():
    network = network_for("pepita-mirror", (3, 2, 2))
    initial, teacher = network.overlaps("pepita-mirror")
    expected = 0.5 * initial.B1 @ initial.F2[0] @ initial.F2[1] @ initial.F2[2]
    start = {"rule": "pepita-mirror", "lr": 0.1, "feedback_scale": 0.5, "times": [0.0]}
    theory = solve(initial, teacher, points=2**4, **start)
    runs = simulate(network, n_test=1, dtype="float64", **start)
    assert_allclose(theory.order_parameters.B[0], expected, rtol=1e-12)
    assert_allclose(runs.order_parameters.B[0, 0], expected, rtol=1e-12)


def test_angles_are_one_a_layer():
    assert feedback_angle(STATE).shape == (2,)
    above = STATE.v[0] @ STATE.v[1]
    cosine = np.sum(above * STATE.B[0]) / np.linalg.norm(above) / np.linalg.norm(STATE.B[0])
    assert_allclose(feedback_cosine(STATE)[0], cosine)
    square = STATE._replace(v=(STATE.v[0], np.eye(2)), B=(STATE.v[0], np.ones((2, 2))))
    layer_by_layer, direct = feedback_cosine(square), feedback_cosine(square, rule="dfa")
    assert_allclose(layer_by_layer, direct)  # an upper layer that is the identity
    other = square._replace(v=(STATE.v[0], np.diag([1.0, 3.0])))
    assert not np.allclose(feedback_cosine(other), feedback_cosine(other, rule="dfa"))
    curve = solve(STATE, TEACHER, rule="dfa", times=[0.5, 1.0], **TRAINING).order_parameters
    assert feedback_angle(curve).shape == (2, 2)
    exact = update_cosine(curve, TEACHER, rule="bp", points=2**7)
    assert_allclose(exact, np.ones((2, 2)))
    assert np.all(update_cosine(curve, TEACHER, rule="dfa", points=2**7) < 0.99)


def test_a_factor_counts_as_the_length_of_what_multiplies_delta():
    """Products of updates over two factors are means of those of each: with tau for W alone."""
    taus, shares = np.array([0.5, 2.0]), np.array([0.7, 0.3])
    parameters = hyperparameters(lr=0.1)
    found = []
    for inputs in (Spectrum([1.0], [1.0], taus, shares), *(Spectrum([tau], [1.0]) for tau in taus)):
        given = STATE._replace(Q=STATE.Q[None], R=STATE.R[None])
        teacher = TEACHER._replace(T=TEACHER.T[None], inputs=inputs)
        problem = prepare(
            given, teacher, rule="dfa", activation="erf", points=2**6, parameters=parameters
        )
        found.append(problem.compiled(products)(parameters))
    mixed, *each = found
    assert_allclose(
        mixed[:, 0], sum(p * t * one[:, 0] for p, t, one in zip(shares, taus, each, strict=True))
    )
    assert_allclose(mixed[:, 1], sum(p * one[:, 1] for p, one in zip(shares, each, strict=True)))


# ---- bad input


class OneLayer(Rule):
    """A rule of one hidden layer."""

    needs = ()

    def feedback(self, state):
        return state.v

    def update(self, sample):
        from odes import Update

        return Update(sample.h, sample.h[:, None] * (sample.h @ sample.v - sample.label))


def solved(rule="dfa", state=STATE, teacher=TEACHER, **options):
    return lambda: solve(state, teacher, rule=rule, times=[0.1], **(TRAINING | options))


SQUARE = (
    OrderParameters(0.3 * np.eye(2) + 0.05, np.full((2, 2), 0.1), (np.eye(2), np.ones((2, 1)))),
    Teacher(np.eye(2), (np.eye(2), np.ones((2, 1)))),
)
AFA = network_for("afa", (3, 2), N=60).overlaps("afa")
FA = network_for("fa", (3, 2), N=60, O=3).overlaps("fa")[0]
IMPOSSIBLE = [
    (
        solved(state=STATE._replace(v=(STATE.v[0].T, STATE.v[1]))),
        r"`v\[0\]` must have the shape \(3",
    ),
    (
        solved(state=STATE._replace(v=(STATE.v[0], np.ones((4, 3))))),
        r"`v\[1\]` must have the shape",
    ),
    (solved(state=STATE._replace(B=FA.B)), r"`B` must have layers of the shapes .* `B\[0\]`"),
    (solved(state=STATE._replace(B=STATE.B[0])), "`B` must be a tuple of layers"),
    (solved("fa"), r"`B` must have layers of the shapes"),
    (solved("pepita", teacher=TEACHER._replace(S=np.ones((2, 2)))), "`B` must be one matrix"),
    (solved(OneLayer()), "`rule` must be written for 2 hidden layers"),
    (
        solved(
            "ff",
            STATE._replace(v=(np.ones((3, 2)), np.ones((2, 1)))),
            TEACHER._replace(v_star=np.ones((2, 1))),
        ),
        r"`v\[1\]` must be label weights",
    ),
    (solved("bp", STATE._replace(v=(STATE.v[0], np.ones((3, 3))))), r"`v\[1\]` must have 2 rows"),
    (
        solved(Mirrored("dfa"), STATE._replace(B=FA.B)),
        "`rule` must send the error back layer by layer",
    ),
    (solved(lr_v=(0.1, 0.2, 0.3)), "`lr_v` must be a number, or a tuple of one for each of 2"),
    (solved(lr_v=(0.1, -0.2)), r"`lr_v\[1\]` must be a finite number"),
    (
        lambda: symmetric_plateau(*SQUARE, rule="bp", lr=0.1, lr_v=0.0, points=2**4),
        "`initial` must",
    ),
    (solved("afa", *AFA, activation="erf-normalised"), "`activation` must not be normalised"),
    (
        lambda: update_cosine(*AFA, rule="pepita", activation="erf-normalised", points=2**4),
        "`activation` must not be normalised",
    ),
    (
        lambda: sweep(STATE, TEACHER, rule="dfa", lr=0.1, lr_v=(0.1, 0.2), times=[0.1]),
        "`lr_v` must be a number, or an array",
    ),
    (
        lambda: simulate(DEEP._replace(direct=None), rule="dfa", lr=0.1, times=[1.0]),
        "network.direct has no weights",
    ),
    (
        lambda: simulate(network_for("ff", (3, 2)), rule="bp", lr=0.1, times=[1.0]),
        r"`network.v\[1\]` must have 2 rows",
    ),
    (
        lambda: network_with_overlaps(STATE, TEACHER._replace(S=np.ones((2, 3))), N=40),
        "`teacher` must have no S",
    ),
    (solved(state=STATE._replace(v=(STATE.v[0], 3.0))), r"`v\[1\]` must have the shape"),
    (lambda: sample_network(N=40, K=(3, 0), M=2), r"`K\[1\]` must be an integer >= 1"),
    (lambda: sample_network(N=40, K=(), M=2), "`K` must have at least one hidden layer"),
    (
        lambda: sample_network(N=40, K=(3, 2), M=2, v=np.ones((3, 1))),
        "`v` must be a tuple of 2 layers",
    ),
    (
        lambda: sample_network(N=40, K=(3, 2), M=2, B=(np.ones((3, 2)), np.ones((3, 1)))),
        r"`B\[1\]` must be an array of shape \(2, 1\)",
    ),
    (
        lambda: simulate(
            DEEP._replace(v=(DEEP.v[0], np.ones((4, 2)))), rule="bp", lr=0.1, times=[1.0]
        ),
        r"`network.v\[1\]` must be an array of shape \(2, 2\)",
    ),
    (
        lambda: simulate(DEEP, rule="bp", lr=0.1, lr_v=(0.1,) * 3, times=[1.0]),
        "`lr_v` must be a number, or a tuple",
    ),
    (lambda: simulate(DEEP, rule="ff", lr=0.1, times=[1.0]), "`rule` must return"),
    (lambda: generalization_error(STATE, TEACHER), "`state` must be for one hidden layer"),
    (lambda: drift(STATE, TEACHER, hyperparameters(lr=0.1), rule="bp"), "`moments` must be for"),
    (
        lambda: solve(
            *network_for(VARIANTS["ff-overlapping"], (2, 3)).overlaps("ff"),
            rule=VARIANTS["ff-overlapping"],
            lr=0.1,
            times=[0.1],
            points=2**4,
        ),
        "`v` must have more than two units",
    ),
    (lambda: feedback_angle(STATE, per_output=True), "`per_output` must be False"),
    (
        lambda: feedback_angle(STATE._replace(B=(STATE.B[1], STATE.B[0]))),
        "`state` must have a B of",
    ),
    (
        lambda: sweep(STATE, TEACHER, rule=["fa", "dfa"], lr=[0.1], times=[0.1]),
        "`B` must have layers",
    ),
]


@pytest.mark.parametrize(("call", "words"), IMPOSSIBLE)
def test_what_cannot_be_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
