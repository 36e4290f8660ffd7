"""The linear-noise approximation against the chain, and its numerics against an ODE solver."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import sqrtm
from scipy.special import erf

from odes import (
    OrderParameters,
    PiecewiseConstant,
    Spectrum,
    Teacher,
    drift,
    generalization_error,
    hyperparameters,
    solve,
)
from odes.averages.activations import Linear
from odes.averages.quadrature import mirrored_sobol
from odes.averages.sampled import roots
from odes.problem import prepare
from odes.rules import RULES
from odes.solvers.diffusion_matrix import diffusion
from odes.solvers.fluctuations import POINTS, _drives, propagate
from odes.state_vector import packing
from simulations import network_with_overlaps, sample_network, simulate_chain
from tests.conftest import random_problem, tensor_rule

COMMITTEE = Teacher(np.eye(2), np.ones((2, 1)))
START = OrderParameters(0.25 * np.eye(2), np.array([[0.2, 0.19], [0.19, 0.2]]), np.ones((2, 1)))


def at_the_plateau():
    """Where START is after the transient: the units overlap alike and the error stands still."""
    there = solve(START, COMMITTEE, rule="bp", lr=1.0, lr_v=0, times=[15.0, 20.0])
    before, after = there.generalization_error
    assert after > 0.99 * before
    return OrderParameters(*(a if a is None else a[-1] for a in there.order_parameters))


SMALL = random_problem(2, 1, 2, seed=5, scale=0.5)
PARAMETERS = hyperparameters(
    lr=0.7, lr_v=0.4, noise=0.5, weight_decay=0.3, weight_decay_v=0.2, feedback_scale=1.0
)


def of_erf(z):
    """Activities and their slopes."""
    return erf(z / np.sqrt(2)), np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)


def changes_by_one_sample(nodes, N, units):
    """N times what one sample of AFA does to Q_kl (k <= l), R, v and B of SMALL, (nodes, 13).

    The nodes are standard normals of the three fields, of two noises and of what the two columns of
    F see beyond the units.  The input is as long as its mean at these fields.
    """
    (Q, R, v, B), (T, v_star, S, P, _) = SMALL
    lr, lr_v, noise, decay, decay_v, *_ = PARAMETERS
    z, zeta, beyond = np.split(nodes, [3, 5], axis=1)
    along = R / np.sqrt(T)  # there is one teacher unit
    root = np.block([[sqrtm(Q - along @ along.T), along], [0 * along.T, np.sqrt(T)]])
    explained = np.linalg.solve(root, np.concatenate([B, S]))
    F_x = z @ explained + beyond @ np.linalg.cholesky(P - explained.T @ explained).T
    ours, theirs = (z @ root.T)[:, :2], (z @ root.T)[:, 2:]
    h, slope = units(ours)
    e = h @ v - units(theirs)[0] @ v_star - noise * zeta
    delta = slope * (e @ B.T)
    length = 1 + (np.sum(z * z, axis=1) - 3) / N

    def outer(a, b):
        return a[:, :, None] * b[:, None, :]

    pulled = outer(delta, ours) + outer(ours, delta)
    dQ = (decay**2 / N - 2 * decay) * Q - lr * (1 - decay / N) * pulled
    dQ = dQ + lr**2 * length[:, None, None] * outer(delta, delta)
    dR, dB = (-decay * a - lr * outer(delta, b) for a, b in ((R, theirs), (B, F_x)))
    dv = -decay_v * v - lr_v * outer(h, e)
    k, l = np.triu_indices(2)
    return np.concatenate([dQ[:, k, l], *(a.reshape(len(a), -1) for a in (dR, dv, dB))], axis=1)


def test_one_sample_kicks_by_the_diffusion():
    """D is the covariance of what one sample does, an average over all that it depends on."""
    nodes, weights = tensor_rule(12, 12, 12, 3, 3, 2, 2)
    a = changes_by_one_sample(nodes, np.inf, of_erf)
    a -= weights @ a
    problem = prepare(
        *SMALL, rule="afa", activation="erf", points=tensor_rule(12, 12, 12, 3, 3),
        parameters=PARAMETERS,
    )  # fmt: skip
    ours = problem.compiled(diffusion)(problem.pack(SMALL[0]), PARAMETERS)
    np.testing.assert_allclose(ours, (weights[:, None] * a).T @ a, rtol=1e-9, atol=1e-10)


def test_one_sample_moves_the_mean_of_finite_networks_by_what_drives_the_bias():
    """Linear units: how 1/N enters the mean change, and curvature and J f by differences."""
    pack, unpack = packing(SMALL[0])
    y = pack(SMALL[0])
    nodes, weights = tensor_rule(4, 4, 4, 2, 2, 1, 1)
    at_10, at_infinity = (
        weights @ changes_by_one_sample(nodes, N, lambda z: (z, np.ones_like(z)))
        for N in (10, np.inf)
    )

    def f(y):
        return pack(drift(unpack(y), SMALL[1], PARAMETERS, rule=RULES["afa"], activation=Linear))

    np.testing.assert_allclose(f(y), at_infinity, atol=1e-12)

    A = 0.3 * np.random.default_rng(0).normal(size=(y.size, y.size))
    h = 1e-4
    curved = sum(f(y + h * each) - 2 * f(y) + f(y - h * each) for each in A.T) / h**2
    J_f = (f(y + h * f(y)) - f(y - h * f(y))) / (2 * h)
    expected = curved / 2 + 10 * (at_10 - at_infinity) - J_f / 2
    batch = jax.tree.map(lambda each: np.array([each]), (y, PARAMETERS, A @ A.T))
    problem = prepare(
        *SMALL, rule="afa", activation="linear", points=None, parameters=PARAMETERS, with_P=True
    )
    (ours,) = problem.compiled(_drives)(1, *batch, tensor_rule(4, 4, 4, 2, 2))
    np.testing.assert_allclose(ours, expected, atol=1e-6 * np.max(abs(expected)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("start", "N", "times", "lr"),
    [
        (START, 1000, [1, 4, 10], PiecewiseConstant([2.0], [1.0, 0.3])),
        (START, 10_000, [0.5], 1.0),
        (at_the_plateau(), 1000, [1, 4, 10], 1.0),
    ],
    ids=["drop-1000", "transient-10000", "plateau-1000"],
)
def test_networks_scatter_as_predicted(start, N, times, lr):
    """Standard deviations of eps_g and of all order parameters, over 400 chains.

    Each is known to 1 / sqrt(800) = 3.5 per cent; at five such errors the false-alarm rate is below
    6e-5 for 110 correlated numbers.  eps_g is that of the overlaps measured on each network.
    """
    training = {"rule": "bp", "lr": lr, "lr_v": 0.2, "noise": 0.1, "times": times}
    theory = solve(start, COMMITTEE, fluctuations=True, **training)
    network = network_with_overlaps(start, COMMITTEE, N=N)
    runs = simulate_chain(network, n_runs=400, n_test=1, seed=N, **training)
    errors = generalization_error(runs.order_parameters, COMMITTEE)
    pairs = [(errors, theory.fluctuations.generalization_error)]
    pairs += zip(runs.order_parameters[:3], theory.fluctuations.order_parameters[:3], strict=True)
    for measured, variance in pairs:
        ratio = measured.std(axis=0) / np.sqrt(variance / N)
        np.testing.assert_allclose(ratio, 1, atol=5 / np.sqrt(800))
    np.testing.assert_array_equal(
        theory.fluctuations.std(N), np.sqrt(theory.fluctuations.generalization_error / N)
    )


@pytest.mark.long
@pytest.mark.parametrize("rule", ["afa", "pepita-hebbian"])
def test_covariances_of_rules_that_feed_back(rule):
    """Whole covariances, B among them, over 600 chains of N = 1000, at five standard errors.

    Those are sqrt((S_aa S_bb + S_ab^2) / 600); 3 per cent are left for 1/N and the points of D.
    90 distinct entries: false alarms below 1e-4.
    """
    state, teacher = random_problem(2, 2, 1, seed=3)
    state = state._replace(B=0.5 * state.B)
    teacher = teacher._replace(S=0.5 * teacher.S, P=0.25 * teacher.P)
    training = {"rule": rule, "lr": 0.6, "lr_v": 0.4, "weight_decay": 0.1, "times": [3.0]}
    theory = solve(state, teacher, fluctuations=True, points=2**13, **training)
    runs = simulate_chain(
        network_with_overlaps(state, teacher, N=1000), n_runs=600, n_test=1, **training
    )
    pack, _ = packing(state)
    last = [OrderParameters(*(a[run, 0] for a in runs.order_parameters)) for run in range(600)]
    measured = 1000 * np.cov(np.array([pack(each) for each in last]).T)
    (Sigma,) = theory.fluctuations.covariance
    spread = np.sqrt(np.outer(Sigma.diagonal(), Sigma.diagonal()))
    error = np.sqrt((spread**2 + Sigma**2) / 600)
    assert np.all(np.abs(measured - Sigma) < 5 * error + 0.03 * spread)


@pytest.mark.long
@pytest.mark.parametrize(
    "inputs", [None, Spectrum([2.0, 0.6], [0.3, 0.7], [0.5, 2.0], [0.667, 0.333])]
)
def test_the_mean_of_small_networks_is_off_by_the_predicted_bias(inputs):
    """N = 100, 10,000 chains; five standard errors, and 15 per cent for 1/N^2.

    AFA with noise and decay at four times: false alarms 6e-6 for both kinds of inputs.  No bias at
    all would fail; and the scatter is as predicted, to a tenth for 1/N.
    """
    state, teacher = sample_network(
        N=1000, K=2, M=2, v_star=[1.2, 0.6], student_scale=1.0, inputs=inputs
    ).overlaps("afa")
    training = {
        "rule": "afa", "lr": 1.5, "lr_v": 0.5, "noise": 0.2, "weight_decay": 0.3,
        "times": [0.5, 1.0, 2.0, 4.0],
    }  # fmt: skip
    theory = solve(state, teacher, fluctuations=True, **training)
    network = network_with_overlaps(state, teacher, N=100)
    runs = simulate_chain(network, n_runs=10_000, n_test=1, **training)
    errors = generalization_error(runs.order_parameters, teacher)
    measured = 100 * (errors.mean(axis=0) - theory.generalization_error)
    error = errors.std(axis=0)  # 100 / sqrt(10,000) times
    bias = theory.fluctuations.bias
    assert np.all(abs(measured - bias) < 5 * error + 0.15 * abs(bias))
    assert np.any(abs(measured) > 5 * error + 0.15 * abs(bias))
    np.testing.assert_allclose(error, theory.fluctuations.std(100), rtol=0.1)


def test_the_scatter_is_that_of_what_is_sent_back():
    """With a scale of the feedback, B and its covariances are those of an F that has it already.

    To 1e-3, since the integrator takes other steps.
    """
    state, teacher = random_problem(1, 1, 2, seed=3)
    scaled = state._replace(B=3 * state.B)
    of_scaled = teacher._replace(S=3 * teacher.S, P=9 * teacher.P)
    training = {"rule": "afa", "lr": 0.6, "noise": 0.5, "times": [2.0], "fluctuations": True}
    ours = solve(state, teacher, feedback_scale=3, **training).fluctuations
    theirs = solve(scaled, of_scaled, **training).fluctuations
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(ours.order_parameters.B, theirs.order_parameters.B, rtol=1e-3)
    assert np.all(theirs.order_parameters.B > 1e-3)


def test_the_steps_are_fine_enough():
    """Against the joint equations of y and Sigma at tight tolerance: K = M = 1, BP, trained v."""
    initial = OrderParameters(np.array([[0.5]]), np.array([[0.2]]), np.array([[0.4]]))
    teacher = Teacher(np.eye(1), np.ones((1, 1)))
    parameters = hyperparameters(lr=1.5, lr_v=0.5, noise=0.3, weight_decay=0.05)
    problem = prepare(
        initial, teacher, rule="bp", activation="erf", points=None, parameters=parameters
    )
    averaged = replace(problem, points=mirrored_sobol(3, POINTS, 1))

    def f(y):
        return problem.drift(y, parameters)

    @jax.jit
    def both(y):
        return f(y), jax.jacfwd(f)(y), diffusion(averaged, y, parameters)

    def joint(t, z):
        with jax.enable_x64(True):
            velocity, J, D = map(np.asarray, both(z[:3]))
        Sigma = z[3:].reshape(3, 3)
        return np.concatenate([velocity, (J @ Sigma + Sigma @ J.T + D).ravel()])

    times = np.array([0.1, 1.0, 10.0, 200.0])
    start = np.concatenate([problem.pack(initial), np.zeros(9)])
    exact = solve_ivp(joint, (0, 200), start, method="LSODA", t_eval=times, rtol=1e-6, atol=1e-8)
    ours = solve(
        initial, teacher, rule="bp", lr=1.5, lr_v=0.5, noise=0.3, weight_decay=0.05, times=times,
        fluctuations=True,
    )  # fmt: skip
    np.testing.assert_allclose(
        ours.fluctuations.covariance, exact.y[3:].T.reshape(-1, 3, 3), rtol=1e-3, atol=1e-6
    )
    final = ours.fluctuations.covariance[-1]
    assert np.all(np.linalg.eigvalsh(final) >= 0)


@pytest.mark.parametrize("h", [1e-3, 0.7, 30.0])
def test_propagation_is_that_of_an_ornstein_uhlenbeck_process(h):
    J, D = np.diag([-1.0, -3.0, 0.1]), np.array([[2.0, 0.5, 0], [0.5, 1.0, 0.2], [0, 0.2, 0.3]])
    flow, kicks = propagate(J, D, h)
    rates = J.diagonal()
    sums = rates[:, None] + rates
    np.testing.assert_allclose(flow, np.diag(np.exp(rates * h)), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(kicks, D * np.expm1(sums * h) / sums, rtol=1e-9, atol=1e-14)


def test_roots_have_derivatives_where_eigenvalues_coincide():
    C, dC = np.eye(3), np.array([[0.3, 0.1, 0], [0.1, -0.2, 0.4], [0, 0.4, 0.1]])
    with jax.enable_x64(True):
        (root, inverse), (droot, dinverse) = jax.jvp(roots, (C,), (dC,))
        up, down = (roots(C + h * dC) for h in (1e-5, -1e-5))
        root, inverse, droot, dinverse, *shifted = map(
            np.asarray, (root, inverse, droot, dinverse, *up, *down)
        )
    np.testing.assert_allclose(root @ inverse, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(droot, (shifted[0] - shifted[2]) / 2e-5, atol=1e-9)
    np.testing.assert_allclose(dinverse, (shifted[1] - shifted[3]) / 2e-5, atol=1e-9)


def test_the_start_is_known_and_what_diverges_is_nan():
    known = {"rule": "bp", "lr": 0.5, "noise": 0.1, "times": [0.0]}
    start = solve(START, COMMITTEE, fluctuations=True, **known)
    assert start.fluctuations.std(100).tolist() == [0.0]
    lost = solve(
        START, COMMITTEE, rule="bp", lr=50.0, lr_v=0, activation="linear", times=[1e-3, 50.0],
        fluctuations=True,
    )  # fmt: skip
    assert lost.status == "diverged"
    assert np.isfinite(lost.fluctuations.std(100)).tolist() == [True, False]
    assert solve(START, COMMITTEE, **known).fluctuations is None


def test_what_F_does_beyond_the_units_has_to_be_given():
    state, teacher = random_problem(2, 2, 1)
    arguments = {"rule": "afa", "lr": 0.5, "times": [1.0]}
    assert solve(state, teacher._replace(P=None), **arguments).status == "ok"
    with pytest.raises(ValueError, match="`P` must be an array of shape"):
        solve(state, teacher._replace(P=None), fluctuations=True, **arguments)


def test_rounding_leaves_no_negative_variance():
    """Linear units at a large rate converge, and what is left of the variance is rounding."""
    curve = solve(
        START, COMMITTEE, rule="bp", lr=5.0, activation="linear", times=[1.0, 20.0, 50.0],
        fluctuations=True,
    )  # fmt: skip
    assert curve.status == "ok"
    assert np.all(curve.fluctuations.std(100) >= 0)


@pytest.mark.parametrize("N", [0, -5, np.nan, "a", [100, -1]])
def test_a_number_of_inputs_is_positive(N):
    known = {"rule": "bp", "lr": 0.5, "noise": 0.1, "times": [0.0]}
    start = solve(START, COMMITTEE, fluctuations=True, **known)
    with pytest.raises(ValueError, match="`N` must hold finite numbers > 0"):
        start.fluctuations.std(N)


def test_what_is_not_smooth_is_refused():
    state, teacher = random_problem(1, 1, 1)
    arguments = {"rule": "bp", "lr": 0.5, "times": [0.1], "points": 2**8}
    with pytest.raises(ValueError, match=r"`fluctuations` must be False for .* kinks"):
        solve(state, teacher, fluctuations=True, activation="relu", **arguments)
    smooth = solve(state, teacher, fluctuations=True, activation="tanh", **arguments)
    assert smooth.fluctuations.std(100) > 0
    assert smooth.fluctuations.bias is None
