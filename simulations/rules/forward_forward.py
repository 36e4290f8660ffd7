"""Forward-Forward: a contrast of two passes in place of an error that is sent back."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp

from odes.common.layers import as_weights, layers_of, over_layers
from simulations.rules.rule import outers
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


def handed_up(h, normalised):
    """What a layer hands to the layer above: its activities, divided by their length or not."""
    if not normalised:
        return h
    square = h @ h
    return h / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def with_label(weights, y, g):
    """Activities of the first hidden layer, from its fields (K,) and label weights (K, 1)."""
    fields, u = weights
    return g(fields + u @ y)


def hidden(V, below, g, normalised):
    """Activities of a layer above the first."""
    return g(V.T @ handed_up(below, normalised))


def contrast(network, sample, labels, loss, normalised=True, overlapping=False):
    """dW and dv of gradient descent on ``loss(G+, G-)`` in every hidden layer.

    G is the goodness, ``sum_k h_k^2``, for x with the right label and with the wrong one, (O,)
    each.  The last of the weights above the first layer, (K, O), lead from the label to the hidden
    units.  Layers get what the layer below hands up, as a constant; if ``overlapping``, the
    gradient passes through that layer, too, and the losses of every other layer count, in turn.
    """
    *above, u = layers_of(network.v)
    weights = [(sample.fields(sample.x), u), *above]

    def activities(index, own, below):
        if index == 0:
            return [with_label(own, y, sample.g) for y in labels]
        return [hidden(own, h, sample.g, normalised) for h in below]

    def lost(activities):
        return loss(*(h @ h for h in activities))

    changes, below = [], None
    for index, own in enumerate(weights):

        def here(own, index=index, below=below):
            return lost(activities(index, own, below))

        def above_it(own, index=index, below=below):
            return lost(activities(index + 1, weights[index + 1], activities(index, own, below)))

        change = jax.grad(here)(own)
        if overlapping and above:
            passed = jax.tree.map(jnp.zeros_like, own)
            if index + 1 < len(weights):
                passed = jax.grad(above_it)(own)
            mine = (sample.xi[0] > 0) == (index % 2 == 0)
            change = jax.tree.map(partial(jnp.where, mine), change, passed)
        changes.append(change)
        below = activities(index, own, below)
    (delta, du), *dV = changes
    return [(delta, sample.x)], as_weights([*dV, du])


@cache
def label_contrast(loss, normalised, overlapping):
    """Forward-Forward (Hinton 2022): :func:`contrast` of the teacher's sign and the other one."""
    return partial(_forward_forward, loss, normalised, overlapping)


def _forward_forward(loss, normalised, overlapping, network, sample):
    """Forward-Forward (Hinton 2022): a contrast of the right label and the wrong one."""
    u = layers_of(network.v)[-1]
    if u.shape[1] != 1:
        raise ValueError(f"v has {u.shape[1]} outputs, but the label is one sign.")
    if len(u) != len(network.W):
        raise ValueError(
            f"the last of v has {len(u)} rows, but labels have {len(network.W)} weights."
        )
    labels = jnp.sign(sample.y), -jnp.sign(sample.y)
    return contrast(network, sample, labels, loss, normalised, overlapping)


def goodness(fields, v, label, g, normalised=True):
    """``sum_k h_k^2`` of all hidden layers, for fields (K,) of the first and a label (O,)."""
    *above, u = layers_of(v)
    h = with_label((fields, u), label, g)
    total = h @ h
    for weights in above:
        h = hidden(weights, h, g, normalised)
        total += h @ h
    return total


@cache
def better_label(normalised):
    """Goodness with the label 1 minus goodness with the label -1, (block, 1)."""
    return partial(_better_label, normalised)


def _better_label(normalised, network, X, g):
    """Goodness with the label 1 minus goodness with the label -1, (block, 1)."""
    one = jnp.ones(1, X.dtype)

    def gain(fields):
        found = [goodness(fields, network.v, label, g, normalised) for label in (one, -one)]
        return found[0] - found[1]

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
    clean, modulated = [sample.fields(sample.x), *h], [sample.fields(x_err), *h_err]

    def of_both(*activities):
        return loss(*(each @ each / 2 for each in activities))

    steps = []
    for index, V in enumerate([None, *layers_of(network.v)[:-1]]):
        below = clean[index], modulated[index]
        fields = below if V is None else [V.T @ each for each in below]
        steps.append(jax.grad(lambda *z: of_both(*map(sample.g, z)), (0, 1))(*fields))
    (plus, minus), *others = steps
    outputs = e + sample.y, -sample.y
    above = zip(*others, outputs, strict=True)
    changes = [outers(own, signals) for own, signals in zip((h, h_err), above, strict=True)]
    return [(plus, sample.x), (minus, x_err)], over_layers(jnp.add, *changes)
