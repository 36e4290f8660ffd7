"""Samples learned one after another, and the exact block form of the same.

Within a block of b samples a rule moves W along the b inputs and the columns of F alone.  So the
block is learned on O + b coordinates, those of an orthonormal basis of these vectors, in place of
N, and the change of W is taken back to N inputs at the end: products of whole matrices, and small
vectors in between.  With F = Q_F (triangle), Q_F^T Q_F = 1, and the Cholesky factor L of the Gram
matrix of the inputs beyond Q_F, ``X X^T - Z Z^T = L L^T`` with ``Z = X Q_F``, the
coordinates are ::

    inputs  [Z, L]        F  [triangle; 0]        W  [W Q_F, (W X^T - W Q_F Z^T) L^-T]

It is the same algorithm in another order of summation, for rules that are equivariant
(``simulations/rules.py``), whose functions run as they stand: on inputs of length n in place of N,
weights count ``sqrt(n / N)`` times and learning rates n / N.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from odes.common.order_parameters import Hyperparameters
from simulations.networks import Network
from simulations.rules import Rule, as_matrix, see

UNROLLED = 4
"""Steps that are compiled together; more gained nothing."""


def scaled(network: Network, scale: Any) -> Network:
    """The network with B and F times ``scale``, the latter by its second factor."""
    F2 = None if network.F2 is None else scale * network.F2
    return network._replace(B=scale * network.B, F=scale * network.F, F2=F2)


def samples_of(parameters: Hyperparameters, first: Any, count: int) -> Hyperparameters:
    """What holds for the ``count`` samples from ``first`` on, of parameters that change with time.

    Such a parameter has an entry for every sample; the others are numbers.
    """

    def part(each: Any) -> Any:
        if jnp.ndim(each) == 0:
            return each
        return jax.lax.dynamic_slice_in_dim(each, first, count)

    return jax.tree.map(part, parameters)


def step(
    network: Network,
    x: Any,
    y: Any,
    parameters: Hyperparameters,
    *,
    xi: Any = None,
    counts: Any = 1,
    rule: Rule,
    g: Callable,
    N: int,
) -> Network:
    """The network after one sample, in n = x.size coordinates of N inputs.

    The feedback scale is None for a network whose B and F have it already.  xi is what the rule
    draws, and ``counts`` whether weights learn that have no rate among the parameters.
    """
    lr, lr_v, _, decay, decay_v, scale = parameters
    n = x.size
    fed_back = network if scale is None else scaled(network, scale)
    dW, dv, *others = rule.update(fed_back, see(fed_back, x, y, g, lr * n / N, xi))
    learned = others[0] if others else {}
    as_v = {"v": dv} if isinstance(learned, dict) else {"v": dv, "B": learned}
    moved = {
        name: (1 - decay_v / N) * getattr(network, name) - lr_v / N * change
        for name, change in as_v.items()
    }
    if isinstance(learned, dict):
        moved |= {name: network.get(name) + counts / N * change for name, change in learned.items()}
    W = network.W - lr * n**0.5 / N * as_matrix(dW) - decay / N * network.W
    return network.put(W=W, **moved)


def mirrored(
    network: Network, noise: tuple[Any, Any], weight: Any, *, rule: Rule, g: Callable
) -> Network:
    """The network after one step of the rule's mirror, whose changes count ``weight`` times."""
    changes = rule.mirror(network, noise, g)
    return network.put(
        **{name: network.get(name) + weight * change for name, change in changes.items()}
    )


def learn_in_turn(
    network: Network,
    X: Any,
    Y: Any,
    parameters: Hyperparameters,
    *,
    first: Any = 0,
    count: int,
    last: Any,
    noise: tuple[Any, Any] | None = None,
    xi: Any = None,
    rule: Rule,
    g: Callable,
    N: int,
) -> Network:
    """The network after the ``count`` samples of X and Y from ``first`` on, but for those >= last.

    X is (samples, n), Y (samples, O), the noise of a mirror (samples, N) and (samples, K), and what
    the rule draws (samples, ...).  A parameter that changes with time is (samples,), too.
    """

    def learn(s: Any, network: Network) -> Network:
        at = first + s
        now = jax.tree.map(lambda each: each if jnp.ndim(each) == 0 else each[at], parameters)
        rates = Hyperparameters(*((at < last) * rate for rate in now[:-1]))
        rates = rates._replace(feedback_scale=now.feedback_scale)
        drawn = None if xi is None else xi[at]
        network = step(
            network, X[at], Y[at], rates, xi=drawn, counts=at < last, rule=rule, g=g, N=N
        )
        if noise is None:
            return network
        return mirrored(network, (noise[0][at], noise[1][at]), at < last, rule=rule, g=g)

    return jax.lax.fori_loop(0, count, learn, network, unroll=UNROLLED)


def cholesky(A: Any) -> tuple[Any, Any]:
    """Cholesky factor L of A (b, b), and L^-1, by elimination in [A, 1].

    Not by LAPACK: with jaxlib 0.10, its batched calls from two threads may wait for each other for
    ever.
    """
    b = A.shape[0]

    def eliminate(k: Any, rows: Any) -> Any:
        pivot = rows[k] / jnp.sqrt(rows[k, k])
        below = jnp.where(jnp.arange(b) > k, rows[:, k] / jnp.sqrt(rows[k, k]), 0)
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
