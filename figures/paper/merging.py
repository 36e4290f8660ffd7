"""Students of single tasks, merged, beside students of mixtures of tasks."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import spearmanr
from tqdm import tqdm

from figures.legends import legend_above
from figures.overlay import MARKERS_OF_MEANS
from figures.paper.continual import related_teachers
from figures.paper.registry import Data, paper_figure
from figures.residuals import mean_and_standard_error
from figures.style import NEUTRAL, TIME_LABEL, rule_color, rule_label
from odes import (
    OrderParameters,
    Task,
    merge,
    output_errors,
    solve,
)
from simulations import Network, sample_network, simulate_chain


def students_of(tasks: int, similarity: float, N: int, seed: int, apart: bool = False) -> Network:
    """A network in which a student of two units is there once for every task.

    They all start alike, or, ``apart``, each from weights of its own.
    """
    drawn = sample_network(
        N=N, K=2 * tasks, M=tasks, O=tasks, v_star=np.eye(tasks), S=np.zeros((tasks, tasks)),
        seed=seed,
    )  # fmt: skip
    network = related_teachers(drawn, similarity)
    rng = np.random.default_rng([seed, tasks])
    v, B = (0.5 * rng.normal(size=(2 * tasks, tasks)) for _ in range(2))
    own = {"W": network.W, "v": v, "B": B}
    if not apart:
        own = {name: np.tile(each[:2], (tasks, 1)) for name, each in own.items()}
    return network._replace(**own, F1=None, F2=None)


def one_of(network: Network) -> Network:
    """The network with the first of its students alone."""
    return network._replace(**{name: getattr(network, name)[:2] for name in ("W", "v", "B")})


def mixtures(tasks: int, steps: int) -> np.ndarray:
    """Shares of all tasks in multiples of 1 / steps, (mixtures, tasks)."""
    counts = [each for each in product(range(steps + 1), repeat=tasks) if sum(each) == steps]
    return np.array(counts) / steps


def merged_errors(
    states: OrderParameters, teacher: Any, shares: np.ndarray, match: bool
) -> np.ndarray:
    """Errors of merged students, averaged over the tasks, (..., mixtures)."""
    tasks = shares.shape[1]
    groups = [[2 * j, 2 * j + 1] for j in range(tasks)]
    each = [output_errors(merge(states, groups, a, match=match), teacher) for a in shares]
    return np.stack(each, axis=-2).mean(axis=-1)


def both_ways(
    rule: str,
    shares: np.ndarray,
    similarity: float,
    times: np.ndarray,
    lr: float,
    N: int,
    n_runs: int,
    seed: int,
    apart: bool = False,
) -> xarray.Dataset:
    """Errors at the times of students merged with these shares, and of one trained on each mixture.

    In theory, and in networks unless ``n_runs`` is 0; the students start as :func:`students_of`
    says.
    """
    tasks = shares.shape[1]
    network = students_of(tasks, similarity, N, seed, apart)
    separate = [Task([j], units=[2 * j, 2 * j + 1]) for j in range(tasks)]
    training: dict[str, Any] = {"rule": rule, "lr": lr, "times": times}

    def mixed(a: np.ndarray) -> list[Task]:
        return [Task([j], float(a[j])) for j in range(tasks)]

    start, teacher = network.overlaps(rule)
    single, _ = one_of(network).overlaps(rule)
    states = solve(start, teacher, tasks=separate, **training).order_parameters
    found: dict[str, Any] = {
        name: (("time", "mixture"), merged_errors(states, teacher, shares, match))
        for name, match in (("merged", False), ("matched", True))
    }
    trained = [
        solve(single, teacher, tasks=mixed(a), **training).generalization_error / tasks
        for a in shares
    ]
    found["trained"] = ("time", "mixture"), np.stack(trained, axis=1)
    if n_runs:
        how: dict[str, Any] = {"n_runs": n_runs, "seed": seed, "n_test": 1, **training}
        runs = simulate_chain(network, tasks=separate, **how).order_parameters
        errors = [merged_errors(OrderParameters(*(
            None if part is None else part[r] for part in runs
        )), teacher, shares, False) for r in range(n_runs)]  # fmt: skip
        found["merged_networks"] = ("run", "time", "mixture"), np.stack(errors)
        of_mixtures = [
            output_errors(
                simulate_chain(one_of(network), tasks=mixed(a), **how).order_parameters, teacher
            ).mean(axis=-1)
            for a in shares
        ]
        found["trained_networks"] = ("run", "time", "mixture"), np.stack(of_mixtures, axis=-1)
    coordinates = {"time": times, "share": ("mixture", shares[:, 0])}
    return xarray.Dataset(found, coordinates)


WAYS = {
    "merged": "-", "trained on mixture": "--", "other starts": "-.", "other starts, matched": ":"
}  # fmt: skip
"""Lines of students that are merged, and of what they are compared with."""


def draw_merged_models(data: Data) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(7.0, 2.7), layout="constrained")
    rules = list(dict.fromkeys(key.split("/")[1] for key in data))
    for rule in rules:
        color = rule_color(rule)
        two = data[f"two/{rule}"].isel(time=-1).sortby("share")
        for name, way in (("merged", "merged"), ("trained", "trained on mixture")):
            axes[0].plot(two.share, two[name], ls=WAYS[way], color=color)
            mean, error = mean_and_standard_error(two[f"{name}_networks"].values)
            axes[0].errorbar(two.share, mean, error, color=color, **MARKERS_OF_MEANS)
        three, others = data[f"three/{rule}"], data[f"apart/{rule}"]
        for index, face in ((0, "none"), (-1, color)):
            at = three.isel(time=index)
            marker = "o" if index == 0 else "s"
            axes[1].plot(at.merged, at.trained, ls="", marker=marker, ms=3, color=color, mfc=face)
        for way, merged in (
            ("merged", three.merged),
            ("other starts", others.merged),
            ("other starts, matched", others.matched),
        ):
            ranks = [
                spearmanr(one, other).statistic
                for one, other in zip(merged.values, three.trained.values, strict=True)
            ]
            axes[2].plot(three.time, ranks, ls=WAYS[way], color=color)
    axes[0].set(yscale="log", xlabel="share of the first task", ylabel="error, mean of two tasks")
    axes[1].set(xlabel="error, merged", ylabel="error, trained on mixture")
    axes[2].set(xscale="log", xlabel=TIME_LABEL, ylabel="rank correlation", ylim=(-1.05, 1.05))
    axes[2].axhline(0, color=NEUTRAL, lw=0.4)
    times = [float(data[f"three/{rules[0]}"].time[i]) for i in (0, -1)]
    spots = [
        Line2D([], [], color=NEUTRAL, ls="", marker=marker, ms=3, mfc=face, label=f"$t$ = {t:g}")
        for t, marker, face in zip(times, "os", ("none", NEUTRAL), strict=True)
    ]
    axes[1].legend(handles=spots, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    handles = [Line2D([], [], color=rule_color(rule)) for rule in rules]
    handles += [Line2D([], [], color=NEUTRAL, ls=line) for line in WAYS.values()]
    handles.append(Line2D([], [], color=NEUTRAL, ls="", marker="o", mfc="white", mew=0.8))
    labels = [*(rule_label(rule) or rule for rule in rules), *WAYS, "simulation"]
    legend_above(figure, handles, labels)
    return figure


MERGED: dict[str, Any] = {"lr": 0.5, "similarity": 0.3}


@paper_figure(
    draw_merged_models,
    quick=MERGED | {
        "rules": ("bp",), "steps": 3, "steps_of_three": 2, "t_max": 20.0, "n_times": 4, "N": 250,
        "n_runs": 4,
    },
    full=MERGED | {
        "rules": ("bp", "fa", "afa"), "steps": 8, "steps_of_three": 6, "t_max": 100.0,
        "n_times": 9, "N": 1000, "n_runs": 24,
    },
)  # fmt: skip
def merged_models(
    *,
    rules: tuple[str, ...],
    steps: int,
    steps_of_three: int,
    t_max: float,
    n_times: int,
    **how: Any,
) -> Data:
    """Students of one start, trained on a task each, merged with weights, and a mixture's student.

    Left, two tasks: the error on both, against the weight of the first, beside a student that sees
    as many samples of both in these shares.  Middle and right, all mixtures of three tasks in
    multiples of a step: whether the merged models are in the order of the trained ones, also where
    the students started from other weights each, with their units matched or not.
    """
    times = np.geomspace(t_max / 50, t_max, n_times)
    data: Data = {}
    for rule in tqdm(rules, disable=None, leave=False):
        data[f"two/{rule}"] = both_ways(rule, mixtures(2, steps), times=times, **how)
        of_three = {**how, "n_runs": 0, "times": times}
        data[f"three/{rule}"] = both_ways(rule, mixtures(3, steps_of_three), **of_three)
        data[f"apart/{rule}"] = both_ways(rule, mixtures(3, steps_of_three), apart=True, **of_three)
    return data
