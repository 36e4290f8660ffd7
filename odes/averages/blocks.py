"""Nodes in blocks of one size, over which averages add up: one compilation serves any number.

Importing this module imports JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.averages.quadrature import Points

BLOCK = 2**11
"""Nodes that are taken at once."""

HELD = 2**16
"""Nodes that are handed over at once; a multiple of BLOCK."""


class Blocks(NamedTuple):
    """Some blocks of nodes and weights, of which the first are counted."""

    nodes: Any  # (blocks, BLOCK, D)
    weights: Any  # (blocks, BLOCK)
    count: Any


def handed_over(points: Points, held: int = HELD) -> Iterator[Blocks]:
    """Points in blocks, so many at a time; the last are filled up with nodes of weight 0."""
    for start in range(0, len(points.weights), held):
        nodes, weights = points.nodes[start : start + held], points.weights[start : start + held]
        missing = held - len(weights)
        count = math.ceil(len(weights) / BLOCK)
        nodes = np.pad(nodes, ((0, missing), (0, 0)), mode="edge")  # where a rule is finite
        weights = np.pad(weights, (0, missing)).reshape(-1, BLOCK)
        with jax.enable_x64(True):
            blocks = jnp.asarray(nodes.reshape(-1, BLOCK, nodes.shape[1])), jnp.asarray(weights)
        yield Blocks(*blocks, count)


def added_up(points: Points | Blocks, sums: Callable[[Points], Any]) -> Any:
    """What ``sums`` returns of points; of blocks of them, the sum of what it returns of each."""
    if not isinstance(points, Blocks):
        return sums(points)

    def block(index: Any) -> Any:
        return sums(Points(points.nodes[index], points.weights[index]))

    def add(index: Any, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, block(index))

    shapes = jax.eval_shape(block, 0)
    nothing = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), shapes)
    return jax.lax.fori_loop(0, points.count, add, nothing)
