"""Both sides of every rule: registered, of the promised shapes, and agreeing sample by sample."""

import numpy as np
import pytest

from odes import RULES as THEORIES
from odes import drift, hyperparameters, solve
from simulations import RULES as ALGORITHMS
from simulations import sample_network, simulate

WITHOUT_CLOSED_FORM = {"pepita", "pepita-modulated"}
TRAINING = {"lr": 0.9, "lr_v": 0.6, "noise": 0.5, "weight_decay": 0.3, "weight_decay_v": 0.2}
N, K, M, O = 1000, 2, 3, 2
RUNS = 4000


@pytest.fixture(scope="module")
def network():
    return sample_network(N=N, K=K, M=M, O=O, teacher="gaussian", student_scale=0.8, seed=11)


def test_every_rule_stands_on_both_sides():
    assert set(THEORIES) | WITHOUT_CLOSED_FORM == set(ALGORITHMS)
    assert not set(THEORIES) & WITHOUT_CLOSED_FORM


@pytest.mark.parametrize("rule", THEORIES)
def test_both_sides_return_the_same_form(network, rule):
    initial, teacher = network.overlaps(rule)
    theory = solve(initial, teacher, rule=rule, lr=0.5, times=[0, 0.01])
    simulation = simulate(network, rule=rule, lr=0.5, times=[0, 0.01], n_runs=2, n_test=5)
    assert theory.status == "ok"
    assert simulation.status.tolist() == ["ok"] * 2
    assert simulation.generalization_error.shape == (2, *theory.generalization_error.shape)
    for ours, theirs in zip(theory.order_parameters, simulation.order_parameters, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert theirs.shape == (2, *ours.shape)


@pytest.mark.parametrize("rule", THEORIES)
def test_drift_is_the_mean_change_of_a_finite_network_in_one_step(network, rule):
    """All order parameters of 4000 networks of N = 1000 that each saw one sample, in float64.

    At five standard errors and 20 numbers per rule the false-alarm rate is 2e-5; corrections of
    O(1/N) are below a third of a standard error.  The bound on the standard errors keeps a weak
    test from passing.
    """
    initial, teacher = network.overlaps(rule)
    exact = drift(initial, teacher, hyperparameters(**TRAINING), rule=THEORIES[rule])
    after = simulate(
        network, rule=rule, **TRAINING, times=[1 / N], n_runs=RUNS, n_test=1, dtype="float64"
    ).order_parameters
    for name, before, end, slope in zip("QRvB", initial, after, exact, strict=True):
        if before is None:
            continue
        change = N * (end[:, 0] - before)
        error = change.std(axis=0, ddof=1) / np.sqrt(RUNS)
        assert np.all(error < 0.15), name
        assert np.all(np.abs(change.mean(axis=0) - slope) <= 5 * error + 1e-9), name
