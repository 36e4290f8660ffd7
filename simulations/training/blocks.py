"""The exact block form of samples that are learned one after another.

A sample shows a rule the fields of the student, what x has along the columns of F, and its length;
and it moves W along x and the columns of F alone.  So the rule is run on the O + 1 coordinates of
an orthonormal basis of these vectors, in place of N.  With F = Q_F (triangle), Q_F^T Q_F = 1,
``z = Q_F^T x`` and ``l^2 = x^2 - z^2`` they are ::

    input  [z, l]        F  [triangle; 0]        W  [W Q_F, (W x - W Q_F z) / l]

Within a block of b samples W is what it was before, times what decay has left of it, plus
``C X + D Q_F^T``, and its fields follow from those before the block and the Gram matrix ``X X^T``:
products of whole matrices before and after, and small vectors in between.

It is the same algorithm in another order of summation, for rules that are equivariant
(``simulations/rules``), whose functions run as they stand: on inputs of length n in place of N,
weights count ``sqrt(n / N)`` times and learning rates n / N.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.common.order_parameters import Hyperparameters
from odes.common.tasks import Stream
from simulations.networks import Network
from simulations.rules import Rule, see, shape_drawn
from simulations.training.steps import changes, parameters_of, samples_of
from simulations.training.streams import decay_of


class Shown(NamedTuple):
    """What an input x shows of itself, and of W."""

    fields: Any  # W x / sqrt(N), (K,)
    along_F: Any  # Q_F^T x, (O,)
    square: Any  # x^2
    W_Q: Any = None  # W Q_F, (K, O)


def learn_shown(
    weights: dict[str, Any],
    shown: Shown,
    triangle: Any,
    y: Any,
    parameters: Hyperparameters,
    xi: Any = None,
    counts: Any = 1,
    *,
    rule: Rule,
    g: Callable,
    N: int,
    **task: Any,
) -> tuple[Any, Any, dict[str, Any]]:
    """By how much W moves along x, (K,), and along Q_F, (K, O), and other weights after a sample.

    The weights are those of the network, by name, but W and F; the others are as for
    :func:`changes`.
    """
    fields, z, square, W_Q = shown
    n = z.shape[0] + 1
    rest = square - z @ z
    is_none = rest <= 0  # an input within the columns of F
    inverse = jnp.where(is_none, 0, jax.lax.rsqrt(jnp.where(is_none, 1, rest)))
    scale = (n / N) ** 0.5
    beyond = inverse * (N**0.5 * fields - W_Q @ z)
    small = Network(**dict.fromkeys(Network._fields)).put(
        **weights,
        W=scale * jnp.concatenate([W_Q, beyond[:, None]], axis=1),
        F=jnp.concatenate([triangle, jnp.zeros((1, triangle.shape[1]), triangle.dtype)]),
    )
    x = jnp.concatenate([z, (inverse * rest)[None]])
    change, moved = changes(
        small, x, y, parameters, xi=xi, counts=counts, rule=rule, g=g, N=N, **task
    )
    along_x = inverse / scale * change[:, -1]
    return along_x, change[:, :-1] / scale - jnp.outer(along_x, z), moved


def basis_of(network: Network, rule: Rule, g: Callable) -> tuple[Any, Any]:
    """Q_F (N, n) and the triangle (n, O) of F, with n = O; 0 for a rule that does not look at F."""
    O = network.F.shape[1]
    if looks_at_F(network, rule, g):
        return jnp.linalg.qr(network.F)
    return network.F[:, :0], jnp.zeros((0, O), network.F.dtype)


def looks_at_F(network: Network, rule: Rule, g: Callable) -> bool:
    """Whether a rule uses F to learn."""
    xi = jnp.ones(shape_drawn(rule, network.v)) if rule.draws else None

    def update(F: Any) -> Any:
        x, y = network.W[0], network.F[0]
        return rule.update(network._replace(F=F), see(network, x, y, g, 1.0, xi))

    traced = jax.make_jaxpr(update)(network.F).jaxpr
    seen = [*traced.outvars, *(each for step in traced.eqns for each in step.invars)]
    return any(each is traced.invars[0] for each in seen)


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
    which: Any = None,
    streams: tuple[Stream | None, ...] = (),
    rule: Rule,
    g: Callable,
    N: int,
) -> Network:
    """What :func:`learn_in_turn` gives, in the exact block form; ``basis`` is (Q_F, triangle)."""
    W = network.W
    Q, triangle = basis
    parameters = samples_of(parameters, first, count)
    X, Y, xi, which = (
        None if each is None else jax.lax.dynamic_slice_in_dim(each, first, count)
        for each in (X, Y, xi, which)
    )
    Z, gram, before = X @ Q, X @ X.T, X @ W.T
    start = {name: network.get(name) for name in ("v", *rule.learns)}
    others = {"B": network.B} | start
    zeros = jnp.zeros((len(W), count), W.dtype)
    ones = jnp.ones(len(W) if streams else (), W.dtype)  # what decay has left of all units, or each
    carried = start, ones, W @ Q, zeros, jnp.zeros_like(W @ Q)

    def learn(s: Any, carried: Any) -> Any:
        weights, kept, W_Q, along_X, along_Q = carried
        rates = parameters_of(parameters, s, s < last - first)
        task = {} if which is None else {"which": which[s], "streams": streams}
        fields = (kept * before[s] + along_X @ gram[s] + along_Q @ Z[s]) / N**0.5
        by_x, by_Q, moved = learn_shown(
            others | weights,
            Shown(fields, Z[s], gram[s, s], W_Q),
            triangle,
            Y[s],
            rates,
            None if xi is None else xi[s],
            s < last - first,
            rule=rule,
            g=g,
            N=N,
            **task,
        )
        decay = rows = 1 - rates.weight_decay / N
        if streams:
            decay = 1 - decay_of(which[s], streams, rates.weight_decay, W) / N
            rows = decay[:, None]
        along_X = (rows * along_X).at[:, s].set(by_x)
        W_Q = rows * W_Q + jnp.outer(by_x, Z[s]) + by_Q
        return {**weights, **moved}, decay * kept, W_Q, along_X, rows * along_Q + by_Q

    weights, kept, _, along_X, along_Q = jax.lax.fori_loop(0, count, learn, carried)
    kept = kept[:, None] if streams else kept
    return network.put(W=kept * W + along_X @ X + along_Q @ Q.T, **weights)
