"""The symmetric plateau at finite learning rate: where it is, how high, and how long it lasts."""

import numpy as np
import pytest

from odes import (
    OrderParameters,
    Teacher,
    Trajectory,
    escape_time,
    plateau_interval,
    solve,
    symmetric_plateau,
)

B = {"bp": None, "fa": np.array([0.6, 1.2]), "afa": np.array([0.6, 1.2])}


def start(rule, asymmetry, K=2):
    """A student of orthogonal units, unit k turned to the teacher's unit k a little."""
    ones, R = np.ones(K), asymmetry * np.eye(K)
    student = OrderParameters(0.3 * np.eye(K), R, ones, B[rule])
    return student, Teacher(np.eye(K), ones, 0.8 * ones)


@pytest.mark.parametrize("rule", B)
def test_trajectories_stay_at_the_height_and_leave_at_the_rate_of_the_plateau(rule):
    """At lr = 1, where the height is half as much again as for lr -> 0.

    A hundred times smaller an asymmetry makes the plateau longer by ln 100 / rate, to 3 per cent;
    the height is that half-way to 0.5 per cent, and the time left is predicted to 5 per cent of the
    length.  Half-way the state is as near to the fixed point as the slowest decay there lets it be:
    that of what differs between the units of the student.
    """
    training = {"rule": rule, "lr": 1.0, "lr_v": 0.0}
    found = symmetric_plateau(*start(rule, 1e-3), **training)
    assert found.physical
    ends = []
    for asymmetry in (1e-8, 1e-10):
        times = np.linspace(0, 1000, 2001)
        course = solve(*start(rule, asymmetry), times=times, **training)
        begin, end = plateau_interval(course, found.generalization_error)
        middle = np.searchsorted(times, (begin + end) / 2)
        states = course.order_parameters
        state = OrderParameters(*(a if a is None else a[middle] for a in states))
        slowest = np.max(found.eigenvalues.real[found.eigenvalues.real < 0])
        for ours, theirs, first in zip(found.order_parameters, state, states, strict=True):
            if theirs is not None:
                far = np.max(abs(ours - first[0])) * np.exp(slowest * (end - begin) / 2)
                np.testing.assert_allclose(ours, theirs, atol=max(0.01, far))
        height = course.generalization_error[middle]
        assert abs(height / found.generalization_error - 1) < 0.005
        left = escape_time(found, state, start(rule, 0)[1])
        assert abs(times[middle] + left - end) < 0.05 * (end - begin)
        ends.append(end)
    predicted = np.log(100) / found.escape_rate
    assert abs((ends[1] - ends[0]) / predicted - 1) < 0.03


@pytest.mark.parametrize("rule", B)
def test_what_grows_on_the_plateau_tells_the_teacher_units_apart(rule):
    """Growing modes have no part in which all R_km of a student unit move alike, nor in Q and B."""
    found = symmetric_plateau(*start(rule, 1e-3), rule=rule, lr=1.0, lr_v=0.0)
    assert np.ptp(found.order_parameters.R, axis=1).max() < 1e-9
    growing = found.eigenvalues.real > 0
    assert 1 <= growing.sum() <= 2
    R = found.eigenvectors.R[growing]
    assert np.max(abs(R.sum(axis=-1))) < 1e-6
    assert np.min(np.max(abs(R), axis=(1, 2))) > 0.1
    assert np.max(abs(found.eigenvectors.Q[growing])) < 1e-6


def test_it_tends_to_the_plateau_of_small_learning_rates():
    K, lr = 3, 1e-3
    found = symmetric_plateau(*start("bp", 0.01, K), rule="bp", lr=lr, lr_v=0.0)
    np.testing.assert_allclose(found.order_parameters.Q, 1 / (2 * K - 1), atol=1e-3)
    np.testing.assert_allclose(found.order_parameters.R, 1 / np.sqrt(K * (2 * K - 1)), atol=1e-3)
    escape = 2 * K / np.pi * (2 * K - 1) ** -0.5 * (2 * K + 1) ** -1.5
    assert abs(found.escape_rate / lr / escape - 1) < 1e-3


def test_a_trained_readout_has_a_plateau_of_its_own():
    frozen, trained = (
        symmetric_plateau(*start("bp", 0.01), rule="bp", lr=1.0, lr_v=lr_v) for lr_v in (0.0, 1.0)
    )
    assert np.ptp(trained.order_parameters.v) < 1e-9
    assert trained.order_parameters.v[0, 0] < 0.9
    assert trained.generalization_error < frozen.generalization_error


def test_the_scale_of_the_feedback_counts_once():
    student, teacher = start("fa", 0.01)
    scaled = symmetric_plateau(student, teacher, rule="fa", lr=1.0, lr_v=0.0, feedback_scale=0.5)
    half = student._replace(B=0.5 * student.B)
    plain = symmetric_plateau(half, teacher, rule="fa", lr=1.0, lr_v=0.0)
    np.testing.assert_allclose(scaled.order_parameters.B[:, 0], half.B)
    np.testing.assert_allclose(scaled.order_parameters.Q, plain.order_parameters.Q, rtol=1e-8)
    assert abs(scaled.escape_rate / plain.escape_rate - 1) < 1e-8


def test_the_interval_is_that_of_the_first_crossings():
    times = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    errors = np.array([[4.0, 1.0, 1.0, 1.0, 0.25], [4.0, 2.0, 1.5, 1.2, 1.1], [0.1] * 5])
    runs = Trajectory(times, None, errors, "ok")
    begin, end = plateau_interval(runs, 1.0, within=0.5)
    np.testing.assert_allclose(begin, [1 - np.log(1.5) / np.log(4), 2.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(end, [3.5, np.nan, 0.0], atol=1e-12)
    alone = plateau_interval(runs._replace(generalization_error=errors[0]), 1.0, within=0.5)
    assert np.shape(alone[0]) == ()


def test_an_interval_is_one_of_five_per_cent_unless_told_otherwise():
    decay = Trajectory(np.arange(4.0), None, np.exp(1.5 - np.arange(4.0)), "ok")
    ends = plateau_interval(decay, 1.0)
    np.testing.assert_allclose(ends, 1.5 - np.log([1.05, 0.95]), rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"v_star": np.array([1.0, 0.5])},
            r"`v_star` must be the same for all .* \[\[1.0\], \[0.5",
        ),
        ({"T": np.diag([1.0, 2.0])}, "`T` must be the same for all of the teacher's units"),
        ({"S": np.array([1.0, 0.5])}, "`S` must be the same for all of the teacher's units"),
        ({"lr": 0.0}, "`lr` must be a finite number > 0"),
        ({"lr": 20.0}, "`initial` must lead to a plateau"),
        ({"P": np.eye(1)}, "overlaps that no vectors and no aligned F have"),
        ({"activation": "relu"}, "must be without jumps and kinks"),
        ({"feedback_scale": lambda t: 1.0}, "`feedback_scale` must be a finite number"),
        ({"Q": -np.eye(2)}, "must be positive semidefinite"),
    ],
)
def test_no_plateau_is_not_made_up(changes, message):
    student, teacher = start("afa", 0.01)
    arguments = {"rule": "afa", "lr": 0.5, "lr_v": 0.0} | changes
    student = student._replace(**{n: arguments.pop(n) for n in ("Q",) if n in arguments})
    teacher = teacher._replace(
        **{n: arguments.pop(n) for n in ("T", "S", "P", "v_star") if n in arguments}
    )
    with pytest.raises(ValueError, match=message):
        symmetric_plateau(student, teacher, **arguments)


def test_times_of_escape_need_an_unstable_point_and_a_deviation():
    student, teacher = start("bp", 0.01)
    plateau = symmetric_plateau(student, teacher, rule="bp", lr=0.5, lr_v=0.0)
    there = plateau.order_parameters
    leaving = there._replace(R=there.R + 1e-3 * (2 * np.eye(2) - 1))
    lengths = [escape_time(plateau, leaving, teacher, within=within) for within in (0.05, 0.1)]
    assert escape_time(plateau, leaving, teacher) == lengths[0] < lengths[1]
    with pytest.raises(ValueError, match="`state` must be close to the plateau, but not on it"):
        escape_time(plateau, plateau.order_parameters, teacher)
    with pytest.raises(ValueError, match="`plateau` must be unstable"):
        escape_time(plateau._replace(eigenvalues=-abs(plateau.eigenvalues)), student, teacher)
    with pytest.raises(ValueError, match="`within` must be below 1"):
        escape_time(plateau, student, teacher, within=2.0)
    with pytest.raises(ValueError, match="`state` must have the shapes of the plateau"):
        escape_time(plateau, start("bp", 0.01, K=3)[0], start("bp", 0.01, K=3)[1])
    with pytest.raises(ValueError, match="`height` must be a finite number > 0"):
        plateau_interval(Trajectory(np.ones(1), None, np.ones(1), "ok"), 0.0)
    with pytest.raises(ValueError, match="`within` must be below 1"):
        plateau_interval(Trajectory(np.ones(1), None, np.ones(1), "ok"), 1.0, within=1.0)
