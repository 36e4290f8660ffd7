"""From networks of N inputs to the coordinates of their chain (``chain.py``), and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.store import Arrays
from simulations.ensembles import Networks
from simulations.networks import Network
from simulations.rules import Rule
from simulations.training.checks import learned


class ChainState(NamedTuple):
    """Where a chain ended, to the last bit."""

    weights: Arrays  # the same in all N inputs: what this belongs to
    small: Arrays  # in the coordinates of the chain
    network: Network  # whose teacher and F these coordinates are along
    drawn: Any  # the generators of all runs
    seed: int


def state_before(before: Networks | None, seed: int) -> ChainState | None:
    """Where the chain of these networks ended; None if they or the seed are others than its own."""
    if before is None or before.chain is None:
        return None
    state = before.chain
    fits = state.weights is before.weights and state.network is before.network
    return state if fits and state.seed == seed else None


def sizes_of(network: Network) -> list[int]:
    """How many inputs are in each group."""
    N, inputs = network.W.shape[1], network.inputs
    return [N] if inputs is None else np.rint(inputs.shares * N).astype(int).tolist()


def compressed(
    network: Network, weights: Arrays, rule: Rule, n_runs: int, state: ChainState | None
) -> Network:
    """The networks on D + 1 inputs: teacher and F in the first M + O, nothing in the last.

    So it is in every group of inputs.  All runs have the weights of the network, or their own, by
    name (runs, ...), or are where a chain ended.  F is as it is before its scale multiplies it.
    """
    (K, N), M = network.W.shape, len(network.W_star)
    coordinates = _coordinates(network, network.W)
    scale = np.sqrt(coordinates.shape[1] / N)
    small = network._replace(
        W=scale * coordinates[-K:], W_star=scale * coordinates[:M], F=coordinates[M:-K].T
    )
    if network.inputs is not None:
        shares = np.ones_like(network.inputs.shares)
        small = small._replace(inputs=network.inputs._replace(shares=shares / shares.size))
    if state is not None:
        runs = {**weights, "W": state.small["W"]}
    elif weights:
        own = [scale * _coordinates(network, W)[-K:] for W in weights["W"]]
        runs = {**weights, "W": np.stack(own)}
    else:
        runs = jax.tree.map(
            lambda each: np.tile(each, (n_runs, 1, 1)), {n: small.get(n) for n in learned(rule)}
        )
    return jax.tree.map(jnp.asarray, small.put(**runs))


def _coordinates(network: Network, W: Any) -> np.ndarray:
    """Teacher, F and W (K, N) in orthonormal coordinates of what they span in every group."""
    vectors = np.concatenate([network.W_star, network.F.T, W])
    coordinates, start = np.zeros((len(vectors), 0)), 0
    for size in sizes_of(network):
        own = np.asarray(np.linalg.qr(vectors[:, start : start + size].T, mode="r")).T  # triangular
        own = np.pad(own, ((0, 0), (0, len(vectors) + 1 - own.shape[1])))
        coordinates, start = np.concatenate([coordinates, own], axis=1), start + size
    return coordinates


def expanded(network: Network, small: Arrays) -> Arrays:
    """Weights of the runs of a chain in all inputs of the network, the others as they are.

    What a run has beyond teacher and F is put in the directions that the network had it in: any
    would do.
    """
    vectors, start = np.concatenate([network.W_star, network.F.T, network.W]), 0
    width, parts = len(vectors) + 1, []
    for index, size in enumerate(sizes_of(network)):
        basis = np.linalg.qr(vectors[:, start : start + size].T)[0]  # (size, at most D)
        own = small["W"][..., index * width :][..., : basis.shape[1]]
        parts.append(own @ basis.T)
        start += size
    scale = np.sqrt(network.W.shape[1] / (width * len(parts)))
    return {**small, "W": scale * np.concatenate(parts, axis=-1)}
