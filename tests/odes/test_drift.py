"""The drift against brute-force averages, its exact reductions, and NumPy against JAX."""

import jax
import numpy as np
import pytest
from scipy.special import erf

from odes import RULES, OrderParameters, drift, generalization_error, hyperparameters
from odes.averages.activations import ACTIVATIONS
from odes.common.order_parameters import FactoredOrderParameters
from tests.conftest import (
    BASIC_RULES,
    CLOSED_RULES,
    factored_problem,
    gaussian_grid,
    needed,
    random_problem,
)

PARAMETERS = hyperparameters(lr=0.7, lr_v=0.3, noise=0.4, weight_decay=0.05, weight_decay_v=0.02)


def averaged_drift(state, teacher, parameters, rule, points=24):
    """One sample's increments of the order parameters, averaged by quadrature over every field.

    It is the update of the weights with delta_k = g'_k (B e)_k and nothing else: no closed form, no
    integration by parts.  Fields: students, teachers, then rho_o = F_o . x for each output, or
    those of the columns of F1.  Mirrors and decoders have the parameters of the default.
    """
    lr, lr_v, noise, decay, decay_v, *_ = parameters
    K, M = state.R.shape
    O = state.v.shape[1]
    B, S, P = state.B, teacher.S, teacher.P
    if rule == "afa-mirror":
        B, S, P = state.B1, state.S1, state.P1
    C = np.block([[state.Q, state.R, B], [state.R.T, teacher.T, S], [B.T, S.T, P]])
    fields, weight = gaussian_grid(C, points)
    labels, label_weight = gaussian_grid(noise**2 * np.eye(O), 3)
    g = erf(fields[: K + M] / np.sqrt(2))
    slope = np.sqrt(2 / np.pi) * np.exp(-(fields[:K] ** 2) / 2)
    B = {
        "bp": state.v,
        "sign-symmetry": np.sign(state.v),
        "sign-random": np.sign(state.v) * np.abs(state.B),
    }.get(rule, state.B)
    dQ, dy, dv = 0, 0, 0
    y = state.v.T @ g[:K]
    decoded = 0.1 * ((g[:K] - B @ y) * weight) @ y.T
    for zeta, chance in zip(labels.T, label_weight, strict=True):
        e = y - teacher.v_star.T @ g[K:] - zeta[:, None]
        delta = slope * (B @ e)
        dy = dy - lr * chance * (delta * weight) @ fields.T
        dQ = dQ + lr**2 * chance * (delta * weight) @ delta.T
        dv = dv - lr_v * chance * (g[:K] * weight) @ e.T
    dy = dy - decay * C[:K]
    dQ = dQ + dy[:, :K] + dy[:, :K].T
    Q, R, v, B, B1, S1, P1, F2 = state
    along = dy[:, K + M :]
    first = dQ, dy[:, K : K + M], dv - decay_v * v
    if rule == "afa-mirror":
        return FactoredOrderParameters(
            *first,
            B=None,
            B1=along + 0.1 * Q - 0.1 * B1,
            S1=0.1 * R.T - 0.1 * S1,
            P1=0.1 * (B1 + B1.T) - 0.2 * P1 + 0.01 * Q,
            F2=0.1 * v - 0.1 * F2,
        )
    moved = {
        "bp": None,
        "sign-symmetry": None,
        "afa": along,
        "kolen-pollack": dv - decay_v * B,
        "dtp": decoded,
        "fa-mirror": 0.1 * v - 0.1 * B,
    }
    return OrderParameters(*first, moved.get(rule, 0 * B))


def assert_close(actual, expected, atol):
    for name, a, b in zip(expected._fields, actual, expected, strict=True):
        if b is None:
            assert a is None, name
        else:
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name, strict=True)


@pytest.mark.parametrize(
    ("rule", "K", "M", "O"),
    [
        *((rule, 1, 1, 2) for rule in CLOSED_RULES),
        *((rule, 2, 1, 1) for rule in BASIC_RULES),
        *((rule, 1, 2, 1) for rule in BASIC_RULES),
    ],
)
def test_drift_is_the_average_increment(rule, K, M, O):
    state, teacher = factored_problem(K, M, O, seed=K + 2 * M)
    exact = averaged_drift(state, teacher, PARAMETERS, rule, points=30)
    ours = drift(needed(state, rule), teacher, PARAMETERS, rule=RULES[rule])
    assert_close(ours, exact, atol=1e-9)


def test_linear_drift_is_that_of_linear_algebra(problem):
    """g(z) = z: delta = B e and e = U^T fields, so that every average is a matrix product."""
    state, teacher = problem
    lr, lr_v, noise, decay, decay_v, *_ = PARAMETERS
    K = len(state.Q)
    C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
    U = np.concatenate([state.v, -teacher.v_star])
    c = state.B @ U.T
    first = -lr * c @ C - decay * C[:K]
    towards_F = -lr * c @ np.concatenate([state.B, teacher.S]) - decay * state.B
    delta_delta = c @ C @ c.T + noise**2 * state.B @ state.B.T
    exact = OrderParameters(
        first[:, :K] + first[:, :K].T + lr**2 * delta_delta,
        first[:, K:],
        -lr_v * C[:K] @ U - decay_v * state.v,
        towards_F,
    )
    linear = drift(state, teacher, PARAMETERS, rule=RULES["afa"], activation=ACTIVATIONS["linear"])
    assert_close(linear, exact, atol=1e-14)


def test_generalization_error_is_the_mean_squared_error():
    state, teacher = random_problem(2, 2, 2, seed=5)
    C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
    fields, weight = gaussian_grid(C, 30)
    g = erf(fields / np.sqrt(2))
    e = state.v.T @ g[:2] - teacher.v_star.T @ g[2:]
    assert abs(generalization_error(state, teacher) - np.sum(e**2 @ weight) / 2) < 1e-12


def test_generalization_error_keeps_leading_axes(problem):
    state, teacher = problem
    stacked = OrderParameters(*(np.stack([[x, 2 * x, x]] * 4) for x in state))
    errors = generalization_error(stacked, teacher)
    assert errors.shape == (4, 3)
    np.testing.assert_allclose(errors[:, 0], generalization_error(state, teacher), rtol=1e-14)


def test_fa_with_B_equal_to_v_is_bp(problem):
    state, teacher = problem
    state = state._replace(B=state.v)
    fa = drift(state, teacher, PARAMETERS, rule=RULES["fa"])
    bp = drift(state._replace(B=None), teacher, PARAMETERS, rule=RULES["bp"])
    assert_close(fa._replace(B=None), bp, atol=0)


@pytest.mark.parametrize("rule", [*BASIC_RULES, "sign-symmetry", "sign-random", "kolen-pollack"])
def test_a_student_equal_to_its_teacher_is_stationary(rule):
    _, teacher = random_problem(1, 3, 2)
    state = OrderParameters(teacher.T, teacher.T, teacher.v_star, teacher.S)
    state = needed(state, rule)
    change = drift(state, teacher, hyperparameters(lr=0.9), rule=RULES[rule])
    for array in change:
        assert array is None or np.max(np.abs(array)) < 1e-14
    assert abs(generalization_error(state, teacher)) < 1e-14


def test_magnitudes_of_sign_symmetry_have_no_sign():
    """The fixed random numbers count by their size alone, which B is at the start or not."""
    state, teacher = random_problem(3, 2, 2, seed=3)
    assert np.any(state.B < 0)
    assert np.any(state.v < 0)
    rule = RULES["sign-random"]
    np.testing.assert_array_equal(np.abs(rule.feedback(state)), np.abs(state.B))
    np.testing.assert_array_equal(np.sign(rule.feedback(state)), np.sign(state.v))
    flipped = state._replace(B=-state.B)
    ours, same = (drift(each, teacher, PARAMETERS, rule=rule) for each in (state, flipped))
    assert_close(ours, same, atol=0)


@pytest.mark.parametrize("rule", BASIC_RULES)
def test_permuting_units_permutes_the_drift(rule):
    state, teacher = random_problem(3, 2, 2, seed=3)
    k, m = [2, 0, 1], [1, 0]
    permuted = OrderParameters(state.Q[np.ix_(k, k)], state.R[np.ix_(k, m)], state.v[k], state.B[k])
    other = teacher._replace(T=teacher.T[np.ix_(m, m)], v_star=teacher.v_star[m], S=teacher.S[m])
    dQ, dR, dv, dB = drift(state, teacher, PARAMETERS, rule=RULES[rule])
    expected = OrderParameters(dQ[np.ix_(k, k)], dR[np.ix_(k, m)], dv[k], dB[k])
    assert_close(drift(permuted, other, PARAMETERS, rule=RULES[rule]), expected, atol=1e-14)


@pytest.mark.parametrize("rule", ["fa", "afa"])
def test_zero_feedback_freezes_the_first_layer(problem, rule):
    state, teacher = problem
    silent = state._replace(B=np.zeros_like(state.B))
    change = drift(silent, teacher, hyperparameters(lr=0.7, noise=0.4), rule=RULES[rule])
    for array in (change.Q, change.R, change.B):
        np.testing.assert_array_equal(array, 0)
    assert np.max(np.abs(change.v)) > 0.1


@pytest.mark.parametrize("activation", ["erf", "linear"])
def test_numpy_and_jax_drifts_are_equal(problem, activation):
    """Under jit, vmap and grad, with rates as traced arguments; one compilation per activation."""
    state, teacher = problem
    closed = ACTIVATIONS[activation]
    rates = np.array([0.1, 0.7, 1.3])

    def changes(state, teacher, lr):
        parameters = PARAMETERS._replace(lr=lr)
        return [
            drift(state, teacher, parameters, rule=RULES[rule], activation=closed)
            for rule in BASIC_RULES
        ]

    def everything(state, teacher, lr):
        return changes(state, teacher, lr), generalization_error(state, teacher, closed)

    with jax.enable_x64(True):
        on_jax = jax.tree.map(jax.numpy.asarray, (state, teacher))
        batched = jax.jit(jax.vmap(everything, (None, None, 0)))(*on_jax, rates)
        batched = jax.tree.map(np.asarray, batched)

        def dQ_01(lr, B):
            return changes(on_jax[0]._replace(B=B), on_jax[1], lr)[2].Q[0, 1]

        by_lr, by_B = map(np.asarray, jax.jit(jax.grad(dQ_01, (0, 1)))(0.7, on_jax[0].B))
    for index, lr in enumerate(rates):
        expected = everything(state, teacher, lr)
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=0, atol=1e-14),
            batched,
            expected,
        )

    def difference(lr=0.0, B=0.0):
        up, down = (
            changes(state._replace(B=state.B + sign * B), teacher, 0.7 + sign * lr)[2].Q[0, 1]
            for sign in (1, -1)
        )
        return (up - down) / 2e-5

    assert abs(by_lr - difference(lr=1e-5)) < 1e-8
    assert abs(by_B[1, 0] - difference(B=np.array([[0, 0], [1e-5, 0]]))) < 1e-8
