"""Theory over simulation: lines and markers of one observable against time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from figures.checks import (
    check_axes,
    check_line,
    check_observable,
    check_outputs,
    check_rule,
    check_text,
    check_trajectory,
    observed,
)
from figures.residuals import KINDS, mean_and_standard_error, panel_below, residuals_of
from figures.style import (
    ERROR_LABEL,
    LINES,
    MARKERS,
    TIME_LABEL,
    rule_color,
    rule_label,
    rule_line,
    variants,
)
from odes.common.checks import lookup, quoted
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


_Named = tuple[tuple[str, Any], ...]  # theory and simulation, with their names in messages


class _Curve(NamedTuple):
    """What is drawn of one rule, or of one of its outputs."""

    theory: Trajectory | None
    values: Any
    simulation: Trajectory | None
    samples: Any
    look: dict[str, Any]


def plot_overlay(
    theory: Any,
    simulation: Any = None,
    *,
    observable: Callable[[Trajectory], Any] = generalization_error,
    rule: Any = None,
    label: Any = None,
    color: Any = None,
    marker: str | None = None,
    linestyle: str | None = None,
    outputs: Sequence[int] | None = None,
    residuals: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an observable: theory as a line, simulation as means over runs with standard errors.

    Args:
        theory: a Trajectory without run axis, or None.  Of several rules at once: a dictionary of
            these by name, or a list.
        simulation: a Trajectory with a leading run axis, or None.  Runs that diverged count as long
            as they lasted.  A dictionary or a list as the theory is one.
        observable: gives the numbers to draw, (n,) for theory and (n_runs, n) for simulation.
        rule: chooses colour, label and line style, as in every figure.  Of a list: a list, or one
            for all, which then differ by shade, marker and line style.
        label: instead of the rule's, or a list of these.
        color, marker, linestyle: instead of the rule's, a circle, and the rule's.
        outputs: which outputs' own errors to draw in place of an observable, each with a line style
            and a marker, as of several tasks.
        residuals: None, or what to draw in a panel below: by how many "standard errors" simulation
            is above theory, with dotted lines at two, or by how much "relative" to theory, with
            standard errors.
        ax: where to draw; None for a new figure.  Residuals take the lower part of its place.

    Returns:
        The Axes, with a logarithmic time axis, and a logarithmic error axis for the default
        observable.  The panel below is the Axes of the same figure with the label "residuals".

    Raises:
        ValueError: also for residuals without both theory and simulation, or in standard errors of
            a single run.
    """
    check_observable(observable)
    check_line(color=color, marker=marker, linestyle=linestyle)
    check_axes("ax", ax)
    look = {"color": color, "marker": marker, "linestyle": linestyle}
    drawn = generalization_error if outputs is not None else observable
    curves = [
        curve
        for one in _one_by_one(theory, simulation, rule, label)
        for curve in _curves_of(*one, observable, outputs, look)
    ]
    _check_residuals(residuals, curves, ax)
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    for curve in curves:
        _draw_curve(ax, curve, is_error=drawn is generalization_error)
    ax.set_xscale("log")
    ax.set_xlabel(TIME_LABEL)
    if drawn is generalization_error:
        ax.set_yscale("log")
        ax.set_ylabel(ERROR_LABEL)
    if residuals is not None:
        _draw_residuals(ax, curves, residuals)
    return ax


def _one_by_one(
    theory: Any, simulation: Any, rule: Any, label: Any
) -> list[tuple[_Named, Any, Any, dict]]:
    """Of each rule: theory and simulation with their names, the rule, a label, and a look."""
    given = ("theory", theory), ("simulation", simulation)
    several: dict[str, Any] = {name: each for name, each in given if isinstance(each, (dict, list))}
    if not several:
        check_rule(rule)
        check_text("label", label)
        return [(given, rule, label, {})]
    first, whole = next(iter(several.items()))
    kind = "dictionary" if isinstance(whole, dict) else "list"
    for name, each in given:
        if each is not None and (type(each) is not type(whole) or not each):
            raise ValueError(
                f"Argument `{name}` must be a {kind} of Trajectories, as `{first}` is, or None, "
                f"but is {quoted(each)}."
            )
    if kind == "dictionary":
        if rule is not None:
            raise ValueError(
                "Argument `rule` must be None where theory or simulation name their rules, "
                f"but is {quoted(rule)}."
            )
        places = list(dict.fromkeys(key for each in several.values() for key in each))
        rule = places
    else:
        places = list(range(len(whole)))
        for name, each in several.items():
            if len(each) != len(whole):
                raise ValueError(
                    f"Argument `{name}` must be a list of {len(whole)} Trajectories, as `{first}` "
                    f"is, but has {len(each)}."
                )
        several = {name: dict(enumerate(each)) for name, each in several.items()}
    rules, labels = _one_each("rule", rule, len(places)), _one_each("label", label, len(places))
    looks = [{} for _ in places] if isinstance(rule, list) else variants(rule, len(places))
    named = [
        tuple((f"{name}[{place!r}]", several.get(name, {}).get(place)) for name, _ in given)
        for place in places
    ]
    return list(zip(named, rules, labels, looks, strict=True))


def _one_each(name: str, value: Any, count: int) -> list:
    """One of the argument for each rule: those of a list, or the same for all."""
    each = value if isinstance(value, list) else [value] * count
    if len(each) != count:
        raise ValueError(
            f"Argument `{name}` must be a list of {count}, one for each Trajectory, but has "
            f"{len(each)}."
        )
    for one in each:
        (check_rule if name == "rule" else partial(check_text, name))(one)
    return each


def _curves_of(
    given: _Named,
    rule: str | None,
    label: str | None,
    own: dict[str, Any],
    observable: Callable[[Trajectory], Any],
    outputs: Any,
    look: dict[str, Any],
) -> list[_Curve]:
    """What is to be drawn of one rule, with its arguments checked; a curve for each output."""
    (first, theory), (second, simulation) = given
    if theory is not None:
        theory = check_trajectory(first, theory)
    if simulation is not None:
        simulation = check_trajectory(second, simulation, runs=True)
    label = rule_label(rule) if label is None else label
    own = {"color": rule_color(rule), "marker": "o", "linestyle": rule_line(rule)} | own
    own |= {name: each for name, each in look.items() if each is not None}
    parts = [(observable, own | {"label": label})]
    if outputs is not None:
        parts = [
            (partial(_error_of, index=index), own | {
                "label": f"task {index + 1}" if label is None else f"{label}, task {index + 1}",
                "marker": MARKERS[place % len(MARKERS)], "linestyle": LINES[place % len(LINES)],
            })
            for place, index in enumerate(check_outputs(outputs))
        ]  # fmt: skip
    return [
        _Curve(
            theory, None if theory is None else observed(part, theory),
            simulation, None if simulation is None else observed(part, simulation), drawn,
        )
        for part, drawn in parts
    ]  # fmt: skip


def _error_of(trajectory: Trajectory, index: int) -> Any:
    """The error of one output; ValueError if the Trajectory has none."""
    errors = trajectory.output_errors
    if errors is None or np.shape(errors)[-1] <= index:
        raise ValueError(
            f"Argument `outputs` must be outputs whose errors the Trajectory has, but "
            f"{index} is none."
        )
    return np.asarray(errors)[..., index]


def _draw_curve(ax: Axes, curve: _Curve, *, is_error: bool) -> None:
    """Theory and simulation of one curve, with one label."""
    look = dict(curve.look)
    line, label = look.pop("linestyle"), look.pop("label")
    if curve.theory is not None:
        values = above_rounding(curve.values) if is_error else curve.values
        ax.plot(curve.theory.times, values, color=look["color"], ls=line, label=label)
    if curve.simulation is not None:
        ax.errorbar(
            curve.simulation.times,
            *mean_and_standard_error(curve.samples),
            label=label if curve.theory is None else None,
            **MARKERS_OF_MEANS | look,
        )


def _check_residuals(residuals: Any, curves: list[_Curve], ax: Axes | None) -> None:
    """ValueError unless residuals of this kind can be drawn, or none are to be."""
    if residuals is None:
        return
    lookup("residuals", KINDS, residuals)
    both = [c for c in curves if c.theory is not None and c.simulation is not None]
    if not both:
        raise ValueError(
            "Argument `residuals` must be None where no rule has both theory and simulation, "
            f"but is {quoted(residuals)}."
        )
    if residuals == "standard errors" and any(len(each.samples) < 2 for each in both):
        raise ValueError(
            'Argument `residuals` must be "relative" or None for a simulation of one run, which '
            f"has no standard error, but is {quoted(residuals)}."
        )
    if ax is not None and ax.get_subplotspec() is None:
        raise ValueError(
            "Argument `ax` must be in a grid, as those of plt.subplots() are, to be drawn with "
            f"residuals, but is {quoted(ax)}."
        )


def _draw_residuals(ax: Axes, curves: list[_Curve], kind: str) -> None:
    """Residuals of all that have both, in the panel below."""
    below = panel_below(ax, kind)
    for curve in curves:
        if curve.theory is not None and curve.simulation is not None:
            at = curve.simulation.times
            off = residuals_of(kind, curve.theory.times, curve.values, at, curve.samples)
            look = {name: curve.look[name] for name in ("color", "marker")}
            below.errorbar(at, *off, **MARKERS_OF_MEANS | look)


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
