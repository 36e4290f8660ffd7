"""solve: accuracy, how it ends, what it accepts and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from odes import OrderParameters, Rule, Teacher, gauss_hermite, solve
from odes.equations import generalization_error
from simulations import sample_network
from tests.conftest import BASIC_RULES, random_problem

TIMES = np.append(0, np.geomspace(0.1, 1000, 30))


@pytest.mark.parametrize(("K", "M", "rules"), [(2, 2, BASIC_RULES), (8, 4, ["afa"])])
def test_default_tolerances_give_eight_digits(K, M, rules):
    """Against rtol = 1e-12, for a start in general position and for one close to symmetric.

    Frozen readouts and still smaller weights cost a digit: 3e-8 (``benchmarks/accuracy.py``).
    """
    for scale in (0.5, 0.01):
        state, teacher = random_problem(K, M, 1, seed=K, scale=scale, N=400)
        for rule in rules:
            default = solve(state, teacher, rule=rule, lr=0.5, times=TIMES)
            exact = solve(state, teacher, rule=rule, lr=0.5, times=TIMES, rtol=1e-12, atol=1e-14)
            assert default.status == exact.status == "ok"
            error = default.generalization_error - exact.generalization_error
            assert np.max(np.abs(error)) < 1e-8, (scale, rule)


def test_trajectory_has_the_promised_shapes(problem):
    state, teacher = problem
    theory = solve(state, teacher, rule="afa", lr=0.3, times=[0, 1, 2.5])
    K, M, O = 2, 3, 2
    shapes = {"Q": (3, K, K), "R": (3, K, M), "v": (3, K, O), "B": (3, K, O)}
    assert {n: a.shape for n, a in theory.order_parameters._asdict().items()} == shapes
    assert theory.times.tolist() == [0, 1, 2.5]
    assert theory.generalization_error.shape == (3,)
    assert theory.status == "ok"
    for name, array in theory.order_parameters._asdict().items():
        np.testing.assert_array_equal(array[0], getattr(state, name))
    np.testing.assert_allclose(
        theory.generalization_error, generalization_error(theory.order_parameters, teacher)
    )


def test_saved_times_do_not_change_the_solution(problem):
    few = solve(*problem, rule="fa", lr=0.5, times=[5.0])
    many = solve(*problem, rule="fa", lr=0.5, times=np.linspace(0, 5, 101))
    np.testing.assert_allclose(
        few.generalization_error[-1], many.generalization_error[-1], rtol=1e-8
    )


def test_one_output_may_be_given_without_its_axis():
    state, teacher = random_problem(2, 2, 1)
    flat = state._replace(v=state.v[:, 0], B=state.B[:, 0].tolist())
    fixed = teacher._replace(v_star=teacher.v_star[:, 0], S=teacher.S[:, 0])
    a = solve(flat, fixed, rule="afa", lr=0.5, times=[1.0])
    b = solve(state, teacher, rule="afa", lr=0.5, times=[1.0])
    assert a.order_parameters.v.shape == (1, 2, 1)
    np.testing.assert_array_equal(a.order_parameters.B, b.order_parameters.B)


def test_bp_ignores_a_feedback_and_fa_keeps_it(problem):
    state, teacher = problem
    keywords = {"lr": 0.5, "weight_decay": 0.1, "times": [1.0, 2.0]}
    assert solve(state, teacher, rule="bp", **keywords).order_parameters.B is None
    kept = solve(state, teacher, rule="fa", **keywords).order_parameters.B
    np.testing.assert_array_equal(kept, [state.B] * 2)


def test_a_frozen_readout_stays_whatever_the_decay(problem):
    frozen = solve(*problem, rule="bp", lr=0.5, lr_v=0, weight_decay=0.3, times=[3.0])
    np.testing.assert_array_equal(frozen.order_parameters.v[0], problem[0].v)
    decaying = solve(
        *problem, rule="bp", lr=0.5, lr_v=0, weight_decay=0.3, weight_decay_v=0.2, times=[3.0]
    )
    np.testing.assert_allclose(
        decaying.order_parameters.v[0], problem[0].v * np.exp(-0.6), rtol=1e-7
    )


def test_pure_decay_is_exponential(problem):
    decayed = solve(*problem, rule="afa", lr=0, weight_decay=0.25, times=[2.0]).order_parameters
    np.testing.assert_allclose(decayed.Q[0], problem[0].Q * np.exp(-1), rtol=1e-7)
    np.testing.assert_allclose(decayed.R[0], problem[0].R * np.exp(-0.5), rtol=1e-7)
    np.testing.assert_allclose(decayed.B[0], problem[0].B * np.exp(-0.5), rtol=1e-7)


def test_growth_without_bound_is_reported_at_once():
    start = OrderParameters(np.full((1, 1), 0.3), np.full((1, 1), 0.2), np.ones(1))
    theory = solve(
        start, Teacher(np.eye(1), np.ones(1)), rule="bp", lr=3.0, lr_v=0, activation="linear",
        times=np.arange(10_001.0),
    )  # fmt: skip
    assert theory.status == "diverged"
    reached = np.isfinite(theory.generalization_error)
    assert theory.times[reached][-1] < theory.stopped < theory.times[~reached][0]
    exact = 0.45 * np.exp(3 * theory.times[:4])
    np.testing.assert_allclose(theory.generalization_error[:4], exact, rtol=1e-6)
    assert np.all(np.isnan(theory.generalization_error[6:]))
    assert np.all(np.isnan(theory.order_parameters.Q[6:]))


def test_a_large_learning_rate_with_erf_saturates(problem):
    theory = solve(*problem, rule="bp", lr=30.0, lr_v=0, times=[0, 10, 100.0])
    assert theory.status == "ok"
    assert theory.generalization_error[-1] > 0.05


def test_too_few_steps_keep_what_was_reached(problem):
    theory = solve(*problem, rule="bp", lr=0.5, times=np.geomspace(1e-3, 1000, 50), max_steps=60)
    exact = solve(*problem, rule="bp", lr=0.5, times=np.geomspace(1e-3, 1000, 50))
    assert theory.status == "max_steps"
    assert exact.stopped is None
    reached = np.isfinite(theory.generalization_error)
    assert 5 < reached.sum() < 50
    assert np.all(np.diff(reached.astype(int)) <= 0)
    np.testing.assert_allclose(
        theory.generalization_error[reached], exact.generalization_error[reached], rtol=1e-9
    )
    assert theory.times[reached][-1] <= theory.stopped < theory.times[~reached][0]


def test_a_readout_that_sign_symmetry_keeps_at_zero_is_named():
    """The drift pushes it back from both sides; before, it crosses, and the solution goes on."""
    network = sample_network(N=200, K=3, M=2, seed=28)
    problem = {"rule": "sign-symmetry", "lr": 0.5, "noise": 0.1}
    theory = solve(
        *network.overlaps("sign-symmetry"), **problem, times=[60.0, 64.0, 200.0], max_steps=3000
    )
    assert theory.status == "sliding"
    assert 64.0 < theory.stopped < 100.0
    np.testing.assert_array_equal(np.isfinite(theory.generalization_error), [True, True, False])
    small = sample_network(N=200, K=3, M=2, student_scale=1e-6, seed=28).overlaps("fa")
    softly = solve(*small, **problem | {"rule": "fa"}, times=[200.0], max_steps=1)
    assert softly.status == "max_steps"  # also next to 0, where the drift of FA does not jump


class BreaksDown(Rule):
    """Feedback that turns NaN once the readout has moved past a threshold."""

    needs = ()

    def feedback(self, state):
        return np.where(np.abs(state.v).max() < self.threshold, state.v, np.nan)

    def __init__(self, threshold):
        self.threshold = threshold


@pytest.mark.parametrize(("threshold", "reached"), [(0.0, 1), (0.9, 2)])
def test_a_nan_is_never_a_success(threshold, reached):
    start = OrderParameters(np.full((1, 1), 0.3), np.full((1, 1), 0.2), np.full((1, 1), 0.5))
    theory = solve(
        start, Teacher(np.eye(1), np.ones(1)), rule=BreaksDown(threshold), lr=0.5,
        times=[0, 0.1, 1000.0],
    )  # fmt: skip
    assert theory.status == "nonfinite"
    finite = [True] * reached + [False] * (3 - reached)
    assert np.isfinite(theory.generalization_error).tolist() == finite


def test_importing_odes_does_not_import_jax():
    code = (
        "import sys, numpy as np, odes\n"
        "start = odes.OrderParameters(np.eye(2), np.eye(2) / 2, np.ones(2))\n"
        "odes.solve(start, odes.Teacher(np.eye(2), np.ones(2)), rule='bp', lr=.1, times=[1.])\n"
        "sys.exit(any(m.split('.')[0] in ('jax', 'jaxlib', 'matplotlib') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arguments_in_the_wrong_place_are_named(problem):
    state, teacher = problem
    with pytest.raises(ValueError, match=r"`initial` must be OrderParameters"):
        solve(teacher, state, rule="bp", lr=0.1, times=[1.0])
    with pytest.raises(ValueError, match=r"`teacher` must be Teacher"):
        solve(state, None, rule="bp", lr=0.1, times=[1.0])


def test_absurd_rates_are_data(problem):
    theory = solve(*problem, rule="bp", lr=1e200, noise=1e200, times=[0, 1.0])
    assert theory.status in ("diverged", "nonfinite")
    assert np.isfinite(theory.generalization_error).tolist() == [True, False]


def bad(**changes):
    """A valid call with some arguments replaced; names in Q, R, ... change the overlaps."""
    state, teacher = random_problem(2, 3, 2)
    call = {"rule": "afa", "lr": 0.5, "times": [1.0]}
    for name, value in changes.items():
        if name in state._fields:
            state = state._replace(**{name: value})
        elif name in teacher._fields:
            teacher = teacher._replace(**{name: value})
        else:
            call[name] = value
    return lambda: solve(state, teacher, **call)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (bad(R=np.zeros((2, 2))), ("`T`", "(M, M)", "(3, 3)")),
        (bad(R=np.zeros((3, 3))), ("`R`", "(K, M)", "(3, 3)")),
        (bad(v_star=np.ones(3)), ("`v_star`", "(M, O)", "(3,)")),
        (bad(Q=np.ones(4)), ("`Q`", "(K, K)", "(4,)")),
        (bad(Q=np.array([[1.0, 0.5], [0.2, 1.0]])), ("`Q`", "symmetric", "0.2")),
        (bad(Q=np.array([[1.0, 0.501], [0.5, 1.0]])), ("`Q`", "symmetric", "0.501")),
        (bad(v=np.full((2, 2), -1e7)), ("`v`", "1e+06", "-1")),
        (bad(Q=np.eye(2) * 1e-3), ("covariance", "positive semidefinite", "-")),
        (bad(P=-np.eye(2)), ("P", "positive semidefinite", "-1")),
        (bad(Q=np.full((2, 2), np.nan)), ("`Q`", "finite", "nan")),
        (bad(Q=np.eye(2) * 1e7), ("`Q`", "1e+06", "1")),
        (bad(v=[["a", "b"]] * 2), ("`v`", "real", "a")),
        (bad(B=None), ("`B`", "(K, O)", "None")),
        (bad(S=None), ("`S`", "(M, O)", "None")),
        (bad(rule="fa", B=None), ("`B`", "(K, O)", "None")),
        (bad(rule="hebb"), ("`rule`", '"bp", "fa", "afa"', "hebb")),
        (bad(rule=3), ("`rule`", "an odes.Rule", "3")),
        (bad(activation="swish"), ("`activation`", '"erf", "linear"', "swish")),
        (bad(R=None), ("`R`", "(K, M)", "None")),
        (bad(v_star=None), ("`v_star`", "(M, O)", "None")),
        (bad(Q=np.eye(2) * 1j), ("`Q`", "real", "0.+1.j")),
        (bad(Q=-1e-8 * np.eye(2), R=np.zeros((2, 3))), ("positive semidefinite", "-1e-08")),
        (bad(Q=np.zeros((2, 2)), R=np.full((2, 3), 1e-4)), ("positive semidefinite", "-")),
        (bad(lr=None), ("`lr`", "number", "None")),
        (bad(lr="0.1"), ("`lr`", "number", "'0.1'")),
        (bad(times="soon"), ("`times`", "real array", "soon")),
        (bad(rtol=1e-14), ("`rtol`", "at least 1e-12", "1e-14")),
        (bad(max_steps=True), ("`max_steps`", "integer", "True")),
        (bad(points=-3), ("`points`", ">= 1", "-3")),
        (bad(points=gauss_hermite(2, 5)), ("`points`", "5 dimensions", "2")),
        (bad(times=[-1.0, 1.0]), ("`times`", "increasing", "-1")),
        (bad(times=[1.0, 1.0]), ("`times`", "increasing", "[1.0, 1.0]")),
        (bad(times=[]), ("`times`", "increasing", "[]")),
        (bad(times=[1.0, np.inf]), ("`times`", "finite", "inf")),
        (bad(times=5.0), ("`times`", "one-dimensional", "5.0")),
        (bad(lr=-0.1), ("`lr`", ">= 0", "-0.1")),
        (bad(lr=[0.1, 0.2]), ("`lr`", "number", "[0.1, 0.2]")),
        (bad(lr_v=np.nan), ("`lr_v`", "finite", "nan")),
        (bad(noise=-1.0), ("`noise`", ">= 0", "-1")),
        (bad(weight_decay=-1.0), ("`weight_decay`", ">= 0", "-1")),
        (bad(rtol=0.0), ("`rtol`", "> 0", "0.0")),
        (bad(max_steps=0), ("`max_steps`", ">= 1", "0")),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    for word in words:
        assert word in str(error.value)
