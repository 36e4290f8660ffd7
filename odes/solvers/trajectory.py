"""One trajectory of the order parameters, from checked input, integrated by SciPy."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from odes.averages.quadrature import Points, coarse_points
from odes.common.calls import remembered
from odes.common.checks import check_count, check_flag, check_number, check_times
from odes.common.order_parameters import OrderParameters, Teacher, over_parts
from odes.common.schedules import (
    check_scheduled,
    jumps_of,
    parameters_at,
    scheduled_hyperparameters,
)
from odes.common.tasks import with_tasks
from odes.common.trajectory import Trajectory
from odes.problem import Problem, has_closed_form, overlaps_for, prepare, way_of_averaging
from odes.rules import FACTORS, Mirrored, check_moves_with_F, is_smooth
from odes.solvers.integrator import Integrated, Step, integrated
from odes.solvers.stopping import check_function, check_until, distance

LOCAL_ERROR_FRACTION = 0.03
"""Tolerance of one step of the integrator, relative to the accuracy asked for.

Errors of single steps add up, and an escape from a plateau multiplies them.  At the default
tolerances and t up to 1000, the generalization error is within 1e-9 of a solution at rtol = 1e-12
for students whose weights start at a scale of 0.1 or more, and within 3e-8 down to 0.001; with
LOCAL_ERROR_FRACTION = 1, within 3e-8 and 2e-6 (``python benchmarks/accuracy.py``)."""

LARGE_LR = 0.1
"""Learning rates above this are large where B diffuses: with AFA and K = M = 2, the mean error of
256 paths was within 5 per cent of that of ``solve`` up to t = 12 / lr for lr = 0.1, and within 14
for 0.3 (curves as in ``python paper_figs.py --only random_feedback``)."""

MIN_RTOL = 1e-12
"""Below this, the steps would have to be more accurate than double precision is."""

GLOBAL_ERROR_FACTOR = 10.0
"""How much larger than a tolerance its errors may get to be up to late times."""

MIN_RTOL_NONSMOOTH = 1e-4
"""Smallest relative tolerance of a step where the rule or the activation is not smooth.

The averages over a fixed set of points then jump as points cross the kinks, and an integrator that
resolved the jumps would not get anywhere."""


@remembered
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
    average_rtol: float | None = None,
    fluctuations: bool = False,
    misclassification: bool = False,
    tasks: Any = None,
    until: Any = None,
    record: Any = None,
) -> Trajectory:
    """The learning curve of an infinitely wide input layer, from the equations in ``odes.drift``.

    Backpropagation, FA and AFA with erf or linear units have closed equations, solved in NumPy.
    For every other rule or activation the averages over inputs are taken numerically, in JAX
    (``odes/averages/sampled.py``).

    The error is ``e = prediction - label``.  Rules that feed back through F are taken in the
    aligned scaling, where B is self-averaging.  For a random F the same equations hold only to
    leading order in the learning rate, since B diffuses: see :func:`odes.solve_paths`.  A
    RuntimeWarning says so where the overlaps show it, and the learning rate is above 0.1.

    Args:
        initial: OrderParameters at t = 0: Q (K, K), R (K, M), v (K, O), and B (K, O), or B1 and
            what follows it, where the rule needs them.  With a single output, v and B may be (K,).
            With several hidden layers v is a tuple ((K, H1), ..., (H_L, O)), and so are F2 and the
            B of feedback layer by layer; that of "dfa" is ((K, O), (H1, O), ...).
        teacher: Teacher: T (M, M), v_star (M, O), and S (M, O) and P (O, O) where the rule needs
            them.  With a single output, v_star and S may be (M,).  And ``inputs``, a
            :class:`odes.Spectrum`, unless they are independent standard normals: Q, R, T, S, P, and
            the B of F, then have a first axis of the groups of inputs.
        rule: a name in ``odes.RULES``; one with other parameters, such as ``MirroredFA(lr=0.5)``
            or ``ForwardForward(Logistic(2.0))``; or a :class:`odes.Rule` of one's own.
        lr: learning rate of the first layer; or a schedule, a function of t that returns it, such
            as :class:`odes.PiecewiseConstant` (``odes/common/schedules.py``).
        lr_v: learning rate of the readout, and of all layers above the first; None for the same as
            ``lr``, 0 for a frozen readout; or a schedule; or a tuple of one for each of them.
        feedback_scale: multiplies F, that is B and S, and P by its square; or a schedule.  Rules
            that learn their feedback start with it, and take numbers only.  Backpropagation and
            sign symmetry take no notice.
        noise: standard deviation of the noise on the teacher's labels.
        weight_decay: decay rate of the first layer per unit of t.
        weight_decay_v: decay rate of the readout; None for the same, or 0 if ``lr_v`` is the
            number 0; or a tuple of one for each layer above the first.
        activation: "erf", "linear", "tanh", "relu"; one of these with "-normalised", for students
            whose hidden activities are ``h / |h|``, taught by units whose are not; or a function of
            JAX arrays, entry by entry, taken to have kinks unless wrapped as
            ``odes.Activation(g)``.
        times: where to report, (n,), in samples / N, strictly increasing and >= 0.
        rtol, atol: relative and absolute accuracy of the integration.  The steps of the
            integrator (LSODA) are held to 0.03 times these, or to 1e-4 where the rule or the
            activation is not smooth.
        max_steps: the integration ends after so many steps, with status "max_steps".
        points: how to average what a sample does.  None: closed forms where there are any, else up
            to 36,000 nodes of a lattice, or 2^15 Sobol points (``odes/averages/levels.py``); the
            ``average_error`` of the Trajectory says how good they were.  A number: so many Sobol
            points, right for rules with jumps, half of them mirrored in the student's own part of
            the fields.  Or points of :func:`odes.gauss_hermite` or :func:`odes.sobol` in K + M
            dimensions, and O more if there is noise.  Points that are given are used also where
            there are closed forms, as a check on either, but for the error of erf or linear units
            that a readout weighs.
        average_rtol: the error that averages over nodes may have all along the solution, relative
            to the root mean square of what is averaged: nodes are chosen for it by a rough solution
            before.  A RuntimeWarning says so if none reach it.  None: a lattice above 1e-4 gives
            way to a better one, if there is one.  Not with ``points``; closed forms ignore it.
        fluctuations: whether to add how networks of N inputs scatter around the trajectory, in the
            linear-noise approximation (``fluctuations.py`` beside this; imports JAX).  Then rules
            that feed back through F need P, and rule and activation have to be smooth, as the drift
            is differentiated at the points; the feedback scale has to be a number.  Not for rules
            with weight mirrors, whose noise scatters besides, nor for an F in factors, for rules
            that classify, or for a B that moves in a way of its own although it is the overlap with
            F.  With ``points`` there is no bias.
        misclassification: whether to add the probability that an output has another sign than the
            teacher's, by ``points``, or 2^15 Sobol points (imports JAX).
        tasks: a list of :class:`odes.Task`, whose samples train some of the outputs, or of the
            hidden units, at rates of their own; None for one sample after another that trains all.
            With tasks, fluctuations have no bias.
        until: a generalization error, or a function of an OrderParameters and the teacher that is
            positive at first: the solution stops where the error has come down to the one, or the
            other to 0, with the status "reached", and at the time ``stopped``.
        record: a function of an OrderParameters and the teacher whose values at the times are to be
            kept as ``recorded``, (n, ...): a number, an array, or several by name.

    Returns:
        A Trajectory with n times.  B is what the rule sends back, and None where that is v.  The
        status is one string, and ``averages`` is "closed forms" or says over which points.  With
        fluctuations, ``trajectory.fluctuations.std(N)`` is the standard
        deviation of the generalization error.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    parameters = scheduled_hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    times = check_times(times)
    rtol, atol, max_steps = check_tolerances(rtol, atol, max_steps)
    until, record = check_until(until), check_function("record", record)
    average_rtol = check_average_rtol(average_rtol, points)
    fluctuations = check_flag("fluctuations", fluctuations)
    misclassification = check_flag("misclassification", misclassification)
    parameters = with_tasks(parameters, tasks, check_scheduled)
    problem = prepare(
        initial, teacher, rule=rule, activation=activation, points=points, parameters=parameters,
        tasks=tasks, with_P=fluctuations,
    )  # fmt: skip
    if fluctuations:
        check_scatter(problem)
    warn_of_diffusion(problem, initial, teacher, times)
    problem = problem.with_scaled_start()
    rtol, atol = attainable(problem, rtol, atol)
    run = partial(
        integrate_problem, times=times, rtol=rtol, atol=atol, max_steps=max_steps, until=until
    )
    with np.errstate(all="ignore"):
        if problem.points is None:
            (found, steps), average_error = run(problem), None
        else:
            from odes.solvers.average_errors import solved_over_nodes  # imports JAX

            problem, found, steps, average_error = solved_over_nodes(
                problem, points, average_rtol, rtol, run
            )
        states = restore_positivity(problem.unpack(found.y), problem.teacher, rtol, atol)
        errors = problem.measured_errors(states)
        trajectory = Trajectory(
            times, problem.sent_back(states, times), problem.total(errors), found.status,
            averages=way_of_averaging(problem.points), stopped=found.stopped, output_errors=errors,
            final=_last(problem, states, found, rtol, atol),
            recorded=_recorded(record, states, problem.teacher), average_error=average_error,
        )  # fmt: skip
    if problem.rule.classifies:
        trajectory = trajectory._replace(misclassification=trajectory.generalization_error)
    elif misclassification:
        from odes.averages.nodes import share_misclassified  # imports JAX

        share = share_misclassified(problem, states, points)
        trajectory = trajectory._replace(misclassification=share)
    if not fluctuations:
        return trajectory
    from odes.solvers.fluctuations import linear_noise  # imports JAX

    scatter = linear_noise(problem, points=points, steps=steps, times=times, y=found.y)
    return trajectory._replace(fluctuations=scatter)


def warn_of_diffusion(
    problem: Problem, initial: OrderParameters, teacher: Teacher, times: np.ndarray
) -> None:
    """RuntimeWarning of a random F, whose B, S and P no aligned F has, at large learning rates."""
    largest = max(parameters_at(problem.parameters, t).lr for t in (0.0, *times.tolist()))
    P = teacher.P
    if "S" not in problem.rule.needs or P is None or not np.any(P) or largest <= LARGE_LR:
        return
    try:
        overlaps_for(problem.rule, initial, teacher, with_P=True)
    except ValueError:
        warnings.warn(
            "B, S and P are those of a random F, whose B diffuses as the student learns; solve() "
            "leaves that out, which is right for small learning rates, but `lr` is above "
            f"{LARGE_LR:g}: use solve_paths().",
            RuntimeWarning, stacklevel=4,
        )  # fmt: skip


def integrate_problem(
    problem: Problem, *, times: np.ndarray, rtol: float, atol: float, max_steps: int, until: Any
) -> tuple[Integrated, list[Step]]:
    """The solution of a problem, and the steps that led to it."""
    coarse = problem
    if problem.points is not None:
        coarse = replace(problem, points=coarse_points(problem.points))
    steps: list[Step] = []
    found = integrated(
        problem.velocity(),
        problem.pack(problem.initial),
        times,
        jumps_of(problem.parameters, times[-1]),
        LOCAL_ERROR_FRACTION * rtol,
        LOCAL_ERROR_FRACTION * atol,
        max_steps,
        steps,
        coarse.velocity(),
        None if until is None else distance(problem, until),
    )
    return found, steps


def _recorded(record: Any, states: OrderParameters, teacher: Teacher) -> Any:
    """What a function returns at each of the states, NaN where there is none; None without it."""
    if record is None:
        return None
    known = np.flatnonzero(np.isfinite(states.Q).reshape(len(states.Q), -1).all(axis=1))
    if not known.size:
        return None
    try:
        each = [record(over_parts(lambda a, i=i: a[i], states), teacher) for i in known.tolist()]
        if not isinstance(each[0], dict):
            return _placed(each, known, len(states.Q))
        return {name: _placed([at[name] for at in each], known, len(states.Q)) for name in each[0]}
    except Exception as error:
        raise ValueError(
            "Argument `record` must return numbers of the same shape at all times, an array or a "
            "dictionary of arrays, for order parameters and a teacher, but raised "
            f"{error!r}."
        ) from error


def _placed(values: list[Any], known: np.ndarray, n: int) -> np.ndarray:
    """The values at times that are known, of n, and NaN at the others."""
    stacked = np.stack([np.asarray(each, float) for each in values])
    found = np.full((n, *stacked.shape[1:]), np.nan)
    found[known] = stacked
    return found


def _last(
    problem: Problem, states: OrderParameters, found: Integrated, rtol: float, atol: float
) -> OrderParameters:
    """Where a solution is to go on from, from the states that are reported, (n, ...)."""
    reported = np.flatnonzero(np.isfinite(found.y).all(axis=1))
    if found.status == "reached":
        states = restore_positivity(problem.unpack(found.end[None]), problem.teacher, rtol, atol)
        reported = np.zeros(1, int)
    if not reported.size:
        return problem.initial
    return over_parts(lambda each: each[reported[-1]], states)


def attainable(problem: Problem, rtol: float, atol: float) -> tuple[float, float]:
    """``rtol`` and ``atol``, or the smallest that averages over nodes allow.

    Such averages jump where a rule does.
    """
    if problem.points is None or is_smooth(problem.rule, problem.activation):
        return rtol, atol
    least = MIN_RTOL_NONSMOOTH / LOCAL_ERROR_FRACTION
    return max(rtol, least), max(atol, least / 100)


def check_average_rtol(average_rtol: Any, points: Any) -> float | None:
    """``average_rtol`` as a plain number, or None; ValueError if it cannot be used."""
    if average_rtol is None:
        return None
    average_rtol = check_number("average_rtol", average_rtol, positive=True)
    if points is not None:
        raise ValueError(
            "Argument `average_rtol` must be None with `points` that are given, but is "
            f"{average_rtol:g}."
        )
    return average_rtol


class Tolerances(NamedTuple):
    """How accurate an integration is to be, and how many steps it may take."""

    rtol: float
    atol: float
    max_steps: int


def check_tolerances(rtol: Any, atol: Any, max_steps: Any) -> Tolerances:
    """``rtol``, ``atol``, ``max_steps`` as plain numbers; ValueError if they cannot be used."""
    rtol = check_number("rtol", rtol, positive=True)
    if not MIN_RTOL <= rtol < 1:
        raise ValueError(
            f"Argument `rtol` must be at least {MIN_RTOL:g} and below 1, but is {rtol!r}."
        )
    atol = check_number("atol", atol, positive=True)
    return Tolerances(rtol, atol, check_count("max_steps", max_steps))


def check_scatter(problem: Problem) -> None:
    """ValueError where networks scatter in a way that is not in ``linear_noise``."""
    rule, activation = problem.rule, problem.activation
    if (
        problem.points is not None
        and not has_closed_form(rule, activation)
        and not is_smooth(rule, activation)
    ):
        raise ValueError(
            "Argument `fluctuations` must be False for a rule or an activation with jumps or "
            "kinks, since the drift is differentiated; wrap a smooth function as "
            "odes.Activation(g), or simulate_chain() many runs."
        )
    if callable(problem.parameters.feedback_scale):
        raise ValueError(
            "Argument `feedback_scale` must be a number with fluctuations, but is "
            f"{problem.parameters.feedback_scale.function!r}; simulate_chain() many runs."
        )
    if isinstance(rule, Mirrored):
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


def restore_positivity(
    states: OrderParameters, teacher: Teacher, rtol: float, atol: float
) -> OrderParameters:
    """The states, of one leading axis, with a Q that goes with R and T, to these tolerances.

    ``Q - R T^+ R^T``, the covariance of what the student has beyond the teacher, has eigenvalues >=
    0, in every group of inputs.  Where a student becomes its teacher, they tend to 0, and the
    integrator's errors make some negative, and with them the error; those within ten tolerances
    become 0.
    """
    beyond = states.Q - states.R @ np.linalg.pinv(teacher.T, hermitian=True) @ states.R.mT
    known = np.isfinite(beyond).all(axis=(-2, -1))
    values, vectors = np.linalg.eigh(beyond[known])
    allowed = rtol * np.max(np.abs(states.Q[known]), axis=(-2, -1), initial=0.0) + atol
    allowed *= GLOBAL_ERROR_FACTOR
    missing = np.where(values > -allowed[:, None], np.maximum(-values, 0.0), 0.0)
    Q = states.Q.copy()
    Q[known] += (vectors * missing[:, None]) @ vectors.mT
    return states._replace(Q=Q)
