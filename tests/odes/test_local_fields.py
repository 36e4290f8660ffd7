"""The numerical averages: against closed forms, against brute force, and as points are added."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from odes import (
    RULES,
    Activation,
    OrderParameters,
    Rule,
    Update,
    drift,
    gauss_hermite,
    hyperparameters,
    sobol,
    solve,
)
from odes.averages.activations import ACTIVATIONS
from odes.averages.nodes import check_activation
from odes.averages.sampled import field_roots, roots
from odes.rules import AFA
from simulations import sample_network, simulate
from tests.conftest import (
    BASIC_RULES,
    PEPITA_RULES,
    averaged_drift,
    gaussian_grid,
    quick_and_long,
    random_problem,
)

PARAMETERS = hyperparameters(lr=0.7, lr_v=0.3, noise=0.4, weight_decay=0.05, weight_decay_v=0.02)


def largest_gap(a, b):
    return max(np.max(np.abs(x - y)) for x, y in zip(a, b, strict=True) if x is not None)


def brute_force(state, teacher, parameters, rule, points=14):
    """The average increments of PEPITA's variants, rho = F^T x among the fields, no regression."""
    lr, lr_v, noise, decay, decay_v, *_ = parameters
    K, M = state.R.shape
    n, O = K + M, state.v.shape[1]
    S_all = np.concatenate([state.B, teacher.S])
    C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
    whole = np.block([[C, S_all], [S_all.T, teacher.P]])
    noisy = np.block([[whole, np.zeros((n + O, O))], [np.zeros((O, n + O)), np.eye(O)]])
    fields, weight = gaussian_grid(noisy, points)
    g = erf(fields[:n] / np.sqrt(2))
    prediction = state.v.T @ g[:K]
    label = teacher.v_star.T @ g[K:] + noise * fields[n + O :]
    e, h = prediction - label, g[:K]
    second = fields[:K] - state.B @ e - (lr * h if rule == "pepita-tl" else 0)
    h_err = erf(second / np.sqrt(2))
    delta = h - h_err
    gamma = {"pepita": 0 * h, "pepita-modulated": -delta}.get(rule, h_err)
    if rule == "ff-topdown":  # half the derivatives of h^2 and h_err^2
        slope = lambda fields: np.sqrt(2 / np.pi) * np.exp(-(fields**2) / 2)  # noqa: E731
        gamma = h_err * slope(second)
        delta = h * slope(fields[:K]) - gamma
    first, other = {
        "pepita": ((h, e), None),
        "pepita-modulated": ((h_err, e), None),
    }.get(rule, ((h, prediction), (h_err, label)))
    readout = (first[0] * weight) @ first[1].T
    if other:
        readout = readout - (other[0] * weight) @ other[1].T
    along = lambda y, with_F: (delta * weight) @ y.T + (gamma * weight) @ e.T @ with_F  # noqa: E731
    units = -lr * along(fields[:n], S_all.T) - decay * C[:K]
    dB = -lr * along(fields[n : n + O], teacher.P) - decay * state.B
    dQ = units[:, :K] + units[:, :K].T + lr**2 * (delta * weight) @ delta.T
    return OrderParameters(dQ, units[:, K:], -lr_v * readout - decay_v * state.v, dB)


@pytest.mark.parametrize("rule", [*PEPITA_RULES, "ff-topdown"])
@pytest.mark.parametrize(("K", "M"), [(1, 1), (2, 1)])
def test_drift_is_the_average_increment(rule, K, M):
    state, teacher = random_problem(K, M, 1, seed=K, scale=0.5)
    exact = brute_force(state, teacher, PARAMETERS, rule)
    ours = averaged_drift(state, teacher, PARAMETERS, gauss_hermite(K + M + 1, 30), rule)
    assert largest_gap(ours, exact) < 2e-8


@pytest.mark.parametrize("rule", BASIC_RULES)
@pytest.mark.parametrize(("K", "per_axis"), [(1, 48), (2, 32)])
def test_closed_forms_are_reproduced(rule, K, per_axis):
    state, teacher = random_problem(K, K, 1, seed=2)
    quiet = PARAMETERS._replace(noise=0.0)
    if rule == "bp":
        state = state._replace(B=None)
    exact = drift(state, teacher, quiet, rule=RULES[rule])
    ours = averaged_drift(state, teacher, quiet, gauss_hermite(2 * K, per_axis), rule)
    assert largest_gap(ours, exact) < 1e-6


@pytest.mark.parametrize("rule", ["afa", "dtp"])
def test_a_solution_by_quadrature_is_the_closed_one(rule):
    state, teacher = random_problem(1, 1, 1, seed=3)
    keywords = {"rule": rule, "lr": 0.5, "times": [1.0, 10.0]}
    closed = solve(state, teacher, **keywords)
    numerical = solve(state, teacher, **keywords, points=gauss_hermite(2, 48))
    assert np.max(np.abs(closed.generalization_error - numerical.generalization_error)) < 1e-6


def test_linear_units_are_averaged_exactly_even_where_the_covariance_is_singular():
    """A student equal to its teacher, moved away from it by the label noise alone."""
    _, teacher = random_problem(1, 2, 1)
    state = OrderParameters(teacher.T, teacher.T, teacher.v_star, teacher.S)
    linear = ACTIVATIONS["linear"]
    exact = drift(state, teacher, PARAMETERS, rule=RULES["afa"], activation=linear)
    ours = averaged_drift(state, teacher, PARAMETERS, gauss_hermite(5, 5), "afa", "linear")
    assert largest_gap(ours, exact) < 1e-5  # the weight of the nodes that are left out


def test_roots_of_a_singular_covariance():
    A = np.random.default_rng(0).normal(size=(4, 2))
    with jax.enable_x64(True):
        root, inverse = map(np.asarray, roots(jnp.asarray(A @ A.T)))
    np.testing.assert_allclose(root @ root, A @ A.T, atol=1e-14)
    np.testing.assert_allclose(inverse @ root @ A, A, atol=1e-12)


@pytest.mark.parametrize("learned", [False, True])
def test_fields_are_made_of_the_teachers_and_of_what_the_student_has_beyond(learned):
    """A root of the covariance, of which the second part vanishes, rounding and all."""
    state, teacher = random_problem(3, 3, 1, seed=4)
    Q, R, T = (teacher.T,) * 3 if learned else (state.Q, state.R, teacher.T)
    C = np.block([[Q, R], [R.T, T]])
    with jax.enable_x64(True):
        root, inverse = map(np.asarray, field_roots(jnp.asarray(C), 3))
    np.testing.assert_allclose(root @ root.T, C, atol=1e-13)
    np.testing.assert_allclose(root @ inverse @ C, C, atol=1e-12)
    np.testing.assert_array_equal(root[3:, :3], 0)
    np.testing.assert_allclose(inverse @ C, root.T, atol=1e-12)
    assert np.all(root[:, :3] == 0) == learned


@pytest.mark.parametrize("rule", ["afa", "pepita"])
def test_gauss_hermite_converges_geometrically(rule):
    """Two more nodes an axis gain a factor of five or more."""
    state, teacher = random_problem(1, 2, 1, seed=4)
    quiet = PARAMETERS._replace(noise=0.0)
    finest = averaged_drift(state, teacher, quiet, gauss_hermite(3, 56), rule)
    gaps = [
        largest_gap(averaged_drift(state, teacher, quiet, gauss_hermite(3, m), rule), finest)
        for m in (6, 8, 10, 12)
    ]
    assert gaps[0] < 0.1
    assert all(after < before / 5 for before, after in itertools.pairwise(gaps))


@pytest.mark.parametrize("rule", ["pepita-modulated", "pepita-hebbian"])
def test_sobol_points_agree_with_gauss_hermite(rule):
    """Within 4e-3 with 2^10 points and 4e-4 with 2^15."""
    state, teacher = random_problem(1, 2, 1, seed=4)
    quiet = PARAMETERS._replace(noise=0.0)
    finest = averaged_drift(state, teacher, quiet, gauss_hermite(3, 48), rule)
    for n, bound in ((2**10, 4e-3), (2**15, 4e-4)):
        assert largest_gap(averaged_drift(state, teacher, quiet, sobol(3, n), rule), finest) < bound


def scaled(state, teacher, scale):
    """F multiplied by ``scale``, the learning rate divided by it."""
    weak = teacher._replace(S=scale * teacher.S, P=scale**2 * teacher.P)
    quick = hyperparameters(lr=0.5 / scale, lr_v=0.3)
    return state._replace(B=scale * state.B), weak, quick


@pytest.mark.parametrize("rule", ["pepita", "pepita-modulated", "pepita-hebbian"])
def test_small_feedback_limit(rule):
    """AFA, and for the Hebbian form AFA plus a closed-form term; the gap is linear in the scale.

    With X_ko = sum_a I2(k, a) U_ao, the term is dQ = -lr (X B^T + B X^T), dR = -lr X S^T and
    dB = -lr X P.
    """
    state, teacher = random_problem(1, 1, 2, seed=6)
    limit = drift(state, teacher, hyperparameters(lr=0.5, lr_v=0.3), rule=RULES["afa"])
    if rule == "pepita-hebbian":
        C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
        d = np.sqrt(1 + np.diag(C))
        X = (
            2
            / np.pi
            * np.arcsin(C / d[:, None] / d)[:1]
            @ np.concatenate([state.v, -teacher.v_star])
        )
        limit = limit._replace(
            Q=limit.Q - 0.5 * (X @ state.B.T + state.B @ X.T),
            R=limit.R - 0.5 * X @ teacher.S.T,
            B=limit.B - 0.5 * X @ teacher.P,
        )
    gaps = []
    for scale in (0.02, 0.01):
        ours = averaged_drift(*scaled(state, teacher, scale), gauss_hermite(2, 64), rule)
        gaps.append(largest_gap(ours._replace(B=ours.B / scale), limit))
    assert gaps[1] < 0.05
    assert 1.7 < gaps[0] / gaps[1] < 2.3


@pytest.mark.computes
@pytest.mark.parametrize(
    ("rule", "activation"),
    quick_and_long([("bp", jax.nn.relu)], ("afa", "tanh"), ("fa", Activation(jnp.sin))),
)
def test_any_activation_in_theory_and_simulation(rule, activation):
    """K = M = 1, N = 400, 48 runs, at five standard errors plus the bias of O(1/N)."""
    network = sample_network(N=400, K=1, M=1, v=[0.7], B=[0.8], seed=3)
    training = {"lr": 0.3, "activation": activation, "times": [2.0, 6.0], "rule": rule}
    theory = solve(*network.overlaps(rule), **training)
    simulation = simulate(network, n_runs=48, n_test=1000, **training)
    assert theory.status == "ok"
    errors = simulation.generalization_error
    standard = errors.std(axis=0, ddof=1) / np.sqrt(48)
    assert np.all(standard < 0.1 * theory.generalization_error)
    gap = np.abs(errors.mean(axis=0) - theory.generalization_error)
    assert np.all(gap < 5 * standard + 2 / 400 * theory.generalization_error)


def test_a_function_of_numpy_is_refused_again_and_again():
    """Jitting a ufunc itself, 50 times, crashes the interpreter."""
    for _ in range(100):
        with pytest.raises(ValueError, match="`activation` must be a function of JAX arrays"):
            check_activation(Activation(np.tanh))


class Shapeless(AFA):
    """A rule whose update is one of the wrong shapes."""

    def __init__(self, **wrong):
        self.wrong = wrong

    def update(self, sample):
        return super().update(sample)._replace(**self.wrong)


class NoUpdate(AFA):
    """A rule that returns what no rule may."""

    def update(self, sample):
        return sample.h


class InNumPy(AFA):
    """A rule that JAX cannot trace."""

    def update(self, sample):
        return super().update(sample._replace(label=np.sign(sample.label)))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Shapeless(delta=jnp.ones(3)), ("delta", "(2,)", "(3,)")),
        (Shapeless(readout=jnp.ones(2)), ("readout", "(2, 1)", "(2,)")),
        (Shapeless(gamma=1.0), ("gamma", "(2,)", "()")),
        (NoUpdate(), ("an Update", "but returned")),
        (InNumPy(), ("`update` in functions of JAX arrays", "InNumPy")),
    ],
)
def test_an_update_that_cannot_be_used_is_named(rule, words):
    state, teacher = random_problem(2, 1, 1)
    with pytest.raises(ValueError, match="`rule`") as error:
        solve(state, teacher, rule=rule, lr=0.1, times=[1.0])
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("call", [lambda: sobol(2, -5), lambda: gauss_hermite(0, 4)])
def test_a_number_of_points_that_is_none_is_named(call):
    with pytest.raises(ValueError, match=r"must be an integer >= 1"):
        call()


def test_points_average_what_they_should():
    for points in (gauss_hermite(3, 20), sobol(3, 1000)):
        assert points.nodes.shape == (len(points.weights), 3)
        assert abs(points.weights.sum() - 1) < 1e-12
        second = (points.nodes * points.weights[:, None]).T @ points.nodes
        np.testing.assert_allclose(second, np.eye(3), atol=2e-2)
    assert len(sobol(3, 1000).nodes) == 1024
    assert len(gauss_hermite(4, 32).nodes) < 0.1 * 32**4


def test_a_rule_that_jumps_is_solved_by_sobol_points():
    """The sign of the error, twice the points: within the 1e-3 that 2^15 points resolve."""

    class SignError(AFA):
        smooth = False

        def update(self, sample):
            return Update(
                delta=sample.through(sample.B @ jnp.sign(sample.error)),
                readout=sample.h[:, None] * sample.error,
            )

    state, teacher = random_problem(1, 1, 1, seed=3)
    rule: Rule = SignError()
    coarse, fine = (
        solve(state, teacher, rule=rule, lr=0.3, times=[2.0, 5.0], points=n) for n in (None, 2**16)
    )
    assert coarse.status == fine.status == "ok"
    np.testing.assert_allclose(coarse.generalization_error, fine.generalization_error, rtol=2e-3)


def test_kinks_are_declared_with_the_activation():
    """|z| is not smooth, and says so; the solution then ends."""
    kinks = [name for name, each in ACTIVATIONS.items() if not each.smooth]
    assert kinks == ["relu", *(name for name in ACTIVATIONS if name.endswith("-normalised"))]
    state, teacher = random_problem(1, 1, 1, seed=3)
    kinked = Activation(jnp.abs, smooth=False)
    theory = solve(state, teacher, rule="bp", lr=0.2, times=[3.0], activation=kinked)
    assert theory.status == "ok"


class Amplified(AFA):
    """AFA with its delta multiplied by a number that may change."""

    def __init__(self, factor):
        self.factor = factor

    def update(self, sample):
        update = super().update(sample)
        return update._replace(delta=self.factor * update.delta)


def test_a_rule_that_changes_is_compiled_again():
    state, teacher = random_problem(1, 1, 1, seed=3)
    rule = Amplified(1.0)
    keywords = {"lr": 0.3, "times": [2.0], "points": 256}
    before = solve(state, teacher, rule=rule, **keywords).generalization_error
    rule.factor = 3.0
    after = solve(state, teacher, rule=rule, **keywords).generalization_error
    fresh = solve(state, teacher, rule=Amplified(3.0), **keywords).generalization_error
    assert after == fresh != before


class Misfed(AFA):
    """AFA that feeds back the first row of B alone."""

    def feedback(self, state):
        return state.B[:1]


class Misdrifting(AFA):
    """AFA whose B is said to move like its transpose."""

    def feedback_drift(self, state, teacher, learning):
        return {"B": super().feedback_drift(state, teacher, learning)["B"].T}


class Undescribed(AFA):
    """AFA that does not say what moves."""

    def feedback_drift(self, state, teacher, learning):
        return super().feedback_drift(state, teacher, learning)["B"]


class Needless(AFA):
    """A rule with a gamma that does not ask for P."""

    def update(self, sample):
        return super().update(sample)._replace(gamma=sample.h)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": Misfed()}, ("`rule`", "(2, 3)", "(1, 3)")),
        ({"rule": Misdrifting()}, ("`rule`", "feedback_drift", "(3, 2)")),
        ({"rule": Undescribed()}, ("`rule`", "feedback_drift", "dictionary")),
        ({"rule": Needless()}, ("`rule`", '"P"', "gamma")),
        ({"rule": "pepita-modulated", "P": np.zeros((3, 3))}, ("aligned F", "semidefinite")),
        ({"activation": np.tanh}, ("`activation`", "JAX", "raised")),
        ({"activation": jax.nn.softmax}, ("`activation`", "each entry", "softmax")),
        ({"points": gauss_hermite(3, 8)._replace(weights=[1.0])}, ("`points`", "a weight", "(1,)")),
        (
            {"points": gauss_hermite(3, 8)._replace(weights=2 * gauss_hermite(3, 8).weights)},
            ("`points.weights`", "add up to 1", "2"),
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, words):
    state, teacher = random_problem(2, 1, 3)
    arguments = {"rule": "afa", "lr": 0.1, "times": [1.0], **changes}
    if "P" in arguments:
        teacher = teacher._replace(P=arguments.pop("P"))
    if arguments["rule"].__class__ is Needless:
        teacher = teacher._replace(P=None)
    with pytest.raises(ValueError, match="Argument") as error:
        solve(state, teacher, **arguments)
    for word in words:
        assert word in str(error.value)
