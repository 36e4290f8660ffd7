"""Drawing sweeps: a phase diagram over two parameters, and a scan along one."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm

from figures.overlay import (
    MARKERS_OF_MEANS,
    ROUNDED,
    above_rounding,
    mean_and_standard_error,
)
from figures.style import AXIS_LABELS, ERROR_LABEL, NEUTRAL, rule_color, rule_label

COLORMAP = "viridis"  # lightness alone orders it, so that no colour has to be told apart
HATCH = "////"


def final_error(dataset: Any) -> Any:
    """The generalization error at the last time."""
    return dataset.generalization_error.isel(time=-1)


def plot_phase_diagram(
    theory: Any,
    simulation: Any = None,
    *,
    level: float | None = None,
    norm: LogNorm | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error at the last time over two parameters, by colour.

    Args:
        theory: a Dataset of :func:`odes.sweep` with two parameters as dimensions, positive and
            sorted; the first is drawn along x.  Points whose status is not "ok" are hatched.
        simulation: a Dataset of :func:`simulations.sweep` with the same two, or None: a marker at
            each point, filled with the colour of its mean over runs, and crossed if no run got to
            the last time.
        level: draws the contour at which the error has this value.
        norm: of the colours, to be shared by several diagrams; None for the range of the theory.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with logarithmic parameters.  ``ax.collections[0]`` is what a colour bar needs.
    """
    if ax is None:
        _, ax = plt.subplots()
    error = final_error(theory)
    x, y = error.dims
    if norm is None:
        norm = shared_norm(theory)
    edges = _edges(theory[x].values), _edges(theory[y].values)
    shown = error.T.clip(min=norm.vmin)  # rounding makes a converged error negative
    ax.pcolormesh(*edges, shown, norm=norm, cmap=COLORMAP, rasterized=True)
    lost = (theory.status != "ok").T.values
    if lost.any():
        ax.pcolor(
            *edges, np.ma.masked_where(~lost, lost), cmap=ListedColormap(["white"]),
            edgecolor="#999999", linewidth=0, hatch=HATCH,
        )  # fmt: skip
    if level is not None and min(error.shape) > 1:
        ax.contour(theory[x], theory[y], error.T, [level], colors="white", linewidths=1.0)
    if simulation is not None:
        mean = final_error(simulation).mean("run", skipna=True).transpose(x, y).values
        at_x, at_y = np.meshgrid(simulation[x], simulation[y], indexing="ij")
        reached = np.isfinite(mean)
        ax.scatter(
            at_x[reached], at_y[reached], 22, mean[reached], norm=norm, cmap=COLORMAP,
            edgecolor="white", linewidth=0.8,
        )  # fmt: skip
        ax.scatter(at_x[~reached], at_y[~reached], 22, NEUTRAL, marker="x", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel=AXIS_LABELS[x], ylabel=AXIS_LABELS[y])
    return ax


def shared_norm(*datasets: Any) -> LogNorm:
    """A logarithmic scale of colours over the errors at the last time of several Datasets.

    Errors of converged students, which are rounding, do not count; if all are, the scale is that of
    errors of O(1).
    """
    errors = np.concatenate([final_error(dataset).values.ravel() for dataset in datasets])
    errors = errors[errors > ROUNDED]
    return LogNorm(errors.min(), errors.max()) if errors.size else LogNorm(1e-3, 1)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around sorted positive centres, half-way on a logarithmic axis."""
    logs = np.log(centres)
    half = np.diff(logs) / 2 if logs.size > 1 else np.array([0.5])
    inner = (logs[:-1] + logs[1:]) / 2
    return np.exp(np.concatenate([logs[:1] - half[:1], inner, logs[-1:] + half[-1:]]))


def plot_scan(
    theory: Any,
    simulation: Any = None,
    *,
    rule: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the error at the last time along one parameter, theory over simulation.

    Args:
        theory: a Dataset of :func:`odes.sweep` with one parameter as dimension, or None.
        simulation: a Dataset of :func:`simulations.sweep` with the same one, or None: means over
            runs with standard errors.  Runs that did not get to the last time do not count.
        rule: chooses colour and label.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with logarithmic parameter and error.
    """
    if ax is None:
        _, ax = plt.subplots()
    color, label = rule_color(rule), rule_label(rule)
    for dataset in (theory, simulation):
        if dataset is not None:
            (x,) = set(final_error(dataset).dims) - {"run"}
            ax.set(xlabel=AXIS_LABELS[x])
    if theory is not None:
        ax.plot(theory[x], above_rounding(final_error(theory)), color=color, label=label)
    if simulation is not None:
        mean, error = mean_and_standard_error(final_error(simulation).transpose("run", x).values)
        ax.errorbar(
            simulation[x], mean, error, color=color, label=label if theory is None else None,
            **MARKERS_OF_MEANS,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", ylabel=ERROR_LABEL)
    return ax
