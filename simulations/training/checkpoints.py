"""Checkpoints of a simulation on disk."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from odes.common.layers import by_layers, layers_of, over_layers, together
from odes.common.store import Arrays

CHECKPOINT = "checkpoint.npz"

CHECKPOINT_SECONDS = 20.0


def to_keep(sample: int, measured: list[Arrays], weights: Arrays) -> Arrays:
    """What a simulation has come to, by names such as "measured/Q" and "weights/W"."""
    kept = {f"weights/{name}": each for name, each in weights.items()}
    kept |= {f"measured/{name}": each for name, each in stacked(measured).items()}
    return {"sample": np.array(sample), **by_layers(kept)}


def kept_in(arrays: Arrays) -> tuple[list[Arrays], Arrays]:
    """Measurements at each time, and weights, of :func:`to_keep`."""
    measured, weights = (
        {
            n.removeprefix(prefix): each
            for n, each in together(arrays).items()
            if n.startswith(prefix)
        }
        for prefix in ("measured/", "weights/")
    )
    count = min((layers_of(each)[0].shape[1] for each in measured.values()), default=0)
    return [
        {name: over_layers(partial(_at, i), each) for name, each in measured.items()}
        for i in range(count)
    ], weights


def _at(index: int, array: np.ndarray) -> np.ndarray:
    """What was measured at one time."""
    return array[:, index]


def stacked(saved: list[dict[str, Any]]) -> dict[str, Any]:
    """Measurements (runs, times, ...) from those at single times, by name."""
    names = saved[0] if saved else ()
    return {
        name: over_layers(lambda *at: np.stack(at, axis=1), *(each[name] for each in saved))
        for name in names
    }
