"""Checkpoints of a simulation on disk."""

from __future__ import annotations

import numpy as np

from odes.common.store import Arrays

CHECKPOINT = "checkpoint.npz"

CHECKPOINT_SECONDS = 20.0


def to_keep(sample: int, measured: list[Arrays], weights: Arrays) -> Arrays:
    """What a simulation has come to, by names such as "measured/Q" and "weights/W"."""
    kept = {f"weights/{name}": each for name, each in weights.items()}
    return {"sample": np.array(sample), **kept, **stacked(measured, "measured/")}


def kept_in(arrays: Arrays) -> tuple[list[Arrays], Arrays]:
    """Measurements at each time, and weights, of :func:`to_keep`."""
    measured, weights = (
        {n.removeprefix(prefix): each for n, each in arrays.items() if n.startswith(prefix)}
        for prefix in ("measured/", "weights/")
    )
    count = min((each.shape[1] for each in measured.values()), default=0)
    return [{name: each[:, i] for name, each in measured.items()} for i in range(count)], weights


def stacked(saved: list[Arrays], prefix: str = "") -> Arrays:
    """Measurements (runs, times, ...) from those at single times, by names with a prefix."""
    names = saved[0] if saved else ()
    return {prefix + name: np.stack([each[name] for each in saved], axis=1) for name in names}
