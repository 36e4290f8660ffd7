"""Whole trajectories: networks of two sizes against the equations, and how the gap closes."""

import numpy as np
import pytest

from odes import feedback_angle, generalization_error, solve
from simulations import sample_network, simulate
from tests.conftest import PEPITA_RULES, quick_and_long

SIZES = (100, 400)
RUNS = 128
TIMES = np.array([0.5, 2.0, 4.0])
TRAINING = {"lr": 0.6, "lr_v": 0.4, "noise": 0.2, "weight_decay": 0.05}


def network(N):
    """The same readouts and feedback at every N, so that sizes differ in little else."""
    return sample_network(N=N, K=2, M=2, O=2, v=[[1, 0.2], [0.1, -0.8]], seed=1)


@pytest.mark.computes
@pytest.mark.parametrize("rule", quick_and_long([], "afa"))
def test_networks_approach_the_theory(rule):
    """Means over runs are the theory up to O(1/N), and single runs approach it as 1/sqrt(N).

    Means: five standard errors, Student's t with 127 degrees of freedom, over 85 correlated
    numbers: false alarms below 2e-4; 0.3/N leaves room for the bias of O(1/N).
    Distance of single runs from the theory: its root mean square over runs and entries at the last
    time falls by 2 from N = 100 to 400.  One variance of 128 runs is known to 13 per cent, so that
    1.6 and 2.5, which are 22 and 25 per cent off in the standard deviation, are more than three
    errors away even if all entries move together: false alarms below 1e-3.
    """
    distance = []
    for N in SIZES:
        initial, teacher = network(N).overlaps(rule)
        theory = solve(initial, teacher, rule=rule, times=TIMES, **TRAINING)
        simulation = simulate(
            network(N), rule=rule, times=TIMES, n_runs=RUNS, n_test=500, seed=N, **TRAINING
        )
        assert np.all(simulation.status == "ok")
        numbers = [(theory.generalization_error, simulation.generalization_error)]
        numbers += [
            (a, b)
            for a, b in zip(theory.order_parameters, simulation.order_parameters, strict=True)
            if a is not None and not (rule == "fa" and a is theory.order_parameters.B)
        ]
        for exact, measured in numbers:
            error = measured.std(axis=0, ddof=1) / np.sqrt(RUNS)
            allowed = 5 * error + 0.3 / N * (1 + np.abs(exact))
            assert np.all(np.abs(measured.mean(axis=0) - exact) < allowed)
        last = [(measured[:, -1] - exact[-1]).ravel() for exact, measured in numbers[1:]]
        distance.append(np.sqrt(np.mean(np.concatenate(last) ** 2)))
    assert 1.6 < distance[0] / distance[1] < 2.5


@pytest.mark.computes
@pytest.mark.parametrize("rule", quick_and_long([], *PEPITA_RULES))
def test_exact_theory_of_pepita_is_that_of_networks(rule):
    """K = M = 2, N = 1000, with noise inside the second pass and decay; 32 runs.

    At five standard errors, Student's t with 31 degrees of freedom, over 45 numbers a rule the
    false-alarm rate is 4e-3 for all four; 1/N leaves room for the bias.  AFA in place of the rule
    is off by more: the last assertion.
    """
    start = sample_network(N=1000, K=2, M=2, v_star=[1.2, 0.6], feedback_scale=0.5, seed=0)
    times = np.array([1.0, 3.0, 6.0])
    training = {"lr": 0.6, "noise": 0.2, "weight_decay": 0.02, "times": times}
    initial, teacher = start.overlaps(rule)
    theory = solve(initial, teacher, rule=rule, points=2**13, **training)
    simulation = simulate(start, rule=rule, n_runs=32, n_test=1000, **training)
    assert theory.status == "ok"

    def agrees(theory):
        pairs = [(theory.generalization_error, simulation.generalization_error)]
        pairs += zip(theory.order_parameters, simulation.order_parameters, strict=True)
        for exact, measured in pairs:
            error = measured.std(axis=0, ddof=1) / np.sqrt(32)
            allowed = 5 * error + (1 + np.abs(exact)) / 1000
            if np.any(np.abs(measured.mean(axis=0) - exact) > allowed):
                return False
        return True

    assert agrees(theory)
    assert not agrees(solve(initial, teacher, rule="afa", **training))


@pytest.mark.long
def test_feedback_breaks_the_degeneracy_of_solutions():
    """Erf units are odd, so that every sign of the readouts has a solution of zero error.

    Of 10 networks and their theories, those that get to an error below 1e-3: FA ends in the one
    whose signs are those of B; so does AFA, with those of the first B, and its B has turned to the
    readout; for BP, which does not know this B, every sign is a coin's toss.  There the share that
    agrees, of 20 independent signs in networks, is within a third of a half: false alarm 3e-3.
    """
    training = {"lr": 1.5, "times": [300.0]}
    agree = {rule: [] for rule in ("bp", "fa", "afa")}
    for seed in range(10):
        start = sample_network(N=100, K=2, M=2, student_scale=1.0, seed=seed)
        for rule, signs in agree.items():
            initial, teacher = start.overlaps(rule)
            theory = solve(initial, teacher, rule=rule, **training)
            runs = simulate(start, rule=rule, n_test=1, seed=seed, **training)
            for end in (theory.order_parameters, runs.order_parameters):
                if generalization_error(end, teacher).item() < 1e-3:
                    signs.append(np.sign(end.v.reshape(2)) == np.sign(start.B[:, 0]))
                    assert rule != "afa" or feedback_angle(end).item() < 10
    assert all(len(signs) > 7 for signs in agree.values())
    assert np.all(agree["fa"])
    assert np.all(agree["afa"])
    assert abs(np.mean(agree["bp"]) - 0.5) < 1 / 3
