"""Each rule's update of the weights against an independent statement of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from simulations import RULES, sample_network
from simulations.rules import as_matrix, see

N, K, M, O = 30, 3, 2, 2
LR = 0.7


def g(z):
    return jax.scipy.special.erf(z / np.sqrt(2))


def updates(rule, network, x, y):
    """dW and dv in float64."""
    with jax.enable_x64(True):
        on_jax = jax.tree.map(jnp.asarray, network)
        seen = see(on_jax, jnp.asarray(x), jnp.asarray(y), g, LR)
        dW, *others = RULES[rule].update(on_jax, seen)
        return jax.tree.map(np.asarray, (as_matrix(dW), *others))


@pytest.fixture
def sample():
    """A network, an input and its label."""
    rng = np.random.default_rng(0)
    network = sample_network(N=N, K=K, M=M, O=O, feedback="random", seed=2)
    return network, rng.normal(size=N), rng.normal(size=O)


def test_bp_is_the_gradient(sample):
    network, x, y = sample

    def loss(W, v):
        return jnp.sum((g(W @ x / np.sqrt(N)) @ v - y) ** 2) / 2

    with jax.enable_x64(True):
        gradient = jax.grad(loss, argnums=(0, 1))(jnp.asarray(network.W), jnp.asarray(network.v))
        dW, dv = (np.asarray(array) for array in gradient)
    ours = updates("bp", network, x, y)
    np.testing.assert_allclose(ours[0], np.sqrt(N) * dW, atol=1e-14)
    np.testing.assert_allclose(ours[1], dv, atol=1e-14)


def test_feedback_replaces_the_readout(sample):
    """FA with B = v is BP, and so is AFA with W F / sqrt(N) = v."""
    network, x, y = sample
    F = np.linalg.lstsq(network.W / np.sqrt(N), network.v, rcond=None)[0]
    network = network._replace(B=network.v, F=F)
    for rule in ("fa", "afa"):
        for ours, bp in zip(
            updates(rule, network, x, y), updates("bp", network, x, y), strict=True
        ):
            np.testing.assert_allclose(ours, bp, atol=1e-13)


@pytest.mark.parametrize("rule", ["pepita", "pepita-modulated"])
def test_pepita_runs_two_passes(sample, rule):
    network, x, y = sample
    W, v, F = network.W, network.v, network.F
    h = erf(W @ x / np.sqrt(2 * N))
    e = h @ v - y
    x_err = x - F @ e
    h_err = erf(W @ x_err / np.sqrt(2 * N))
    modulated = rule == "pepita-modulated"
    dW, dv = updates(rule, network, x, y)
    np.testing.assert_allclose(dW, np.outer(h - h_err, x_err if modulated else x), atol=1e-13)
    np.testing.assert_allclose(dv, np.outer(h_err if modulated else h, e), atol=1e-13)


def test_pepita_tends_to_afa_for_small_feedback(sample):
    """The difference of the passes is quadratic in F where the update is linear."""
    network, x, y = sample
    afa = updates("afa", network, x, y)[0]
    gaps = []
    for scale in (1e-2, 1e-3):
        weak = network._replace(F=scale * network.F)
        gaps.append(np.abs(updates("pepita", weak, x, y)[0] / scale - afa).max())
    assert gaps[1] < 1e-2
    assert 9 < gaps[0] / gaps[1] < 11
