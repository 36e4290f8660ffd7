"""Inputs with a covariance and a factor: what holds exactly, and what networks and data do."""

from functools import partial

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from figures import plot_order_parameter
from odes import (
    RULES,
    OrderParameters,
    Spectrum,
    Teacher,
    critical_learning_rate,
    drift,
    escape_time,
    feedback_cosine,
    fixed_point,
    flow,
    generalization_error,
    hyperparameters,
    sobol,
    solve,
    solve_paths,
    spread,
    sweep,
    symmetric_plateau,
    update_cosine,
)
from odes.common.groups import pooled
from odes.common.order_parameters import GROUPED, state_of
from odes.solvers.paths import _draw_overlaps
from simulations import RULES as ALGORITHMS
from simulations import network_with_overlaps, sample_network, simulate, simulate_chain
from simulations.networks import in_eigenbasis
from simulations.sweeps import sweep as sweep_networks
from tests.conftest import CLOSED_RULES, DISTINCT, averaged_drift

OMEGA, RHO = np.array([4.0, 1.0, 0.25]), np.array([0.1, 0.3, 0.6])
TAU, SHARES = np.array([0.25, 4.0]), np.array([0.8, 0.2])
INPUTS = Spectrum(OMEGA, RHO)
MIXTURE = Spectrum(OMEGA, RHO, TAU, SHARES)
PARAMETERS = hyperparameters(lr=0.9, lr_v=0.6, noise=0.5, weight_decay=0.3, weight_decay_v=0.2)
SMALL = OrderParameters(
    np.eye(2) * 0.3, np.array([[0.2, 0.1], [0.0, 0.1]]), np.array([[0.5], [0.3]])
)
COMMITTEE = Teacher(np.eye(2), np.ones((2, 1)))


def start(rule, inputs, N=40):
    """Order parameters and teacher of a small network, with overlaps of its own in each group."""
    outputs = 1 if RULES[rule].classifies else 2
    network = sample_network(
        N=N, K=2, M=3, O=outputs, teacher="gaussian", student_scale=0.7, feedback_scale=0.3,
        inputs=inputs, seed=2,
    )  # fmt: skip
    return network.overlaps(rule)


def moved(rule, state, teacher, parameters=PARAMETERS):
    """The drift, in closed form or over few points."""
    if rule in CLOSED_RULES:
        return drift(state, teacher, parameters, rule=rule)
    return averaged_drift(state, teacher, parameters, sobol(5 + state.v.shape[1], 64), rule)


def changed(state, teacher, function):
    """State and teacher after a function of all overlaps with an axis of groups, by name."""
    has_F = teacher.S is not None
    names = (*GROUPED, "B") if has_F else GROUPED

    def of(given):
        parts = given._asdict()
        parts |= {n: function(n, parts[n]) for n in names if parts.get(n) is not None}
        return parts

    return state_of(of(state)), Teacher(**of(teacher))


def assert_same(ours, theirs, tolerance):
    """Whether two states are the same, to this tolerance of the largest entry."""
    size = max(np.max(np.abs(each)) for each in theirs if each is not None)
    for name, one, other in zip(ours._fields, ours, theirs, strict=True):
        if other is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("rule", DISTINCT)
def test_groups_of_the_same_variance_are_one(rule):
    """Whatever the overlaps in each are; and a group cut in two makes no difference either."""
    state, teacher = start(rule, Spectrum(np.ones(3), RHO))
    whole = changed(state, teacher, lambda name, each: each.sum(axis=0))
    whole = whole[0], whole[1]._replace(inputs=None)
    ours, white = moved(rule, state, teacher), moved(rule, *whole)
    assert_same(changed(ours, teacher, lambda name, each: each.sum(axis=0))[0], white, 1e-13)
    if rule not in (*CLOSED_RULES, "pepita-tl", "ff-topdown"):  # of several that are averaged alike
        return

    cut = state, teacher._replace(inputs=MIXTURE._replace(eigenvalues=OMEGA[[0, 1, 1]]))
    joined = changed(*cut, lambda name, each: np.stack([each[0], each[1] + each[2]]))
    inputs = MIXTURE._replace(eigenvalues=OMEGA[:2], shares=np.array([0.1, 0.9]))
    joined = joined[0], joined[1]._replace(inputs=inputs)
    ours = changed(
        moved(rule, *cut), cut[1], lambda name, each: np.stack([each[0], each[1] + each[2]])
    )[0]
    assert_same(ours, moved(rule, *joined), 1e-12)


@pytest.mark.parametrize("rule", [rule for rule in DISTINCT if "mirror" not in rule])
def test_the_unit_of_the_inputs_does_not_matter(rule):
    """Inputs c times as strong, weights 1/sqrt(c) and lr 1/c of what they were, F sqrt(c) times.

    So B and S stay as they are.  Mirrors have a noise of their own, whose unit is not that of the
    inputs.
    """
    c = 2.5
    state, teacher = start(rule, MIXTURE)
    powers = {"Q": -1, "R": -1, "T": -1, "P": 1, "B": 0, "S": 0}

    def in_units(name, each):
        return each * c ** powers[name]

    stronger = changed(state, teacher, in_units)
    inputs = teacher.inputs._replace(eigenvalues=c * teacher.inputs.eigenvalues)
    stronger = stronger[0], stronger[1]._replace(inputs=inputs)
    ours = moved(rule, *stronger, PARAMETERS._replace(lr=PARAMETERS.lr / c))
    assert_same(ours, changed(moved(rule, state, teacher), teacher, in_units)[0], 1e-12)


@pytest.mark.parametrize("rule", DISTINCT)
def test_equal_factors_are_a_variance_and_may_be_cut(rule):
    state, teacher = start(rule, INPUTS)

    def of(**inputs):
        return moved(rule, state, teacher._replace(inputs=teacher.inputs._replace(**inputs)))

    alike = of(factors=np.full(2, 1.7), factor_shares=SHARES)
    assert_same(alike, of(eigenvalues=1.7 * OMEGA), 1e-12)
    finer = of(factors=TAU[[0, 0, 1]], factor_shares=np.array([0.5, 0.3, 0.2]))
    assert_same(finer, of(factors=TAU, factor_shares=SHARES), 1e-12)
    assert np.max(np.abs(finer.R - of().R)) > 1e-3


@pytest.mark.parametrize("inputs", [INPUTS, MIXTURE])
def test_closed_forms_are_averages_over_points(inputs):
    """Drift, error, share of wrong signs and alignment, to the accuracy of 2^14 points."""
    state, teacher = start("afa", inputs)
    points = sobol(7, 2**14)
    assert_same(averaged_drift(state, teacher, PARAMETERS, points, "afa"),
                drift(state, teacher, PARAMETERS, rule="afa"), 2e-3)  # fmt: skip
    training = {"rule": "afa", "lr": 0.4, "times": [0.0, 1.0]}
    closed = solve(state, teacher, **training)
    np.testing.assert_allclose(
        solve(state, teacher, points=2**12, **training).generalization_error,
        closed.generalization_error, rtol=2e-3,
    )  # fmt: skip
    np.testing.assert_allclose(
        generalization_error(state, teacher), closed.generalization_error[0], rtol=1e-12
    )
    cosines = [
        update_cosine(closed.order_parameters, teacher, rule="afa", points=each)
        for each in (None, 2**12)
    ]
    np.testing.assert_allclose(*cosines, atol=2e-3)
    assert cosines[0].shape == (2,)
    assert feedback_cosine(closed.order_parameters).shape == (2,)
    np.testing.assert_allclose(
        feedback_cosine(state, teacher=teacher),
        feedback_cosine(pooled(state, teacher)[0]),
        rtol=1e-14,
    )


def test_inputs_without_variance_do_not_learn():
    """Rank-deficient inputs: weights along what never varies stay, but for decay and F e."""
    inputs = Spectrum([1.5, 0.0], [0.6, 0.4])
    state, teacher = start("afa", inputs)
    parameters = PARAMETERS._replace(weight_decay=0.0)
    change = drift(state, teacher, parameters, rule="afa")
    for name in "QRB":
        assert np.all(getattr(change, name)[1] == 0)
        assert np.any(getattr(change, name)[0] != 0)
    solved = solve(state, teacher, rule="afa", lr=0.4, times=[0.0, 5.0])
    assert solved.status == "ok"
    assert solved.generalization_error[1] < solved.generalization_error[0]


def test_networks_have_the_overlaps_of_their_groups():
    """Measured by hand, in the space of the data as in that of the eigenvectors, and made anew."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(12, 20)) @ rng.normal(size=(20, 20))
    inputs = Spectrum.of(X, groups=3)
    network = sample_network(N=20, K=2, M=2, inputs=inputs, seed=1)
    assert network.inputs.shares.tolist() == [4 / 20, 3 / 20, 4 / 20, 9 / 20]
    state, teacher = network.overlaps("pepita-modulated")
    V = np.concatenate([inputs.basis, np.linalg.svd(inputs.basis)[0][:, 11:]], axis=1)
    ends = np.cumsum([0, 4, 3, 4, 9])
    for s in range(4):
        P = V[:, ends[s] : ends[s + 1]] @ V[:, ends[s] : ends[s + 1]].T
        by_hand = {
            "Q": network.W @ P @ network.W.T / 20,
            "R": network.W @ P @ network.W_star.T / 20,
            "B": network.W @ P @ network.F / 20**0.5,
        }
        for name, each in by_hand.items():
            np.testing.assert_allclose(getattr(state, name)[s], each, atol=1e-12)
        np.testing.assert_allclose(teacher.P[s], network.F.T @ P @ network.F, atol=1e-12)
        np.testing.assert_allclose(teacher.S[s], network.W_star @ P @ network.F / 20**0.5)
    whole, fixed = pooled(state, teacher)
    np.testing.assert_allclose(whole.B, network.W @ network.F / 20**0.5)
    np.testing.assert_allclose(fixed.S, network.W_star @ network.F / 20**0.5)
    np.testing.assert_allclose(fixed.P, network.F.T @ network.F)
    covariance = np.cov(X.T, bias=True)
    np.testing.assert_allclose(np.trace(covariance) / 20, fixed.inputs.eigenvalues[0])
    again = network_with_overlaps(state, teacher, N=60, seed=4).overlaps("pepita-modulated")
    assert_same(again[0], state, 1e-9)
    np.testing.assert_allclose(again[1].T, teacher.T, atol=1e-12)
    np.testing.assert_allclose(again[1].P, teacher.P, atol=1e-9)


@pytest.mark.parametrize("rule", ["fa", "pepita-mirror"])
def test_coordinates_of_the_data_do_not_matter(rule):
    """Rows and weights turned together learn the same, in double precision."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 16)) * np.linspace(0.2, 2, 16)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    network = sample_network(N=16, K=2, M=2, inputs=Spectrum.of(X, groups=2), seed=1)
    turned = network._replace(
        W=network.W @ turn, W_star=network.W_star @ turn, F=turn.T @ network.F,
        F1=turn.T @ network.F1, inputs=network.inputs._replace(basis=turn.T @ network.inputs.basis),
    )  # fmt: skip
    training = {"lr": 0.3, "times": [0.5, 2.0], "dtype": "float64", "n_test": 50, "n_runs": 2}
    if "mirror" in rule:  # whose noise has coordinates of its own
        rule, training = "afa", training | {"lr_v": 0.2}
    ours, theirs = (
        simulate(net, rule=rule, data=rows, **training)
        for net, rows in ((network, X), (turned, X @ turn))
    )
    np.testing.assert_allclose(ours.generalization_error, theirs.generalization_error, rtol=1e-9)
    assert_same(ours.order_parameters, theirs.order_parameters, 1e-9)


def test_rows_of_data_are_the_inputs():
    """Two rows, by hand: a network sees nothing else, and not their mean."""
    X = np.array([[3.0, 1.0, 0.0, 2.0, 1.0], [1.0, 1.0, 4.0, 0.0, 3.0]], dtype="float32")
    labels = np.array([2.0, -1.0])
    network = sample_network(N=5, K=1, M=1, inputs=Spectrum.of(X, groups=1), seed=3)
    runs = simulate(
        network, rule="bp", lr=0.5, lr_v=0.0, data=X, labels=labels, activation="linear",
        times=[0.2], n_runs=40, n_test=400, dtype="float64",
    )  # fmt: skip
    rows, v = np.float64(X - X.mean(axis=0)), network.v[0, 0]
    ends = []
    for x, y in zip(rows, labels, strict=True):
        w = network.W[0] - 0.5 / 5**0.5 * v * (v * (network.W[0] @ x) / 5**0.5 - y) * x
        ends.append(w @ w / 5)
    found = runs.order_parameters.Q.sum(axis=(1, 2, 3, 4))
    nearest = np.abs(found[:, None] - ends).argmin(axis=1)
    np.testing.assert_allclose(found, np.array(ends)[nearest], rtol=1e-9)
    assert 5 < np.count_nonzero(nearest) < 35  # but once in 10^6
    errors = [
        (v * (network.W[0] @ x) / 5**0.5 - y) ** 2 / 2 for x, y in zip(rows, labels, strict=True)
    ]
    start = simulate(
        network, rule="bp", lr=0.5, data=X, labels=labels, activation="linear", times=[0.0],
        n_test=4000, dtype="float64",
    )  # fmt: skip
    spread = abs(errors[0] - errors[1]) / 2 / 4000**0.5
    assert abs(start.generalization_error[0, 0] - np.mean(errors)) < 5 * spread


def test_a_spectrum_of_data_is_that_of_its_covariance():
    """Fewer rows than inputs, more, constant columns and rows that repeat."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 8)) * np.arange(1, 9) + 5
    for rows in (X, X[:5], np.pad(X, ((0, 0), (0, 2)), constant_values=3.0), np.repeat(X, 2, 0)):
        N = rows.shape[1]
        covariance = np.cov(rows.T, bias=True)
        found = Spectrum.of(rows, groups=2)
        rank = found.basis.shape[1]
        assert rank == np.linalg.matrix_rank(covariance)
        np.testing.assert_allclose(found.shares @ found.eigenvalues, np.trace(covariance) / N)
        assert found.shares.sum() == pytest.approx(1, abs=1e-14)
        assert (found.eigenvalues[-1] == 0) == (rank < N)
        spectrum = np.sort(np.linalg.eigvalsh(covariance))[::-1][:rank]
        turned = found.basis.T @ covariance @ found.basis
        np.testing.assert_allclose(turned, np.diag(spectrum), atol=1e-10 * spectrum[0])
        first = int(np.rint(rank / 2))
        assert found.eigenvalues[0] == pytest.approx(spectrum[:first].mean())


def test_factors_of_data_are_those_of_a_mixture_and_none_of_normal_data():
    """<tau^2> is 3.25 for these factors; of 4000 normal rows it is 1 to 2 per cent."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(4000, 60)) * np.linspace(0.5, 1.5, 60)
    tau = rng.choice(TAU, 4000, p=SHARES)
    for rows, square in ((z, 1.0), (np.sqrt(tau)[:, None] * z, 3.25)):
        found = Spectrum.of(rows, groups=4, factors=16)
        if found.factors is None:
            assert square == 1.0
            continue
        assert found.factors @ found.factor_shares == pytest.approx(1, abs=1e-12)
        assert found.factors**2 @ found.factor_shares == pytest.approx(square, rel=0.05)
        assert len(found.factors) == 16
    few = np.sqrt(rng.choice(TAU, 40_000, p=SHARES))[:, None] * rng.normal(size=(40_000, 6))
    found = Spectrum.of(few, groups=1, factors=64)  # whose raw factors scatter by 2 / 6 besides
    assert found.factors**2 @ found.factor_shares == pytest.approx(3.25, rel=0.1)
    tau = np.exp(0.8 * rng.normal(size=1200))
    rows = np.sqrt(tau)[:, None] * rng.normal(size=(1200, 200))  # few: whitened lengths differ less
    found = Spectrum.of(rows, groups=1, factors=8)
    square = np.mean(tau**2) / np.mean(tau) ** 2
    assert found.factors**2 @ found.factor_shares == pytest.approx(square, rel=0.1)


def test_errors_of_grouping_fall_as_the_square_of_the_width():
    """Of learning curves, and of the estimate, for variances that rise evenly from 0.1 to 1.9."""
    variances = np.linspace(0.1, 1.9, 64)
    rows = np.diag(np.sqrt(64 * variances))
    curves, estimates = [], []
    for groups in (2, 4, 8, 64):
        inputs = Spectrum.of(np.concatenate([rows, -rows]), groups=groups)
        np.testing.assert_allclose(inputs.shares @ inputs.eigenvalues, 1.0)
        given = spread(SMALL, COMMITTEE, inputs)
        curves.append(solve(*given, rule="bp", lr=0.4, times=[2.0, 6.0]).generalization_error)
        estimates.append(inputs.grouping_error)
        missing = 1 - inputs.shares @ inputs.eigenvalues**2 / np.mean(variances**2)
        assert estimates[-1] == pytest.approx(missing, rel=1e-9, abs=1e-12)
    errors = np.array([np.abs(each - curves[-1]).max() for each in curves[:3]])
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4, rtol=0.25)


def test_spectra_of_known_shape():
    white = Spectrum.power_law(0.0, N=10, groups=5)
    np.testing.assert_allclose(white.eigenvalues, 1)
    assert white.grouping_error == pytest.approx(0, abs=1e-15)
    steep = Spectrum.power_law(1.0, N=4, groups=[0.25, 0.75])
    np.testing.assert_allclose(steep.eigenvalues, np.array([1, 13 / 36]) / (25 / 48))
    blocks = Spectrum.blocks([2.0, 0.5], [100, 300])
    np.testing.assert_array_equal(blocks.shares, [0.25, 0.75])


def test_student_t_is_a_mixture():
    """The moments of tau, and learning curves that converge fast with the number of factors."""
    for nu in (2.5, 3.0, 40.0):
        inputs = Spectrum.student_t(nu, factors=16)
        for power, exact in ((-1, nu / (nu - 2)), (0, 1.0), (1, 1.0)):
            found = inputs.factor_shares @ inputs.factors**power
            assert found == pytest.approx(exact, rel=1e-9)
    assert inputs.factor_shares @ inputs.factors**2 == pytest.approx(38 / 36, rel=1e-6)
    curves = [
        solve(*spread(SMALL, COMMITTEE, Spectrum.student_t(3.0, factors=n)), rule="bp", lr=0.5,
              times=[2.0, 8.0]).generalization_error
        for n in (4, 8, 16, 48)
    ]  # fmt: skip
    errors = [np.abs(each - curves[-1]).max() for each in curves[:3]]
    assert errors[1] < errors[0] / 10 < 1e-3
    assert errors[2] < 1e-6


def test_sweeps_and_flows_take_inputs():
    """Over a parameter of the spectrum, of rules with and without F; a gradient by the variances.

    FA sends back what the groups of B add up to.
    """
    power_law = partial(Spectrum.power_law, groups=3)
    with_F = SMALL._replace(B=[[0.4], [-0.2]]), COMMITTEE._replace(S=np.ones((2, 1)))
    given = spread(*with_F, power_law(0.5))
    training = {"lr": 0.4, "times": [1.0, 4.0]}
    swept = sweep(
        *given, rule=["fa", "afa"], inputs=power_law, exponent=[0.0, 0.5],
        order_parameters=("R", "B"), **training,
    )  # fmt: skip
    assert swept.R.dims == ("rule", "exponent", "time", "group", "k", "m")
    assert swept.B.dims == ("rule", "exponent", "time", "k", "o")
    np.testing.assert_allclose(swept.eigenvalues[0, 1], power_law(0.5).eigenvalues)
    for rule in ("fa", "afa"):
        for exponent, start in ((0.0, with_F), (0.5, given)):
            exact = solve(*start, rule=rule, **training).generalization_error
            found = swept.generalization_error.sel(rule=rule, exponent=exponent)
            np.testing.assert_allclose(found, exact, rtol=1e-7)

    def last(eigenvalues):
        inputs = given[1].inputs._replace(eigenvalues=eigenvalues)
        curve = flow(given[0], given[1]._replace(inputs=inputs), rule="afa", **training)
        return curve.generalization_error[-1]

    omega, step = np.array(given[1].inputs.eigenvalues), np.array([0.0, 1e-4, 0.0])
    ends = [
        solve(given[0], given[1]._replace(inputs=given[1].inputs._replace(eigenvalues=each)),
              rule="afa", rtol=1e-10, **training).generalization_error[-1]
        for each in (omega + step, omega - step)
    ]  # fmt: skip
    with jax.enable_x64(True):
        value, slope = jax.value_and_grad(last)(omega)
    assert float(value) == pytest.approx(exact[-1], rel=1e-7)
    assert float(slope[1]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4)


def test_plateaus_and_fixed_points():
    """A plateau is left at the rate of its eigenvalue, and a solution is stable below its own."""
    near = OrderParameters(0.1 * np.eye(2), np.array([[1e-3, 0], [0, 0]]), np.ones((2, 1)))
    training = {"rule": "bp", "lr": 0.5, "lr_v": 0.0}
    given = spread(near, COMMITTEE, INPUTS)
    plateau = symmetric_plateau(*given, **training)
    assert plateau.physical
    tip = 1e-9 * RHO[:, None, None] * np.array([[1, -1], [-1, 1]])
    tipped = plateau.order_parameters._replace(R=plateau.order_parameters.R + tip)
    times = np.array([0.0, 150.0, 200.0])
    solved = solve(tipped, given[1], times=times, rtol=1e-10, atol=1e-14, **training)
    apart = solved.order_parameters.R[..., 0, 0] - solved.order_parameters.R[..., 0, 1]
    rates = np.diff(np.log(apart.sum(axis=1))) / np.diff(times)
    assert rates[1] == pytest.approx(plateau.escape_rate, rel=1e-3)
    assert escape_time(plateau, tipped, given[1]) > 0

    with_F = spread(
        near._replace(B=np.full((2, 1), 0.5)),
        COMMITTEE._replace(S=np.ones((2, 1)), P=np.full((1, 1), 9.0)), INPUTS,
    )  # fmt: skip
    plateau = symmetric_plateau(*with_F, rule="afa", lr=0.5, lr_v=0.0)
    tipped = plateau.order_parameters._replace(R=plateau.order_parameters.R + tip)
    assert escape_time(plateau, tipped, with_F[1]) > 0

    one_group = COMMITTEE._replace(T=np.stack([np.eye(2), 0 * np.eye(2)]))
    one_group = one_group._replace(inputs=Spectrum([1.0, 0.5], [0.5, 0.5]))
    guess = OrderParameters(0.99 * one_group.T, 0.99 * one_group.T, np.ones((2, 1)))
    found = fixed_point(guess, one_group, rule="bp", lr=0.3, lr_v=0.0)
    assert found.physical
    assert found.generalization_error < 1e-9

    student = OrderParameters(np.eye(2), np.eye(2), np.ones((2, 1)))
    given = spread(student, COMMITTEE, INPUTS)
    critical = critical_learning_rate(*given, rule="bp", lr_v=0.0)
    for factor, stable in ((0.9, True), (1.1, False)):
        found = fixed_point(*given, rule="bp", lr=factor * critical, lr_v=0.0)
        assert found.generalization_error < 1e-9
        assert found.stable == stable


@pytest.mark.long
def test_paths_have_increments_in_every_group():
    """At a tiny learning rate nothing but B moves, and hardly so: a random walk in each group.

    Whitened by ``lr^2 omega_s P_s <delta_k delta_l>`` of the drift, B has the identity as
    covariance: 10 distinct entries at five standard errors over 64 paths, 1e-4 false alarms.
    """
    inputs = Spectrum([3.0, 0.5], [0.25, 0.75], TAU, SHARES)
    network = sample_network(N=40, K=2, M=2, inputs=inputs, seed=1)
    state, teacher = network.overlaps("afa")
    lr, time = 1e-5, 0.1
    paths = solve_paths(state, teacher, rule="afa", lr=lr, times=[time], dt=time, n_paths=64)
    once, half = (drift(state, teacher, hyperparameters(lr=x), rule="afa").Q for x in (1.0, 0.5))
    delta_delta = (2 * once - 4 * half)[0] / (3.0 * 0.25)
    root = np.linalg.cholesky(lr**2 * time * delta_delta)
    change = (paths.order_parameters.B[:, 0] - state.B)[..., 0]  # (paths, groups, K)
    whitened = np.linalg.solve(root, change[..., None])[..., 0]
    whitened = whitened / np.sqrt(inputs.eigenvalues * teacher.P[:, 0, 0].T)[:, None]
    gap = np.abs(np.cov(whitened.reshape(64, 4).T) - np.eye(4))
    assert np.all(gap < 5 * np.sqrt((1 + np.eye(4)) / 64))


@pytest.mark.parametrize("kind", ["simulate", "chain"])
def test_networks_may_be_swept_over_a_spectrum(kind):
    def network(N, seed, exponent):
        inputs = Spectrum.power_law(exponent, N=N, groups=2)
        return sample_network(N=N, K=2, M=2, inputs=inputs, seed=seed)

    training = {"rule": "fa", "lr": 0.5, "times": [0.5]}
    if kind == "chain":
        runs = simulate_chain(network(40, 1, 0.5), n_test=10, **training)
        assert runs.order_parameters.R.shape == (1, 1, 2, 2, 2)
        return
    swept = sweep_networks(
        network, N=40, seed=1, exponent=[0.0, 0.5], n_test=10, order_parameters="R", **training
    )
    one = simulate(network(40, 1, 0.5), seed=1, n_test=10, **training)
    np.testing.assert_array_equal(swept.R.sel(exponent=0.5), one.order_parameters.R)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (Spectrum([1.0, 2.0], [0.5, 0.6]), ("shares", "add up to 1", "1.1", "blocks")),
        (Spectrum([1.0, -2.0], [0.5, 0.5]), ("eigenvalues", ">= 0", "-2")),
        (Spectrum([1.0, np.nan], [0.5, 0.5]), ("eigenvalues", "finite", "nan")),
        (Spectrum([1.0], [0.5, 0.5]), ("eigenvalues", "(1,)", "(2,)")),
        (Spectrum([], []), ("eigenvalues", "(0,)")),
        (Spectrum([1.0], [1.0], [1.0]), ("factor_shares", "None")),
        (Spectrum([1.0], [1.0], [1.0, -1.0], [0.5, 0.5]), ("factors", ">= 0")),
        (Spectrum([1.0], [1.0], [1.0, 1.0], [0.5, 0.4]), ("factor_shares", "0.9")),
        ([1.0, 2.0], ("Spectrum", "[1.0, 2.0]")),
        (Spectrum(np.ones(30), np.full(30, 1 / 30)), ("N = 20", "fewer groups")),
        (Spectrum([1.0], [1.0], basis=np.eye(7)), ("`N`", "7", "20")),
        (Spectrum([1.0], [1.0], basis=2 * np.eye(20)), ("basis", "orthonormal")),
        (Spectrum([1.0], [1.0], basis=np.ones((20, 30))), ("basis", "(20, 30)")),
        (Spectrum([1.0], [1.0], basis=np.eye(20) * np.nan), ("basis", "finite")),
        (Spectrum([1.0], [1.0], basis="much"), ("basis", "real")),
        (Spectrum([1.0, 2.0], [1.0, 0.0]), ("shares", "> 0")),
    ],
)
def test_spectra_that_cannot_be_are_named(inputs, words):
    with pytest.raises(ValueError, match="Argument") as error:
        sample_network(N=20, K=2, M=2, inputs=inputs)
    for word in words:
        assert word in str(error.value)


def test_overlaps_and_data_that_do_not_go_with_the_inputs_are_named():
    state, teacher = spread(SMALL, COMMITTEE, INPUTS)
    network = sample_network(N=20, K=2, M=2)
    X = np.ones((4, 20)) * np.arange(4)[:, None]
    training = {"rule": "bp", "lr": 0.1, "times": [0.1]}
    two = INPUTS._replace(eigenvalues=OMEGA[:2], shares=np.array([0.4, 0.6]))
    cases = [
        (lambda: solve(SMALL, teacher, **training), ("`Q`", "(G, K, K)", "G = 3")),
        (lambda: solve(state, COMMITTEE, **training), ("`Q`", "(K, K)")),
        (lambda: solve(state, teacher._replace(inputs=two), **training), ("`Q`", "G = 2")),
        (lambda: drift(SMALL, teacher, PARAMETERS, rule="bp"), ("`R`", "(3, ")),
        (lambda: simulate(network, data=X[:1], **training), ("`data`", "two rows")),
        (lambda: simulate(network, data=X[:, :5], **training), ("`data`", "N = 20")),
        (lambda: simulate(network, data=X * np.nan, **training), ("`data`", "4 rows", "row 0")),
        (lambda: simulate(network, labels=[1.0], **training), ("`labels`", "`data`")),
        (lambda: simulate(network, data=X, labels=[1.0], **training), ("`labels`", "(4, 1)")),
        (lambda: Spectrum.of(X[[1, 1]]), ("`X`", "differ")),
        (lambda: Spectrum.of(X, groups=3), ("`groups`", "1")),
        (lambda: Spectrum.power_law(-1.0), ("`exponent`", ">= 0")),
        (lambda: Spectrum.student_t(2.0), ("`nu`", "above 2")),
        (lambda: sweep(state, teacher, inputs=two, **training), ("`inputs`", "function")),
        (lambda: sweep(state, teacher, inputs=Spectrum.power_law, **training), ("`inputs`",)),
        (lambda: sweep(state, teacher, inputs=lambda a, b: INPUTS, a=[1.0], **training),
         ("`inputs`", "failed")),
        (lambda: sweep(state, teacher, inputs=lambda k: INPUTS, k=[1.0], **training), ("`k`",)),
        (lambda: Spectrum.blocks([1.0, 2.0], [1]), ("`sizes`", "1 for")),
        (lambda: network_with_overlaps(state, teacher, N=20), ("`N`", "2 of 20")),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(ValueError, match="Argument") as error:
            call()
        for word in words:
            assert word in str(error.value), (word, str(error.value))
    own = sample_network(N=20, K=2, M=2, inputs=Spectrum.of(np.eye(20), groups=2))
    training["rule"] = ALGORITHMS["bp"]._replace(equivariant=False)
    with pytest.raises(ValueError, match="equivariant"):
        simulate(own, **training)


def test_order_parameters_in_groups_are_drawn_as_their_sum():
    state, teacher = start("afa", INPUTS)
    solved = solve(state, teacher, rule="afa", lr=0.2, times=[0.1, 1.0])
    ax = plot_order_parameter(solved, name="R", rule="afa", ax=Figure().add_subplot())
    drawn = [line.get_ydata() for line in ax.lines]
    summed = solved.order_parameters.R.sum(axis=1).reshape(2, -1)
    np.testing.assert_allclose(np.transpose(drawn), summed)


def test_the_error_of_a_linear_student_falls_as_a_power_of_time():
    """At a small rate each group decays by itself; together as t^-(a - 1)/a for variances i^-a.

    Worschech & Rosenow (2024).
    """
    ends = np.unique(np.rint(np.geomspace(1, 10**6, 80)))
    inputs = Spectrum.power_law(2.0, N=10**6, groups=(np.diff(ends, prepend=0) / 10**6).tolist())
    given = spread(
        OrderParameters(np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1))),
        Teacher(np.eye(1), np.ones((1, 1))), inputs,
    )  # fmt: skip
    times = np.array([0.0, 1e3, 1e4, 1e5])
    solved = solve(*given, rule="bp", lr=1e-4, lr_v=0.0, times=times, activation="linear")
    omega, rho = inputs.eigenvalues, inputs.shares
    alone = (omega * rho * np.exp(-2e-4 * omega * times[:, None])).sum(axis=1) / 2
    np.testing.assert_allclose(solved.generalization_error, alone, rtol=2e-3)
    slopes = np.diff(np.log(solved.generalization_error[1:])) / np.diff(np.log(times[1:]))
    np.testing.assert_allclose(slopes, -0.5, atol=0.02)


@pytest.mark.long
def test_errors_are_those_of_networks_on_test_inputs():
    """In closed form and over points, for a mixture: five standard errors of 16,000 test inputs.

    1 per cent of the errors; one of the two factors alone would be off by a third.
    """
    network = sample_network(N=60, K=2, M=2, inputs=MIXTURE, v=[0.5, 0.3], seed=1)
    state, teacher = network.overlaps("bp")
    runs = simulate(network, rule="bp", lr=0.1, times=[0.0], n_runs=16, n_test=1000)
    for activation in ("erf", lambda z: jax.scipy.special.erf(z / np.sqrt(2))):
        theory = solve(
            state, teacher, rule="bp", lr=0.1, times=[0.0], activation=activation, points=2**11,
            misclassification=True,
        )  # fmt: skip
        for ours, theirs in (
            (theory.generalization_error[0], runs.generalization_error[:, 0]),
            (theory.misclassification[0], runs.misclassification[:, 0]),
        ):
            error = theirs.std(ddof=1) / 4
            assert abs(ours - theirs.mean()) < 5 * error + 3e-3
            assert error < 0.02 * theirs.mean()


def test_rows_that_repeat_and_inputs_of_low_rank_are_learned_in_blocks():
    """The exact block form, whose Gram matrix of inputs is then singular."""
    X = np.random.default_rng(4).normal(size=(6, 60))
    training = {"rule": "afa", "lr": 0.3, "times": [1.0], "n_test": 20, "dtype": "float64"}
    for inputs, data in ((None, X), (Spectrum([10.0, 0.0], [0.05, 0.95]), None)):
        network = sample_network(N=60, K=2, M=2, inputs=inputs, seed=1)
        one, several = (simulate(network, data=data, block=b, **training) for b in (1, 12))
        assert several.status[0] == "ok"
        assert_same(several.order_parameters, one.order_parameters, 1e-9)


def test_a_chain_depends_on_the_sample_alone():
    """Not on the times of measurement, nor on the number of test inputs."""
    network = sample_network(N=60, K=2, M=2, inputs=MIXTURE, seed=1)
    ends = [
        simulate_chain(network, rule="bp", lr=0.5, times=times, n_test=n_test).order_parameters.R
        for times, n_test in (([1.0], 10), ([0.5, 1.0], 20))
    ]
    np.testing.assert_array_equal(ends[0][:, -1], ends[1][:, -1])


def test_every_path_may_draw_an_F_with_entries_of_its_variance_in_each_group():
    """[B_s; S_s] has the covariance C_s x P_s / rho_s: 4000 draws, five standard errors.

    So B_s has that of W_s for entries of F of variance 1, whose P_s is rho_s.
    """
    state, teacher = start("afa", INPUTS)
    shares = teacher.inputs.shares
    teacher = teacher._replace(P=shares[:, None, None] * np.eye(2))
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 4000)
        drawn = np.asarray(_draw_overlaps(state, teacher, keys))  # (draws, groups, K + M, O)
    for s in range(3):
        rows = drawn[:, s].transpose(0, 2, 1).reshape(8000, -1)
        C = np.block([[state.Q[s], state.R[s]], [state.R[s].T, teacher.T[s]]])
        error = np.sqrt((C**2 + np.outer(C.diagonal(), C.diagonal())) / 8000)
        assert np.all(np.abs(rows.T @ rows / 8000 - C) < 5 * error)


def test_coordinates_along_eigenvectors_keep_the_overlaps():
    """Of data of fewer rows than inputs, whose eigenvectors are completed for Gaussian inputs."""
    X = np.random.default_rng(3).normal(size=(12, 20))
    network = sample_network(N=20, K=2, M=2, inputs=Spectrum.of(X, groups=3), seed=1)
    turned = in_eigenbasis(network)
    assert turned.inputs.basis is None
    (state, teacher), (before, taught) = turned.overlaps("afa"), network.overlaps("afa")
    assert_same(state, before, 1e-12)
    assert_same(teacher._replace(inputs=None), taught._replace(inputs=None), 1e-12)
    start = simulate(network, rule="afa", lr=0.1, times=[0.0], n_test=10, dtype="float64")
    np.testing.assert_allclose(start.order_parameters.R[0, 0], before.R)
