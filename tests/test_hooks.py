"""What a rule of one's own overrides counts in every function, or is refused there by name.

The rules here override a hook in such a way that the solution is known: that of another rule with
another learning rate, scale of the feedback, or readout.  The table is in ``docs/rules.md``.
"""

import re
from pathlib import Path
from types import MethodType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from odes import (
    RULES,
    NonlinearTargetPropagation,
    OrderParameters,
    PiecewiseConstant,
    Teacher,
    Update,
    critical_learning_rate,
    drift,
    escape_time,
    fixed_point,
    flow,
    gauss_hermite,
    generalization_error,
    hyperparameters,
    optimal_schedule,
    solve,
    solve_paths,
    sweep,
    symmetric_plateau,
    update_angle,
    update_cosine,
)
from odes.averages.activations import Erf as ERF
from odes.averages.quadrature import Points
from odes.problem import has_closed_form
from odes.rules import AFA, BP, FA, HOOKS, ModulatedPEPITA, Rule, known_name
from simulations import RULES as ALGORITHMS
from simulations import Rule as Algorithm
from simulations import pre_mirrored, sample_network, simulate, simulate_chain
from simulations import sweep as sweep_networks
from simulations.rules import as_matrix
from simulations.training.steps import scaled
from tests.conftest import factored_problem, gaussian_grid, random_problem

LR = 0.4
TIMES = np.array([0.0, 1.5])
NODES = gauss_hermite(2, 20)
STATE = OrderParameters(*(np.full((1, 1), each) for each in (0.6, 0.15, 0.8, 0.3)))
TEACHER = Teacher(*(np.full((1, 1), each) for each in (1.0, 0.9, 0.4, 0.5)))
RATE = 0.3


class Louder(AFA):
    """AFA that puts out twice what its readout weighs, which learning does not know of."""

    def predict(self, fields, v, g):
        return 2 * (g(fields) @ v)


class Saturated(AFA):
    """AFA whose output is read through a tanh."""

    def predict(self, fields, v, g):
        return jnp.tanh(g(fields) @ v)


class Doubled(AFA):
    """AFA that feeds back 2 B, asked of one state at a time: AFA with the feedback scale 2."""

    def feedback(self, state):
        return 2 * state.B.reshape(1, 1)


class Halved(AFA):
    """AFA with half of the update: AFA with half of the learning rate."""

    def update(self, sample):
        update = super().update(sample)
        return Update(*(each if each is None else each / 2 for each in update))


class Three(Louder, Doubled, Halved):
    """All three."""


class All(Louder, ModulatedPEPITA):
    """The same of a rule that moves W along its F, which is 2 F too."""

    feedback = Doubled.feedback

    def feedback_matrix(self, state, teacher):
        return 2 * teacher.S, 4 * teacher.P

    def feedback_drift(self, state, teacher, learning):
        xp = state.B.__array_namespace__()
        return {"B": learning.along(xp.concat([state.B, teacher.S]), 2 * teacher.P)}

    def update(self, sample):
        update = super().update(sample)
        return Update(*(each / 2 for each in update))


class Fading(FA):
    """FA whose B decays."""

    def feedback_drift(self, state, teacher, learning):
        return {"B": -RATE * state.B}


class Classes(AFA):
    """AFA of which only the sign counts."""

    classifies = True


class Rough(Halved):
    """One that is said to jump."""

    smooth = False


class Wide(Halved):
    """One that cannot do with one hidden unit."""

    def check(self, K, O, activation):
        if K == 1:
            raise ValueError(f"Argument `rule` must have more units than {K}.")


class Drifting(AFA):
    """One whose B moves in a way of its own, although it is the overlap with F."""

    def feedback_drift(self, state, teacher, learning):
        return {"B": -RATE * state.B}


class Redirected(AFA):
    """One whose F is another."""

    def feedback_matrix(self, state, teacher):
        return 2 * teacher.S, 4 * teacher.P


class Factored(Rule):
    """One with an F in factors, which stays."""

    needs = ("B1", "S1", "P1", "F2")

    def feedback(self, state):
        return state.B1 @ state.F2


def loud(states, teacher=TEACHER):
    """The error of such states when the output is twice that of the readout."""
    return generalization_error(states._replace(v=2 * np.asarray(states.v)), teacher)


def assert_same(ours, theirs, **tolerance):
    for name, a, b in zip(ours._fields, ours, theirs, strict=True):
        if b is not None:
            assert_allclose(a, b, err_msg=name, **tolerance)


# ---- solve, flow, sweep


@pytest.fixture(scope="module")
def learned():
    return solve(STATE, TEACHER, rule=All(), lr=LR, lr_v=0.3, times=TIMES, points=NODES)


def test_solve_honours_all_that_a_rule_overrides(learned):
    known = solve(
        STATE, TEACHER, rule="pepita-modulated", lr=LR / 2, lr_v=0.15, feedback_scale=2.0,
        times=TIMES, points=NODES,
    )  # fmt: skip
    assert_same(learned.order_parameters, known.order_parameters, atol=1e-7)
    assert_allclose(learned.generalization_error, loud(learned.order_parameters), rtol=1e-4)


@pytest.mark.parametrize("hook", ["feedback", "feedback_matrix", "feedback_drift", "update"])
def test_each_of_them_matters(learned, hook):
    without = type("Without", (All,), {hook: getattr(ModulatedPEPITA, hook)})()
    other = solve(STATE, TEACHER, rule=without, lr=LR, lr_v=0.3, times=TIMES, points=NODES)
    states = zip(learned.order_parameters, other.order_parameters, strict=True)
    assert max(np.max(abs(a[1] - b[1])) for a, b in states) > 0.01


def test_flow_and_sweep_honour_all_of_it(learned, tmp_path):
    training = {"rule": All(), "lr": LR, "lr_v": 0.3, "times": TIMES, "points": NODES}
    with jax.enable_x64(True):
        curve = flow(STATE, TEACHER, **training)
    assert_same(curve.order_parameters, learned.order_parameters, atol=1e-6)
    assert_allclose(curve.generalization_error, learned.generalization_error, rtol=1e-6)
    several = training | {"rule": {"own": All()}}
    stored = {**several, "order_parameters": ("B", "R"), "path": tmp_path}
    whole = sweep(STATE, TEACHER, **stored)
    assert sweep(STATE, TEACHER, **stored).identical(whole)
    swept = whole.isel(rule=0)
    assert_allclose(swept.generalization_error, learned.generalization_error, rtol=1e-6)
    assert_allclose(swept.B, learned.order_parameters.B, atol=1e-6)
    assert learned.averages == f"{len(NODES.weights)} Gauss-Hermite nodes"
    assert swept.attrs["averages"] == f'{{"own": "{learned.averages}"}}'


def test_an_output_of_its_own_is_averaged_where_closed_forms_are_at_hand():
    """Read through a tanh, by a grid of fields; learning is that of AFA."""
    solution = solve(STATE, TEACHER, rule=Saturated(), lr=LR, times=TIMES)
    plain = solve(STATE, TEACHER, rule="afa", lr=LR, times=TIMES)
    Q, R, v, _ = solution.order_parameters
    expected = []
    for q, r, w in zip(Q, R, v, strict=True):
        (field, star), weights = gaussian_grid(np.block([[q, r], [r.T, TEACHER.T]]), 60)
        h, label = erf(field), TEACHER.v_star[0, 0] * erf(star)
        expected.append(weights @ (np.tanh(w[0, 0] * h) - label) ** 2 / 2)
    assert_allclose(solution.generalization_error, expected, rtol=1e-5)
    assert np.all(abs(plain.generalization_error / np.array(expected) - 1) > 0.02)
    assert_allclose(R, plain.order_parameters.R, atol=1e-5)


def erf(z):
    with jax.enable_x64(True):
        return np.asarray(jax.scipy.special.erf(np.asarray(z) / np.sqrt(2)))


def test_feedback_that_moves_is_a_scale_that_changes():
    ours = solve(STATE, TEACHER, rule=Fading(), lr=LR, times=TIMES)
    scale = lambda t: np.exp(-RATE * t)  # noqa: E731
    known = solve(STATE, TEACHER, rule="fa", lr=LR, feedback_scale=scale, times=TIMES)
    assert_same(ours.order_parameters, known.order_parameters, atol=1e-7)


def share_of_wrong_signs(states):
    """With one unit on either side, and readouts > 0: the angle between them over pi."""
    return np.arccos(np.squeeze(states.R) / np.sqrt(np.squeeze(states.Q))) / np.pi


def test_classes_are_counted():
    training = {"rule": Classes(), "lr": LR, "times": TIMES}
    ours = solve(STATE, TEACHER, **training)
    share = share_of_wrong_signs(ours.order_parameters)
    assert_allclose(ours.generalization_error, share, atol=2e-3)
    assert_allclose(ours.misclassification, ours.generalization_error)


def test_signs_are_those_of_its_own_output():
    class Opposite(FA):
        def predict(self, fields, v, g):
            return -(g(fields) @ v)

    ours, plain = (
        solve(STATE, TEACHER, rule=rule, lr=LR, times=[0.0], misclassification=True, points=512)
        for rule in (Opposite(), "fa")
    )
    assert_allclose(ours.misclassification, 1 - plain.misclassification)
    assert abs(plain.misclassification[0] - 0.5) > 0.01


def test_jumps_are_averaged_over_sobol_points():
    ours = solve(STATE, TEACHER, rule=Rough(), lr=LR, times=TIMES)
    assert ours.averages == "32768 Sobol points"
    known = solve(STATE, TEACHER, rule="afa", lr=LR / 2, times=TIMES)
    assert_same(ours.order_parameters, known.order_parameters, atol=2e-3)


def test_a_method_of_one_object_counts_too(monkeypatch):
    rule = AFA()
    before = solve(STATE, TEACHER, rule=rule, lr=LR, times=TIMES, points=64)
    rule.predict = MethodType(Louder.predict, rule)
    assert not has_closed_form(rule, ERF)
    after = solve(STATE, TEACHER, rule=rule, lr=LR, times=TIMES, points=NODES)
    assert_allclose(after.generalization_error, loud(after.order_parameters), rtol=1e-4)
    assert np.all(abs(before.generalization_error / after.generalization_error - 1) > 0.01)
    monkeypatch.setattr(RULES["afa"], "predict", rule.predict, raising=False)
    assert known_name(RULES["afa"]) is None  # which stored sweeps would take for the same


def test_an_activation_of_all_fields_has_no_closed_forms():
    class Shared(ERF):
        hidden = staticmethod(ERF.g)

    assert has_closed_form(RULES["fa"], ERF)
    assert not has_closed_form(RULES["fa"], Shared)


# ---- the other functions of the theory


def test_paths_honour_feedback_update_and_prediction():
    """The very path of AFA with half the rate and an F twice as large, of which classes count."""
    training = {"n_paths": 1, "seed": 3, "times": TIMES, "dt": 0.05, "points": 2**10}
    ours = solve_paths(STATE, TEACHER, rule=Three(), lr=LR, **training)
    double = STATE._replace(B=2 * STATE.B), TEACHER._replace(S=2 * TEACHER.S, P=4 * TEACHER.P)
    known = solve_paths(*double, rule=Classes(), lr=LR / 2, **training)
    assert_same(ours.order_parameters, known.order_parameters, rtol=1e-9)
    states = OrderParameters(*(each[0] for each in ours.order_parameters))
    assert_allclose(ours.generalization_error[0], loud(states), rtol=0.02)
    assert_allclose(known.generalization_error, share_of_wrong_signs(known.order_parameters)[None],
                    atol=0.02)  # fmt: skip
    assert_allclose(known.misclassification, known.generalization_error)
    assert ours.averages == "1024 Sobol points"


def test_fluctuations_honour_feedback_update_and_prediction():
    """The covariance is that of AFA with half the rate and twice the feedback."""
    training = {"times": TIMES, "fluctuations": True, "points": NODES}
    ours = solve(STATE, TEACHER, rule=Three(), lr=LR, **training)
    known = solve(STATE, TEACHER, rule="afa", lr=LR / 2, feedback_scale=2.0, **training)
    Sigma = known.fluctuations.covariance[1].copy()
    raw = np.diag([1.0, 1.0, 1.0, 2.0])  # B is that of F
    assert_allclose(raw @ ours.fluctuations.covariance[1] @ raw, Sigma, rtol=1e-5, atol=1e-8)
    q, r, v, _ = (each[1].item() for each in ours.order_parameters)

    def error(y):
        return loud(OrderParameters(*(y[i] * np.ones((1, 1)) for i in range(3))))

    y, h = np.array([q, r, v, 0.0]), 1e-5
    slope = [(error(y + h * axis) - error(y - h * axis)) / (2 * h) for axis in np.eye(4)]
    assert_allclose(ours.fluctuations.generalization_error[1], slope @ Sigma @ slope, rtol=1e-3)


def test_fluctuations_honour_feedback_that_moves():
    """Beside D of B, which is 0, what B scatters by is nothing."""
    ours = solve(STATE, TEACHER, rule=Fading(), lr=LR, times=TIMES, fluctuations=True)
    assert_allclose(ours.fluctuations.order_parameters.B, 0, atol=1e-20)
    assert_allclose(ours.order_parameters.B[1], STATE.B * np.exp(-RATE * TIMES[1]), rtol=1e-7)


@pytest.fixture(scope="module")
def fixed():
    """A fixed point with noise and decay, of the rule with all hooks and of the one that it is."""
    training = {"noise": 0.3, "weight_decay": 0.05, "points": gauss_hermite(3, 12)}
    ours = symmetric_plateau(STATE, TEACHER, rule=All(), lr=LR, **training)
    known = fixed_point(
        ours.order_parameters._replace(B=ours.order_parameters.B / 2), TEACHER,
        rule="pepita-modulated", lr=LR / 2, feedback_scale=2.0, **training,
    )  # fmt: skip
    return training, ours, known


def test_fixed_points_honour_all_of_it(fixed):
    training, ours, known = fixed
    assert_same(ours.order_parameters, known.order_parameters, atol=1e-9)
    assert_allclose(ours.eigenvalues, known.eigenvalues, atol=1e-8)
    raw = ours.order_parameters._replace(B=ours.order_parameters.B / 2)
    found = fixed_point(raw, TEACHER, rule=All(), lr=LR, **training)
    assert_same(found.order_parameters, ours.order_parameters, atol=1e-9)
    assert_allclose(ours.generalization_error, loud(known.order_parameters), rtol=5e-3)
    assert (
        ours.averages == found.averages == f"{len(training['points'].weights)} Gauss-Hermite nodes"
    )


def test_the_critical_learning_rate_honours_feedback_and_update():
    class Both(Doubled, Halved):
        pass

    T, S = np.eye(1), np.full((1, 1), 0.6)
    solution = OrderParameters(T, T, np.ones((1, 1)), S), Teacher(T, np.ones(1), S)
    known = critical_learning_rate(*solution, rule="afa", feedback_scale=2.0)
    ours = critical_learning_rate(*solution, rule=Both(), points=NODES)
    assert abs(ours / known / 2 - 1) < 1e-3
    with pytest.raises(ValueError, match=r"but its error is 0\.167"):
        critical_learning_rate(*solution, rule=Louder(), points=NODES)


SADDLE = OrderParameters(*np.zeros((4, 1, 1)))
AT_SADDLE = Teacher(np.eye(1), np.ones(1), np.ones(1))


def near(**parts):
    return OrderParameters(*(np.full((1, 1), parts.get(name, 0.0)) for name in "QRvB"))


def test_the_time_of_escape_is_that_of_the_error_of_the_rule():
    """From the saddle where student and readout are nothing, to a fall by 1 per cent.

    The time is good to 2 per cent of that in which deviations grow by e; with the error of erf, or
    that of the readout, it would be off by 6 or 35.
    """

    class LoudBP(BP):
        predict = Louder.predict

    training = {"rule": LoudBP(), "lr": 1.0, "activation": "tanh", "points": NODES}
    saddle = fixed_point(SADDLE, AT_SADDLE, **training)
    state = near(R=1e-3, v=1e-3, Q=1e-6)
    left = escape_time(saddle, state, AT_SADDLE, within=0.01)
    times = np.linspace(0.95, 1.05, 201) * left
    course = solve(state, AT_SADDLE, times=times, **training)
    level = 0.99 * saddle.generalization_error
    end = np.interp(-level, -course.generalization_error, times)
    assert times[0] < end < times[-1]
    assert abs(end - left) * saddle.escape_rate < 0.02


def test_the_time_of_escape_honours_feedback():
    training = {"lr": 1.0, "weight_decay": 0.05, "weight_decay_v": 0.02}
    known = fixed_point(SADDLE, AT_SADDLE, rule="afa", feedback_scale=2.0, **training)
    ours = fixed_point(SADDLE, AT_SADDLE, rule=Doubled(), **training)
    assert_allclose(ours.eigenvalues, known.eigenvalues, atol=1e-12)
    state = near(R=1e-4, B=1e-2, Q=1e-4)
    expected = escape_time(known, state, AT_SADDLE)
    assert_allclose(escape_time(ours, state, AT_SADDLE), expected, rtol=1e-6)


def test_angles_honour_feedback_update_and_prediction():
    """By a grid of fields; backpropagation goes down the error of what the rule puts out."""
    C = np.block([[STATE.Q, STATE.R], [STATE.R.T, TEACHER.T]])
    (field, star), weights = gaussian_grid(C, 40)
    v, b, label = STATE.v.item(), STATE.B.item(), TEACHER.v_star.item() * erf(star)
    slope = np.sqrt(2 / np.pi) * np.exp(-(field**2) / 2)
    ours = slope * 2 * b * (v * erf(field) - label) / 2
    exact = slope * 2 * v * (2 * v * erf(field) - label)
    cosine = weights @ (ours * exact) / np.sqrt(weights @ ours**2 * (weights @ exact**2))
    found = update_cosine(STATE, TEACHER, rule=Three(), points=NODES)
    assert_allclose(found, cosine, atol=1e-5)
    assert_allclose(np.cos(np.radians(update_angle(STATE, TEACHER, rule=Three(), points=NODES))),
                    cosine, atol=1e-5)  # fmt: skip


def test_optimal_schedules_honour_all_of_it():
    start = PiecewiseConstant([], [LR])
    training = {"rule": All(), "points": NODES}
    found = optimal_schedule(
        STATE, TEACHER, t=1.5, lr=start, lr_v=0.3, max_iterations=2, **training
    )
    for schedule, error in (
        (start, found.initial_error),
        (found.schedules["lr"], found.generalization_error),
    ):
        course = solve(STATE, TEACHER, lr=schedule, lr_v=0.3, times=[1.5], **training)
        assert abs(course.generalization_error[0] / error - 1) < 1e-6
    assert found.generalization_error < found.initial_error
    assert found.averages == f"{len(NODES.weights)} Gauss-Hermite nodes"


# ---- what is refused

COLUMNS = {
    "solve": lambda *of, **given: solve(*of, lr=LR, times=TIMES, **given),
    "flow": lambda *of, **given: in_x64(flow, *of, lr=LR, times=TIMES, **given),
    "sweep": lambda *of, **given: sweep(*of, lr=LR, times=TIMES, **given),
    "solve_paths": lambda *of, **given: solve_paths(*of, lr=LR, times=TIMES, n_paths=1, **given),
    "fluctuations": lambda *of, **given: solve(*of, lr=LR, times=TIMES, fluctuations=True, **given),
    "fixed_point": lambda *of, **given: fixed_point(*of, lr=LR, **given),
    "critical_learning_rate": critical_learning_rate,
    "symmetric_plateau": lambda *of, **given: symmetric_plateau(*of, lr=LR, **given),
    "update_angle": update_angle,
    "optimal_schedule": lambda *of, **given: optimal_schedule(
        *of, t=1.0, lr=PiecewiseConstant([], [LR]), **given
    ),
}
AT_REST = ["fixed_point", "critical_learning_rate", "symmetric_plateau"]
IN_TIME = ["solve", "flow", "sweep"]


def in_x64(function, *arguments, **given):
    with jax.enable_x64(True):
        return function(*arguments, **given)


SCALE = {"feedback_scale": PiecewiseConstant([1.0], [1.0, 2.0])}
NORMED = {"activation": "erf-normalised"}
REFUSED = [
    ("update", ["solve_paths"], {"rule": "pepita-modulated"}, "gamma"),
    ("classifies", ["fluctuations", "update_angle", "optimal_schedule"], {"rule": Classes()},
     "`classifies`"),
    ("smooth", ["fluctuations", *AT_REST, "optimal_schedule"], {"rule": Rough()},
     "jumps (or|and) kinks"),
    ("feedback_drift", ["solve_paths", "fluctuations"], {"rule": Drifting()}, "`feedback_drift`"),
    ("feedback_matrix", ["solve_paths", "fluctuations"], {"rule": Redirected()},
     "`feedback_matrix`"),
    ("feedback_drift", [*IN_TIME, "optimal_schedule"], {"rule": Fading(), **SCALE},
     "`feedback_scale` must be a number for a rule that learns"),
    ("check",
     [*IN_TIME, "solve_paths", "update_angle", "fluctuations", *AT_REST, "optimal_schedule"],
     {"rule": Wide()}, "`rule` must have more units than 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "given", "message"),
    [
        pytest.param(column, given, message, id=f"{column}-{hook}")
        for hook, columns, given, message in REFUSED
        for column in columns
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(column, given, message):
    with pytest.raises(ValueError, match=message):
        COLUMNS[column](STATE, TEACHER, **given)


class Unknown(AFA):
    needs = ("B", "C")


class Partial(AFA):
    needs = ("B", "P")


class Half(Rule):
    needs = ("F2",)


class Surplus(AFA):
    def feedback_drift(self, state, teacher, learning):
        return {"Q": state.Q}


class Misfed(AFA):
    def feedback(self, state):
        return state.B[0]


class Scalar(AFA):
    def predict(self, fields, v, g):
        return (g(fields) @ v)[0]


@pytest.mark.parametrize(
    ("rule", "message", "columns"),
    [
        (Unknown(), "`needs` among .* they hold 'C'", COLUMNS),
        (Partial(), "must have S in its `needs`", COLUMNS),
        (Half(), "must have B1, S1, P1 in its `needs`", COLUMNS),
        (Surplus(), "feedback_drift of order parameters .* 'Q'",
         {*COLUMNS} - {"solve_paths", "fluctuations", "update_angle"}),
        (Misfed(), r"feed back a B of shape \(1, 1\)", COLUMNS),
        (Scalar(), r"predict an output of shape \(1,\), but predicts one of shape \(\)", COLUMNS),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Rule) else None,
)  # fmt: skip
def test_a_hook_of_the_wrong_form_is_named_everywhere(rule, message, columns):
    for column in columns:
        with pytest.raises(ValueError, match=message):
            COLUMNS[column](STATE, TEACHER, rule=rule)


@pytest.mark.parametrize("column", COLUMNS)
def test_what_a_rule_needs_is_asked_for_everywhere(column):
    lacking = TEACHER._replace(P=None)
    message = "`needs`" if column == "solve_paths" else "`B1` must be an array"
    with pytest.raises(ValueError, match=message):
        COLUMNS[column](STATE, lacking, rule=Factored())
    if column != "update_angle":  # which has no use for P
        with pytest.raises(ValueError, match="`P` must be an array"):
            COLUMNS[column](STATE, lacking, rule="pepita-modulated")


def test_an_F_in_factors_scatters_in_a_way_that_is_refused():
    state, teacher = factored_problem(1, 1, 1)
    with pytest.raises(ValueError, match="`needs` an F in factors"):
        solve(state, teacher, rule=Factored(), lr=LR, times=TIMES, fluctuations=True)


def test_activities_of_infinite_variance_are_refused_on_every_path():
    state, teacher = random_problem(2, 1, 1)
    given = {"rule": "afa", "activation": "erf-normalised"}
    for call in (
        lambda: solve(state, teacher, lr=LR, times=TIMES, **given),
        lambda: solve_paths(state, teacher, lr=LR, times=TIMES, n_paths=1, **given),
        lambda: update_angle(state, teacher, **given),
        lambda: update_angle(state, teacher, **given | {"rule": "pepita"}),
        lambda: solve(
            state, teacher, lr=LR, times=TIMES, **given | {"rule": NonlinearTargetPropagation()}
        ),
    ):
        with pytest.raises(ValueError, match="must not be normalised for two hidden units"):
            call()


def test_closed_forms_are_not_taken_for_an_update_that_they_do_not_know():
    with pytest.raises(ValueError, match="must not override `update`"):
        drift(STATE, TEACHER, hyperparameters(lr=LR), rule=Halved())


def test_an_escape_needs_the_rule_of_its_plateau():
    with pytest.raises(ValueError, match="`plateau` must be a FixedPoint that"):
        escape_time(None, STATE, TEACHER)


# ---- points that are given, and what a result says of its averages


def test_points_that_are_given_are_used_also_where_there_are_closed_forms():
    training = {"rule": "afa", "lr": LR, "times": TIMES}
    closed = solve(STATE, TEACHER, **training)
    assert closed.averages == "closed forms"
    few = Points(*gauss_hermite(2, 3))
    for points, words in (
        (gauss_hermite(2, 3), "9 Gauss-Hermite nodes"), (8, "8 Sobol points"), (few, "9 points"),
    ):  # fmt: skip
        ours = solve(STATE, TEACHER, points=points, **training)
        assert ours.averages == words
        moved = abs(ours.order_parameters.R[1] - closed.order_parameters.R[1])
        assert np.all(moved > 1e-6)
        assert_allclose(  # of these states, in closed form
            ours.generalization_error, generalization_error(ours.order_parameters, TEACHER)
        )
    assert (
        solve(STATE, TEACHER, points=few, fluctuations=True, **training).fluctuations.bias is None
    )
    two = random_problem(2, 1, 1)
    coarse = update_cosine(*two, rule="afa", points=16)
    assert abs(coarse - update_cosine(*two, rule="afa")) > 1e-6


# ---- networks


def half_afa(network, sample):
    dW, dv = ALGORITHMS["afa"].update(network._replace(F=2 * network.F), sample)
    return as_matrix(dW) / 2, dv / 2


def twice(network):
    return 2 * ALGORITHMS["afa"].feedback(network)


def louder(network, X, g):
    return 2 * ALGORITHMS["afa"].predict(network, X, g)


def half_kolen_pollack(network, sample):
    dW, dv, dB = ALGORITHMS["kolen-pollack"].update(network, sample)
    return [(post / 2, pre) for post, pre in dW], dv / 2, dB / 2


def fading(network, noise, g):
    return {"B": -RATE / network.W.shape[1] * network.B}


OWN = Algorithm(half_afa, twice, equivariant=True, predict=louder)
LEARNS = Algorithm(
    half_kolen_pollack, ALGORITHMS["fa"].feedback, equivariant=True, learns=("B",), predict=louder
)
MIRRORS = ALGORITHMS["fa-mirror"]._replace(mirror=fading)
NETWORK = sample_network(N=40, K=1, M=1, seed=1)
RUN = {"lr": LR, "times": TIMES, "n_test": 50, "progress": False}


@pytest.mark.parametrize("block", [1, 4, None], ids=["simulate", "in blocks", "simulate_chain"])
@pytest.mark.parametrize(
    ("rule", "known", "scale"), [(OWN, "afa", 2.0), (LEARNS, "kolen-pollack", 1.0)]
)
def test_networks_honour_update_feedback_prediction_and_what_learns(rule, known, scale, block):
    """The very run of another rule; the test error is that of a network with twice the readout."""
    train, more = simulate_chain, {}
    if block is not None:
        train, more = simulate, {"dtype": "float64", "block": block}
    ours = train(NETWORK, rule=rule, **RUN, **more)
    half = RUN | {"lr": LR / 2, "feedback_scale": scale}
    theirs = train(NETWORK, rule=known, **half, **more)
    assert_same(ours.order_parameters, theirs.order_parameters, rtol=1e-9)
    assert ours.averages == "50 test inputs"
    start = NETWORK._replace(v=2 * NETWORK.v)
    first = train(start, rule="afa", **RUN | {"times": [0.0]}, **more)
    assert_allclose(ours.generalization_error[:, 0], first.generalization_error[:, 0], rtol=1e-9)
    assert np.all(abs(ours.generalization_error / theirs.generalization_error - 1) > 0.01)


def test_sweeps_of_networks_honour_all_that_simulate_does():
    rules = {"own": OWN, "classes": OWN._replace(classifies=True)}
    run = {k: v for k, v in RUN.items() if k != "lr"}
    swept = sweep_networks(NETWORK, rule=rules, lr=[LR], order_parameters="B", **run)
    for name, rule in rules.items():
        single = simulate(NETWORK, rule=rule, **RUN)
        at = swept.sel(rule=name, lr=LR)
        assert_allclose(at.generalization_error, single.generalization_error)
        assert_allclose(at.B, single.order_parameters.B)
    assert np.all(single.generalization_error == single.misclassification)
    assert swept.attrs["averages"] == "50 test inputs"


def test_a_mirror_runs_beside_each_sample_or_is_refused():
    run = simulate(NETWORK, rule=MIRRORS, dtype="float64", **RUN)
    decayed = (1 - RATE / 40) ** (40 * TIMES[1])
    assert_allclose(run.order_parameters.B[0, 1], decayed * NETWORK.B, rtol=1e-9)
    after = pre_mirrored(NETWORK, rule=MIRRORS, t=TIMES[1])
    assert_allclose(after.B, decayed * NETWORK.B, rtol=1e-9)
    declared = MIRRORS._replace(equivariant=True)
    assert_allclose(
        simulate(NETWORK, rule=declared, dtype="float64", **RUN).order_parameters.B,
        run.order_parameters.B,
    )
    with pytest.raises(ValueError, match="`rule` must have no `mirror`"):
        simulate_chain(NETWORK, rule=declared, **RUN)
    with pytest.raises(ValueError, match="`block` must be None or 1 for a rule with a `mirror`"):
        simulate(NETWORK, rule=declared, block=4, **RUN)


@pytest.mark.parametrize("train", [simulate, simulate_chain])
def test_a_prediction_sees_the_feedback_at_its_scale(train):
    def by_feedback(network, X, g):
        return ALGORITHMS["fa"].predict(network._replace(v=network.B), X, g)

    rule = ALGORITHMS["fa"]._replace(predict=by_feedback)
    errors = [
        train(NETWORK, rule=rule, feedback_scale=scale, **RUN | {"times": [0.0]})
        for scale in (2.0, PiecewiseConstant([], [2.0]))
    ]
    assert_allclose(errors[0].generalization_error, errors[1].generalization_error, rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "given", "message"),
    [
        (OWN._replace(equivariant=False), {"block": 4}, "`block` .* not declared equivariant"),
        (OWN._replace(learns=("B",)), {}, "must return \\(dW, dv, dB\\)"),
        (LEARNS._replace(learns=()), {}, "must return \\(dW, dv\\)"),
        (LEARNS._replace(learns=["B"]), {}, "`learns`"),
        (OWN._replace(learns=("F",)), {}, "must have a mirror to learn F"),
        (MIRRORS._replace(learns=()), {}, "changes B, which is not in `learns`"),
        (LEARNS, {"feedback_scale": lambda t: 1.0}, "`feedback_scale` must be a number for"),
        (OWN._replace(predict=lambda network, X, g: X[:, :2]), {}, "a prediction of shape"),
    ],
)
def test_what_networks_cannot_honour_is_refused_by_name(rule, given, message):
    with pytest.raises(ValueError, match=message):
        simulate(NETWORK, rule=rule, **RUN, **given)


def test_rules_for_an_aligned_F_and_for_other_coordinates_say_so():
    with pytest.raises(ValueError, match="declared equivariant"):
        simulate_chain(NETWORK, rule=OWN._replace(equivariant=False), **RUN)
    random = sample_network(N=40, K=1, M=1, feedback="random", seed=1)
    with pytest.raises(ValueError, match=r"`rule` must not be .* for random feedback"):
        random.overlaps(OWN._replace(aligned_only=True))
    assert_allclose(NETWORK.overlaps(OWN)[0].B, scaled(NETWORK, 2.0).overlaps("afa")[0].B)


@pytest.mark.parametrize("train", [simulate, simulate_chain])
def test_a_prediction_of_its_own_is_that_of_theory(train):
    """Half a squared error of 20,000 inputs, within five standard errors: once in 10^6 seeds."""
    own = ALGORITHMS["afa"]._replace(predict=tanh_of_it)
    errors = [
        solve(*NETWORK.overlaps("afa"), rule=rule, lr=LR, times=[0.0]).generalization_error[0]
        for rule in (RULES["afa"], Saturated())
    ]
    run = RUN | {"times": [0.0], "n_test": 20_000}
    measured = train(NETWORK, rule=own, **run).generalization_error[0, 0]
    bound = 5 * 1.5 * errors[1] / np.sqrt(20_000)
    assert abs(measured - errors[1]) < bound < abs(errors[0] - errors[1]) / 2


def tanh_of_it(network, X, g):
    return jnp.tanh(ALGORITHMS["afa"].predict(network, X, g))


# ---- the table


def test_the_table_is_that_of_these_tests():
    """Every hook has a row, and what it says to be refused is what is refused here."""
    text = (Path(__file__).parent.parent / "docs" / "rules.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    heads = [i for i, row in enumerate(rows) if row[0] == "hook"]
    assert len(heads) == 2
    theory = rows[heads[0]]
    found, named = set(), []
    for row in rows[heads[0] + 1 : heads[1]]:
        hook = row[0].split("`")[1].split()[0]
        named.append(hook)
        for head, cell in zip(theory[1:], row[1:], strict=True):
            assert re.match("honoured|refused|no part", cell)
            if "refused" in cell:
                found |= {(hook, column) for column in re.findall(r"`(\w+)", head)}
    assert sorted(named) == sorted(HOOKS)
    refused = {(hook, column) for hook, columns, *_ in REFUSED for column in columns}
    assert found - {(hook, "update_cosine") for hook in HOOKS} == refused
    named = [row[0].split("`")[1].split()[0] for row in rows[heads[1] + 1 :]]
    assert named == list(Algorithm._fields)
