"""Fixed points and their eigenvalues, against known answers, late times and finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from odes import (
    RULES,
    OrderParameters,
    PiecewiseConstant,
    Teacher,
    critical_learning_rate,
    drift,
    fixed_point,
    gauss_hermite,
    hyperparameters,
    solve,
)
from odes.averages.differentiable import differentiable_moments
from odes.averages.sampled import sampled_moments
from odes.problem import prepare
from tests.conftest import PEPITA_RULES, random_problem

CRITICAL = {1: np.pi * np.sqrt(15) / 3, 2: 2.3068276961, 3: 1.6206745061, 4: 1.2493927807}


def specialised(K, S=1.0):
    """A student that equals its teacher, whose F overlaps with each unit by S; so does B."""
    with_F = np.full(K, S)
    student = OrderParameters(np.eye(K), np.eye(K), np.ones(K), with_F)
    return student, Teacher(np.eye(K), np.ones(K), with_F, np.array([[K * S * S]]))


@pytest.mark.parametrize("K", CRITICAL)
def test_backpropagation_loses_stability_where_it_is_known_to(K):
    found = critical_learning_rate(*specialised(K), rule="bp", lr_v=0)
    assert abs(found - CRITICAL[K]) < 2e-10


@pytest.mark.parametrize("rule", ["fa", "afa"])
def test_feedback_in_place_of_the_readout_counts_as_a_learning_rate(rule):
    """With B = b for all units FA is BP at b lr; AFA has an equation for B more, which decays."""
    found = critical_learning_rate(*specialised(2, S=0.4), rule=rule, lr_v=0)
    assert abs(found - CRITICAL[2] / 0.4) < 1e-8
    scaled = critical_learning_rate(*specialised(2, S=0.8), rule=rule, lr_v=0, feedback_scale=0.5)
    assert abs(scaled - found) < 1e-8


def test_pepita_loses_stability_where_its_first_order_does():
    """Deviations from zero error make an error of first order, of which PEPITA is AFA to leading
    order; the squared error enters the overlaps R, but not the growth of the error."""
    solution = specialised(1, S=0.5)
    found = critical_learning_rate(*solution, rule="pepita", lr_v=0, points=gauss_hermite(2, 40))
    assert abs(found - CRITICAL[1] / 0.5) < 1e-4


@pytest.mark.parametrize("side", [0.95, 1.05])
def test_deviations_grow_beyond_the_critical_rate_and_decay_below(side):
    """PEPITA-Hebbian, which has no closed form and a critical rate of its own."""
    points = gauss_hermite(2, 40)
    student, teacher = specialised(1, S=0.5)
    shared = {"rule": "pepita-hebbian", "lr_v": 0.0, "points": points}
    critical = critical_learning_rate(student, teacher, **shared)
    near = student._replace(Q=student.Q * 1.002, R=student.R)
    theory = solve(near, teacher, lr=side * critical, times=[4.0, 8.0], **shared)
    early, late = theory.generalization_error
    assert (late > early) == (side > 1)


def test_price_gives_the_derivative_of_closed_forms_also_where_the_covariance_is_singular():
    """AFA by points, at the student that equals its teacher: eigenvalues to 1e-5."""
    solution = specialised(1, S=0.7)
    closed = fixed_point(*solution, rule="afa", lr=1.3)
    ours = fixed_point(*solution, rule="afa", lr=1.3, points=gauss_hermite(2, 40))
    np.testing.assert_allclose(ours.eigenvalues, closed.eigenvalues, atol=1e-5)
    assert ours.stable
    assert closed.stable


@pytest.mark.parametrize("rule", PEPITA_RULES)
def test_price_gives_the_derivative_of_averages_over_points(rule):
    """Against differences of the averages themselves, where the covariance is not singular."""
    initial, teacher = random_problem(1, 1, 1, scale=0.5)
    parameters = hyperparameters(lr=0.7, lr_v=0.3)
    points = gauss_hermite(2, 40)
    problem = prepare(
        initial, teacher, rule=rule, activation="erf", points=points, parameters=parameters
    )

    def velocity(y, moments):
        return problem.drift(y, parameters, partial(moments, points=points))

    with jax.enable_x64(True):
        y = jnp.asarray(problem.pack(initial))
        ours = jax.jit(jax.jacfwd(lambda y: velocity(y, differentiable_moments)))(y)
        sampled = jax.jit(lambda y: velocity(y, sampled_moments))
        step = 1e-5
        differences = [
            (sampled(y + step * e) - sampled(y - step * e)) / (2 * step) for e in np.eye(4)
        ]
    np.testing.assert_allclose(ours, np.transpose(differences), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("rule", "lr_v"), [("bp", 0.4), ("afa", 0.4), ("fa", 0.0)])
def test_a_stable_fixed_point_is_where_solutions_end(rule, lr_v):
    """With noise and decay.  Close to it, the drift is the eigenvalue times the deviation."""
    initial, teacher = random_problem(2, 2, 1, seed=2)
    parameters = {"lr": 0.4, "lr_v": lr_v, "noise": 0.3, "weight_decay": 0.02}
    late = solve(initial, teacher, rule=rule, times=[4e3, 2e4], **parameters)
    early, last = (
        OrderParameters(*(a if a is None else a[i] for a in late.order_parameters)) for i in (0, 1)
    )
    found = fixed_point(early, teacher, rule=rule, **parameters)
    assert found.stable
    assert found.physical
    assert found.escape_rate < 0
    np.testing.assert_allclose(found.generalization_error, late.generalization_error[1], rtol=1e-5)
    for ours, theirs in zip(found.order_parameters, last, strict=True):
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    if lr_v == 0:
        np.testing.assert_array_equal(found.order_parameters.v, initial.v)
        assert np.all(found.eigenvectors.v == 0)
    scalars, fixed = hyperparameters(**parameters), teacher
    mode = int(np.flatnonzero(found.eigenvalues.imag == 0)[0])
    direction = [a if a is None else a[mode].real for a in found.eigenvectors]
    step = 1e-5

    def change(sign):
        moved = [
            a if d is None else a + sign * step * d
            for a, d in zip(found.order_parameters, direction, strict=True)
        ]
        return drift(OrderParameters(*moved), fixed, scalars, rule=RULES[rule])

    for up, down, along in zip(change(1), change(-1), direction, strict=True):
        if along is not None:
            expected = found.eigenvalues[mode].real * along
            np.testing.assert_allclose((up - down) / (2 * step), expected, atol=1e-7)


def test_the_noise_floor_of_one_unit_is_the_error_of_its_fixed_point():
    noise, lr = 1e-3, 1.5
    found = fixed_point(*specialised(1), rule="bp", lr=lr, lr_v=0, noise=noise)
    floor = lr * noise**2 / (2 * np.sqrt(3) * np.pi) / (1 - lr / CRITICAL[1])
    assert abs(found.generalization_error / floor - 1) < 1e-5


def test_a_readout_that_only_decays_can_move():
    """All weights vanish, each at its decay rate, and w_k . w_l at twice that."""
    guess = OrderParameters(np.full((1, 1), 0.01), np.zeros((1, 1)), np.full((1, 1), 0.01))
    given = {"rule": "bp", "lr": 0.5, "lr_v": 0.0, "weight_decay": 0.2}
    found = fixed_point(guess, Teacher(np.eye(1), np.ones(1)), weight_decay_v=0.3, **given)
    np.testing.assert_allclose(np.concatenate(found.order_parameters[:3]), 0, atol=1e-9)
    np.testing.assert_allclose(found.eigenvalues, [-0.2, -0.3, -0.4], atol=1e-8)


def test_linear_units_have_a_family_of_solutions_and_a_zero_eigenvalue():
    """W and v may be scaled against each other; what is left decays up to lr = 2 at v = 1."""
    student, teacher = specialised(1)
    found = fixed_point(student, teacher, rule="bp", lr=0.5, lr_v=0.2, activation="linear")
    assert np.sum(abs(found.eigenvalues) < 1e-9) == 1
    assert found.stable
    critical = critical_learning_rate(student, teacher, rule="bp", lr_v=0, activation="linear")
    assert abs(critical - 2) < 1e-9


@pytest.mark.parametrize(("P", "physical"), [(None, True), (1.5, True), (0.1, False)])
def test_an_aligned_F_has_to_exist(P, physical):
    """Whose projection on the units is no longer than F itself, and the same where they agree."""
    student, teacher = specialised(2, S=0.5)
    teacher = teacher._replace(P=None if P is None else np.full((1, 1), P))
    found = fixed_point(student, teacher, rule="afa", lr=0.5, lr_v=0)
    assert found.physical == physical
    apart = student._replace(B=np.array([0.5, -0.5]))
    assert fixed_point(apart, teacher, rule="fa", lr=0.5, lr_v=0).physical
    assert not fixed_point(apart, teacher._replace(P=None), rule="afa", lr=0.0, lr_v=0.0).physical


def test_a_root_that_no_vectors_have_is_called_unphysical():
    K, lr = 3, 1.5
    Q, R = np.full((K, K), 1 / (2 * K - 1)), np.full((K, K), 1 / np.sqrt(K * (2 * K - 1)))
    found = fixed_point(
        OrderParameters(Q, R, np.ones(K)), specialised(K)[1], rule="bp", lr=lr, lr_v=0
    )
    assert found.generalization_error < 0
    assert not found.physical
    assert not found.stable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Q": [[1.0, 2.0], [2.0, 1.0]]}, "covariance .* must be positive semidefinite"),
        ({"Q": [[1.0, 0.1], [0.2, 1.0]]}, "`Q` must be symmetric"),
        ({"R": np.ones((3, 2))}, "`R` must have shape"),
        ({"B": None}, "`B` must be an array"),
        ({"lr": PiecewiseConstant([1.0], [0.1, 0.2])}, "`lr` must be a finite number"),
        ({"rule": "pepita", "activation": "relu"}, r"must be without jumps and kinks.*odes.Activ"),
        ({"rule": "backprop"}, "`rule` must be one of"),
        (
            {"weight_decay": 5.0, "noise": 3.0, "lr": 30.0},
            "`guess` must be closer to a fixed point",
        ),
    ],
)
def test_bad_guesses_are_named(changes, message):
    initial, teacher = random_problem(2, 2, 1)
    given = {"rule": "afa", "lr": 0.1} | changes
    guess = initial._replace(**{name: given.pop(name) for name in "QRB" if name in given})
    with pytest.raises(ValueError, match=message):
        fixed_point(guess, teacher, **given)


def test_a_critical_rate_that_is_not_there_is_not_made_up():
    student, teacher = specialised(2)
    shared = {"rule": "fa", "lr_v": 0}
    with pytest.raises(ValueError, match="`solution` must be stable at small learning rates"):
        critical_learning_rate(student._replace(B=np.array([1.0, -1.0])), teacher, **shared)
    with pytest.raises(ValueError, match="`solution` must lose stability"):
        critical_learning_rate(student._replace(B=np.full(2, 1e-4)), teacher, **shared)
    with pytest.raises(ValueError, match="`solution` must be a fixed point of this rule"):
        critical_learning_rate(*random_problem(2, 2, 1), **shared)
