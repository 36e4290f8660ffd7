"""Order parameters: the state of the theory, what stays fixed, and what comes out.

A student with K hidden units learns from a teacher with M hidden units, both with O outputs, on
fresh inputs ``x`` of N independent standard normal entries, one at a time.  As N grows, everything
that the learning curve depends on is held by a few overlaps between weight vectors.  This table
is where the symbols of all packages are defined.

========== ======= ====================================================================
symbol     shape   meaning
========== ======= ====================================================================
``Q``      (K, K)  overlaps of the student's first-layer weights, ``w_k . w_l / N``
``R``      (K, M)  overlaps of student and teacher, ``w_k . w*_m / N``
``T``      (M, M)  overlaps of the teacher, ``w*_m . w*_n / N``
``v``      (K, O)  readout weights of the student
``v_star`` (M, O)  readout weights of the teacher
``B``      (K, O)  the feedback signal that a rule sends back instead of ``v``
``B1``     (K, K)  overlaps of the student with the first factor F1 of F
``S1``     (M, K)  overlaps of the teacher with F1
``P1``     (K, K)  overlaps of the columns of F1 with one another
``F2``     (K, O)  the second factor of F
``S``      (M, O)  overlaps of the teacher with the top-down feedback matrix F
``P``      (O, O)  overlaps of the columns of F with one another
========== ======= ====================================================================

Indices: i, k, l a student unit; m, n a teacher unit; a, b any unit, students first; o an output.
The error is ``e_o = prediction - label``.  Time is ``t = samples / N``, a pure number, as are all
the quantities in the table.

For rules with a feedback matrix F of shape (N, O), whose second pass sees ``x - F e``, the overlap
is ``B = W F / sqrt(N)`` and ``S = W* F / sqrt(N)``.  Two scalings of F make these O(1):

* *aligned*: entries of F of O(1 / sqrt(N)), correlated with the weights; ``P = F^T F``.  B is
  self-averaging and obeys an ordinary differential equation.
* *random*: entries of F of O(1), independent of the weights; ``P = F^T F / N``.  B diffuses, and
  the ordinary differential equation holds only to leading order in the learning rate.

Weight mirrors learn an aligned F in two factors, ``F = F1 F2 / sqrt(N)``, one for each layer.  F1
has K columns with entries of O(1) and the overlaps ``B1 = W F1 / N``, ``S1 = W* F1 / N`` and
``P1 = F1^T F1 / N``, so that ``B = B1 F2``, ``S = S1 F2`` and ``P = F2^T P1 F2``.

Inputs may have a covariance, and a length that varies, instead (``spectrum.py`` beside this): the
overlaps of vectors in input space are then one for each group of inputs of the same variance.

With several hidden layers, of widths K, H1, ..., H_L, v is a tuple of what stands above the first,
``((K, H1), (H1, H2), ..., (H_L, O))``, and so is F2.  B is one, too, for rules that send the error
back layer by layer, and ``((K, O), (H1, O), ...)`` for those that send it straight to every layer;
of rules that feed back to the input it is the overlap with F, (K, O), as ever.  A teacher may have
several layers as well, with v_star a tuple.

Forward-Forward has no readout: its labels are inputs, and v holds the label weights, from the one
label to the hidden units, which are of O(1) and learn at a rate of 1/N as a readout does.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from odes.common.layers import as_weights, layers_of, over_layers

Array = Any  # a NumPy or JAX array

DIMENSIONS = {
    "Q": ("K", "K"),
    "R": ("K", "M"),
    "v": ("K", "O"),
    "B": ("K", "O"),
    "T": ("M", "M"),
    "v_star": ("M", "O"),
    "S": ("M", "O"),
    "P": ("O", "O"),
    "B1": ("K", "K"),
    "S1": ("M", "K"),
    "P1": ("K", "K"),
    "F2": ("K", "O"),
}

GROUPED = ("Q", "R", "T", "S", "P", "B1", "S1", "P1")
"""The overlaps of vectors in input space, of which there is one for each group of inputs; and B, of
rules that feed back through F."""

SYMMETRIC = ("Q", "T", "P", "P1")

FEEDBACK = ("B", "B1", "S1", "P1", "F2")
"""The order parameters of the feedback, which some rules have."""

ALWAYS = ("Q", "R", "v")
"""The order parameters of every rule."""

MAGNITUDE_LIMIT = 1e6
"""An order parameter above this has diverged.

Q^2 / (1 + Q), on which the averages rest, is then known to about 1e-10 only, and an integrator at
the default tolerance would follow the rounding."""

STATUS = ("ok", "diverged", "max_steps", "nonfinite", "sliding", "reached")
"""How a solution ends (:class:`Trajectory`); compiled code has indices into this."""


class OrderParameters(NamedTuple):
    """The state that evolves; on a :class:`Trajectory` every array has leading axes of its own.

    Weights that a rule keeps besides follow as further fields, by their names (`with_weights`).
    """

    Q: Array  # (K, K)
    R: Array  # (K, M)
    v: Array  # (K, O)
    B: Array | None = None  # (K, O); None for backpropagation, whose feedback is v

    def with_weights(self, **weights: Array) -> Any:
        """The state with weights of these names that a rule keeps."""
        return state_of({**self._asdict(), **weights})


class FactoredOrderParameters(NamedTuple):
    """The state of rules that learn an aligned F in two factors; B, which follows, may be None."""

    Q: Array  # (K, K)
    R: Array  # (K, M)
    v: Array  # (K, O)
    B: Array | None  # (K, O)
    B1: Array  # (K, K)
    S1: Array  # (M, K)
    P1: Array  # (K, K)
    F2: Array  # (K, O)


def is_state(value: Any) -> bool:
    """Whether this holds order parameters."""
    return isinstance(value, tuple) and getattr(value, "_fields", ())[:4] == OrderParameters._fields


def given_parts(state: OrderParameters) -> dict[str, Array]:
    """The order parameters that a state has, by name."""
    return {name: each for name, each in state._asdict().items() if each is not None}


def over_parts(function: Any, state: OrderParameters) -> OrderParameters:
    """The state with ``function`` of each of its arrays."""
    return state._replace(
        **{name: over_layers(function, each) for name, each in given_parts(state).items()}
    )


def state_of(parts: dict[str, Any]) -> Any:
    """The state of these order parameters, by name, and of what else is not None."""
    known, factors = OrderParameters._fields, FactoredOrderParameters._fields[4:]
    given = [name for name, each in parts.items() if name not in known and each is not None]
    more = tuple(sorted(given, key=(*factors, *given).index))
    return _with_fields(more)(*(parts.get(name) for name in (*known, *more)))


@cache
def _with_fields(more: tuple[str, ...]) -> Any:
    """The type of states that have these further fields."""
    kinds = (OrderParameters, FactoredOrderParameters)
    for kind in kinds:
        if kind._fields[4:] == more:
            return kind
    made: Any = namedtuple  # whose names are not known before
    fields = made("OrderParameters", (*OrderParameters._fields, *more))

    def reduced(state: Any) -> tuple[Any, tuple]:  # such a type cannot be imported
        return state_of, (state._asdict(),)

    return type("OrderParameters", (fields,), {"__slots__": (), "__reduce__": reduced})


class Teacher(NamedTuple):
    """What learning leaves as it is: the teacher, the overlaps of F, and the inputs.

    Without inputs, these are independent standard normals; with them, T, S and P have a first axis
    of the groups of inputs.
    """

    T: Array  # (M, M)
    v_star: Array  # (M, O)
    S: Array | None = None  # (M, O)
    P: Array | None = None  # (O, O)
    inputs: Any = None  # an odes.Spectrum, which gives all overlaps a first axis of its groups


FIXED = ("T", "v_star", "S", "P")
"""The overlaps of a Teacher."""


class Hyperparameters(NamedTuple):
    """The scalars of the online update; :func:`odes.hyperparameters` checks and completes them.

    Learning rates, rates of tasks and feedback scale may be functions of time instead
    (``schedules.py``).
    """

    lr: Array  # learning rate of the first layer
    lr_v: Any  # learning rate of the readout, or of all layers above the first, or of each of them
    noise: Array  # standard deviation of the label noise
    weight_decay: Array  # of the first layer, per unit of t
    weight_decay_v: Array  # of the readout, per unit of t
    feedback_scale: Array = 1.0  # multiplies F and FA's B
    rates: Any = None  # a tuple of samples per unit of t of each task, which have a noise each

    @property
    def fastest(self) -> Any:
        """The largest learning rate of any layer."""
        return max(self.lr, *layers_of(self.lr_v))


@cache
def distinct_pairs(K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index tables k, l of the pairs k <= l, (P,), and the pair that (k, l) belongs to, (K, K)."""
    k, l = np.triu_indices(K)
    pair = np.empty((K, K), dtype=int)
    pair[k, l] = pair[l, k] = np.arange(k.size)
    return k, l, pair


def joint_covariance(state: OrderParameters, teacher: Teacher) -> Array:
    """Covariance ``C = [[Q, R], [R^T, T]]`` of all local fields, (..., K + M, K + M).

    Of overlaps in groups of inputs, those of the fields of each group for inputs of variance 1.
    """
    Q, R, T = state.Q, state.R, teacher.T
    xp = R.__array_namespace__()
    if R.ndim > T.ndim:
        T = xp.broadcast_to(T, R.shape[:-2] + T.shape[-2:])
    return xp.concat([xp.concat([Q, R], axis=-1), xp.concat([R.mT, T], axis=-1)], axis=-2)


def scale_feedback(
    state: OrderParameters, teacher: Teacher, scale: Array
) -> tuple[OrderParameters, Teacher]:
    """The overlaps with F times ``scale``: B, S and F2 times it, and P times its square."""
    if isinstance(scale, float) and scale == 1:
        return state, teacher

    def times(overlap: Array | None, factor: Array) -> Array | None:
        if overlap is None:
            return None
        in_groups = overlap.ndim > layers_of(state.v)[0].ndim and getattr(factor, "ndim", 0) > 2
        return (factor[:, None] if in_groups else factor) * overlap

    scaled = {"B": over_layers(lambda each: times(each, scale), state.B)}
    F2 = getattr(state, "F2", None)
    if F2 is not None:  # a product, so that one factor is enough
        *others, last = layers_of(F2)
        scaled["F2"] = as_weights([*others, times(last, scale)])
    return (
        state._replace(**scaled),
        teacher._replace(S=times(teacher.S, scale), P=times(teacher.P, scale * scale)),
    )
