"""What a caller wants to know of networks besides order parameters and errors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from odes.common.checks import quoted
from odes.common.store import Arrays
from simulations.networks import Network

RECORDED = "recorded"
"""What the names of what is recorded start with, among what is measured."""


def check_record(record: Any, network: Network) -> None:
    """ValueError unless this is None, or takes a network to an array or a dictionary of them."""
    if record is None:
        return
    if not callable(record):
        raise ValueError(
            f"Argument `record` must be None or a function of a Network, but is {quoted(record)}."
        )
    try:
        found = jax.eval_shape(lambda: called(record, jax.tree.map(jnp.asarray, network)))
        fine = bool(found) and all(hasattr(each, "shape") for each in found.values())
    except Exception as error:
        raise ValueError(
            "Argument `record` must return an array, or a dictionary of arrays by name, of a "
            f"Network of JAX arrays, but raised {error!r}."
        ) from error
    if not fine:
        raise ValueError(
            f"Argument `record` must return an array, or a dictionary of them, but made {found!r}."
        )


def called(record: Any, network: Network) -> dict[str, Any]:
    """What is recorded of a network, by names that start with :data:`RECORDED`."""
    if record is None:
        return {}
    found = record(network)
    if isinstance(found, dict):
        return {f"{RECORDED}.{name}": jnp.asarray(each) for name, each in found.items()}
    return {RECORDED: jnp.asarray(found)}


def taken(curves: Arrays) -> Any:
    """What was recorded, as ``record`` returned it, taken out of what was measured."""
    names = [name for name in curves if name.startswith(RECORDED)]
    found = {name: curves.pop(name) for name in names}
    if RECORDED in found:
        return found[RECORDED]
    return {name.removeprefix(f"{RECORDED}."): each for name, each in found.items()} or None
