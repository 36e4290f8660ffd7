"""Averages of NumPy states over any number of nodes, by code that is compiled once.

Beside the averages stand those of the squares, from which to tell how large a difference
between two rules is.  Importing this module imports JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from odes.averages.blocks import Blocks, added_up
from odes.averages.closed import Moments
from odes.averages.quadrature import Points
from odes.averages.sampled import (
    field_roots,
    is_wrong,
    moments_of,
    predictions_at,
    update_at,
    updates_at,
)
from odes.common.groups import pooled
from odes.common.order_parameters import (
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
    over_parts,
)
from odes.common.tasks import Stream

ZERO_MEAN_SQUARE = 1e-20
"""Mean squares are large beside this, or what is averaged counts as zero."""


class Squares(NamedTuple):
    """Averages of the squares of what is averaged for some of the moments."""

    readout: Any
    gamma_error: Any
    weights: Any


def moment_sums(
    problem: Any,
    points: Points,
    C: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    *,
    stream: Stream | None,
) -> tuple[Moments, Squares]:
    """What a block of nodes adds to the moments, and to the squares."""
    given = C, state, teacher, parameters, problem.rule, problem.activation, stream
    update, error, inverse = updates_at(points.nodes, *given)
    moments = moments_of(update, error, inverse, points, stream)
    gamma_error = None
    if update.gamma is not None:
        each = error if stream is not None else error[:, None, :]
        gamma_error = jnp.tensordot(points.weights, (update.gamma[:, :, None] * each) ** 2, 1)

    def squares(part: Any) -> Any:
        return jax.tree.map(lambda each: jnp.tensordot(points.weights, each**2, 1), part)

    return moments, Squares(squares(update.readout), gamma_error, squares(update.weights))


def steepness_sums(
    problem: Any,
    points: Points,
    C: Any,
    state: OrderParameters,
    teacher: Teacher,
    parameters: Hyperparameters,
    *,
    stream: Stream | None,
) -> tuple[Any, Any]:
    """What a block of nodes adds to the steepness of all that is averaged, and to its squares.

    Of each part f, averages of the products of ``df/dz_a``, (parts, D, D), and of f^2, (parts,).
    """
    n, K = len(C), state.R.shape[-2]
    root, _ = field_roots(C, K)

    def one(node: Any) -> tuple[Any, Any]:
        given = state, teacher, parameters, problem.rule, problem.activation, stream
        flat, _ = ravel_pytree(update_at(root @ node[:n], node[n:], *given)[0])
        return flat, flat

    slopes, values = jax.vmap(jax.jacfwd(one, has_aux=True))(points.nodes)
    products = jnp.einsum("p,pfa,pfb->fab", points.weights, slopes, slopes)
    return products, points.weights @ values**2


def error_sums(
    problem: Any, points: Points, C: Any, state: OrderParameters, teacher: Teacher, *, stream: None
) -> tuple[Any, Any]:
    """What a block of nodes adds to the errors of the outputs, (O,), and to their squares."""
    prediction, label = predictions_at(problem, points.nodes, C, state, teacher)
    wrong, apart = is_wrong(prediction, label), (prediction - label) ** 2 / 2
    each = wrong if problem.rule.classifies else apart
    return points.weights @ each, points.weights @ each**2


def _summed(problem: Any, blocks: Blocks, *given: Any, sums: Any, stream: Any) -> Any:
    """``sums`` of all blocks together."""
    return added_up(blocks, lambda points: sums(problem, points, *given, stream=stream))


class NodeAverages:
    """The averages of a problem over points, of NumPy arrays."""

    def __init__(self, problem: Any, nodes: list[Blocks]) -> None:
        self.problem = replace(problem, points=None)
        self.nodes = nodes

    @staticmethod
    def in_double_precision(function: Callable[..., Any]) -> Callable[..., Any]:
        """A function in NumPy, of which a user's rule may do parts in JAX."""

        def called(*given: Any) -> Any:
            with jax.enable_x64(True):
                return np.asarray(function(*given))

        return called

    def over(self, problem: Any) -> NodeAverages:
        """The averages of another problem over the same points."""
        return NodeAverages(problem, self.nodes)

    def sums(self, function: Callable[..., Any], *given: Any, stream: Stream | None = None) -> Any:
        """The sums that ``function`` returns of a block, over all nodes."""
        run = self.problem.compiled(_summed, sums=function, stream=stream)
        each = [run(blocks, *given) for blocks in self.nodes]
        return each[0] if len(each) == 1 else jax.tree.map(lambda *parts: sum(parts), *each)

    def moments(
        self,
        C: Any,
        state: OrderParameters,
        teacher: Teacher,
        parameters: Hyperparameters,
        rule: Any,
        activation: Any,
        stream: Stream | None = None,
    ) -> Moments:
        """The moments, as :func:`odes.averages.sampled.sampled_moments` has them."""
        return self.sums(moment_sums, C, state, teacher, parameters, stream=stream)[0]

    def errors(self, states: OrderParameters) -> np.ndarray:
        """The errors of all outputs of states with leading axis n, (n, O)."""
        each = (over_parts(lambda a, i=i: a[i], states) for i in range(len(states.R)))
        return np.array([self.error(state)[0] for state in each])

    def error(self, state: OrderParameters) -> tuple[np.ndarray, np.ndarray]:
        """The errors of the outputs of one state, and the averages of their squares, (O,) each."""
        state, teacher = pooled(state, self.problem.teacher)
        C, inputs = joint_covariance(state, teacher), self.problem.teacher.inputs
        if inputs is None or inputs.factors is None:
            return self.sums(error_sums, C, state, teacher)
        each = [self.sums(error_sums, tau * C, state, teacher) for tau in inputs.factors]
        error, square = (
            inputs.factor_shares @ np.stack(parts) for parts in zip(*each, strict=True)
        )
        return error, square
