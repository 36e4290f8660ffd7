"""The chain against the network of all N inputs, in law; and what holds for every N."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from odes import PiecewiseConstant, Spectrum, solve
from simulations import RULES, chain, sample_network, simulate, simulate_chain
from tests.conftest import PEPITA_RULES, quick_and_long

TIMES = [0.5, 1.0, 2.0]
SIZES = {"K": 2, "M": 2, "O": 2, "feedback_scale": 0.7, "student_scale": 0.7}
TRAINING = {"lr": 0.5, "lr_v": 0.3, "noise": 0.3, "weight_decay": 0.05, "times": TIMES}
OBSERVABLES = {
    "error": lambda run: run.generalization_error,
    "Q": lambda run: run.order_parameters.Q[..., 0, 1],
    "norm": lambda run: run.order_parameters.Q[..., 0, 0],
    "R": lambda run: run.order_parameters.R[..., 1, 0],
    "v": lambda run: run.order_parameters.v[..., 0, -1],
    "signs": lambda run: run.misclassification,
    "B": lambda run: run.order_parameters.B[..., 1, 0],
}


STRUCTURED = Spectrum([2.0, 0.8], [0.1, 0.9], [0.25, 4.0], [0.8, 0.2])


@pytest.mark.parametrize(
    ("rule", "N", "inputs"),
    quick_and_long(
        [("bp", 50, None)],
        ("pepita-tl", 50, STRUCTURED),
        *((rule, 50, None) for rule in (*PEPITA_RULES, "kolen-pollack", "dtp", "ff")),
        *((rule, 50, STRUCTURED) for rule in ("bp", "afa", "pepita-modulated", "ff")),
        ("pepita-tl", 500, None),
        ("afa", 200, STRUCTURED),
    ),
)  # fmt: skip
def test_the_law_is_that_of_the_whole_network(rule, N, inputs):
    """Kolmogorov-Smirnov tests of all observables at all times: 440 in all, false alarm 4e-3.

    Of white inputs, and of two groups with two factors, of which one has fewer inputs at N = 50
    than there are vectors, and more at 200.
    """
    sizes = SIZES | {"O": 1} if RULES[rule].classifies else SIZES
    network = sample_network(N=N, seed=1, inputs=inputs, **sizes)
    whole = simulate(network, rule=rule, n_runs=200, n_test=200, seed=1, **TRAINING)
    few = simulate_chain(network, rule=rule, n_runs=400, n_test=200, seed=2, **TRAINING)
    np.testing.assert_array_equal(few.times, whole.times)
    for name, observable in OBSERVABLES.items():
        if name == "B" and rule in ("bp", "fa", "ff"):  # none, and one that stays as it is
            continue
        for at, t in enumerate(TIMES):
            samples = [observable(each)[:, at] for each in (whole, few)]
            assert np.all(ks_2samp(*samples).pvalue > 1e-5), (name, t)


def test_the_law_under_schedules():
    """As above, with a jump of the learning rate and one of the scale; 18 tests, 2e-4."""
    network = sample_network(N=50, seed=1, **SIZES)
    training = TRAINING | {
        "lr": PiecewiseConstant([0.7], [0.2, 1.0]),
        "feedback_scale": PiecewiseConstant([1.5], [1.0, 0.3]),
    }
    whole = simulate(network, rule="afa", n_runs=200, n_test=200, seed=1, **training)
    few = simulate_chain(network, rule="afa", n_runs=400, n_test=200, seed=2, **training)
    for name, observable in OBSERVABLES.items():
        for at, t in enumerate(TIMES):
            samples = [observable(each)[:, at] for each in (whole, few)]
            assert ks_2samp(*samples).pvalue > 1e-5, (name, t)


@pytest.mark.long
@pytest.mark.parametrize("rule", ["afa", "pepita"])
def test_the_law_with_random_feedback_and_hardly_more_inputs_than_vectors(rule):
    """At a rate at which the rest of the input counts; 36 tests in all, false alarm 4e-4."""
    network = sample_network(N=7, seed=1, feedback="random", **SIZES)
    whole = simulate(network, rule=rule, n_runs=200, n_test=200, seed=1, **TRAINING | {"lr": 2.0})
    few = simulate_chain(
        network, rule=rule, n_runs=400, n_test=200, seed=2, **TRAINING | {"lr": 2.0}
    )
    for name, observable in OBSERVABLES.items():
        for at, t in enumerate(TIMES):
            samples = [observable(each)[:, at] for each in (whole, few)]
            assert ks_2samp(*samples).pvalue > 1e-5, (name, t)


def test_it_starts_where_the_network_is():
    network = sample_network(N=20, seed=3, **SIZES)
    start = simulate_chain(network, rule="afa", lr=0.1, times=[0.0])
    for measured, exact in zip(start.order_parameters, network.overlaps("afa")[0], strict=True):
        np.testing.assert_allclose(measured[0, 0], exact, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", quick_and_long([], "pepita-modulated"))
def test_a_large_network_follows_the_theory(rule):
    """N = 10^6, where overlaps fluctuate by up to 7e-4 (a tenth of 100 runs at N = 10^4)."""
    network = sample_network(N=10**6, K=2, M=2, seed=0, feedback_scale=0.5)
    few = simulate_chain(network, rule=rule, lr=0.5, times=[1.0], n_runs=2, n_test=10)
    theory = solve(*network.overlaps(rule), rule=rule, lr=0.5, times=[1.0])
    for name in "QRv":
        exact = getattr(theory.order_parameters, name)
        for run in getattr(few.order_parameters, name):
            np.testing.assert_allclose(run, exact, atol=5e-3)


@pytest.mark.long
def test_overlaps_stay_those_of_vectors():
    """Ten chains of a million steps each: the Gram matrix of W, W* and F.

    It has no eigenvalue below zero but by rounding, and B, measured on the few coordinates, stays
    the overlap with an F that has not moved: its projection on the units is within P.
    """
    network = sample_network(N=50, seed=2, **SIZES)
    few = simulate_chain(
        network, rule="afa", lr=0.3, times=[1e2, 2e4], n_runs=10, n_test=10, progress=False
    )
    Q, R, _, B = few.order_parameters
    _, teacher = network.overlaps("afa")
    T, S, P = (np.broadcast_to(each, (10, 2, 2, 2)) for each in (teacher.T, teacher.S, teacher.P))
    gram = np.block([[Q, R, B], [R.mT, T, S], [B.mT, S.mT, P]])
    smallest = np.linalg.eigvalsh(gram)[..., 0]
    assert np.all(smallest > -1e-12 * np.trace(gram, axis1=-2, axis2=-1))
    assert np.all(few.status == "ok")


def test_data_depend_on_seed_run_and_sample_alone(monkeypatch):
    network = sample_network(N=40, K=1, M=1, seed=0)
    arguments = {"rule": "bp", "lr": 0.5, "noise": 0.2, "n_test": 20}
    two = simulate_chain(network, times=[2.0], n_runs=2, seed=4, **arguments)
    monkeypatch.setattr(chain, "NUMBERS", 100)
    three = simulate_chain(network, times=[0.7, 2.0], n_runs=3, seed=4, **arguments)
    np.testing.assert_allclose(
        three.order_parameters.Q[:2, 1], two.order_parameters.Q[:, 0], rtol=1e-12
    )
    other = simulate_chain(network, times=[2.0], n_runs=2, seed=5, **arguments)
    assert len(np.unique([*two.order_parameters.Q.flat, *other.order_parameters.Q.flat])) == 4


def test_runs_that_diverge_are_data():
    network = sample_network(N=40, K=1, M=1, seed=0)
    few = simulate_chain(network, rule="bp", lr=1.0, lr_v=1e3, times=[0.1, 50.0], n_runs=2)
    assert few.status.tolist() == ["diverged", "diverged"]
    assert np.all(np.isnan(few.generalization_error[:, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "backprop"}, '`rule` must be one of "bp"'),
        ({"lr": -1.0}, "`lr` must be a finite number >= 0"),
        ({"n_runs": 0}, "`n_runs` must be an integer >= 1"),
        ({"times": [1.0, 1.001]}, "`times` must be distinct numbers of samples"),
        ({"activation": "step"}, '`activation` must be one of "erf"'),
        ({"network": None}, "`network` must be a Network"),
        ({"rule": RULES["bp"]._replace(equivariant=False)}, "`rule` must be declared equivariant"),
    ],
)
def test_bad_arguments_are_named(change, message):
    network = sample_network(N=20, K=1, M=1)
    arguments = {"network": network, "rule": "bp", "lr": 0.1, "times": [1.0]} | change
    with pytest.raises(ValueError, match=message):
        simulate_chain(**arguments)


def test_a_network_of_too_few_inputs_is_named():
    network = sample_network(N=10, K=1, M=1)
    small = network._replace(
        W=network.W[:, :2], W_star=network.W_star[:, :2], F=network.F[:2], F1=None, F2=None
    )
    with pytest.raises(ValueError, match=r"`network` must have N of at least K \+ M \+ O = 3"):
        simulate_chain(small, rule="bp", lr=0.1, times=[1.0])
