"""Learning rules as algorithms on weights, one file for each family; ``RULES`` has all by name.

The same rules in theory are in ``odes/rules``.
"""

from simulations.rules.credit import (
    direct_feedback,
    fixed_feedback,
    no_feedback,
    signed,
    signs,
    target_propagation,
)
from simulations.rules.forward_forward import (
    contrast,
    difference,
    goodness,
    label_contrast,
    logistic,
    symba,
    topdown_contrast,
)
from simulations.rules.mirrors import (
    ReadoutMirror,
    TwoLayerMirror,
    composed,
    in_factors,
    with_mirror,
)
from simulations.rules.registry import RULES, choose_rule, known_name
from simulations.rules.rule import (
    Rule,
    Sample,
    as_matrix,
    ascend,
    forward,
    outputs,
    see,
    shape_drawn,
)
from simulations.rules.top_down import overlap_with_F, two_passes

__all__ = [
    "RULES",
    "ReadoutMirror",
    "Rule",
    "Sample",
    "TwoLayerMirror",
    "as_matrix",
    "ascend",
    "choose_rule",
    "composed",
    "contrast",
    "difference",
    "direct_feedback",
    "fixed_feedback",
    "forward",
    "goodness",
    "in_factors",
    "known_name",
    "label_contrast",
    "logistic",
    "no_feedback",
    "outputs",
    "overlap_with_F",
    "see",
    "shape_drawn",
    "signed",
    "signs",
    "symba",
    "target_propagation",
    "topdown_contrast",
    "two_passes",
    "with_mirror",
]
