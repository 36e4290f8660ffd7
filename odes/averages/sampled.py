"""Averages over inputs for any rule and any activation, by quadrature over the local fields.

A rule that touches w_k only through local fields has an exact limit of large N, closed form or not:
for any direction u in input space with field y = u . x / sqrt(N), ::

    d(w_k . u / N)/dt = -lr ( <delta_k y> + sum_o <gamma_k e_o> S_uo ) - kappa w_k . u / N

where S_u are the overlaps of u with F, and dQ gains ``lr^2 <delta_k delta_l>``.  The fields are
normal, ``fields = root z`` with a root of their covariance C (:func:`field_roots`) and z standard
normal, so that ``<delta_k y> = <delta_k z> . root^-1 C_.u``: a direction that is no unit, such as
F, enters through its regression on the units.  The points z, and with them the teacher's fields,
stay the same during a solution, so that its flow is smooth where the rule is.  Importing this
module imports JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.averages.blocks import Blocks, added_up
from odes.averages.closed import Moments
from odes.averages.quadrature import Points
from odes.common.groups import mean_square, of_length, pooled
from odes.common.layers import LAYERED, layers_of, outputs_of, over_layers
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher, joint_covariance
from odes.common.tasks import Part, Stream
from odes.rules import Sample, draws_of, fields_above, shape_of, weights_of

ZERO_EIGENVALUE_RTOL = 1e-14
"""Eigenvalues of a covariance below this times its size count as zero."""


@jax.custom_jvp
def roots(C: Any, size: Any = 0.0) -> tuple[Any, Any]:
    """Symmetric square root of a covariance, (n, n), and its pseudo-inverse.

    Eigenvalues that are rounding beside ``size``, or beside the largest one, count as zero.
    """
    root, vectors = _eigenroots(C, size)
    inverse = jnp.where(root > 0, 1 / jnp.where(root > 0, root, 1.0), 0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


def _eigenroots(C: Any, size: Any) -> tuple[Any, Any]:
    """Square roots of the eigenvalues, 0 for those that count as zero, and the eigenvectors."""
    eigenvalues, vectors = jnp.linalg.eigh(C)
    positive = eigenvalues > ZERO_EIGENVALUE_RTOL * jnp.maximum(eigenvalues[-1], size)
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, eigenvalues, 1.0)), 0), vectors


@roots.defjvp
def _(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    """From ``dC = root droot + droot root``, also where eigenvalues coincide.

    Not for what a change of a singular C adds to its range.  A second derivative passes through the
    eigenvectors and wants distinct eigenvalues.
    """
    (C, size), (dC, _) = primals, tangents
    root, vectors = _eigenroots(C, size)
    sums = root[:, None] + root
    change = jnp.where(sums > 0, vectors.T @ dC @ vectors / jnp.where(sums > 0, sums, 1.0), 0)
    droot = vectors @ change @ vectors.T
    values = roots(C, size)
    return values, (droot, -values[1] @ droot @ values[1])


def field_roots(C: Any, K: int) -> tuple[Any, Any]:
    """A root L of the covariance C of K student units and their teachers, and its pseudo-inverse.

    ``C = L L^T``, all (K + M, K + M).  The teacher's fields are ``T^1/2 z_t`` and the student's
    ``R T^-1/2 z_t + D^1/2 z_s``, where ``D = Q - R T^-1 R^T`` is the covariance of what it has
    beyond the teacher; z is z_s, (K,), then z_t, (M,).

    Where a student becomes its teacher, D vanishes, and D^1/2 has no finite derivative.  Averages
    have one if they are even in z_s: over points of which each has a partner with z_s negated
    (:func:`mirrored_sobol`).  Over others, and with the symmetric root of C, steps of an integrator
    get ever shorter there.
    """
    root_T, inverse_T = roots(C[K:, K:])
    along = C[:K, K:] @ inverse_T
    root_D, inverse_D = roots(C[:K, :K] - along @ along.T, jnp.trace(C[:K, :K]))
    zero = jnp.zeros_like(along.T)
    root = jnp.block([[root_D, along], [zero, root_T]])
    return root, jnp.block([[inverse_D, -inverse_D @ along @ inverse_T], [zero, inverse_T]])


def updates_at(
    nodes: Any,
    C: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    stream: Stream | None = None,
) -> tuple[SampleUpdate, Any, Any]:
    """What a rule does at every node: updates and errors (nodes, ...); and the inverse root of C.

    Nodes hold standard normals z, (nodes, K + M), with O more for the noise, and those that the
    rule draws.  The field of a direction u is ``z . inverse root . C_.u``; its regression, where u
    is not among the units.
    """
    n = C.shape[0]
    root, inverse = field_roots(C, state.R.shape[-2])
    given = state, teacher, parameters, rule, activation, stream

    def one(node: Any) -> tuple[SampleUpdate, Any]:
        return update_at(root @ node[:n], node[n:], *given)

    update, error = jax.vmap(one)(nodes)
    return update, error, inverse


def update_at(
    fields: Any,
    drawn: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    stream: Stream | None = None,
) -> tuple[SampleUpdate, Any]:
    """What a rule does at one value of all fields, (K + M,), and of the normals that are drawn.

    These are O of the noise, of which there are none without noise, and those of the rule.  The
    update, and the error where there is a gamma.  Of a stream, each part is updated as if there
    were nothing else, and the error is what each unit has of it, (K, O).
    """
    K, O = state.R.shape[-2], outputs_of(state.v)
    own = draws_of(rule, K, O)
    zeta, xi = drawn[: drawn.size - own], drawn[drawn.size - own :]
    if stream is not None:
        whole = fields, zeta, xi, state, teacher
        each = [_update_of(part, *whole, parameters, rule, activation) for part in stream]
        return jax.tree.map(lambda *parts: sum(parts), *each)
    sample = Sample(
        fields[:K],
        state.v,
        label_at(fields, zeta, state, teacher, parameters, activation),
        rule.feedback(state),
        activities(activation),
        parameters.lr,
        xi.reshape(shape_of(rule.draws, K, O)) if own else None,
        {name: getattr(state, name) for name in rule.keeps},
        mean_square(teacher),
    )
    update = rule.update(sample)
    learned = rule.learn(sample) or None
    error = None if update.gamma is None else sample.error
    return SampleUpdate(update.delta, update.readout, update.gamma, learned), error


def _update_of(
    part: Part,
    fields: Any,
    zeta: Any,
    xi: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
) -> tuple[SampleUpdate, Any]:
    """What a rule does to a part of a student, and nothing to the rest of it."""
    K, O = state.R.shape[-2], outputs_of(state.v)
    weights = weights_of(rule)
    dimensions = {"Q": ("K", "K"), "R": ("K", "M"), "B": ("K", "O"), "B1": ("K", "K")} | weights
    own_state = state._replace(
        **{
            name: part.of(each, dimensions[name])
            for name in dimensions
            if (each := getattr(state, name, None)) is not None
        }
    )
    own_teacher = teacher._replace(v_star=part.of(teacher.v_star, ("M", ..., "O")))
    own_xi = part.of(xi.reshape(shape_of(rule.draws, K, O)), rule.draws).ravel() if xi.size else xi
    update, error = update_at(
        jnp.concatenate([part.of(fields[:K], ("K",)), fields[K:]]),
        jnp.concatenate([part.of(zeta, ("O",)) if zeta.size else zeta, own_xi]),
        own_state,
        own_teacher,
        parameters,
        rule,
        activation,
    )
    nothing = jnp.zeros(K)
    found = SampleUpdate(
        part.put(nothing, update.delta, ("K",)),
        part.put(over_layers(jnp.zeros_like, state.v), update.readout, LAYERED),
        None if update.gamma is None else part.put(nothing, update.gamma, ("K",)),
        update.weights
        and {
            name: part.put(
                over_layers(jnp.zeros_like, getattr(state, name)), each, dimensions[name]
            )
            for name, each in update.weights.items()
        },
    )
    if error is None:
        return found, None
    each = jnp.broadcast_to(error, (len(update.delta), len(error)))
    return found, part.put(jnp.zeros((K, O)), each, ("K", "O"))


class SampleUpdate(NamedTuple):
    """An :class:`odes.Update`, and what :meth:`odes.Rule.learn` returns."""

    delta: Any
    readout: Any
    gamma: Any
    weights: dict[str, Any] | None


def label_at(
    fields: Any,
    zeta: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    activation: Any,
) -> Any:
    """The teacher's output and its noise, (O,), of arguments as for :func:`update_at`."""
    label = taught(fields[state.R.shape[-2] :], teacher, activation)
    return label + parameters.noise * zeta if zeta.size else label


def taught(fields: Any, teacher: Teacher, activation: Any) -> Any:
    """The teacher's output at its fields, (M,), without noise, (O,)."""
    g, v_star = activation.g, teacher.v_star
    return g(fields_above(fields, v_star, g)[-1]) @ layers_of(v_star)[-1]


def sampled_moments(
    C: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    *,
    points: Points | Blocks,
    stream: Stream | None = None,
) -> Moments:
    """The moments of any rule, averaged over ``points``: K + M fields, then O normals if noisy.

    The rest is as for ``closed_moments`` (``closed.py``); ``activation`` has a function ``g``.
    """
    given = C, state, teacher, parameters, rule, activation, stream
    return added_up(points, lambda some: moments_of(*updates_at(some.nodes, *given), some, stream))


def moments_of(
    update: SampleUpdate, error: Any, inverse: Any, points: Points, stream: Stream | None
) -> Moments:
    """The moments from what :func:`updates_at` returns at these points."""
    weighted = points.weights[:, None] * update.delta
    with_z = weighted.T @ points.nodes[:, : len(inverse)]
    gamma_error = None
    if update.gamma is not None:
        weighted_gamma = points.weights[:, None] * update.gamma
        if stream is None:
            gamma_error = weighted_gamma.T @ error
        else:
            gamma_error = jnp.sum(weighted_gamma[:, :, None] * error, axis=0)
    return Moments(
        slopes=with_z @ inverse,
        delta_delta=weighted.T @ update.delta,
        readout=jax.tree.map(lambda each: jnp.tensordot(points.weights, each, 1), update.readout),
        gamma_error=gamma_error,
        weights=jax.tree.map(lambda each: jnp.tensordot(points.weights, each, 1), update.weights),
    )


def along_feedback(gamma: Any, error: Any) -> Any:
    """``gamma_k e_o`` of one sample, (K, O); None without a gamma."""
    if gamma is None:
        return None
    return gamma[:, None] * error


def products(problem: Any, parameters: Hyperparameters) -> Any:
    """``sum_k`` of <delta delta_BP>, <delta delta> and <delta_BP delta_BP>, (3, hidden layers).

    Of the initial state; delta_BP is the gradient of the error.  Of the layers above the first, of
    all entries of the change of their weights.
    """
    rule, activation, inputs = problem.rule, problem.activation, problem.teacher.inputs
    state, teacher = pooled(problem.initial, problem.teacher)
    C = joint_covariance(state, teacher)
    n, K = len(C), state.R.shape[-2]
    root, _ = field_roots(C, K)

    def one(node: Any, tau: Any) -> Any:
        fields, drawn = jnp.sqrt(tau) * (root @ node[:n]), node[n:]
        zeta = drawn[: drawn.size - draws_of(rule, K, outputs_of(state.v))]
        label = label_at(fields, zeta, state, teacher, parameters, activation)

        def error(own: Any, v: Any) -> Any:
            prediction = rule.predict(own, v, activities(activation))
            return jnp.sum((prediction - label) ** 2) / 2

        longer = of_length(teacher, tau)
        update, _ = update_at(fields, drawn, state, longer, parameters, rule, activation)
        slope, slopes = jax.grad(error, (0, 1))(fields[:K], state.v)
        own = [update.delta, *layers_of(update.readout)[:-1]]
        exact = [slope, *layers_of(slopes)[:-1]]
        found = [
            [jnp.sum(a * b) for a, b in ((x, y), (x, x), (y, y))]
            for x, y in zip(own, exact, strict=True)
        ]
        return jnp.array(found).T

    def at(tau: Any) -> Any:
        each = jax.vmap(one, (0, None))(problem.points.nodes, tau)
        lengths = jnp.where(jnp.arange(each.shape[-1]) == 0, tau, 1.0)  # of what multiplies delta
        return lengths * jnp.tensordot(problem.points.weights, each, 1)

    return over_factors(at, inputs)


def over_factors(function: Callable[[Any], Any], inputs: Any) -> Any:
    """The mean of a function of the factor over those of inputs; its value at 1 without any."""
    if inputs is None or inputs.factors is None:
        return function(1.0)
    values = jax.vmap(function)(inputs.factors)
    return jax.tree.map(lambda each: jnp.tensordot(inputs.factor_shares, each, 1), values)


def sampled_errors(problem: Any, states: OrderParameters) -> Any:
    """Errors of the outputs of states with leading axis n, (n, O), averaged over points."""
    if problem.rule.classifies:
        return misclassified(problem, states)
    return _averaged(problem, states, lambda prediction, label: (prediction - label) ** 2 / 2)


def misclassified(problem: Any, states: OrderParameters) -> Any:
    """Share of wrong signs of each output, of states with leading axis n, (n, O)."""
    return _averaged(problem, states, is_wrong)


def is_wrong(prediction: Any, label: Any) -> Any:
    """Whether signs differ, as a number: a half where there is none."""
    return (1 - jnp.sign(prediction) * jnp.sign(label)) / 2


def _averaged(problem: Any, states: OrderParameters, function: Callable[[Any, Any], Any]) -> Any:
    """Averages of a function of what student and noiseless teacher put out, (n, O)."""

    def one(state: OrderParameters) -> Any:
        C = joint_covariance(*pooled(state, problem.teacher))

        def at(tau: Any) -> Any:
            def sums(points: Points) -> Any:
                outputs = predictions_at(problem, points.nodes, tau * C, state, problem.teacher)
                return points.weights @ function(*outputs)

            return added_up(problem.points, sums)

        return over_factors(at, problem.teacher.inputs)

    return jax.lax.map(one, states)


def predictions_at(
    problem: Any, nodes: Any, C: Any, state: OrderParameters, teacher: Teacher
) -> tuple[Any, Any]:
    """What student and noiseless teacher put out at nodes (n, D) for fields of covariance C."""
    K = state.R.shape[-2]
    fields = nodes[:, : len(C)] @ field_roots(C, K)[0].T
    g = activities(problem.activation)
    student = jax.vmap(lambda each: problem.rule.predict(each, state.v, g))
    label = jax.vmap(lambda each: taught(each, teacher, problem.activation))(fields[:, K:])
    return student(fields[:, :K]), label


def activities(activation: Any) -> Callable[[Any], Any]:
    """The function from all fields of the student, (K,), to its hidden activities, (K,)."""
    return getattr(activation, "hidden", None) or activation.g
