"""One trajectory of the order parameters, from checked input, on NumPy and SciPy alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import LSODA

from odes.averages import ACTIVATIONS
from odes.drift import distinct_pairs, drift, generalization_error
from odes.order_parameters import (
    DIMENSIONS,
    MAGNITUDE_LIMIT,
    Array,
    OrderParameters,
    Teacher,
    Trajectory,
    check_count,
    check_times,
    hyperparameters,
    joint_covariance,
    lookup,
)
from odes.rules import RULES, Rule

STEP = 0.03
"""Tolerance of one step of the integrator, relative to the accuracy asked for.

Errors of single steps add up, and an escape from a plateau multiplies them.  At the default
tolerances and t up to 1000, the generalization error is within 1e-9 of a solution at rtol = 1e-12
for students whose weights start at a scale of 0.1 or more, and within 3e-8 down to 0.001; with
STEP = 1, within 3e-8 and 2e-6 (``python benchmarks/accuracy.py``)."""

PSD_TOLERANCE = 1e-7
"""How negative an eigenvalue of a covariance may be, relative to the largest: overlaps measured in
single precision are good to about that."""


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
) -> Trajectory:
    """The learning curve of an infinitely wide input layer, from the equations in ``odes.drift``.

    Args:
        initial: order parameters at t = 0: Q (K, K), R (K, M), v (K, O), and B (K, O) where the
            rule needs it.  With a single output, v and B may be (K,).
        teacher: T (M, M), v_star (M, O), and S (M, O) where the rule needs it; likewise (M,).
        rule: "bp", "fa", "afa", or a rule object of :mod:`odes.rules`.
        lr: learning rate of the first layer.
        lr_v: learning rate of the readout; None for the same as ``lr``, 0 for a frozen readout.
        noise: standard deviation of the noise on the teacher's labels.
        weight_decay: decay rate of the first layer per unit of t.
        weight_decay_v: decay rate of the readout; None for the same, or 0 if it is frozen.
        activation: "erf", "linear", or closed forms as in :mod:`odes.averages`.
        times: where to report, (n,), in samples / N, strictly increasing and >= 0.
        rtol, atol: relative and absolute accuracy of the order parameters.  The steps of the
            integrator (LSODA) are held to ``STEP`` times these.
        max_steps: the integration ends after so many steps, with status "max_steps".

    Returns:
        A Trajectory with n times.  BP has ``B=None``.  The status is one string.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    rule = lookup("rule", RULES, rule, lambda own: isinstance(own, Rule))
    activation = lookup("activation", ACTIVATIONS, activation, lambda own: hasattr(own, "tilt"))
    parameters = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v
    )
    times = check_times(times)
    check_count("max_steps", max_steps)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (np.ndim(value) == 0 and value > 0 and math.isfinite(value)):
            raise ValueError(f"Argument `{name}` must be a finite number > 0, but is {value!r}.")
    initial, teacher = check_overlaps(initial, teacher, rule.needs)

    pack, unpack = _packing(initial)

    def velocity(t: float, y: np.ndarray) -> np.ndarray:
        return pack(drift(unpack(y), teacher, parameters, rule=rule, activation=activation))

    with np.errstate(all="ignore"):
        y, status = _integrate(velocity, pack(initial), times, STEP * rtol, STEP * atol, max_steps)
        states = unpack(y)
        error = generalization_error(states, teacher, activation)
    return Trajectory(times, states, error, status)


def check_overlaps(
    initial: OrderParameters, teacher: Teacher, needs: tuple[str, ...]
) -> tuple[OrderParameters, Teacher]:
    """The overlaps in float64 with explicit output axes, or a ValueError that says what is wrong.

    ``needs`` lists the optional ones (B, S, P) that the rule uses; a B that it does not is dropped.
    """
    given = {**initial._asdict(), **teacher._asdict()}
    if "B" not in needs:
        given["B"] = None
    for name in needs:
        if given[name] is None:
            raise ValueError(
                f"Argument `{name}` must be an array of shape "
                f"({', '.join(DIMENSIONS[name])}) for this rule, but is None."
            )
    arrays: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for name, value in given.items():
        arrays[name] = None if value is None else _checked_array(name, value, sizes)

    for name in ("Q", "T", "P"):
        if arrays[name] is not None:
            _check_symmetric(name, arrays[name])
    state = OrderParameters(*(arrays[name] for name in OrderParameters._fields))
    fixed = Teacher(*(arrays[name] for name in Teacher._fields))
    _check_covariance("the joint covariance [[Q, R], [R^T, T]]", joint_covariance(state, fixed))
    if fixed.P is not None:
        _check_covariance("P", fixed.P)
    return state, fixed


def _checked_array(name: str, value: Any, sizes: dict[str, int]) -> np.ndarray:
    """``value`` as a finite float64 array whose shape agrees with ``sizes``, which it extends."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"Argument `{name}` must be a real array, but is {value!r}.") from None
    dimensions = DIMENSIONS[name]
    if array.ndim == 1 and dimensions[1] == "O":
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"Argument `{name}` must have shape ({', '.join(dimensions)}), "
            f"but has shape {np.shape(value)}."
        )
    for dimension, size in zip(dimensions, array.shape, strict=True):
        if sizes.setdefault(dimension, size) != size:
            expected = ", ".join(f"{d} = {sizes[d]}" for d in dimensions if d in sizes)
            raise ValueError(
                f"Argument `{name}` must have shape ({', '.join(dimensions)}) with {expected}, "
                f"but has shape {np.shape(value)}."
            )
    limit = MAGNITUDE_LIMIT if name in OrderParameters._fields else np.finfo(float).max
    if not np.all(np.abs(array) <= limit):
        raise ValueError(
            f"Argument `{name}` must hold finite numbers of magnitude up to {limit:g}, "
            f"but is {value!r}."
        )
    return array


def _check_symmetric(name: str, array: np.ndarray) -> None:
    """ValueError unless the matrix equals its transpose to single precision."""
    if not np.allclose(array, array.T, rtol=1e-6, atol=1e-6):
        raise ValueError(f"Argument `{name}` must be symmetric, but is {array.tolist()}.")


def _check_covariance(name: str, matrix: np.ndarray) -> None:
    """ValueError unless the symmetric matrix is positive semidefinite to single precision."""
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -PSD_TOLERANCE * max(1.0, eigenvalues[-1]):
        raise ValueError(
            f"Argument {name} must be positive semidefinite, "
            f"but has the eigenvalue {eigenvalues[0]:.3g}."
        )


def _packing(like: OrderParameters) -> tuple[Callable, Callable]:
    """Functions between order parameters and one vector, which holds each distinct Q_kl once."""
    (K, M), O = like.R.shape, like.v.shape[1]
    k, l, pair = distinct_pairs(K)
    ends = np.cumsum([k.size, K * M, K * O, K * O])

    def pack(state: OrderParameters) -> np.ndarray:
        parts = [state.Q[k, l], state.R.ravel(), state.v.ravel()]
        if state.B is not None:
            parts.append(state.B.ravel())
        return np.concatenate(parts)

    def unpack(y: np.ndarray) -> OrderParameters:
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
            if np.isnan(size) or solver.status == "failed":
                return y, "nonfinite"
            if times[done] <= solver.t:
                reached = np.searchsorted(times, solver.t, side="right")
                y[done:reached] = solver.dense_output()(times[done:reached]).T
                done = reached
            if size > MAGNITUDE_LIMIT:
                return y, "diverged"
            if solver.status == "finished":
                return y, "ok"
    return y, "max_steps"
