"""Calls that differ in numbers alone compile once."""

import jax
import numpy as np
import pytest

from odes import (
    OrderParameters,
    PiecewiseConstant,
    critical_learning_rate,
    escape_time,
    fixed_point,
    flow,
    optimal_schedule,
    solve,
    solve_paths,
    sweep,
    symmetric_plateau,
    update_cosine,
)
from simulations import pre_mirrored, sample_network, simulate, simulate_chain
from simulations import sweep as simulated
from tests.conftest import random_problem

COMPILED = "/jax/core/compile/backend_compile_duration"
CALLS = 6


@pytest.fixture
def compilations():
    """A list that grows by one at every compilation, also one that a cache on disk has."""
    found = []

    def listen(event, duration, **about):
        if event == COMPILED:
            found.append(about)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def schedule(i):
    return PiecewiseConstant([0.1 + 0.01 * i], [0.5, 0.4 + 0.01 * i])


def state(i, K=1):
    return random_problem(K, 1, 1, seed=i)


def train(function, i, **options):
    network = sample_network(N=50, K=2, M=1, seed=i)
    lr, lr_v = 0.1 + 0.05 * i, schedule(i)
    times = np.cumsum(1.0 + np.arange(2 + i % 3) * (1 + i))
    function(
        network, rule="afa", lr=lr, lr_v=lr_v, noise=0.1 * i, times=times, seed=i, n_test=10,
        progress=False, **options,
    )  # fmt: skip


def slope(i):
    initial, teacher = state(i)
    times = np.array([0.1 + 0.1 * i])

    def error(height):
        lr = PiecewiseConstant([0.05 + 0.01 * i], [0.3, height])
        curve = flow(
            initial, teacher, rule="bp", lr=lr, noise=0.1 * i, times=times, rtol=1e-6, atol=1e-8
        )
        return curve.generalization_error[0]

    with jax.enable_x64(True):
        jax.grad(error)(0.1 + 0.1 * i)


def averaged(i):
    times = np.array([0.0, 0.1 + 0.1 * i])
    solve(*state(i), rule="pepita", lr=schedule(i), noise=0.1 + i, times=times, points=16)


def classified(i):
    times = np.array([0.0, 0.1 + 0.1 * i])
    solve(*state(i), rule="bp", lr=0.1 + 0.1 * i, times=times, misclassification=True, points=16)


def tuned(i):
    lr = PiecewiseConstant([0.1 + 0.01 * i], [0.5 + 0.1 * i, 0.4])
    optimal_schedule(
        *state(i), rule="bp", lr=lr, noise=0.1 * i, t=0.3 + 0.1 * i, rtol=1e-6, max_iterations=2
    )


def undecided(i):
    network = sample_network(N=50, K=2, M=2, student_scale=0.01, v=[1, 1], v_star=[1, 1], seed=i)
    initial, teacher = network.overlaps("bp")
    lr = 0.3 + 0.02 * i
    plateau = symmetric_plateau(initial, teacher, rule="bp", lr=lr, lr_v=0.0)
    escape_time(plateau, initial, teacher)


def scanned(i):
    network = sample_network(N=50, K=1, M=1, seed=i)
    axes = {"lr": [0.1 + 0.1 * i, 0.2 + 0.1 * i], "noise": 0.1 * i}
    simulated(network, rule="bp", times=[0.0, 0.2 + 0.2 * i], seed=i, n_runs=2, n_test=10, **axes)


def mirrored(i):
    pre_mirrored(sample_network(N=50, K=1, M=1, seed=i), rule="fa-mirror", t=1.0 + i, seed=i)


def swept(i):
    axes = {"lr": [0.1 + 0.1 * i, 0.2 + 0.1 * i], "noise": 0.1 * i}
    sweep(*state(i), rule="bp", times=np.array([0.1, 0.2 + 0.1 * i]), **axes)


def paths(i):
    times = np.array([0.1, 0.11 + 0.05 * i])
    solve_paths(
        *state(i), rule="afa", lr=0.1 + 0.1 * i, noise=0.1 * i, times=times, seed=i, n_paths=2,
        dt=0.02 + 1e-3 * i if i % 2 else 0.02,
    )  # fmt: skip


def still(i):
    fixed_point(*state(i), rule="bp", lr=0.1 + 0.1 * i, noise=0.1 * i, weight_decay=0.1)


def critical(i):
    _, teacher = state(i)
    learned = OrderParameters(teacher.T, teacher.T, teacher.v_star, None)
    critical_learning_rate(learned, teacher, rule="bp", lr_v=0.1 * i)


def angles(i):
    states = solve(*state(i), rule="bp", lr=0.1 + 0.1 * i, times=[0.0, 1.0]).order_parameters
    update_cosine(states, state(i)[1], rule="bp", lr=0.1 * i, noise=0.1 + i, points=16)


CASES = {
    "simulate": lambda i: train(simulate, i, n_runs=3),
    "simulate_chain": lambda i: train(simulate_chain, i, n_runs=2),
    "flow": slope,
    "solve": averaged,
    "solve, misclassification": classified,
    "optimal_schedule": tuned,
    "symmetric_plateau": undecided,
    "simulations.sweep": scanned,
    "pre_mirrored": mirrored,
    "sweep": swept,
    "solve_paths": paths,
    "fixed_point": still,
    "critical_learning_rate": critical,
    "update_cosine": angles,
}


@pytest.mark.parametrize("case", CASES)
def test_calls_that_differ_in_numbers_compile_once(case, compilations):
    CASES[case](0)
    compilations.clear()
    for i in range(1, CALLS):
        CASES[case](i)
    assert not compilations
