"""The symmetric (unspecialised) plateau: its height, its linear stability and its length.

Units of the teacher that count alike look alike to a student that begins with small random weights:
``R_km`` is nearly the same for all m.  States in which it is exactly so stay so, and have a fixed
point of their own (Saad & Solla 1995).  Other trajectories approach it, too, and leave it as the
differences between the R_km grow, at the rate of the largest eigenvalue there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import brentq

from odes.averages.quadrature import Points
from odes.common.checks import check_number, hyperparameters, quoted
from odes.common.layers import have_layers, over_layers, shapes_of
from odes.common.order_parameters import ALWAYS, DIMENSIONS, OrderParameters, Teacher, state_of
from odes.common.overlaps import check_overlaps
from odes.common.trajectory import Trajectory
from odes.rules import needs_of
from odes.state_vector import packing

PLATEAU_SPAN = 200.0
"""Learning rate times the duration of one segment of integration, after which it is seen whether
anything still moves."""

MAX_PLATEAU_SPANS = 50
"""Most such segments."""

MAX_SETTLED_CHANGE = 1e-4
"""No order parameter changes by more in the last segment."""

MAX_PLATEAU_DISTANCE = 0.1
"""How far the fixed point may be from the end of the last segment, in any order parameter."""

ESCAPE_STEP, MAX_ESCAPE_STEPS = 0.1, 1000
"""Steps in which an escape is followed, relative to its rate, and how many at most."""

MAX_UNIT_DIFFERENCE = 1e-6
"""By how much the overlaps of the teacher's units may differ."""


def symmetric_plateau(
    initial: OrderParameters,
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
) -> Any:
    """The fixed point of the symmetric plateau, at which a student stays before it specialises.

    ``initial``, with each R_km replaced by its mean over the teacher's units, is followed until it
    hardly moves, and the fixed point is looked for from there.

    Args:
        initial, teacher: as for :func:`odes.solve`; the teacher's units have to count alike: T,
            v_star and, where the rule needs it, S are the same if units change places.
        rule, lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v, activation, points: as
            for :func:`odes.fixed_point`.

    Returns:
        A :class:`odes.FixedPoint`: its error is the height of the plateau, and its escape rate that
        at which differences grow.

    Raises:
        ValueError: names the argument, what it must be and what it was; also if ``initial`` leads
            to no plateau.
    """
    from odes.analyses.fixed_points import find, follow, prepared  # imports JAX

    lr = check_number("lr", lr, positive=True)
    scalars = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    problem = prepared(initial, teacher, rule, activation, points, scalars, "initial")
    state = _undecided(problem.initial)
    if have_layers(problem.initial.v, problem.teacher.v_star):
        raise ValueError(
            "Argument `initial` must have one hidden layer, and so must the teacher, whose units "
            "may change places: with more, look for a fixed_point()."
        )
    _check_alike(problem.teacher)

    def undecided(velocity: np.ndarray) -> np.ndarray:
        return problem.pack(_undecided(problem.changes(velocity)))

    for _ in range(MAX_PLATEAU_SPANS):
        reached, status = follow(problem, problem.pack(state), PLATEAU_SPAN / lr, undecided)
        if status != "ok":
            raise ValueError(
                "Argument `initial` must lead to a plateau, but with all R_km equal its solution "
                f'ends with the status "{status}".'
            )
        before, state = state, _undecided(problem.unpack(reached))
        if np.max(abs(problem.pack(state) - problem.pack(before))) < MAX_SETTLED_CHANGE:
            break
    try:
        plateau = find(replace(problem, initial=state))
    except ValueError as error:
        raise ValueError(
            "Argument `initial` must lead to a plateau, but with all R_km equal the search for the "
            f"fixed point fails. {error}"
        ) from None
    pairs = zip(plateau.order_parameters, problem.sent_back(state), strict=True)
    moved = max(np.max(abs(found - near)) for found, near in pairs if found is not None)
    if moved > MAX_PLATEAU_DISTANCE:
        raise ValueError(
            "Argument `initial` must lead to a plateau, but the fixed point found is "
            f"{moved:.2g} away from the solution with all R_km equal."
        )
    if not plateau.physical:
        raise ValueError(
            "Argument `initial` must lead to a plateau, but the fixed point found has overlaps "
            "that no vectors and no aligned F have; without P, any F will do."
        )
    return plateau


def _at(states: OrderParameters, index: int) -> OrderParameters:
    """One of states with a leading axis."""
    parts = states._asdict().items()
    return state_of(
        {n: None if each is None else over_layers(lambda a: a[index], each) for n, each in parts}
    )


def _undecided(state: OrderParameters) -> OrderParameters:
    """The state with each R_km, and S1_mk if there is one, replaced by its mean over m."""
    parts = state._asdict()
    parts["R"] = state.R.mean(axis=-1, keepdims=True) + 0 * state.R
    if "S1" in parts:
        parts["S1"] = parts["S1"].mean(axis=-2, keepdims=True) + 0 * parts["S1"]
    return state_of(parts)


def _check_alike(teacher: Teacher) -> None:
    """ValueError unless the units of the teacher may change places."""
    M = teacher.T.shape[-1]
    for name, array in (("v_star", teacher.v_star), ("S", teacher.S)):
        if array is not None and np.max(np.ptp(array, axis=-2)) > MAX_UNIT_DIFFERENCE:
            raise ValueError(
                f"Argument `{name}` must be the same for all of the teacher's units, "
                f"but is {array.tolist()}."
            )
    apart = ~np.eye(M, dtype=bool)
    for part in (teacher.T.diagonal(0, -2, -1), teacher.T[..., apart]):
        if part.size and np.max(np.ptp(part, axis=-1)) > MAX_UNIT_DIFFERENCE:
            raise ValueError(
                "Argument `T` must be the same for all of the teacher's units, "
                f"but is {teacher.T.tolist()}."
            )


def plateau_interval(
    trajectory: Trajectory, height: float, *, within: float = 0.05
) -> tuple[Any, Any]:
    """When the error of a trajectory comes within a fraction of a height, and when it falls below.

    Args:
        trajectory: of theory or simulation.  Between its times, the logarithm of the error is
            interpolated.
        height: of the plateau.
        within: the fraction.

    Returns:
        The first times at which the error is below ``(1 + within) height`` and below
        ``(1 - within) height``, of the shape of the leading axes; NaN where it never is.

    Raises:
        ValueError: unless ``height`` is positive and ``within`` between 0 and 1.
    """
    if not isinstance(trajectory, Trajectory):
        raise ValueError(
            f"Argument `trajectory` must be a Trajectory, but is {quoted(trajectory)}."
        )
    height = check_number("height", height, positive=True)
    within = _check_within(within)
    errors = np.asarray(trajectory.generalization_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.maximum(errors / height, np.finfo(float).tiny))

    def first(row: np.ndarray, level: float) -> float:
        below = np.flatnonzero(row < np.log(level))
        if below.size == 0:
            return np.nan
        i = below[0]
        if i == 0:
            return float(trajectory.times[0])
        return float(
            np.interp(-np.log(level), -row[i - 1 : i + 1], trajectory.times[i - 1 : i + 1])
        )

    start, end = (np.apply_along_axis(first, -1, logs, level) for level in (1 + within, 1 - within))
    return start[()], end[()]


def _check_within(within: Any) -> float:
    """``within`` as a float, if it is a fraction."""
    fraction = check_number("within", within, positive=True)
    if fraction >= 1:
        raise ValueError(f"Argument `within` must be below 1, but is {within!r}.")
    return fraction


def escape_time(
    plateau: Any,
    state: OrderParameters,
    teacher: Teacher,
    *,
    within: float = 0.05,
) -> float:
    """How long a state near a plateau stays there, if deviations follow the eigenvalues.

    Errors are those of the rule, the activation and the points of the plateau.

    Args:
        plateau: of :func:`symmetric_plateau`, or another unstable :class:`odes.FixedPoint`.
        state: an early state on it, such as that of a trajectory as it arrives.
        teacher: as for the plateau.
        within: fraction of the height by which the error is to fall.

    Returns:
        The time until the error is below ``(1 - within)`` times that of the plateau.

    Raises:
        ValueError: for a fixed point that is stable, and a state that does not leave it.
    """
    from odes.analyses.fixed_points import FixedPoint, error_beside  # imports JAX

    within = _check_within(within)
    if not isinstance(plateau, FixedPoint) or plateau.rule is None:
        raise ValueError(
            "Argument `plateau` must be a FixedPoint that symmetric_plateau() or "
            f"fixed_point() returned, but is {quoted(plateau)}."
        )
    if not plateau.escape_rate > 0:
        raise ValueError(
            "Argument `plateau` must be unstable, but its escape rate is "
            f"{plateau.escape_rate:.2g}."
        )
    moving = {k for k, each in plateau.eigenvectors._asdict().items() if each is not None}
    parts = plateau.order_parameters._asdict().items()
    known = DIMENSIONS | needs_of(plateau.rule)
    needs = {name: known[name] for name in known if name in moving and name not in ALWAYS}
    if getattr(teacher, "inputs", None) is not None and "S" in plateau.rule.needs:
        needs["S"] = known["S"]  # which says that B is in groups
    fixed = state_of({name: each for name, each in parts if name in moving})
    state, teacher = check_overlaps(state, teacher, needs, "state")
    pack, unpack = packing(fixed)
    has, wants = ((np.shape(each.R), shapes_of(each.v)) for each in (state, fixed))
    if has != wants:
        raise ValueError(
            "Argument `state` must have the shapes of the plateau, R "
            f"{wants[0]} and v {wants[1]}, but has {has[0]} and {has[1]}."
        )
    count = len(plateau.eigenvalues)
    modes = np.stack([pack(_at(plateau.eigenvectors, mode)) for mode in range(count)], axis=1)
    amplitudes = np.linalg.lstsq(modes, pack(state) - pack(fixed), rcond=None)[0]

    def excess(t: float) -> float:
        deviation = modes @ (amplitudes * np.exp(plateau.eigenvalues * t))
        error = error_beside(plateau, unpack(pack(fixed) + deviation.real), teacher)
        return error / plateau.generalization_error - (1 - within)

    if excess(0.0) <= 0:
        return 0.0
    step = ESCAPE_STEP / plateau.escape_rate
    with np.errstate(invalid="ignore"):
        for count in range(1, MAX_ESCAPE_STEPS):
            if excess(count * step) <= 0:
                return brentq(excess, (count - 1) * step, count * step)
    raise ValueError(
        "Argument `state` must be close to the plateau, but not on it: along the eigenvectors, its "
        f"error does not fall by {within:g} of the height."
    )
