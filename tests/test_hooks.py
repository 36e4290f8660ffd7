"""What a rule of one's own overrides counts on every path, also where closed forms are at hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from odes import RULES, flow, solve, solve_paths, sweep
from odes.rules import AFA
from simulations import RULES as ALGORITHMS
from simulations import sample_network, simulate, simulate_chain
from tests.conftest import gaussian_grid, random_problem

LR = 0.4
TIMES = np.array([0.0, 1.5])


class Saturated(AFA):
    """AFA whose output is read through a tanh, which learning does not know of."""

    def predict(self, fields, v, g):
        return jnp.tanh(g(fields) @ v)


SATURATED = ALGORITHMS["afa"]._replace(
    predict=lambda network, X, g: jnp.tanh(ALGORITHMS["afa"].predict(network, X, g))
)


@pytest.fixture(scope="module")
def learned():
    """A solution with K = M = 1, and its errors by a grid of fields."""
    state, teacher = random_problem(1, 1, 1, seed=2)
    solution = solve(state, teacher, rule=Saturated(), lr=LR, times=TIMES)
    Q, R, v, _ = solution.order_parameters
    erf = jax.scipy.special.erf
    expected = []
    for q, r, w in zip(Q, R, v, strict=True):
        C = np.block([[q, r], [r.T, teacher.T]])
        (field, star), weights = gaussian_grid(C, 60)
        with jax.enable_x64(True):
            h, label = (np.asarray(erf(each / np.sqrt(2))) for each in (field, star))
        difference = np.tanh(w[0, 0] * h) - teacher.v_star[0, 0] * label
        expected.append(weights @ difference**2 / 2)
    return state, teacher, solution, np.array(expected)


def test_solve_holds_the_prediction_of_a_rule_against_the_teacher(learned):
    state, teacher, solution, expected = learned
    plain = solve(state, teacher, rule="afa", lr=LR, times=TIMES)
    assert_allclose(solution.generalization_error, expected, rtol=1e-5)
    assert np.all(abs(plain.generalization_error / expected - 1) > 0.02)
    assert_allclose(solution.order_parameters.R, plain.order_parameters.R, atol=1e-5)


def test_flow_sweep_and_paths_do_so_too(learned):
    state, teacher, _, expected = learned
    with jax.enable_x64(True):
        curve = flow(state, teacher, rule=Saturated(), lr=LR, times=TIMES, points=None)
    assert_allclose(curve.generalization_error, expected, rtol=1e-5)
    swept = sweep(state, teacher, rule=Saturated(), lr=LR, times=TIMES)
    assert_allclose(swept.generalization_error, expected, rtol=1e-5)
    paths = solve_paths(
        state, teacher._replace(P=0 * teacher.P), rule=Saturated(), lr=LR, n_paths=1, times=TIMES,
        points=2**13,
    )  # fmt: skip
    assert_allclose(paths.generalization_error[0], expected, rtol=0.02)


@pytest.mark.parametrize("train", [simulate, simulate_chain])
def test_networks_do_so_too(train):
    """Half a squared error of 20,000 inputs, within five standard errors: once in 10^6 seeds."""
    network = sample_network(N=60, K=1, M=1, seed=1)
    errors = []
    for rule in (RULES["afa"], Saturated()):
        state, teacher = network.overlaps("afa")
        errors.append(solve(state, teacher, rule=rule, lr=LR, times=[0.0]).generalization_error[0])
    measured = train(
        network, rule=SATURATED, lr=LR, times=[0.0], n_test=20_000, progress=False
    ).generalization_error[0, 0]
    bound = 5 * 1.5 * errors[1] / np.sqrt(20_000)
    assert abs(measured - errors[1]) < bound < abs(errors[0] - errors[1]) / 2
