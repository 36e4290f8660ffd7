"""Checkpoints of a simulation on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from odes.common.store import Arrays

CHECKPOINT = "checkpoint.npz"

CHECKPOINT_SECONDS = 20.0


def weights_of(groups: Sequence[Any], names: tuple[str, ...]) -> Arrays:
    """The weights that learn, (groups, abreast, ...), by names such as "weights/W"."""
    return {f"weights/{w}": np.stack([g.networks.get(w) for g in groups]) for w in names}


def with_weights(groups: Sequence[Any], names: tuple[str, ...], arrays: Arrays) -> list[Any]:
    """The groups with the weights that :func:`weights_of` kept."""
    moved = []
    for index, group in enumerate(groups):
        weights = {
            name: jax.device_put(arrays[f"weights/{name}"][index], group.training.device)
            for name in names
        }
        moved.append(group._replace(networks=group.networks.put(**weights)))
    return moved


def stacked(saved: list[Arrays], prefix: str = "measured/") -> Arrays:
    """Measurements (runs, times, ...) from those at single times, by names such as "measured/Q"."""
    names = saved[0] if saved else ()
    return {prefix + name: np.stack([each[name] for each in saved], axis=1) for name in names}


def unstacked(arrays: Arrays, prefix: str = "measured/") -> list[Arrays]:
    """The measurements that :func:`stacked` put together, among other arrays."""
    found = {n.removeprefix(prefix): each for n, each in arrays.items() if n.startswith(prefix)}
    count = min((each.shape[1] for each in found.values()), default=0)
    return [{name: each[:, index] for name, each in found.items()} for index in range(count)]
