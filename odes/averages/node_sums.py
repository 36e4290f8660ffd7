"""Averages of NumPy states over any number of nodes, by code that is compiled once.

The nodes are taken in blocks of one size, and so what is compiled serves coarse and fine rules
alike.  Beside the averages stand those of the squares, from which to tell how large a difference
between two rules is.  Importing this module imports JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.averages.closed import Moments
from odes.averages.quadrature import Points
from odes.averages.sampled import moments_of, predictions_at, updates_at
from odes.common.groups import pooled
from odes.common.order_parameters import (
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
    over_parts,
)
from odes.common.tasks import Stream

BLOCK = 2**11
"""Nodes that are taken at once."""

HELD = 2**16
"""Nodes that are handed over at once, at most."""

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


def error_sums(
    problem: Any, points: Points, C: Any, state: OrderParameters, teacher: Teacher, *, stream: None
) -> tuple[Any, Any]:
    """What a block of nodes adds to the errors of the outputs, (O,), and to their squares."""
    prediction, label = predictions_at(problem, points.nodes, C, state, teacher)
    if problem.rule.classifies:
        each = (1 - jnp.sign(prediction) * jnp.sign(label)) / 2  # a half where there is none
    else:
        each = (prediction - label) ** 2 / 2
    return points.weights @ each, points.weights @ each**2


def _summed(
    problem: Any, nodes: Any, weights: Any, n_blocks: Any, *given: Any, sums: Any, stream: Any
) -> Any:
    """``sums`` of the first blocks, of nodes (blocks, BLOCK, D)."""

    def block(index: Any) -> Any:
        return sums(problem, Points(nodes[index], weights[index]), *given, stream=stream)

    def add(index: Any, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, block(index))

    return jax.lax.fori_loop(1, n_blocks, add, block(0))


class NodeAverages:
    """The averages of a problem over its points, of NumPy arrays."""

    def __init__(self, problem: Any) -> None:
        self.problem = replace(problem, points=None)
        self.held = list(_handed_over(problem.points))

    @staticmethod
    def in_double_precision(function: Callable[..., Any]) -> Callable[..., Any]:
        """A function in NumPy, of which a user's rule may do parts in JAX."""

        def called(*given: Any) -> Any:
            with jax.enable_x64(True):
                return np.asarray(function(*given))

        return called

    def sums(self, function: Callable[..., Any], *given: Any, stream: Stream | None = None) -> Any:
        """The sums that ``function`` returns of a block, over all nodes."""
        run = self.problem.compiled(_summed, sums=function, stream=stream)
        each = [run(*held, *given) for held in self.held]
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


def _handed_over(points: Points) -> Iterator[tuple[Any, Any, int]]:
    """Nodes in blocks, their weights, and how many blocks there are; the last is filled up."""
    held = HELD // BLOCK * BLOCK
    for start in range(0, len(points.weights), held):
        nodes, weights = points.nodes[start : start + held], points.weights[start : start + held]
        missing = held - len(weights)
        nodes = np.pad(nodes, ((0, missing), (0, 0)), mode="edge")  # where a rule is finite
        blocks = nodes.reshape(-1, BLOCK, nodes.shape[1]), np.pad(weights, (0, missing))
        with jax.enable_x64(True):
            arrays = jnp.asarray(blocks[0]), jnp.asarray(blocks[1].reshape(-1, BLOCK))
        yield *arrays, math.ceil((held - missing) / BLOCK)
