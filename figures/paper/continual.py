"""Two tasks one after another: what is forgotten, and what is carried over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tqdm import tqdm

from figures.legends import legend_above
from figures.overlay import MARKERS_OF_MEANS, plot_overlay
from figures.paper.registry import Data, paper_figure
from figures.residuals import mean_and_standard_error
from figures.style import NEUTRAL, TIME_LABEL, rule_color, rule_label
from odes import (
    PiecewiseConstant,
    Task,
    Trajectory,
    solve,
)
from simulations import Network, sample_network, simulate_chain

NODES = {"pepita": 2**12}
"""Of rules without closed forms, at K = M = 2."""


def related_teachers(network: Network, similarity: float) -> Network:
    """The network with teacher units that have this overlap with one another, a unit a task."""
    M = len(network.W_star)
    C = np.full((M, M), similarity) + (1 - similarity) * np.eye(M)
    root = np.linalg.cholesky(C + 1e-12 * np.eye(M))
    return network._replace(W_star=root @ network.W_star)


def ahead_in_the_first_task(similarity: float, N: int, seed: int, overlap: float = 0.0) -> Network:
    """A student of two units, of which one is on its way to the first of two teachers.

    The other has no weight in the first head, and small ones besides.  The columns of F overlap
    with both teachers alike, or not at all, as those that are drawn without knowing them.
    """
    drawn = sample_network(
        N=N,
        K=2,
        M=2,
        O=2,
        v_star=np.eye(2),
        S=np.full((2, 2), overlap),
        student_scale=0.05,
        seed=seed,
    )
    network = related_teachers(drawn, similarity)
    W = network.W + 0.7 * np.outer([1, 0], network.W_star[0])
    return network._replace(W=W, v=np.array([[0.7, 0.1], [0.0, 0.1]]))


def in_turn(t_switch: float, replayed: float) -> list[Task]:
    """The first task, and from the switch on the second, with a share of replayed samples."""

    def rate(first: float, then: float) -> PiecewiseConstant:
        return PiecewiseConstant([t_switch], [first, then])

    return [Task([0], rate(1.0, replayed)), Task([1], rate(0.0, 1.0 - replayed))]


def of_task(index: int) -> Callable[[Trajectory], Any]:
    """The observable that is the error of one task."""
    return lambda trajectory: trajectory.output_errors[..., index]


def draw_continual_learning(data: Data) -> Figure:
    measured = data["simulation"]
    shown, rules = measured.similarity.values.tolist(), measured.rule.values.tolist()
    figure, axes = plt.subplots(
        3, max(3, len(shown)), figsize=(7.0, 5.6), squeeze=False, layout="constrained"
    )
    for column, similarity in enumerate(shown):
        for task, ax in enumerate(axes[:2, column]):
            for rule in rules:
                ends = (data[f"{kind}/{similarity:g}/{rule}"] for kind in ("theory", "simulation"))
                plot_overlay(*ends, observable=of_task(task), rule=rule, ax=ax)
            ax.axvline(float(measured.attrs["t_switch"]), color=NEUTRAL, lw=0.6, ls=":")
            ax.set(xscale="linear", yscale="log", xlabel="", ylim=(2e-5, 1))
            ax.set_ylabel(f"error of task {task + 1}" if column == 0 else "")
        axes[0, column].set_title(f"similarity of the teachers {similarity:g}")
        axes[1, column].set_xlabel(TIME_LABEL)
    for column in range(len(shown), axes.shape[1]):
        for ax in axes[:2, column]:
            ax.axis("off")
    theory = data["theory"]
    panels = {"forgetting": "forgetting", "transfer": "transfer", "replay": "forgetting, replay"}
    for (name, label), ax in zip(panels.items(), axes[2], strict=False):
        for rule in rules:
            ax.plot(theory.similarity, theory[name].sel(rule=rule), color=rule_color(rule))
            mean, error = mean_and_standard_error(measured[name].sel(rule=rule).T.values)
            ax.errorbar(shown, mean, error, color=rule_color(rule), **MARKERS_OF_MEANS)
        ax.axhline(0, color=NEUTRAL, lw=0.4)
        ax.set(xlabel="similarity of the teachers", ylabel=label)
    handles = [Line2D([], [], color=rule_color(rule)) for rule in rules]
    handles += [
        Line2D([], [], color=NEUTRAL),
        Line2D([], [], color=NEUTRAL, ls="", marker="o", mfc="white", mew=0.8),
    ]
    labels = [*(rule_label(rule) or rule for rule in rules), "theory", "simulation"]
    legend_above(figure, handles, labels)
    return figure


def tabulated(found: dict[Any, dict[str, Any]], dimensions: tuple[str, ...]) -> xarray.Dataset:
    """A Dataset of quantities by name, of each rule and similarity."""
    rules, similarities = ([*dict.fromkeys(each)] for each in zip(*found, strict=True))
    names = next(iter(found.values()))
    return xarray.Dataset(
        {
            name: (dimensions, [[found[rule, s][name] for s in similarities] for rule in rules])
            for name in names
        },
        {"rule": rules, "similarity": similarities},
    )


CONTINUAL: dict[str, Any] = {"lr": 1.0, "t_switch": 20.0, "t_max": 50.0, "replayed": 0.1}


@paper_figure(
    draw_continual_learning,
    quick=CONTINUAL | {
        "rules": ("bp", "fa"), "similarities": (0.5,), "n_similarities": 4, "N": 250,
        "n_runs": 4, "t_max": 40.0,
    },
    full=CONTINUAL | {
        "rules": ("bp", "fa", "afa", "pepita"), "similarities": (0.0, 0.5, 0.9),
        "n_similarities": 20, "N": 10_000, "n_runs": 16,
    },
)  # fmt: skip
def continual_learning(
    *,
    rules: tuple[str, ...],
    similarities: tuple[float, ...],
    n_similarities: int,
    N: int,
    lr: float,
    t_switch: float,
    t_max: float,
    replayed: float,
    n_runs: int,
    seed: int,
) -> Data:
    """Two tasks one after another, a head each, as in Lee, Goldt & Saxe (2021).

    A student that has specialised in the first task is switched to the second.  Forgetting is the
    rise of the first task's error from the switch to the end; transfer is by how much the second
    task's error, a little after the switch, is below that of a student which starts with it; and
    replayed are samples of the first task after the switch.
    """
    soon = t_switch / 4  # when transfer is measured
    ends = np.array([t_switch, t_switch + soon, t_max])
    dense = np.union1d(np.linspace(0, t_max, 120), ends)
    markers = np.union1d(np.linspace(0, t_max, 11), ends)
    protocols = {"plain": in_turn(t_switch, 0.0), "replay": in_turn(t_switch, replayed)}
    second = [Task([1]), Task([0], 0.0)]

    def quantities(alone: Any, plain: Any, replay: Any) -> dict[str, Any]:
        """From both tasks' errors at ``ends``, and those of a student with the second alone."""
        return {
            "forgetting": plain[..., 2, 0] - plain[..., 0, 0],
            "replay": replay[..., 2, 0] - replay[..., 0, 0],
            "transfer": alone[..., 0, 1] - plain[..., 1, 1],
        }

    data: Data = {}
    all_similarities = np.union1d(np.linspace(0, 0.95, n_similarities), similarities)
    theory: dict[Any, dict[str, Any]] = {}
    measured: dict[Any, dict[str, Any]] = {}
    for rule in tqdm(rules, disable=None, leave=False):
        training: dict[str, Any] = {"rule": rule, "lr": lr}
        points = NODES.get(rule)
        for similarity in all_similarities.tolist():
            start = ahead_in_the_first_task(similarity, N, seed).overlaps(rule)
            solved = {
                name: solve(*start, times=dense, tasks=tasks, points=points, **training)
                for name, tasks in protocols.items()
            }
            alone = solve(*start, times=[soon], tasks=second, points=points, **training)
            at = np.searchsorted(dense, ends)
            errors = [solved[name].output_errors[at] for name in protocols]
            theory[rule, similarity] = quantities(alone.output_errors, *errors)
            data[f"theory/{similarity:g}/{rule}"] = solved["plain"]
        for similarity in similarities:
            network = ahead_in_the_first_task(similarity, N, seed)
            how = {"n_runs": n_runs, "seed": seed, **training}
            runs = {
                name: simulate_chain(network, times=markers, tasks=tasks, **how)
                for name, tasks in protocols.items()
            }
            alone = simulate_chain(network, times=[soon], tasks=second, **how)
            at = np.searchsorted(markers, ends)
            errors = [runs[name].output_errors[:, at] for name in protocols]
            measured[rule, similarity] = quantities(alone.output_errors, *errors)
            data[f"simulation/{similarity:g}/{rule}"] = runs["plain"]
    kept = {f"theory/{similarity:g}/{rule}" for similarity in similarities for rule in rules}
    data = {
        name: each for name, each in data.items() if not name.startswith("theory/") or name in kept
    }
    data["theory"] = tabulated(theory, ("rule", "similarity"))
    data["simulation"] = tabulated(measured, ("rule", "similarity", "run"))
    data["simulation"].attrs["t_switch"] = t_switch
    return data
