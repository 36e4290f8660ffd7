"""The theory: closed equations for the order parameters of online learning.

Importing this package imports NumPy and SciPy only; JAX follows when it is needed.
"""

from importlib import import_module
from typing import Any

from odes.alignment import (
    feedback_angle,
    feedback_cosine,
    update_angle,
    update_cosine,
)
from odes.averages import ACTIVATIONS, Activation
from odes.checks import hyperparameters
from odes.drift import drift, generalization_error
from odes.order_parameters import (
    FactoredOrderParameters,
    Fluctuations,
    Hyperparameters,
    OrderParameters,
    Teacher,
    Trajectory,
)
from odes.plateaus import escape_time, plateau_interval, symmetric_plateau
from odes.quadrature import Points, gauss_hermite, sobol
from odes.rules import (
    RULES,
    Difference,
    ForwardForward,
    Learning,
    Logistic,
    Mirrored,
    MirroredAFA,
    MirroredFA,
    MirroredPEPITA,
    NonlinearTargetPropagation,
    Rule,
    Sample,
    SymBa,
    TargetPropagation,
    TopDownForwardForward,
    Update,
)
from odes.schedules import PiecewiseConstant
from odes.solve import solve

IN_JAX = {
    "FixedPoint": "odes.stability",
    "Flow": "odes.differentiable",
    "Optimum": "odes.protocols",
    "critical_learning_rate": "odes.stability",
    "fixed_point": "odes.stability",
    "flow": "odes.differentiable",
    "optimal_schedule": "odes.protocols",
    "solve_paths": "odes.random_feedback",
    "sweep": "odes.sweeps",
}


def __getattr__(name: str) -> Any:
    """The functions that need JAX and diffrax, which are imported on first use."""
    if name in IN_JAX:
        return getattr(import_module(IN_JAX[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ACTIVATIONS",
    "RULES",
    "Activation",
    "Difference",
    "FactoredOrderParameters",
    "FixedPoint",
    "Flow",
    "Fluctuations",
    "ForwardForward",
    "Hyperparameters",
    "Learning",
    "Logistic",
    "Mirrored",
    "MirroredAFA",
    "MirroredFA",
    "MirroredPEPITA",
    "NonlinearTargetPropagation",
    "Optimum",
    "OrderParameters",
    "PiecewiseConstant",
    "Points",
    "Rule",
    "Sample",
    "SymBa",
    "TargetPropagation",
    "Teacher",
    "TopDownForwardForward",
    "Trajectory",
    "Update",
    "critical_learning_rate",
    "drift",
    "escape_time",
    "feedback_angle",
    "feedback_cosine",
    "fixed_point",
    "flow",
    "gauss_hermite",
    "generalization_error",
    "hyperparameters",
    "optimal_schedule",
    "plateau_interval",
    "sobol",
    "solve",
    "solve_paths",
    "sweep",
    "symmetric_plateau",
    "update_angle",
    "update_cosine",
]
