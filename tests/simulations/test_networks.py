"""Sampling networks and measuring their overlaps."""

import jax.numpy as jnp
import numpy as np
import pytest

from odes import RULES as THEORIES
from odes import OrderParameters, Teacher, hyperparameters
from odes.problem import prepare
from simulations import RULES, Network, Rule, network_with_overlaps, sample_network, simulate


def test_orthonormal_teacher_has_unit_overlaps():
    _, teacher = sample_network(N=60, K=2, M=4).overlaps("bp")
    np.testing.assert_allclose(teacher.T, np.eye(4), atol=1e-14)


def test_a_teacher_points_either_way():
    """Of 64 teachers, half to five standard errors, 20: false alarms 4e-7."""
    entries = [sample_network(N=5, K=1, M=1, seed=seed).W_star[0, 0] for seed in range(64)]
    assert abs(np.sum(np.array(entries) > 0) - 32) < 20


def test_gaussian_teacher_and_student_have_the_chosen_scale():
    """Norms over 2e5 entries: five standard errors are 5 sqrt(2 / 2e5) = 1.6 per cent."""
    network = sample_network(N=50_000, K=4, M=4, teacher="gaussian", student_scale=0.3)
    state, teacher = network.overlaps("bp")
    assert abs(np.trace(teacher.T) / 4 - 1) < 0.016
    assert abs(np.trace(state.Q) / 4 / 0.09 - 1) < 0.016
    assert np.max(np.abs(teacher.T - np.diag(np.diag(teacher.T)))) < 5 / np.sqrt(50_000)


def test_aligned_feedback_has_the_chosen_overlaps():
    rng = np.random.default_rng(3)
    B, S = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
    network = sample_network(N=40, K=2, M=4, O=3, B=B, S=S, feedback_scale=2.0)
    state, teacher = network.overlaps("afa")
    np.testing.assert_allclose(state.B, 2 * B, atol=1e-12)
    np.testing.assert_allclose(teacher.S, 2 * S, atol=1e-12)
    np.testing.assert_allclose(network.overlaps("fa")[0].B, 2 * B)
    C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
    overlaps = np.concatenate([state.B, teacher.S])
    np.testing.assert_allclose(teacher.P, overlaps.T @ np.linalg.solve(C, overlaps), atol=1e-10)


def test_random_feedback_is_independent_of_the_weights():
    """[B; S] over sqrt of their covariance C x P: 600 standard normals, five standard errors."""
    z = []
    for seed in range(60):
        network = sample_network(
            N=400, K=2, M=3, O=2, feedback="random", feedback_scale=0.5, seed=seed
        )
        state, teacher = network.overlaps("pepita")
        assert np.max(np.abs(teacher.P - 0.25 * np.eye(2))) < 0.25 * 5 * np.sqrt(2 / 400)
        C = np.block([[state.Q, state.R], [state.R.T, teacher.T]])
        B_S = np.concatenate([state.B, teacher.S])
        z.append(np.linalg.solve(np.linalg.cholesky(C), B_S) / 0.5)
    assert abs(np.mean(z)) < 5 / np.sqrt(600)
    assert abs(np.var(z) - 1) < 5 * np.sqrt(2 / 600)


def test_which_B_belongs_to_which_rule():
    network = sample_network(N=30, K=2, M=2, feedback="random")
    assert network.overlaps("bp")[0].B is None
    np.testing.assert_array_equal(network.overlaps("fa")[0].B, network.B)
    for rule in ("afa", "pepita"):
        B = network.overlaps(rule)[0].B
        np.testing.assert_allclose(B, network.W @ network.F / np.sqrt(30))


@pytest.mark.parametrize("rule", ["pepita-modulated", "pepita-hebbian", "pepita-tl"])
def test_rules_without_a_limit_are_refused(rule):
    sizes = {"N": 30, "K": 2, "M": 2}
    assert sample_network(**sizes).overlaps(rule)[0].B is not None
    with pytest.raises(ValueError, match=r"no limit of large N.*aligned"):
        sample_network(**sizes, feedback="random").overlaps(rule)


def test_the_seed_fixes_everything_and_its_parts_are_independent():
    same = sample_network(N=30, K=2, M=2, seed=4)
    for a, b in zip(same, sample_network(N=30, K=2, M=2, seed=4), strict=True):
        np.testing.assert_array_equal(a, b)
    wider = sample_network(N=30, K=5, M=2, seed=4)
    np.testing.assert_array_equal(wider.W_star, same.W_star)
    assert not np.allclose(sample_network(N=30, K=2, M=2, seed=5).W, same.W)


def test_overlaps_are_measured_in_double_precision():
    network = sample_network(N=30, K=2, M=2)
    single = Network(*(np.asarray(weights, np.float32) for weights in network[:6]), True)
    state, teacher = single.overlaps("afa")
    for array in (*state, *teacher[:4]):
        assert array.dtype == np.float64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"N": 4}, ("`N`", "at least K + M + O = 5", "4")),
        ({"K": 0}, ("`K`", ">= 1", "0")),
        ({"M": 2.0}, ("`M`", "integer", "2.0")),
        ({"teacher": "random"}, ("`teacher`", '"orthonormal", "gaussian"', "random")),
        ({"feedback": "none"}, ("`feedback`", '"aligned", "random"', "none")),
        ({"feedback": "random", "S": np.ones((2, 1))}, ("`S`", "None", "random")),
        ({"v": np.ones(3)}, ("`v`", "(2, 1)", "array([1., 1., 1.])")),
        ({"B": np.full((2, 1), np.inf)}, ("`B`", "finite", "inf")),
        ({"student_scale": -1.0}, ("`student_scale`", ">= 0", "-1.0")),
        ({"feedback_scale": np.nan}, ("`feedback_scale`", "finite", "nan")),
        ({"seed": -1}, ("`seed`", ">= 0", "-1")),
        ({"seed": 2**32}, ("`seed`", "below", "4294967296")),
        ({"student_scale": 0.0}, ("`student_scale`", "large enough", "0.0")),
        ({"student_scale": "a"}, ("`student_scale`", "number", "'a'")),
    ],
)
def test_bad_input_is_named(changes, words):
    with pytest.raises(ValueError, match="Argument") as error:
        sample_network(**{"N": 20, "K": 2, "M": 2, **changes})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("rule", RULES)
def test_overlaps_are_those_that_the_rule_needs_and_no_others(rule):
    """P is needed by whoever needs S for fluctuations and sample paths."""
    needs = THEORIES[rule].needs
    network = sample_network(N=40, K=2, M=3, O=1, seed=4)
    state, teacher = network.overlaps(rule)
    held = {n for n, each in {**state._asdict(), **teacher._asdict()}.items() if each is not None}
    assert held - {"Q", "R", "v", "T", "v_star"} == {*needs, *({"P"} if "S" in needs else ())}
    prepare(
        state, teacher, rule=rule, activation="erf", points=1, parameters=hyperparameters(lr=0.1)
    )
    again = network_with_overlaps(state, teacher, N=50, seed=1).overlaps(rule)
    for ours, theirs in zip([*again[0], *again[1]], [*state, *teacher], strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or np.allclose(ours, theirs, rtol=0, atol=1e-9)


def test_what_a_feedback_of_ones_own_is_made_of_says_which_overlaps_are_needed():
    network = sample_network(N=40, K=2, M=3, seed=4)
    feedbacks = {
        (): lambda network: jnp.tanh(network.v),
        ("B",): lambda network: jnp.tanh(network.B) * network.v,
        ("B", "S", "P"): lambda network: 2 * network.W @ network.F / 40**0.5,
    }
    ones = lambda network: jnp.ones_like(network.v)  # noqa: E731
    for held, feedback in [*feedbacks.items(), (("B",), ones)]:
        state, teacher = network.overlaps(Rule(RULES["fa"].update, feedback))
        given = {"B": state.B, "S": teacher.S, "P": teacher.P}
        assert {name for name, each in given.items() if each is not None} == set(held)


@pytest.mark.parametrize("feedback", [
    lambda network: network.v.T, lambda network: network.no_such_weights, lambda: None,
])  # fmt: skip
def test_a_feedback_that_is_none_is_refused(feedback):
    network = sample_network(N=40, K=2, M=3)
    with pytest.raises(ValueError, match=r"`rule` must .* B"):
        network.overlaps(Rule(RULES["fa"].update, feedback))


def test_overlaps_of_an_unknown_rule_are_refused():
    with pytest.raises(ValueError, match=r'"bp".*"pepita-modulated".*hebb'):
        sample_network(N=20, K=2, M=2).overlaps("hebb")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"W": [1.0, 2.0]}, ("`network`", "W (K, N)", "(2,)")),
        ({"W_star": np.ones((2, 7))}, ("`network.W_star`", "(2, 20)", "1.")),
        ({"F": np.ones(3)}, ("`network.F`", "(20, 1)", "1.")),
        ({"v": np.full((2, 1), np.nan)}, ("`network.v`", "finite", "nan")),
        ({"B": None}, ("`network.B`", "real array", "None")),
        ({"aligned": None}, ("`network.aligned`", "True or False", "None")),
    ],
)
def test_a_network_built_by_hand_is_checked(changes, words):
    network = sample_network(N=20, K=2, M=2)._replace(**changes)
    with pytest.raises(ValueError, match="Argument") as error:
        network.overlaps("bp")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("feedback", ["aligned", "random"])
@pytest.mark.parametrize("N", [9, 500])
def test_a_network_can_have_any_overlaps(feedback, N):
    wanted = sample_network(N=40, K=3, M=2, O=2, feedback=feedback, seed=6).overlaps("afa")
    if feedback == "random":  # at so few inputs F cannot overlap as at 40
        wanted = wanted[0]._replace(B=0.3 * wanted[0].B), wanted[1]._replace(S=0.3 * wanted[1].S)
    network = network_with_overlaps(*wanted, N=N, feedback=feedback, seed=2)
    assert network.W.shape == (3, N)
    for ours, theirs in zip(network.overlaps("afa"), wanted, strict=True):
        for measured, exact in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_allclose(measured, exact, atol=1e-10)
    np.testing.assert_array_equal(network.overlaps("fa")[0].B, wanted[0].B)
    simulate(network, rule="afa", lr=0.1, times=[1.0])


def test_overlaps_that_are_not_given_are_those_of_no_F_or_of_the_shortest():
    (Q, R, v, B), (T, v_star, S, P, _) = sample_network(N=40, K=2, M=2).overlaps("afa")
    bare = network_with_overlaps(OrderParameters(Q, R, v[:, 0]), Teacher(T, v_star), N=10)
    assert not np.any(bare.F)
    assert not np.any(bare.B)
    shortest = network_with_overlaps(OrderParameters(Q, R, v, B), Teacher(T, v_star, S), N=10)
    np.testing.assert_allclose(shortest.overlaps("afa")[1].P, P, atol=1e-10)  # as sampled


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"N": 4}, ("`N`", "at least K + M + O = 5", "4")),
        ({"N": 0}, ("`N`", ">= 1", "0")),
        ({"R": 2 * np.ones((2, 2))}, ("joint covariance", "positive semidefinite", "eigenvalue")),
        ({"P": np.zeros((1, 1))}, ("[[B; S]^T, P]", "positive semidefinite", "eigenvalue")),
        ({"Q": np.array([[1, 0.5], [0, 1]])}, ("`Q`", "symmetric", "0.5")),
        ({"feedback": "none"}, ("`feedback`", '"aligned"', "none")),
        ({"seed": -1}, ("`seed`", ">= 0", "-1")),
    ],
)
def test_overlaps_that_no_network_has_are_named(changes, words):
    state, teacher = sample_network(N=40, K=2, M=2).overlaps("afa")
    given = {**state._asdict(), **teacher._asdict(), **changes}
    with pytest.raises(ValueError, match="Argument") as error:
        network_with_overlaps(
            OrderParameters(*(given[name] for name in OrderParameters._fields)),
            Teacher(*(given[name] for name in Teacher._fields)),
            N=given.get("N", 20),
            feedback=given.get("feedback", "aligned"),
            seed=given.get("seed", 0),
        )
    for word in words:
        assert word in str(error.value)
