"""The nodes to average over, and whether rule and activation can be averaged over any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.averages.activations import ACTIVATIONS
from odes.averages.quadrature import Points, default_points, mirrored_sobol
from odes.averages.sampled import SampleUpdate, activities, misclassified
from odes.common.checks import check_array, check_count
from odes.common.order_parameters import OrderParameters, Teacher
from odes.rules import Sample, Update, check_derivative, draws_of, is_smooth, overrides, shape_of

N_SIGN_NODES = 2**15
"""Sobol points for averages of signs."""


def share_misclassified(
    problem: Any, states: OrderParameters, points: int | Points | None
) -> np.ndarray:
    """:func:`misclassified` of NumPy states, over the points that the caller of ``solve`` gave."""
    K, O = states.v.shape[1:]
    check_prediction(problem.rule, K, O, problem.activation)
    if not isinstance(points, Points):
        points = mirrored_sobol(K + states.R.shape[-1], points or N_SIGN_NODES, K)
    return replace(problem, points=points).compiled(misclassified)(states)


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
    (K, M), O = initial.R.shape[-2:], initial.v.shape[1]
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
    rule: Any, activation: Any, K: int, O: int, kind: Callable[..., Sample] = Sample
) -> SampleUpdate:
    """The update of a rule on a sample of ones, of a ``kind``."""
    ones = jnp.ones((K, O))
    sample = kind(
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
    return SampleUpdate(update.delta, update.readout, update.gamma, learned or None)


def check_update(rule: Any, K: int, O: int, activation: Any) -> bool:
    """Whether the rule has a gamma; ValueError unless its update has the right shapes."""
    seen = []

    class Watched(Sample):
        def through(self, signal: Any) -> Any:
            seen.append(signal)
            return super().through(signal)

    update = tried(rule, activation, K, O, Watched)
    if seen:
        check_derivative(K, activation)
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
