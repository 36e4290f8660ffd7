"""One trajectory of the order parameters, from checked input, integrated by SciPy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import LSODA

from odes.averages import ACTIVATIONS, Activation, distinct_pairs
from odes.checks import (
    check_count,
    check_feedback_matrix,
    check_flag,
    check_number,
    check_overlaps,
    check_times,
    is_activation,
    lookup,
)
from odes.drift import unchecked_drift, unchecked_error
from odes.order_parameters import (
    MAGNITUDE_LIMIT,
    SYMMETRIC,
    Array,
    OrderParameters,
    Teacher,
    Trajectory,
)
from odes.quadrature import Points, coarse_points
from odes.rules import (
    AFA,
    FACTORS,
    RULES,
    Rule,
    check_rule,
    differentiates,
    overrides,
    predicts_by_readout,
)
from odes.schedules import (
    Stretch,
    check_scale,
    in_time,
    jumps_of,
    parameters_at,
    scale_feedback,
    scheduled_hyperparameters,
    stretches,
)

STEP = 0.03
"""Tolerance of one step of the integrator, relative to the accuracy asked for.

Errors of single steps add up, and an escape from a plateau multiplies them.  At the default
tolerances and t up to 1000, the generalization error is within 1e-9 of a solution at rtol = 1e-12
for students whose weights start at a scale of 0.1 or more, and within 3e-8 down to 0.001; with
STEP = 1, within 3e-8 and 2e-6 (``python benchmarks/accuracy.py``)."""

SMALLEST_RTOL = 1e-12
"""Below this, the steps would have to be more accurate than double precision is."""

SHORTEST_TIME = 1e-100
"""Up to this time one Euler step is exact in double precision; LSODA fails from about 1e-150 on."""

JACOBIAN_STEP = 1e-6
"""Step of the differences from which the integrator has the Jacobian of the drift, relative to an
order parameter above 1, and absolute below.

Its own take a fraction of each order parameter, which is rounding where that tends to 0, and then
the steps get ever shorter."""

ADDED_UP = 10.0
"""How much larger than a tolerance its errors may get to be up to late times."""

SLIDING = 1e-5
"""How close to a jump of the drift at 0 an order parameter is that slides along it."""

ROUGH = 1e-4
"""Smallest relative tolerance of a step where the rule or the activation is not smooth.

The averages over a fixed set of points then jump as points cross the kinks, and an integrator that
resolved the jumps would not get anywhere."""


class Step(NamedTuple):
    """A step of the integrator, and the state at its middle, as one vector."""

    start: float
    end: float
    middle: np.ndarray


def solve(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: Any,
    lr_v: Any = None,
    feedback_scale: Any = 1.0,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    times: Any,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 10_000,
    points: int | Points | None = None,
    fluctuations: bool = False,
    misclassification: bool = False,
) -> Trajectory:
    """The learning curve of an infinitely wide input layer, from the equations in ``odes.drift``.

    Backpropagation, FA and AFA with erf or linear units have closed equations, solved in NumPy.
    For every other rule or activation the averages over inputs are taken numerically, in JAX
    (``odes/local_fields.py``).

    The error is ``e = prediction - label``.  Rules that feed back through F are taken in the
    aligned scaling, where B is self-averaging.  For a random F the same equations hold only to
    leading order in the learning rate, since B diffuses: see :func:`odes.solve_paths`.

    Args:
        initial: OrderParameters at t = 0: Q (K, K), R (K, M), v (K, O), and B (K, O), or B1 and
            what follows it, where the rule needs them.  With a single output, v and B may be (K,).
        teacher: Teacher: T (M, M), v_star (M, O), and S (M, O) and P (O, O) where the rule needs
            them.  With a single output, v_star and S may be (M,).
        rule: a name in ``odes.RULES``; one with other parameters, such as ``MirroredFA(lr=0.5)``
            or ``ForwardForward(Logistic(2.0))``; or a :class:`odes.Rule` of one's own.
        lr: learning rate of the first layer; or a schedule, a function of t that returns it, such
            as :class:`odes.PiecewiseConstant` (``odes/schedules.py``).
        lr_v: learning rate of the readout; None for the same as ``lr``, 0 for a frozen readout; or
            a schedule.
        feedback_scale: multiplies F, that is B and S, and P by its square; or a schedule.  Rules
            that learn their feedback start with it, and take numbers only.  Backpropagation and
            sign symmetry take no notice.
        noise: standard deviation of the noise on the teacher's labels.
        weight_decay: decay rate of the first layer per unit of t.
        weight_decay_v: decay rate of the readout; None for the same, or 0 if ``lr_v`` is the
            number 0.
        activation: "erf", "linear", "tanh", "relu"; one of these with "-normalised", for students
            whose hidden activities are ``h / |h|``, taught by units whose are not; or a function of
            JAX arrays, entry by entry, taken to have kinks unless wrapped as
            ``odes.Activation(g)``.
        times: where to report, (n,), in samples / N, strictly increasing and >= 0.
        rtol, atol: relative and absolute accuracy of the integration.  The steps of the
            integrator (LSODA) are held to ``STEP`` times these, or to ``ROUGH`` where the rule or
            the activation is not smooth.
        max_steps: the integration ends after so many steps, with status "max_steps".
        points: how to average what a sample does.  None: closed forms where there are any, else a
            default good to about 2e-5 in the drift at K = M = 2 and to 5e-3 at K = M = 4
            (:func:`odes.quadrature.default_points`).  A number: so many Sobol points, right
            for rules with jumps, half of them mirrored in the student's own part of the fields.  Or
            points of :func:`odes.gauss_hermite` or :func:`odes.sobol` in
            K + M dimensions, and O more if there is noise.  Points that are given are used also
            where there are closed forms, as a check on either; but the error of erf or linear units
            that a readout weighs is in closed form all the same.
        fluctuations: whether to add how networks of N inputs scatter around the trajectory, in the
            linear-noise approximation (``odes/fluctuations.py``; imports JAX).  Then rules that
            feed back through F need P, and rule and activation have to be smooth, as the drift is
            differentiated at the points; the feedback scale has to be a number.  Not for rules with
            weight mirrors, whose noise scatters besides, nor for an F in factors, for rules that
            classify, or for a B that moves in a way of its own although it is the overlap with F.
            With ``points`` there is no bias.
        misclassification: whether to add the probability that an output has another sign than the
            teacher's, by ``points``, or 2^15 Sobol points (imports JAX).

    Returns:
        A Trajectory with n times.  B is what the rule sends back, and None where that is v.  The
        status is one string, and ``averages`` is "closed forms" or says over which points.  With
        fluctuations, ``trajectory.fluctuations.std(N)`` is the standard
        deviation of the generalization error.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    rule, activation = choose(rule, activation)
    parameters = scheduled_hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    times = check_times(times)
    rtol, atol, max_steps = check_tolerances(rtol, atol, max_steps)
    fluctuations = check_flag("fluctuations", fluctuations)
    misclassification = check_flag("misclassification", misclassification)
    needs = rule.needs
    if fluctuations and "S" in needs:
        needs = (*needs, "P")
    initial, teacher = check_overlaps(initial, teacher, needs)
    if "P" in needs:
        check_feedback_matrix(initial, teacher)
    check_feedback(rule, initial)
    scale_in_time = callable(parameters.feedback_scale)
    check_scale(rule.learns_feedback, parameters)
    if not scale_in_time:
        initial, teacher = scale_feedback(initial, teacher, parameters.feedback_scale)

    shared = {"rule": rule, "activation": activation}
    if fluctuations and not has_closed_form(**shared) and not is_smooth(**shared):
        raise ValueError(
            "Argument `fluctuations` must be False for a rule or an activation with jumps or "
            "kinks, since the drift is differentiated; wrap a smooth function as "
            "odes.Activation(g), or simulate_chain() many runs."
        )
    if fluctuations:
        check_scatter(rule)
    if fluctuations and scale_in_time:
        raise ValueError(
            "Argument `feedback_scale` must be a number with fluctuations, but is "
            f"{feedback_scale!r}; simulate_chain() many runs."
        )
    if points is None and has_closed_form(**shared):
        change, error = _closed_system(**shared)
        coarse = change
        averages = "closed forms"
    else:
        from odes.local_fields import points_of, sampled_system, way_of_averaging  # imports JAX

        nodes = points_of(initial, teacher, points, parameters.noise > 0, **shared)
        change, error = sampled_system(nodes, **shared)
        coarse, _ = sampled_system(coarse_points(nodes), **shared)
        averages = way_of_averaging(nodes)
        if not is_smooth(**shared):
            rtol, atol = max(rtol, ROUGH / STEP), max(atol, ROUGH / STEP / 100)

    moving, nearly = (in_time(each, teacher, parameters) for each in (change, coarse))
    with np.errstate(all="ignore"):
        check_feedback_drift(initial, moving(0.0, initial))

    pack, unpack = packing(initial)
    steps: list[Step] = []
    with np.errstate(all="ignore"):
        y, status, stopped = integrated(
            lambda t, y: pack(moving(t, unpack(y))),
            pack(initial),
            times,
            jumps_of(parameters, times[-1]),
            STEP * rtol,
            STEP * atol,
            max_steps,
            steps if fluctuations else None,
            lambda t, y: pack(nearly(t, unpack(y))),
        )
        states = unpack(y)
        if scale_in_time:
            scales = np.array([parameters_at(parameters, t).feedback_scale for t in times.tolist()])
            states, _ = scale_feedback(states, teacher, scales[:, None, None])
        states = covariant(states, teacher, rtol, atol)
        trajectory = Trajectory(
            times, reported(rule, states), error(states, teacher), status, averages=averages,
            stopped=stopped,
        )  # fmt: skip
    if rule.classifies:
        trajectory = trajectory._replace(misclassification=trajectory.generalization_error)
    elif misclassification:
        from odes.local_fields import share_misclassified  # imports JAX

        share = share_misclassified(states, teacher, points, **shared)
        trajectory = trajectory._replace(misclassification=share)
    if not fluctuations:
        return trajectory
    from odes.fluctuations import linear_noise  # imports JAX

    scatter = linear_noise(
        initial, teacher, parameters, points=points, steps=steps, times=times, y=y, **shared
    )
    return trajectory._replace(fluctuations=scatter)


def choose(rule: Any, activation: Any) -> tuple[Rule, Any]:
    """The rule and the activation of those names, or the user's own; ValueError otherwise."""
    rule = lookup("rule", RULES, rule, "an odes.Rule", lambda own: isinstance(own, Rule))
    check_rule(rule)
    activation = lookup(
        "activation", ACTIVATIONS, activation, "a function of JAX arrays", is_activation
    )
    return rule, activation if hasattr(activation, "g") else Activation(activation, smooth=False)


def _closed_system(
    *, rule: Rule, activation: Any
) -> tuple[Callable[..., OrderParameters], Callable[..., Array]]:
    """Drift of a state, teacher and parameters, and generalization error of states and teacher."""
    return (
        partial(unchecked_drift, rule=rule, activation=activation),
        partial(unchecked_error, activation=activation),
    )


def check_tolerances(rtol: Any, atol: Any, max_steps: Any) -> tuple[float, float, int]:
    """The three as plain numbers; ValueError unless an integrator can work with them."""
    rtol = check_number("rtol", rtol, positive=True)
    if not SMALLEST_RTOL <= rtol < 1:
        raise ValueError(
            f"Argument `rtol` must be at least {SMALLEST_RTOL:g} and below 1, but is {rtol!r}."
        )
    atol = check_number("atol", atol, positive=True)
    return rtol, atol, check_count("max_steps", max_steps)


def check_feedback(rule: Rule, initial: OrderParameters) -> None:
    """ValueError unless the rule feeds back something of the shape of v."""
    sent_back = np.shape(rule.feedback(initial))
    if sent_back != initial.v.shape:
        raise ValueError(
            f"Argument `rule` must feed back a B of shape {initial.v.shape}, "
            f"but it is of shape {sent_back}."
        )


def check_feedback_drift(initial: OrderParameters, change: OrderParameters) -> None:
    """ValueError unless dB/dt and its like are of the shapes of B and its like."""
    for name, before, moved in zip(initial._fields, initial, change, strict=True):
        shapes = [getattr(each, "shape", ()) for each in (before, moved)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"Argument `rule` must have a feedback_drift of shape {shapes[0]} for {name}, "
                f"but it is of shape {shapes[1]}."
            )


def check_scatter(rule: Rule) -> None:
    """ValueError for a rule whose networks scatter in a way that is not in ``linear_noise``."""
    if rule.mirrors:
        raise ValueError(
            "Argument `fluctuations` must be False for a rule with weight mirrors, whose noise is "
            "not in the theory of fluctuations; simulate() many runs."
        )
    if set(FACTORS) & set(rule.needs):
        raise ValueError(
            "Argument `fluctuations` must be False for a rule that `needs` an F in factors, whose "
            "own scatter is not in the theory of fluctuations; simulate() many runs."
        )
    if rule.classifies:
        raise ValueError(
            "Argument `fluctuations` must be False for a rule that `classifies`, since a share of "
            "wrong classes over points has no gradient; simulate_chain() many runs."
        )
    if "S" in rule.needs:
        check_moves_with_F(rule, "fluctuations", "be False")


def check_moves_with_F(rule: Rule, argument: str, remedy: str) -> None:
    """ValueError for a B that is the overlap of W with F and does not move as AFA's does."""
    for hook, base in (("feedback_drift", AFA), ("feedback_matrix", Rule)):
        if overrides(rule, hook, base):
            raise ValueError(
                f"Argument `{argument}` must {remedy} for a rule that feeds back through F and has "
                f"a `{hook}` of its own, since samples kick B by what F has beyond the units, as B "
                f"of odes.rules.AFA moves with W; but the rule is {rule!r}."
            )


def covariant(
    states: OrderParameters, teacher: Teacher, rtol: float, atol: float
) -> OrderParameters:
    """The states, of one leading axis, with a Q that goes with R and T, to these tolerances.

    ``Q - R T^+ R^T``, the covariance of what the student has beyond the teacher, has eigenvalues
    >= 0.  Where a student becomes its teacher, they tend to 0, and the integrator's errors make
    some negative, and with them the error; those within :data:`ADDED_UP` tolerances become 0.
    """
    beyond = states.Q - states.R @ np.linalg.pinv(teacher.T, hermitian=True) @ states.R.mT
    known = np.isfinite(beyond).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(beyond[known])
    allowed = rtol * np.max(np.abs(states.Q[known]), axis=(1, 2), initial=0.0) + atol
    allowed *= ADDED_UP
    missing = np.where(values > -allowed[:, None], np.maximum(-values, 0.0), 0.0)
    Q = states.Q.copy()
    Q[known] += (vectors * missing[:, None]) @ vectors.mT
    return states._replace(Q=Q)


def reported(rule: Rule, states: OrderParameters) -> OrderParameters:
    """The states, of one leading axis or none, with B what the rule sends back; None for v."""
    if states.v.ndim == 2:
        sent_back = rule.feedback(states)
        return states._replace(B=None if sent_back is states.v else sent_back)

    def at(index: int) -> OrderParameters:
        return type(states)(*(each if each is None else each[index] for each in states))

    def sent_back_in(state: OrderParameters) -> Array:
        return reported(rule, state).B

    if sent_back_in(at(0)) is None:
        return states._replace(B=None)
    if states.v.__array_namespace__() is np:
        B = np.stack([sent_back_in(at(index)) for index in range(len(states.v))])
        return states._replace(B=B)
    import jax

    return states._replace(B=jax.vmap(sent_back_in)(states))


def is_smooth(rule: Any, activation: Any) -> bool:
    """Whether averages over points are smooth functions of the state."""
    return rule.smooth and getattr(activation, "smooth", False)


def has_closed_form(rule: Rule, activation: Any) -> bool:
    """Whether ``closed_moments`` covers this rule with this activation."""
    return differentiates(rule) and predicts_by_readout(rule) and has_averages(activation)


def has_averages(activation: Any) -> bool:
    """Whether an activation has closed forms, and no function of all fields of its own."""
    return hasattr(activation, "second_moment") and getattr(activation, "hidden", None) is None


def packing(like: OrderParameters) -> tuple[Callable, Callable]:
    """Functions between order parameters and one vector, which holds each distinct Q_kl once."""
    k, l, pair = distinct_pairs(len(like.v))
    shapes = {name: each.shape for name, each in like._asdict().items() if each is not None}
    sizes = [k.size if name in SYMMETRIC else math.prod(shape) for name, shape in shapes.items()]
    ends = np.cumsum(sizes).tolist()

    def pack(state: OrderParameters) -> Array:
        parts = [
            getattr(state, name)[k, l] if name in SYMMETRIC else getattr(state, name).ravel()
            for name in shapes
        ]
        return state.v.__array_namespace__().concat(parts)

    def unpack(y: Array) -> OrderParameters:
        return like._replace(
            **{
                name: y[..., start + pair]
                if name in SYMMETRIC
                else y[..., start:end].reshape(*y.shape[:-1], *shape)
                for (name, shape), start, end in zip(
                    shapes.items(), [0, *ends[:-1]], ends, strict=True
                )
            }
        )

    return pack, unpack


def integrated(
    velocity: Callable[[float, np.ndarray], Array],
    y0: np.ndarray,
    times: np.ndarray,
    jumps: list[float],
    rtol: float,
    atol: float,
    max_steps: int,
    steps: list[Step] | None = None,
    nearly: Callable[[float, np.ndarray], Array] | None = None,
) -> tuple[np.ndarray, str, float | None]:
    """The solution at ``times``, (n, size of y), NaN from where it stopped; status; when it did.

    The velocity may jump at ``jumps``, where it has the value from then on: integration begins anew
    there, and what is before sees the value from before.  The steps taken are appended to
    ``steps``.  The Jacobian is that of ``nearly``, a velocity that may be a little off.

    LSODA is stepped by hand, because it calls a step to NaN a success, and because what was reached
    is to survive a failure.
    """
    y = np.full((times.size, y0.size), np.nan)
    done = 0
    if times[0] == 0:
        y[0], done = y0, 1
    if done == times.size:
        return y, "ok", None
    initial_velocity = velocity(0.0, y0)
    if not np.all(np.isfinite(initial_velocity)):
        return y, "nonfinite", 0.0
    if times[-1] <= SHORTEST_TIME:
        return y0 + times[:, None] * initial_velocity, "ok", None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSODA's own words on a failed step; the status says it
        pieces = iter(stretches(jumps, times[-1]))
        velocities = velocity, nearly or velocity
        solver = _integrator(*velocities, next(pieces), y0, rtol, atol)
        for _ in range(max_steps):
            solver.step()
            size = abs(solver.y).max()
            if np.isnan(size):
                return y, "nonfinite", float(solver.t)
            if solver.status == "failed":
                if not np.all(np.isfinite(velocity(solver.t, solver.y))):
                    return y, "nonfinite", float(solver.t)
                break
            if steps is not None:
                middle = (solver.t_old + solver.t) / 2
                steps.append(Step(solver.t_old, solver.t, solver.dense_output()(middle)))
            if times[done] <= solver.t:
                reached = np.searchsorted(times, solver.t, side="right")
                y[done:reached] = solver.dense_output()(times[done:reached]).T
                done = reached
            if size > MAGNITUDE_LIMIT:
                return y, "diverged", float(solver.t)
            if solver.status == "finished":
                if done == times.size:
                    return y, "ok", None
                solver = _integrator(*velocities, next(pieces), solver.y, rtol, atol)
    sliding = _is_sliding(partial(velocity, solver.t), solver.y)
    return y, "sliding" if sliding else "max_steps", float(solver.t)


def _is_sliding(velocity: Callable[[np.ndarray], Array], y: np.ndarray) -> bool:
    """Whether an order parameter is kept at 0, where the drift jumps.

    The jump between its two sides is then as large at a thousandth of the distance.
    """
    for index in np.flatnonzero(np.abs(y) < SLIDING):
        jumps = []
        for distance in (SLIDING, SLIDING / 1000):
            sides = np.array([y, y])
            sides[:, index] = -distance, distance
            jumps.append(np.max(np.abs(velocity(sides[1]) - velocity(sides[0]))))
        if jumps[1] > jumps[0] / 2 > 0:
            return True
    return False


def _integrator(
    velocity: Callable[[float, np.ndarray], Array],
    nearly: Callable[[float, np.ndarray], Array],
    stretch: Stretch,
    y: np.ndarray,
    rtol: float,
    atol: float,
) -> LSODA:
    """The integrator of a stretch of time within which nothing jumps."""

    def clipped(t: float, y: np.ndarray) -> Array:
        return velocity(stretch.clipped(t), y)

    def jacobian(t: float, y: np.ndarray) -> np.ndarray:
        t = stretch.clipped(t)
        here = nearly(t, y)
        sizes = JACOBIAN_STEP * np.maximum(np.abs(y), 1.0)
        columns = [nearly(t, y + move) - here for move in np.diag(sizes)]
        return np.stack(columns, axis=1) / sizes

    return LSODA(clipped, stretch.start, y, stretch.end, rtol=rtol, atol=atol, jac=jacobian)
