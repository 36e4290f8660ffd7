"""Legends of curves, and of what lines and markers are."""

from __future__ import annotations

import warnings
from typing import Any

from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from figures.checks import check_axes, check_keywords
from figures.style import NEUTRAL


def add_legend(ax: Axes, *, of: Axes | None = None, **legend: Any) -> Axes:
    """A legend of the labelled curves, here or in other Axes, and of what lines and markers are."""
    check_axes("ax", ax, optional=False)
    check_axes("of", of)
    handles, labels = (ax if of is None else of).get_legend_handles_labels()
    handles.append(Line2D([], [], color=NEUTRAL))
    handles.append(Line2D([], [], color=NEUTRAL, ls="", marker="o", mfc="white", mew=0.8))
    labels = [*labels, "theory", "simulation"]
    check_keywords("a legend", legend, lambda given: Legend(ax, handles, labels, **given))
    ax.legend(handles, labels, **legend)
    return ax


def add_key(ax: Axes, *, of: Axes | None = None, **legend: Any) -> Axes:
    """The former name of :func:`add_legend`."""
    warnings.warn("`add_key` is now called `add_legend`.", DeprecationWarning, stacklevel=2)
    return add_legend(ax, of=of, **legend)
