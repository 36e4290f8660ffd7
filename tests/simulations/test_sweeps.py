"""Sweeps of simulations: every point is what ``simulate`` gives there, labelled like theory."""

from functools import partial

import numpy as np
import pytest

import odes
import simulations
from simulations import sample_network, simulate

TIMES = np.array([0.5, 2.0])


def test_every_point_is_the_simulation_of_its_parameters():
    network = sample_network(N=60, K=2, M=1, seed=3)
    result = simulations.sweep(
        network,
        rule=["bp", "fa", "afa"],
        times=TIMES,
        lr=[0.1, 0.5],
        feedback_scale=[0.5, 2.0],
        seed=[4, 5],
        noise=0.1,
        n_runs=2,
        n_test=100,
        order_parameters=("R", "B"),
    )
    dimensions = ("rule", "lr", "feedback_scale", "seed", "run", "time")
    assert result.generalization_error.dims == dimensions
    assert result.R.dims == (*dimensions, "k", "m")
    assert result.attrs["noise"] == 0.1
    scaled = network._replace(B=2.0 * network.B, F=2.0 * network.F)
    for rule in ("bp", "fa", "afa"):
        alone = simulate(
            scaled, rule=rule, lr=0.5, times=TIMES, n_runs=2, n_test=100, seed=5, noise=0.1
        )
        point = result.sel(rule=rule, lr=0.5, feedback_scale=2.0, seed=5)
        np.testing.assert_array_equal(point.generalization_error, alone.generalization_error)
        np.testing.assert_array_equal(point.R, alone.order_parameters.R)
        assert point.status.values.tolist() == ["ok", "ok"]
    assert np.all(np.isnan(result.B.sel(rule="bp")))
    np.testing.assert_array_equal(point.B, alone.order_parameters.B)


def test_schedules_are_the_same_at_all_points():
    network = sample_network(N=60, K=2, M=1, seed=3)
    schedules = {
        "lr": odes.PiecewiseConstant([1.0], [0.5, 0.1]), "feedback_scale": lambda t: 1 / (1 + t)
    }  # fmt: skip
    shared = {"rule": "fa", "times": TIMES, "n_test": 100, **schedules}
    result = simulations.sweep(network, noise=[0.0, 0.2], order_parameters=("v", "B"), **shared)
    alone = simulate(network, noise=0.2, **shared)
    for name in "vB":
        expected = getattr(alone.order_parameters, name)
        np.testing.assert_array_equal(result[name].sel(noise=0.2), expected)
    assert result.attrs["lr"].startswith("PiecewiseConstant")


def test_sizes_and_seeds_are_axes_of_a_sampler(tmp_path):
    sampler = partial(sample_network, K=1, M=1)
    arguments = {"rule": "fa", "times": TIMES, "lr": 0.2, "n_test": 50, "order_parameters": "Q"}
    result = simulations.sweep(
        sampler, N=[20, 40], seed=[0, 7], path=tmp_path / "path", **arguments
    )
    assert result.sizes == {"N": 2, "seed": 2, "run": 1, "time": 2, "k": 1, "l": 1}
    for N in (20, 40):
        alone = simulate(sampler(N=N, seed=7), rule="fa", lr=0.2, times=TIMES, n_test=50, seed=7)
        point = result.sel(N=N, seed=7)
        np.testing.assert_array_equal(point.generalization_error, alone.generalization_error)
        np.testing.assert_array_equal(point.Q, alone.order_parameters.Q)
    again = simulations.sweep(sampler, N=[20, 40], seed=[0, 7], path=tmp_path / "path", **arguments)
    assert again.identical(result)
    with pytest.raises(ValueError, match="other arguments: `seed` was"):
        simulations.sweep(sampler, N=[20, 40], seed=[0, 8], path=tmp_path / "path", **arguments)


@pytest.mark.computes
def test_theory_and_simulation_align_on_their_coordinates():
    """Four means over 20 runs at N = 200; Student's t beyond 5 in one of them: 3e-4."""
    sampler = partial(sample_network, K=1, M=1, student_scale=0.3)
    grid = {"rule": ["afa"], "times": TIMES, "lr": [0.2, 0.8], "feedback_scale": [0.5]}
    network = sampler(N=200, seed=0)
    theory = odes.sweep(*network.overlaps("afa"), **grid)
    simulation = simulations.sweep(network, n_runs=20, n_test=4000, **grid)
    difference = simulation.generalization_error - theory.generalization_error
    assert difference.dims == ("rule", "lr", "feedback_scale", "run", "time")
    assert difference.shape == (1, 2, 1, 20, 2)
    z = difference.mean("run") / (difference.std("run", ddof=1) / np.sqrt(20))
    assert np.all(np.abs(z) < 5)


def failing_sampler(N, seed):
    if seed == 2:
        raise RuntimeError("no such network")
    return sample_network(N=N, K=1, M=1, seed=seed)


def test_a_sampler_that_fails_says_so_and_leaves_what_was_finished(tmp_path):
    with pytest.raises(RuntimeError, match="no such network") as raised:
        simulations.sweep(
            failing_sampler,
            rule="bp",
            times=TIMES,
            lr=0.1,
            N=20,
            seed=[0, 2],
            n_test=50,
            path=tmp_path / "path",
        )
    assert raised.value.__notes__ == [
        f"1 of 2 chunks were finished and stay in {tmp_path / 'path'}."
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N": [20]}, "`N` is unknown; axes are lr, .*seed"),
        ({"lr": []}, "`lr` must be .* at least one entry"),
        ({"seed": [0, -1]}, "`seed` must be an integer >= 0"),
        ({"seed": [0.5]}, "`seed` must be an integer"),
        ({"network": partial(sample_network, K=1, M=1)}, "`N` must be given if `network` is"),
        ({"network": "network"}, r"`network` must be a Network\(...\)"),
        ({"rule": ["fa", "backprop"]}, '`rule` must be one of "bp"'),
        ({"order_parameters": "X"}, "`order_parameters` must hold names among Q, R, v, B"),
        ({"activation": "erff"}, '`activation` must be one of "erf"'),
        ({"rule": {}}, "`rule` must hold each rule once"),
        ({"rule": None}, '`rule` must be one of "bp"'),
        ({"n_runs": 0}, "`n_runs` must be an integer >= 1"),
        ({"dtype": "float16"}, "`dtype` must be one of"),
        ({"times": [0.0, 0.001]}, "`times` must be distinct numbers of samples"),
    ],
)
def test_bad_arguments_are_named(change, message, tmp_path):
    arguments = {
        "network": sample_network(N=20, K=1, M=1),
        "rule": "fa",
        "times": TIMES,
        "lr": [0.1, 0.2],
        "path": tmp_path / "new",
    }
    with pytest.raises(ValueError, match=message):
        simulations.sweep(**(arguments | change))
    assert not (tmp_path / "new").exists()
