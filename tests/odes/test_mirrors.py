"""Feedback that learns: mirrors against averages over their noise, networks, and known limits."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf

from odes import (
    RULES,
    PiecewiseConstant,
    escape_time,
    feedback_angle,
    fixed_point,
    plateau_interval,
    solve,
    sweep,
    symmetric_plateau,
)
from odes.analyses.fixed_points import _is_physical
from odes.analyses.plateaus import _undecided
from odes.common.checks import hyperparameters
from odes.equations import drift
from odes.rules import KolenPollack, Mirrored, MirroredAFA, MirroredFA, MirroredPEPITA
from simulations import RULES as ALGORITHMS
from simulations import network_with_overlaps, pre_mirrored, sample_network, simulate
from simulations.rules.mirrors import ReadoutMirror, TwoLayerMirror
from tests.conftest import factored_problem, gaussian_grid, needed, quick_and_long, random_problem

STILL = hyperparameters(lr=0.0)
MIRRORS = [
    {"lr": 0.3, "noise": 1.3, "decay": 0.05},
    {"lr": 0.3, "noise": 1.3, "decay": 0.05, "nonlinear": True},
    {"lr": 0.5, "noise": 0.8, "normalised": True, "nonlinear": True},
]


@pytest.mark.parametrize("mirror", MIRRORS)
def test_mirrors_of_both_layers_average_over_their_noise(mirror):
    """Fields of the noise: students, teachers, F1; then hidden noise.  All by Gauss-Hermite."""
    state, teacher = factored_problem(2, 1, 2, seed=3)
    state = state._replace(B=None)
    lr, s, decay = mirror["lr"], mirror["noise"], mirror.get("decay", 0.0)
    whole = np.block(
        [
            [state.Q, state.R, state.B1],
            [state.R.T, teacher.T, state.S1],
            [state.B1.T, state.S1.T, state.P1],
        ]
    )
    fields, weight = gaussian_grid(s**2 * whole, 14)
    a = erf(fields[:2] / np.sqrt(2)) if mirror.get("nonlinear") else fields[:2]
    hidden, chance = gaussian_grid(s**2 * np.eye(2), 4)
    dF2 = lr * (hidden * chance) @ hidden.T @ state.v - decay * state.F2
    along = lr * (fields * weight) @ a.T  # what xi a^T adds to the overlap of F1 with any vector
    dP1 = along[3:] + along[3:].T + lr**2 * s**2 * (a * weight) @ a.T - 2 * decay * state.P1
    dB1, dS1 = along[:2] - decay * state.B1, along[2:3] - decay * state.S1
    if mirror.get("normalised"):
        shrunk = np.trace(dP1) / np.trace(state.P1) / 2
        dB1, dS1 = dB1 - shrunk * state.B1, dS1 - shrunk * state.S1
        dP1 = dP1 - 2 * shrunk * state.P1
        dF2 = dF2 - np.sum(dF2 * state.F2) / np.sum(state.F2**2) * state.F2
    ours = drift(state, teacher, STILL, rule=MirroredAFA(**mirror))
    for name, exact in {"B1": dB1, "S1": dS1, "P1": dP1, "F2": dF2, "Q": 0 * state.Q}.items():
        np.testing.assert_allclose(getattr(ours, name), exact, atol=1e-7, err_msg=name)


def test_pepita_with_mirrors_is_pepita_while_the_mirror_rests():
    """With the F that the factors make; also its variant that moves W along F."""
    state, teacher = factored_problem(2, 2, 1, seed=1)
    training = {"lr": 0.4, "weight_decay": 0.1, "times": [1.0, 3.0], "points": 256}
    for mirrored, plain in (
        (MirroredPEPITA(lr=0, decay=0), "pepita"),
        (Mirrored("pepita-hebbian", lr=0, decay=0), "pepita-hebbian"),
    ):
        ours = solve(state, teacher, rule=mirrored, **training)
        other = solve(needed(state, plain), teacher, rule=plain, **training)
        for name in "QRvB":
            np.testing.assert_allclose(
                getattr(ours.order_parameters, name), getattr(other.order_parameters, name),
                rtol=1e-6, atol=1e-7,
            )  # fmt: skip


def test_mirrors_of_a_frozen_network_approach_its_transpose():
    """FA's B tends to lr s^2 / decay v, and F to the same multiples of W and v."""
    state, teacher = factored_problem(2, 2, 2, seed=2)
    still = {"lr": 0.0, "times": [100.0]}
    for rule, name in ((MirroredFA(0.2, 1.5, 0.3), "B"), (MirroredAFA(0.2, 1.5, 0.3), "F2")):
        end = solve(state, teacher, rule=rule, **still).order_parameters
        np.testing.assert_allclose(getattr(end, name)[0], 1.5 * state.v, atol=1e-9)
    np.testing.assert_allclose(end.B1[0], 1.5 * state.Q, atol=1e-9)
    np.testing.assert_allclose(end.S1[0], 1.5 * state.R.T, atol=1e-9)
    noise = 0.2**2 * 1.5**4 * state.Q / 0.6  # that F1 keeps
    np.testing.assert_allclose(end.P1[0], 1.5**2 * state.Q + noise, atol=1e-9)
    np.testing.assert_allclose(end.B[0], end.B1[0] @ end.F2[0], atol=1e-12)


def test_a_normalised_mirror_cannot_leave_zero():
    """Nothing can be scaled back to a norm of zero, in theory and network alike."""
    network = sample_network(N=50, K=2, M=2, seed=1)
    rule = MirroredAFA(lr=0.3, normalised=True)
    training = {"rule": rule, "lr": 0.3, "times": [1.0], "feedback_scale": 0.0}
    theory = solve(*network.overlaps(rule), **training)
    runs = simulate(network, n_test=10, **training)
    for each in (theory, runs):
        assert np.all(each.status == "ok")
        assert np.all(each.order_parameters.F2 == 0)


def test_a_fixed_point_needs_an_F1_of_its_overlaps():
    """Overlaps that no vectors have do not count as physical."""
    state, teacher = factored_problem(1, 1, 1, seed=4)
    wrong = state._replace(B1=5 * np.ones((1, 1)), P1=0.1 * np.ones((1, 1)))
    assert _is_physical(state, teacher, False)
    assert not _is_physical(wrong, teacher, False)


def test_normalised_mirrors_keep_their_scale():
    state, teacher = factored_problem(2, 2, 2, seed=2)
    rule = MirroredAFA(0.3, 1.2, normalised=True, nonlinear=True)
    end = solve(state, teacher, rule=rule, lr=0.3, times=[5.0, 50.0]).order_parameters
    np.testing.assert_allclose(np.trace(end.P1, axis1=1, axis2=2), np.trace(state.P1), rtol=1e-7)
    np.testing.assert_allclose(np.sum(end.F2**2, axis=(1, 2)), np.sum(state.F2**2), rtol=1e-7)


def test_kolen_pollack_makes_one_of_feedback_and_readout():
    """B - v decays at the rate of the readout's decay, and stays as it is without."""
    state, teacher = random_problem(2, 2, 2, seed=1)
    times = np.array([0.5, 2.0, 10.0])
    for decay in (0.0, 0.3):
        end = solve(
            state, teacher, rule=KolenPollack(), lr=0.3, lr_v=0.5, weight_decay=decay, times=times
        ).order_parameters
        apart = np.exp(-decay * times)[:, None, None] * (state.B - state.v)
        np.testing.assert_allclose(end.B - end.v, apart, atol=1e-8)


@pytest.mark.parametrize("rule", ["fa-mirror", "afa-mirror"])
def test_a_fixed_point_with_mirrors_is_a_late_state(rule):
    """K = M = 1 with noise and decay; what moves are all order parameters of the feedback."""
    state, teacher = factored_problem(1, 1, 1, seed=4)
    training = {"rule": rule, "lr": 0.4, "noise": 0.3, "weight_decay": 0.02}
    late = solve(state, teacher, times=[2000.0], **training).order_parameters
    late = type(late)(*(each[0] for each in late))
    found = fixed_point(late, teacher, **training)
    assert found.stable
    assert found.eigenvalues.size == {"fa-mirror": 4, "afa-mirror": 7}[rule]
    np.testing.assert_allclose(found.order_parameters.B, late.B, atol=1e-5)


@pytest.mark.computes
@pytest.mark.parametrize(
    ("rule", "mirror"),
    quick_and_long([], ("pepita", MIRRORS[2]), ("afa", MIRRORS[0])),
)
def test_networks_with_mirrors_follow_the_theory(rule, mirror):
    """Real noise in every mirror phase; K = M = O = 2, N = 500, 32 runs.

    At five standard errors, Student's t with 31 degrees of freedom, over 90 numbers each, the
    false-alarm rate is 4e-3 in all; (1 + |number|) / N leaves room for the bias, 3 times that
    in P1, whose noise is of order 1 / N.
    """
    network = sample_network(
        N=500, K=2, M=2, O=2, v=[[1, 0.2], [0.1, -0.8]], seed=0, feedback_scale=0.5
    )
    points = 2**12 if rule.startswith("pepita") else None
    rule = Mirrored(rule, **mirror)
    training = {
        "rule": rule, "lr": 0.5, "noise": 0.2, "weight_decay": 0.05, "times": [1.0, 3.0, 6.0]
    }  # fmt: skip
    theory = solve(*network.overlaps(rule), points=points, **training)
    runs = simulate(network, n_runs=32, n_test=1000, **training)
    assert theory.status == "ok"
    pairs = {"error": (theory.generalization_error, runs.generalization_error)}
    for name, exact in theory.order_parameters._asdict().items():
        if exact is not None:
            pairs[name] = exact, getattr(runs.order_parameters, name)
    for name, (exact, measured) in pairs.items():
        error = measured.std(axis=0, ddof=1) / np.sqrt(32)
        room = (3 if name == "P1" else 1) * (1 + np.abs(exact)) / 500
        assert np.all(np.abs(measured.mean(axis=0) - exact) < 5 * error + room), name


def test_mirroring_first_is_learning_at_a_rate_of_zero():
    """FA: a schedule that begins at 0, and networks that were mirrored before they learn.

    The mirrored B of ten networks scatters around that of the theory as 1 / sqrt(N): to five
    standard errors of their mean, and 3 / N.  The angle of B and v falls on the way.
    """
    t, rule = 8.0, MirroredFA(lr=0.3, noise=1.2, decay=0.2)
    network = sample_network(N=200, K=2, M=2, O=2, seed=3)
    initial, teacher = network.overlaps("fa")
    theory = solve(initial, teacher, rule=rule, lr=0.0, times=[0.0, t])
    after = [pre_mirrored(network, rule=rule, t=t, seed=seed) for seed in range(10)]
    B = np.array([each.B for each in after])
    error = B.std(axis=0, ddof=1) / np.sqrt(10)
    assert np.all(np.abs(B.mean(axis=0) - theory.order_parameters.B[-1]) < 5 * error + 3 / 200)
    np.testing.assert_array_equal(after[0].W, network.W)
    begun, ended = feedback_angle(theory.order_parameters)
    assert ended < 0.5 * begun
    late = PiecewiseConstant([t], [0.0, 0.5])
    both = solve(initial, teacher, rule=rule, lr=late, times=[t, t + 2])
    np.testing.assert_allclose(both.order_parameters.B[0], theory.order_parameters.B[-1], rtol=1e-7)
    assert both.generalization_error[1] < both.generalization_error[0]


def test_a_mirror_runs_as_many_times_as_samples_were():
    """Without noise each time takes the same share of B."""
    network = sample_network(N=10, K=2, M=1)
    for steps in (0, 1, 7):
        after = pre_mirrored(network, rule=MirroredFA(noise=0.0, decay=1.0), t=steps / 10)
        np.testing.assert_allclose(after.B, 0.9**steps * network.B, rtol=1e-12)


def test_mirroring_first_makes_an_F_that_rules_without_mirrors_use():
    network = sample_network(N=300, K=2, M=2, seed=3)
    after = pre_mirrored(network, rule="pepita-mirror", t=20.0, seed=1)
    np.testing.assert_allclose(after.F, after.F1 @ after.F2 / np.sqrt(300), rtol=1e-12)
    B, mirrored = after.overlaps("pepita")[0].B, after.overlaps("pepita-mirror")[0]
    np.testing.assert_allclose(B, mirrored.B1 @ mirrored.F2, rtol=1e-12)
    again = pre_mirrored(network, rule="pepita-mirror", t=20.0, seed=1)
    np.testing.assert_array_equal(after.F1, again.F1)
    theory = solve(*network.overlaps("pepita-mirror"), rule="afa-mirror", lr=0.0, times=[20.0])
    np.testing.assert_allclose(B, theory.order_parameters.B[0], atol=0.02)
    assert feedback_angle(after.overlaps("pepita")[0]) < feedback_angle(
        network.overlaps("pepita")[0]
    )


def test_rules_with_mirrors_are_swept_and_keep_their_factors():
    state, teacher = factored_problem(2, 2, 1, seed=1)
    rules = {"slow": MirroredAFA(lr=0.05), "fast": replace(RULES["afa-mirror"], lr=0.4)}
    swept = sweep(
        state, teacher, rule=rules, lr=[0.2, 0.5], times=[3.0], order_parameters=("B", "P1", "F2")
    )
    assert swept.P1.dims == ("rule", "lr", "time", "k", "l")
    one = solve(state, teacher, rule=rules["fast"], lr=0.5, times=[3.0])
    point = swept.sel(rule="fast", lr=0.5)
    np.testing.assert_allclose(point.generalization_error, one.generalization_error, rtol=1e-6)
    for name in ("B", "P1", "F2"):
        np.testing.assert_allclose(point[name], getattr(one.order_parameters, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"F2": None}, ("`F2`", "(K, O)", "None")),
        ({"B1": np.ones((2, 3))}, ("`B1`", "(K, K)", "(2, 3)")),
        ({"P1": np.diag([1.0, -1.0])}, ("F1", "semidefinite")),
        ({"P1": np.array([[1.0, 0.5], [0.0, 1.0]])}, ("`P1`", "symmetric")),
        ({"feedback_scale": lambda t: 1.0}, ("`feedback_scale`", "number", "learns")),
        ({"fluctuations": True}, ("`fluctuations`", "mirrors")),
        ({"rule": MirroredAFA(nonlinear=True), "activation": "tanh"}, ("`rule`", "nonlinear")),
    ],
)
def test_bad_feedback_that_learns_is_named(changes, words):
    state, teacher = factored_problem(2, 1, 1)
    arguments = {"rule": "afa-mirror", "lr": 0.1, "times": [1.0], **changes}
    overlaps = {name: arguments.pop(name) for name in changes if name in state._fields}
    with pytest.raises(ValueError, match="Argument") as error:
        solve(state._replace(**overlaps), teacher, **arguments)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("rule", ["bp", "kolen-pollack", "sign-random", "fa-mirror"])
def test_mirrors_go_with_rules_that_feed_back_a_B_or_F_as_it_is(rule):
    with pytest.raises(ValueError, match="`rule` must feed back a B or an F"):
        Mirrored(rule)


@pytest.mark.parametrize("make", [MirroredFA, MirroredAFA, ReadoutMirror, TwoLayerMirror])
def test_a_mirror_of_impossible_rates_is_named(make):
    for name in ("lr", "noise", "decay"):
        with pytest.raises(
            ValueError, match=f"`{name} of the mirror` must be a finite number >= 0"
        ):
            make(**{name: -1.0})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": None}, "`network` must be a Network"),
        ({"rule": "fa"}, "`rule` must have a mirror"),
        ({"t": -1.0}, "`t` must be a finite number >= 0"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"activation": "step"}, "`activation` must be one of"),
    ],
)
def test_bad_arguments_of_mirroring_first_are_named(changes, words):
    network = sample_network(N=20, K=1, M=1)
    arguments = {"network": network, "rule": "fa-mirror", "t": 1.0} | changes
    with pytest.raises(ValueError, match=words):
        pre_mirrored(**arguments)


def test_networks_without_factors_and_random_feedback_have_no_mirrors():
    plain = sample_network(N=20, K=1, M=1)._replace(F1=None, F2=None)
    for call in (lambda: plain.overlaps("pepita-mirror"),
                 lambda: simulate(plain, rule="pepita-mirror", lr=0.1, times=[1.0])):  # fmt: skip
        with pytest.raises(ValueError, match="`network` must have F1"):
            call()
    random = sample_network(N=20, K=1, M=1, feedback="random")
    with pytest.raises(ValueError, match="`network` must have an aligned F"):
        pre_mirrored(random, rule="pepita-mirror", t=1.0)
    state, teacher = factored_problem(1, 1, 1)
    with pytest.raises(ValueError, match='`feedback` must be "aligned"'):
        network_with_overlaps(state, teacher, N=20, feedback="random")
    still = ALGORITHMS["afa-mirror"]._replace(mirror=None)
    with pytest.raises(ValueError, match="`rule` must have a mirror to learn F1, F2"):
        simulate(random, rule=still, lr=0.1, times=[1.0])
    with pytest.raises(ValueError, match="`rule` must not be 'pepita-mirror' for random"):
        random.overlaps("pepita-mirror")
    with pytest.raises(ValueError, match="`feedback_scale` must be a number for a rule"):
        simulate(plain, rule="fa-mirror", lr=0.1, times=[1.0], feedback_scale=lambda t: 1.0)


def test_a_plateau_is_left_at_its_rate():
    """From half-way on it, to ten per cent; the state has factors, and B beside them."""
    rule = "afa-mirror"
    network = sample_network(N=2000, K=2, M=2, student_scale=0.1, v=[1, 1], B=[1, 1], seed=0)
    initial, teacher = network.overlaps(rule)
    training = {"rule": rule, "lr": 0.5, "lr_v": 0.0}
    plateau = symmetric_plateau(initial, teacher, **training)
    undecided = _undecided(initial)
    assert np.ptp(initial.S1, axis=0).min() > 0
    assert np.ptp(undecided.S1, axis=0).max() == np.ptp(undecided.R, axis=1).max() == 0
    course = solve(initial, teacher, times=np.linspace(1, 400, 400), **training)
    start, end = plateau_interval(course, plateau.generalization_error)
    half = int((start + end) / 2)
    parts = course.order_parameters._asdict().items()
    state = type(initial)(*(None if each is None else each[half] for _, each in parts))
    left = end - course.times[half]
    assert abs(escape_time(plateau, state, teacher) / left - 1) < 0.1
