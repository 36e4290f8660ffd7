"""Drawing distributions over initial networks."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from figures.checks import (
    check_axes,
    check_coordinate,
    check_line,
    check_quantity,
    check_rule,
)
from figures.overlay import MARKERS_OF_MEANS
from figures.style import TIME_LABEL, rule_color, rule_label
from odes.common.checks import check_array, quoted


def plot_distribution(
    theory: Any,
    simulation: Any = None,
    *,
    rule: str | None = None,
    label: str | None = None,
    linestyle: str = "-",
    ax: Axes | None = None,
) -> Axes:
    """Draw the fraction of networks below a value, theory over simulation.

    Args:
        theory: one number for each initial network, (n,), drawn as steps, or None.
        simulation: the same measured on networks, (n,), or None: a marker for each.  NaN, as of
            networks that diverged, are left out.
        rule, label, linestyle: of these.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.
    """
    steps = None if theory is None else _cumulative("theory", theory)
    markers = None if simulation is None else _cumulative("simulation", simulation)
    check_rule(rule)
    check_line(label=label, linestyle=linestyle)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    color, label = rule_color(rule), rule_label(rule) if label is None else label
    if steps is not None:
        ax.step(*steps, where="post", color=color, ls=linestyle, label=label)
    if markers is not None:
        ax.errorbar(
            *markers, color=color, label=label if theory is None else None,
            **MARKERS_OF_MEANS,
        )  # fmt: skip
    ax.set(ylabel="fraction of networks", ylim=(-0.03, 1.03))
    return ax


def plot_quantiles(
    theory: Any,
    simulation: Any,
    *,
    rule: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the median over networks, and their interquartile range, against time.

    Args:
        theory: a DataArray with the dimensions ``network`` and ``time``: the median as a line, and
            the quartiles shaded.
        simulation: the same measured on networks: the median as markers, bars from one quartile to
            the other.
        rule: colour and label.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with a logarithmic time axis.
    """
    for name, each in (("theory", theory), ("simulation", simulation)):
        check_quantity(name, each, {"network", "time"})
        check_coordinate(name, each, "time")
    check_rule(rule)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    color, label = rule_color(rule), rule_label(rule)
    low, middle, high = theory.quantile((0.25, 0.5, 0.75), "network").values
    ax.plot(theory.time, middle, color=color, label=label)
    ax.fill_between(theory.time, low, high, color=color, alpha=0.2, lw=0)
    low, middle, high = simulation.quantile((0.25, 0.5, 0.75), "network").values
    ax.errorbar(
        simulation.time.values,
        middle,
        (middle - low, high - middle),
        color=color,
        **MARKERS_OF_MEANS,
    )
    ax.set(xscale="log", xlabel=TIME_LABEL)
    return ax


def _cumulative(name: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values and the fraction of all that are no larger."""
    array = check_array(name, values, finite=False)
    if array.ndim != 1:
        raise ValueError(
            f"Argument `{name}` must have one number for each network, (n,), "
            f"but is {quoted(values)}."
        )
    finite = np.sort(array[np.isfinite(array)])
    return finite, np.arange(1, finite.size + 1) / max(1, finite.size)
