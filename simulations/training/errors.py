"""Errors of networks, on inputs of their own."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from simulations.activations import Activation
from simulations.networks import Network
from simulations.rules import Rule

ERRORS = ("generalization_error", "misclassification", "output_errors")
"""What is measured of every network besides its order parameters."""


def tested(n_test: int) -> str:
    """How errors are averaged over inputs, as :class:`odes.Trajectory` says it."""
    return f"{n_test} test inputs"


def mistakes(network: Network, X: Any, label: Any, *, rule: Rule, units: Activation) -> Any:
    """Half the squared error and whether the sign is wrong, of every output, (block, 2, O).

    On each of a block of inputs, against labels (block, O) without noise.
    """
    prediction = rule.predict(network, X, units.hidden)
    wrong = (1 - jnp.sign(prediction) * jnp.sign(label)) / 2
    return jnp.stack([(prediction - label) ** 2 / 2, wrong], axis=1)


def errors_of(means: Any, rule: Rule) -> dict[str, Any]:
    """The errors by name, from the means of :func:`mistakes`, (2, O)."""
    squared, wrong = means
    misclassified = jnp.mean(wrong)
    return {
        "generalization_error": misclassified if rule.classifies else jnp.sum(squared),
        "misclassification": misclassified,
        "output_errors": wrong if rule.classifies else squared,
    }
