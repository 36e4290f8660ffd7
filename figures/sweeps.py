"""Drawing sweeps: a phase diagram over two parameters, and a scan along one."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm

from figures.checks import check_axes, check_dataset, check_quantity, check_rule, check_sweep
from figures.overlay import MARKERS_OF_MEANS, ROUNDED, above_rounding
from figures.residuals import mean_and_standard_error
from figures.style import AXIS_LABELS, ERROR_LABEL, NEUTRAL, rule_color, rule_label
from odes.common.checks import check_number, quoted

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
        theory: a Dataset of :func:`odes.sweep` with two parameters as dimensions, sorted; the first
            is drawn along x.  Points whose status is not "ok" are hatched.
        simulation: a Dataset of :func:`simulations.sweep` with the same two, or None: a marker at
            each point, filled with the colour of its mean over runs, and crossed if no run got to
            the last time.
        level: draws the contour at which the error has this value.
        norm: of the colours, to be shared by several diagrams; None for the range of the theory.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with logarithmic parameters, but for one with a value of 0.
        ``ax.collections[0]`` is what a colour bar needs.
    """
    x, y = check_sweep("theory", theory, parameters=2)
    _check_points(theory, (x, y))
    if simulation is not None:
        _check_alike(check_sweep("simulation", simulation, 2, runs=True), (x, y))
    if level is not None:
        level = check_number("level", level)
    _check_norm(norm)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    error = final_error(theory).transpose(x, y)
    if norm is None:
        norm = shared_norm(theory)
    edges = _edges(theory[x].values), _edges(theory[y].values)
    shown = error.T.clip(min=norm.vmin)  # rounding makes a converged error negative
    ax.pcolormesh(*edges, shown, norm=norm, cmap=COLORMAP, rasterized=True)
    lost = (theory.status != "ok").transpose(y, x).values
    if lost.any():
        ax.pcolor(
            *edges, np.ma.masked_where(~lost, lost), cmap=ListedColormap(["white"]),
            edgecolor="#999999", linewidth=0, hatch=HATCH,
        )  # fmt: skip
    crossed = level is not None and bool((error < level).any() and (error > level).any())
    if crossed and min(error.shape) > 1:
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
    scales = {"xscale": _scale(theory[x].values), "yscale": _scale(theory[y].values)}
    ax.set(**scales, xlabel=_axis_label(x), ylabel=_axis_label(y))
    return ax


def _scale(values: np.ndarray) -> str:
    """Of an axis with these values: logarithmic, unless one is 0."""
    return "log" if np.all(values > 0) else "linear"


def _axis_label(parameter: str) -> str:
    return AXIS_LABELS.get(parameter, parameter)


def _check_points(theory: Any, parameters: tuple[str, ...]) -> None:
    """ValueError unless every point has a status, and they lie in order."""
    for each in parameters:
        values = theory[each].values
        steps = np.diff(values)
        if not (np.all(values >= 0) and (np.all(steps > 0) or np.all(steps < 0))):
            raise ValueError(
                f"Argument `theory.{each}` must be >= 0 and sorted, each value once, "
                f"but is {quoted(values)}."
            )
    if "status" not in theory or set(theory.status.dims) != set(parameters):
        raise ValueError(
            f"Argument `theory` must have a status over {' and '.join(parameters)}, but has "
            f"{quoted(dict(theory.sizes))}, and {quoted(sorted(map(str, theory.data_vars)))}."
        )


def _check_alike(given: tuple[str, ...], parameters: tuple[str, ...]) -> None:
    """ValueError unless both have the same parameters."""
    if set(given) != set(parameters):
        raise ValueError(
            f"Argument `simulation` must vary {' and '.join(parameters)}, as the theory does, "
            f"but varies {' and '.join(given)}."
        )


def _check_norm(norm: Any) -> None:
    """ValueError unless this is a logarithmic scale, or None."""
    try:
        if norm is not None:
            limits = (norm.vmin, norm.vmax)
            fine = isinstance(norm, LogNorm)
            fine = fine and (None in limits or np.isfinite(LogNorm(*limits)(1.0)))
    except (AttributeError, TypeError, ValueError):
        fine = False
    if norm is not None and not fine:
        raise ValueError(
            "Argument `norm` must be None or a LogNorm, as shared_norm() makes it, "
            f"but is {quoted(norm)}."
        )


def shared_norm(*datasets: Any) -> LogNorm:
    """A logarithmic scale of colours over the errors at the last time of several Datasets.

    Errors of converged students, which are rounding, do not count; if all are, the scale is that of
    errors of O(1).
    """
    if not datasets:
        raise ValueError("Argument `datasets` must hold one Dataset at least, but is ().")
    for dataset in datasets:
        check_dataset("datasets", dataset, ("generalization_error",))
        dims = set(dataset.generalization_error.dims) | {"time"}
        check_quantity("datasets", dataset.generalization_error, dims)
    errors = np.concatenate([final_error(dataset).values.ravel() for dataset in datasets])
    errors = errors[np.isfinite(errors) & (errors > ROUNDED)]
    return LogNorm(errors.min(), errors.max()) if errors.size else LogNorm(1e-3, 1)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around sorted centres, half-way on the axis that :func:`_scale` chooses."""
    is_log = _scale(centres) == "log"
    places = np.log(centres) if is_log else centres
    half = np.diff(places) / 2 if places.size > 1 else np.array([0.5])
    inner = (places[:-1] + places[1:]) / 2
    edges = np.concatenate([places[:1] - half[:1], inner, places[-1:] + half[-1:]])
    return np.exp(edges) if is_log else edges


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
        The Axes, with logarithmic error, and a logarithmic parameter unless it has a value of 0.
    """
    along: tuple[str, ...] = ()
    if theory is not None:
        along = check_sweep("theory", theory, parameters=1)
    if simulation is not None:
        given = check_sweep("simulation", simulation, parameters=1, runs=True)
        along = along or given
        _check_alike(given, along)
    check_rule(rule)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    color, label = rule_color(rule), rule_label(rule)
    for x in along:
        ax.set(xlabel=_axis_label(x))
    if theory is not None:
        ax.plot(theory[x], above_rounding(final_error(theory)), color=color, label=label)
    if simulation is not None:
        mean, error = mean_and_standard_error(final_error(simulation).transpose("run", x).values)
        ax.errorbar(
            simulation[x], mean, error, color=color, label=label if theory is None else None,
            **MARKERS_OF_MEANS,
        )  # fmt: skip
    shown = theory if theory is not None else simulation
    ax.set(xscale=_scale(shown[x].values), yscale="log", ylabel=ERROR_LABEL)
    return ax
