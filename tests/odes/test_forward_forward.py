"""Forward-Forward and its top-down form, normalised activities, and the share of wrong signs."""

import jax
import numpy as np
import pytest
from scipy.special import erf, expit, ndtr

from odes import (
    RULES,
    Activation,
    OrderParameters,
    PiecewiseConstant,
    Teacher,
    hyperparameters,
    optimal_schedule,
    sobol,
    solve,
    update_cosine,
)
from odes.averages.activations import ACTIVATIONS
from odes.rules import (
    ForwardForward,
    Logistic,
    MirroredPEPITA,
    Sample,
    SymBa,
    TopDownForwardForward,
)
from simulations import sample_network, simulate
from simulations.rules import as_matrix, choose_rule, see
from tests.conftest import averaged_drift, gaussian_grid, random_problem


def losses(loss):
    """Derivatives by the goodness of positive and negative sample, as functions of both."""
    if isinstance(loss, Logistic):
        th = loss.threshold
        return lambda good, bad: (-expit(th - good), expit(bad - th))
    slope = lambda good, bad: loss.alpha * expit(-loss.alpha * (good - bad))  # noqa: E731
    return lambda good, bad: (-slope(good, bad), slope(good, bad))


@pytest.mark.parametrize("loss", [Logistic(0.7), SymBa(3.0)])
def test_drift_is_the_average_increment(loss):
    """With label noise, over which the average is taken by hand: then nothing jumps.

    Given nu, the label is 1 with probability Phi(v* g(nu) / noise), and fields are integrated by
    Gauss-Hermite; the theory has Sobol points for all of it, jumps included.
    """
    state, teacher = random_problem(2, 1, 1, seed=3)
    lr, lr_v, noise, decay, decay_v = 0.7, 0.3, 0.6, 0.05, 0.02
    C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
    fields, weight = gaussian_grid(C, 60)
    g = lambda z: erf(z / np.sqrt(2))  # noqa: E731
    slope = lambda z: np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)  # noqa: E731
    u = state.v
    dy, dQ, du = 0, 0, 0
    for label in (1, -1):
        chance = weight * ndtr(label * teacher.v_star[0, 0] * g(fields[2]) / noise)
        plus, minus = fields[:2] + u * label, fields[:2] - u * label
        p, q = losses(loss)(np.sum(g(plus) ** 2, axis=0), np.sum(g(minus) ** 2, axis=0))
        good, bad = 2 * p * g(plus) * slope(plus), 2 * q * g(minus) * slope(minus)
        dy = dy - lr * (good + bad) * chance @ fields.T
        dQ = dQ + lr**2 * (good + bad) * chance @ (good + bad).T
        du = du - lr_v * label * (good - bad) @ chance
    dy = dy - decay * C[:2]
    exact = dQ + dy[:, :2] + dy[:, :2].T, dy[:, 2:], du[:, None] - decay_v * u
    parameters = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=decay, weight_decay_v=decay_v
    )
    ours = averaged_drift(state, teacher, parameters, sobol(4, 2**17), ForwardForward(loss))
    for found, expected in zip(ours, exact, strict=False):
        np.testing.assert_allclose(found, expected, atol=3e-4)


@pytest.mark.parametrize(
    "theory",
    [
        RULES["ff"],
        RULES["ff-symba"],
        ForwardForward(SymBa(0.5)),
        TopDownForwardForward(Logistic(0.7)),
        TopDownForwardForward(SymBa(2.0)),
    ],
)
def test_theory_and_network_make_the_same_update_on_one_input(theory):
    """``dW = delta x^T + gamma (F e)^T``, and the readout."""
    network = sample_network(N=12, K=3, M=2, seed=1)
    x, y = np.random.default_rng(0).normal(size=12), np.array([-0.4])
    g = ACTIVATIONS["erf"].g
    with jax.enable_x64(True):
        given = jax.tree.map(jax.numpy.asarray, network)
        seen = see(given, jax.numpy.asarray(x), y, g, 0.3)
        dW, dv = choose_rule(theory).update(given, seen)
        dW = as_matrix(dW)
        B = given.W @ given.F / np.sqrt(12)
        sample = Sample(given.W @ x / np.sqrt(12), given.v, y, B, g, 0.3)
        update = theory.update(sample)
        expected = np.outer(update.delta, x)
        if update.gamma is not None:
            expected += np.outer(update.gamma, given.F @ sample.error)
    np.testing.assert_allclose(dW, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dv, update.readout, rtol=1e-10, atol=1e-13)


@pytest.mark.long
def test_networks_follow_the_theory():
    """K = 3, M = 2, N = 600, 32 runs, with noise and decay, in terms of the class alone.

    At five standard errors, Student's t with 31 degrees of freedom, over 44 numbers, the
    false-alarm rate is 1e-3; 1e-3 of the quadrature and 1/N are left as room.
    """
    network = sample_network(N=600, K=3, M=2, v=[0.5, -0.4, 0.3], v_star=[1.0, 0.6], seed=2)
    training = {"lr": 1.0, "noise": 0.2, "weight_decay": 0.02, "times": [1.0, 3.0]}
    theory = solve(*network.overlaps("ff"), rule="ff", **training)
    runs = simulate(network, rule="ff", n_runs=32, n_test=2000, **training)
    assert theory.status == "ok"
    assert theory.generalization_error[-1] < 0.9 * theory.generalization_error[0]
    for each in (theory, runs):
        np.testing.assert_array_equal(each.generalization_error, each.misclassification)
        assert each.order_parameters.B is None
    pairs = [(theory.generalization_error, runs.generalization_error)]
    pairs += zip(theory.order_parameters[:3], runs.order_parameters[:3], strict=True)
    for exact, measured in pairs:
        error = measured.std(axis=0, ddof=1) / np.sqrt(32)
        room = 1e-3 + (1 + np.abs(exact)) / 600
        assert np.all(np.abs(measured.mean(axis=0) - exact) < 5 * error + room)


@pytest.mark.parametrize("loss", [Logistic(0.3), SymBa(1.0)])
def test_a_loss_of_ones_own_is_the_same_on_both_sides(loss):
    """K = 2, N = 200, 32 runs; five standard errors of four numbers, false alarm 1e-4 for each."""
    network = sample_network(N=200, K=2, M=1, v=[0.5, -0.4], seed=2)
    training = {"rule": ForwardForward(loss), "lr": 1.0, "times": [2.0]}
    exact = solve(*network.overlaps("ff"), points=2**13, **training)
    runs = simulate(network, n_runs=32, n_test=10, **training)
    for name in "Rv":
        measured, expected = (getattr(each.order_parameters, name) for each in (runs, exact))
        error = measured.std(axis=0, ddof=1) / np.sqrt(32)
        assert np.all(error < 0.02)
        assert np.all(np.abs(measured.mean(axis=0) - expected) < 5 * error + 5e-3)


def test_without_label_weights_and_overlap_nothing_is_learned():
    """u = 0 and R = 0 stay so, since nothing tells the labels apart."""
    state = OrderParameters(np.diag([0.5, 0.8]), np.zeros((2, 1)), np.zeros(2))
    theory = solve(state, Teacher(np.eye(1), np.ones(1)), rule="ff", lr=0.5, times=[3.0])
    assert np.max(np.abs(theory.order_parameters.v)) < 1e-4
    assert np.max(np.abs(theory.order_parameters.R)) < 2e-3  # Sobol points are not symmetric
    assert abs(theory.generalization_error[0] - 0.5) < 1e-2


@pytest.mark.parametrize("rule", ["bp", "ff"])
def test_one_unit_is_wrong_with_the_probability_of_an_angle(rule):
    """K = M = 1: arccos(R / sqrt(Q T)) / pi, for any odd activation."""
    state = OrderParameters([[0.6]], [[0.5]], [0.7], None)
    teacher = Teacher([[1.3]], [0.4])
    exact = np.arccos(0.5 / np.sqrt(0.6 * 1.3)) / np.pi
    for activation in ("erf", "tanh"):
        theory = solve(
            state, teacher, rule=rule, lr=0.1, times=[0.0], activation=activation,
            misclassification=True, points=2**14,
        )  # fmt: skip
        assert abs(theory.misclassification[0] - exact) < 1e-3
    assert solve(state, teacher, rule="bp", lr=0.1, times=[0.0]).misclassification is None


def test_outputs_without_a_sign_are_half_wrong_and_what_diverged_has_no_share():
    """v = 0 on both sides; and a linear network that blows up."""
    network = sample_network(N=40, K=2, M=1, v=[0, 0], seed=1)
    for rule in ("bp", "ff"):
        start = {"rule": rule, "lr": 0.1, "times": [0.0]}
        theory = solve(*network.overlaps(rule), misclassification=True, points=2**10, **start)
        runs = simulate(network, **start)
        assert theory.misclassification == runs.misclassification == 0.5
    lost = {"rule": "bp", "lr": 2.0, "lr_v": 0.0, "times": [0.0, 50.0], "activation": "linear"}
    network = sample_network(N=40, K=2, M=1, v=[3, 3], seed=1)
    for course in (
        solve(*network.overlaps("bp"), misclassification=True, points=2**10, **lost),
        simulate(network, **lost),
    ):
        shares = np.ravel(course.misclassification)
        assert np.isfinite(shares[0])
        assert np.isnan(shares[1])


def test_a_rule_with_another_mirror_or_loss_is_resumed(tmp_path):
    """A checkpoint keeps what a rule of other parameters has learned, F1 and F2 among it."""
    network = sample_network(N=40, K=2, M=1, seed=1)
    rules = {
        "mirror": MirroredPEPITA(lr=0.5),
        "loss": ForwardForward(Logistic(0.3)),
    }
    for name, rule in rules.items():
        arguments = {"rule": rule, "lr": 0.5, "times": [1.0, 2.0], "n_test": 10}
        fresh, again = (simulate(network, path=tmp_path / name, **arguments) for _ in range(2))
        plain = simulate(network, **arguments)
        for ours in (fresh, again):
            jax.tree.map(np.testing.assert_array_equal, ours[1], plain[1])


def test_signs_of_several_outputs_are_counted_on_average():
    """Simulated on 64,000 inputs, and in theory; to five standard errors, false alarm 1e-6."""
    network = sample_network(N=50, K=2, M=2, O=2, v=[[1, 0.2], [0.1, -0.8]], seed=1)
    theory = solve(*network.overlaps("fa"), rule="fa", lr=0.3, times=[0.0], misclassification=True)
    runs = simulate(network, rule="fa", lr=0.3, times=[0.0], n_runs=32, n_test=2000)
    measured = runs.misclassification[:, 0]
    error = measured.std(ddof=1) / np.sqrt(32)
    assert error < 2e-3
    assert abs(measured.mean() - theory.misclassification[0]) < 5 * error + 5e-4
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64_000, 50)) / np.sqrt(50)
    ours = erf(X @ network.W.T / np.sqrt(2)) @ network.v
    labels = erf(X @ network.W_star.T / np.sqrt(2)) @ network.v_star
    by_hand = np.mean(np.sign(ours) != np.sign(labels))
    assert abs(by_hand - theory.misclassification[0]) < 5 / np.sqrt(64_000)


def test_topdown_forward_forward_is_pepita_hebbian_for_rectified_units():
    """The same equations and the same weights, to rounding; for erf units neither."""
    network = sample_network(N=60, K=2, M=1, O=2, feedback_scale=0.5, seed=4)
    training = {"lr": 0.3, "lr_v": 0.2, "noise": 0.1, "weight_decay": 0.1, "times": [0.5, 1.5]}
    rules = "ff-topdown", "pepita-hebbian"

    def theories(activation):
        shared = {"activation": activation, "points": 2**10, **training}
        return [solve(*network.overlaps(rule), rule=rule, **shared) for rule in rules]

    runs = [
        simulate(network, rule=rule, activation="relu", dtype="float64", n_test=50, **training)
        for rule in rules
    ]

    def gap(both):
        ours, other = (each.order_parameters for each in both)
        return max(np.max(np.abs(a - b)) for a, b in zip(ours, other, strict=True))

    assert gap(theories("relu")) < 1e-12
    assert gap(runs) < 1e-11
    assert gap(theories("erf")) > 1e-2


@pytest.mark.long
def test_networks_with_normalised_activities_follow_the_theory():
    """h / |h| with weight decay; K = 3, M = 2, O = 2, N = 500, 32 runs.

    At five standard errors, Student's t with 31 degrees of freedom, over 70 numbers, the
    false-alarm rate is 2e-3; 1e-3 of the quadrature and 1/N are left as room.
    """
    network = sample_network(N=500, K=3, M=2, O=2, feedback_scale=0.5, seed=1)
    training = {"lr": 0.5, "weight_decay": 0.1, "times": [1.0, 4.0]}
    shared = {"rule": "pepita", "activation": "erf-normalised", **training}
    theory = solve(*network.overlaps("pepita"), **shared)
    runs = simulate(network, n_runs=32, n_test=2000, **shared)
    assert theory.status == "ok"
    pairs = [(theory.generalization_error, runs.generalization_error)]
    pairs += [
        (a, b)
        for a, b in zip(theory.order_parameters, runs.order_parameters, strict=True)
        if a is not None
    ]
    for exact, measured in pairs:
        error = measured.std(axis=0, ddof=1) / np.sqrt(32)
        room = 1e-3 + (1 + np.abs(exact)) / 500
        assert np.all(np.abs(measured.mean(axis=0) - exact) < 5 * error + room)
    plain = solve(*network.overlaps("pepita"), **shared | {"activation": "erf"}, points=2**10)
    assert np.max(np.abs(plain.order_parameters.v - theory.order_parameters.v)) > 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, t: solve(s, t, rule="ff", lr=0.1, times=[1.0]), ("`v`", "one output", "2")),
        (
            lambda s, t: solve(
                *random_problem(2, 1, 1), rule="ff", lr=0.1, times=[1.0], fluctuations=True
            ),
            ("`fluctuations`", "jumps"),
        ),
        (lambda s, t: update_cosine(s, t, rule="ff"), ("`rule`", "prediction")),
        (lambda s, t: ForwardForward("logistic"), ("`loss`", "SymBa", "'logistic'")),
        (
            lambda s, t: solve(s, t, rule="bp", lr=0.1, times=[1.0], activation="erf-normalised"),
            ("`activation`", "two hidden units", "variance"),
        ),
        (
            lambda s, t: solve(
                s, t, rule="ff-topdown", lr=0.1, times=[1.0], activation="erf-normalised"
            ),
            ("`activation`", "goodness"),
        ),
        (
            lambda s, t: optimal_schedule(
                *random_problem(2, 1, 1), rule="ff", t=1.0, lr=PiecewiseConstant([], [0.1])
            ),
            ("`rule`", "gradient"),
        ),
        (
            lambda s, t: solve(
                s, t, rule="bp", lr=0.1, times=[1.0],
                activation=Activation(ACTIVATIONS["erf"].g, hidden=lambda z: z[:1]),
            ),
            ("`activation`", "hidden", "(1,)"),
        ),
        (
            lambda s, t: simulate(
                sample_network(N=20, K=2, M=1, O=2), rule="ff", lr=0.1, times=[1.0]
            ),
            ("`rule`", "2 outputs"),
        ),
    ],
)  # fmt: skip
def test_what_forward_forward_cannot_do_is_named(call, words):
    state, teacher = random_problem(2, 1, 2)
    with pytest.raises(ValueError, match="Argument") as error:
        call(state, teacher)
    for word in words:
        assert word in str(error.value)


def test_rules_with_losses_are_compared_by_value():
    assert RULES["ff"] == ForwardForward(Logistic(1.0)) != ForwardForward(Logistic(2.0))
