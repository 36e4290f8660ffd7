"""Every figure of the paper, theory and simulation computed afresh and drawn over each other.

    python paper_figs.py                    all figures, as published
    python paper_figs.py --quick            all figures, on small networks
    python paper_figs.py --list             their names
    python paper_figs.py --only alignment   one of them

Each figure is written as PDF and PNG with its data beside it (.npz), and ``manifest.json`` says
what made the data: parameters, seed, tolerances, versions, commit, and the seconds that it took
(figures that share curves share their time: the first one has it).  Data whose parameters and code
are unchanged is drawn again, not computed again.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from scipy.optimize import minimize, minimize_scalar
from tqdm import tqdm

import simulations
from figures import (
    add_key,
    paper_style,
    plot_band,
    plot_distribution,
    plot_finite_size,
    plot_fluctuation_band,
    plot_height,
    plot_order_parameter,
    plot_overlay,
    plot_phase_diagram,
    plot_plateau_lengths,
    plot_quantiles,
    plot_scan,
    plot_schedule,
    shared_norm,
    variants,
)
from figures.style import ANGLE_LABEL, ERROR_LABEL, NEUTRAL, rule_label
from odes import (
    RULES,
    Fluctuations,
    OrderParameters,
    PiecewiseConstant,
    Teacher,
    Trajectory,
    feedback_angle,
    generalization_error,
    plateau_interval,
    solve,
    solve_paths,
    sweep,
    symmetric_plateau,
)
from odes import optimal_schedule as optimise
from odes.common.order_parameters import FactoredOrderParameters, state_of
from odes.common.store import atomic, load_arrays, save_arrays, versions
from simulations import network_with_overlaps, sample_network, simulate, simulate_chain

ROOT = Path(__file__).parent
TOLERANCES: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-10}

Curves = dict[str, Trajectory]  # "theory/afa", "simulation/afa", ...
Data = dict[str, Any]  # Trajectories or Datasets, by such names


class PaperFigure(NamedTuple):
    """How a figure is computed and drawn, and its parameters in quick and in full form."""

    compute: Callable[..., Data]
    draw: Callable[[Data], Figure]
    quick: dict[str, Any]
    full: dict[str, Any]


FIGURES: dict[str, PaperFigure] = {}

LAYOUT = "layout"  # of a Dataset, beside its arrays
SCATTER = "fluctuations."  # before the arrays of these, beside those of their Trajectory


def paper_figure(draw: Callable[[Data], Figure], *, quick: dict, full: dict) -> Callable:
    """Decorator that registers a function computing the data of the figure of its name."""

    def register(compute: Callable[..., Data]) -> Callable[..., Data]:
        FIGURES[compute.__name__] = PaperFigure(compute, draw, quick, full)
        return compute

    return register


@cache
def theory_and_simulation(
    rule: str,
    *,
    N: int,
    K: int,
    M: int,
    v_star: tuple[float, ...],
    feedback_scale: float,
    lr: float,
    lr_v: float,
    t_max: float,
    n_runs: int,
    seed: int,
    misclassification: bool = False,
) -> Curves:
    """A rule on a network with aligned F, drawn from the seed, and its theory.

    F is aligned, so that the equations hold at any learning rate: with a random F, B would diffuse,
    and the ordinary differential equation would be the wrong theory.  Its overlap S with the
    teacher is v_star; FA's fixed feedback is the one that AFA and PEPITA start from.  The teacher's
    units count unequally; were they equal, each run would specialise in a way of its own, which no
    mean over runs shows.
    """
    network = sample_network(N=N, K=K, M=M, v_star=v_star, feedback_scale=feedback_scale, seed=seed)
    training: dict[str, Any] = {"rule": rule, "lr": lr, "lr_v": lr_v}
    initial, teacher = network.overlaps(rule)
    times = np.geomspace(0.1, t_max, 200)
    theory = solve(
        initial, teacher, times=times, misclassification=misclassification, **TOLERANCES, **training
    )
    simulation = simulate(
        network, times=np.geomspace(0.1, t_max, 17), n_runs=n_runs, seed=seed, **training
    )
    return {f"theory/{rule}": theory, f"simulation/{rule}": simulation}


NETWORK: dict[str, Any] = {"K": 2, "M": 2, "v_star": (1.2, 0.6)}
QUICK: dict[str, Any] = {**NETWORK, "N": 250, "n_runs": 4}
FULL: dict[str, Any] = {**NETWORK, "N": 2000, "n_runs": 6}
ONE_NETWORK: dict[str, Any] = {"feedback_scale": 1.0, "lr": 0.5, "lr_v": 0.5, "t_max": 300.0}


def gather(rules: tuple[str, ...], parameters: dict[str, Any]) -> Curves:
    """The curves of several rules."""
    curves: Curves = {}
    for rule in tqdm(rules, disable=None, leave=False):
        curves |= theory_and_simulation(rule, **parameters)
    return curves


def rules_of(curves: Curves) -> dict[str, tuple[Trajectory, Trajectory]]:
    """(theory, simulation) of each rule."""
    rules = dict.fromkeys(key.split("/")[1] for key in curves)
    return {rule: (curves[f"theory/{rule}"], curves[f"simulation/{rule}"]) for rule in rules}


def draw_learning_curves(curves: Curves) -> Figure:
    figure, ax = plt.subplots()
    for rule, (theory, simulation) in rules_of(curves).items():
        plot_overlay(theory, simulation, rule=rule, ax=ax)
    add_key(ax, loc="lower left")
    return figure


@paper_figure(draw_learning_curves, quick=QUICK | ONE_NETWORK, full=FULL | ONE_NETWORK)
def learning_curves(**parameters: Any) -> Curves:
    """Generalisation error of BP, FA, AFA and PEPITA from one initial network."""
    return gather(("bp", "fa", "afa", "pepita"), parameters)


def draw_order_parameters(curves: Curves) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(3.4, 4.0), sharex=True)
    for name, ax in zip(("Q", "R", "v", "B"), axes.flat, strict=True):
        plot_order_parameter(
            curves["theory/afa"], curves["simulation/afa"], name=name, rule="afa", ax=ax
        )
    for ax in axes[0]:
        ax.set_xlabel("")
    return figure


@paper_figure(draw_order_parameters, quick=QUICK | ONE_NETWORK, full=FULL | ONE_NETWORK)
def order_parameters(**parameters: Any) -> Curves:
    """Every order parameter of AFA."""
    return gather(("afa",), parameters)


def draw_alignment(curves: Curves) -> Figure:
    figure, (above, below) = plt.subplots(2, 1, figsize=(3.4, 4.2), sharex=True)
    for rule, (theory, simulation) in rules_of(curves).items():
        plot_overlay(theory, simulation, observable=angle, rule=rule, ax=above)
        plot_overlay(theory, simulation, rule=rule, ax=below)
    above.set(ylabel=ANGLE_LABEL, xlabel="", ylim=(-6, 180), yticks=(0, 45, 90, 135, 180))
    add_key(above)
    return figure


def angle(trajectory: Trajectory) -> np.ndarray:
    return feedback_angle(trajectory.order_parameters)


@paper_figure(draw_alignment, quick=QUICK | ONE_NETWORK, full=FULL | ONE_NETWORK)
def alignment(**parameters: Any) -> Curves:
    """Align, then memorise: the angle of B and v, and the generalisation error.

    In FA the readout turns towards the fixed B; in AFA both move.  The angle has fallen from 148 to
    20 degrees or less by t = 10, and the error goes on falling long after.
    """
    return gather(("fa", "afa"), parameters)


def draw_pepita_versus_afa(curves: Curves) -> Figure:
    scales = sorted({float(key.rsplit("/", 1)[1]) for key in curves}, reverse=True)
    figure, axes = plt.subplots(1, len(scales), figsize=(7.0, 2.6), sharey=True)
    for scale, ax in zip(scales, axes, strict=True):
        for rule in ("afa", "pepita"):
            ends = (curves[f"{kind}/{rule}/{scale}"] for kind in ("theory", "simulation"))
            plot_overlay(*ends, rule=rule, ax=ax)
        ax.set_title(f"feedback scale {scale:g}")
        if ax is not axes[0]:
            ax.set_ylabel("")
    add_key(axes[-1], loc="lower left")
    return figure


SCALES: dict[str, Any] = {
    "scales": (1.0, 0.3, 0.1), "lr_times_scale": 0.3, "lr_v": 0.3, "t_max": 100.0,
}  # fmt: skip


@paper_figure(draw_pepita_versus_afa, quick=QUICK | SCALES, full=FULL | SCALES)
def pepita_versus_afa(
    *, scales: tuple[float, ...], lr_times_scale: float, **parameters: Any
) -> Curves:
    """PEPITA and AFA at three feedback scales: the gap between them closes as the scale shrinks.

    Learning rate times scale is the same in all panels, as is the learning rate of the readout, and
    so the theory of AFA is.
    """
    curves: Curves = {}
    for scale in scales:
        scaled = {"feedback_scale": scale, "lr": lr_times_scale / scale, **parameters}
        for name, curve in gather(("afa", "pepita"), scaled).items():
            curves[f"{name}/{scale}"] = curve
    return curves


VARIANTS = {**ONE_NETWORK, "feedback_scale": 0.4, "t_max": 100.0}


@paper_figure(draw_learning_curves, quick=QUICK | VARIANTS, full=FULL | VARIANTS)
def pepita_variants(**parameters: Any) -> Curves:
    """PEPITA with presynaptic x, as published, Hebbian and time-local."""
    return gather(("pepita", "pepita-modulated", "pepita-hebbian", "pepita-tl"), parameters)


LEARNED = {**VARIANTS, "t_max": 300.0}


@paper_figure(draw_alignment, quick=QUICK | LEARNED, full=FULL | LEARNED)
def mirroring(**parameters: Any) -> Curves:
    """FA and PEPITA with and without weight mirrors: the angle of B and v, and the error.

    The mirrors run beside learning.  They turn the feedback towards the readout from the start,
    where learning alone has to turn the readout towards the feedback.
    """
    return gather(("fa", "fa-mirror", "pepita", "pepita-mirror"), parameters)


FAMILIES = {
    "feedback weights": (
        "bp", "fa", "sign-symmetry", "sign-random", "kolen-pollack", "fa-mirror", "dtp"
    ),
    "top-down feedback": (
        "bp", "afa", "afa-mirror", "pepita", "pepita-modulated", "pepita-hebbian", "pepita-tl",
        "pepita-mirror",
    ),
    "Forward-Forward": ("bp", "ff", "ff-symba", "ff-topdown"),
}  # fmt: skip
"""The columns of :func:`rules_compared`; BP is in each for comparison."""


def draw_rules_compared(curves: Curves) -> Figure:
    figure, axes = plt.subplots(3, 3, figsize=(7.0, 7.0), sharex=True, sharey="row")
    found = rules_of(curves)
    for (family, rules), (errors, signs, angles) in zip(FAMILIES.items(), axes.T, strict=True):
        for rule in filter(found.get, rules):
            both = found[rule]
            if not RULES[rule].classifies:
                plot_overlay(*both, rule=rule, ax=errors)
            plot_overlay(*both, rule=rule, observable=misclassification, ax=signs)
            if both[0].order_parameters.B is not None:
                plot_overlay(*both, rule=rule, observable=angle, ax=angles)
        errors.set_title(family)
        add_key(angles, of=signs, loc="upper left", bbox_to_anchor=(0, -0.28))
    for ax in axes[:2].flat:
        ax.set_xlabel("")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5)
    axes[1, 0].set(ylabel="share of wrong signs", yscale="log", yticks=ticks, yticklabels=ticks)
    axes[1, 0].yaxis.set_minor_formatter("")
    axes[2, 0].set(ylabel=ANGLE_LABEL, ylim=(-6, 180), yticks=(0, 45, 90, 135, 180))
    return figure


def misclassification(trajectory: Trajectory) -> Any:
    return trajectory.misclassification


ALL_RULES: dict[str, Any] = {
    **VARIANTS, "rules": tuple(dict.fromkeys(rule for rules in FAMILIES.values() for rule in rules))
}  # fmt: skip


@paper_figure(draw_rules_compared, quick=QUICK | ALL_RULES, full=FULL | ALL_RULES)
def rules_compared(*, rules: tuple[str, ...], **parameters: Any) -> Curves:
    """Learning curves of every rule from one initial network.

    Generalisation error, share of wrong signs, which is all that Forward-Forward can be judged by,
    and angle of the feedback B and the readout v.
    """
    return gather(rules, {**parameters, "misclassification": True})


def draw_random_feedback(curves: Curves) -> Figure:
    rates = sorted({float(key.rsplit("/", 1)[1]) for key in curves})
    figure, axes = plt.subplots(1, len(rates), figsize=(7.0, 2.8), sharey=True)
    for lr, ax in zip(rates, axes, strict=True):
        ode, paths, simulation = (
            curves[f"{kind}/{lr}"] for kind in ("theory/ode", "theory/sde", "simulation/afa")
        )
        plot_overlay(ode, ax=ax, linestyle="--", label="ordinary equation, B(0) alone")
        plot_band(paths, simulation, rule="afa", label="Ito equation, mean and 80%", ax=ax)
        ax.set_title(f"learning rate {lr:g}")
    axes[1].set_ylabel("")
    axes[0].legend(loc="lower left")
    return figure


RATES: dict[str, Any] = {"rates": (0.1, 0.8), "lr_times_t_max": 16.0}


@paper_figure(
    draw_random_feedback,
    quick={**QUICK, **RATES, "n_runs": 32, "n_paths": 64},
    full={**FULL, **RATES, "N": 1000, "n_runs": 64, "n_paths": 512},
)
def random_feedback(
    *,
    rates: tuple[float, ...],
    lr_times_t_max: float,
    n_runs: int,
    n_paths: int,
    seed: int,
    **sizes: Any,
) -> Curves:
    """AFA with a random F: B diffuses, which the ordinary equation misses at a large learning rate.

    Markers: mean over runs of one network, which differ in their data; ticks: 10 and 90 per cent.
    """
    network = sample_network(feedback="random", seed=seed, **sizes)
    initial, teacher = network.overlaps("afa")
    curves: Curves = {}
    for lr in tqdm(rates, disable=None, leave=False):
        t_max = lr_times_t_max / lr
        training: dict[str, Any] = {"rule": "afa", "lr": lr}
        times = np.geomspace(t_max / 200, t_max, 60)
        curves[f"theory/ode/{lr}"] = solve(initial, teacher, times=times, **TOLERANCES, **training)
        curves[f"theory/sde/{lr}"] = solve_paths(
            initial, teacher, times=times, n_paths=n_paths, seed=seed, dt=0.01 / lr, **training
        )
        curves[f"simulation/afa/{lr}"] = simulate(
            network, times=times[::5], n_runs=n_runs, seed=seed, **training
        )
    return curves


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
    quick={**QUICK, **PHASES, "n": 40, "n_spots": (4, 3), "n_runs": 1},
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
    add_key(ax)
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


def draw_finite_size(data: Data) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.8), sharex=True)
    for rule, each in data.items():
        plot_finite_size(each, observable="difference", rule=rule, ax=axes[0])
        plot_finite_size(each, observable="spread", rule=rule, ax=axes[1])
    axes[0].set_ylabel(r"$|\,$mean of the runs $-$ theory$\,|$")
    axes[1].set_ylabel(r"standard deviation of $\epsilon_g$")
    axes[0].plot([], [], color=NEUTRAL, ls="--", lw=0.8, label="expected standard error")
    axes[0].legend()
    add_key(axes[1])
    return figure


SIZES: dict[str, Any] = {
    **NETWORK, "rules": ("bp", "afa"), "feedback_scale": 1.0, "lr": 1.0, "t": 4.0, "N_min": 100
}  # fmt: skip


@paper_figure(
    draw_finite_size,
    quick={**SIZES, "N_max": 10_000, "n_sizes": 4, "n_runs": (100, 4000), "steps": 1e7},
    full={**SIZES, "N_max": 1_000_000, "n_sizes": 9, "n_runs": (100, 20_000), "steps": 5e7},
)
def finite_size(
    *,
    rules: tuple[str, ...],
    feedback_scale: float,
    lr: float,
    t: float,
    N_min: int,
    N_max: int,
    n_sizes: int,
    n_runs: tuple[int, int],
    steps: float,
    seed: int,
    **sizes: Any,
) -> Data:
    """Mean and spread of the generalisation error over runs against N, from the same overlaps.

    Lines: the linear-noise approximation, and to the next order the bias, which falls as 1/N.
    Dashed: what sampling leaves between a mean over so many runs and its expectation.  As many runs
    as take so many steps in all.  Errors are those of the overlaps of each network.
    """
    network = sample_network(N=N_max, feedback_scale=feedback_scale, seed=seed, **sizes)
    Ns = np.rint(np.geomspace(N_min, N_max, n_sizes)).astype(int)
    counts = np.clip(steps / (t * Ns), *n_runs).astype(int)
    data: Data = {}
    for rule in rules:
        initial, teacher = network.overlaps(rule)
        training: dict[str, Any] = {"rule": rule, "lr": lr, "times": [t]}
        theory = solve(initial, teacher, fluctuations=True, **TOLERANCES, **training)
        scatter = theory.fluctuations
        assert scatter is not None
        assert scatter.bias is not None
        measured = []
        for N, count in tqdm(list(zip(Ns, counts, strict=True)), disable=None, leave=False):
            runs = simulate_chain(
                network_with_overlaps(initial, teacher, N=int(N), seed=seed),
                n_runs=int(count), n_test=1, seed=seed, **training,
            )  # fmt: skip
            errors = generalization_error(runs.order_parameters, teacher)[:, 0]
            measured.append((errors.mean() - theory.generalization_error[0], errors.std(ddof=1)))
        difference, spread = np.array(measured).T
        std = scatter.std(Ns)
        columns = {
            "difference": abs(difference),
            "spread": spread,
            "difference_error": spread / np.sqrt(counts),
            "spread_error": spread / np.sqrt(2 * counts),
            "difference_predicted": abs(scatter.bias[0]) / Ns,
            "difference_sampled": std / np.sqrt(counts),
            "spread_predicted": std,
        }
        variables = {name: ("N", each) for name, each in columns.items()}
        data[rule] = xarray.Dataset(variables, {"N": Ns})
    return data


def draw_fluctuation_band(data: Data) -> Figure:
    rules = [name.split("/")[1] for name in data if name.startswith("theory/")]
    figure, axes = plt.subplots(
        2, len(rules), figsize=(7.0, 3.6), sharex=True, sharey="row", height_ratios=(3, 2),
        squeeze=False,
    )  # fmt: skip
    for rule, (above, below) in zip(rules, axes.T, strict=True):
        theory, simulation = data[f"theory/{rule}"], data[f"simulation/{rule}"]
        for ax, relative in ((above, False), (below, True)):
            plot_fluctuation_band(
                theory, simulation, N=data["N"].N.item(), relative=relative, rule=rule, ax=ax
            )
        above.set_xlabel("")
        above.legend(loc="lower left")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    return figure


def from_overlaps(runs: Trajectory, teacher: Teacher) -> Trajectory:
    """The runs with the errors of their overlaps, free of the noise of test inputs."""
    errors = generalization_error(runs.order_parameters, teacher)
    return runs._replace(generalization_error=errors, averages="closed forms")


BAND: dict[str, Any] = {
    **NETWORK, "rules": ("bp", "afa"), "N": 500, "n_runs": 20, "lr": 1.0, "t_max": 50.0
}  # fmt: skip


@paper_figure(draw_fluctuation_band, quick=BAND, full=BAND)
def fluctuation_band(
    *, rules: tuple[str, ...], lr: float, t_max: float, n_runs: int, seed: int, **sizes: Any
) -> Data:
    """Twenty networks of 500 inputs in the band that the linear-noise approximation predicts.

    Below: in units of the error of the theory.  The errors of the runs are those of their overlaps.
    """
    network = sample_network(seed=seed, **sizes)
    data: Data = {"N": xarray.Dataset(coords={"N": sizes["N"]})}
    for rule in rules:
        initial, teacher = network.overlaps(rule)
        training: dict[str, Any] = {"rule": rule, "lr": lr}
        data[f"theory/{rule}"] = solve(
            initial, teacher, times=np.geomspace(0.1, t_max, 100), fluctuations=True,
            **TOLERANCES, **training,
        )  # fmt: skip
        runs = simulate(
            network, times=np.geomspace(0.1, t_max, 100)[::4], n_runs=n_runs, seed=seed, n_test=1,
            **training,
        )  # fmt: skip
        data[f"simulation/{rule}"] = from_overlaps(runs, teacher)
    return data


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
    left.set(xscale="linear", xlabel=r"learning rate $\times$ $t$", ylim=(3e-3, None))
    right.set_ylabel(r"learning rate $\times$ length of the plateau")
    for ax in (left, right):
        ax.plot([], [], color=NEUTRAL, ls="--", lw=0.8, label="prediction")
        add_key(ax)
    return figure


def length_of_plateau(trajectory: Trajectory, height: float) -> Any:
    begin, end = plateau_interval(trajectory, height)
    return end - begin


PLATEAU: dict[str, Any] = {
    "K": 3, "rates": (0.1, 0.5, 1.0), "asymmetry": 0.05, "asymmetries": (1e-8, 0.1), "span": 100.0
}  # fmt: skip


@paper_figure(
    draw_plateau,
    quick={**PLATEAU, "n": 8, "spots": (0.1,), "N": 1000, "n_runs": 8},
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
    add_key(left, loc="lower right")
    return figure


DEGENERATE: dict[str, Any] = {
    "K": 2, "M": 2, "student_scale": 1.0, "lr": 1.5, "t_max": 1000.0
}  # fmt: skip


@paper_figure(
    draw_degeneracy_breaking,
    quick={**DEGENERATE, "N": 100, "n_networks": 10},
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
    add_key(right)
    return figure


ANNEALED: dict[str, Any] = {
    **NETWORK, "student_scale": 0.2, "noise": 0.5, "t": 200.0, "n_pieces": 10
}  # fmt: skip


@paper_figure(
    draw_optimal_schedule,
    quick={**ANNEALED, "N": 500, "n_runs": 16},
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


SHARED = (gather, theory_and_simulation, from_overlaps, length_of_plateau)
"""What computing functions call, besides the packages."""


def fingerprint(figure: PaperFigure, parameters: dict[str, Any]) -> str:
    """Changes with parameters, packages and computing code, but not with drawing code."""
    sources = [
        path.read_text()
        for d in ("odes", "simulations")
        for path in sorted((ROOT / d).rglob("*.py"))
    ]
    sources += [inspect.getsource(f) for f in (figure.compute, *SHARED)]
    origin = json.dumps([parameters, TOLERANCES, versions(), sources])
    return hashlib.sha256(origin.encode()).hexdigest()


def flat(each: Trajectory | Fluctuations) -> dict[str, Any]:
    """The fields, those of the order parameters among them."""
    parts = {**each._asdict(), **each.order_parameters._asdict()}
    del parts["order_parameters"]
    return parts


def states_in(parts: dict[str, Any], prefix: str = "") -> OrderParameters:
    """The order parameters that :func:`flat` put among other fields."""
    names = FactoredOrderParameters._fields
    return state_of({name: parts.get(prefix + name) for name in names})


def save_data(path: Path, data: Data, **origin: Any) -> None:
    """Data as an .npz of plain arrays named like "theory/afa/Q", with what made them."""
    arrays: dict[str, Any] = dict(origin)
    parts: dict[Any, Any]
    for name, each in data.items():
        if isinstance(each, xarray.Dataset):
            arrays[f"{name}/{LAYOUT}"] = json.dumps(each.to_dict(data=False))
            parts = {key: variable.values for key, variable in each.variables.items()}
        else:
            parts = flat(each)
            scatter = parts.pop("fluctuations")
            if scatter is not None:
                parts |= {f"{SCATTER}{key}": part for key, part in flat(scatter).items()}
        arrays |= {f"{name}/{key}": part for key, part in parts.items() if part is not None}
    save_arrays(path, arrays)


def load_data(path: Path) -> tuple[Data, dict[str, Any]] | None:
    """Data and origin as :func:`save_data` wrote them; None if missing or damaged."""
    arrays: dict[str, Any] | None = load_arrays(path)
    if arrays is None:
        return None
    origin = {key: arrays.pop(key).item() for key in list(arrays) if "/" not in key}
    data: Data = {}
    for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in arrays):
        parts = {k.rsplit("/", 1)[1]: a for k, a in arrays.items() if k.rsplit("/", 1)[0] == name}
        if LAYOUT in parts:
            layout = json.loads(str(parts.pop(LAYOUT)))
            for kind in ("coords", "data_vars"):
                for key, description in layout[kind].items():
                    description["data"] = parts[key]
            data[name] = xarray.Dataset.from_dict(layout)
        else:
            error, scatter = "generalization_error", None
            if SCATTER + error in parts:
                scatter = Fluctuations(
                    parts[SCATTER + "covariance"],
                    states_in(parts, SCATTER),
                    parts[SCATTER + error],
                    parts.get(SCATTER + "bias"),
                )
            data[name] = Trajectory(
                parts["times"], states_in(parts), parts[error], parts["status"], scatter,
                parts.get("misclassification"),
                *(parts[key].item() if key in parts else None for key in ("averages", "stopped")),
            )  # fmt: skip
    return data, origin


def commit() -> str | None:
    """The commit of the code, with "-dirty" for a changed tree; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def make(name: str, parameters: dict[str, Any], out: Path, force: bool) -> dict[str, Any]:
    """Compute or reload, draw and write one figure; returns its entry in the manifest."""
    figure = FIGURES[name]
    wanted = fingerprint(figure, parameters)
    data = out / f"{name}.npz"
    stored = None if force else load_data(data)
    if stored is None or stored[1].get("fingerprint") != wanted:
        start = time.perf_counter()
        curves = figure.compute(**parameters)
        origin = {
            "fingerprint": wanted,
            "seconds": round(time.perf_counter() - start, 2),
            "commit": str(commit()),
            "versions": json.dumps(versions("matplotlib", "xarray")),
        }
        save_data(data, curves, **origin)
    else:
        curves, origin = stored
    with paper_style():
        drawn = figure.draw(curves)
        for suffix in (".pdf", ".png"):
            with atomic(out / f"{name}{suffix}") as beside:
                drawn.savefig(beside, metadata={"CreationDate": None} if suffix == ".pdf" else None)
        plt.close(drawn)
    return {
        "parameters": parameters,
        "tolerances": TOLERANCES,
        **origin,
        "versions": json.loads(str(origin["versions"])),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the number of figures that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="list the figures and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="draw these figures alone")
    parser.add_argument("--quick", action="store_true", help="small networks, for a first look")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="default: out")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of networks and data")
    parser.add_argument("--force", action="store_true", help="compute even what is unchanged")
    options = parser.parse_args(arguments)
    if options.list:
        for name, figure in FIGURES.items():
            print(f"{name:20s} {(figure.compute.__doc__ or '').splitlines()[0]}")
        return 0
    names = options.only or list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}; known are {', '.join(FIGURES)}")
    if options.seed < 0:
        parser.error(f"argument --seed must be >= 0, but is {options.seed}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out must be a folder that can be written: {error}")

    manifest_path = options.out / "manifest.json"
    try:
        entries = dict(json.loads(manifest_path.read_text())["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        entries = {}
    failed = 0
    for name in tqdm(names, unit="figure", disable=None):
        figure = FIGURES[name]
        parameters = {**(figure.quick if options.quick else figure.full), "seed": options.seed}
        try:
            entries[name] = make(name, parameters, options.out, options.force)
        except Exception:  # one figure's failure, whatever it is, must not lose the others
            failed += 1
            print(f"{name} failed:\n{traceback.format_exc()}", file=sys.stderr)
            continue
        print(f"{options.out / name}.pdf, .png, .npz")
        with atomic(manifest_path) as beside:
            beside.write_text(json.dumps({"figures": entries}, indent=2) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
