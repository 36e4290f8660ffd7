"""The visual language of all figures: a colour a rule, theory as lines, simulation as markers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.pyplot as plt

COLORS = {
    "bp": "#0072B2",
    "fa": "#E69F00",
    "afa": "#009E73",
    "pepita": "#CC79A7",
    "pepita-modulated": "#D55E00",
    "pepita-hebbian": "#56B4E9",
    "pepita-tl": "#8A6D00",
}
"""Okabe and Ito's palette, which readers with colour-blindness can tell apart."""

NEUTRAL = "#333333"

TIME_LABEL = r"$t$ = samples / $N$"
ERROR_LABEL = r"generalisation error $\epsilon_g$"
ANGLE_LABEL = r"angle of $B$ and $v$ (degrees)"


def rule_color(rule: str | None) -> str:
    """The colour of a rule; dark grey for none, or for a rule of the user's own."""
    return COLORS.get(rule or "", NEUTRAL)


def rule_label(rule: str | None) -> str | None:
    """The name of a rule as a legend has it: "bp" is BP, "pepita-modulated" PEPITA-modulated."""
    if rule is None:
        return None
    name, dash, variant = rule.partition("-")
    return name.upper() + dash + variant


def paper_style() -> AbstractContextManager:
    """Context in which figures have the column width and type of a paper."""
    return plt.style.context(Path(__file__).with_name("paper.mplstyle"))
