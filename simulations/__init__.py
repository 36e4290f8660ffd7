"""Finite networks: the learning rules as algorithms on weights, run on samples.

Importing this package imports JAX.  :func:`simulate` computes in the dtype it is asked for inside
``jax.enable_x64`` and leaves JAX's global settings alone.
"""

from simulations.chain import simulate_chain
from simulations.ensembles import Networks
from simulations.networks import Network
from simulations.pre_mirroring import pre_mirrored
from simulations.rules import RULES, Rule, Sample
from simulations.rules.mirrors import ReadoutMirror, TwoLayerMirror
from simulations.sampling import network_with_overlaps, sample_network
from simulations.sweeps import sweep
from simulations.training.online_sgd import simulate

__all__ = [
    "RULES",
    "Network",
    "Networks",
    "ReadoutMirror",
    "Rule",
    "Sample",
    "TwoLayerMirror",
    "network_with_overlaps",
    "pre_mirrored",
    "sample_network",
    "simulate",
    "simulate_chain",
    "sweep",
]
