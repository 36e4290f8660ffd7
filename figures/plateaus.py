"""Drawing plateaus: their heights, and how long they last."""

from __future__ import annotations

from numbers import Real
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from figures.checks import check_axes, check_columns, check_line, check_standard_error
from figures.overlay import MARKERS_OF_MEANS
from odes.common.checks import check_number

PREDICTION: dict[str, Any] = {"ls": "--", "lw": 0.8}
"""How a prediction from a fixed point is drawn."""


def plot_height(
    height: float, start: float, end: float, *, color: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw the height of a plateau, dashed, from ``start`` to ``end``; returns the Axes.

    Nothing is drawn if one of the times is NaN, of a plateau that is not reached or not left.
    """
    height = check_number("height", height, positive=True)
    start, end = _time("start", start), _time("end", end)
    check_line(color=color)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    ax.plot([start, end], [height, height], color=color, **PREDICTION)
    return ax


def _time(name: str, value: Any) -> float:
    """``value`` as a float, if it is a time, or NaN."""
    missing = isinstance(value, Real) and value != value
    return float("nan") if missing else check_number(name, value)


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
    variables = ("length", "predicted", "simulated", "error")
    check_columns("dataset", dataset, "asymmetry", variables)
    check_standard_error("dataset.error", dataset.error.values)
    check_line(color=color, marker=marker, linestyle=linestyle, label=label)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    ax.plot(dataset.asymmetry, dataset.length, color=color, ls=linestyle, label=label)
    ax.plot(dataset.asymmetry, dataset.predicted, color=color, **PREDICTION)
    ax.errorbar(
        dataset.asymmetry.values, dataset.simulated.values, dataset.error.values, color=color,
        **MARKERS_OF_MEANS | {"marker": marker},
    )  # fmt: skip
    ax.set(xscale="log", xlabel=r"initial asymmetry $R_{kk} - R_{km}$")
    return ax
