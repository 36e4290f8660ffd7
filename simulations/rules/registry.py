"""All rules by name, and the algorithm of a rule of the theory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from odes.common.checks import lookup
from simulations.rules.credit import (
    bp,
    dfa,
    direct_feedback,
    fa,
    fixed_feedback,
    kolen_pollack,
    no_feedback,
    sign_random,
    sign_symmetry,
    signed,
    signs,
    target_propagation,
)
from simulations.rules.forward_forward import (
    better_label,
    difference,
    label_contrast,
    logistic,
    symba,
    topdown_contrast,
)
from simulations.rules.mirrors import ReadoutMirror, TwoLayerMirror, with_mirror
from simulations.rules.rule import Rule
from simulations.rules.top_down import (
    afa,
    overlap_with_F,
    pepita,
    pepita_hebbian,
    pepita_modulated,
    pepita_tl,
)

LABELLED: dict[str, Any] = {"equivariant": True, "predict": better_label(True), "classifies": True}

RULES = {
    "bp": Rule(bp, no_feedback, equivariant=True),
    "fa": Rule(fa, fixed_feedback, equivariant=True),
    "afa": Rule(afa, overlap_with_F, equivariant=True),
    "pepita": Rule(pepita, overlap_with_F, equivariant=True),
    "pepita-modulated": Rule(pepita_modulated, overlap_with_F, aligned_only=True, equivariant=True),
    "pepita-hebbian": Rule(pepita_hebbian, overlap_with_F, aligned_only=True, equivariant=True),
    "pepita-tl": Rule(pepita_tl, overlap_with_F, aligned_only=True, equivariant=True),
    "sign-symmetry": Rule(sign_symmetry, signs, equivariant=True),
    "sign-random": Rule(sign_random, signed, equivariant=True),
    "kolen-pollack": Rule(kolen_pollack, fixed_feedback, equivariant=True, learns=("B",)),
    "dtp": Rule(
        target_propagation(0.1, 0.0, False, 1.0), fixed_feedback, equivariant=True, learns=("B",)
    ),
    "fa-mirror": with_mirror(Rule(fa, fixed_feedback), ReadoutMirror()),
    "afa-mirror": with_mirror(Rule(afa, overlap_with_F), TwoLayerMirror()),
    "pepita-mirror": with_mirror(Rule(pepita, overlap_with_F), TwoLayerMirror()),
    "ff": Rule(label_contrast(logistic(1.0), True, False), no_feedback, **LABELLED),
    "ff-symba": Rule(label_contrast(symba(4.0), True, False), no_feedback, **LABELLED),
    "ff-topdown": Rule(
        topdown_contrast(difference), overlap_with_F, aligned_only=True, equivariant=True
    ),
}

RULES["dfa"] = Rule(dfa, direct_feedback, equivariant=True)

CLASSES = {
    "BP": "bp", "FA": "fa", "DFA": "dfa", "AFA": "afa", "PEPITA": "pepita",
    "ModulatedPEPITA": "pepita-modulated", "HebbianPEPITA": "pepita-hebbian",
    "TimeLocalPEPITA": "pepita-tl",
    "SignSymmetry": "sign-symmetry", "RandomSignSymmetry": "sign-random",
    "KolenPollack": "kolen-pollack", "TargetPropagation": "dtp",
    "NonlinearTargetPropagation": "dtp", "ForwardForward": "ff",
    "TopDownForwardForward": "ff-topdown",
}  # fmt: skip
"""The rules of ``odes.rules`` but those with mirrors, by their classes."""

LOSSES: dict[str, Callable] = {
    "Logistic": logistic, "SymBa": symba, "Difference": lambda: difference
}  # fmt: skip
"""Losses from the parameters of those of ``odes.rules``, by their classes."""


def choose_rule(rule: Any) -> Rule:
    """The rule of that name, a Rule itself, or that of an ``odes.Rule``; ValueError otherwise."""
    algorithm = getattr(rule, "algorithm", None)
    if algorithm is None and type(rule).__module__.startswith("odes.rules."):
        algorithm = of_theory(rule)
    return lookup(
        "rule", RULES, rule if algorithm is None else algorithm,
        "a simulations.Rule, or an odes.Rule with one as its `algorithm`",
        lambda own: isinstance(own, Rule),
    )  # fmt: skip


@cache
def of_theory(rule: Any) -> Rule | None:
    """The algorithm of one of the rules of ``odes.rules``, by the name of its class."""
    if hasattr(rule, "rule"):
        mirror = {name: getattr(rule, name) for name in ("lr", "noise", "decay")}
        if not rule.has_F:
            return with_mirror(choose_rule(rule.rule), ReadoutMirror(**mirror))
        mirror |= {name: getattr(rule, name) for name in ("nonlinear", "normalised")}
        return with_mirror(choose_rule(rule.rule), TwoLayerMirror(**mirror))
    name = CLASSES.get(type(rule).__name__)
    if name is None:
        return None
    if hasattr(rule, "loss"):
        return with_loss(name, rule)
    if vars(rule):
        decoder = rule.lr, rule.decay, hasattr(rule, "step"), getattr(rule, "step", 1.0)
        return RULES[name]._replace(update=target_propagation(*decoder))
    return RULES[name]


def with_loss(name: str, rule: Any) -> Rule:
    """A rule of Forward-Forward with the loss, and what else there is, of one of ``odes.rules``."""
    kind = type(rule.loss).__name__
    if kind not in LOSSES:
        raise ValueError(
            f"Argument `rule` must have one of the losses {', '.join(LOSSES)} for networks, "
            f"but has {rule.loss!r}."
        )
    loss = LOSSES[kind](*vars(rule.loss).values())
    if name == "ff-topdown":
        return RULES[name]._replace(update=topdown_contrast(loss))
    return RULES[name]._replace(
        update=label_contrast(loss, rule.normalised, rule.overlapping),
        predict=better_label(rule.normalised),
        draws=rule.draws,
    )


def known_name(rule: Rule) -> str | None:
    """The name of one of the package's own rules; None for one of the user's."""
    names = [name for name, own in RULES.items() if rule == own]
    update = getattr(rule.update, "func", rule.update)
    return names[0] if names and update.__module__.startswith("simulations.rules.") else None
