"""Drawing fluctuations of finite networks around the theory, and how they shrink as N grows."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from figures.checks import (
    check_axes,
    check_columns,
    check_dataset,
    check_rule,
    check_standard_error,
    check_text,
    check_trajectory,
)
from figures.overlay import MARKERS_OF_MEANS, above_rounding
from figures.style import (
    AXIS_LABELS,
    ERROR_LABEL,
    NEUTRAL,
    TIME_LABEL,
    rule_color,
    rule_label,
)
from odes.common.checks import check_array, check_count, check_flag, quoted
from odes.common.trajectory import Fluctuations, Trajectory


def plot_fluctuation_band(
    theory: Trajectory,
    simulation: Trajectory | None = None,
    *,
    N: int,
    relative: bool = False,
    rule: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the generalization error with the band in which 95 per cent of networks are predicted.

    Args:
        theory: a Trajectory of ``odes.solve(..., fluctuations=True)``: a line, and two standard
            deviations of a network of N inputs shaded.
        simulation: a Trajectory with a run axis, or None: every run by itself, as dots.
        N: number of inputs.
        relative: whether to divide by the error of the theory, between whose times the one at a
            time of the simulation is interpolated.
        rule: chooses colour and label.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with logarithmic time, and logarithmic error unless relative.

    Raises:
        ValueError: for a theory without fluctuations.
    """
    theory = check_trajectory("theory", theory)
    scatter = _scatter(theory)
    if simulation is not None:
        simulation = check_trajectory("simulation", simulation, runs=True)
    N, relative = check_count("N", N), check_flag("relative", relative)
    check_rule(rule)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    error, std = above_rounding(theory.generalization_error), scatter.std(N)
    unit = error if relative else np.ones_like(error)
    color = rule_color(rule)
    ax.plot(theory.times, error / unit, color=color, label=rule_label(rule))
    low = (error - 2 * std) / unit
    if not relative:
        low = np.maximum(low, 1e-3 * error)  # the axis is logarithmic
        ax.set(yscale="log")
    ax.fill_between(
        theory.times, low, (error + 2 * std) / unit, color=color, alpha=0.3, lw=0,
        label="two standard deviations",
    )  # fmt: skip
    if simulation is not None:
        units = np.interp(simulation.times, theory.times, unit)
        for count, run in enumerate(simulation.generalization_error):
            ax.plot(
                simulation.times, run / units, ls="", marker=".", ms=2.5, mew=0, color=NEUTRAL,
                alpha=0.6, label="single runs" if count == 0 else None,
            )  # fmt: skip
    label = r"$\epsilon_g$ / theory" if relative else ERROR_LABEL
    ax.set(xscale="log", xlabel=TIME_LABEL, ylabel=label)
    return ax


def _scatter(theory: Trajectory) -> Fluctuations:
    """The standard deviation of networks around the theory; ValueError if the theory has none."""
    scatter = theory.fluctuations
    if not isinstance(scatter, Fluctuations):
        raise ValueError(
            "Argument `theory` must come from solve(..., fluctuations=True), but has "
            f"{quoted(scatter)}."
        )
    name = "theory.fluctuations.generalization_error"
    variance = check_array(name, scatter.generalization_error, finite=False)
    if variance.shape != theory.times.shape or np.any(variance < 0):
        raise ValueError(
            f"Argument `{name}` must hold a number >= 0 for each time, but is {quoted(variance)}."
        )
    return scatter._replace(generalization_error=variance)


def plot_finite_size(
    dataset: Any, *, observable: str, rule: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how a property of finite networks falls with N, simulation over prediction.

    Args:
        dataset: an ``xarray.Dataset`` with the dimension ``N``: ``observable`` and
            ``observable + "_error"``, its standard error, as markers; ``observable +
            "_predicted"`` as a line; and if there is one, ``observable + "_sampled"``, the standard
            error expected of so many runs, dashed.
        observable: which.
        rule: chooses colour and label.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes, with logarithmic N and observable.
    """
    check_dataset("dataset", dataset, ())
    check_text("observable", observable, optional=False)
    known = [name for name in dataset if {f"{name}_error", f"{name}_predicted"} <= set(dataset)]
    if observable not in known:
        raise ValueError(
            f"Argument `observable` must be one of {known}, which have their error and prediction, "
            f"but is {quoted(observable)}."
        )
    drawn = [f"{observable}{suffix}" for suffix in ("", "_error", "_predicted", "_sampled")]
    check_columns("dataset", dataset, "N", tuple(name for name in drawn if name in dataset))
    value, error = dataset[observable].values, dataset[f"{observable}_error"].values
    check_standard_error(f"dataset.{observable}_error", error)
    check_rule(rule)
    check_axes("ax", ax)
    if ax is None:
        _, ax = plt.subplots()
    color = rule_color(rule)
    ax.plot(dataset.N, dataset[f"{observable}_predicted"], color=color, label=rule_label(rule))
    if f"{observable}_sampled" in dataset:
        ax.plot(dataset.N, dataset[f"{observable}_sampled"], color=color, ls="--", lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel=AXIS_LABELS["N"])
    low, high = ax.get_ylim()
    ax.errorbar(dataset.N, value, error, color=color, **MARKERS_OF_MEANS)
    ends = value + error
    smallest = min([low, *value[value > 0] / 2])  # not the end of a bar that reaches zero
    ax.set_ylim(smallest, max([high, *2 * ends[np.isfinite(ends)]]))
    return ax
