"""The visual language of all figures: a colour a rule, theory as lines, simulation as markers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb

from figures.checks import check_rule
from odes.common.checks import check_count

RULES = {
    "bp": ("BP", "#0072B2", "-"),
    "fa": ("FA", "#E69F00", "-"),
    "dfa": ("DFA", "#E69F00", "-."),
    "afa": ("AFA", "#009E73", "-"),
    "pepita": ("PEPITA", "#CC79A7", "-"),
    "pepita-modulated": ("PEPITA, modulated", "#D55E00", "-"),
    "pepita-hebbian": ("PEPITA-Hebbian", "#56B4E9", "-"),
    "pepita-tl": ("PEPITA-TL", "#8A6D00", "-"),
    "sign-symmetry": ("sign symmetry", "#0072B2", "--"),
    "sign-random": ("sign symmetry, random", "#0072B2", ":"),
    "kolen-pollack": ("Kolen-Pollack", "#E69F00", ":"),
    "dtp": ("target propagation", "#8A6D00", "--"),
    "fa-mirror": ("FA, mirror", "#E69F00", "--"),
    "afa-mirror": ("AFA, mirrors", "#009E73", "--"),
    "pepita-mirror": ("PEPITA, mirrors", "#CC79A7", "--"),
    "ff": ("Forward-Forward", "#7A3E9D", "-"),
    "ff-symba": ("Forward-Forward, SymBa", "#7A3E9D", "--"),
    "ff-topdown": ("Forward-Forward, top-down", "#56B4E9", "--"),
}
"""Label, colour and line of each rule.

Okabe and Ito's palette, which readers with colour-blindness can tell apart, its yellow darkened to
be legible as a line, and a violet.  Relatives share a colour."""

NEUTRAL = "#333333"

MARKERS = "osD^vP*X"
LINES = ("-", "--", "-.", ":")

TIME_LABEL = r"$t$ = samples / $N$"
ERROR_LABEL = r"generalisation error $\epsilon_g$"
ANGLE_LABEL = r"angle of $B$ and $v$ (degrees)"

AXIS_LABELS = {
    "lr": r"learning rate $\eta_w$",
    "lr_v": r"learning rate $\eta_v$ of the readout",
    "feedback_scale": "feedback scale",
    "noise": r"label noise $\sigma$",
    "weight_decay": r"weight decay $\kappa_w$",
    "weight_decay_v": r"weight decay $\kappa_v$ of the readout",
    "N": r"number of inputs $N$",
}


def rule_color(rule: str | None) -> str:
    """The colour of a rule; dark grey for none, or for a rule of the user's own."""
    return RULES.get(rule or "", ("", NEUTRAL))[1]


def rule_line(rule: str | None) -> str:
    """The line style of a rule; solid for none, or for a rule of the user's own."""
    return RULES[rule][2] if rule in RULES else "-"


def variants(rule: str | None, count: int) -> list[dict[str, Any]]:
    """Colours, markers and line styles of several curves of one rule: ever darker shades of it."""
    check_rule(rule)
    count = check_count("count", count, least=0, below=10**6)
    looks = []
    for index in range(count):
        lightness = 1 - 0.5 * index / max(1, count - 1)
        color = tuple(lightness * part for part in to_rgb(rule_color(rule)))
        marker, linestyle = MARKERS[index % len(MARKERS)], LINES[index % len(LINES)]
        looks.append({"color": color, "marker": marker, "linestyle": linestyle})
    return looks


def rule_label(rule: str | None) -> str | None:
    """The name of a rule as a legend has it; a rule of the user's own as it is."""
    return RULES[rule][0] if rule in RULES else rule


def paper_style() -> AbstractContextManager:
    """Context in which figures have the column width and type of a paper."""
    return plt.style.context(Path(__file__).with_name("paper.mplstyle"))
