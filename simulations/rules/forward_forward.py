"""Forward-Forward: a contrast of two passes in place of an error that is sent back."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp

from simulations.rules.top_down import two_passes


@cache
def logistic(threshold):
    """The loss of Hinton (2022): ``softplus(threshold - G+) + softplus(G- - threshold)``."""
    return partial(_logistic, threshold)


def _logistic(threshold, positive, negative):
    return jax.nn.softplus(threshold - positive) + jax.nn.softplus(negative - threshold)


@cache
def symba(alpha):
    """The loss of the Trifecta (Dooms et al. 2023): ``softplus(-alpha (G+ - G-))``."""
    return partial(_symba, alpha)


def _symba(alpha, positive, negative):
    return jax.nn.softplus(-alpha * (positive - negative))


def difference(positive, negative):
    """Goodness is to be low on positive samples and high on negative ones: ``G+ - G-``."""
    return positive - negative


def goodness(fields, v, label, g):
    """``sum_k h_k^2`` of the activities for fields (K,) and a label (O,), weighted by v."""
    h = g(fields + v @ label)
    return h @ h


def contrast(network, sample, positive, negative, loss):
    """dW and dv of gradient descent on ``loss(G+, G-)``, for x with either label, (O,)."""

    def of_both(fields, v):
        return loss(*(goodness(fields, v, y, sample.g) for y in (positive, negative)))

    delta, dv = jax.grad(of_both, (0, 1))(sample.fields(sample.x), network.v)
    return [(delta, sample.x)], dv


@cache
def label_contrast(loss):
    """Forward-Forward (Hinton 2022): :func:`contrast` of the teacher's sign and the other one.

    v, (K, 1), holds the weights from the label to the hidden units.
    """
    return partial(_forward_forward, loss)


def _forward_forward(loss, network, sample):
    """Forward-Forward (Hinton 2022): a contrast of the right label and the wrong one."""
    if network.v.shape[1] != 1:
        raise ValueError(f"v has {network.v.shape[1]} outputs, but the label is one sign.")
    y = jnp.sign(sample.y)
    return contrast(network, sample, y, -y, loss)


def better_label(network, X, g):
    """Goodness with the label 1 minus goodness with the label -1, (block, 1)."""
    one = jnp.ones(1, X.dtype)

    def gain(fields):
        return goodness(fields, network.v, one, g) - goodness(fields, network.v, -one, g)

    return jax.vmap(gain)(X @ network.W.T / X.shape[1] ** 0.5)[:, None]


@cache
def topdown_contrast(loss):
    """Forward-Forward between x and ``x - F e``, with half the square of activities as goodness.

    The readout learns as in PEPITA-Hebbian.  The negative sample counts as given: no gradient
    passes through e.
    """
    return partial(_forward_forward_topdown, loss)


def _forward_forward_topdown(loss, network, sample):
    """Forward-Forward between the input x and ``x - F e``."""
    h, h_err, e, x_err = two_passes(network, sample)

    def of_both(fields, fields_err):
        return loss(*(h @ h / 2 for h in (sample.g(fields), sample.g(fields_err))))

    plus, minus = jax.grad(of_both, (0, 1))(sample.fields(sample.x), sample.fields(x_err))
    dv = jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)
    return [(plus, sample.x), (minus, x_err)], dv
