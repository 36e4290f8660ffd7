"""Legends of curves, and of what lines and markers are."""

from __future__ import annotations

import warnings
from typing import Any

from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from figures.checks import check_axes, check_keywords
from figures.style import NEUTRAL
from odes.common.checks import check_flag


def add_legend(ax: Axes, *, of: Axes | None = None, outside: bool = False, **legend: Any) -> Axes:
    """A legend of the labelled curves, and of what lines and markers are.

    Args:
        ax: where to draw.
        of: whose curves, if not those of ``ax``.
        outside: above all panels of the figure, where it is over no curve, and of the curves of all
            of them, in as many columns as there is room for.
        **legend: what matplotlib takes.

    Returns:
        The Axes.
    """
    check_axes("ax", ax, optional=False)
    check_axes("of", of)
    outside = check_flag("outside", outside)
    shown = [of or ax] if of is not None or not outside else ax.figure.axes
    labelled: dict[str, Any] = {}
    for each in shown:
        handles, labels = each.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            labelled.setdefault(label, handle)
    labelled["theory"] = Line2D([], [], color=NEUTRAL)
    labelled["simulation"] = Line2D([], [], color=NEUTRAL, ls="", marker="o", mfc="white", mew=0.8)
    given = (list(labelled.values()), list(labelled))
    check_keywords("a legend", legend, lambda keywords: Legend(ax, *given, **keywords))
    if outside:
        legend_above(ax.figure, *given, **legend)
    else:
        ax.legend(*given, **legend)
    return ax


def legend_above(figure: Any, handles: list, labels: list[str], **legend: Any) -> Legend:
    """A legend above all panels, in as few rows as there is room for, which are about full."""
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")  # which makes room
    keywords = {"loc": "outside upper center", "columnspacing": 1.2, **legend}
    for rows in range(1, len(labels) + 1):
        made = figure.legend(handles, labels, **{"ncols": -(-len(labels) // rows), **keywords})
        if rows == len(labels) or made.get_window_extent().width <= figure.bbox.width:
            break
        made.remove()
    return made


def add_key(ax: Axes, *, of: Axes | None = None, **legend: Any) -> Axes:
    """The former name of :func:`add_legend`."""
    warnings.warn("`add_key` is now called `add_legend`.", DeprecationWarning, stacklevel=2)
    return add_legend(ax, of=of, **legend)
