"""Fixed points of the order-parameter dynamics and their linear stability.

At a fixed point ``f(y) = 0`` of the drift, small deviations follow the Jacobian J = df/dy: they
grow along an eigenvector whose eigenvalue has a positive real part.  The coordinates y hold each
distinct Q_kl once, so that Q stays symmetric, and only what can move: not a frozen readout, nor the
fixed B of feedback alignment.

Closed forms are differentiated as they stand.  Averages over points are differentiated by Price's
theorem, ::

    d<f>/dC_ab = 1/2 <d^2 f / dz_a dz_b>   for a = b, and twice that for the pair,

with z the fields and C their covariance.  It holds for singular C, too, such as that of a student
that equals its teacher, where the root of C has no derivative.  Importing this module imports JAX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq, root

from odes.averages.differentiable import differentiable_moments
from odes.averages.quadrature import Points
from odes.common.checks import check_number, hyperparameters
from odes.common.groups import names_in_groups
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher, joint_covariance
from odes.common.overlaps import PSD_TOLERANCE
from odes.common.tasks import with_tasks
from odes.problem import Problem, prepare, way_of_averaging
from odes.rules import is_smooth
from odes.solvers.integrator import integrated
from odes.solvers.trajectory import LOCAL_ERROR_FRACTION

MAX_SPEED_AT_REST = 1e-11
"""A state is a fixed point if no order parameter moves faster than this times the learning rate."""

MAX_ZERO_ERROR = 1e-9
"""A generalization error below this is zero."""

ROOT_XTOL = 1e-15
"""The search for one ends where rounding does."""

ZERO_EIGENVALUE_RTOL = 1e-7
"""Eigenvalues below this times the largest one count as zero.

Where a family of fixed points makes zero a defective eigenvalue, rounding turns it into the root of
1e-16."""

RTOL, ATOL, MAX_STEPS = 1e-8, 1e-10, 10_000
"""Accuracy and steps with which a solution is followed, as by default in ``solve``."""

RATES = tuple(float(lr) for lr in 0.01 * 2.0 ** np.arange(18))
"""The learning rates between which stability is looked for, each twice the one before."""


class FixedPoint(NamedTuple):
    """A fixed point, and the linear stability of the dynamics around it.

    ``stable`` says that no deviation grows to first order.  An eigenvalue of zero, as along a
    family of fixed points, counts neither way; and below 1e-7 of the largest one it is zero.
    B is what the rule sends back, in the state and in what deviates from it.
    """

    order_parameters: OrderParameters
    generalization_error: float
    eigenvalues: np.ndarray  # (D,) complex, those of the largest real part first, per unit of t
    eigenvectors: OrderParameters  # leading axis D, complex; zero in what cannot move
    physical: bool  # whether vectors with these overlaps exist, and an aligned F; and error >= 0
    stable: bool
    rule: Any = None
    activation: Any = None
    points: Points | None = None  # that were averaged over; None for closed forms

    @property
    def averages(self) -> str:
        """How the averages over inputs were taken: "closed forms", or over which points."""
        return way_of_averaging(self.points)

    @property
    def escape_rate(self) -> float:
        """The largest real part of an eigenvalue, that does not count as zero, per unit of t."""
        return float(growing_first(self.eigenvalues)[0].real)


def error_beside(plateau: FixedPoint, state: OrderParameters, teacher: Teacher) -> float:
    """The error of another state, with the rule and the averages of this fixed point."""
    averages = plateau.rule, plateau.activation, plateau.points
    return error_of(Problem(state, teacher, *averages, moving=()), state)


def growing_first(eigenvalues: np.ndarray) -> np.ndarray:
    """Eigenvalues that do not count as zero, the largest real part first; zero if there is none."""
    largest = np.max(abs(eigenvalues), initial=0.0)
    counted = eigenvalues[abs(eigenvalues) > ZERO_EIGENVALUE_RTOL * largest]
    return counted[np.argsort(-counted.real)] if counted.size else np.zeros(1, complex)


def fixed_point(
    guess: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: float,
    lr_v: float | None = None,
    feedback_scale: float = 1.0,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    points: int | Points | None = None,
    tasks: Any = None,
) -> FixedPoint:
    """The fixed point of ``odes.drift`` near a guess, stable or not, and its eigenvalues.

    Found by Powell's hybrid method, or else that of Levenberg and Marquardt (SciPy).  Where fixed
    points form a family, as those of linear units with trained readouts do, it is one near the
    guess.

    Args:
        guess: as ``initial`` of :func:`odes.solve`, whose frozen readout or fixed B it has.
        teacher, rule, lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v, activation,
            points, tasks: as for :func:`odes.solve`; no schedules, and rule and activation without
            jumps or kinks.

    Returns:
        A FixedPoint.

    Raises:
        ValueError: names the argument, what it must be and what it was; among them a guess from
            which no fixed point is found.
    """
    parameters = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    parameters = with_tasks(parameters, tasks, check_number)
    return find(prepared(guess, teacher, rule, activation, points, parameters, "guess", tasks))


def prepared(
    guess: OrderParameters,
    teacher: Teacher,
    rule: Any,
    activation: Any,
    points: Any,
    parameters: Hyperparameters,
    name: str,
    tasks: Any = None,
) -> Problem:
    """The Problem of arguments of :func:`fixed_point`, whose drift can be differentiated.

    ``name`` is that of the argument with the guess.
    """
    problem = prepare(
        guess, teacher, rule=rule, activation=activation, points=points, parameters=parameters,
        tasks=tasks, name=name,
    )  # fmt: skip
    if problem.points is not None and not is_smooth(problem.rule, problem.activation):
        raise ValueError(
            "Argument `rule` or `activation` must be without jumps and kinks (`smooth`), since the "
            "drift is differentiated; wrap a smooth function as odes.Activation(g), or follow "
            "solve() to late times."
        )
    return problem.with_scaled_start()


def follow(
    problem: Problem, y: np.ndarray, end: float, within: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, str]:
    """The state at time ``end``, from y, as :func:`odes.solve` follows it, and the status.

    ``within`` takes velocities to those along states that stay among themselves, so that no
    rounding leads away from these.
    """
    velocity = problem.velocity()
    with np.errstate(all="ignore"):
        found = integrated(
            lambda t, y: within(velocity(t, y)), y, np.array([end]), [],
            LOCAL_ERROR_FRACTION * RTOL, LOCAL_ERROR_FRACTION * ATOL, MAX_STEPS,
        )  # fmt: skip
    return found.y[0], found.status


def _jacobian(problem: Problem, y: Any, parameters: Hyperparameters) -> Any:
    """J of a packed state, (D, D)."""
    moments = problem.moments
    if problem.points is not None:
        moments = partial(differentiable_moments, points=problem.points)
    return jax.jacfwd(lambda y: problem.drift(y, parameters, moments))(y)


def find(problem: Problem) -> FixedPoint:
    """The fixed point near where the problem starts; ValueError where the search fails."""
    parameters = problem.parameters
    start = problem.pack(problem.initial)
    rate = parameters.fastest or 1.0
    velocity, jacobian = problem.velocity(), problem.compiled(_jacobian)

    def speed(y: np.ndarray) -> np.ndarray:
        return velocity(0.0, y) / rate

    def slope(y: np.ndarray) -> np.ndarray:
        return jacobian(y, parameters) / rate

    def left(y: np.ndarray) -> float:
        return float(np.max(abs(speed(y))))

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # SciPy's on the way; where it ends is looked at below
        y = start
        if not np.all(np.isfinite(speed(y))):
            raise ValueError("Argument `guess` must have a finite drift, but its drift is not.")
        for method in ("hybr", "lm"):
            if not left(y) <= MAX_SPEED_AT_REST:
                y = root(speed, start, jac=slope, method=method, options={"xtol": ROOT_XTOL}).x
        if not left(y) <= MAX_SPEED_AT_REST:
            raise ValueError(
                "Argument `guess` must be closer to a fixed point: the search from it ended where "
                f"an order parameter moves at {left(y) * rate:.2g} per unit of t."
            )
        J = slope(y) * rate
        state = problem.unpack(y)
        error = error_of(problem, state)
    eigenvalues, columns = np.linalg.eig(J)
    order = np.argsort(-eigenvalues.real)
    eigenvalues = eigenvalues[order].astype(complex)
    vectors = columns[:, order].T.astype(complex)
    has_F = "S" in problem.rule.needs
    return FixedPoint(
        problem.sent_back(state),
        error,
        eigenvalues,
        _deviations(problem, state, problem.changes(vectors)),
        physical=_is_physical(state, problem.teacher, has_F) and error > -1e-12,
        stable=bool(growing_first(eigenvalues)[0].real <= 0),
        rule=problem.rule,
        activation=problem.activation,
        points=problem.points,
    )


def _deviations(
    problem: Problem, state: OrderParameters, vectors: OrderParameters
) -> OrderParameters:
    """The eigenvectors, with their B in terms of what the rule sends back, to first order."""
    if problem.sent_back(state).B is None:
        return vectors._replace(B=None)

    def along(change: OrderParameters) -> Any:
        return jax.jvp(lambda state: problem.sent_back(state).B, (state,), (change,))[1]

    with jax.enable_x64(True):
        parts = [
            np.asarray(jax.vmap(along)(jax.tree.map(jnp.asarray, jax.tree.map(part, vectors))))
            for part in (np.real, np.imag)
        ]
    return vectors._replace(B=parts[0] + 1j * parts[1])


def _speed(problem: Problem) -> float:
    """The fastest change of what can move at the start, per learning rate."""
    change = problem.velocity()(0.0, problem.pack(problem.initial))
    return float(np.max(abs(change))) / problem.parameters.fastest


def error_of(problem: Problem, state: OrderParameters) -> float:
    """The generalization error of one state."""
    errors = problem.measured_errors(jax.tree.map(lambda array: array[None], state))
    return float(problem.total(errors)[0])


def _by_group(
    state: OrderParameters, teacher: Teacher
) -> tuple[list[OrderParameters], list[Teacher]]:
    """State and teacher of each group of inputs by itself."""
    names = names_in_groups(teacher, state)

    def part(given: Any, index: int) -> Any:
        at: dict[str, Any] = {**given._asdict(), "inputs": None}
        at = {name: each for name, each in at.items() if name in given._fields}
        at |= {name: at[name][index] for name in names if at.get(name) is not None}
        return given._replace(**at)

    indices = range(len(teacher.inputs.shares))
    return [part(state, i) for i in indices], [part(teacher, i) for i in indices]


def _is_physical(
    state: OrderParameters, teacher: Teacher, has_F: bool, size: float | None = None
) -> bool:
    """Whether vectors with these overlaps exist, an aligned F among them where the rule has one.

    Rounding is measured against the largest eigenvalue of the covariance of all fields; of all
    groups of inputs together, ``size``, if these are the overlaps of one.
    """
    C = joint_covariance(state, teacher)
    if teacher.inputs is not None:
        size = float(np.linalg.eigvalsh(C.sum(axis=0))[-1])
        groups = zip(*_by_group(state, teacher), strict=True)
        return all(_is_physical(*group, has_F, size) for group in groups)
    parts = state._asdict()
    if "P1" in parts:
        with_F1 = np.concatenate([parts["B1"], parts["S1"]])
        gram = np.block([[C, with_F1], [with_F1.T, parts["P1"]]])
        rounding = PSD_TOLERANCE * max(np.trace(gram), size or 0.0)
        return bool(np.linalg.eigvalsh(gram)[0] >= -rounding)
    eigenvalues, vectors = np.linalg.eigh(C)
    rounding = PSD_TOLERANCE * max(eigenvalues[-1], size or 0.0)
    if not has_F:
        return bool(eigenvalues[0] >= -rounding)
    with_F = np.concatenate([state.B, teacher.S])
    if teacher.P is not None:
        gram = np.block([[C, with_F], [with_F.T, teacher.P]])
        rounding = PSD_TOLERANCE * max(np.trace(gram), size or 0.0)
        return bool(np.linalg.eigvalsh(gram)[0] >= -rounding)
    null = vectors[:, eigenvalues < rounding]
    explained = np.max(abs(null.T @ with_F), initial=0.0) <= PSD_TOLERANCE**0.5
    return bool(eigenvalues[0] >= -rounding and explained)


def critical_learning_rate(
    solution: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr_v: float | None = None,
    feedback_scale: float = 1.0,
    activation: Any = "erf",
    points: int | Points | None = None,
) -> float:
    """The learning rate of the first layer beyond which a solution of zero error is not stable.

    Without noise and decay, under which such a solution is a fixed point at any learning rate.  A
    student of K = M units that equals its teacher is ``OrderParameters(T, T, v_star, B)``, where
    B = S for rules that feed back through F.

    Args:
        solution: the student.
        lr_v: learning rate of the readout; None for the same as the one that is varied.
        teacher, rule, feedback_scale, activation, points: as for :func:`fixed_point`.

    Returns:
        The learning rate at which the largest real part of an eigenvalue crosses zero, leaving out
        those that are zero along a family of solutions.

    Raises:
        ValueError: names the argument, what it must be and what it was; also if the solution is not
            stable at lr = 0.01, or still is at lr = 1310.
    """

    def parameters(lr: float) -> Hyperparameters:
        return hyperparameters(lr=lr, lr_v=lr_v, feedback_scale=feedback_scale)

    problem = prepared(
        solution, teacher, rule, activation, points, parameters(RATES[0]), "solution"
    )
    error, speed = error_of(problem, problem.initial), _speed(problem)
    if error > MAX_ZERO_ERROR or speed > MAX_SPEED_AT_REST:
        raise ValueError(
            "Argument `solution` must be a fixed point of this rule with a generalization error of "
            f"zero, but its error is {error:.3g}, and an order parameter moves at {speed:.3g} per "
            "unit of t and of the learning rate."
        )

    def point(lr: float) -> FixedPoint:
        return find(replace(problem, parameters=parameters(lr)))

    low = point(RATES[0])
    if low.escape_rate >= 0:
        raise ValueError(
            f"Argument `solution` must be stable at small learning rates, but at lr = {RATES[0]:g} "
            f"deviations grow at {low.escape_rate:.2g} per unit of t."
        )
    zeros = low.eigenvalues.size - growing_first(low.eigenvalues).size

    def leading(lr: float) -> float:
        eigenvalues = point(lr).eigenvalues
        return float(np.max(eigenvalues[np.argsort(abs(eigenvalues))[zeros:]].real))

    upper = next((lr for lr in RATES if leading(lr) > 0), None)
    if upper is None:
        raise ValueError(
            "Argument `solution` must lose stability at some learning rate, but up to "
            f"lr = {RATES[-1]:g} it does not."
        )
    return float(brentq(leading, upper / 2, upper, xtol=1e-13, rtol=1e-14))
