"""Order parameters, entry by entry, against time."""

from __future__ import annotations

from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures.checks import check_axes, check_rule, check_trajectory
from figures.overlay import plot_overlay
from figures.style import variants
from odes.common.checks import check_array, lookup, quoted
from odes.common.layers import by_layers
from odes.common.order_parameters import DIMENSIONS, SYMMETRIC, is_state
from odes.common.trajectory import Trajectory


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


def check_states(argument: str, trajectory: Trajectory) -> dict[str, Any]:
    """The order parameters that a Trajectory has, by name; ValueError if they are none."""
    states = trajectory.order_parameters
    if not is_state(states):
        raise ValueError(
            f"Argument `{argument}` must have order parameters, but has {quoted(states)}."
        )
    return {key: each for key, each in by_layers(states._asdict()).items() if each is not None}


def _shape_of_parameter(argument: str, trajectory: Trajectory, name: Any) -> tuple[int, int]:
    """Rows and columns of an order parameter; ValueError if the Trajectory has none."""
    shown = lookup("name", check_states(argument, trajectory), name)
    array = check_array(f"{argument}.{name}", shown, finite=False)
    leading = trajectory.generalization_error.shape
    matrices = array.ndim - len(leading) in (2, 3) and array.size > 0  # 3 for groups of inputs
    if not matrices or array.shape[: len(leading)] != leading:
        raise ValueError(
            f"Argument `{argument}` must have a matrix {name} for each error, of shape {leading}, "
            f"but has an array of shape {array.shape}."
        )
    return array.shape[-2:]
