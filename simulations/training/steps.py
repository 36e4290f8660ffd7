"""The step that one sample makes, and samples learned one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.layers import as_weights, layers_of, over_layers
from odes.common.order_parameters import Hyperparameters
from odes.common.tasks import Part, Stream
from simulations.networks import Network
from simulations.rules import Rule, as_matrix, see
from simulations.training.streams import alone, by_parts, decay_of

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
    rates = jax.tree.map(lambda rate: counts * rate, now._replace(feedback_scale=None))
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
    which: Any = None,
    streams: tuple[Stream | None, ...] = (),
) -> tuple[Any, dict[str, Any]]:
    """What one sample adds to W, in n = x.size coordinates of N inputs, and other weights after it.

    Without the decay of W.  The feedback scale is None for a network whose B and F have it already.
    xi is what the rule draws, and ``counts`` whether weights learn that have no rate among the
    parameters.  With tasks, the sample is of the one with the number ``which`` and trains what
    ``streams`` say.
    """
    if streams:
        start = {name: network.get(name) for name in ("v", *rule.learns)}

        def of_part(part: Part | None) -> dict[str, Any]:
            own, y_own, xi_own = network, y, xi
            if part is not None:
                own, y_own = alone(part, network), part.of(y, ("O",))
                xi_own = None if xi is None else part.of(xi, rule.draws)
            change, moved = changes(
                own, x, y_own, parameters, xi=xi_own, counts=counts, rule=rule, g=g, N=N
            )
            return {"W": change, **{name: own.get(name) for name in start}, **moved}

        after = by_parts(which, streams, {"W": jnp.zeros_like(network.W), **start}, of_part)
        return after.pop("W"), after
    lr, lr_v, _, _, decay_v, scale, _ = parameters
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
    network: Network,
    x: Any,
    y: Any,
    parameters: Hyperparameters,
    *,
    N: int,
    which: Any = None,
    streams: tuple[Stream | None, ...] = (),
    **beside: Any,
) -> Network:
    """The network after one sample; arguments as for :func:`changes`."""
    tasks: dict[str, Any] = {"which": which, "streams": streams}
    change, moved = changes(network, x, y, parameters, N=N, **tasks, **beside)
    decay = parameters.weight_decay
    if streams:
        decay = decay_of(which, streams, decay, network.W)[:, None]
    W = network.W + change - decay / N * network.W
    return network.put(W=W, **moved)


def mirrored(
    network: Network,
    noise: tuple[Any, Any],
    weight: Any,
    *,
    rule: Rule,
    g: Callable,
    which: Any = None,
    streams: tuple[Stream | None, ...] = (),
) -> Network:
    """The network after one step of the rule's mirror, whose changes count ``weight`` times."""

    def of_part(part: Part | None) -> dict[str, Any]:
        own, (for_inputs, for_hidden) = network, noise
        if part is not None:
            own = alone(part, network)
            pairs = enumerate(layers_of(for_hidden))
            for_hidden = as_weights(xi[..., np.array(part.units[level])] for level, xi in pairs)
        changes = rule.mirror(own, (for_inputs, for_hidden), g)
        return {
            name: jax.tree.map(lambda w, c: w + weight * c, own.get(name), change)
            for name, change in changes.items()
        }

    if not streams:
        return network.put(**of_part(None))
    start = {name: network.get(name) for name in rule.learns}
    return network.put(**by_parts(which, streams, start, of_part))


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
    which: Any = None,
    streams: tuple[Stream | None, ...] = (),
    rule: Rule,
    g: Callable,
    N: int,
) -> Network:
    """The network after the ``count`` samples of X and Y from ``first`` on, but for those >= last.

    X is (samples, n), Y (samples, O), the noise of a mirror (samples, N) and (samples, K), and what
    the rule draws (samples, ...).  A parameter that changes with time is (samples,), too, and so
    are the tasks that samples are of (``streams.py``).
    """

    def learn(s: Any, network: Network) -> Network:
        at = first + s
        rates = parameters_of(parameters, at, at < last)
        drawn = None if xi is None else xi[at]
        shared: dict[str, Any] = {"rule": rule, "g": g, "streams": streams}
        shared["which"] = None if which is None else which[at]
        network = step(network, X[at], Y[at], rates, xi=drawn, counts=at < last, N=N, **shared)
        if noise is None:
            return network
        beside = jax.tree.map(lambda each: each[at], noise)
        return mirrored(network, beside, at < last, **shared)

    return jax.lax.fori_loop(0, count, learn, network, unroll=UNROLLED)
