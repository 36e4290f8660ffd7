"""The theory: closed equations for the order parameters of online learning.

Importing this package imports NumPy and SciPy only; JAX follows when it is needed.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from odes.analyses.alignment import (
    feedback_angle,
    feedback_cosine,
    update_angle,
    update_cosine,
)
from odes.analyses.merging import merge
from odes.analyses.plateaus import escape_time, plateau_interval, symmetric_plateau
from odes.averages.activations import ACTIVATIONS, Activation
from odes.averages.quadrature import Points, gauss_hermite, sobol
from odes.common.checks import hyperparameters
from odes.common.order_parameters import (
    FactoredOrderParameters,
    Hyperparameters,
    OrderParameters,
    Teacher,
)
from odes.common.overlaps import spread
from odes.common.schedules import PiecewiseConstant
from odes.common.spectrum import Spectrum, widening_shares
from odes.common.tasks import Task
from odes.common.trajectory import Fluctuations, Trajectory, load
from odes.equations import drift, generalization_error, output_errors
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
from odes.rules.citing import cite
from odes.solvers.trajectory import solve

IN_JAX = {
    "FixedPoint": "odes.analyses.fixed_points",
    "Flow": "odes.solvers.flows",
    "Optimum": "odes.analyses.optimal_control",
    "critical_learning_rate": "odes.analyses.fixed_points",
    "fixed_point": "odes.analyses.fixed_points",
    "flow": "odes.solvers.flows",
    "optimal_schedule": "odes.analyses.optimal_control",
    "solve_paths": "odes.solvers.paths",
    "sweep": "odes.solvers.sweeps",
}


def __getattr__(name: str) -> Any:
    """The version, and the functions that need JAX and diffrax, which are imported on first use."""
    if name == "__version__":
        return version("topdown-odes")
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
    "Spectrum",
    "SymBa",
    "TargetPropagation",
    "Task",
    "Teacher",
    "TopDownForwardForward",
    "Trajectory",
    "Update",
    "cite",
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
    "load",
    "merge",
    "optimal_schedule",
    "output_errors",
    "plateau_interval",
    "sobol",
    "solve",
    "solve_paths",
    "spread",
    "sweep",
    "symmetric_plateau",
    "update_angle",
    "update_cosine",
    "widening_shares",
]
