"""Parameters that change with time: exact at jumps, the same in every solver, refused if wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from odes import OrderParameters, PiecewiseConstant, Teacher, flow, solve, solve_paths, sweep
from odes.common.grid import AXES, make_grid
from odes.common.schedules import scheduled_hyperparameters, stretches
from tests.conftest import random_problem

TIMES = np.array([0.0, 1.0, 3.0, 4.5, 8.0])
EXACT = {"rtol": 1e-11, "atol": 1e-13}
LR = PiecewiseConstant([2.5, 4.5], [0.6, 0.1, 0.8])
SCALE = PiecewiseConstant([1.0, 3.0], [1.0, 0.3, 0.7])
SHARED = {"lr_v": 0.4, "noise": 0.2, "weight_decay": 0.05}


def piece_by_piece(initial, teacher, rule, ends, **options):
    """The states at the ends of pieces with constant parameters, each solved from the last one."""
    state, states, errors = initial, [], []
    for start, end in zip((0.0, *ends), ends, strict=False):
        scale = SCALE(start)
        fixed = teacher._replace(S=scale * teacher.S, P=scale**2 * teacher.P)
        piece = solve(
            state._replace(B=scale * state.B), fixed, rule=rule, lr=LR(start), times=[end - start],
            **SHARED, **EXACT, **options,
        )  # fmt: skip
        Q, R, v, B = (array[0] for array in piece.order_parameters)
        state = OrderParameters(Q, R, v, B / scale)
        states.append(state._replace(B=SCALE(end) * state.B))
        errors.append(piece.generalization_error[0])
    return states, np.array(errors)


@pytest.mark.parametrize(
    ("rule", "sizes", "options"),
    [("fa", (2, 3, 2), {}), ("afa", (2, 3, 2), {}), ("pepita-hebbian", (1, 1, 1), {"points": 64})],
)
def test_a_solution_with_jumps_is_that_of_its_pieces(rule, sizes, options):
    """Jumps of learning rate and feedback scale, some of them at times that are saved."""
    initial, teacher = random_problem(*sizes)
    ends = (1.0, 2.5, 3.0, 4.5, 8.0)
    states, errors = piece_by_piece(initial, teacher, rule, ends, **options)
    whole = solve(
        initial, teacher, rule=rule, lr=LR, feedback_scale=SCALE, times=ends, **SHARED, **EXACT,
        **options,
    )  # fmt: skip
    assert whole.status == "ok"
    for name, array in whole.order_parameters._asdict().items():
        expected = [getattr(state, name) for state in states]
        np.testing.assert_allclose(array, expected, rtol=1e-8, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(whole.generalization_error, errors, rtol=1e-8)


def test_a_schedule_that_is_constant_is_a_number(problem):
    numbers = {"lr": 0.5, "lr_v": 0.2, "feedback_scale": 0.7}
    expected = solve(*problem, rule="afa", times=TIMES, **numbers, **EXACT)
    functions = {name: lambda t, value=value: value for name, value in numbers.items()}
    ours = solve(*problem, rule="afa", times=TIMES, **functions, **EXACT)
    for a, b in zip(ours.order_parameters, expected.order_parameters, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    jumpless = solve(
        *problem, rule="afa", times=TIMES, lr=PiecewiseConstant([], [0.5]), lr_v=0.2,
        feedback_scale=0.7, **EXACT,
    )  # fmt: skip
    np.testing.assert_allclose(
        jumpless.generalization_error, expected.generalization_error, rtol=1e-9
    )


def test_the_linear_network_anneals_as_its_closed_solution_does():
    """d eps/dt = (eta^2 - 2 eta) eps with eta = a / (1 + t / tau) has an elementary solution."""
    a, tau = 0.9, 3.0
    start = OrderParameters(np.full((1, 1), 0.3), np.full((1, 1), 0.2), np.ones(1))
    teacher = Teacher(np.eye(1), np.ones(1))
    ours = solve(
        start, teacher, rule="bp", lr=lambda t: a / (1 + t / tau), lr_v=0, activation="linear",
        times=TIMES, **EXACT,
    )  # fmt: skip
    s = 1 + TIMES / tau
    exponent = a * a * tau * (1 - 1 / s) - 2 * a * tau * np.log(s)
    np.testing.assert_allclose(ours.generalization_error, 0.45 * np.exp(exponent), rtol=1e-9)


def test_a_feedback_that_is_switched_off_stops_the_first_layer_and_comes_back():
    """With scale 0 nothing but decay moves W, and B, which goes with it, is 0; then it goes on."""
    initial, teacher = random_problem(2, 2, 1)
    off = PiecewiseConstant([1.0, 2.0], [1.0, 0.0, 1.0])
    times = np.array([1.0, 1.5, 2.0, 3.0])
    ours = solve(
        initial, teacher, rule="afa", lr=0.5, lr_v=0.0, feedback_scale=off, times=times,
        weight_decay=0.3, **EXACT,
    ).order_parameters  # fmt: skip
    np.testing.assert_allclose(ours.R[2], np.exp(-0.3) * ours.R[0], rtol=1e-9)
    np.testing.assert_array_equal(ours.B[:2], 0)
    first = solve(
        initial, teacher, rule="afa", lr=0.5, lr_v=0.0, times=[1.0], weight_decay=0.3, **EXACT
    ).order_parameters
    np.testing.assert_allclose(ours.B[2], np.exp(-0.3) * first.B[0], rtol=1e-8)
    assert np.max(abs(ours.R[3] - np.exp(-0.3) * ours.R[2])) > 0.01


def test_flow_and_sweep_take_the_same_schedules():
    initial, teacher = random_problem(2, 2, 1)
    schedules = {"lr": LR, "lr_v": lambda t: 0.4 / (1 + t), "feedback_scale": SCALE}
    shared = {"rule": "afa", "times": TIMES, "rtol": 1e-8, "atol": 1e-10}
    exact = [
        solve(initial, teacher, noise=noise, **schedules, **shared | EXACT) for noise in (0.0, 0.3)
    ]
    with jax.enable_x64(True):
        ours = flow(initial, teacher, noise=0.3, **schedules, **shared)
    for a, b in zip(ours.order_parameters, exact[1].order_parameters, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)
    swept = sweep(
        initial, teacher, noise=[0.0, 0.3], order_parameters=("B",), **schedules, **shared
    )
    for index, each in enumerate(exact):
        point = swept.isel(noise=index)
        np.testing.assert_allclose(point.generalization_error, each.generalization_error, rtol=1e-7)
        np.testing.assert_allclose(point.B, each.order_parameters.B, rtol=1e-7, atol=1e-8)
    assert swept.attrs["lr"].startswith("PiecewiseConstant(jumps=")
    assert "lambda" in swept.attrs["lr_v"]


def test_the_readout_follows_the_schedule_of_the_first_layer_unless_told_otherwise():
    assert scheduled_hyperparameters(lr=LR).lr_v.function.values.tolist() == [0.6, 0.1, 0.8]
    assert scheduled_hyperparameters(lr=LR, lr_v=0.0).lr_v == 0
    schedules = make_grid({"lr": LR}, AXES).schedules
    assert schedules["lr_v"].function.values.tolist() == [0.6, 0.1, 0.8]
    assert list(make_grid({"lr": LR, "lr_v": 0.1}, AXES).schedules) == ["lr"]
    assert scheduled_hyperparameters(lr=LR, weight_decay=0.1).weight_decay_v == 0.1
    assert scheduled_hyperparameters(lr=LR, lr_v=0.0, weight_decay=0.1).weight_decay_v == 0


def test_values_at_jumps_are_those_from_then_on():
    assert [LR(t) for t in (0, 2.4999, 2.5, 4.5, 100)] == [0.6, 0.6, 0.1, 0.8, 0.8]
    np.testing.assert_array_equal(LR(np.array([0.0, 2.5, 9.0])), [0.6, 0.1, 0.8])


def annealed(t):
    return -t


def test_jumps_that_rounding_parts_are_one():
    """Of two parameters, of a jump and the last time, and next to the start."""
    initial, teacher = random_problem(1, 1, 1)
    above = 0.1 * 3
    assert above > 0.3
    shared = {"rule": "afa", "times": [0.1, above], **EXACT}
    exact = solve(initial, teacher, lr=0.5, lr_v=0.4, **shared)
    lr, lr_v = PiecewiseConstant([0.3], [0.5, 9.0]), PiecewiseConstant([1e-300], [9.0, 0.4])
    ours = solve(initial, teacher, lr=lr, lr_v=lr_v, **shared)
    assert ours.status == "ok"
    np.testing.assert_allclose(ours.order_parameters.v, exact.order_parameters.v, rtol=1e-8)
    both = {"lr": lr, "lr_v": PiecewiseConstant([above], [0.4, 0.1]), "times": [1.0]}
    ours = solve(initial, teacher, **shared | both)
    one = solve(initial, teacher, **shared | both | {"lr_v": PiecewiseConstant([0.3], [0.4, 0.1])})
    assert ours.status == one.status == "ok"
    np.testing.assert_allclose(ours.order_parameters.v, one.order_parameters.v, rtol=1e-10)


def test_a_stretch_sees_no_value_from_beyond_its_jumps():
    """Of two schedules whose jumps rounding has parted, at whatever time an integrator asks."""
    first, second = 0.3, 0.1 * 3
    lr, lr_v = PiecewiseConstant([first], [1.0, 2.0]), PiecewiseConstant([second], [3.0, 4.0])
    before, after = stretches([first, second], 1.0)
    assert (before.start, before.end, after.start, after.end) == (0.0, second, second, 1.0)
    for stretch, values in ((before, (1.0, 3.0)), (after, (2.0, 4.0))):
        for t in (0.0, 0.2, np.nextafter(first, 0), first, second, 0.7, 1.0):
            now = stretch.clipped(t)
            assert (lr(now), lr_v(now)) == values
            assert now == t or not stretch.start <= t <= stretch.last


def test_schedules_may_be_functions_of_jax_and_hold_tuples():
    """In ``solve``, outside double precision, and compiled."""
    initial, teacher = random_problem(1, 1, 1)
    shared = {"rule": "bp", "times": TIMES, "lr_v": PiecewiseConstant((1,), (1, 0.5))}
    exact = solve(initial, teacher, lr=lambda t: 0.5 * np.exp(-t / 5), **shared, **EXACT)
    in_jax = {"lr": lambda t: 0.5 * jnp.exp(-t / 5), **shared}
    ours = solve(initial, teacher, **in_jax, **EXACT)
    np.testing.assert_allclose(ours.generalization_error, exact.generalization_error, rtol=1e-9)
    swept = sweep(initial, teacher, **in_jax)
    np.testing.assert_allclose(swept.generalization_error, exact.generalization_error, rtol=1e-6)


def test_a_frozen_first_layer_does_not_freeze_a_scheduled_readout():
    initial, teacher = random_problem(1, 1, 1)
    given = {"rule": "bp", "times": [1.0], "lr": 0.0, "weight_decay": 0.3}
    given["lr_v"] = PiecewiseConstant([0.5], [0.5, 0.1])
    swept = sweep(initial, teacher, order_parameters=("v",), **given)
    exact = solve(initial, teacher, **given).order_parameters.v
    np.testing.assert_allclose(swept.v, exact, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": annealed}, r"`lr` must return a finite number >= 0 .* returned -.* at t = "),
        (
            {"lr": lambda t: np.ones(2)},
            r"`lr` must return .* returned array\(\[1., 1.\]\) at t = 0",
        ),
        ({"lr_v": lambda t: np.nan if t > 3 else 0.1}, r"`lr_v` must return .* returned nan"),
        ({"lr": lambda t: "fast"}, "`lr` must return .* returned 'fast'"),
        ({"lr": PiecewiseConstant([1.0], [0.1, -0.2])}, "`lr` must have values >= 0.*-0.2"),
        ({"lr": lambda t: 1 / t}, "`lr` must return .* raised ZeroDivisionError.* at t = 0"),
        ({"feedback_scale": lambda t: t - 1}, "`feedback_scale` must return .* returned -1"),
        ({"lr": PiecewiseConstant([2.0, 1.0], [1, 2, 3])}, "`lr` must have jumps .* increasing"),
        ({"lr": PiecewiseConstant([0.0], [1, 2])}, "`lr` must have jumps that are > 0"),
        ({"lr": PiecewiseConstant([1.0], [1.0])}, r"`lr` must have one value more .* 2, .* \(1,\)"),
        ({"noise": lambda t: 0.1}, "`noise` must be a finite number"),
        ({"weight_decay": lambda t: 0.1}, "`weight_decay` must be a finite number"),
    ],
)
@pytest.mark.parametrize("solver", [solve, sweep])
def test_bad_schedules_are_named(problem, solver, change, message):
    arguments = {"rule": "afa", "lr": 0.1, "times": TIMES} | change
    with pytest.raises(ValueError, match=message):
        solver(*problem, **arguments)


def test_schedules_are_refused_where_they_cannot_be(problem):
    scaled = {"feedback_scale": SCALE, "lr": 0.1, "rule": "afa", "times": TIMES}
    with pytest.raises(ValueError, match="`feedback_scale` must be a number with fluctuations"):
        solve(*problem, fluctuations=True, **scaled)
    with pytest.raises(ValueError, match="`lr` must be a finite number"):
        solve_paths(*problem, rule="afa", lr=LR, times=TIMES, n_paths=1)
    with jax.enable_x64(True), pytest.raises(ValueError, match=r"`lr` must be a scalar.* \(2,\)"):
        flow(*problem, rule="afa", lr=lambda t: np.ones(2), times=TIMES)
    for bad in (PiecewiseConstant([2.0, 1.0], [1, 2, 3]), PiecewiseConstant([1.0], [1.0])):
        with jax.enable_x64(True), pytest.raises(ValueError, match="`lr` must have"):
            flow(*problem, rule="afa", lr=bad, times=TIMES)
    with pytest.raises(ValueError, match="`lr` must be made of what JAX can trace"):
        sweep(*problem, rule="afa", lr=lambda t: 0.1 if t < 1 else 0.2, times=TIMES)
