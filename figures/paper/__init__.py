"""The figures of the paper, which see theory and networks: one file for each family."""

from figures.paper import (
    curves,
    deep_networks,
    ensembles,
    inputs,
    phase_diagrams,
    protocols,
    symmetry,
)
from figures.paper.registry import FIGURES

__all__ = [
    "FIGURES",
    "curves",
    "deep_networks",
    "ensembles",
    "inputs",
    "phase_diagrams",
    "protocols",
    "symmetry",
]
