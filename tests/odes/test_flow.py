"""The flow in JAX: the numbers of ``solve``, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from odes import PiecewiseConstant, flow, solve
from odes.common.order_parameters import STATUS
from tests.conftest import random_problem

TIMES = np.array([0.0, 0.5, 4.0, 20.0])
ACCURATE = {"rtol": 1e-10, "atol": 1e-12}


def assert_within_tolerance(ours, exact, rtol, atol):
    """Every saved order parameter agrees to rtol and atol with a much more accurate solution."""
    for name, array in exact.order_parameters._asdict().items():
        if array is not None:
            np.testing.assert_allclose(
                getattr(ours.order_parameters, name), array, rtol=rtol, atol=atol, err_msg=name
            )


@pytest.mark.parametrize(("rule", "tolerance"), [("bp", 1e-6), ("afa", 1e-9)])
def test_flow_is_the_solution_to_the_tolerance_asked_for(rule, tolerance):
    initial, teacher = random_problem(2, 3, 2)
    parameters = {"lr": 0.4, "lr_v": 0.2, "noise": 0.2, "weight_decay": 0.02}
    exact = solve(initial, teacher, rule=rule, times=TIMES, rtol=1e-12, atol=1e-14, **parameters)
    with jax.enable_x64(True):
        ours = flow(
            initial,
            teacher,
            rule=rule,
            times=TIMES,
            rtol=tolerance,
            atol=tolerance / 100,
            **parameters,
        )
        assert STATUS[ours.status] == exact.status == "ok"
        assert ours.n_steps > 10
        assert_within_tolerance(ours, exact, tolerance, tolerance / 100)
        np.testing.assert_allclose(
            ours.generalization_error, exact.generalization_error, rtol=10 * tolerance
        )


def test_flow_averages_over_points_as_solve_does():
    initial, teacher = random_problem(1, 1, 1)
    arguments = {"rule": "pepita", "lr": 0.4, "noise": 0.1, "times": TIMES, "points": 64}
    exact = solve(initial, teacher, rtol=1e-10, **arguments)
    with jax.enable_x64(True):
        ours = jax.jit(lambda: flow(initial, teacher, rtol=1e-7, atol=1e-9, **arguments))()
        assert_within_tolerance(ours, exact, 1e-7, 1e-9)


def test_a_frozen_readout_stays_as_it_is_unless_told_to_decay():
    initial, teacher = random_problem(1, 1, 1)
    shared = {"rule": "bp", "lr": 0.4, "weight_decay": 0.3, "times": np.array([2.0])}
    with jax.enable_x64(True):
        still, decayed, moved = (
            flow(initial, teacher, **change, **shared).order_parameters.v[0]
            for change in ({"lr_v": 0.0}, {"lr_v": 0.0, "weight_decay_v": 0.3}, {"lr_v": 0.2})
        )
    np.testing.assert_array_equal(still, initial.v)
    np.testing.assert_allclose(decayed, np.exp(-0.6) * initial.v, rtol=1e-8)
    exact = solve(initial, teacher, lr_v=0.2, **shared).order_parameters.v[0]
    np.testing.assert_allclose(moved, exact, rtol=1e-7)


def test_derivatives_agree_with_finite_differences():
    """Reverse and forward mode, by learning rate, feedback scale and an overlap, to 1e-5."""
    initial, teacher = random_problem(1, 2, 1)
    at = np.array([0.5, 0.8, initial.R[0, 0]])

    def final_error(parameters):
        lr, scale, overlap = parameters
        moved = initial._replace(R=jnp.asarray(initial.R).at[0, 0].set(overlap))
        curve = flow(
            moved,
            teacher,
            rule="afa",
            lr=lr,
            feedback_scale=scale,
            times=np.array([3.0]),
            **ACCURATE,
        )
        return curve.generalization_error[0]

    def solved(parameters):
        lr, scale, overlap = parameters
        moved = initial._replace(R=np.array([[overlap, initial.R[0, 1]]]))
        theory = solve(
            moved, teacher, rule="afa", lr=lr, feedback_scale=scale, times=[3.0], **ACCURATE
        )
        return theory.generalization_error[0]

    step = 1e-4
    numeric = [(solved(at + step * e) - solved(at - step * e)) / (2 * step) for e in np.eye(3)]
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(jax.grad(final_error))(at), numeric, rtol=1e-5)
        along = np.array([0.3, -0.5, 0.2])
        _, forward = jax.jit(lambda x: jax.jvp(final_error, (x,), (along,)))(at)
        np.testing.assert_allclose(forward, along @ np.array(numeric), rtol=1e-5)


def test_derivatives_by_the_heights_of_a_schedule_agree_with_finite_differences():
    """First ones, side by side, of solve to 1e-6; second ones of first ones."""
    initial, teacher = random_problem(1, 1, 1)
    shared = {"rule": "bp", "times": np.array([2.0]), **ACCURATE}

    def error(heights):
        lr = PiecewiseConstant([1.0], [heights[0], heights[1]])
        return flow(initial, teacher, lr=lr, **shared).generalization_error[0]

    def solved(heights):
        lr = PiecewiseConstant([1.0], heights)
        return solve(initial, teacher, lr=lr, **shared).generalization_error[0]

    at, step = np.array([0.5, 0.3]), 1e-4
    around = at + step * np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
    errors = np.array([solved(each) for each in around])
    with jax.enable_x64(True):
        slopes = np.asarray(jax.jit(jax.vmap(jax.grad(error)))(around))
        curvature = jax.jit(jax.hessian(error))(at)
    np.testing.assert_allclose(slopes[0], (errors[2::2] - errors[1::2]) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(curvature, (slopes[2::2] - slopes[1::2]) / (2 * step), rtol=1e-6)


def test_a_schedule_of_ones_own_may_refer_to_what_is_differentiated():
    initial, teacher = random_problem(1, 1, 1)
    shared = {"rule": "bp", "times": np.array([2.0]), **ACCURATE}

    def error(height):
        curve = flow(initial, teacher, lr=lambda t: height * jnp.exp(-t), **shared)
        return curve.generalization_error[0]

    def solved(height):
        theory = solve(initial, teacher, lr=lambda t: height * np.exp(-t), **shared)
        return theory.generalization_error[0]

    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(error))(0.5)
    np.testing.assert_allclose(slope, (solved(0.5001) - solved(0.4999)) / 2e-4, rtol=1e-6)


def test_traced_jumps_are_refused_by_name(problem):
    initial, teacher = problem

    def error(jump):
        lr = PiecewiseConstant([jump], [1.0, 0.5])
        return flow(initial, teacher, rule="bp", lr=lr, times=TIMES).generalization_error[-1]

    with jax.enable_x64(True), pytest.raises(ValueError, match="`lr` must have jumps that are not"):
        jax.grad(error)(1.0)


def test_flow_refuses_single_precision_when_traced_by_the_user(problem):
    initial, teacher = problem

    def final(lr):
        return flow(initial, teacher, rule="bp", lr=lr, times=TIMES).generalization_error[-1]

    with jax.enable_x64(False):
        for transformed in (jax.jit(final), jax.grad(final), final):
            with pytest.raises(ValueError, match=r"float64.*jax.enable_x64"):
                transformed(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "backprop"}, '`rule` must be one of "bp"'),
        ({"rtol": 0.0}, "`rtol` must be"),
        ({"points": -1}, "`points` must be"),
        ({"max_steps": 0}, "`max_steps` must be"),
        ({"times": 1.0}, r"`times` must be a one-dimensional"),
        ({"feedback_scale": np.ones(2)}, r"`feedback_scale` must be a finite number"),
    ],
)
def test_bad_arguments_are_named(problem, change, message):
    initial, teacher = problem
    arguments = {"rule": "afa", "lr": 0.1, "times": TIMES} | change
    with jax.enable_x64(True), pytest.raises(ValueError, match=message):
        flow(initial, teacher, **arguments)


def test_shapes_are_checked_under_a_transformation(problem):
    initial, teacher = problem

    def final(state, fixed):
        return flow(state, fixed, rule="afa", lr=0.1, times=TIMES).generalization_error

    with jax.enable_x64(True):
        with pytest.raises(ValueError, match=r"`R` must have shape \(K, M\)"):
            jax.jit(final)(initial._replace(R=initial.R[:1]), teacher)
        with pytest.raises(ValueError, match=r"`S` must be an array of shape \(M, O\)"):
            jax.jit(final)(initial, teacher._replace(S=None))
