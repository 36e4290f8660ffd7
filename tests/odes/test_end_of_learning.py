"""Learning to its end, where a noiseless student is its teacher, and over any time at all."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from figures import plot_overlay
from odes import OrderParameters, PiecewiseConstant, Teacher, drift, hyperparameters, solve
from odes.common.order_parameters import state_of
from odes.rules import RULES
from odes.solvers.trajectory import restore_positivity
from tests.conftest import CLOSED_RULES

LAST = 1e5
ROUNDING = 1e-12


def from_half(units):
    """As many students as teachers, one output: weights of 1/2, nearly orthogonal, and feedback."""
    rng = np.random.default_rng(0)
    W, W_star = rng.normal(size=(2, units, 200))
    W_star = np.sqrt(200) * np.linalg.qr(W_star.T)[0].T
    W = W / 2
    ones = np.ones(units)
    v, B = rng.normal(size=(2, units))
    P1 = np.eye(units)
    factored = {"B1": W @ W_star.T / 200, "S1": np.eye(units), "P1": P1, "F2": ones[:, None]}
    Q, R = W @ W.T / 200, W @ W_star.T / 200
    return OrderParameters(Q, R, v, B), Teacher(np.eye(units), ones, ones), factored


def state_for(rule, units):
    """The state with what this rule needs of the feedback."""
    state, teacher, factored = from_half(units)
    if "F2" in RULES[rule].needs:
        state = state_of({**state._asdict(), "B": None, **factored})
    return state, teacher


@pytest.mark.parametrize(("rule", "units", "lr"), [(rule, 2, 1.0) for rule in CLOSED_RULES]
                         + [("bp", 3, 0.1), ("bp", 3, 1.0), ("fa", 3, 0.1)])  # fmt: skip
def test_a_noiseless_student_is_followed_to_its_teacher(rule, units, lr):
    state, teacher = state_for(rule, units)
    times = np.concatenate([[0.0], np.geomspace(0.1, LAST, 40)])
    solution = solve(state, teacher, rule=rule, lr=lr, times=times)
    assert solution.status == "ok"
    assert np.min(solution.generalization_error) > -ROUNDING
    if rule == "bp":
        assert abs(solution.generalization_error[-1]) < ROUNDING
        order = solution.order_parameters.R[-1].round(6)
        assert np.all(np.sum(np.abs(order) > 0.5, axis=0) == 1)  # one student unit a teacher unit


@pytest.mark.computes
@pytest.mark.parametrize(("units", "lr"), [(2, 0.3), (3, 1.0)])
def test_a_student_whose_rule_is_averaged_over_few_points_gets_there_too(units, lr):
    """What 512 points average wrongly is even in what the student has beyond its teacher."""
    state, teacher = state_for("pepita", units)
    times = np.geomspace(0.1, LAST, 40)
    solution = solve(state, teacher, rule="pepita", lr=lr, times=times, points=512)
    assert solution.status == "ok"
    assert np.min(solution.generalization_error) > -ROUNDING
    assert solution.generalization_error[-1] < ROUNDING


@pytest.mark.parametrize("rule", CLOSED_RULES)
def test_linear_units_never_have_a_negative_error(rule):
    """Their error is a small difference of large order parameters, to which errors of steps add."""
    state, teacher = state_for(rule, 3)
    times = np.concatenate([[0.0], np.geomspace(0.1, LAST, 40)])
    solution = solve(state, teacher, rule=rule, lr=0.3, activation="linear", times=times)
    assert solution.status == "ok"
    assert np.min(solution.generalization_error) > -ROUNDING
    assert solution.generalization_error[-1] < ROUNDING


def test_states_off_the_covariances_by_more_than_steps_miss_stay_as_they_are():
    """What has R^2 > Q T by 5e-8 is put right, and by 1e-6 is not, at the default tolerances."""
    for excess, mended in ((1e-9, True), (5e-8, True), (1e-6, False)):
        T, v = np.array([[4.0]]), np.ones((1, 1))
        states = OrderParameters(np.full((2, 1, 1), 1 - excess), np.full((2, 1, 1), 2.0), v + T)
        Q = restore_positivity(states, Teacher(T, v), 1e-8, 1e-10).Q
        assert_allclose(Q[:, 0, 0], 1.0 if mended else 1 - excess, rtol=1e-13)


def test_a_jump_in_late_learning_is_followed():
    state, teacher = state_for("bp", 2)
    annealed = PiecewiseConstant([5e3], [1.0, 0.1])
    solution = solve(state, teacher, rule="bp", lr=annealed, times=[1e4, LAST])
    assert solution.status == "ok"
    assert np.max(np.abs(solution.generalization_error)) < ROUNDING


def test_fluctuations_die_out_where_learning_ends():
    state, teacher = state_for("bp", 1)
    solution = solve(state, teacher, rule="bp", lr=1.0, times=[10.0, 1e4, LAST], fluctuations=True)
    variance = solution.fluctuations.generalization_error
    assert solution.status == "ok"
    assert np.all(np.isfinite(variance))
    assert variance[0] > 1e-6
    assert np.max(variance[1:]) < ROUNDING


@pytest.mark.parametrize("last", [5e-324, 1e-291, 1e-150, 1e-101, 1e-30])
def test_the_shortest_times_see_the_first_order(last):
    """In overlaps that start at zero, so that nothing hides it."""
    state, teacher = state_for("fa", 2)
    start = state._replace(R=0 * state.R, v=state.v[:, None], B=state.B[:, None])
    fixed = Teacher(teacher.T, teacher.v_star[:, None])
    velocity = drift(start, fixed, hyperparameters(lr=1.0), rule=RULES["fa"])
    solution = solve(start, fixed, rule="fa", lr=1.0, times=[0.0, last])
    assert solution.status == "ok"
    assert_allclose(solution.order_parameters.R[-1], last * velocity.R, rtol=1e-9)
    assert_allclose(solution.order_parameters.Q[-1], start.Q, rtol=1e-12)


def test_the_longest_times_see_the_end():
    state, teacher = state_for("bp", 2)
    solution = solve(state, teacher, rule="bp", lr=1.0, noise=0.1, times=[1e4, 1e287])
    assert solution.status == "ok"
    assert_allclose(*solution.generalization_error, rtol=1e-6)


def test_rounding_does_not_stretch_a_logarithmic_axis():
    state, teacher = state_for("bp", 2)
    solution = solve(state, teacher, rule="bp", lr=1.0, times=np.geomspace(1, LAST, 60))
    assert np.min(np.abs(solution.generalization_error)) < 1e-15
    ax = plot_overlay(solution, rule="bp")
    drawn = ax.lines[0].get_ydata()
    assert np.nanmin(drawn) > 1e-14
    assert np.sum(np.isfinite(drawn)) > 20
    assert ax.get_ylim()[0] > 1e-16
    plt.close(ax.figure)
