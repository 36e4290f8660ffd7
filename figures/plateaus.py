"""Drawing plateaus: their heights, and how long they last."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from figures.overlay import MARKERS_OF_MEANS

PREDICTION: dict[str, Any] = {"ls": "--", "lw": 0.8}
"""How a prediction from a fixed point is drawn."""


def plot_height(
    height: float, start: float, end: float, *, color: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw the height of a plateau, dashed, from ``start`` to ``end``; returns the Axes."""
    if ax is None:
        _, ax = plt.subplots()
    ax.plot([start, end], [height, height], color=color, **PREDICTION)
    return ax


def plot_plateau_lengths(
    dataset: Any,
    *,
    color: Any = None,
    marker: str = "o",
    linestyle: str = "-",
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how long plateaus last against how much the student differs between teacher units.

    Args:
        dataset: an ``xarray.Dataset`` with the dimension ``asymmetry``: ``length``, measured on
            the theory, as a line; ``predicted``, dashed; ``simulated`` and its ``error`` as
            markers, NaN where there is no simulation.
        color, marker, linestyle, label: of these.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with a logarithmic asymmetry.
    """
    if ax is None:
        _, ax = plt.subplots()
    ax.plot(dataset.asymmetry, dataset.length, color=color, ls=linestyle, label=label)
    ax.plot(dataset.asymmetry, dataset.predicted, color=color, **PREDICTION)
    ax.errorbar(
        dataset.asymmetry.values, dataset.simulated.values, dataset.error.values, color=color,
        **MARKERS_OF_MEANS | {"fmt": marker},
    )  # fmt: skip
    ax.set(xscale="log", xlabel=r"initial asymmetry $R_{kk} - R_{km}$")
    return ax
