"""The equations of motion that all rules share, and their averages in closed form.

Saad & Solla (1995), Goldt et al. (2019) and, for the feedback, Refinetti et al. (2021).

Stack all units, students then teachers, with covariance ``C = [[Q, R], [R^T, T]]`` and signed
readouts ``U = [v; -v*]``: the error is ``e_o = sum_a U_ao g_a - noise zeta_o``, zeta_o normal.  A
rule that sends back B enters the first layer only through the credit matrix ``c = B U^T``, shape
(K, K + M), since ``delta_k = g'_k sum_a c_ka g_a`` up to the noise.  Averaged over an input, with
kappa the decays::

    d(w_k . u / N)/dt = -lr <delta_k y> - kappa w_k . u / N           u any direction, y its field
        <delta_k y>   = sum_a c_ka I3(k, y, a)
    dR_km/dt          = the above along u = w*_m
    dQ_kl/dt          = the above for k along w_l, plus for l along w_k, plus lr^2 <delta_k delta_l>
        <delta_k delta_l> = sum_ab c_ka c_lb I4(k, l, a, b) + noise^2 (B B^T)_kl J2(k, l)
    dv_ko/dt          = -lr_v sum_a I2(k, a) U_ao - kappa_v v_ko
    eps_g             = 1/2 sum_ab (U U^T)_ab I2(a, b)

For inputs with a covariance, u is the part of a direction in one group of inputs, of variance omega
and share rho: <delta_k y> is omega times the above, with the overlaps of that group, lr^2 <delta_k
delta_l> counts omega rho times, and what F adds is as it is.  The averages see the sum of omega C.
With a factor tau for every sample they see tau C, and are means over tau, of <delta_k y> and
<delta_k delta_l> with the weight tau (``odes/common/spectrum.py``).

The code runs on whatever array library its input belongs to: on NumPy as it stands, and on JAX
under jit, vmap and grad.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from odes.averages.activations import ACTIVATIONS, Erf
from odes.averages.closed import Moments, closed_moments, product
from odes.common.checks import check_double_precision, check_number, is_traced, lookup, quoted
from odes.common.groups import of_length, pooled
from odes.common.layers import LAYERED, have_layers, is_several, over_layers
from odes.common.order_parameters import (
    ALWAYS,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
    scale_feedback,
)
from odes.common.overlaps import check_arrays
from odes.common.tasks import Stream, mask_of, trained_units
from odes.rules import (
    FACTORS,
    RULES,
    Learning,
    Rule,
    check_feedback_drift,
    needs_of,
    weights_of,
)

CLOSED = {name: own for name, own in ACTIVATIONS.items() if hasattr(own, "second_moment")}
"""The activations with closed forms."""


def drift(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    *,
    rule: Any,
    activation: Any = Erf,
    moments: Callable[..., Moments] = closed_moments,
) -> OrderParameters:
    """Time derivative of the order parameters, exact as N grows (module docstring).

    For rules that feed back through F this is so in the aligned scaling; with a random F it is the
    drift part of a stochastic equation (``odes/solvers/paths.py``).

    Args:
        state: Q (K, K), R (K, M), v (K, O) and what else the rule needs, such as B (K, O).
        teacher: T (M, M), v_star (M, O) and, for rules that need them, S (M, O) and P (O, O); and
            ``inputs``, whose groups are a first axis of Q, R, T, S, P and the B of F.
        parameters: learning rates, noise, decays, and the scale of the feedback: what is fed back
            is F, and B of FA, times that.
        rule: a rule object of :mod:`odes.rules`, or its name.
        activation: closed forms of :mod:`odes.averages`, or their name; or what ``moments`` takes
            instead.
        moments: how to average over inputs.

    Returns:
        d/dt of each entry of ``state``, of the same shapes; t in samples / N.

    Raises:
        ValueError: names the argument, what it must be and what it was; also for arrays not in
            double precision, such as JAX makes unless told otherwise, and for what a rule overrides
            that ``moments`` cannot honour.
    """
    rule = lookup("rule", RULES, rule, "an odes.Rule", lambda own: isinstance(own, Rule))
    if not callable(moments):
        raise ValueError(f"Argument `moments` must be a function, but is {quoted(moments)}.")
    if moments is closed_moments:
        activation = _with_closed_forms(activation)
        check_shallow("moments", state, teacher)
    if not isinstance(parameters, Hyperparameters):
        raise ValueError(
            "Argument `parameters` must be Hyperparameters(...), such as hyperparameters() makes, "
            f"but is {quoted(parameters)}."
        )
    if parameters.rates is not None:
        raise ValueError(
            "Argument `parameters` must have no rates of tasks, whose drifts add up: solve()."
        )
    parameters = parameters._replace(
        **{
            name: over_layers(lambda rate, n=f"parameters.{name}": _checked(n, rate), value)
            for name, value in parameters._asdict().items()
            if name != "rates"
        }
    )
    state, teacher = check_arrays(
        "state", state, teacher, needs_of(rule), axes=False, beside=parameters.feedback_scale
    )
    teacher = teacher._replace(**{name: None for name in "SP" if name not in rule.needs})
    check_feedback_drift(rule, state, teacher, activation)
    with np.errstate(over="ignore", invalid="ignore"):
        return unchecked_drift(
            state, teacher, parameters, rule=rule, activation=activation, moments=moments
        )


def _checked(name: str, value: Any) -> Any:
    """A number, or one that is traced."""
    return value if is_traced(value) else check_number(name, value)


def unchecked_drift(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    *,
    rule: Any,
    activation: Any = Erf,
    moments: Callable[..., Moments] = closed_moments,
    stream: Stream | None = None,
) -> OrderParameters:
    """:func:`drift` of what was checked before, by samples of a stream; None for those of all."""
    check_double_precision(state.R)
    K, inputs = state.R.shape[-2], teacher.inputs
    lr, lr_v, _, decay, _, scale, _ = parameters
    xp = state.R.__array_namespace__()
    if stream is not None:
        moments = partial(moments, stream=stream)
        decay = decay * trained_units(stream, K)[:, None]
        learned = mask_of(stream, state.v, LAYERED)
        parameters = parameters._replace(
            weight_decay_v=over_layers(operator.mul, parameters.weight_decay_v, learned)
        )
    fed_back = scale_feedback(state, teacher, scale)
    averages = averaged(*fed_back, parameters, rule, activation, moments)

    def along(overlaps: Array, with_F: Array | None = None, scale: Array = scale) -> Array:
        """d(w_k . u / N)/dt from the overlaps of directions u with all units, and with F."""
        change = product(averages.slopes, overlaps)
        if inputs is not None:
            change = inputs.eigenvalues[:, None, None] * change
        if averages.gamma_error is not None:
            change = change + scale * (averages.gamma_error @ with_F)
        return -lr * change - decay * overlaps[..., :K, :]

    units_with_F = None
    if averages.gamma_error is not None:
        S, _ = rule.feedback_matrix(*fed_back)
        units_with_F = xp.concat([rule.feedback(fed_back[0]), S], axis=-2).mT
    along_units = along(joint_covariance(state, teacher), units_with_F, 1.0)  # of the scaled F
    dQ, dR = along_units[..., :K], along_units[..., K:]
    squared = lr * lr * averages.delta_delta
    if inputs is not None:
        squared = (inputs.eigenvalues * inputs.shares)[:, None, None] * squared
    dv = over_layers(
        lambda rate, decay, change, v: -rate * change - decay * v,
        lr_v,
        parameters.weight_decay_v,
        averages.readout,
        state.v,
    )
    still = {
        name: over_layers(lambda part: 0 * part, each)
        for name, each in state._asdict().items()
        if name not in ALWAYS and each is not None
    }
    learning = Learning(along, dv, parameters, activation, averages.weights, averages.activities)
    if stream is None:
        moved = rule.feedback_drift(state, teacher, learning)
    else:
        moved = _moved_by_parts(stream, state, teacher, rule, learning)
    change = still | (averages.weights or {}) | moved
    return state._replace(Q=dQ + dQ.mT + squared, R=dR, v=dv, **change)


def _moved_by_parts(
    stream: Stream, state: OrderParameters, teacher: Teacher, rule: Any, learning: Learning
) -> dict[str, Array]:
    """d/dt of the feedback that moves: of every part, with what it has of the weights."""
    found: dict[str, Array] = {}
    weights = weights_of(rule)
    for part in stream:
        own = {
            name: over_layers(operator.mul, each, part.mask(each, weights[name]))
            for name in weights
            if (each := getattr(state, name)) is not None
        }
        moved = rule.feedback_drift(state._replace(**own), teacher, learning)
        for name, each in moved.items():
            dimensions = weights.get(name, ("K", "columns of F"))
            if name not in FACTORS or name in weights:
                each = over_layers(operator.mul, each, part.mask(each, dimensions))
            found[name] = (
                each if name not in found else over_layers(operator.add, found[name], each)
            )
    return found


def averaged(
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    moments: Callable[..., Moments],
) -> Moments:
    """The moments with the fields of all groups of inputs together, and over the factors.

    The scale of the feedback is in state and teacher already.
    """
    inputs = teacher.inputs
    if inputs is not None:
        state, teacher = pooled(state, teacher)
    C = joint_covariance(state, teacher)
    if inputs is None or inputs.factors is None:
        return moments(C, state, teacher, parameters, rule, activation)
    xp = C.__array_namespace__()

    def at(tau: Array) -> Moments:
        return moments(tau * C, state, of_length(teacher, tau), parameters, rule, activation)

    if xp is np and getattr(moments, "func", moments) is closed_moments:  # of any leading axes
        each = moments(
            inputs.factors[:, None, None] * C, state, teacher, parameters, rule, activation
        )
    else:
        import jax

        if xp is np:
            each = jax.tree.map(lambda *parts: np.stack(parts), *map(at, inputs.factors))
        else:
            each = jax.vmap(at)(inputs.factors)
    return mean_over_factors(each, inputs)


def mean_over_factors(each: Moments, inputs: Any) -> Moments:
    """The moments from those at every factor, which are their first axis."""
    shares = inputs.factor_shares
    xp = each.slopes.__array_namespace__()
    longer = shares * inputs.factors

    def mean(value: Any, weights: Array) -> Any:
        if isinstance(value, dict):
            return {name: mean(part, weights) for name, part in value.items()}
        if is_several(value):
            return tuple(mean(part, weights) for part in value)
        return None if value is None else xp.tensordot(weights, value, axes=1)

    return Moments(
        **{
            name: mean(value, longer if name in ("slopes", "delta_delta") else shares)
            for name, value in each._asdict().items()
        }
    )


def generalization_error(state: OrderParameters, teacher: Teacher, activation: Any = Erf) -> Array:
    """``eps_g = 1/2 sum_ab (U U^T)_ab I2(a, b)``, half the mean squared error, summed over outputs.

    ``state`` may have leading axes, as on a trajectory; the result has their shape.  The activation
    is one with closed forms, or its name.  Raises ValueError for an argument that is something
    else, and for arrays not in double precision.
    """
    return output_errors(state, teacher, activation).sum(axis=-1)


def output_errors(state: OrderParameters, teacher: Teacher, activation: Any = Erf) -> Array:
    """The errors of all outputs, which add up to :func:`generalization_error`, (..., O).

    Arguments and errors are as there.  With weights p of the outputs, ``output_errors(...) @ p`` is
    the error on a mixture of tasks.
    """
    activation = _with_closed_forms(activation)
    check_shallow("state", state, teacher)
    state, teacher = check_arrays("state", state, teacher, (), axes=True)
    return unchecked_output_errors(state, teacher, activation)


def check_shallow(name: str, state: Any, teacher: Any) -> None:
    """ValueError for several hidden layers, where averages are taken in closed form."""
    if have_layers(getattr(state, "v", None), getattr(teacher, "v_star", None)):
        raise ValueError(
            f"Argument `{name}` must be for one hidden layer, and so must the teacher, since there "
            "are no closed forms for several; solve() averages over points."
        )


def _with_closed_forms(activation: Any) -> Any:
    """The activation with closed forms of that name, or itself; ValueError otherwise."""
    return lookup(
        "activation", CLOSED, activation, "an activation with closed forms",
        lambda own: hasattr(own, "second_moment"),
    )  # fmt: skip


def unchecked_output_errors(state: OrderParameters, teacher: Teacher, activation: Any) -> Array:
    """``eps_o = 1/2 sum_ab U_ao U_bo I2(a, b)``, half the mean squared error of every output."""
    inputs = teacher.inputs
    state, teacher = pooled(state, teacher)
    xp = state.v.__array_namespace__()
    C = joint_covariance(state, teacher)
    v_star = xp.broadcast_to(teacher.v_star, state.v.shape[:-2] + teacher.v_star.shape)
    U = xp.concat([state.v, -v_star], axis=-2)
    mixed = inputs is not None and inputs.factors is not None
    if mixed:
        C, U = inputs.factors[:, None, None] * C[..., None, :, :], U[..., None, :, :]
    variance = C.diagonal(0, -2, -1)
    I2 = activation.I2(C, variance[..., :, None], variance[..., None, :])
    errors = xp.sum(U * (I2 @ U), axis=-2) / 2
    return inputs.factor_shares @ errors if mixed else errors
