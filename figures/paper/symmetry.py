"""The symmetric plateau, and which of the equal solutions a student finds."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from tqdm import tqdm

from figures import (
    add_legend,
    plot_distribution,
    plot_height,
    plot_overlay,
    plot_plateau_lengths,
    plot_quantiles,
    variants,
)
from figures.paper.registry import (
    Data,
    from_overlaps,
    length_of_plateau,
    paper_figure,
)
from figures.style import ANGLE_LABEL, NEUTRAL
from odes import (
    OrderParameters,
    Teacher,
    feedback_angle,
    solve,
    symmetric_plateau,
)
from simulations import network_with_overlaps, sample_network, simulate, simulate_chain


def draw_plateau(data: Data) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.8))
    rates = [name.split("/")[1] for name in data if name.startswith("theory/")]
    for lr, look in zip(rates, variants("bp", len(rates)), strict=True):
        look["linestyle"] = "-"
        theory, simulation = (
            each._replace(times=float(lr) * each.times)
            for each in (data[f"theory/{lr}"], data[f"simulation/{lr}"])
        )
        plot_overlay(theory, simulation, label=rf"$\eta$ = {lr}", ax=left, **look)
        lengths = data[f"lengths/{lr}"]
        plot_height(lengths.height.item(), 2, theory.times[-1], color=look["color"], ax=left)
        plot_plateau_lengths(lengths, label=rf"$\eta$ = {lr}", ax=right, **look)
    left.set(xscale="linear", xlabel=r"$\eta\,t$", ylim=(3e-3, None))
    right.set_ylabel(r"$\eta$ $\times$ length of the plateau")
    left.plot([], [], color=NEUTRAL, ls="--", lw=0.8, label="prediction")
    add_legend(left, outside=True)
    return figure


PLATEAU: dict[str, Any] = {
    "K": 3, "rates": (0.1, 0.5, 1.0), "asymmetry": 0.05, "asymmetries": (1e-8, 0.1), "span": 100.0
}  # fmt: skip


@paper_figure(
    draw_plateau,
    quick={**PLATEAU, "n": 5, "spots": (0.1,), "N": 1000, "n_runs": 8},
    full={**PLATEAU, "n": 15, "spots": (0.02, 0.05, 0.1), "N": 20_000, "n_runs": 16},
)
def plateau(
    *,
    K: int,
    rates: tuple[float, ...],
    asymmetry: float,
    asymmetries: tuple[float, float],
    span: float,
    n: int,
    spots: tuple[float, ...],
    N: int,
    n_runs: int,
    seed: int,
) -> Data:
    """The symmetric plateau of BP at finite learning rates: its height, and how long it lasts.

    Three units learn from three, with frozen readouts.  Dashed: the fixed point's error, and the
    slope that its escape rate gives to the length as a function of how much the student differs
    between the teacher's units at the start.
    """
    data: Data = {}

    def start(asymmetry: float) -> tuple[OrderParameters, Teacher]:
        ones = np.ones((K, 1))
        student = OrderParameters(0.25 * np.eye(K), asymmetry * np.eye(K), ones)
        return student, Teacher(np.eye(K), ones)

    scan = np.union1d(np.geomspace(*asymmetries, n), spots)
    for lr in tqdm(rates, disable=None, leave=False):
        training: dict[str, Any] = {"rule": "bp", "lr": lr, "lr_v": 0.0}
        found = symmetric_plateau(*start(asymmetry), **training)
        height = found.generalization_error
        times = np.linspace(0, 10 * span / lr, 4000)
        courses = [solve(*start(a), times=times, **training) for a in scan]
        lengths = np.array([length_of_plateau(course, height) for course in courses])
        predicted = lengths[0] - np.log(scan / scan[0]) / found.escape_rate
        simulated, error = np.full((2, scan.size), np.nan)
        for index in np.flatnonzero(np.isin(scan, spots)):
            network = network_with_overlaps(*start(scan[index]), N=N, seed=seed)
            runs = simulate_chain(
                network, times=np.linspace(0, span / lr, 100), n_runs=n_runs, seed=seed,
                n_test=1, **training,
            )  # fmt: skip
            of_runs = length_of_plateau(from_overlaps(runs, start(asymmetry)[1]), height)
            simulated[index] = np.mean(of_runs)
            error[index] = np.std(of_runs, ddof=1) / np.sqrt(n_runs)
        columns = {
            "length": lengths, "predicted": predicted, "simulated": simulated, "error": error
        }  # fmt: skip
        data[f"lengths/{lr}"] = xarray.Dataset(
            {name: ("asymmetry", lr * each) for name, each in columns.items()},
            {"asymmetry": scan, "height": height},
        )
        network = network_with_overlaps(*start(asymmetry), N=N, seed=seed)
        data[f"theory/{lr}"] = solve(
            *start(asymmetry), times=np.linspace(0, span / lr, 300), **training
        )
        runs = simulate_chain(
            network, times=np.linspace(0, span / lr, 16), n_runs=n_runs, seed=seed, n_test=1,
            **training,
        )  # fmt: skip
        data[f"simulation/{lr}"] = from_overlaps(runs, start(asymmetry)[1])
    return data


def draw_degeneracy_breaking(data: Data) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.8))
    theory, simulation = data["theory"], data["simulation"]
    for rule in theory.rule.values:
        reached = [each.to_start.sel(rule=rule).isel(time=-1) for each in (theory, simulation)]
        plot_distribution(*reached, rule=str(rule), ax=left)
        now = (each.to_feedback.sel(rule=rule) for each in (theory, simulation))
        plot_quantiles(*now, rule=str(rule), ax=right)
    plot_distribution(theory.smallest, label="smallest there is", linestyle=":", ax=left)
    degrees = {"ticks": (0, 45, 90, 135, 180)}
    left.set(xlabel=r"angle of final $v$ and initial $B$ (degrees)", xlim=(-6, 186))
    left.set_xticks(**degrees)
    right.set(ylabel=ANGLE_LABEL, ylim=(-6, 186))
    right.set_yticks(**degrees)
    add_legend(left, outside=True)
    return figure


DEGENERATE: dict[str, Any] = {
    "K": 2, "M": 2, "student_scale": 1.0, "lr": 1.5, "t_max": 1000.0
}  # fmt: skip


@paper_figure(
    draw_degeneracy_breaking,
    quick={**DEGENERATE, "N": 100, "n_networks": 6},
    full={**DEGENERATE, "N": 400, "n_networks": 64},
)
def degeneracy_breaking(
    *, n_networks: int, lr: float, t_max: float, seed: int, **sizes: Any
) -> Data:
    """Which of the solutions of equal error a student finds, over many initial networks.

    Erf units are odd, so that the signs of a unit's weights and of its readout may change together.
    BP ends in any of them; FA in the one whose readout points most along B; AFA in that, too, but
    its B moves, and ends up parallel to the readout.  The B that BP is measured against is one it
    never saw.
    """
    networks = [
        sample_network(seed=seed * n_networks + index, **sizes) for index in range(n_networks)
    ]
    times = np.geomspace(1.0, t_max, 13)
    training: dict[str, Any] = {"lr": lr, "times": times}
    rules = ("bp", "fa", "afa")
    shape = (len(rules), n_networks, times.size)
    angles = {kind: np.full((2, *shape), np.nan) for kind in ("theory", "simulation")}
    for index, network in enumerate(tqdm(networks, disable=None, leave=False)):
        for at, rule in enumerate(rules):
            runs = {
                "theory": solve(*network.overlaps(rule), rule=rule, **training),
                "simulation": simulate(
                    network, rule=rule, seed=seed + index, n_test=1, progress=False, **training
                ),
            }
            for kind, run in runs.items():
                states = run.order_parameters
                fixed = states._replace(B=network.B + 0 * states.v)
                angles[kind][0, at, index] = feedback_angle(fixed).reshape(-1)
                moving = fixed if states.B is None else states
                angles[kind][1, at, index] = feedback_angle(moving).reshape(-1)
    smallest = [
        np.degrees(np.arccos(np.sum(abs(net.B)) / (np.linalg.norm(net.B) * net.B.size**0.5)))
        for net in networks
    ]
    data: Data = {}
    for kind, (to_start, to_feedback) in angles.items():
        dims = ("rule", "network", "time")
        data[kind] = xarray.Dataset(
            {"to_start": (dims, to_start), "to_feedback": (dims, to_feedback)},
            {"rule": list(rules), "time": times},
        )
    data["theory"]["smallest"] = ("network", smallest)
    return data
