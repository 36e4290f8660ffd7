"""Errors of networks, on inputs of their own."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from simulations.activations import Activation
from simulations.networks import Network
from simulations.rules import Rule


def tested(n_test: int) -> str:
    """How errors are averaged over inputs, as :class:`odes.Trajectory` says it."""
    return f"{n_test} test inputs"


def mistakes(network: Network, X: Any, label: Any, *, rule: Rule, units: Activation) -> Any:
    """Half the squared error and the classification error on each of a block of inputs, (block, 2).

    Against labels (block, O) without noise.
    """
    prediction = rule.predict(network, X, units.hidden)
    wrong = jnp.mean((1 - jnp.sign(prediction) * jnp.sign(label)) / 2, axis=1)
    return jnp.stack([jnp.sum((prediction - label) ** 2, axis=1) / 2, wrong], axis=1)


def errors_of(means: Any, rule: Rule) -> dict[str, Any]:
    """The two errors by name, from the means of :func:`mistakes`."""
    squared, wrong = means
    error = wrong if rule.classifies else squared
    return {"generalization_error": error, "misclassification": wrong}
