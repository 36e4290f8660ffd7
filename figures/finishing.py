"""What all figures have in common at the end: panels with letters, one format of numbers."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from figures.residuals import PANEL
from odes.common.checks import quoted

FEW_DECADES = 2.0
"""Of a logarithmic axis, up to which 2 and 5 are labelled beside 1."""

DECIMALS = (1e-3, 1e3)
"""Where the labels of a logarithmic axis are decimals; if one is outside all are powers of ten."""


def finish(figure: Figure) -> Figure:
    """Give a figure what it lacks to be printed, when everything else is drawn.

    Panels, if there are several, get letters: (a), (b), ... above their left ends, but for colour
    bars and residuals.  The numbers of each logarithmic axis are all decimals, or, where some would
    be long, all powers of ten; ticks of one's own stay.

    Args:
        figure: of matplotlib.

    Returns:
        The figure.
    """
    if not isinstance(figure, Figure):
        raise ValueError(
            f"Argument `figure` must be a Figure of matplotlib, but is {quoted(figure)}."
        )
    panels = panels_of(figure)
    if len(panels) > 1:
        for letter, ax in zip(ascii_lowercase, panels, strict=False):
            ax.annotate(
                f"({letter})", (0, 1), (-3, 5), "axes fraction", "offset points", ha="right",
                va="bottom", weight="bold", annotation_clip=False,
            )  # fmt: skip
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if axis.get_scale() == "log" and not isinstance(axis.get_major_locator(), FixedLocator):
                _number(axis)
    return figure


def panels_of(figure: Figure) -> list[Axes]:
    """The Axes that are seen, but for colour bars and residuals."""
    apart = ("<colorbar>", PANEL)
    return [ax for ax in figure.axes if ax.axison and ax.get_label() not in apart]


def _number(axis: Axis) -> None:
    """Label a logarithmic axis, with decimals unless some would be long."""
    low, high = sorted(axis.get_view_interval())
    few = np.log10(high / low) <= FEW_DECADES
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_minor_formatter(NullFormatter())
    ticks = axis.get_major_locator().tick_values(low, high)
    shown = [tick for tick in ticks if low <= tick <= high]
    short = all(DECIMALS[0] * 0.99 <= tick <= DECIMALS[1] * 1.01 for tick in shown)
    axis.set_major_formatter(FuncFormatter(_decimal if short or few else _power))


def _decimal(value: float, _: Any) -> str:
    return f"{value:g}"


def _power(value: float, _: Any) -> str:
    return rf"$10^{{{round(np.log10(value))}}}$"
