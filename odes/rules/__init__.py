"""Learning rules in theory, one file for each family; ``RULES`` has all by name.

The same rules acting on the weights of a network are in ``simulations/rules``.
"""

from odes.rules.credit import (
    BP,
    DFA,
    FA,
    KolenPollack,
    NonlinearTargetPropagation,
    RandomSignSymmetry,
    SignSymmetry,
    TargetPropagation,
)
from odes.rules.forward_forward import (
    Difference,
    ForwardForward,
    Logistic,
    SymBa,
    TopDownForwardForward,
)
from odes.rules.mirrors import Mirrored, MirroredAFA, MirroredFA, MirroredPEPITA
from odes.rules.properties import (
    check_feedback_drift,
    check_moves_with_F,
    check_rule,
    learns_by_sample,
    learns_feedback,
)
from odes.rules.registry import is_own, known_name
from odes.rules.rule import (
    FACTORS,
    HOOKS,
    RULES,
    Learning,
    Rule,
    Sample,
    Update,
    check_derivative,
    differentiates,
    draws_of,
    fields_above,
    is_smooth,
    needs_of,
    overrides,
    predicts_by_readout,
    shape_of,
)
from odes.rules.top_down import (
    AFA,
    PEPITA,
    HebbianPEPITA,
    ModulatedPEPITA,
    TimeLocalPEPITA,
)

__all__ = [
    "AFA",
    "BP",
    "DFA",
    "FA",
    "FACTORS",
    "HOOKS",
    "PEPITA",
    "RULES",
    "Difference",
    "ForwardForward",
    "HebbianPEPITA",
    "KolenPollack",
    "Learning",
    "Logistic",
    "Mirrored",
    "MirroredAFA",
    "MirroredFA",
    "MirroredPEPITA",
    "ModulatedPEPITA",
    "NonlinearTargetPropagation",
    "RandomSignSymmetry",
    "Rule",
    "Sample",
    "SignSymmetry",
    "SymBa",
    "TargetPropagation",
    "TimeLocalPEPITA",
    "TopDownForwardForward",
    "Update",
    "check_derivative",
    "check_feedback_drift",
    "check_moves_with_F",
    "check_rule",
    "differentiates",
    "draws_of",
    "fields_above",
    "is_own",
    "is_smooth",
    "known_name",
    "learns_by_sample",
    "learns_feedback",
    "needs_of",
    "overrides",
    "predicts_by_readout",
    "shape_of",
]
