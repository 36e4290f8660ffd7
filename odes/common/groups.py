"""Overlaps in groups of inputs, and what the fields see of all groups together."""

from __future__ import annotations

from typing import Any

from odes.common.layers import layers_of
from odes.common.order_parameters import GROUPED, Array, OrderParameters, Teacher
from odes.common.spectrum import Spectrum


def names_in_groups(teacher: Teacher, state: OrderParameters) -> tuple[str, ...]:
    """The overlaps of state and teacher that have an axis of groups, by name."""
    if teacher.inputs is None:
        return ()
    return (*GROUPED, "B") if has_groups(state.B, state) else GROUPED


def has_groups(B: Any, state: OrderParameters) -> bool:
    """Whether a B, if there is any, has an axis of groups of inputs."""
    return getattr(B, "ndim", 0) > layers_of(state.v)[0].ndim


def groups_of(inputs: Spectrum, N: int) -> Array:
    """The group of each of N coordinates, (N,): those of a group follow one another."""
    xp = inputs.shares.__array_namespace__()
    ends = xp.rint(xp.cumsum(inputs.shares) * N)
    return xp.searchsorted(ends, xp.arange(N) + 0.5)


def at_factor(inputs: Spectrum, tau: Array) -> Spectrum:
    """The inputs of this factor, which are Gaussian."""
    return Spectrum(tau * inputs.eigenvalues, inputs.shares)


def pooled(state: OrderParameters, teacher: Teacher) -> tuple[OrderParameters, Teacher]:
    """The overlaps of all groups together, as the fields see them; as they are without groups.

    Those of units count with the variances of the inputs, those of F do not.  Of the inputs only
    the mean of |x|^2 / N is left, as the variance of one group.
    """
    inputs = teacher.inputs
    if inputs is None:
        return state, teacher
    variances = inputs.eigenvalues
    xp = state.R.__array_namespace__()
    names = names_in_groups(teacher, state)

    def summed(name: str, each: Array) -> Array:
        if each is None or name not in names:
            return each
        weights = variances if name in "QRT" else xp.ones_like(variances)
        return xp.moveaxis(each, -3, -1) @ weights

    mean = inputs.mean_variance[None]
    fixed = {n: summed(n, each) for n, each in teacher._asdict().items() if n != "inputs"}
    return (
        state._replace(**{name: summed(name, each) for name, each in state._asdict().items()}),
        Teacher(**fixed, inputs=Spectrum(mean, 0 * mean + 1)),
    )


def of_length(teacher: Teacher, tau: Array) -> Teacher:
    """A teacher of pooled inputs, with the |x|^2 / N of samples of a factor tau."""
    inputs = teacher.inputs
    if inputs is None:
        return teacher
    return teacher._replace(inputs=inputs._replace(eigenvalues=tau * inputs.eigenvalues))


def mean_square(teacher: Teacher) -> Any:
    """|x|^2 / N of inputs that are :func:`pooled`."""
    return 1.0 if teacher.inputs is None else teacher.inputs.eigenvalues[0]
