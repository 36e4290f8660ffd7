"""The exact block form of samples that are learned one after another.

Within a block of b samples a rule moves W along the b inputs and the columns of F alone.  So the
block is learned on O + b coordinates, those of an orthonormal basis of these vectors, in place of
N, and the change of W is taken back to N inputs at the end: products of whole matrices, and small
vectors in between.  With F = Q_F (triangle), Q_F^T Q_F = 1, and the Cholesky factor L of the Gram
matrix of the inputs beyond Q_F, ``X X^T - Z Z^T = L L^T`` with ``Z = X Q_F``, the
coordinates are ::

    inputs  [Z, L]        F  [triangle; 0]        W  [W Q_F, (W X^T - W Q_F Z^T) L^-T]

It is the same algorithm in another order of summation, for rules that are equivariant
(``simulations/rules``), whose functions run as they stand: on inputs of length n in place of N,
weights count ``sqrt(n / N)`` times and learning rates n / N.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from odes.common.order_parameters import Hyperparameters
from simulations.networks import Network
from simulations.rules import Rule
from simulations.training.steps import learn_in_turn, samples_of

NOTHING_BEYOND = 0.75
"""An input whose square, beyond those before it, is below this power of the rounding unit times its
square has nothing beyond them."""


def cholesky(A: Any) -> tuple[Any, Any]:
    """Cholesky factor L of A (b, b), and L^-1, by elimination in [A, 1].

    What an input has beyond those before it may be nothing, such as for a row of data that is
    drawn twice: its column of L and its row of L^-1 are then 0.

    Not by LAPACK: with jaxlib 0.10, its batched calls from two threads may wait for each other for
    ever.
    """
    b = A.shape[0]

    least = jnp.finfo(A.dtype).eps ** NOTHING_BEYOND * A.diagonal()

    def eliminate(k: Any, rows: Any) -> Any:
        root = jnp.sqrt(jnp.maximum(rows[k, k], least[k]))
        scale = jnp.where(rows[k, k] > least[k], 1 / jnp.where(root > 0, root, 1.0), 0.0)
        pivot = rows[k] * scale
        below = jnp.where(jnp.arange(b) > k, rows[:, k] * scale, 0)
        return (rows - jnp.outer(below, pivot)).at[k].set(pivot)

    rows = jax.lax.fori_loop(0, b, eliminate, jnp.concatenate([A, jnp.eye(b, dtype=A.dtype)], 1))
    return jnp.tril(rows[:, :b].T), rows[:, b:]


def learn_as_block(
    basis: tuple[Any, Any],
    network: Network,
    X: Any,
    Y: Any,
    parameters: Hyperparameters,
    *,
    first: Any,
    count: int,
    last: Any,
    xi: Any = None,
    rule: Rule,
    g: Callable,
    N: int,
) -> Network:
    """What :func:`learn_in_turn` gives, in the exact block form; ``basis`` is (Q_F, triangle)."""
    W = network.W
    Q, triangle = basis
    O, b = Q.shape[1], count
    parameters = samples_of(parameters, first, b)
    X = jax.lax.dynamic_slice_in_dim(X, first, b)
    Z, W_Q = X @ Q, W @ Q
    L, inverse = cholesky(X @ X.T - Z @ Z.T)
    beyond = (W @ X.T - W_Q @ Z.T) @ inverse.T
    scale = ((O + b) / N) ** 0.5
    before = scale * jnp.concatenate([W_Q, beyond], axis=1)  # (K, O + b)
    after = learn_in_turn(
        network._replace(
            W=before, F=jnp.concatenate([triangle, jnp.zeros((b, O), W.dtype)]), W_star=None
        ),
        jnp.concatenate([Z, L], axis=1),
        jax.lax.dynamic_slice_in_dim(Y, first, b),
        parameters,
        count=b,
        last=last - first,
        xi=None if xi is None else jax.lax.dynamic_slice_in_dim(xi, first, b),
        rule=rule,
        g=g,
        N=N,
    )
    learned = jnp.clip(last - first, 0, b)
    kept = (1 - parameters.weight_decay / N) ** learned
    change = (after.W - kept * before) / scale
    along_X = change[:, O:] @ inverse  # (K, b)
    along_Q = change[:, :O] - along_X @ Z
    W = kept * W + along_X @ X + along_Q @ Q.T
    return network._replace(W=W, v=after.v, B=after.B, own=after.own)
