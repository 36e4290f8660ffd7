"""Learning rates and feedback scales: phase diagrams and scans."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import simulations
from figures import (
    add_legend,
    plot_phase_diagram,
    plot_scan,
    shared_norm,
)
from figures.paper.registry import (
    FULL,
    QUICK,
    TOLERANCES,
    Data,
    paper_figure,
)
from figures.style import ERROR_LABEL, rule_label
from odes import (
    sweep,
)
from simulations import sample_network


def draw_phase_diagram(data: Data) -> Figure:
    theory, simulation = data["theory"], data["simulation"]
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.9), sharey=True)
    norm = shared_norm(theory)
    for rule, ax in zip(theory.rule.values, axes, strict=True):
        plot_phase_diagram(
            theory.sel(rule=rule),
            simulation.sel(rule=rule),
            level=theory.attrs["level"],
            norm=norm,
            ax=ax,
        )
        ax.set_title(rule_label(str(rule)))
    axes[1].set_ylabel("")
    label = f"{ERROR_LABEL} at $t$ = {theory.time.values[-1]:g}"
    bar = figure.colorbar(axes[0].collections[0], ax=axes, label=label, pad=0.02)
    bar.ax.axhline(theory.attrs["level"], color="white", lw=1)
    return figure


PHASES: dict[str, Any] = {"lrs": (0.05, 20.0), "scales": (0.1, 4.0), "t_max": 100.0, "level": 0.02}


@paper_figure(
    draw_phase_diagram,
    quick={**QUICK, **PHASES, "n": 30, "n_spots": (4, 3), "n_runs": 1},
    full={**FULL, **PHASES, "n": 120, "n_spots": (6, 5), "n_runs": 2, "N": 1000},
)
def phase_diagram(
    *,
    lrs: tuple[float, float],
    scales: tuple[float, float],
    t_max: float,
    level: float,
    n: int,
    n_spots: tuple[int, int],
    n_runs: int,
    seed: int,
    **sizes: Any,
) -> Data:
    """Final error of FA and AFA over learning rate and feedback scale.

    Between the white contours the error has fallen under a level at t_max; the upper one is where
    larger steps stop helping, in AFA a line of constant product of the two.  Circles: simulations,
    filled with the colour of their error.  Hatched: the equations diverge, and so do the networks
    at crosses.
    """
    network = sample_network(seed=seed, **sizes)
    shared: dict[str, Any] = {"rule": ["fa", "afa"], "times": [t_max]}
    theory = sweep(
        *network.overlaps("afa"),
        lr=np.geomspace(*lrs, n),
        feedback_scale=np.geomspace(*scales, n),
        progress=None,
        **TOLERANCES,
        **shared,
    )
    inside = [
        np.geomspace(low, high, 2 * count + 1)[1::2]
        for (low, high), count in zip((lrs, scales), n_spots, strict=True)
    ]
    simulation = simulations.sweep(
        network,
        lr=inside[0],
        feedback_scale=inside[1],
        n_runs=n_runs,
        seed=seed,
        progress=None,
        **shared,
    )
    return {"theory": theory.assign_attrs(level=level), "simulation": simulation}


def draw_learning_rate_scan(data: Data) -> Figure:
    figure, ax = plt.subplots()
    for rule in data["theory"].rule.values:
        plot_scan(*(each.sel(rule=rule) for each in data.values()), rule=str(rule), ax=ax)
    ax.set_ylabel(f"{ERROR_LABEL} at $t$ = {data['theory'].time.values[-1]:g}")
    add_legend(ax, outside=True)
    return figure


SCAN: dict[str, Any] = {"lrs": (0.03, 8.0), "t_max": 50.0, "feedback_scale": 1.0}


@paper_figure(
    draw_learning_rate_scan,
    quick={**QUICK, **SCAN, "n": 80, "n_spots": 7},
    full={**FULL, **SCAN, "n": 200, "n_spots": 13},
)
def learning_rate_scan(
    *,
    lrs: tuple[float, float],
    t_max: float,
    feedback_scale: float,
    n: int,
    n_spots: int,
    n_runs: int,
    seed: int,
    **sizes: Any,
) -> Data:
    """Generalisation error at a fixed time against the learning rate, for BP, FA and AFA."""
    network = sample_network(feedback_scale=feedback_scale, seed=seed, **sizes)
    shared: dict[str, Any] = {"rule": ["bp", "fa", "afa"], "times": [t_max], "progress": None}
    theory = sweep(*network.overlaps("afa"), lr=np.geomspace(*lrs, n), **TOLERANCES, **shared)
    simulation = simulations.sweep(
        network, lr=np.geomspace(*lrs, n_spots), n_runs=n_runs, seed=seed, **shared
    )
    return {"theory": theory, "simulation": simulation}
