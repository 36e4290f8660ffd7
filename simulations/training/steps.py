"""The step that one sample makes, and samples learned one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from odes.common.layers import as_weights, layers_of, over_layers
from odes.common.order_parameters import Hyperparameters
from simulations.networks import Network
from simulations.rules import Rule, as_matrix, see

UNROLLED = 4
"""Steps that are compiled together; more gained nothing."""


def scaled(network: Network, scale: Any) -> Network:
    """The network with all feedback times ``scale``: B, direct, and F by its last factor."""
    F2 = network.F2
    if F2 is not None:
        *others, last = layers_of(F2)
        F2 = as_weights([*others, scale * last])
    B, direct = jax.tree.map(lambda each: scale * each, (network.B, network.direct))
    return network._replace(B=B, direct=direct, F=scale * network.F, F2=F2)


def with_scale(network: Network, parameters: Hyperparameters) -> tuple[Network, Hyperparameters]:
    """The network with a scale of the feedback that is a number, and the parameters without it."""
    if callable(parameters.feedback_scale):
        return network, parameters
    network = scaled(network, parameters.feedback_scale)
    return network, parameters._replace(feedback_scale=None)


def samples_of(parameters: Hyperparameters, first: Any, count: int) -> Hyperparameters:
    """What holds for the ``count`` samples from ``first`` on, of parameters that change with time.

    Such a parameter has an entry for every sample; the others are numbers.
    """

    def part(each: Any) -> Any:
        if jnp.ndim(each) == 0:
            return each
        return jax.lax.dynamic_slice_in_dim(each, first, count)

    return jax.tree.map(part, parameters)


def parameters_of(parameters: Hyperparameters, sample: Any, counts: Any) -> Hyperparameters:
    """What holds for one sample, with rates of 0 unless it counts."""
    now = jax.tree.map(lambda each: each if jnp.ndim(each) == 0 else each[sample], parameters)
    rates = Hyperparameters(*jax.tree.map(lambda rate: counts * rate, tuple(now[:-1])))
    return rates._replace(feedback_scale=now.feedback_scale)


def changes(
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
) -> tuple[Any, dict[str, Any]]:
    """What one sample adds to W, in n = x.size coordinates of N inputs, and other weights after it.

    Without the decay of W.  The feedback scale is None for a network whose B and F have it already.
    xi is what the rule draws, and ``counts`` whether weights learn that have no rate among the
    parameters.
    """
    lr, lr_v, _, _, decay_v, scale = parameters
    n = x.size
    fed_back = network if scale is None else scaled(network, scale)
    dW, dv, *others = rule.update(fed_back, see(fed_back, x, y, g, lr * n / N, xi))
    learned = others[0] if others else {}
    as_v = {"v": dv} if isinstance(learned, dict) else {"v": dv, "B": learned}
    moved = {
        name: over_layers(
            lambda weights, change, rate, decay: (1 - decay / N) * weights - rate / N * change,
            getattr(network, name), change, lr_v, decay_v,
        )
        for name, change in as_v.items()
    }  # fmt: skip
    if isinstance(learned, dict):
        moved |= {
            name: jax.tree.map(lambda w, c: w + counts / N * c, network.get(name), change)
            for name, change in learned.items()
        }
    return -lr * n**0.5 / N * as_matrix(dW), moved


def step(
    network: Network, x: Any, y: Any, parameters: Hyperparameters, *, N: int, **beside: Any
) -> Network:
    """The network after one sample; arguments as for :func:`changes`."""
    change, moved = changes(network, x, y, parameters, N=N, **beside)
    W = network.W + change - parameters.weight_decay / N * network.W
    return network.put(W=W, **moved)


def mirrored(
    network: Network, noise: tuple[Any, Any], weight: Any, *, rule: Rule, g: Callable
) -> Network:
    """The network after one step of the rule's mirror, whose changes count ``weight`` times."""
    changes = rule.mirror(network, noise, g)
    return network.put(
        **{
            name: jax.tree.map(lambda w, c: w + weight * c, network.get(name), change)
            for name, change in changes.items()
        }
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
        rates = parameters_of(parameters, at, at < last)
        drawn = None if xi is None else xi[at]
        network = step(
            network, X[at], Y[at], rates, xi=drawn, counts=at < last, rule=rule, g=g, N=N
        )
        if noise is None:
            return network
        beside = jax.tree.map(lambda each: each[at], noise)
        return mirrored(network, beside, at < last, rule=rule, g=g)

    return jax.lax.fori_loop(0, count, learn, network, unroll=UNROLLED)
