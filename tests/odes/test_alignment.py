"""Alignment of feedback and of updates: plain vectors, brute-force averages, networks."""

import numpy as np
import pytest
from scipy.special import erf

from odes import (
    OrderParameters,
    Teacher,
    feedback_angle,
    feedback_cosine,
    gauss_hermite,
    solve,
    update_angle,
    update_cosine,
)
from simulations import sample_network, simulate
from tests.conftest import gaussian_grid, random_problem


def test_angles_of_feedback_are_those_of_vectors(problem):
    state, _ = problem
    B, v = state.B.ravel(), state.v.ravel()
    cosine = B @ v / np.linalg.norm(B) / np.linalg.norm(v)
    assert abs(feedback_cosine(state) - cosine) < 1e-14
    assert abs(feedback_angle(state) - np.degrees(np.arccos(cosine))) < 1e-12
    columns = [
        b @ r / np.linalg.norm(b) / np.linalg.norm(r)
        for b, r in zip(state.B.T, state.v.T, strict=True)
    ]
    np.testing.assert_allclose(feedback_cosine(state, per_output=True), columns, rtol=1e-14)
    np.testing.assert_allclose(
        feedback_angle(state, per_output=True), np.degrees(np.arccos(columns)), rtol=1e-12
    )


def test_small_angles_are_good_to_1e_6_degrees_and_zero_vectors_have_none():
    for angle in (0.0, 1e-6, 1e-3):
        v = np.array([[np.cos(angle)], [np.sin(angle)]])
        state = OrderParameters(None, None, v, np.array([[2.0], [0.0]]))
        assert abs(feedback_angle(state) - np.degrees(angle)) < 1.2e-6
    zero = state._replace(B=0 * state.B)
    assert np.isnan(feedback_angle(zero))
    assert np.isnan(feedback_cosine(zero))


def brute_force(state, teacher, delta_of, noise):
    """Cosine of the updates from their values on a grid of fields and, for one output, of noise."""
    C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
    O = state.v.shape[1]
    joint = np.block([[C, np.zeros((len(C), O))], [np.zeros((O, len(C))), np.eye(O)]])
    grid, weights = gaussian_grid(joint, 14)
    K, n = len(state.Q), len(C)
    g = erf(grid[:n] / np.sqrt(2))
    slope = np.sqrt(2 / np.pi) * np.exp(-(grid[:K] ** 2) / 2)
    e = state.v.T @ g[:K] - teacher.v_star.T @ g[K:] - noise * grid[n:]
    ours, exact = delta_of(slope, e, grid[:K]), slope * (state.v @ e)
    overlap, norm, other = (
        np.sum(weights * a * b) for a, b in ((ours, exact), (ours, ours), (exact, exact))
    )
    return overlap / np.sqrt(norm * other)


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_the_closed_cosine_of_updates_is_the_average(noise):
    state, teacher = random_problem(2, 1, 2, seed=4)
    exact = brute_force(state, teacher, lambda slope, e, _: slope * (state.B @ e), noise)
    for rule in ("fa", "afa"):
        assert abs(update_cosine(state, teacher, rule=rule, noise=noise) - exact) < 1e-5
    angle = update_angle(state, teacher, rule="fa", noise=noise)
    assert abs(np.cos(np.radians(angle)) - exact) < 1e-5
    alone = update_cosine(state, teacher, rule="fa", noise=noise, per_output=True)
    for o in range(2):
        part = OrderParameters(state.Q, state.R, state.v[:, [o]], state.B[:, [o]])
        fixed = Teacher(teacher.T, teacher.v_star[:, [o]])
        expected = brute_force(part, fixed, lambda slope, e, _, B=part.B: slope * (B @ e), noise)
        assert abs(alone[o] - expected) < 1e-5


def test_rules_without_closed_form_are_averaged_over_points():
    state, teacher = random_problem(1, 1, 1, seed=2, scale=0.5)

    def second_pass(slope, e, fields):
        return erf(fields / np.sqrt(2)) - erf((fields - state.B @ e) / np.sqrt(2))

    exact = brute_force(state, teacher, second_pass, 0.3)
    points = gauss_hermite(3, 14)
    ours = update_cosine(state, teacher, rule="pepita", noise=0.3, points=points)
    assert abs(ours - exact) < 1e-6
    closed = update_cosine(state, teacher, rule="afa", noise=0.3)
    assert abs(closed - update_cosine(state, teacher, rule="afa", noise=0.3, points=points)) < 1e-5
    assert abs(closed - exact) > 1e-4
    small = state._replace(B=1e-4 * state.B)
    first_order = update_cosine(small, teacher, rule="pepita", noise=0.3, points=points)
    assert abs(first_order - closed) < 1e-5


def test_backpropagation_is_aligned_with_itself_and_its_opposite_is_not(problem):
    state, teacher = problem
    assert update_angle(state, teacher, rule="bp") == pytest.approx(0, abs=1e-5)
    opposite = state._replace(B=-state.v)
    assert update_cosine(opposite, teacher, rule="fa") == pytest.approx(-1, abs=1e-14)


def test_what_is_learned_has_no_update_and_what_diverged_no_angle():
    learned = OrderParameters(np.eye(2), np.eye(2), np.ones(2), np.ones(2))
    teacher = Teacher(np.eye(2), np.ones(2))
    assert np.isnan(update_angle(learned, teacher, rule="fa"))
    for seed in range(4):  # what cancels leaves rounding
        _, fixed = random_problem(1, 3, 2, seed=seed)
        learned = OrderParameters(fixed.T, fixed.T, fixed.v_star, fixed.S)
        for per_output in (False, True):
            given = {"rule": "fa", "per_output": per_output}
            assert np.all(np.isnan(update_angle(learned, fixed, **given)))
            assert np.all(np.isnan(update_cosine(learned, fixed, **given)))
        given = {"rule": "pepita", "points": 2**6}
        assert np.isnan(update_angle(learned, fixed, **given))
        started = learned._replace(R=0.5 * fixed.T)
        assert np.isfinite(update_angle(started, fixed, **given))
    states = OrderParameters(*(np.stack([a, np.nan * a]) for a in random_problem(2, 2, 1)[0]))
    angles = update_angle(states, random_problem(2, 2, 1)[1], rule="fa")
    assert np.isfinite(angles[0])
    assert np.isnan(angles[1])


@pytest.mark.long
def test_updates_of_networks_are_as_aligned_as_theory_says():
    """Ten networks of FA, N = 1000: both angles on the trajectories of simulation and theory.

    And at the start the average over 4000 inputs of what the rule does to the weights: the two
    updates of one input, whose overlaps with each other are known to 5 standard errors.
    """
    network = sample_network(N=1000, K=2, M=2, O=2, v_star=np.diag([1.2, 0.6]), seed=3)
    initial, teacher = network.overlaps("fa")
    times = np.array([0.5, 2.0, 8.0])
    theory = solve(initial, teacher, rule="fa", lr=0.5, times=times)
    runs = simulate(network, rule="fa", lr=0.5, times=times, n_runs=10)
    for angle in (
        feedback_angle,
        lambda states: update_angle(states, teacher, rule="fa"),
    ):
        exact, measured = angle(theory.order_parameters), angle(runs.order_parameters)
        assert measured.shape == (10, 3)
        error = measured.std(axis=0, ddof=1) / np.sqrt(10)
        assert np.all(abs(measured.mean(axis=0) - exact) < 6 * error + 0.5)
    x = np.random.default_rng(0).normal(size=(4000, 1000))
    fields = x @ network.W.T / np.sqrt(1000)
    e = erf(fields / np.sqrt(2)) @ network.v
    e -= erf(x @ network.W_star.T / np.sqrt(2000)) @ network.v_star
    slope = np.exp(-(fields**2) / 2)
    ours, exact = slope * (e @ network.B.T), slope * (e @ network.v.T)
    length = np.sum(x * x, axis=1)[:, None]
    products = [length * a * b for a, b in ((ours, exact), (ours, ours), (exact, exact))]
    overlap, norm, other = (each.sum(axis=1) for each in products)
    cosine = overlap.mean() / np.sqrt(norm.mean() * other.mean())
    error = np.std(overlap / np.sqrt(norm.mean() * other.mean())) / np.sqrt(4000)
    assert abs(cosine - update_cosine(initial, teacher, rule="fa")) < 5 * error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "fa", "B": None}, r"`B` must be an array of shape \(K, O\)"),
        ({"rule": "hebb"}, "`rule` must be one of"),
        ({"rule": "fa", "noise": -1.0}, "`noise` must be a finite number >= 0"),
        ({"rule": "pepita", "per_output": True}, "`per_output` must be False"),
        ({"rule": "fa", "Q": -np.eye(2)}, "must be positive semidefinite"),
        ({"rule": "fa", "teacher": (1, 2)}, r"`teacher` must be Teacher\(...\)"),
    ],
)
def test_bad_arguments_are_named(problem, arguments, message):
    state, teacher = problem
    given = dict(arguments)
    state = state._replace(**{name: given.pop(name) for name in "QB" if name in given})
    with pytest.raises(ValueError, match=message):
        update_angle(state, given.pop("teacher", teacher), **given)


def test_feedback_may_be_one_for_all_states_and_single_outputs_plain():
    state, teacher = random_problem(2, 2, 1)
    states = state._replace(**{name: np.stack([getattr(state, name)] * 3) for name in "QRv"})
    for angle in (feedback_angle, lambda s: update_angle(s, teacher, rule="fa")):
        np.testing.assert_allclose(angle(states), [angle(state)] * 3)
    plain = state._replace(v=state.v[:, 0].tolist(), B=state.B[:, 0].tolist())
    assert feedback_angle(plain) == feedback_angle(state)
    assert feedback_cosine(plain) == feedback_cosine(state)


def test_a_rule_without_feedback_has_no_angle_of_feedback(problem):
    with pytest.raises(ValueError, match="`state` must have a B"):
        feedback_cosine(problem[0]._replace(B=None))
