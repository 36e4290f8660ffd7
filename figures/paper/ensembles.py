"""Many networks: random feedback, finite sizes, and the band of fluctuations."""

from __future__ import annotations

import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from tqdm import tqdm

from figures import (
    add_legend,
    plot_band,
    plot_finite_size,
    plot_fluctuation_band,
    plot_overlay,
)
from figures.legends import legend_above
from figures.paper.registry import (
    FULL,
    NETWORK,
    QUICK,
    TOLERANCES,
    Curves,
    Data,
    from_overlaps,
    paper_figure,
)
from figures.style import NEUTRAL, rule_label
from odes import (
    generalization_error,
    solve,
    solve_paths,
)
from simulations import network_with_overlaps, sample_network, simulate, simulate_chain


def draw_random_feedback(curves: Curves) -> Figure:
    rates = sorted({float(key.rsplit("/", 1)[1]) for key in curves})
    figure, axes = plt.subplots(1, len(rates), figsize=(7.0, 2.8), sharey=True)
    for lr, ax in zip(rates, axes, strict=True):
        ode, paths, simulation = (
            curves[f"{kind}/{lr}"] for kind in ("ordinary/afa", "theory/afa", "simulation/afa")
        )
        plot_overlay(ode, ax=ax, linestyle="--", label="ordinary equation, B(0) alone")
        plot_band(paths, simulation, rule="afa", label="Ito equation, mean and 80%", ax=ax)
        ax.set_title(f"learning rate {lr:g}")
    axes[1].set_ylabel("")
    legend_above(figure, *axes[0].get_legend_handles_labels())
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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "B, S and P are those of a random F", RuntimeWarning)
            curves[f"ordinary/afa/{lr}"] = solve(
                initial, teacher, times=times, **TOLERANCES, **training
            )
        curves[f"theory/afa/{lr}"] = solve_paths(
            initial, teacher, times=times, n_paths=n_paths, seed=seed, dt=0.01 / lr, **training
        )
        curves[f"simulation/afa/{lr}"] = simulate(
            network, times=times[::5], n_runs=n_runs, seed=seed, **training
        )
    return curves


def draw_finite_size(data: Data) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.8), sharex=True)
    for rule, each in data.items():
        plot_finite_size(each, observable="difference", rule=rule, ax=axes[0])
        plot_finite_size(each, observable="spread", rule=rule, ax=axes[1])
    axes[0].set_ylabel(r"$|\,$mean of the runs $-$ theory$\,|$")
    axes[1].set_ylabel(r"standard deviation of $\epsilon_g$")
    axes[0].plot([], [], color=NEUTRAL, ls="--", lw=0.8, label="expected standard error")
    add_legend(axes[0], outside=True)
    return figure


SIZES: dict[str, Any] = {
    **NETWORK, "rules": ("bp", "afa"), "feedback_scale": 1.0, "lr": 1.0, "t": 4.0, "N_min": 100
}  # fmt: skip


@paper_figure(
    draw_finite_size,
    quick={**SIZES, "N_max": 10_000, "n_sizes": 3, "n_runs": (100, 4000), "steps": 3e6},
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
    Dashed: the standard error of the mean over the runs, as that approximation has it.  At each N
    the runs take about ``steps`` steps in all, within the bounds ``n_runs``.  Errors are
    those of the overlaps of each network.
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
        above.set(xlabel="", title=rule_label(rule))
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    handles = [
        Line2D([], [], color=NEUTRAL), Patch(color=NEUTRAL, alpha=0.3, lw=0),
        Line2D([], [], color=NEUTRAL, ls="", marker=".", ms=2.5),
    ]  # fmt: skip
    legend_above(figure, handles, ["theory", "two standard deviations", "single runs"])
    return figure


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
