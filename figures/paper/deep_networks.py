"""Several hidden layers: the rules side by side, alignment layer by layer, and Forward-Forward."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tqdm import tqdm

from figures import add_legend, plot_overlay
from figures.legends import legend_above
from figures.overlay import MARKERS_OF_MEANS
from figures.paper.registry import Curves, Data, paper_figure
from figures.residuals import mean_and_standard_error
from figures.style import MARKERS, NEUTRAL, rule_color, rule_label
from odes import ForwardForward, Logistic, SymBa, solve, update_angle
from simulations import Network, sample_network, simulate

FEW_NODES = 2**10
"""Of angles at many states."""


def both_sides(
    network: Network, t_max: float, n_runs: int, seed: int, points: int, **training: Any
) -> tuple:
    """Theory and networks, up to the same time."""
    times = np.geomspace(0.1, t_max, 100)
    theory = solve(*network.overlaps(training["rule"]), times=times, points=points, **training)
    shown = np.geomspace(0.1, t_max, 13)
    return theory, simulate(network, times=shown, n_runs=n_runs, seed=seed, **training)


def in_words(count: int) -> str:
    """So many hidden layers."""
    return f"{count} hidden layer{'s' if count > 1 else ''}"


def draw_depth(curves: Curves) -> Figure:
    depths = sorted({int(key.split("/")[1]) for key in curves})
    figure, axes = plt.subplots(1, len(depths), figsize=(7.0, 2.8), sharey=True, squeeze=False)
    for count, ax in zip(depths, axes.flat, strict=True):
        rules = dict.fromkeys(
            key.split("/")[2] for key in curves if key.split("/")[1] == str(count)
        )
        for rule in rules:
            ends = (curves[f"{kind}/{count}/{rule}"] for kind in ("theory", "simulation"))
            plot_overlay(*ends, rule=rule, marker="s" if rule == "dfa" else "o", ax=ax)
        ax.set_title(in_words(count))
        if count != depths[0]:
            ax.set_ylabel("")
    add_legend(axes[0, 0], outside=True)
    return figure


LAYERS: dict[str, Any] = {
    "points": 2**13,
    "width": 3,
    "M": 2,
    "v_star": (1.2, 0.6),
    "feedback_scale": 0.5,
}


@paper_figure(
    draw_depth,
    quick=LAYERS | {
        "points": 2**10, "depths": (2,), "rules": ("dfa",), "N": 250, "n_runs": 4, "lr": 0.4,
        "t_max": 10.0,
    },
    full=LAYERS | {
        "depths": (1, 2, 3), "rules": ("bp", "fa", "dfa", "afa", "pepita"), "N": 1000, "n_runs": 6,
        "lr": 0.4, "t_max": 100.0,
    },
)  # fmt: skip
def depth(
    *, depths: tuple[int, ...], rules: tuple[str, ...], width: int, **parameters: Any
) -> Curves:
    """Generalisation error of BP, FA, DFA, AFA and PEPITA with one, two and three hidden layers.

    All layers have the same width.  With one hidden layer FA and DFA are the same.
    """
    training = {name: parameters.pop(name) for name in ("lr", "t_max", "n_runs", "points")}
    curves: Curves = {}
    for count in depths:
        network = sample_network(K=(width,) * count, **parameters)
        for rule in tqdm(rules, disable=None, leave=False):
            if (rule, count) == ("dfa", 1):
                continue
            ends = both_sides(network, rule=rule, seed=parameters["seed"], **training)
            keys = f"theory/{count}/{rule}", f"simulation/{count}/{rule}"
            curves |= dict(zip(keys, ends, strict=True))
    return curves


LINES = ("-", "--", ":")
"""Of layers, from the input upwards."""


def draw_layerwise_alignment(curves: Data) -> Figure:
    rules = list(dict.fromkeys(key.split("/")[1] for key in curves))
    figure, axes = plt.subplots(
        2, len(rules), figsize=(7.0, 4.0), sharex=True, sharey="row", squeeze=False
    )
    for rule, (above, below) in zip(rules, axes.T, strict=True):
        angles = curves[f"angles/{rule}"]
        for index, (line, marker) in enumerate(zip(LINES, MARKERS, strict=False)):
            if index >= angles.sizes["layer"]:
                continue
            look: dict[str, Any] = {"color": rule_color(rule)}
            above.plot(angles.time, angles.angle[:, index], ls=line, **look)
            mean, error = mean_and_standard_error(angles.angle_networks[:, :, index].values)
            above.errorbar(
                angles.shown, mean, error, **MARKERS_OF_MEANS | look | {"marker": marker}
            )
        ends = (curves[f"{kind}/{rule}"] for kind in ("theory", "simulation"))
        plot_overlay(*ends, rule=rule, ax=below)
        above.set_title(rule_label(rule))
    axes[0, 0].set(ylabel="angle to BP (degrees)", ylim=(-6, 180), yticks=(0, 45, 90, 135, 180))
    for ax in axes[1, 1:]:
        ax.set_ylabel("")
    layers = range(max(each.sizes["layer"] for name, each in curves.items() if "angles" in name))
    handles = [
        Line2D([], [], color=NEUTRAL, ls=LINES[i], marker=MARKERS[i], mfc="white", mew=0.8)
        for i in layers
    ]
    labels = [f"layer {index + 1}" for index in layers]
    legend_above(figure, handles, labels)
    return figure


ALIGNED: dict[str, Any] = LAYERS | {"depth": 3, "lr": 0.4}


@paper_figure(
    draw_layerwise_alignment,
    quick=ALIGNED | {
        "points": 2**11, "depth": 2, "rules": ("fa",), "N": 250, "n_runs": 4, "t_max": 20.0,
    },
    full=ALIGNED | {
        "rules": ("fa", "dfa", "afa", "pepita"), "N": 1000, "n_runs": 6, "t_max": 100.0,
    },
)  # fmt: skip
def layerwise_alignment(
    *, depth: int, rules: tuple[str, ...], width: int, **parameters: Any
) -> Data:
    """Align, then memorise, layer by layer: the angle of each layer's step to that of BP.

    Above, of the weights into every hidden layer, from the input upwards; below, the error.
    """
    training = {name: parameters.pop(name) for name in ("lr", "t_max", "n_runs", "points")}
    network = sample_network(K=(width,) * depth, **parameters)
    found: Data = {}
    for rule in tqdm(rules, disable=None, leave=False):
        ends = both_sides(network, rule=rule, seed=parameters["seed"], **training)
        _, teacher = network.overlaps(rule)
        theory, networks = (
            update_angle(each.order_parameters, teacher, rule=rule, points=FEW_NODES)
            for each in ends
        )
        found[f"angles/{rule}"] = xarray.Dataset(
            {
                "angle": (("time", "layer"), theory),
                "angle_networks": (("run", "shown", "layer"), networks),
            },
            {"time": ends[0].times, "shown": ends[1].times},
        )
        found |= dict(zip((f"theory/{rule}", f"simulation/{rule}"), ends, strict=True))
    return found


PARTS = {
    "plain": ("plain", "#333333", Logistic(), False, False),
    "symba": ("SymBa", "#0072B2", SymBa(), False, False),
    "normalised": ("normalised", "#E69F00", Logistic(), True, False),
    "overlapping": ("overlapping", "#009E73", Logistic(), False, True),
    "trifecta": ("all three", "#CC79A7", SymBa(), True, True),
}
"""Label, colour, loss, normalisation and overlap of the parts of the Trifecta."""


def draw_deep_forward_forward(curves: Curves) -> Figure:
    depths = sorted({int(key.split("/")[1]) for key in curves})
    figure, axes = plt.subplots(1, len(depths), figsize=(7.0, 2.8), sharey=True, squeeze=False)
    for count, ax in zip(depths, axes.flat, strict=True):
        for name, (label, color, *_) in PARTS.items():
            if f"theory/{count}/{name}" in curves:
                ends = (curves[f"{kind}/{count}/{name}"] for kind in ("theory", "simulation"))
                plot_overlay(*ends, label=label, color=color, ax=ax)
        ax.set(title=in_words(count), yscale="linear", ylabel="classification error")
        if count != depths[0]:
            ax.set_ylabel("")
    add_legend(axes[0, 0], outside=True)
    return figure


CONTRASTED: dict[str, Any] = {"points": 2**15, "width": 6, "M": 2, "v_star": (1.2, 0.6), "lr": 0.5}


@paper_figure(
    draw_deep_forward_forward,
    quick=CONTRASTED | {
        "points": 2**11,
        "depths": (2,), "parts": ("trifecta",), "N": 250, "n_runs": 4, "t_max": 10.0,
    },
    full=CONTRASTED | {
        "depths": (2, 3), "parts": tuple(PARTS), "N": 1000, "n_runs": 6, "t_max": 60.0,
    },
)  # fmt: skip
def deep_forward_forward(
    *, depths: tuple[int, ...], parts: tuple[str, ...], width: int, **parameters: Any
) -> Curves:
    """Forward-Forward of two and three hidden layers, with each part of the Trifecta and with all.

    SymBa is the loss; normalised activities are what a layer hands up; and in overlapping updates
    every gradient passes through the layer below, too.  Layers are wide enough for the latter two
    together, where gradients grow as 1 / |h|.
    """
    training = {name: parameters.pop(name) for name in ("lr", "t_max", "n_runs", "points")}
    curves: Curves = {}
    for count in depths:
        network = sample_network(K=(width,) * count, label_weights=True, **parameters)
        for name in tqdm(parts, disable=None, leave=False):
            rule = ForwardForward(*PARTS[name][2:])
            ends = both_sides(network, rule=rule, seed=parameters["seed"], **training)
            keys = f"theory/{count}/{name}", f"simulation/{count}/{name}"
            curves |= dict(zip(keys, ends, strict=True))
    return curves
