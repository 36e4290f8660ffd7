"""Rules that send a signal straight to the hidden units; most have ``delta = g' * (B e)``."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp

from odes.common.layers import as_weights, is_several, layers_of, over_layers
from simulations.rules.rule import ascend, outers, through


def bp(network, sample):
    """Backpropagation: the gradient of half the squared error, ``delta = g' * (v e)``."""
    fields = sample.fields(sample.x)

    def predicted(fields, v):
        return ascend(network._replace(v=v), sample, fields)[1][-1] @ layers_of(v)[-1]

    y, back = jax.vjp(predicted, fields, network.v)
    delta, dv = back(y - sample.y)
    return [(delta, sample.x)], dv


def layer_by_layer(network, sample, send_back, nudge=1.0):
    """The step for signals ``send_back(B_l, above, sent, delta)`` at the activities of every layer.

    ``above`` are the activities of the layer above, or the prediction; ``sent`` is the signal at
    these, from ``nudge e`` at the outputs downwards; and delta is that signal at their fields.
    """
    fields, h = ascend(network, sample, sample.fields(sample.x))
    y = h[-1] @ layers_of(network.v)[-1]
    e = y - sample.y
    above, signal, deltas = y, nudge * e, [e]
    for B, z, own in zip(layers_of(network.B)[::-1], fields[::-1], h[::-1], strict=True):
        sent = send_back(B, above, signal, deltas[0])
        deltas.insert(0, through(sample, z, sent))
        above, signal = own, sent
    return [(deltas[0], sample.x)], outers(h, deltas[1:])


def fa(network, sample):
    """Feedback alignment (Lillicrap et al. 2016): fixed B in place of v, ``delta = g' * (B e)``.

    With several hidden layers ``delta_{l-1} = g' * (B_l delta_l)``.
    """
    return layer_by_layer(network, sample, lambda B, above, sent, delta: B @ delta)


def dfa(network, sample):
    """Direct feedback alignment (Noekland 2016): the error straight to every hidden layer.

    ``delta_l = g' * (D_l e)``; with one hidden layer D is B, and this is FA.
    """
    fields, h = ascend(network, sample, sample.fields(sample.x))
    e = h[-1] @ layers_of(network.v)[-1] - sample.y
    pairs = zip(fields, layers_of(direct_feedback(network)), strict=True)
    deltas = [through(sample, z, D @ e) for z, D in pairs]
    return [(deltas[0], sample.x)], outers(h, [*deltas[1:], e])


def sign_symmetry(network, sample):
    """Sign symmetry (Liao et al. 2016): ``delta = g' * (sign(v) e)``."""
    return fa(network._replace(B=signs(network)), sample)


def sign_random(network, sample):
    """Sign symmetry with the magnitudes of a fixed random B: ``delta = g' * (sign(v) |B| e)``."""
    return fa(network._replace(B=signed(network)), sample)


def kolen_pollack(network, sample):
    """Kolen & Pollack (1994): FA whose B learns and decays as v does."""
    dW, dv = fa(network, sample)
    return dW, dv, dv


@cache
def target_propagation(lr, decay, nonlinear, step):
    """Difference target propagation (Lee et al. 2015; Bengio 2020) with decoders that learn.

    From the activities y of the layer above, or the prediction, the decoder of a layer makes its
    own, D(y) = B y, or g(B y) if ``nonlinear``.  The target of the last hidden layer is
    ``h - (D(y) - D(y - step e))``, and so ``delta = g' * (D(y) - D(y - step e))``; the targets of
    the layers below follow from that in the same way.  B descends ``|h - D(y)|^2 / 2``.
    """
    return partial(_target_propagation, lr, decay, nonlinear, step)


def _target_propagation(lr, decay, nonlinear, step, network, sample):
    """Difference target propagation with decoders that learn."""

    def decoded(B, above):
        return sample.g(B @ above) if nonlinear else B @ above

    def moved(B, above, sent, delta):
        return decoded(B, above) - decoded(B, above - sent)

    _, h = ascend(network, sample, sample.fields(sample.x))
    above = [*h[1:], h[-1] @ layers_of(network.v)[-1]]

    def learned(B, own, y):
        lost = jax.grad(lambda B: jnp.sum((own - decoded(B, y)) ** 2) / 2)(B)
        return -lr * lost - decay * B

    dB = as_weights(map(learned, layers_of(network.B), h, above))
    return *layer_by_layer(network, sample, moved, step), {"B": dB}


def no_feedback(network):
    """None: the signal sent back is v itself."""
    return None


def fixed_feedback(network):
    """The fixed feedback weights B."""
    return network.B


def direct_feedback(network):
    """The fixed feedback weights from the outputs to every hidden layer."""
    if network.direct is None and is_several(network.v):
        raise ValueError("network.direct has no weights from the outputs to every hidden layer.")
    return network.B if network.direct is None else network.direct


def signs(network):
    """``B = sign(v)``."""
    return over_layers(jnp.sign, network.v)


def signed(network):
    """``B = sign(v) |b|`` with the fixed feedback weights b."""
    return over_layers(lambda v, B: jnp.sign(v) * jnp.abs(B), network.v, network.B)
