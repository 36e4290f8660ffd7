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
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.averages import ACTIVATIONS
from odes.checks import check_array, check_count
from odes.drift import Moments
from odes.order_parameters import (
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
)
from odes.quadrature import Points, default_points, mirrored_sobol
from odes.rules import Sample, Update, draws_of, is_smooth, overrides, shape_of

SINGULAR = 1e-14
"""Eigenvalues of a covariance below this times its size count as zero."""


SIGNS = 2**15
"""Sobol points for averages of signs."""


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
    positive = eigenvalues > SINGULAR * jnp.maximum(eigenvalues[-1], size)
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
    (:func:`odes.quadrature.mirrored_sobol`).  Over others, and with the symmetric root of C, steps
    of an integrator get ever shorter there.
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
) -> tuple[Made, Any, Any]:
    """What a rule does at every node: updates and errors (nodes, ...); and the inverse root of C.

    Nodes hold standard normals z, (nodes, K + M), with O more for the noise, and those that the
    rule draws.  The field of a direction u is ``z . inverse root . C_.u``; its regression, where u
    is not among the units.
    """
    n = C.shape[0]
    root, inverse = field_roots(C, len(state.v))

    def one(node: Any) -> tuple[Made, Any]:
        return update_at(root @ node[:n], node[n:], state, teacher, parameters, rule, activation)

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
) -> tuple[Made, Any]:
    """What a rule does at one value of all fields, (K + M,), and of the normals that are drawn.

    These are O of the noise, of which there are none without noise, and those of the rule.  The
    update and the error.
    """
    K, O = state.v.shape
    own = draws_of(rule, K, O)
    zeta, xi = drawn[: drawn.size - own], drawn[drawn.size - own :]
    sample = Sample(
        fields[:K],
        state.v,
        label_at(fields, zeta, state, teacher, parameters, activation),
        rule.feedback(state),
        activities(activation),
        parameters.lr,
        xi.reshape(shape_of(rule.draws, K, O)) if own else None,
        {name: getattr(state, name) for name in rule.keeps},
    )
    update = rule.update(sample)
    learned = rule.learn(sample) or None
    return Made(update.delta, update.readout, update.gamma, learned), sample.error


class Made(NamedTuple):
    """An :class:`odes.Update`, and what the rule learns besides."""

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
    label = activation.g(fields[state.v.shape[0] :]) @ teacher.v_star
    return label + parameters.noise * zeta if zeta.size else label


def sampled_moments(
    C: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    rule: Any,
    activation: Any,
    *,
    points: Points,
) -> Moments:
    """The moments of any rule, averaged over ``points``: K + M fields, then O normals if noisy.

    The rest is as for :func:`odes.drift.closed_moments`; ``activation`` has a function ``g``.
    """
    update, error, inverse = updates_at(
        points.nodes, C, state, teacher, parameters, rule, activation
    )
    weighted = points.weights[:, None] * update.delta
    with_z = weighted.T @ points.nodes[:, : len(C)]
    gamma_error = None
    if update.gamma is not None:
        gamma_error = (points.weights[:, None] * update.gamma).T @ error
    return Moments(
        along=lambda overlaps: with_z @ (inverse @ overlaps),
        delta_delta=weighted.T @ update.delta,
        readout=jnp.tensordot(points.weights, update.readout, 1),
        gamma_error=gamma_error,
        weights=jax.tree.map(lambda each: jnp.tensordot(points.weights, each, 1), update.weights),
    )


def products(problem: Any, parameters: Hyperparameters) -> Any:
    """``sum_k`` of <delta delta_BP>, <delta delta> and <delta_BP delta_BP>, (3,).

    Of the initial state; delta_BP is the gradient of the error.
    """
    state, teacher, rule, activation = (
        problem.initial, problem.teacher, problem.rule, problem.activation
    )  # fmt: skip
    C = joint_covariance(state, teacher)
    n, K = len(C), len(state.v)
    root, _ = field_roots(C, K)

    def one(node: Any) -> tuple[Any, Any]:
        fields, drawn = root @ node[:n], node[n:]
        zeta = drawn[: drawn.size - draws_of(rule, *state.v.shape)]
        label = label_at(fields, zeta, state, teacher, parameters, activation)

        def error(own: Any) -> Any:
            prediction = rule.predict(own, state.v, activities(activation))
            return jnp.sum((prediction - label) ** 2) / 2

        update, _ = update_at(fields, drawn, state, teacher, parameters, rule, activation)
        return update.delta, jax.grad(error)(fields[:K])

    delta, exact = jax.vmap(one)(problem.points.nodes)
    pairs = (delta, exact), (delta, delta), (exact, exact)
    return jnp.stack([problem.points.weights @ jnp.sum(a * b, axis=1) for a, b in pairs])


def sampled_error(problem: Any, states: OrderParameters) -> Any:
    """Generalization error of states with leading axis n, (n,), averaged over points."""
    if problem.rule.classifies:
        return misclassified(problem, states)

    def one(state: OrderParameters) -> Any:
        prediction, label = predictions(problem, state)
        return jnp.sum(problem.points.weights @ (prediction - label) ** 2) / 2

    return jax.lax.map(one, states)


def misclassified(problem: Any, states: OrderParameters) -> Any:
    """Share of outputs of the wrong sign, of states with leading axis n, (n,)."""

    def one(state: OrderParameters) -> Any:
        prediction, label = predictions(problem, state)
        wrong = (1 - jnp.sign(prediction) * jnp.sign(label)) / 2  # a half where there is no sign
        return problem.points.weights @ jnp.mean(wrong, axis=1)

    return jax.lax.map(one, states)


def share_misclassified(
    problem: Any, states: OrderParameters, points: int | Points | None
) -> np.ndarray:
    """:func:`misclassified` of NumPy states, over the points that the caller of ``solve`` gave."""
    K, O = states.v.shape[1:]
    check_prediction(problem.rule, K, O, problem.activation)
    if not isinstance(points, Points):
        points = mirrored_sobol(K + states.R.shape[2], points or SIGNS, K)
    return replace(problem, points=points).compiled(misclassified)(states)


def predictions(problem: Any, state: OrderParameters) -> tuple[Any, Any]:
    """What student and noiseless teacher put out at every node, (nodes, O) each."""
    K = state.v.shape[0]
    C = joint_covariance(state, problem.teacher)
    fields = problem.points.nodes[:, : len(C)] @ field_roots(C, K)[0].T
    g = activities(problem.activation)
    student = jax.vmap(lambda each: problem.rule.predict(each, state.v, g))
    label = problem.activation.g(fields[:, K:]) @ problem.teacher.v_star
    return student(fields[:, :K]), label


def points_of(
    initial: OrderParameters,
    teacher: Teacher,
    points: int | Points | None,
    noisy: bool,
    rule: Any,
    activation: Any,
) -> Points:
    """The points to average over; ValueError if rule or activation cannot be averaged.

    That is so for points of the wrong dimension or number, for an activation that is not
    elementwise, and for a rule whose update or prediction has the wrong shapes, or that has a gamma
    without what it needs.
    """
    (K, M), O = initial.R.shape, initial.v.shape[1]
    has_gamma = check_averaged(rule, activation, K, O)
    fed_back = (rule.feedback(initial), *rule.feedback_matrix(initial, teacher))
    if has_gamma and any(overlap is None for overlap in fed_back):
        raise ValueError('Argument `rule` must need "B", "S" and "P", since it has a gamma.')
    smooth = is_smooth(rule, activation) and not rule.classifies
    dimensions = K + M + (O if noisy else 0) + draws_of(rule, K, O)
    return choose_points(points, dimensions, smooth, K)


def check_averaged(rule: Any, activation: Any, K: int, O: int) -> bool:
    """Whether the rule has a gamma; ValueError if rule or activation cannot be averaged."""
    with jax.ensure_compile_time_eval():  # also where the caller is being traced
        check_activation(activation)
        has_gamma = check_update(rule, K, O, activation)
        check_prediction(rule, K, O, activation)
    return has_gamma


def choose_points(
    points: int | Points | None, dimensions: int, smooth: bool, students: int
) -> Points:
    """Points in so many dimensions, as the caller of ``solve`` asked for, K ``students`` first."""
    if points is None:
        return default_points(dimensions, smooth, students)
    if not isinstance(points, Points):
        return mirrored_sobol(dimensions, check_count("points", points), students)
    nodes = check_array("points.nodes", points.nodes)
    weights = check_array("points.weights", points.weights)
    if nodes.ndim != 2 or nodes.shape[1] != dimensions or weights.shape != nodes.shape[:1]:
        raise ValueError(
            f"Argument `points` must have {dimensions} dimensions, one for each of K + M fields, "
            "with noise of O outputs, and of what the rule draws, and a weight for each node, but "
            f"has the shapes {nodes.shape} and {weights.shape}."
        )
    if abs(weights.sum() - 1) > 1e-6:
        raise ValueError(
            f"Argument `points.weights` must add up to 1, but add up to {weights.sum():g}."
        )
    return points._replace(nodes=nodes, weights=weights)


def activities(activation: Any) -> Callable[[Any], Any]:
    """The function from all fields of the student, (K,), to its hidden activities, (K,)."""
    return getattr(activation, "hidden", None) or activation.g


def check_activation(activation: Any) -> None:
    """ValueError unless g works on JAX arrays, under jit, entry by entry."""
    if any(activation is own for own in ACTIVATIONS.values()):
        return
    fields = jnp.linspace(-2.0, 2.0, 5)
    try:
        whole = jax.jit(lambda z: activation.g(z))(fields)  # of a ufunc itself, jit crashes
        single = jnp.concatenate([activation.g(fields[i : i + 1]) for i in range(5)])
        elementwise = whole.shape == fields.shape and bool(jnp.allclose(whole, single, atol=1e-5))
    except Exception as error:
        raise ValueError(
            f"Argument `activation` must be a function of JAX arrays, but raised {error!r}."
        ) from error
    if not elementwise:
        raise ValueError(
            f"Argument `activation` must act on each entry by itself, but is {activation.g!r}."
        )
    hidden = getattr(activation, "hidden", None)
    if hidden is not None and np.shape(hidden(fields)) != fields.shape:
        raise ValueError(
            "Argument `activation` must have a `hidden` from all fields to as many activities, but "
            f"from {fields.shape} it gives {np.shape(hidden(fields))}."
        )


def tried(rule: Any, activation: Any, K: int, O: int) -> Made:
    """The update of a rule on a sample of ones."""
    ones = jnp.ones((K, O))
    sample = Sample(
        fields=ones[:, 0],
        v=ones,
        label=ones[0],
        B=ones,
        g=activities(activation),
        lr=ones[0, 0],
        xi=jnp.ones(shape_of(rule.draws, K, O)) if rule.draws else None,
        weights={name: jnp.ones(shape_of(each, K, O)) for name, each in rule.keeps.items()},
    )
    update = rule.update(sample)
    if not isinstance(update, Update):
        raise ValueError(f"Argument `rule` must return an Update, but returned {update!r}.")
    learned = rule.learn(sample)
    if not isinstance(learned, dict):
        raise ValueError(
            "Argument `rule` must have a `learn` that returns a dictionary of what is added to "
            f"weights, but it returned {learned!r}."
        )
    missing = set(rule.keeps) - set(learned) if overrides(rule, "learn") else set()
    if missing:
        raise ValueError(
            f"Argument `rule` must `learn` all weights that it keeps, but not {min(missing)!r}."
        )
    return Made(update.delta, update.readout, update.gamma, learned or None)


def check_update(rule: Any, K: int, O: int, activation: Any) -> bool:
    """Whether the rule has a gamma; ValueError unless its update has the right shapes."""
    update = tried(rule, activation, K, O)
    expected = {"delta": (K,), "readout": (K, O), "gamma": (K,)}
    for name, shape in expected.items():
        part = getattr(update, name)
        if np.shape(part) != shape and not (name == "gamma" and part is None):
            raise ValueError(
                f"Argument `rule` must return a {name} of shape {shape}, "
                f"but returned shape {np.shape(part)}."
            )
    return update.gamma is not None


def check_prediction(rule: Any, K: int, O: int, activation: Any) -> None:
    """ValueError unless what the rule puts out has the shape of the teacher's output."""
    ones = jnp.ones((K, O))
    shape = np.shape(rule.predict(ones[:, 0], ones, activities(activation)))
    if shape != (O,):
        raise ValueError(
            f"Argument `rule` must predict an output of shape {(O,)}, but predicts one of shape "
            f"{shape}."
        )
