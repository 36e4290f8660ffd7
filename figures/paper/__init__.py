"""The figures of the paper, which see theory and networks: one file for each family."""

from figures.paper import (
    continual,
    curves,
    deep_networks,
    ensembles,
    inputs,
    merging,
    phase_diagrams,
    protocols,
    symmetry,
)
from figures.paper.registry import FIGURES

__all__ = [
    "FIGURES",
    "continual",
    "curves",
    "deep_networks",
    "ensembles",
    "inputs",
    "merging",
    "phase_diagrams",
    "protocols",
    "symmetry",
]
