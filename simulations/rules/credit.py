"""Rules that send a signal straight to the hidden units; most have ``delta = g' * (B e)``."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp

from simulations.rules.rule import forward


def bp(network, sample):
    """Backpropagation: the gradient, ``delta = g' * (v e)``."""
    h, through, e = forward(network, sample)
    return [(through(network.v @ e), sample.x)], jnp.outer(h, e)


def fa(network, sample):
    """Feedback alignment (Lillicrap et al. 2016): fixed B in place of v, ``delta = g' * (B e)``.

    With one hidden layer also direct feedback alignment, "dfa".
    """
    h, through, e = forward(network, sample)
    return [(through(network.B @ e), sample.x)], jnp.outer(h, e)


def sign_symmetry(network, sample):
    """Sign symmetry (Liao et al. 2016): ``delta = g' * (sign(v) e)``."""
    return fa(network._replace(B=jnp.sign(network.v)), sample)


def sign_random(network, sample):
    """Sign symmetry with the magnitudes of a fixed random B: ``delta = g' * (sign(v) |B| e)``."""
    return fa(network._replace(B=signed(network)), sample)


def kolen_pollack(network, sample):
    """Kolen & Pollack (1994): FA whose B learns and decays as v does."""
    dW, dv = fa(network, sample)
    return dW, dv, dv


@cache
def target_propagation(lr, decay, nonlinear, step):
    """Difference target propagation (Lee et al. 2015; Bengio 2020) with a decoder that learns.

    From the prediction y the decoder makes hidden activities, D(y) = B y, or g(B y) if
    ``nonlinear``.  The target of the hidden layer is ``h - (D(y) - D(y - step e))``, and so
    ``delta = g' * (D(y) - D(y - step e))``; B descends ``|h - D(y)|^2 / 2``.
    """
    return partial(_target_propagation, lr, decay, nonlinear, step)


def _target_propagation(lr, decay, nonlinear, step, network, sample):
    """Difference target propagation with a decoder that learns."""
    h, through, e = forward(network, sample)
    y = e + sample.y

    def decoded(y):
        return sample.g(network.B @ y) if nonlinear else network.B @ y

    def lost(B):
        return jnp.sum((h - (sample.g(B @ y) if nonlinear else B @ y)) ** 2) / 2

    dB = -lr * jax.grad(lost)(network.B) - decay * network.B
    delta = through(decoded(y) - decoded(y - step * e))
    return [(delta, sample.x)], jnp.outer(h, e), {"B": dB}


def no_feedback(network):
    """None: the signal sent back is v itself."""
    return None


def fixed_feedback(network):
    """The fixed feedback weights B."""
    return network.B


def signs(network):
    """``B = sign(v)``."""
    return jnp.sign(network.v)


def signed(network):
    """``B = sign(v) |b|`` with the fixed feedback weights b."""
    return jnp.sign(network.v) * jnp.abs(network.B)
