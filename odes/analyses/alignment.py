"""Alignment of a rule's feedback weights, and of its update, with those of backpropagation.

Two alignments are in use (Refinetti et al. 2021).  That of the weights is between B and the readout
v.  That of the updates is between the change of the hidden weights that a rule makes and the one
that backpropagation would make on the same input, averaged over inputs::

    cos = <dW . dW_BP> / sqrt( <dW . dW> <dW_BP . dW_BP> )
    <dW . dW'> / N -> sum_k <delta_k delta'_k>

With several hidden layers there is one of each a layer, that of ``h_{l-1} delta_l^T`` above the
first.  With ``delta_k = g'_k sum_o B_ko e_o`` linear in B, each of the three is a closed average:
of a student that has every unit twice, once with B and once with v sent back.
"""

from __future__ import annotations

from functools import partial
from itertools import compress
from typing import Any

import numpy as np

from odes.averages.closed import closed_moments
from odes.averages.quadrature import Points
from odes.common.checks import check_flag, check_real, check_untraced, hyperparameters, quoted
from odes.common.groups import pooled
from odes.common.layers import (
    beside_feedback,
    have_layers,
    is_deep,
    is_several,
    layers_of,
    outputs_of,
    over_layers,
    widths_of,
)
from odes.common.order_parameters import (
    ALWAYS,
    DIMENSIONS,
    GROUPED,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    is_state,
    joint_covariance,
    state_of,
)
from odes.common.overlaps import check_overlaps, check_states
from odes.equations import mean_over_factors
from odes.problem import Problem, check_feedback, choose, has_closed_form
from odes.rules import RULES, draws_of, needs_of

ROUNDING = 1e-12
"""Updates smaller than this, squared and relative to what cancels in them, have no direction.

Those averaged over points cancel at every point by itself, and are small next to its square."""


def feedback_cosine(
    state: OrderParameters,
    *,
    per_output: bool = False,
    teacher: Teacher | None = None,
    rule: Any = None,
) -> Array:
    """Cosine of the angle between B and v, as vectors of all K O entries, or output by output.

    Args:
        state: may have leading axes, as on the trajectories of theory and simulation.
        per_output: whether to compare the columns of B and v, which adds a last axis (O,).
        teacher: of a single state with overlaps in groups of inputs, over which B is then summed;
            on a trajectory the groups are seen from the shapes.
        rule: whose B this is, for direct feedback ("dfa") to several hidden layers as wide as the
            output, which shapes do not tell from feedback layer by layer.

    Returns:
        The cosine, of the shape of the leading axes; NaN where B or v is zero.  With several hidden
        layers one for each B, along a last axis: of feedback layer by layer with the weights of
        that layer, and of feedback from the outputs with the product of all weights on that way.

    Raises:
        ValueError: for a rule without B, such as backpropagation.
    """
    overlap, norm_B, norm_v = _overlaps(state, per_output, teacher, rule)
    xp = overlap.__array_namespace__()
    norm = xp.sqrt(norm_B * norm_v)
    return xp.where(norm > 0, overlap / xp.where(norm > 0, norm, 1.0), xp.nan)


def feedback_angle(
    state: OrderParameters,
    *,
    per_output: bool = False,
    teacher: Teacher | None = None,
    rule: Any = None,
) -> Array:
    """Angle between B and v, in degrees, 0 where they are parallel.

    In feedback alignment the readout turns towards B first and fits the teacher then (Refinetti et
    al. 2021).  Arguments, shape and errors are those of :func:`feedback_cosine`.  Good to 1e-6
    degrees also where the cosine is close to 1.
    """
    return _angle(*_overlaps(state, per_output, teacher, rule))


def _overlaps(
    state: OrderParameters, per_output: bool, teacher: Teacher | None, rule: Any
) -> tuple[Array, Array, Array]:
    """B . v, B . B and v . v."""
    if teacher is not None and not isinstance(teacher, Teacher):
        raise ValueError(
            f"Argument `teacher` must be Teacher(...) or None, but is {quoted(teacher)}."
        )
    direct = rule is not None and choose(rule, "erf")[0].direct
    if not is_state(state):
        raise ValueError(f"Argument `state` must be OrderParameters(...), but is {quoted(state)}.")
    if state.B is None:
        raise ValueError(
            "Argument `state` must have a B, but B is None: what is fed back follows from v."
        )
    if is_deep(state.v):
        if check_flag("per_output", per_output):
            raise ValueError("Argument `per_output` must be False with several hidden layers.")
        B, v = (
            over_layers(partial(check_real, name), tuple(each) if is_deep(each) else each)
            for name, each in (("B", state.B), ("v", state.v))
        )
        pairs = [_products(*pair) for pair in beside_feedback(B, v, direct)]
        xp = pairs[0][0].__array_namespace__()
        overlap, norm_B, norm_v = (xp.stack(each, axis=-1) for each in zip(*pairs, strict=True))
        return overlap, norm_B, norm_v
    B, v = (check_real(name, getattr(state, name)) for name in "Bv")
    B, v = (each[:, None] if each.ndim == 1 else each for each in (B, v))
    in_groups = v.ndim > 2 or (teacher is not None and teacher.inputs is not None)
    if in_groups and B.ndim == v.ndim + 1:
        B = B.sum(axis=-3)
    if B.shape[-2:] != v.shape[-2:] or (min(B.ndim, v.ndim) > 2 and B.shape != v.shape):
        raise ValueError(
            f"Argument `state` must have a B of the shape of v, {v.shape}, but it is {B.shape}."
        )
    return _products(B, v, -2 if check_flag("per_output", per_output) else (-2, -1))


def _products(B: Array, v: Array, axis: Any = (-2, -1)) -> tuple[Array, Array, Array]:
    """B . v, B . B and v . v."""
    xp = v.__array_namespace__()
    overlap, norm_B, norm_v = (xp.sum(x, axis=axis) for x in (B * v, B * B, v * v))
    return overlap, norm_B, norm_v


def _angle(overlap: Array, norm: Array, other_norm: Array) -> Array:
    """The angle in degrees, from a scalar product and two squared norms."""
    xp = overlap.__array_namespace__()
    sine = xp.sqrt(xp.maximum(norm * other_norm - overlap * overlap, 0.0))
    angle = xp.atan2(sine, overlap) * (180 / xp.pi)
    return xp.where(norm * other_norm > 0, angle, xp.nan)


def update_cosine(
    state: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: float = 0.0,
    noise: float = 0.0,
    activation: Any = "erf",
    points: int | Points | None = None,
    per_output: bool = False,
) -> np.ndarray:
    """Cosine of the angle between the hidden update of a rule and that of backpropagation.

    Averaged over inputs (module docstring), which is closed for BP, FA and AFA with erf or linear
    units.  Backpropagation takes the gradient of the error of what the rule puts out.

    Args:
        state: one state; or states with leading axes, as on the trajectories of theory and
            simulation, with B where the rule needs it.
        teacher: T (M, M) and v_star (M, O), or (M,).
        rule, activation, points: as for :func:`odes.solve`; points that are given are averaged over
            also where there are closed forms.
        lr: learning rate of the first layer, for rules that look at it, such as time-local PEPITA.
        noise: standard deviation of the label noise, which is part of the error.
        per_output: whether to compare what each output alone sends back, which adds a last axis
            (O,); for rules with closed forms.

    Returns:
        The cosine, of the shape of the leading axes; NaN where either update is zero, to rounding.
        With several hidden layers one for each, along a last axis.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    overlap, norm, norm_BP = _update_overlaps(
        state, teacher, rule, lr, noise, activation, points, per_output
    )
    with np.errstate(invalid="ignore"):
        return np.clip(overlap / np.sqrt(norm * norm_BP), -1, 1)


def update_angle(
    state: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: float = 0.0,
    noise: float = 0.0,
    activation: Any = "erf",
    points: int | Points | None = None,
    per_output: bool = False,
) -> np.ndarray:
    """The angle in degrees whose cosine is :func:`update_cosine`, of the same arguments."""
    return _angle(
        *_update_overlaps(state, teacher, rule, lr, noise, activation, points, per_output)
    )


def _update_overlaps(
    state: OrderParameters,
    teacher: Teacher,
    rule: Any,
    lr: float,
    noise: float,
    activation: Any,
    points: int | Points | None,
    per_output: bool,
) -> np.ndarray:
    """``<dW . dW_BP>, <dW . dW>, <dW_BP . dW_BP>`` over N, (3, leading axes), NaN where zero."""
    rule, activation = choose(rule, activation)
    parameters = hyperparameters(lr=lr, noise=noise)
    per_output = check_flag("per_output", per_output)
    check_states("state", state, teacher)
    if rule.classifies:
        raise ValueError(
            "Argument `rule` must have a prediction whose error backpropagation would take back, "
            f"and not one that `classifies`, but is {rule!r}."
        )
    needs = {name: each for name, each in needs_of(rule).items() if name not in Teacher._fields}
    for name in ("Q", "R", "v", *needs):
        for array in layers_of(getattr(state, name, None)):
            if array is not None:
                check_untraced(name, check_real(name, array))
    grouped: tuple[str, ...] = ()
    if teacher.inputs is not None:
        grouped = (*GROUPED, "B") if "S" in rule.needs else GROUPED
        needs |= {"B": ("G", *DIMENSIONS["B"])} if "S" in rule.needs else {}
    leading = np.shape(state.R)[: -3 if grouped else -2]
    entries = [_entry(state, index, needs, grouped) for index in np.ndindex(leading)]
    reached = [
        all(a is None or np.all(np.isfinite(a)) for each in one for a in layers_of(each))
        for one in entries
    ]
    checked = [check_overlaps(one, teacher, needs, "state") for one in compress(entries, reached)]
    for one, fixed in checked[:1]:
        rule.check(one.R.shape[-2], outputs_of(one.v), activation)
        check_feedback(rule, pooled(one, fixed)[0])
        if is_several(one.v):
            rule.check_layers(one.v)
    found: list[Any] = []
    shallow = not have_layers(state.v, teacher.v_star)
    if points is None and shallow and has_closed_form(rule, activation):
        with np.errstate(over="ignore", invalid="ignore"):
            found = [_closed(*given, parameters, rule, activation, per_output) for given in checked]
    elif per_output:
        raise ValueError(
            "Argument `per_output` must be False for a rule or an activation without closed forms: "
            "all outputs together are averaged over points."
        )
    elif checked:
        found = _averaged(checked, parameters, rule, activation, points)
    if np.any(np.isinf(found)):
        raise ValueError(
            f"Argument `noise` must leave updates that are finite, but is {parameters.noise:g}, "
            f"with `lr` {parameters.lr:g}."
        )
    several: tuple[int, ...] = (len(state.v),) if is_deep(state.v) else ()
    if per_output:
        several = (np.shape(teacher.v_star)[-1] if np.ndim(teacher.v_star) == 2 else 1,)
    products = np.full((len(entries), *several, 3), np.nan)
    if checked:
        products[reached] = np.reshape(found, (len(checked), *products.shape[1:]))
    return np.moveaxis(products.reshape(*leading, *products.shape[1:]), -1, 0)


def _averaged(
    given: list[tuple[OrderParameters, Teacher]],
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    points: int | Points | None,
) -> list[Any]:
    """The three numbers of every state, averaged over points."""
    from odes.averages.nodes import check_averaged, choose_points  # imports JAX
    from odes.averages.sampled import products  # imports JAX

    (K, M), O = given[0][0].R.shape[-2:], outputs_of(given[0][0].v)
    check_averaged(rule, activation, given[0][0])
    for width in widths_of(given[0][0].v):
        RULES["bp"].check(width, O, activation)
    dimensions = K + M + (O if parameters.noise > 0 else 0) + draws_of(rule, K, O)
    nodes = choose_points(points, given[0][0], rule, activation, dimensions)
    found = []
    for state, teacher in given:
        problem = Problem(state, teacher, rule, activation, nodes, moving=())
        overlap, norm, norm_BP = problem.compiled(products)(parameters)
        has_direction = norm_BP > ROUNDING**2 * _terms(state, teacher, state.v)
        each = np.stack([overlap, norm, np.where(has_direction, norm_BP, np.nan)], axis=-1)
        found.append(each if is_several(state.v) else each[0])
    return found


def _entry(
    states: OrderParameters,
    index: tuple[int, ...],
    needs: dict[str, tuple[str, ...]],
    grouped: tuple[str, ...],
) -> OrderParameters:
    """One of states with leading axes, with what is needed of the feedback, which may have none."""
    parts = states._asdict()
    for name, part in parts.items():
        if is_several(part):
            parts[name] = over_layers(lambda layer: np.asarray(layer)[index], part)
            continue
        optional = name not in ALWAYS
        unused = part is None or (optional and name not in needs)
        array = None if unused else np.asarray(part)
        axes = 3 if name in grouped else 2
        if array is not None and not (optional and array.ndim <= axes):
            own = array.ndim - len(index)
            if index and own != axes and not (own == 1 and "O" in (DIMENSIONS | needs)[name]):
                raise ValueError(
                    f"Argument `{name}` must have the leading axes of R, {len(index)} in number, "
                    f"but has shape {array.shape}."
                )
            array = array[index]
        parts[name] = array
    return state_of(parts)


def _terms(state: OrderParameters, teacher: Teacher, fed_back: Any) -> float:
    """The size of what adds up to a squared update, and cancels where there is nothing to learn."""
    layers = [*layers_of(state.v), *layers_of(teacher.v_star)]
    forward, back = (sum(np.sum(a**2) for a in each) for each in (layers, layers_of(fed_back)))
    return float(forward * back)


def _closed(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    per_output: bool,
) -> list[Any]:
    """The three numbers of one state, all outputs together or for each, NaN where zero."""
    inputs = teacher.inputs
    state, teacher = pooled(state, teacher)
    B, O = rule.feedback(state), state.v.shape[1]
    found = []
    for some in [slice(o, o + 1) for o in range(O)] if per_output else [slice(None)]:
        v, fixed = state.v[:, some], Teacher(teacher.T, teacher.v_star[:, some])
        K = len(v)
        twice = OrderParameters(
            Q=np.tile(state.Q, (2, 2)),
            R=np.tile(state.R, (2, 1)),
            v=np.concatenate([v, 0 * v]),
            B=np.concatenate([B[:, some], v]),
        )
        products = _delta_delta(twice, fixed, parameters, activation, inputs)
        blocks = products[:K, K:], products[:K, :K], products[K:, K:]
        overlap, *norms = (np.trace(block) for block in blocks)
        for index, fed_back in enumerate((B[:, some], v)):
            if norms[index] <= ROUNDING * _terms(state._replace(v=v), fixed, fed_back):
                norms[index] = np.nan
        found.append([overlap, *norms])
    return found


def _delta_delta(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    activation: Any,
    inputs: Any,
) -> np.ndarray:
    """``<delta_k delta_l>`` of FA, (K, K), over the factors of inputs with the weight tau."""
    C = joint_covariance(state, teacher)
    if inputs is not None and inputs.factors is not None:
        C = inputs.factors[:, None, None] * C
    found = closed_moments(C, state, teacher, parameters, RULES["fa"], activation)
    return (found if C.ndim == 2 else mean_over_factors(found, inputs)).delta_delta
