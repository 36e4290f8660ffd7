"""Sweeps of the theory: the numbers of ``solve`` at every point, labelled; failures stay local."""

import itertools
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from odes import OrderParameters, Rule, hyperparameters, solve, sweep
from odes.common.machine import Machine
from odes.problem import prepare
from odes.solvers import batches
from tests.conftest import random_problem

TIMES = np.array([0.0, 1.0, 10.0, 40.0])
RTOL, ATOL = 1e-7, 1e-9


@pytest.fixture(scope="module")
def swept():
    """Two rules on a grid of three axes, with every order parameter."""
    initial, teacher = random_problem(2, 2, 1)
    grid = {
        "lr": np.array([0.7, 0.05, 0.3]),
        "feedback_scale": np.array([0.2, 1.0]),
        "noise": [0.0, 0.4],
        "weight_decay": 0.01,
        "lr_v": [0.1, 0.0],
    }
    result = sweep(
        initial,
        teacher,
        rule=["bp", "afa"],
        times=TIMES,
        rtol=RTOL,
        atol=ATOL,
        order_parameters=("Q", "R", "v", "B"),
        **grid,
    )
    return initial, teacher, grid, result


def test_every_point_is_the_single_solution_to_the_tolerance_asked_for(swept):
    initial, teacher, grid, result = swept
    fixed = {"weight_decay": 0.01, "rtol": 1e-11, "atol": 1e-13}
    assert result.generalization_error.dims == ("rule", *list(grid)[:3], "lr_v", "time")
    axes = [grid[name] for name in ("lr", "feedback_scale", "noise", "lr_v")]
    for rule, lr, scale, noise, lr_v in itertools.product(("bp", "afa"), *axes):
        exact = solve(
            initial._replace(B=scale * initial.B),
            teacher._replace(S=scale * teacher.S, P=scale**2 * teacher.P),
            rule=rule,
            lr=lr,
            lr_v=lr_v,
            noise=noise,
            times=TIMES,
            **fixed,
        )
        point = result.sel(rule=rule, lr=lr, feedback_scale=scale, noise=noise, lr_v=lr_v)
        assert point.status == exact.status == "ok"
        assert point.n_steps > 0
        for name, array in exact.order_parameters._asdict().items():
            if array is None:
                assert np.all(np.isnan(point[name]))
            else:
                np.testing.assert_allclose(point[name], array, rtol=RTOL, atol=ATOL)
        np.testing.assert_allclose(
            point.generalization_error, exact.generalization_error, rtol=1e-6
        )


def test_the_dataset_is_labelled_and_survives_a_file(swept, tmp_path):
    initial, _, grid, result = swept
    assert result.Q.dims[-3:] == ("time", "k", "l")
    assert result.R.dims[-2:] == ("k", "m")
    assert result.v.dims[-2:] == result.B.dims[-2:] == ("k", "o")
    assert result.attrs["weight_decay"] == 0.01
    assert result.attrs["max_steps"] == 10_000
    assert set(json.loads(result.attrs["averages"]).values()) == {"closed forms"}
    assert str(initial.Q[0, 1]) in result.attrs["initial"]
    for name in ("generalization_error", "status", "n_steps", "Q", "B", "lr", "time", "rule"):
        assert result[name].attrs["units"] == "1"
        assert result[name].attrs["long_name"]
    np.testing.assert_array_equal(result.lr, grid["lr"])
    nearest = result.sortby("lr").sel(lr=0.28, method="nearest")
    assert nearest.lr == 0.3
    result.to_netcdf(tmp_path / "swept.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "swept.nc") as stored:
        assert stored.identical(result)
    assert all(isinstance(variable.values, np.ndarray) for variable in result.variables.values())
    assert result.generalization_error.dtype == np.float64


class Unruly(Rule):
    """B = 1 stays, B = 2 has no finite drift, and B = 3 blows up at a finite time."""

    def feedback_drift(self, state, teacher, learning):
        xp = state.B.__array_namespace__()
        grown = xp.where(state.B > 2.5, state.B**3, 0.0)
        return {"B": xp.where((state.B > 1.5) & (state.B < 2.5), np.nan, grown)}


def test_a_point_that_fails_leaves_the_others_as_they_are():
    initial, teacher = random_problem(1, 1, 1)
    initial = initial._replace(B=np.array([[1.0]]))
    result = sweep(
        initial,
        teacher,
        rule=Unruly(),
        times=[0.0, 0.01, 5.0],
        lr=[0.1, 200.0],
        feedback_scale=[1.0, 2.0, 3.0],
        max_steps=300,
        rtol=1e-5,
        atol=1e-7,
        order_parameters="B",
    )
    assert result.attrs["rule"] == "Unruly"
    assert result.status.values.tolist() == [
        ["ok", "nonfinite", "diverged"],
        ["max_steps", "nonfinite", "diverged"],
    ]
    finite = np.isfinite(result.generalization_error.values)
    assert finite[0].tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert np.array_equal(np.isfinite(result.B.values[..., 0, 0]), finite)
    exact = solve(initial, teacher, rule="fa", lr=0.1, times=[0.0, 0.01, 5.0])
    np.testing.assert_allclose(
        result.generalization_error[0, 0], exact.generalization_error, rtol=1e-5
    )


def test_rules_without_closed_form_are_swept_with_points():
    initial, teacher = random_problem(1, 1, 1)
    arguments = {"times": [0.5, 2.0], "points": 128}
    result = sweep(
        initial,
        teacher,
        rule={"clean": "pepita", "Hebbian": "pepita-hebbian"},
        lr=[0.1, 0.4],
        noise=[0.0, 0.3],
        feedback_scale=[1.0, 0.5],
        rtol=1e-7,
        atol=1e-9,
        **arguments,
    )
    assert result.rule.values.tolist() == ["clean", "Hebbian"]
    exact = solve(
        initial._replace(B=0.5 * initial.B),
        teacher._replace(S=0.5 * teacher.S, P=0.25 * teacher.P),
        rule="pepita-hebbian",
        lr=0.4,
        noise=0.3,
        **arguments,
    )
    point = result.sel(rule="Hebbian", lr=0.4, noise=0.3, feedback_scale=0.5)
    np.testing.assert_allclose(point.generalization_error, exact.generalization_error, rtol=1e-6)


def test_batches_and_order_do_not_matter():
    """A point alone, among others in a group that is not full, and in another order."""
    initial, teacher = random_problem(2, 2, 1)
    rates = np.array([0.1, 0.9, 0.4, 0.2, 0.6])
    arguments = {"rule": "afa", "times": TIMES, "rtol": RTOL, "atol": ATOL}
    by_two = sweep(initial, teacher, lr=rates, batch_size=2, **arguments)
    at_once = sweep(initial, teacher, lr=rates[::-1], **arguments)
    np.testing.assert_allclose(
        by_two.generalization_error, at_once.generalization_error[::-1], rtol=1e-6
    )
    assert by_two.n_steps.values.tolist() == at_once.n_steps.values[::-1].tolist()


def test_the_former_name_of_the_batch_size_is_taken_with_a_warning():
    initial, teacher = random_problem(1, 1, 1)
    arguments = {"rule": "bp", "lr": 0.1, "times": [1.0]}
    with pytest.warns(DeprecationWarning, match="`lanes` is now called `batch_size`"):
        former = sweep(initial, teacher, lanes=1, **arguments)
    assert former.identical(sweep(initial, teacher, batch_size=1, **arguments))
    with pytest.raises(ValueError, match="Both are given"):
        sweep(initial, teacher, lanes=1, batch_size=1, **arguments)


def test_numbers_alone_make_a_dataset_without_axes():
    initial, teacher = random_problem(1, 1, 1)
    result = sweep(initial, teacher, rule="fa", lr=0.1, times=[1.0, 2.0], batch_size=1)
    assert result.generalization_error.dims == ("time",)
    assert result.status == "ok"
    assert result.attrs["lr"] == 0.1
    assert (result.attrs["noise"], result.attrs["lr_v"]) == (0.0, "as lr")


def test_axes_and_rules_may_be_given_in_many_forms():
    initial, teacher = random_problem(1, 1, 1)
    arguments = {"times": [1.0], "rtol": np.array(1e-5), "order_parameters": None, "batch_size": 2}
    rates = xarray.DataArray(np.array([0.1, 0.2], "float32"), dims="lr")
    one = sweep(initial, teacher, rule=("fa", "bp"), lr=rates, **arguments)
    other = sweep(
        initial, teacher, rule=np.array(["fa", "bp"]), lr=jnp.array([0.1, 0.2]), **arguments
    )
    assert one.identical(other)
    assert one.rule.values.tolist() == ["fa", "bp"]


def test_points_of_similar_cost_share_their_lanes():
    """The product of learning rate and feedback scale falls from chunk to chunk."""
    initial, teacher = random_problem(1, 1, 1)
    problem = prepare(
        initial, teacher, rule="afa", activation="erf", points=None,
        parameters=hyperparameters(lr=1.0),
    )  # fmt: skip
    values = np.random.default_rng(0).uniform(0.1, 1, (21, 6))
    plan = batches.chunks_of([problem], values, 2, Machine("cpu", 1, 2, 2**34))
    sizes = [len(chosen) for _, chosen in plan]
    assert sizes == [8, 8, 8]
    order = np.concatenate([chosen for _, chosen in plan])
    assert set(order) == set(range(21))
    assert np.all(np.diff((values[:, 0] * values[:, 5])[order]) <= 0)


DEFAULTS = """
import json, numpy as np, jax, jax.numpy as jnp
from unittest import mock
from odes import sweep
from tests.conftest import random_problem
initial, teacher = random_problem(1, 1, 1)
with mock.patch("jax.shard_map", wraps=jax.shard_map) as spread:
    result = sweep(
        initial, teacher, rule="afa", times=[1.0, 10.0], lr=np.linspace(0.1, 1, 10), batch_size=2
    )
print(json.dumps({
    "spread": spread.called,
    "devices": len(jax.local_devices()),
    "x64": jax.config.jax_enable_x64,
    "default": str(jnp.ones(1).dtype),
    "ours": str(result.generalization_error.dtype),
    "errors": result.generalization_error.values.tolist(),
}))
"""


@pytest.mark.long
def test_jax_stays_as_it_was_and_several_devices_share_the_lanes():
    """JAX's defaults on one device, and on two the same sweep to the last bit."""
    results = []
    for flags in ("", "--xla_force_host_platform_device_count=2"):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        environment["JAX_PLATFORMS"] = "cpu"
        output = subprocess.run(
            [sys.executable, "-c", DEFAULTS],
            check=True,
            capture_output=True,
            text=True,
            env=environment | {"XLA_FLAGS": flags},
        ).stdout
        results.append(json.loads(output))
    one, two = results
    assert (one["devices"], two["devices"]) == (1, 2)
    assert (one["spread"], two["spread"]) == (False, True)
    for result in results:
        assert not result["x64"]
        assert (result["default"], result["ours"]) == ("float32", "float64")
    np.testing.assert_array_equal(two["errors"], one["errors"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": [0.1]}, "`learning_rate` is unknown; axes are lr, lr_v"),
        ({"lr": None}, "`lr` must be a number or a one-dimensional array"),
        ({"lr": []}, r"`lr` must be .* at least one entry, but has shape \(0,\)"),
        ({"lr": np.ones((2, 2))}, r"`lr` must be .* but has shape \(2, 2\)"),
        ({"lr": [0.1, np.nan]}, "`lr` must be a finite number >= 0, but is nan"),
        ({"noise": -1.0}, "`noise` must be a finite number >= 0"),
        ({"lr": [-0.1, 0.1]}, "`lr` must be a finite number >= 0"),
        ({"lr": [0.1, 0.1]}, "`lr` must hold each value once"),
        ({"rule": []}, "`rule` must hold each rule once"),
        ({"rule": {}}, "`rule` must hold each rule once"),
        ({"rule": None}, '`rule` must be one of "bp"'),
        ({"lr": [[0.1], [0.1, 0.2]]}, "`lr` must be a number or a one-dimensional array"),
        ({"path": 5}, "`path` must be a path or None"),
        ({"rule": ["fa", "fa"]}, "`rule` must hold each rule once"),
        ({"rule": ["fa", "backprop"]}, '`rule` must be one of "bp"'),
        ({"times": [2.0, 1.0]}, "`times` must be"),
        ({"order_parameters": ("R", "X")}, "`order_parameters` must hold names among Q, R, v, B"),
        ({"executor": "processes"}, "`executor` must be a concurrent.futures.Executor"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"rtol": 1e-20}, "`rtol` must be at least"),
    ],
)
def test_bad_arguments_are_named(change, message, tmp_path):
    initial, teacher = random_problem(1, 1, 1)
    arguments = {"rule": "fa", "times": TIMES, "lr": [0.1, 0.2], "path": tmp_path / "new"}
    with pytest.raises(ValueError, match=message):
        sweep(initial, teacher, **(arguments | change))
    assert not (tmp_path / "new").exists()


def test_an_invalid_initial_state_is_named():
    _, teacher = random_problem(1, 1, 1)
    impossible = OrderParameters(np.eye(1), np.full((1, 1), 9.0), np.ones((1, 1)))
    with pytest.raises(ValueError, match="positive semidefinite"):
        sweep(impossible, teacher, rule="bp", times=TIMES, lr=[0.1])
