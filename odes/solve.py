"""One trajectory of the order parameters, from checked input, integrated by SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import LSODA

from odes.averages import ACTIVATIONS, Activation, distinct_pairs
from odes.checks import (
    check_array,
    check_count,
    check_number,
    check_times,
    hyperparameters,
    is_activation,
    lookup,
)
from odes.drift import drift, generalization_error
from odes.order_parameters import (
    DIMENSIONS,
    MAGNITUDE_LIMIT,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    Trajectory,
    joint_covariance,
)
from odes.quadrature import Points
from odes.rules import RULES, Rule

STEP = 0.03
"""Tolerance of one step of the integrator, relative to the accuracy asked for.

Errors of single steps add up, and an escape from a plateau multiplies them.  At the default
tolerances and t up to 1000, the generalization error is within 1e-9 of a solution at rtol = 1e-12
for students whose weights start at a scale of 0.1 or more, and within 3e-8 down to 0.001; with
STEP = 1, within 3e-8 and 2e-6 (``python benchmarks/accuracy.py``)."""

SMALLEST_RTOL = 1e-12
"""Below this, the steps would have to be more accurate than double precision is."""

ROUGH = 1e-4
"""Smallest relative tolerance of a step where the rule or the activation is not smooth.

The averages over a fixed set of points then jump as points cross the kinks, and an integrator that
resolved the jumps would not get anywhere."""

PSD_TOLERANCE = 1e-7
"""How negative an eigenvalue of a correlation matrix may be: overlaps measured in single precision
are good to about that."""


def solve(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: float,
    lr_v: float | None = None,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    times: Any,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 10_000,
    points: int | Points | None = None,
) -> Trajectory:
    """The learning curve of an infinitely wide input layer, from the equations in ``odes.drift``.

    Backpropagation, FA and AFA with erf or linear units have closed equations, solved in NumPy.
    For every other rule or activation the averages over inputs are taken numerically, in JAX
    (``odes/local_fields.py``).

    The error is ``e = prediction - label``.  Rules that feed back through F are taken in the
    aligned scaling, where B is self-averaging.  For a random F the same equations hold only to
    leading order in the learning rate, since B diffuses: see :func:`odes.solve_paths`.

    Args:
        initial: OrderParameters at t = 0: Q (K, K), R (K, M), v (K, O), and B (K, O) where the
            rule needs it.  With a single output, v and B may be (K,).
        teacher: Teacher: T (M, M), v_star (M, O), and S (M, O) and P (O, O) where the rule needs
            them.  With a single output, v_star and S may be (M,).
        rule: a name in ``odes.RULES``, or a :class:`odes.Rule` of one's own.
        lr: learning rate of the first layer.
        lr_v: learning rate of the readout; None for the same as ``lr``, 0 for a frozen readout.
        noise: standard deviation of the noise on the teacher's labels.
        weight_decay: decay rate of the first layer per unit of t.
        weight_decay_v: decay rate of the readout; None for the same, or 0 if it is frozen.
        activation: "erf", "linear", "tanh", "relu", or an elementwise function of JAX arrays, taken
            to have kinks unless wrapped as ``odes.Activation(g)``.
        times: where to report, (n,), in samples / N, strictly increasing and >= 0.
        rtol, atol: relative and absolute accuracy of the integration.  The steps of the
            integrator (LSODA) are held to ``STEP`` times these, or to ``ROUGH`` where the rule or
            the activation is not smooth.
        max_steps: the integration ends after so many steps, with status "max_steps".
        points: how to average numerically.  None: closed forms where there are any, else a default
            good to about 1e-5 in the drift at K = M = 2 and to 2e-3 at K = M = 4
            (:func:`odes.quadrature.default_points`).  A number: so many Sobol points, right
            for rules with jumps.  Or points of :func:`odes.gauss_hermite` or :func:`odes.sobol` in
            K + M dimensions, and O more if there is noise.

    Returns:
        A Trajectory with n times.  BP has ``B=None``.  The status is one string.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    rule, activation = choose(rule, activation)
    parameters = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v
    )
    times = check_times(times)
    rtol, atol, max_steps = check_tolerances(rtol, atol, max_steps)
    initial, teacher = check_overlaps(initial, teacher, rule.needs)
    if "P" in rule.needs:
        check_feedback_matrix(initial, teacher)
    check_feedback(rule, initial)

    shared = {"rule": rule, "activation": activation}
    if points is None and has_closed_form(**shared):
        change, error = _closed_system(teacher, parameters, **shared)
    else:
        from odes.local_fields import sampled_system  # imports JAX

        change, error = sampled_system(initial, teacher, parameters, points, **shared)
        if not is_smooth(**shared):
            rtol, atol = max(rtol, ROUGH / STEP), max(atol, ROUGH / STEP / 100)

    with np.errstate(all="ignore"):
        check_feedback_drift(initial, change(initial))

    pack, unpack = packing(initial)
    with np.errstate(all="ignore"):
        y, status = _integrate(
            lambda t, y: pack(change(unpack(y))),
            pack(initial),
            times,
            STEP * rtol,
            STEP * atol,
            max_steps,
        )
        states = unpack(y)
        return Trajectory(times, states, error(states), status)


def choose(rule: Any, activation: Any) -> tuple[Rule, Any]:
    """The rule and the activation of those names, or the user's own; ValueError otherwise."""
    rule = lookup("rule", RULES, rule, "an odes.Rule", lambda own: isinstance(own, Rule))
    activation = lookup(
        "activation", ACTIVATIONS, activation, "a function of JAX arrays", is_activation
    )
    return rule, activation if hasattr(activation, "g") else Activation(activation, smooth=False)


def _closed_system(
    teacher: Teacher, parameters: Hyperparameters, *, rule: Rule, activation: Any
) -> tuple[Callable[[OrderParameters], OrderParameters], Callable[[OrderParameters], Array]]:
    """Drift and generalization error as functions of the state."""
    return (
        lambda state: drift(state, teacher, parameters, rule=rule, activation=activation),
        lambda states: generalization_error(states, teacher, activation),
    )


def check_tolerances(rtol: Any, atol: Any, max_steps: Any) -> tuple[float, float, int]:
    """The three as plain numbers; ValueError unless an integrator can work with them."""
    if check_number("rtol", rtol, positive=True) < SMALLEST_RTOL:
        raise ValueError(f"Argument `rtol` must be at least {SMALLEST_RTOL:g}, but is {rtol!r}.")
    atol = check_number("atol", atol, positive=True)
    return float(rtol), atol, check_count("max_steps", max_steps)


def check_feedback(rule: Rule, initial: OrderParameters) -> None:
    """ValueError unless the rule feeds back something of the shape of v."""
    sent_back = np.shape(rule.feedback(initial))
    if sent_back != initial.v.shape:
        raise ValueError(
            f"Argument `rule` must feed back a B of shape {initial.v.shape}, "
            f"but it is of shape {sent_back}."
        )


def check_feedback_drift(initial: OrderParameters, change: OrderParameters) -> None:
    """ValueError unless dB/dt is of the shape of B."""
    B, dB = (getattr(state.B, "shape", ()) for state in (initial, change))
    if dB != B:
        raise ValueError(
            f"Argument `rule` must have a feedback_drift of shape {B}, but it is of shape {dB}."
        )


def is_smooth(rule: Any, activation: Any) -> bool:
    """Whether averages over points are smooth functions of the state."""
    return rule.smooth and getattr(activation, "smooth", False)


def has_closed_form(rule: Rule, activation: Any) -> bool:
    """Whether ``closed_moments`` covers this rule with this activation."""
    return type(rule).update is Rule.update and hasattr(activation, "second_moment")


def check_overlaps(
    initial: OrderParameters, teacher: Teacher, needs: tuple[str, ...]
) -> tuple[OrderParameters, Teacher]:
    """The overlaps in float64 with explicit output axes, or a ValueError that says what is wrong.

    ``needs`` lists the optional ones (B, S, P) that the rule uses; a B that it does not is dropped.
    """
    state, fixed = shape_overlaps(initial, teacher, needs, check_array)
    for name, array in {**state._asdict(), **fixed._asdict()}.items():
        if array is not None and name != "P" and np.max(np.abs(array)) > MAGNITUDE_LIMIT:
            raise ValueError(
                f"Argument `{name}` must hold numbers of magnitude up to {MAGNITUDE_LIMIT:g}, "
                f"but is {array.tolist()}."
            )
    for name, matrix in (("Q", state.Q), ("T", fixed.T), ("P", fixed.P)):
        if matrix is not None and not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6):
            raise ValueError(f"Argument `{name}` must be symmetric, but is {matrix.tolist()}.")
    _check_covariance("the joint covariance [[Q, R], [R^T, T]]", joint_covariance(state, fixed))
    if fixed.P is not None:
        _check_covariance("P", fixed.P)
    return state, fixed


def shape_overlaps(
    initial: OrderParameters,
    teacher: Teacher,
    needs: tuple[str, ...],
    read: Callable[[str, Any], Array],
) -> tuple[OrderParameters, Teacher]:
    """The overlaps as ``read(name, value)`` makes arrays of them, with explicit output axes.

    Raises ValueError for an overlap that is missing, and for shapes that disagree.
    """
    for name, value, kind in (
        ("initial", initial, OrderParameters),
        ("teacher", teacher, Teacher),
    ):
        if not isinstance(value, kind):
            raise ValueError(f"Argument `{name}` must be {kind.__name__}(...), but is {value!r}.")
    given = {**initial._asdict(), **teacher._asdict()}
    if "B" not in needs:
        given["B"] = None
    for name in ("Q", "R", "v", "T", "v_star", *needs):
        if given[name] is None:
            raise ValueError(
                f"Argument `{name}` must be an array of shape "
                f"({', '.join(DIMENSIONS[name])}) for this rule, but is None."
            )
    sizes: dict[str, int] = {}
    arrays = {
        name: None if value is None else _shaped_overlap(name, read(name, value), sizes)
        for name, value in given.items()
    }
    return (
        OrderParameters(*(arrays[name] for name in OrderParameters._fields)),
        Teacher(*(arrays[name] for name in Teacher._fields)),
    )


def check_feedback_matrix(state: OrderParameters, teacher: Teacher) -> None:
    """ValueError unless an F with the overlaps B, S and P exists in the aligned scaling."""
    C = joint_covariance(state, teacher)
    overlaps = np.concatenate([state.B, teacher.S])
    _check_covariance(
        "the joint covariance [[C, [B; S]], [[B; S]^T, P]] of all units and an aligned F",
        np.block([[C, overlaps], [overlaps.T, teacher.P]]),
    )


def _shaped_overlap(name: str, array: Array, sizes: dict[str, int]) -> Array:
    """``array`` with an output axis, if its shape agrees with ``sizes``, which it extends."""
    shape, dimensions = array.shape, DIMENSIONS[name]
    if array.ndim == 1 and dimensions[1] == "O":
        array = array[:, None]
    for dimension, size in zip(dimensions, array.shape, strict=False):
        sizes.setdefault(dimension, size)
    expected = tuple(sizes.get(dimension, 1) for dimension in dimensions)
    if array.shape != expected or array.size == 0:
        known = ", ".join(f"{d} = {sizes[d]}" for d in dict.fromkeys(dimensions) if d in sizes)
        raise ValueError(
            f"Argument `{name}` must have shape ({', '.join(dimensions)}) with {known}, "
            f"but has shape {shape}."
        )
    return array


def _check_covariance(name: str, matrix: np.ndarray) -> None:
    """ValueError unless the symmetric matrix is positive semidefinite to single precision."""
    variance = matrix.diagonal()
    scale = np.sqrt(np.where(variance > 0, variance, 1))
    smallest = np.linalg.eigvalsh(matrix / scale[:, None] / scale)[0]
    null = variance == 0
    if np.any(variance < 0) or np.any(matrix[null]) or smallest < -PSD_TOLERANCE:
        raise ValueError(
            f"Argument {name} must be positive semidefinite, but has the eigenvalue "
            f"{np.linalg.eigvalsh(matrix)[0]:.3g}."
        )


def packing(like: OrderParameters) -> tuple[Callable, Callable]:
    """Functions between order parameters and one vector, which holds each distinct Q_kl once."""
    (K, M), O = like.R.shape, like.v.shape[1]
    k, l, pair = distinct_pairs(K)
    ends = np.cumsum([k.size, K * M, K * O, K * O])

    def pack(state: OrderParameters) -> Array:
        parts = [state.Q[k, l], state.R.ravel(), state.v.ravel()]
        if state.B is not None:
            parts.append(state.B.ravel())
        return state.v.__array_namespace__().concat(parts)

    def unpack(y: Array) -> OrderParameters:
        shape = y.shape[:-1]
        return OrderParameters(
            Q=y[..., pair],
            R=y[..., ends[0] : ends[1]].reshape(*shape, K, M),
            v=y[..., ends[1] : ends[2]].reshape(*shape, K, O),
            B=None if like.B is None else y[..., ends[2] :].reshape(*shape, K, O),
        )

    return pack, unpack


def _integrate(
    velocity: Callable[[float, np.ndarray], Array],
    y0: np.ndarray,
    times: np.ndarray,
    rtol: float,
    atol: float,
    max_steps: int,
) -> tuple[np.ndarray, str]:
    """The solution at ``times``, (n, size of y), NaN from where it stopped, and the status.

    LSODA is stepped by hand, because it calls a step to NaN a success, and because what was reached
    is to survive a failure.
    """
    y = np.full((times.size, y0.size), np.nan)
    done = 0
    if times[0] == 0:
        y[0], done = y0, 1
    if done == times.size:
        return y, "ok"
    if not np.all(np.isfinite(velocity(0.0, y0))):
        return y, "nonfinite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSODA's own words on a failed step; the status says it
        solver = LSODA(velocity, 0.0, y0, times[-1], rtol=rtol, atol=atol)
        for _ in range(max_steps):
            solver.step()
            size = abs(solver.y).max()
            if np.isnan(size):
                return y, "nonfinite"
            if solver.status == "failed":
                finite = np.all(np.isfinite(velocity(solver.t, solver.y)))
                return y, "max_steps" if finite else "nonfinite"
            if times[done] <= solver.t:
                reached = np.searchsorted(times, solver.t, side="right")
                y[done:reached] = solver.dense_output()(times[done:reached]).T
                done = reached
            if size > MAGNITUDE_LIMIT:
                return y, "diverged"
            if solver.status == "finished":
                return y, "ok"
    return y, "max_steps"
