"""The theory: closed equations for the order parameters of online learning.

Importing this package imports NumPy and SciPy only.
"""

from odes.alignment import feedback_angle
from odes.averages import ACTIVATIONS
from odes.drift import drift, generalization_error
from odes.order_parameters import (
    Hyperparameters,
    OrderParameters,
    Teacher,
    Trajectory,
    hyperparameters,
)
from odes.rules import RULES, Rule
from odes.solve import solve

__all__ = [
    "ACTIVATIONS",
    "RULES",
    "Hyperparameters",
    "OrderParameters",
    "Rule",
    "Teacher",
    "Trajectory",
    "drift",
    "feedback_angle",
    "generalization_error",
    "hyperparameters",
    "solve",
]
