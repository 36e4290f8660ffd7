"""Learning rules as algorithms on the weights of a network, one input at a time.

A rule is a function ``(network, x, y, g) -> (dW, dv)`` of the network, an input x (N,), its label
y (O,) and the activation g, and the training loop then makes the step

    W <- W - lr / sqrt(N) dW,        v <- v - lr_v / N dv

with dW (K, N) and dv (K, O).  Beside it stands how to measure the feedback signal B that the theory
ascribes to the rule.  Nothing here knows the theory's averages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.order_parameters import lookup


class Rule(NamedTuple):
    """A learning rule and the order parameter B that belongs to it."""

    update: Callable  # (network, x, y, g) -> (dW, dv)
    feedback: Callable  # network -> B (K, O), or None where B is v


def choose_rule(rule: Any) -> Rule:
    """The rule of that name, or a Rule itself; ValueError with the names for anything else."""
    return lookup("rule", RULES, rule, lambda own: isinstance(own, Rule))


def preactivation(W: Any, x: Any) -> Any:
    """``lambda_k = w_k . x / sqrt(N)``, shape (K,)."""
    return W @ x / x.shape[0] ** 0.5


def forward(network: Any, x: Any, y: Any, g: Callable) -> tuple[Any, Any, Any]:
    """Hidden activities h (K,), their slopes g' (K,), and the error e = h v - y (O,)."""
    fields = preactivation(network.W, x)
    h, slope = jax.jvp(g, (fields,), (jnp.ones_like(fields),))
    return h, slope, h @ network.v - y


def bp(network, x, y, g):
    """Backpropagation: the gradient, ``delta = g' * (v e)``."""
    h, slope, e = forward(network, x, y, g)
    return jnp.outer(slope * (network.v @ e), x), jnp.outer(h, e)


def fa(network, x, y, g):
    """Feedback alignment (Lillicrap et al. 2016): fixed B in place of v, ``delta = g' * (B e)``."""
    h, slope, e = forward(network, x, y, g)
    return jnp.outer(slope * (network.B @ e), x), jnp.outer(h, e)


def afa(network, x, y, g):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``delta = g' * (W F e / sqrt(N))``."""
    h, slope, e = forward(network, x, y, g)
    return jnp.outer(slope * preactivation(network.W, network.F @ e), x), jnp.outer(h, e)


def pepita(network, x, y, g):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as the presynaptic factor.

    A second forward pass sees ``x - F e``; its hidden activity h_err replaces a gradient:
    ``dW = (h - h_err) x^T``.
    """
    h, _, e = forward(network, x, y, g)
    h_err = g(preactivation(network.W, x - network.F @ e))
    return jnp.outer(h - h_err, x), jnp.outer(h, e)


def pepita_modulated(network, x, y, g):
    """PEPITA as published: the modulated pass supplies the presynaptic factors of both layers.

    ``dW = (h - h_err) (x - F e)^T`` and ``dv = h_err e^T``.  Its limit of large N exists for
    aligned F only.
    """
    h, _, e = forward(network, x, y, g)
    x_err = x - network.F @ e
    h_err = g(preactivation(network.W, x_err))
    return jnp.outer(h - h_err, x_err), jnp.outer(h_err, e)


def no_feedback(network):
    """None: the signal sent back is v itself."""
    return None


def fixed_feedback(network):
    """The fixed feedback weights B."""
    return network.B


def overlap_with_F(network):
    """``B_ko = w_k . F_o / sqrt(N)``, the feedback that the second pass feels."""
    return network.W @ network.F / network.W.shape[1] ** 0.5


RULES = {
    "bp": Rule(bp, no_feedback),
    "fa": Rule(fa, fixed_feedback),
    "afa": Rule(afa, overlap_with_F),
    "pepita": Rule(pepita, overlap_with_F),
    "pepita-modulated": Rule(pepita_modulated, overlap_with_F),
}
