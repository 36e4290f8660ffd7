"""The script that draws what the page shows, in terms of the public functions."""

from __future__ import annotations

from figures.explorer.choices import Choices, View
from figures.explorer.curves import EARLIEST, N_MEASURED, N_TIMES, training
from figures.explorer.views import Curves, Runs, axis_label, has

HEAD = """\
import matplotlib.pyplot as plt
import numpy as np

from figures import {drawing}
from odes import {theory}
from simulations import {networks}

network = sample_network(
    N={c.N}, K={c.K}, M={c.M}, feedback_scale={c.feedback_scale}, seed={c.seed}
)
training = {training}
theory, simulation = {{}}, {{}}
for rule in {rules}:
    initial, teacher = network.overlaps(rule)
    times = np.geomspace({first!r}, {c.t_max!r}, {n})
    theory[rule] = solve(initial, teacher, rule=rule, times=times, **training)
"""

SIMULATED = """\
for rule in {simulated}:
    samples = np.unique(np.ceil({c.N} * np.geomspace({first!r}, {c.t_max!r}, {n_measured})))
    simulation[rule] = simulate(
        network, rule=rule, times=samples / {c.N}, n_runs={c.n_runs}, seed={c.seed}, **training
    )
"""

DRAWN = {
    "generalisation error": """
with paper_style():
    fig, ax = plt.subplots()
    for rule in theory:
        plot_overlay(theory[rule], simulation.get(rule), rule=rule, ax=ax)
    add_legend(ax)
""",
    "order parameters": """
with paper_style():
    fig, axes = plt.subplots(1, len(theory), squeeze=False, figsize=(3.4 * len(theory), 2.8))
    for ax, rule in zip(axes[0], theory):
        plot_order_parameter(
            theory[rule], simulation.get(rule), name="{view.parameter}", rule=rule, ax=ax
        )
        ax.set_title(rule, loc="right")
""",
    "alignment": """

def of_feedback(trajectory):
    return feedback_angle(trajectory.order_parameters)


def of_update(trajectory):
    return update_angle(
        trajectory.order_parameters, teachers[rule], rule=rule, lr=training["lr"],
        noise=training["noise"], activation=training["activation"],
    )


teachers = {{rule: network.overlaps(rule)[1] for rule in theory}}
labels = {{"angle of B and v": of_feedback, "angle to the update of BP": of_update}}
with paper_style():
    fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.8))
    for ax, (label, angle) in zip(axes, labels.items()):
        for rule in theory:
            try:
                plot_overlay(
                    theory[rule], simulation.get(rule), observable=angle, rule=rule, ax=ax
                )
            except ValueError as error:  # a rule without this angle
                print(rule, error)
        ax.set(xscale="log", ylabel=f"{{label}} (degrees)")
    add_legend(axes[1])
""",
    "phase plane": """

def along(trajectory):
    return (
        {x},
        {y},
    )


with paper_style():
    fig, ax = plt.subplots()
    for rule in theory:
        (line,) = ax.plot(*along(theory[rule]), marker="s", markevery=[0], label=rule)
        if rule in simulation:
            means = [np.nanmean(each, axis=0) for each in along(simulation[rule])]
            ax.plot(*means, ls="", marker="o", mfc="white", color=line.get_color())
    ax.set(xlabel=r"{x_label}", ylabel=r"{y_label}"{scales})
    add_legend(ax)
""",
}
"""By view."""

SAVED = 'fig.savefig("explored.png", dpi=200)\n'

PLOTS = {
    "generalisation error": "add_legend, paper_style, plot_overlay",
    "order parameters": "paper_style, plot_order_parameter",
    "alignment": "add_legend, paper_style, plot_overlay",
    "phase plane": "add_legend, paper_style",
}


def script(choices: Choices, view: View, curves: Curves, runs: Runs) -> str:
    """A script that computes and draws the same and saves it; arguments as of ``picture``."""
    shown = {rule: each.trajectory for rule, each in curves.items()}
    if view.view == "order parameters":
        shown = {rule: each for rule, each in shown.items() if has(each, view.parameter)}
    if view.view == "phase plane":
        axes = view.x, view.y
        shown = {rule: e for rule, e in shown.items() if all(has(e, axis[0]) for axis in axes)}
    text = HEAD + (SIMULATED if runs else "") + DRAWN[view.view] + SAVED
    return text.format(
        c=choices,
        view=view,
        drawing=PLOTS[view.view],
        theory="feedback_angle, solve, update_angle" if view.view == "alignment" else "solve",
        networks="sample_network, simulate" if runs else "sample_network",
        training=training(choices),
        rules=tuple(shown),
        simulated=tuple(rule for rule in runs if rule in shown),
        first=EARLIEST * choices.t_max,
        n=N_TIMES,
        n_measured=N_MEASURED,
        x=_expression(view.x),
        y=_expression(view.y),
        x_label=axis_label(view.x),
        y_label=axis_label(view.y),
        scales="".join(f', {axis}scale="log"' for axis in "xy" if getattr(view, axis) == "error"),
    )


def _expression(quantity: str) -> str:
    """Python for a quantity along a trajectory."""
    if quantity == "error":
        return "trajectory.generalization_error"
    name, units = quantity.split("_")
    first, second = (int(unit) - 1 for unit in (units if len(units) == 2 else f"{units}1"))
    return f"trajectory.order_parameters.{name}[..., {first}, {second}]"
