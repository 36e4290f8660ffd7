"""All rules by name."""

from __future__ import annotations

from typing import Any

from odes.rules.credit import (
    BP,
    DFA,
    FA,
    KolenPollack,
    RandomSignSymmetry,
    SignSymmetry,
    TargetPropagation,
)
from odes.rules.forward_forward import ForwardForward, SymBa, TopDownForwardForward
from odes.rules.mirrors import Mirrored, MirroredAFA, MirroredFA, MirroredPEPITA
from odes.rules.rule import HOOKS, RULES
from odes.rules.top_down import (
    AFA,
    PEPITA,
    HebbianPEPITA,
    ModulatedPEPITA,
    TimeLocalPEPITA,
)

RULES.update(
    {
        "bp": BP(),
        "fa": FA(),
        "afa": AFA(),
        "pepita": PEPITA(),
        "pepita-modulated": ModulatedPEPITA(),
        "pepita-hebbian": HebbianPEPITA(),
        "pepita-tl": TimeLocalPEPITA(),
        "sign-symmetry": SignSymmetry(),
        "sign-random": RandomSignSymmetry(),
        "kolen-pollack": KolenPollack(),
        "dtp": TargetPropagation(),
        "fa-mirror": MirroredFA(),
        "afa-mirror": MirroredAFA(),
        "pepita-mirror": MirroredPEPITA(),
        "ff": ForwardForward(),
        "ff-symba": ForwardForward(SymBa()),
        "ff-topdown": TopDownForwardForward(),
        "dfa": DFA(),
    }
)


def is_own(rule: Any) -> bool:
    """Whether a rule is of the packages' own classes, with none of its hooks replaced."""
    if isinstance(rule, Mirrored) and not is_own(rule.rule):
        return False
    return type(rule).__module__.startswith("odes.rules.") and not set(HOOKS) & set(vars(rule))


def known_name(rule: Any) -> str | None:
    """The name of one of the packages' own rules; None for one of the user's, which may change."""
    names = [name for name, own in RULES.items() if rule == own]
    return names[0] if names and is_own(rule) else None
