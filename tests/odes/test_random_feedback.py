"""The Ito equation for a random F: its limits, its order, and networks."""

import jax
import numpy as np
import pytest
from scipy.special import erf

from odes import (
    OrderParameters,
    PiecewiseConstant,
    Rule,
    generalization_error,
    solve,
    solve_paths,
)
from odes.common.order_parameters import joint_covariance
from odes.common.trajectory import trajectory_of_runs
from odes.solvers.paths import _draw_overlaps
from simulations import sample_network, simulate
from tests.conftest import gaussian_grid

NETWORK = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], feedback="random", seed=0)
TRAINING = {"rule": "afa", "lr": 0.5, "times": [0.0, 1.0, 4.0, 12.0]}
PATHS = 64  # and few steps, so that what is compiled is shared


@pytest.mark.computes
def test_without_diffusion_a_path_is_the_solution():
    """To first order in dt: half the step, half the error."""
    initial, teacher = NETWORK.overlaps("afa")
    still = teacher._replace(P=np.zeros((1, 1)))
    exact = solve(initial, still, **TRAINING).generalization_error
    gaps = []
    for dt in (0.1, 0.05):
        paths = solve_paths(initial, still, **TRAINING, n_paths=PATHS, dt=dt)
        assert np.all(paths.status == "ok")
        assert paths.averages == "closed forms"
        gaps.append(np.abs(paths.generalization_error - exact).max())
    assert gaps[1] < 7e-3
    assert 1.8 < gaps[0] / gaps[1] < 2.2


def test_solve_warns_of_what_it_leaves_out_at_large_learning_rates():
    """Not of an aligned F, nor where nothing diffuses, nor of rules without F."""
    for rule in ("afa", "pepita"):
        overlaps = NETWORK.overlaps(rule)
        with pytest.warns(RuntimeWarning, match=r"`lr` is above 0.1: use solve_paths\(\)") as said:
            solve(*overlaps, **TRAINING | {"rule": rule, "times": [0.0]})
        assert said[0].filename == __file__
        later = {"rule": rule, "lr": PiecewiseConstant([1e-3], [0.1, 0.5]), "times": [2e-3]}
        with pytest.warns(RuntimeWarning, match="is above"):
            solve(*overlaps, **TRAINING | later)
        solve(*overlaps, **TRAINING | {"rule": rule, "lr": 0.1, "times": [0.0]})
    aligned = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], seed=0).overlaps("afa")
    solve(*aligned, **TRAINING | {"times": [0.0]})


def test_paths_state_the_error_of_their_averages():
    """At the start that of solve, which looks at the same state; none of closed forms."""
    initial, teacher = NETWORK.overlaps("afa")
    small = TRAINING | {"lr": 0.1, "times": [0.0]}
    paths = solve_paths(initial, teacher, **small, n_paths=2, points=2**7)
    alone = solve(initial, teacher, **small, points=2**7)
    np.testing.assert_allclose(paths.average_error, alone.average_error, rtol=1e-9)
    assert alone.average_error > 1e-3


@pytest.mark.computes
def test_weak_order_of_the_step_on_shared_brownian_paths():
    """Means over the same 64 paths differ by amounts that halve with the step.

    The paths being shared, what is left of their noise is a tenth of the differences.
    """
    initial, teacher = NETWORK.overlaps("afa")
    means = []
    for dt in (0.2, 0.1, 0.05):
        paths = solve_paths(initial, teacher, **TRAINING, n_paths=PATHS, dt=dt)
        means.append(paths.order_parameters.Q.mean(axis=0)[-1].ravel())
    first, second = np.linalg.norm(means[1] - means[0]), np.linalg.norm(means[2] - means[1])
    assert first < 0.05 * np.linalg.norm(means[2])
    assert 1.4 < first / second < 2.8


@pytest.mark.long
@pytest.mark.parametrize(("rule", "N"), [("afa", 800), ("pepita", 400)])
def test_mean_and_spread_are_those_of_networks(rule, N):
    """96 paths against 96 networks of the same F and initial weights, at t = 4 and 8.

    Means of log eps_g, which has shorter tails than eps_g, and of B at 4.5 standard errors of the
    difference; spreads, whose ratio is known to 10 per cent, within 45 per cent, 3.7 of its errors:
    below 3e-3 false alarms for the six spreads of a case.  60/N is left for the scatter of Q, R and
    v, which adds a fifth to the spread of eps_g at N = 400.  Errors of networks are those of their
    overlaps.
    """
    network = sample_network(N=N, K=2, M=2, v_star=[1.2, 0.6], feedback="random", seed=0)
    initial, teacher = network.overlaps(rule)
    training = {**TRAINING, "rule": rule, "times": [4.0, 8.0]}
    paths = solve_paths(initial, teacher, n_paths=96, dt=0.05, **training)
    networks = simulate(network, n_runs=96, n_test=1, seed=1, **training)
    errors = generalization_error(networks.order_parameters, teacher)
    for theory, simulation in (
        (np.log(paths.generalization_error), np.log(errors)),
        (paths.order_parameters.B, networks.order_parameters.B),
    ):
        spread, measured = theory.std(axis=0, ddof=1), simulation.std(axis=0, ddof=1)
        error = np.sqrt((spread**2 + measured**2) / 96)
        gap = np.abs(theory.mean(axis=0) - simulation.mean(axis=0))
        assert np.all(gap < 4.5 * error + np.abs(theory.mean(axis=0)) * 4 / N)
        assert np.all(np.abs(np.log(spread / measured)) < np.log(1.45) + 60 / N)


@pytest.mark.computes
def test_increments_of_the_feedback_are_independent_and_as_large_as_label_noise_makes_them():
    """At a tiny learning rate and a large P nothing but B moves, and hardly so: a random walk.

    Whitened by ``lr^2 P <delta_k delta_l>`` of a brute-force average, what B moves in three spans
    of time has the identity as covariance: 21 distinct entries at five standard errors over 64
    paths, below 1e-4 false alarms.
    """
    initial, teacher = NETWORK.overlaps("afa")
    noise, lr = 2.0, 1e-5
    teacher = teacher._replace(P=np.array([[1e4]]))
    fields, weights = gaussian_grid(joint_covariance(initial, teacher), 12)
    g, slope = erf(fields / np.sqrt(2)), np.sqrt(2 / np.pi) * np.exp(-(fields[:2] ** 2) / 2)
    e = initial.v.T @ g[:2] - teacher.v_star.T @ g[2:]
    per_B = slope * initial.B
    delta_delta = (weights * (e * e + noise**2) * per_B) @ per_B.T
    paths = solve_paths(
        initial, teacher, **TRAINING | {"lr": lr, "noise": noise}, n_paths=PATHS, dt=0.1
    )
    increments = np.diff(paths.order_parameters.B[..., 0], axis=1)  # (paths, spans, K)
    root = np.linalg.cholesky(lr**2 * 1e4 * delta_delta)
    whitened = np.linalg.solve(root, increments[..., None])[..., 0]
    whitened = (whitened / np.sqrt(np.diff(TRAINING["times"]))[:, None]).reshape(PATHS, 6)
    gap = np.abs(np.cov(whitened.T) - np.eye(6))
    assert np.all(gap < 5 * np.sqrt((1 + np.eye(6)) / PATHS))


def test_each_path_may_draw_its_own_feedback():
    """[B; S] has covariance C x P: 2000 draws, two outputs, five standard errors."""
    network = sample_network(N=60, K=2, M=1, O=2, feedback="random", seed=3)
    initial, teacher = network.overlaps("afa")
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 2000)
        drawn = np.asarray(_draw_overlaps(initial, teacher, keys)).reshape(2000, 6)
    expected = np.kron(joint_covariance(initial, teacher), teacher.P)
    deviation = 5 * np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 2000)
    assert np.all(np.abs(drawn.T @ drawn / 2000 - expected) < deviation)


@pytest.mark.computes
def test_paths_share_the_feedback_unless_it_is_to_be_drawn():
    initial, teacher = NETWORK.overlaps("afa")
    keywords = {**TRAINING, "n_paths": PATHS, "dt": 0.1}
    shared = solve_paths(initial, teacher, **keywords).order_parameters.B[:, 0]
    np.testing.assert_array_equal(shared, [initial.B] * PATHS)
    own = solve_paths(initial._replace(B=None), teacher._replace(S=None), **keywords)
    assert len(np.unique(own.order_parameters.B[:, 0])) == 2 * PATHS


@pytest.mark.computes
def test_one_seed_gives_the_same_paths():
    initial, teacher = NETWORK.overlaps("afa")
    keywords = {**TRAINING, "n_paths": PATHS, "dt": 0.1}
    first, again, other = (
        solve_paths(initial, teacher, seed=seed, **keywords).generalization_error
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.concatenate([first, other])[:, -1])) == 2 * PATHS


@pytest.mark.computes
def test_paths_that_diverge_are_data():
    paths = solve_paths(
        *NETWORK.overlaps("afa"), rule="afa", lr=8.0, lr_v=0, activation="linear",
        times=[0, 5.0, 50.0], n_paths=16, dt=0.02,
    )  # fmt: skip
    assert "diverged" in paths.status
    assert np.all(np.isfinite(paths.generalization_error[:, 0]))
    lost = paths.status == "diverged"
    np.testing.assert_array_equal(np.isnan(paths.generalization_error[:, -1]), lost)
    np.testing.assert_array_equal(np.isnan(paths.order_parameters.B[:, -1, 0, 0]), lost)


def test_a_run_is_lost_from_where_it_diverged_and_no_other():
    one = np.ones((2, 3, 1, 1))
    errors = np.array([[1.0, np.inf, 1.0], [1.0, 1.0, 1.0]])
    runs = trajectory_of_runs(np.arange(3.0), OrderParameters(one, one, one), errors, averages="")
    assert runs.status.tolist() == ["diverged", "ok"]
    lost = [[False, True, True], [False] * 3]
    np.testing.assert_array_equal(np.isnan(runs.generalization_error), lost)
    np.testing.assert_array_equal(np.isnan(runs.order_parameters.Q[..., 0, 0]), lost)


def call(**changes):
    initial, teacher = NETWORK.overlaps("afa")
    arguments = {**TRAINING, "n_paths": 2, "dt": 0.1, **changes}
    if "P" in arguments:
        teacher = teacher._replace(P=arguments.pop("P"))
    if "B" in arguments:
        initial = initial._replace(B=arguments.pop("B"))
    return lambda: solve_paths(initial, teacher, **arguments)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (call(rule="pepita-modulated"), ("`rule`", "no limit of large N", "aligned")),
        (call(rule="pepita-hebbian"), ("`rule`", "no limit of large N", "aligned")),
        (call(rule="pepita-tl"), ("`rule`", "no limit of large N", "aligned")),
        (call(rule="fa"), ("`rule`", "through F", "solve()")),
        (call(rule=Rule()), ("`rule`", "through F", "solve()")),
        (call(P=None), ("`P`", "(O, O)", "None")),
        (call(B=None), ("`B`", "(K, O)", "None")),
        (call(n_paths=0), ("`n_paths`", ">= 1", "0")),
        (call(dt=0.0), ("`dt`", "> 0", "0.0")),
        (call(seed=-1), ("`seed`", ">= 0", "-1")),
        (call(points=-1, rule="pepita"), ("`points`", ">= 1", "-1")),
        (lambda: solve_paths(None, None, **TRAINING, n_paths=1), ("`initial`", "OrderParameters")),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    for word in words:
        assert word in str(error.value)


@pytest.mark.computes
def test_states_are_order_parameters():
    paths = solve_paths(*NETWORK.overlaps("afa"), **TRAINING, n_paths=PATHS, dt=0.1)
    assert isinstance(paths.order_parameters, OrderParameters)
    shapes = [(PATHS, 4, 2, 2)] * 2 + [(PATHS, 4, 2, 1)] * 2
    assert [a.shape for a in paths.order_parameters] == shapes
