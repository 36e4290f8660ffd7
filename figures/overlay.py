"""Theory over simulation: lines and markers of one observable against time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from figures.checks import (
    check_axes,
    check_keywords,
    check_line,
    check_observable,
    check_rule,
    check_trajectory,
    observed,
)
from figures.style import (
    ERROR_LABEL,
    LINES,
    MARKERS,
    NEUTRAL,
    TIME_LABEL,
    rule_color,
    rule_label,
    rule_line,
    variants,
)
from odes.common.checks import check_array, check_count, lookup, quoted
from odes.common.layers import by_layers
from odes.common.order_parameters import DIMENSIONS, SYMMETRIC, is_state
from odes.common.trajectory import Trajectory

MARKERS_OF_MEANS: dict[str, Any] = {
    "ls": "", "marker": "o", "mfc": "white", "mew": 0.8, "elinewidth": 0.8, "zorder": 3
}  # fmt: skip


ROUNDED = 1e-14
"""A generalization error up to this is rounding, of either sign, and has no place on a logarithmic
axis."""


def above_rounding(error: Any) -> Any:
    """Errors to be drawn on a logarithmic axis: NaN where a converged student has only rounding."""
    return np.where(np.asarray(error) > ROUNDED, error, np.nan)


def generalization_error(trajectory: Trajectory) -> Any:
    """The observable that is drawn unless another is asked for."""
    return trajectory.generalization_error


def plot_overlay(
    theory: Trajectory | None,
    simulation: Trajectory | None = None,
    *,
    observable: Callable[[Trajectory], Any] = generalization_error,
    rule: str | None = None,
    label: str | None = None,
    color: Any = None,
    marker: str = "o",
    linestyle: str | None = None,
    outputs: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an observable: theory as a line, simulation as means over runs with standard errors.

    Args:
        theory: a Trajectory without run axis, or None.
        simulation: a Trajectory with a leading run axis, or None.  Runs that diverged count as long
            as they lasted.
        observable: gives the numbers to draw, (n,) for theory and (n_runs, n) for simulation.
        rule: chooses colour, label and line style, as in every figure.
        label, color, linestyle: instead of the rule's; the latter of theory.
        marker: of simulation.
        outputs: which outputs' own errors to draw in place of an observable, each with a line style
            and a marker, as of several tasks.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with a logarithmic time axis, and a logarithmic error axis for the default
        observable.
    """
    check_observable(observable)
    check_rule(rule)
    check_line(color=color, marker=marker, linestyle=linestyle, label=label)
    check_axes("ax", ax)
    if outputs is not None:
        return _plot_outputs(theory, simulation, outputs, rule, label, color, ax)
    if theory is not None:
        theory = check_trajectory("theory", theory)
        values = observed(observable, theory)
    if simulation is not None:
        simulation = check_trajectory("simulation", simulation, runs=True)
        mean, error = mean_and_standard_error(observed(observable, simulation))
    if ax is None:
        _, ax = plt.subplots()
    color = rule_color(rule) if color is None else color
    label = rule_label(rule) if label is None else label
    if theory is not None:
        line = rule_line(rule) if linestyle is None else linestyle
        if observable is generalization_error:
            values = above_rounding(values)
        ax.plot(theory.times, values, color=color, ls=line, label=label)
    if simulation is not None:
        ax.errorbar(
            simulation.times,
            mean,
            error,
            color=color,
            label=label if theory is None else None,
            **MARKERS_OF_MEANS | {"marker": marker},
        )
    ax.set_xscale("log")
    ax.set_xlabel(TIME_LABEL)
    if observable is generalization_error:
        ax.set_yscale("log")
        ax.set_ylabel(ERROR_LABEL)
    return ax


def _plot_outputs(
    theory: Trajectory | None,
    simulation: Trajectory | None,
    outputs: Sequence[int],
    rule: str | None,
    label: str | None,
    color: Any,
    ax: Axes | None,
) -> Axes:
    """Draw the errors of single outputs; arguments as for :func:`plot_overlay`."""
    if isinstance(outputs, (str, bytes)) or not isinstance(outputs, Sequence) or not outputs:
        raise ValueError(
            f"Argument `outputs` must be None or a list of outputs, but is {quoted(outputs)}."
        )
    label = rule_label(rule) if label is None else label
    for place, index in enumerate(outputs):
        index = check_count("outputs", index, least=0)

        def own(trajectory: Trajectory, index: int = index) -> Any:
            errors = trajectory.output_errors
            if errors is None or np.shape(errors)[-1] <= index:
                raise ValueError(
                    f"Argument `outputs` must be outputs whose errors the Trajectory has, but "
                    f"{index} is none."
                )
            return above_rounding(np.asarray(errors)[..., index])

        task = f"task {index + 1}"
        ax = plot_overlay(
            theory, simulation, observable=own, color=rule_color(rule) if color is None else color,
            label=task if label is None else f"{label}, {task}", ax=ax,
            marker=MARKERS[place % len(MARKERS)], linestyle=LINES[place % len(LINES)],
        )  # fmt: skip
    assert ax is not None
    ax.set(yscale="log", ylabel=ERROR_LABEL)
    return ax


def plot_band(
    paths: Trajectory,
    simulation: Trajectory | None = None,
    *,
    observable: Callable[[Trajectory], Any] = generalization_error,
    rule: str | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an observable over sample paths: its mean, and the band that holds 80 per cent of them.

    Args:
        paths: a Trajectory of :func:`odes.solve_paths`; mean as a line, 10 to 90 per cent shaded.
        simulation: a Trajectory with a run axis; mean and standard error as markers, and ticks at
            10 and 90 per cent.
        observable, rule, label, ax: as for :func:`plot_overlay`.

    Returns:
        The Axes.
    """
    paths = check_trajectory("paths", paths, runs=True)
    check_observable(observable)
    samples = observed(observable, paths)
    if simulation is not None:
        simulation = check_trajectory("simulation", simulation, runs=True)
        runs = observed(observable, simulation)
    mean, _ = mean_and_standard_error(samples)
    middle = paths._replace(generalization_error=mean)
    ax = plot_overlay(middle, observable=lambda _: mean, rule=rule, label=label, ax=ax)
    if observable is generalization_error:
        ax.set_yscale("log")
        ax.set_ylabel(ERROR_LABEL)
    color = rule_color(rule)
    low, high = _tenths(samples)
    ax.fill_between(paths.times, low, high, color=color, alpha=0.25, lw=0)
    if simulation is not None:
        plot_overlay(
            None, simulation, observable=observable, color=color, label="simulation", ax=ax
        )
        for edge in _tenths(runs):
            ax.plot(simulation.times, edge, ls="", marker="_", ms=4, mew=0.8, color=color)
    return ax


def _tenths(samples: np.ndarray) -> np.ndarray:
    """The 10th and 90th percentiles, leaving NaN out; NaN where there is nothing else."""
    edges = np.full((2, samples.shape[1]), np.nan)
    some = np.any(np.isfinite(samples), axis=0)
    edges[:, some] = np.nanquantile(samples[:, some], (0.1, 0.9), axis=0)
    return edges


def mean_and_standard_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Over the first axis, leaving NaN out; no error where there is one run only."""
    counted = np.sum(np.isfinite(samples), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(samples, axis=0) / counted
        variance = np.nansum((samples - mean) ** 2, axis=0) / (counted - 1)
        return mean, np.sqrt(variance / counted) if len(samples) > 1 else None


def plot_order_parameter(
    theory: Trajectory | None,
    simulation: Trajectory | None = None,
    *,
    name: str,
    rule: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every distinct entry of one order parameter, theory over simulation.

    Overlaps in groups of inputs are added up, as of inputs of variance 1.

    Args:
        theory, simulation: as for :func:`plot_overlay`.
        name: "Q", "R", "v", "B", or "B1", "S1", "P1" and "F2" of rules that learn F; with several
            hidden layers "v[0]" and so on, from the input upwards.
        rule: chooses the colour.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with a legend that names the entries, from 1 as in the literature.
    """

    def entry(trajectory: Trajectory, i: int, j: int) -> Any:
        found = np.asarray(by_layers(trajectory.order_parameters._asdict())[name])[..., i, j]
        return found.sum(-1) if found.ndim > np.ndim(trajectory.generalization_error) else found

    if theory is None and simulation is None:
        raise ValueError("Argument `theory` must be a Trajectory if `simulation` is None.")
    shapes = []
    if theory is not None:
        theory = check_trajectory("theory", theory)
        shapes.append(_shape_of_parameter("theory", theory, name))
    if simulation is not None:
        simulation = check_trajectory("simulation", simulation, runs=True)
        shapes.append(_shape_of_parameter("simulation", simulation, name))
    if shapes[0] != shapes[-1]:
        raise ValueError(
            f"Argument `simulation` must have as many entries of {name} as the theory, "
            f"{shapes[0]}, but has {shapes[-1]}."
        )
    check_rule(rule)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    rows, columns = shapes[0]
    entries = [
        (i, j) for i in range(rows) for j in range(columns) if name not in SYMMETRIC or i <= j
    ]
    one_output = columns == 1 and DIMENSIONS[name.partition("[")[0]][1] == "O"
    handles = []
    for (i, j), look in zip(entries, variants(rule, len(entries)), strict=True):
        plot_overlay(theory, simulation, observable=partial(entry, i=i, j=j), ax=ax, **look)
        index = f"{i + 1}" if one_output else f"{i + 1}{j + 1}"
        handles.append(Line2D([], [], mfc="white", mew=0.8, **look))
        handles[-1].set_label(f"${name}_{{{index}}}$")
    ax.set_ylabel(f"${name}$")
    ax.legend(handles=handles, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    return ax


def _shape_of_parameter(argument: str, trajectory: Trajectory, name: Any) -> tuple[int, int]:
    """Rows and columns of an order parameter; ValueError if the Trajectory has none."""
    states = trajectory.order_parameters
    if not is_state(states):
        raise ValueError(
            f"Argument `{argument}` must have order parameters, but has {quoted(states)}."
        )
    known = {key: each for key, each in by_layers(states._asdict()).items() if each is not None}
    shown = lookup("name", known, name)
    array = check_array(f"{argument}.{name}", shown, finite=False)
    leading = trajectory.generalization_error.shape
    matrices = array.ndim - len(leading) in (2, 3) and array.size > 0  # 3 for groups of inputs
    if not matrices or array.shape[: len(leading)] != leading:
        raise ValueError(
            f"Argument `{argument}` must have a matrix {name} for each error, of shape {leading}, "
            f"but has an array of shape {array.shape}."
        )
    return array.shape[-2:]


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
