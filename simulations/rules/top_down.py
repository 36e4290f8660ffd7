"""Rules that feed the error back to the input, through F: AFA, and PEPITA with its variants."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from simulations.rules.rule import Sample, forward


def overlap_with_F(network):
    """``B_ko = w_k . F_o / sqrt(N)``, the feedback that the second pass feels."""
    return network.W @ network.F / network.W.shape[1] ** 0.5


def two_passes(network: Any, sample: Sample) -> tuple[Any, Any, Any, Any]:
    """h and h_err (K,), of x and of ``x - F e``; the error e (O,); and ``x - F e`` (N,)."""
    h, _, e = forward(network, sample)
    x_err = sample.x - network.F @ e
    return h, sample.forward(x_err), e, x_err


def afa(network, sample):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``delta = g' * (W F e / sqrt(N))``."""
    h, through, e = forward(network, sample)
    return [(through(sample.fields(network.F @ e)), sample.x)], jnp.outer(h, e)


def pepita(network, sample):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as the presynaptic factor.

    A second forward pass sees ``x - F e``; its hidden activity h_err replaces a gradient:
    ``dW = (h - h_err) x^T``.
    """
    h, h_err, e, _ = two_passes(network, sample)
    return [(h - h_err, sample.x)], jnp.outer(h, e)


def pepita_modulated(network, sample):
    """PEPITA as published: the modulated pass supplies the presynaptic factors of both layers.

    ``dW = (h - h_err) (x - F e)^T`` and ``dv = h_err e^T``.
    """
    h, h_err, e, x_err = two_passes(network, sample)
    return [(h - h_err, x_err)], jnp.outer(h_err, e)


def pepita_hebbian(network, sample):
    """PEPITA-Hebbian (Srinivasan et al. 2024): Hebbian in one pass, the opposite in the other.

    ``dW = h x^T - h_err (x - F e)^T``, and the readout sees the prediction in the first pass and
    the label in the second: ``dv = h prediction^T - h_err y^T``.
    """
    h, h_err, e, x_err = two_passes(network, sample)
    dv = jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)
    return [(h, sample.x), (-h_err, x_err)], dv


def pepita_tl(network, sample):
    """Time-local PEPITA: the step of the first pass is taken before the second pass is run."""
    h, _, e = forward(network, sample)
    x_err = sample.x - network.F @ e
    stepped = sample.fields(x_err) - sample.lr / sample.x.size * (sample.x @ x_err) * h
    h_err = sample.g(stepped)
    dv = jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)
    return [(h, sample.x), (-h_err, x_err)], dv
