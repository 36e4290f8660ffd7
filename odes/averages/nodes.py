"""The nodes to average over, and whether rule and activation can be averaged over any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.averages.activations import ACTIVATIONS, Linear
from odes.averages.levels import Ladder
from odes.averages.quadrature import MAX_AXES, Points, gauss_hermite, mirrored_sobol
from odes.averages.sampled import SampleUpdate, activities, misclassified
from odes.common.checks import check_array, check_count
from odes.common.layers import (
    is_several,
    outputs_of,
    over_layers,
    shapes_of,
    widths_of,
)
from odes.common.order_parameters import OrderParameters, Teacher
from odes.rules import (
    Sample,
    Update,
    check_derivative,
    differentiates,
    draws_of,
    is_own,
    is_smooth,
    overrides,
    shape_of,
)

N_SIGN_NODES = 2**15
"""Sobol points for averages of signs."""

EXACT_PER_AXIS = 3
"""Gauss-Hermite nodes on an axis for polynomials up to degree 5."""


def share_misclassified(
    problem: Any, states: OrderParameters, points: int | Points | None
) -> np.ndarray:
    """:func:`misclassified` of NumPy states, over the points that the caller of ``solve`` gave."""
    K = states.R.shape[-2]
    check_prediction(problem.rule, problem.initial, problem.activation)
    if not isinstance(points, Points):
        points = mirrored_sobol(K + states.R.shape[-1], points or N_SIGN_NODES, K)
    return replace(problem, points=points).compiled(misclassified)(states).mean(axis=-1)


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
    (K, M), O = initial.R.shape[-2:], outputs_of(initial.v)
    has_gamma = check_averaged(rule, activation, initial)
    fed_back = (rule.feedback(initial), *rule.feedback_matrix(initial, teacher))
    if has_gamma and any(overlap is None for overlap in fed_back):
        raise ValueError('Argument `rule` must need "B", "S" and "P", since it has a gamma.')
    dimensions = K + M + (O if noisy else 0) + draws_of(rule, K, O)
    if points is None and is_polynomial(rule, activation) and dimensions <= MAX_AXES:
        return gauss_hermite(dimensions, EXACT_PER_AXIS)
    return choose_points(points, initial, rule, activation, dimensions)


def ladder_of(problem: Any) -> Ladder:
    """The rules among which to choose nodes for a problem that has points."""
    dimensions = problem.points.nodes.shape[1]
    return _ladder(problem.initial, problem.rule, problem.activation, dimensions)


def reference_for(problem: Any) -> Points:
    """Nodes to hold those of a problem against: a fine lattice, or as many other Sobol points."""
    ladder = ladder_of(problem)
    if takes_exact_nodes(problem):
        return gauss_hermite(ladder.dimensions, EXACT_PER_AXIS + 1)
    n_nodes = len(problem.points.weights)
    return ladder.finer(ladder.at_least(n_nodes) if ladder.lattices else n_nodes)


def takes_exact_nodes(problem: Any) -> bool:
    """Whether all that is averaged is a polynomial, for which few nodes are exact."""
    few_axes = problem.points.nodes.shape[1] <= MAX_AXES
    return few_axes and is_polynomial(problem.rule, problem.activation)


def _ladder(like: OrderParameters, rule: Any, activation: Any, dimensions: int) -> Ladder:
    ladder = Ladder(
        dimensions=dimensions,
        smooth=is_smooth(rule, activation) and not rule.classifies,
        even=False,
        students=like.R.shape[-2],
    )
    return ladder._replace(even=ladder.lattices and is_even(rule, activation, like))


def is_even(rule: Any, activation: Any, like: OrderParameters) -> bool:
    """Whether all that is averaged is even in the fields and in what is drawn, taken together.

    True of the packages' own rules and activations that are smooth; of others it is tried, with
    random fields, weights, labels and draws, for a student like this state.
    """
    known = is_own(rule) and any(activation is own for own in ACTIVATIONS.values())
    if known and is_smooth(rule, activation) and not rule.classifies:
        return True
    rng = np.random.default_rng(0)
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        for scale in (0.1, 1.0, 10.0):

            def normals(shape: tuple[int, ...], scale: float = scale) -> Any:
                return scale * jnp.array(rng.normal(size=shape))

            sample = _sample(rule, activation, like, normals)
            flipped = sample._replace(
                fields=-sample.fields,
                label=-sample.label,
                xi=None if sample.xi is None else -sample.xi,
            )
            odd, even = [], []
            for each in (sample, flipped):
                update = rule.update(each)
                prediction = rule.predict(each.fields, each.v, each.g)
                odd.append((update.delta, update.gamma, prediction, activation.g(each.fields)))
                even.append((update.readout, rule.learn(each)))
            if not _are_close(odd[0], jax.tree.map(jnp.negative, odd[1])):
                return False
            if not _are_close(*even):
                return False
    return True


def _are_close(one: Any, other: Any) -> bool:
    """Whether two trees of arrays are the same but for rounding."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(bool(jnp.allclose(a, b, rtol=1e-9, atol=1e-12)) for a, b in pairs)


def _sample(
    rule: Any,
    activation: Any,
    like: OrderParameters,
    entries: Callable[[tuple[int, ...]], Any],
    kind: Callable[..., Sample] = Sample,
) -> Sample:
    """A sample of a ``kind`` with these entries, for a student like this state."""
    v = over_layers(lambda layer: entries(layer.shape), like.v)
    K, O = widths_of(v)[0], outputs_of(v)
    return kind(
        fields=entries((K,)),
        v=v,
        label=entries((O,)),
        B=over_layers(lambda layer: entries(layer.shape[-2:]), rule.feedback(like)),
        g=activities(activation),
        lr=jnp.ones(()),
        xi=entries(shape_of(rule.draws, K, O)) if rule.draws else None,
        weights={name: entries(shape_of(each, K, O)) for name, each in rule.keeps.items()},
    )


def is_polynomial(rule: Any, activation: Any) -> bool:
    """Whether what a sample does is a polynomial in the fields, of a degree up to two."""
    has_loss = hasattr(rule.origin("update"), "loss")  # which may be any function of goodness
    return activation is Linear and is_own(rule) and not has_loss


def check_averaged(rule: Any, activation: Any, like: OrderParameters) -> bool:
    """Whether the rule has a gamma; ValueError if rule or activation cannot be averaged."""
    with jax.ensure_compile_time_eval():  # also where the caller is being traced
        check_activation(activation)
        has_gamma = check_update(rule, like, activation)
        check_prediction(rule, like, activation)
    return has_gamma


def choose_points(
    points: int | Points | None,
    like: OrderParameters,
    rule: Any,
    activation: Any,
    dimensions: int,
) -> Points:
    """Points in so many dimensions, as the caller of ``solve`` asked for, K students first."""
    if points is None:
        ladder = _ladder(like, rule, activation, dimensions)
        return ladder.points(ladder.default)
    if not isinstance(points, Points):
        return mirrored_sobol(dimensions, check_count("points", points), like.R.shape[-2])
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


def tried(
    rule: Any, activation: Any, like: OrderParameters, kind: Callable[..., Sample] = Sample
) -> SampleUpdate:
    """The update of a rule on a sample of ones, of a ``kind``, for a student like this state."""
    sample = _sample(rule, activation, like, jnp.ones, kind)
    try:
        update = rule.update(sample)
    except (AttributeError, TypeError, ValueError) as error:
        if not is_several(sample.v):
            raise
        raise ValueError(
            f"Argument `rule` must be written for {len(sample.v)} hidden layers, of which v has "
            f"one array each, but {rule!r} failed with {error}"
        ) from error
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
    return SampleUpdate(update.delta, update.readout, update.gamma, learned or None)


def check_update(rule: Any, like: OrderParameters, activation: Any) -> bool:
    """Whether the rule has a gamma; ValueError unless its update has the right shapes."""
    seen = []

    class Watched(Sample):
        def through(self, signal: Any, fields: Any = None) -> Any:
            seen.append(signal)
            return super().through(signal, fields)

    update = tried(rule, activation, like, Watched)
    if not is_own(rule):
        check_is_traceable(rule, _sample(rule, activation, like, jnp.ones))
    widths = widths_of(like.v)
    for width in widths if seen or differentiates(rule) else ():
        check_derivative(width, activation)
    K = widths[0]
    expected = {"delta": (K,), "readout": shapes_of(like.v), "gamma": (K,)}
    for name, shape in expected.items():
        part = getattr(update, name)
        if shapes_of(part) != shape and not (name == "gamma" and part is None):
            raise ValueError(
                f"Argument `rule` must return a {name} of shape {shape}, "
                f"but returned shape {shapes_of(part)}."
            )
    return update.gamma is not None


def check_is_traceable(rule: Any, sample: Sample) -> None:
    """ValueError for an update that JAX cannot trace, as one in NumPy's functions."""
    arrays = {name: getattr(sample, name) for name in ("fields", "v", "label", "B")}
    try:
        jax.eval_shape(lambda given: rule.update(sample._replace(**given)), arrays)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise ValueError(
            "Argument `rule` must have an `update` in functions of JAX arrays, such as those of "
            f"jax.numpy, without branches on their values, but that of {rule!r} raised "
            f"{type(error).__name__}."
        ) from error


def check_prediction(rule: Any, like: OrderParameters, activation: Any) -> None:
    """ValueError unless what the rule puts out has the shape of the teacher's output."""
    K, O = widths_of(like.v)[0], outputs_of(like.v)
    ones = over_layers(lambda layer: jnp.ones(layer.shape), like.v)
    shape = np.shape(rule.predict(jnp.ones(K), ones, activities(activation)))
    if shape != (O,):
        raise ValueError(
            f"Argument `rule` must predict an output of shape {(O,)}, but predicts one of shape "
            f"{shape}."
        )
