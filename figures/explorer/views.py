"""The curves as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import add_legend, paper_style, plot_order_parameter, plot_overlay
from figures.explorer.choices import Choices, View
from figures.explorer.curves import Curve
from figures.overlay import mean_and_standard_error
from figures.style import ANGLE_LABEL, ERROR_LABEL, rule_color, rule_label, rule_line
from odes import Trajectory, feedback_angle, update_angle

Curves = Mapping[str, Curve]
Runs = Mapping[str, Trajectory]

LABELS = {
    "feedback": ANGLE_LABEL,
    "update": "angle to the update of BP (degrees)",
}


def picture(choices: Choices, view: View, curves: Curves, runs: Runs) -> tuple[Figure, list[str]]:
    """A figure of what is to be seen, and what of it there is not, in words.

    Args:
        choices, view: what was chosen.
        curves: theory by rule.
        runs: simulation by rule, of those that there are.
    """
    draw = {
        "generalisation error": _errors,
        "order parameters": _order_parameters,
        "alignment": _alignment,
        "phase plane": _phase_plane,
    }[view.view]
    with paper_style():
        return draw(choices, view, curves, runs)


def summary(curves: Curves, runs: Runs) -> list[dict[str, str]]:
    """How each rule ended and how it was averaged: rows of a table, by column."""
    rows = []
    for rule, (trajectory, _, seconds) in curves.items():
        row = {
            "rule": name_of(rule),
            "status": str(trajectory.status),
            "final error, theory": f"{trajectory.generalization_error[-1]:.4g}",
            "final error, simulation": "",
            "averages": str(trajectory.averages),
            "seconds of theory": f"{seconds:.2g}",
        }
        if rule in runs:
            mean, error = mean_and_standard_error(runs[rule].generalization_error[:, -1:])
            row["final error, simulation"] = f"{mean[0]:.4g}" + (
                f" ± {error[0]:.1g}" if error is not None else ""
            )
        rows.append(row)
    return rows


def panels(n: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels beside each other, up to two in a row."""
    columns = max(1, min(n, 2))
    rows = -(-max(n, 1) // columns)
    size = (5.4, 3.4) if n < 2 else (2.9 * columns + 0.4, 2.7 * rows)
    fig = Figure(figsize=size, dpi=150, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes[n:]:
        ax.remove()
    return fig, axes[:n]


def beside(ax: Axes, curves: Curves) -> None:
    """A legend on the right, where there are no curves."""
    if curves:
        add_legend(ax, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)


def _errors(choices: Choices, view: View, curves: Curves, runs: Runs) -> tuple[Figure, list[str]]:
    fig, (ax,) = panels(1)
    for rule, curve in curves.items():
        plot_overlay(curve.trajectory, runs.get(rule), rule=rule, ax=ax)
    beside(ax, curves)
    classify = [name_of(rule) for rule, each in curves.items() if classifies(each.trajectory)]
    notes = [f"The error of {name} is its share of wrong signs." for name in classify]
    return fig, notes


def classifies(trajectory: Trajectory) -> bool:
    """Whether the error is a share of wrong signs."""
    return trajectory.misclassification is not None


def name_of(rule: str) -> str:
    """The rule's name as legends have it."""
    return str(rule_label(rule))


def has(trajectory: Trajectory, name: str) -> bool:
    """Whether an order parameter of this name is among those of a trajectory, or the error is."""
    return name == "e" or getattr(trajectory.order_parameters, name) is not None


def _order_parameters(
    choices: Choices, view: View, curves: Curves, runs: Runs
) -> tuple[Figure, list[str]]:
    have = {rule: e for rule, e in curves.items() if has(e.trajectory, view.parameter)}
    fig, axes = panels(len(have))
    for ax, (rule, curve) in zip(axes, have.items(), strict=True):
        plot_order_parameter(
            curve.trajectory, runs.get(rule), name=view.parameter, rule=rule, ax=ax
        )
        ax.set_title(name_of(rule), loc="right")
    return fig, [
        f"{name_of(rule)} has no {view.parameter} of its own."
        for rule in curves
        if rule not in have
    ]


def angles(kind: str, choices: Choices, rule: str, curve: Curve) -> Callable[[Trajectory], Any]:
    """The observable of an alignment; ValueError from it where the rule has none."""
    if kind == "feedback":
        return lambda trajectory: feedback_angle(trajectory.order_parameters)
    return lambda trajectory: update_angle(
        trajectory.order_parameters, curve.teacher, rule=rule, lr=choices.lr,
        noise=choices.noise, activation=choices.activation,
    )  # fmt: skip


def _alignment(
    choices: Choices, view: View, curves: Curves, runs: Runs
) -> tuple[Figure, list[str]]:
    fig, axes = panels(2)
    notes = []
    for ax, (kind, label) in zip(axes, LABELS.items(), strict=True):
        for rule, curve in curves.items():
            observable = angles(kind, choices, rule, curve)
            try:
                plot_overlay(
                    curve.trajectory, runs.get(rule), observable=observable, rule=rule, ax=ax
                )
            except ValueError as error:
                notes.append(f"{name_of(rule)} has no {label.removesuffix(' (degrees)')}: {error}")
        ax.set(xscale="log", ylabel=label)
    beside(axes[1], curves)
    return fig, notes


def entry(trajectory: Trajectory, quantity: str) -> Any:
    """A quantity of :func:`figures.explorer.choices.quantities` along a trajectory."""
    if quantity == "error":
        return trajectory.generalization_error
    name, units = quantity.split("_")
    first, *second = (int(unit) - 1 for unit in units)
    return getattr(trajectory.order_parameters, name)[..., first, second[0] if second else 0]


def mean_of(runs: Any) -> Any:
    """The mean over runs, of those that are left."""
    return mean_and_standard_error(runs)[0]


def axis_label(quantity: str) -> str:
    """As formulas have it."""
    name, _, units = quantity.partition("_")
    return f"${name}_{{{units}}}$" if units else ERROR_LABEL


def _phase_plane(
    choices: Choices, view: View, curves: Curves, runs: Runs
) -> tuple[Figure, list[str]]:
    fig, (ax,) = panels(1)
    notes = []
    for rule, curve in curves.items():
        missing = [axis for axis in (view.x, view.y) if not has(curve.trajectory, axis[0])]
        if missing:
            notes.append(f"{name_of(rule)} has no {missing[0][0]} of its own.")
            continue
        x, y = (entry(curve.trajectory, axis) for axis in (view.x, view.y))
        color = rule_color(rule)
        look: dict[str, Any] = {
            "color": color,
            "ls": rule_line(rule),
            "marker": "s",
            "markevery": [0],
        }
        ax.plot(x, y, **look, label=name_of(rule))
        if rule in runs:
            x, y = (mean_of(entry(runs[rule], axis)) for axis in (view.x, view.y))
            ax.plot(x, y, ls="", marker="o", mfc="white", mew=0.8, color=color, zorder=3)
    ax.set(xlabel=axis_label(view.x), ylabel=axis_label(view.y))
    for quantity, scale in ((view.x, ax.set_xscale), (view.y, ax.set_yscale)):
        if quantity == "error":
            scale("log")
    beside(ax, curves)
    return fig, notes
