"""The linear-noise approximation against the chain, and its numerics against an ODE solver."""

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from odes import (
    OrderParameters,
    PiecewiseConstant,
    Teacher,
    drift,
    generalization_error,
    hyperparameters,
    sobol,
    solve,
)
from odes.averages import Erf
from odes.fluctuations import POINTS, diffusion, propagate
from odes.local_fields import roots
from odes.rules import RULES
from odes.solve import packing
from simulations import network_with_overlaps, sample_network, simulate_chain
from tests.conftest import random_problem

COMMITTEE = Teacher(np.eye(2), np.ones((2, 1)))
START = OrderParameters(0.25 * np.eye(2), np.array([[0.2, 0.19], [0.19, 0.2]]), np.ones((2, 1)))


def at_the_plateau():
    """Where START is after the transient: the units overlap alike and the error stands still."""
    there = solve(START, COMMITTEE, rule="bp", lr=1.0, lr_v=0, times=[15.0, 20.0])
    before, after = there.generalization_error
    assert after > 0.99 * before
    return OrderParameters(*(a if a is None else a[-1] for a in there.order_parameters))


@pytest.mark.parametrize(
    ("start", "N", "times", "lr"),
    [
        (START, 1000, [1, 4, 10], PiecewiseConstant([2.0], [1.0, 0.3])),
        (START, 100_000, [0.5], 1.0),
        (at_the_plateau(), 1000, [1, 4, 10], 1.0),
        (at_the_plateau(), 10_000, [1, 3], 1.0),
    ],
    ids=["drop-1000", "transient-100000", "plateau-1000", "plateau-10000"],
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


@pytest.mark.parametrize("rule", ["afa", "pepita-hebbian"])
def test_covariances_of_rules_that_feed_back(rule):
    """Whole covariances, B among them, over 1500 chains of N = 2000, at five standard errors.

    Those are sqrt((S_aa S_bb + S_ab^2) / 1500); 3 per cent are left for 1/N and the points of D.
    90 distinct entries: false alarms below 1e-4.
    """
    state, teacher = random_problem(2, 2, 1, seed=3)
    state = state._replace(B=0.5 * state.B)
    teacher = teacher._replace(S=0.5 * teacher.S, P=0.25 * teacher.P)
    training = {"rule": rule, "lr": 0.6, "lr_v": 0.4, "weight_decay": 0.1, "times": [3.0]}
    theory = solve(state, teacher, fluctuations=True, points=2**13, **training)
    runs = simulate_chain(
        network_with_overlaps(state, teacher, N=2000), n_runs=1500, n_test=1, **training
    )
    pack, _ = packing(state)
    last = [OrderParameters(*(a[run, 0] for a in runs.order_parameters)) for run in range(1500)]
    measured = 2000 * np.cov(np.array([pack(each) for each in last]).T)
    (Sigma,) = theory.fluctuations.covariance
    spread = np.sqrt(np.outer(Sigma.diagonal(), Sigma.diagonal()))
    error = np.sqrt((spread**2 + Sigma**2) / 1500)
    assert np.all(np.abs(measured - Sigma) < 5 * error + 0.03 * spread)


def test_the_mean_of_small_networks_is_off_by_the_predicted_bias():
    """N = 100, 10,000 chains; five standard errors, and 15 per cent for 1/N^2.

    AFA with noise and decay at four times: false alarms 3e-6.  No bias at all would fail.
    """
    state, teacher = sample_network(
        N=1000, K=2, M=2, v_star=[1.2, 0.6], student_scale=1.0
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


def test_the_steps_are_fine_enough():
    """Against the joint equations of y and Sigma at tight tolerance: K = M = 1, BP, trained v."""
    initial = OrderParameters(np.array([[0.5]]), np.array([[0.2]]), np.array([[0.4]]))
    teacher = Teacher(np.eye(1), np.ones((1, 1)))
    parameters = hyperparameters(lr=1.5, lr_v=0.5, noise=0.3, weight_decay=0.05)
    pack, unpack = packing(initial)
    shared = {"rule": RULES["bp"], "activation": Erf}

    def f(y):
        return pack(drift(unpack(y), teacher, parameters, **shared))

    @jax.jit
    def both(y):
        D = diffusion(unpack(y), teacher, parameters, sobol(3, POINTS), **shared)
        return f(y), jax.jacfwd(f)(y), D

    def joint(t, z):
        with jax.enable_x64(True):
            velocity, J, D = map(np.asarray, both(z[:3]))
        Sigma = z[3:].reshape(3, 3)
        return np.concatenate([velocity, (J @ Sigma + Sigma @ J.T + D).ravel()])

    times = np.array([0.1, 1.0, 10.0, 200.0])
    start = np.concatenate([pack(initial), np.zeros(9)])
    exact = solve_ivp(joint, (0, 200), start, method="LSODA", t_eval=times, rtol=1e-8, atol=1e-10)
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
    state, teacher = random_problem(1, 1, 1)
    start = solve(state, teacher, rule="bp", lr=0.5, times=[0.0], fluctuations=True)
    assert start.fluctuations.std(100).tolist() == [0.0]
    lost = solve(
        state._replace(v=np.ones((1, 1))), teacher, rule="bp", lr=5.0, lr_v=0, activation="linear",
        times=[1e-3, 50.0], fluctuations=True,
    )  # fmt: skip
    assert lost.status == "diverged"
    assert np.isfinite(lost.fluctuations.std(100)).tolist() == [True, False]
    assert solve(state, teacher, rule="bp", lr=0.5, times=[1.0]).fluctuations is None


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
    state, teacher = random_problem(1, 1, 1)
    start = solve(state, teacher, rule="bp", lr=0.5, times=[0.0], fluctuations=True)
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
