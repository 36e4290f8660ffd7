"""What the packages return they also accept: late, decayed, converged and measured states."""

import numpy as np
import pytest

from odes import OrderParameters, Teacher, solve, update_angle
from odes.order_parameters import state_of
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


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("rule", CLOSED_RULES)
def test_late_states_are_initial_states(rule, end):
    factored = "F2" in RULES[rule].needs
    state, teacher = (factored_problem if factored else random_problem)(2, 2, 1, seed=3)
    with_F = teacher if "S" in RULES[rule].needs and not factored else Teacher(*teacher[:2])
    late = solve(state, teacher, rule=rule, lr=0.3, times=[100.0, 300.0, 1000.0], **ENDS[end])
    assert late.status == "ok"
    for index in range(3):
        last = at(late.order_parameters, index)
        again = solve(last, teacher, rule=rule, lr=0.3, times=[0.0])
        assert np.isfinite(again.generalization_error)
        assert np.shape(update_angle(last, teacher, rule=rule)) == ()
        measured, _ = network_with_overlaps(last, with_F, N=50).overlaps("bp")
        np.testing.assert_allclose(measured.Q, last.Q, atol=1e-7)
        np.testing.assert_allclose(measured.R, last.R, atol=1e-7)


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
