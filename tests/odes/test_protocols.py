"""Optimal schedules: minima of the error, better than what they began with, in networks too."""

import numpy as np
import pytest

from odes import PiecewiseConstant, generalization_error, optimal_schedule, solve
from simulations import sample_network, simulate_chain

PROBLEM = {"rule": "afa", "noise": 0.5, "t": 40.0}
NETWORK = sample_network(N=300, K=1, M=1, feedback_scale=1.0, seed=0)
INITIAL, TEACHER = NETWORK.overlaps("afa")
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def error_of(t, rule, noise, **schedules):
    theory = solve(INITIAL, TEACHER, rule=rule, noise=noise, times=[t], **schedules, **EXACT)
    return theory.generalization_error[0]


@pytest.fixture(scope="module")
def constant():
    return optimal_schedule(INITIAL, TEACHER, lr=PiecewiseConstant([], [0.5]), **PROBLEM)


@pytest.fixture(scope="module")
def both():
    start = PiecewiseConstant([10.0, 25.0], [0.5, 0.5, 0.5])
    scale = PiecewiseConstant([20.0], [1.0, 1.0])
    return optimal_schedule(
        INITIAL, TEACHER, lr=start, feedback_scale=scale, lr_v=0.3, within=3.0, **PROBLEM
    )


def test_the_best_constant_is_that_of_a_scan(constant):
    rates = np.geomspace(0.05, 1, 60)
    errors = [error_of(lr=lr, **PROBLEM) for lr in rates]
    best = rates[np.argmin(errors)]
    assert abs(np.log(constant.schedules["lr"].values[0] / best)) < np.log(rates[1] / rates[0])
    assert constant.generalization_error <= min(errors)
    assert abs(constant.initial_error - error_of(lr=0.5, **PROBLEM)) < 1e-7


def test_no_value_of_an_optimal_schedule_can_be_bettered(both):
    """Ten per cent more or less of any value that is not at the edge of its range is worse."""
    exact = error_of(**PROBLEM, lr_v=0.3, **both.schedules)
    assert abs(both.generalization_error / exact - 1) < 1e-6
    free = 0
    for name, schedule in both.schedules.items():
        middle = {"lr": 0.5, "feedback_scale": 1.0}[name]
        for index, value in enumerate(schedule.values):
            if abs(np.log(value / middle)) > np.log(3.0) - 1e-6:
                continue
            free += 1
            for factor in (0.9, 1.1):
                values = schedule.values.copy()
                values[index] *= factor
                moved = both.schedules | {name: schedule._replace(values=values)}
                assert error_of(**PROBLEM, lr_v=0.3, **moved) > exact
    assert free >= 2


def test_a_best_value_out_of_range_gives_way_to_the_nearest_in_range():
    """Early a rate far above 0.1 is best, and late one far below 0.9."""
    start = PiecewiseConstant([10.0], [0.1, 0.9])
    found = optimal_schedule(INITIAL, TEACHER, lr=start, within=1.5, **PROBLEM)
    np.testing.assert_allclose(found.schedules["lr"].values, [0.15, 0.6], rtol=1e-9)


@pytest.mark.long
def test_annealing_wins_over_the_best_constant_in_networks_too(constant):
    """N = 300, 400 chains: the means are those of theory, to five standard errors and 1 per cent.

    The errors are those of the overlaps, whose means are O(1/N) from the theory.
    """
    jumps = [5.0, 12.0, 24.0]
    values = constant.schedules["lr"].values[0] * np.array([3.0, 2.0, 1.0, 0.5])
    tuned = optimal_schedule(INITIAL, TEACHER, lr=PiecewiseConstant(jumps, values), **PROBLEM)
    assert tuned.generalization_error < 0.95 * constant.generalization_error
    means, errors = [], []
    for optimum in (constant, tuned):
        runs = simulate_chain(
            NETWORK, rule="afa", noise=0.5, times=[40.0], n_runs=400, n_test=1, **optimum.schedules
        )
        measured = generalization_error(runs.order_parameters, TEACHER)[:, 0]
        means.append(measured.mean())
        errors.append(measured.std(ddof=1) / np.sqrt(400))
        allowed = 5 * errors[-1] + 0.01 * optimum.generalization_error
        assert abs(means[-1] - optimum.generalization_error) < allowed
    assert means[0] - means[1] > 5 * np.hypot(*errors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "`lr`, `lr_v` or `feedback_scale` must be a PiecewiseConstant"),
        ({"lr": PiecewiseConstant([1.0], [0.5, 0.0])}, "`lr` must have values > 0"),
        ({"lr": PiecewiseConstant([1.0], [0.5])}, "`lr` must have one value more than jumps"),
        ({"lr": PiecewiseConstant([3.0, 1.0], [1, 1, 1])}, "`lr` must have jumps that are > 0 and"),
        ({"lr": PiecewiseConstant([], [1e9])}, "`lr` must let the solution get to `t`"),
        ({"t": 0.0}, "`t` must be a finite number > 0"),
        ({"within": -1.0}, "`within` must be a finite number >= 0"),
        ({"within": 1.0}, "`within` must be above 1"),
        ({"noise": -1.0}, "`noise` must be a finite number >= 0"),
        ({"lr_v": lambda t: -0.1}, "`lr_v` must return a finite number >= 0"),
        ({"rule": "hebb"}, "`rule` must be one of"),
        ({"max_iterations": 0}, "`max_iterations` must be an integer >= 1"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    arguments = {**PROBLEM, "lr": PiecewiseConstant([], [0.5])} | changes
    with pytest.raises(ValueError, match=message):
        optimal_schedule(INITIAL, TEACHER, **arguments)
