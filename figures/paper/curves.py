"""Learning curves, order parameters and alignment of rules from one initial network."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from figures import (
    add_legend,
    plot_order_parameter,
    plot_overlay,
)
from figures.paper.registry import (
    FULL,
    ONE_NETWORK,
    QUICK,
    Curves,
    gather,
    paper_figure,
    rules_of,
)
from figures.style import ANGLE_LABEL
from odes import (
    RULES,
    Trajectory,
    feedback_angle,
)


def draw_learning_curves(curves: Curves) -> Figure:
    figure, ax = plt.subplots()
    for rule, (theory, simulation) in rules_of(curves).items():
        plot_overlay(theory, simulation, rule=rule, ax=ax)
    add_legend(ax, outside=True)
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
    add_legend(above, outside=True)
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
    add_legend(axes[-1], outside=True)
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
        add_legend(angles, of=signs, loc="upper left", bbox_to_anchor=(0, -0.28))
    for ax in axes[:2].flat:
        ax.set_xlabel("")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    axes[1, 0].set(ylabel="classification error", yscale="log")
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

    Generalisation error, classification error, which is all that Forward-Forward can be judged by,
    and angle of the feedback B and the readout v.
    """
    return gather(rules, {**parameters, "misclassification": True})
