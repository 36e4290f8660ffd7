"""Optimal schedules of learning rate and feedback scale: the least error at a given time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from scipy.optimize import minimize, minimize_scalar
from tqdm import tqdm

from figures import (
    add_legend,
    plot_overlay,
    plot_schedule,
    variants,
)
from figures.paper.registry import (
    NETWORK,
    Data,
    from_overlaps,
    paper_figure,
)
from odes import (
    PiecewiseConstant,
    solve,
)
from odes import optimal_schedule as optimise
from simulations import sample_network, simulate

PROTOCOLS = {
    "constant": "best constant",
    "annealed": r"best $\eta_0 / (1 + t / \tau)$",
    "lr": r"optimal $\eta(t)$",
    "both": r"optimal $\eta(t)$ and feedback scale",
}


def draw_optimal_schedule(data: Data) -> Figure:
    figure, axes = plt.subplots(
        2, 2, figsize=(7.0, 3.6), sharex=True, height_ratios=(3, 2), squeeze=False
    )
    (above, right), (below, lower) = axes
    looks = variants("afa", len(PROTOCOLS))
    for (name, label), look in zip(PROTOCOLS.items(), looks, strict=True):
        theory, simulation = data[f"theory/{name}"], data[f"simulation/{name}"]
        plot_overlay(theory, simulation, label=label, ax=right, **look)
        exact = np.interp(simulation.times, theory.times, theory.generalization_error)
        gap = simulation._replace(generalization_error=simulation.generalization_error / exact)
        plot_overlay(None, gap, ax=lower, **look)
        schedule = data[f"schedule/{name}"]
        for ax, parameter in ((above, "lr"), (below, "feedback_scale")):
            course = partial(np.interp, xp=schedule.time.values, fp=schedule[parameter].values)
            line = {"color": look["color"], "linestyle": look["linestyle"]}
            plot_schedule(course, t_max=float(schedule.time[-1]), name=parameter, ax=ax, **line)
    for ax in (right, lower):
        ax.set(xscale="linear")
    lower.set(yscale="linear", ylabel="simulation / theory")
    for ax in (above, right):
        ax.set_xlabel("")
    add_legend(right, outside=True)
    return figure


ANNEALED: dict[str, Any] = {
    **NETWORK, "student_scale": 0.2, "noise": 0.5, "t": 200.0, "n_pieces": 10
}  # fmt: skip


@paper_figure(
    draw_optimal_schedule,
    quick={**ANNEALED, "n_pieces": 5, "N": 250, "n_runs": 16},
    full={**ANNEALED, "N": 1000, "n_runs": 32},
)
def optimal_schedule(
    *, noise: float, t: float, n_pieces: int, n_runs: int, seed: int, **sizes: Any
) -> Data:
    """Learning rate and feedback scale of AFA as functions of time, tuned for the error at the end.

    A student with small weights learns from noisy labels: it has to leave a plateau, which wants
    large steps, and then to average over the noise, which wants small ones.
    """
    network = sample_network(seed=seed, **sizes)
    initial, teacher = network.overlaps("afa")
    training: dict[str, Any] = {"rule": "afa", "noise": noise}

    def annealed(logs: Any) -> Callable[[Any], Any]:
        lr, tau = np.exp(logs).tolist()
        return lambda t: lr / (1 + t / tau)

    def final(logs: Any) -> float:
        theory = solve(initial, teacher, lr=annealed(logs), times=[t], **training)
        return float(np.log(theory.generalization_error[0]))

    found = minimize(final, np.log([0.5, t / 2]), method="Nelder-Mead", options={"xatol": 1e-3})
    constant = minimize_scalar(lambda log: final([log, np.inf]), bounds=(-4.0, 0.0)).x
    edges = np.linspace(0, t, n_pieces + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    start = PiecewiseConstant(edges[1:-1], annealed(found.x)(middles))
    tuned: dict[str, Any] = {"t": t, "within": 10.0, **training}
    alone = optimise(initial, teacher, lr=start, **tuned).schedules
    ones = PiecewiseConstant(start.jumps, np.ones(n_pieces))
    both = optimise(initial, teacher, lr=alone["lr"], feedback_scale=ones, **tuned).schedules
    protocols = {
        "constant": {"lr": annealed([constant, np.inf])},
        "annealed": {"lr": annealed(found.x)},
        "lr": alone,
        "both": both,
    }  # fmt: skip
    data: Data = {}
    dense = np.linspace(0, t, 401)
    for name, schedules in tqdm(protocols.items(), disable=None, leave=False):
        courses = {"feedback_scale": lambda t: 1.0, **schedules}
        columns = {
            key: ("time", [float(each(s)) for s in dense.tolist()]) for key, each in courses.items()
        }
        data[f"schedule/{name}"] = xarray.Dataset(columns, {"time": dense})
        data[f"theory/{name}"] = solve(
            initial, teacher, times=np.linspace(t / 50, t, 148), **training, **schedules
        )
        runs = simulate(
            network, times=np.linspace(t / 10, t, 10), n_runs=n_runs, seed=seed, n_test=1,
            **training, **schedules,
        )  # fmt: skip
        data[f"simulation/{name}"] = from_overlaps(runs, teacher)
    return data
