"""What the packages return they also accept: late, decayed, converged and measured states."""

import numpy as np
import pytest

from odes import (
    OrderParameters,
    Teacher,
    feedback_angle,
    fixed_point,
    generalization_error,
    solve,
    solve_paths,
    sweep,
    update_angle,
)
from odes.common.order_parameters import state_of
from odes.rules import RULES
from simulations import network_with_overlaps, sample_network, simulate, simulate_chain
from tests.conftest import CLOSED_RULES, factored_problem, random_problem

ENDS = {
    "decayed": {"weight_decay": 0.5},
    "decayed to nothing": {"weight_decay": 2.0},
    "converged": {},
    "noise floor": {"noise": 0.1, "weight_decay": 0.02},
}


def at(states, index):
    return state_of({n: None if a is None else a[index] for n, a in states._asdict().items()})


def initial_for(rule):
    return (factored_problem if "F2" in RULES[rule].needs else random_problem)(2, 2, 1, seed=3)


def goes_on(rule, state, teacher):
    """The state is taken by what takes states; and by networks, whose overlaps it has then."""
    assert np.isfinite(solve(state, teacher, rule=rule, lr=0.3, times=[0.0]).generalization_error)
    assert np.isfinite(generalization_error(state, teacher))
    assert np.shape(update_angle(state, teacher, rule=rule)) == ()
    assert rule == "bp" or np.shape(feedback_angle(state)) == ()
    factored = "F2" in RULES[rule].needs
    with_F = teacher if "S" in RULES[rule].needs and not factored else Teacher(*teacher[:2])
    measured, _ = network_with_overlaps(state, with_F, N=50).overlaps("bp")
    np.testing.assert_allclose(measured.Q, state.Q, atol=1e-7)
    np.testing.assert_allclose(measured.R, state.R, atol=1e-7)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("rule", CLOSED_RULES)
def test_late_states_are_initial_states(rule, end):
    state, teacher = initial_for(rule)
    late = solve(state, teacher, rule=rule, lr=0.3, times=[100.0, 300.0, 1000.0], **ENDS[end])
    assert late.status == "ok"
    for index in range(3):
        goes_on(rule, at(late.order_parameters, index), teacher)


@pytest.mark.parametrize("end", ENDS)
def test_late_states_of_averaged_rules_are_initial_states(end):
    state, teacher = initial_for("pepita")
    training = {"rule": "pepita", "lr": 0.3, **ENDS[end]}
    late = solve(state, teacher, **training, times=[300.0], points=128)
    goes_on("pepita", at(late.order_parameters, 0), teacher)


@pytest.mark.parametrize("rule", ["bp", "fa", "kolen-pollack", "afa-mirror"])
def test_fixed_points_are_initial_states(rule):
    state, teacher = initial_for(rule)
    training = {"rule": rule, "lr": 0.3, "noise": 0.1, "weight_decay": 0.02}
    guess = at(solve(state, teacher, **training, times=[1000.0]).order_parameters, 0)
    found = fixed_point(guess, teacher, **training)
    assert found.physical
    goes_on(rule, found.order_parameters, teacher)
    again = fixed_point(found.order_parameters, teacher, **training)
    np.testing.assert_allclose(again.generalization_error, found.generalization_error, rtol=1e-6)


def test_ends_of_sweeps_and_of_paths_are_initial_states():
    state, teacher = initial_for("afa")
    training = {"rule": "afa", "times": [100.0, 1000.0]}
    symbols = ("Q", "R", "v", "B")
    swept = sweep(
        state, teacher, **training, lr=[0.3], weight_decay=[0.0, 2.0], order_parameters=symbols
    )
    for point in np.ndindex(1, 2, 2):
        last = state_of({name: swept[name].values[point] for name in symbols})
        goes_on("afa", last, teacher)
    for decay in (0.0, 2.0):
        paths = solve_paths(
            state, teacher, rule="afa", lr=0.3, weight_decay=decay, times=[20.0], n_paths=2, dt=0.1
        )
        for index in range(2):
            last = at(paths.order_parameters, (index, 0))
            goes_on("afa", last, teacher)
            more = solve_paths(last, teacher, rule="afa", lr=0.3, times=[0.1], n_paths=2, dt=0.1)
            assert np.all(more.status == "ok")


def test_states_of_trained_networks_are_initial_states():
    network = sample_network(N=300, K=2, M=2, student_scale=0.5, seed=0)
    _, teacher = network.overlaps("afa")
    training = {"rule": "afa", "lr": 0.5, "weight_decay": 1.0, "times": [5.0, 40.0], "n_runs": 2}
    single = simulate(network, dtype="float32", **training)
    chain = simulate_chain(network, progress=False, **training)
    for trajectory in (single, chain):
        for index in np.ndindex(2, 2):
            state = at(trajectory.order_parameters, index)
            assert solve(state, teacher, rule="afa", lr=0.5, times=[1.0]).status == "ok"


@pytest.mark.parametrize("size", [1.0, 100.0])
@pytest.mark.parametrize("others", [1, 3])
def test_what_is_not_a_covariance_is_refused(size, others):
    """R^2 > Q T by 1e-5, of one unit among others of its size."""
    Q, T = size * np.eye(others), size * np.eye(1)
    R = np.zeros((others, 1))
    v, v_star = np.ones((others, 1)), np.ones((1, 1))
    R[0] = size * np.sqrt(1 + 1e-5)
    with pytest.raises(ValueError, match="positive semidefinite"):
        solve(OrderParameters(Q, R, v), Teacher(T, v_star), rule="bp", lr=0.1, times=[1.0])
    R[0] = size
    state = OrderParameters(Q, R, v)
    assert solve(state, Teacher(T, v_star), rule="bp", lr=0.1, times=[0.0]).status == "ok"


@pytest.mark.parametrize("variance", [0.0, -1e-27])
def test_a_unit_without_length_overlaps_with_nothing(variance):
    Q, T = np.array([[variance]]), np.eye(1)
    v = np.ones((1, 1))
    with pytest.raises(ValueError, match="positive semidefinite"):
        solve(OrderParameters(Q, np.full((1, 1), 1e-2), v), Teacher(T, v), rule="bp", lr=0.1,
              times=[1.0])  # fmt: skip
    state = OrderParameters(Q, np.zeros((1, 1)), v)
    assert solve(state, Teacher(T, v), rule="bp", lr=0.1, times=[1.0]).status == "ok"
