"""Samples of tasks: which comes next, and what it trains.

In every 1 / N of time there is room for a whole number of samples, as many as all tasks may have
together.  Each is of task j with a probability in proportion to its rate at that time, or of none,
drawn anew for each run.  A sample sees and moves a part of the network alone, on which the rule
runs as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.layers import DIRECT, LAYERED, is_several
from odes.common.order_parameters import Hyperparameters
from odes.common.tasks import Part, Stream, streams_of, trained_units
from simulations.networks import Network
from simulations.rules import Rule

DIMENSIONS: dict[str, tuple[Any, ...]] = {
    "W": ("K", "N"),
    "v": LAYERED,
    "v_star": ("M", ..., "O"),
    "B": LAYERED,
    "F": ("N", "O"),
    "F1": ("N", "columns"),
    "F2": LAYERED,
    "direct": DIRECT,
}
"""Of the weights of a network, in terms of what a part has."""


def choose_streams(tasks: Any, network: Network, rule: Rule) -> tuple[Stream | None, ...]:
    """What each task trains of a network; ValueError for what a rule cannot train alone."""
    classifier = is_several(network.v) and rule.classifies
    streams = streams_of(
        tasks, network.v, units_apart=not (classifier or {"F1", "F2"} & set(rule.learns))
    )
    own = [name for name in rule.learns if name not in Network._fields]
    if own and any(stream is not None for stream in streams):
        raise ValueError(
            "Argument `tasks` must train all outputs and units together for a rule with weights of "
            f"its own, such as {own[0]}, whose parts are not known."
        )
    return streams


def chosen_streams(uniform: Any, parameters: Hyperparameters, room: int) -> Any:
    """The task of each sample from a uniform number, (count,); as many as there are for none.

    Rates are numbers, or an entry for each sample; ``room`` is for how many samples in 1 / N.
    """
    rates = jnp.stack([jnp.broadcast_to(each, uniform.shape) for each in parameters.rates])
    return jnp.sum(uniform * room >= jnp.cumsum(rates, axis=0), axis=0)


def noise_of(which: Any, parameters: Hyperparameters) -> Any:
    """The standard deviation of the label noise of each sample of these tasks, (count, 1)."""
    return jnp.stack([*parameters.noise, jnp.zeros_like(parameters.noise[0])])[which][:, None]


def decay_of(which: Any, streams: Sequence[Stream | None], decay: Any, W: Any) -> Any:
    """The decay of every unit by a sample of this task, (K,)."""
    trained = [
        np.ones(len(W)) if stream is None else trained_units(stream, len(W)) for stream in streams
    ]
    return decay * jnp.asarray([*trained, np.zeros(len(W))], W.dtype)[which]


def alone(part: Part, network: Network) -> Network:
    """A part of a network as a network of its own, with the teacher of its outputs."""
    own = {
        name: part.of(each, dimensions)
        for name, dimensions in DIMENSIONS.items()
        if (each := getattr(network, name)) is not None
    }
    return network._replace(**own)


def by_parts(
    which: Any,
    streams: Sequence[Stream | None],
    weights: dict[str, Any],
    change: Callable[[Part | None], dict[str, Any]],
) -> dict[str, Any]:
    """The weights after a sample of a task, from those of the part that it trains.

    ``change`` gives the latter, by the names of ``weights``; for None, all.
    """

    def after(stream: Stream | None) -> dict[str, Any]:
        if stream is None:
            return change(None)
        found = dict(weights)
        for part in stream:
            for name, own in change(part).items():
                found[name] = part.put(found[name], own, DIMENSIONS[name])
        return found

    branches = [partial(after, stream) for stream in streams]
    return jax.lax.switch(which, [*branches, lambda: dict(weights)])
