"""Rules that feed the error back to the input, through F: AFA, and PEPITA with its variants."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from odes.common.layers import layers_of, over_layers
from simulations.rules.rule import Sample, ascend, outers


def overlap_with_F(network):
    """``B_ko = w_k . F_o / sqrt(N)``, the feedback that the second pass feels."""
    return network.W @ network.F / network.W.shape[1] ** 0.5


def two_passes(network: Any, sample: Sample) -> tuple[list[Any], list[Any], Any, Any]:
    """Activities of every hidden layer for x and for ``x - F e``; the error e; and ``x - F e``."""
    _, h = ascend(network, sample, sample.fields(sample.x))
    e = h[-1] @ layers_of(network.v)[-1] - sample.y
    x_err = sample.x - network.F @ e
    _, h_err = ascend(network, sample, sample.fields(x_err))
    return h, h_err, e, x_err


def afa(network, sample):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``delta = g' * (W F e / sqrt(N))``.

    Above, the change of a layer's activities follows to first order from that of the layer below.
    """
    z, h = ascend(network, sample, sample.fields(sample.x))
    e = h[-1] @ layers_of(network.v)[-1] - sample.y
    change, changes = sample.fields(network.F @ e), []
    for fields, weights in zip(z, layers_of(network.v), strict=True):
        changes.append(jax.jvp(sample.g, (fields,), (change,))[1])
        change = weights.T @ changes[-1]
    return [(changes[0], sample.x)], outers(h, [*changes[1:], e])


def pepita(network, sample):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as the presynaptic factor.

    A second forward pass sees ``x - F e``; its activities h_err replace a gradient:
    ``dW = (h - h_err) x^T``, and above ``dV_l = h_{l-1} (h_l - h_err,l)^T``.
    """
    h, h_err, e, _ = two_passes(network, sample)
    first, *others = [clean - modulated for clean, modulated in zip(h, h_err, strict=True)]
    return [(first, sample.x)], outers(h, [*others, e])


def pepita_modulated(network, sample):
    """PEPITA as published: the modulated pass supplies the presynaptic factors of all layers.

    ``dW = (h - h_err) (x - F e)^T`` and ``dv = h_err e^T``.
    """
    h, h_err, e, x_err = two_passes(network, sample)
    first, *others = [clean - modulated for clean, modulated in zip(h, h_err, strict=True)]
    return [(first, x_err)], outers(h_err, [*others, e])


def pepita_hebbian(network, sample):
    """PEPITA-Hebbian (Srinivasan et al. 2024): Hebbian in one pass, the opposite in the other.

    ``dW = h x^T - h_err (x - F e)^T``, and so in the layers above; the readout sees the prediction
    in the first pass and the label in the second: ``dv = h prediction^T - h_err y^T``.
    """
    h, h_err, e, x_err = two_passes(network, sample)
    return [(h[0], sample.x), (-h_err[0], x_err)], _hebbian(h, h_err, e, sample.y)


def pepita_tl(network, sample):
    """Time-local PEPITA: the step of the first pass is taken before the second pass is run.

    That of the first layer: what the layers above learn from one sample is of order 1/N.
    """
    _, h = ascend(network, sample, sample.fields(sample.x))
    e = h[-1] @ layers_of(network.v)[-1] - sample.y
    x_err = sample.x - network.F @ e
    stepped = sample.fields(x_err) - sample.lr / sample.x.size * (sample.x @ x_err) * h[0]
    _, h_err = ascend(network, sample, stepped)
    return [(h[0], sample.x), (-h_err[0], x_err)], _hebbian(h, h_err, e, sample.y)


def _hebbian(h: list[Any], h_err: list[Any], e: Any, y: Any) -> Any:
    """dv of a Hebbian step in the first pass, and of the opposite in the second."""
    plus, minus = outers(h, [*h[1:], e + y]), outers(h_err, [*h_err[1:], y])
    return over_layers(jnp.subtract, plus, minus)
