"""Learning rules as algorithms on the weights of a network, one input at a time.

A rule is a function ``(network, sample) -> (dW, dv)``, and the training loop then makes the step ::

    W <- W - lr / sqrt(N) dW,        v <- v - lr_v / N dv

with dW (K, N) and dv (K, O).  Beside it stands how to measure the feedback signal B that the theory
ascribes to the rule.  Nothing here knows the theory's averages.

All rules here are *equivariant*: a rotation of input space, of x, the rows of W and the columns of
F together, rotates the rows of dW and leaves dv and B as they are; N is known through ``x.size``
and the factors ``1 / sqrt(N)`` alone, and the teacher's weights are out of sight.  Inputs have no
preferred directions, so that such a rule may be run in other coordinates
(``simulations/blocks.py``, ``simulations/chain.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.checks import lookup


class Rule(NamedTuple):
    """A learning rule and the order parameter B that belongs to it."""

    update: Callable  # (network, sample) -> (dW, dv)
    feedback: Callable  # network -> B (K, O), or None where B is v
    aligned_only: bool = False  # whether a limit of large N exists for aligned F only
    equivariant: bool = False  # whether it may be run in other coordinates (module docstring)


class Sample(NamedTuple):
    """One input, its label, and what else a rule may need to know."""

    x: Any  # (N,)
    y: Any  # (O,)
    g: Callable  # the activation
    lr: Any  # learning rate of the first layer


def choose_rule(rule: Any) -> Rule:
    """The rule of that name, or a Rule itself; ValueError with the names for anything else."""
    return lookup("rule", RULES, rule, "a simulations.Rule", lambda own: isinstance(own, Rule))


def preactivation(W: Any, x: Any) -> Any:
    """``lambda_k = w_k . x / sqrt(N)``, shape (K,)."""
    return W @ x / x.shape[0] ** 0.5


def forward(network: Any, sample: Sample) -> tuple[Any, Any, Any]:
    """Hidden activities h (K,), their slopes g' (K,), and the error e = h v - y (O,)."""
    fields = preactivation(network.W, sample.x)
    h, slope = jax.jvp(sample.g, (fields,), (jnp.ones_like(fields),))
    return h, slope, h @ network.v - sample.y


def bp(network, sample):
    """Backpropagation: the gradient, ``delta = g' * (v e)``."""
    h, slope, e = forward(network, sample)
    return jnp.outer(slope * (network.v @ e), sample.x), jnp.outer(h, e)


def fa(network, sample):
    """Feedback alignment (Lillicrap et al. 2016): fixed B in place of v, ``delta = g' * (B e)``."""
    h, slope, e = forward(network, sample)
    return jnp.outer(slope * (network.B @ e), sample.x), jnp.outer(h, e)


def afa(network, sample):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``delta = g' * (W F e / sqrt(N))``."""
    h, slope, e = forward(network, sample)
    fed_back = preactivation(network.W, network.F @ e)
    return jnp.outer(slope * fed_back, sample.x), jnp.outer(h, e)


def pepita(network, sample):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as the presynaptic factor.

    A second forward pass sees ``x - F e``; its hidden activity h_err replaces a gradient:
    ``dW = (h - h_err) x^T``.
    """
    h, _, e = forward(network, sample)
    h_err = sample.g(preactivation(network.W, sample.x - network.F @ e))
    return jnp.outer(h - h_err, sample.x), jnp.outer(h, e)


def pepita_modulated(network, sample):
    """PEPITA as published: the modulated pass supplies the presynaptic factors of both layers.

    ``dW = (h - h_err) (x - F e)^T`` and ``dv = h_err e^T``.
    """
    h, _, e = forward(network, sample)
    x_err = sample.x - network.F @ e
    h_err = sample.g(preactivation(network.W, x_err))
    return jnp.outer(h - h_err, x_err), jnp.outer(h_err, e)


def pepita_hebbian(network, sample):
    """PEPITA-Hebbian (Srinivasan et al. 2024): Hebbian in one pass, the opposite in the other.

    ``dW = h x^T - h_err (x - F e)^T``, and the readout sees the prediction in the first pass and
    the label in the second: ``dv = h prediction^T - h_err y^T``.
    """
    h, _, e = forward(network, sample)
    x_err = sample.x - network.F @ e
    h_err = sample.g(preactivation(network.W, x_err))
    dW = jnp.outer(h, sample.x) - jnp.outer(h_err, x_err)
    return dW, jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)


def pepita_tl(network, sample):
    """Time-local PEPITA: the step of the first pass is taken before the second pass is run."""
    h, _, e = forward(network, sample)
    first = jnp.outer(h, sample.x)
    x_err = sample.x - network.F @ e
    stepped = network.W - sample.lr / sample.x.size**0.5 * first
    h_err = sample.g(preactivation(stepped, x_err))
    return first - jnp.outer(h_err, x_err), jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)


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
    "bp": Rule(bp, no_feedback, equivariant=True),
    "fa": Rule(fa, fixed_feedback, equivariant=True),
    "afa": Rule(afa, overlap_with_F, equivariant=True),
    "pepita": Rule(pepita, overlap_with_F, equivariant=True),
    "pepita-modulated": Rule(pepita_modulated, overlap_with_F, aligned_only=True, equivariant=True),
    "pepita-hebbian": Rule(pepita_hebbian, overlap_with_F, aligned_only=True, equivariant=True),
    "pepita-tl": Rule(pepita_tl, overlap_with_F, aligned_only=True, equivariant=True),
}


def known_name(rule: Rule) -> str | None:
    """The name of one of the package's own rules; None for one of the user's."""
    names = [name for name, own in RULES.items() if rule is own]
    return names[0] if names and rule.update.__module__ == __name__ else None
