"""The arcsine, erf and the second moment under JAX, against those of NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from odes import RULES, drift, generalization_error, hyperparameters
from odes.averages.activations import Erf
from odes.averages.special_functions import arcsine, erf
from tests.conftest import random_problem


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_arcsine_is_numpys_to_the_last_bits():
    near_one = 1 - np.geomspace(1e-17, 0.5, 20_000)
    x = np.concatenate([np.linspace(0, 1, 200_001), near_one, np.geomspace(1e-300, 1, 1000)])
    for sign in (1, -1):
        np.testing.assert_allclose(jax.jit(arcsine)(sign * x), sign * np.arcsin(x), rtol=5e-16)
    assert np.all(np.isnan(arcsine(jnp.array([1.0000001, -2.0, np.nan]))))


@pytest.mark.parametrize("x", [0.0, 0.3, -0.5, 0.500001, -0.99])
def test_arcsine_has_its_derivative(x):
    assert jax.grad(arcsine)(x) == pytest.approx(1 / np.sqrt(1 - x * x), rel=1e-15)


def test_erf_is_scipys_to_the_last_bits():
    x = np.concatenate([np.linspace(0, 7, 200_001), np.geomspace(1e-300, 1, 1000), [50, np.inf]])
    for sign in (1, -1):
        found = np.asarray(jax.jit(erf)(sign * x))
        np.testing.assert_allclose(found, sign * special.erf(x), rtol=2e-15)
        assert np.all(np.abs(found) <= 1 + 1e-15)
    assert np.isnan(erf(jnp.nan))
    assert erf(jnp.array([0.5], jnp.float32)).dtype == jnp.float32


@pytest.mark.parametrize("x", [0.0, 0.7, -3.0, 6.5])
def test_erf_has_its_derivatives(x):
    slope = 2 / np.sqrt(np.pi) * np.exp(-x * x)
    assert jax.grad(erf)(x) == pytest.approx(slope, rel=1e-14)
    assert jax.jacrev(jax.grad(erf))(x) == pytest.approx(-2 * x * slope, rel=1e-14)


def credit(K, M, seed=0):
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(K + M, 30))
    return rng.normal(size=(K, K + M)), fields @ fields.T / 30


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (2, 5)])
def test_second_moment_in_lanes_is_that_of_each_lane(sizes):
    lanes = [credit(*sizes, seed) for seed in range(3)]
    c, C = (np.stack(arrays) for arrays in zip(*lanes, strict=True))
    expected = np.stack([Erf.second_moment(*lane) for lane in lanes])
    np.testing.assert_allclose(jax.jit(jax.vmap(Erf.second_moment))(c, C), expected, rtol=1e-13)
    np.testing.assert_allclose(
        Erf.second_moment(*map(jnp.array, lanes[0])), expected[0], rtol=1e-13
    )
    one_covariance = jax.vmap(Erf.second_moment, (0, None))(c, C[1])
    np.testing.assert_allclose(one_covariance[1], expected[1], rtol=1e-13)


def test_second_moment_has_its_derivative_forward_and_backward():
    c, C = map(jnp.array, credit(2, 3))
    dc, dC = map(jnp.array, credit(2, 3, seed=1))
    forward = jax.jit(lambda *along: jax.jvp(Erf.second_moment, (c, C), along)[1])(dc, dC)
    step = 1e-5
    numeric = (
        Erf.second_moment(np.array(c + step * dc), np.array(C + step * dC))
        - Erf.second_moment(np.array(c - step * dc), np.array(C - step * dC))
    ) / (2 * step)
    np.testing.assert_allclose(forward, numeric, rtol=1e-8, atol=1e-9)

    weights = jnp.array([[1.0, -0.5], [2.0, 0.3]])
    slope = jax.jit(jax.grad(lambda c, C: jnp.sum(weights * Erf.second_moment(c, C)), (0, 1)))
    backward = slope(c, C)
    along = jnp.sum(backward[0] * dc) + jnp.sum(backward[1] * dC)
    assert along == pytest.approx(float(jnp.sum(weights * forward)), rel=1e-12)
    lanes = jax.vmap(lambda c: slope(c, C)[0])(jnp.stack([c, dc]))
    np.testing.assert_allclose(lanes[0], backward[0], rtol=1e-12)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 3, 2), (4, 2, 1)])
@pytest.mark.parametrize("rule", ["bp", "afa"])
def test_drift_under_jit_and_vmap_is_that_of_numpy(sizes, rule):
    states, teachers = zip(*(random_problem(*sizes, seed=seed) for seed in range(3)), strict=True)
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    parameters = hyperparameters(lr=0.7, noise=0.3, weight_decay=0.1)
    moved = lambda state, teacher: drift(state, teacher, parameters, rule=RULES[rule])  # noqa: E731
    batch = jax.jit(jax.vmap(moved))(stack(states), stack(teachers))
    for lane, (state, teacher) in enumerate(zip(states, teachers, strict=True)):
        for ours, numpys in zip(batch, moved(state, teacher), strict=True):
            np.testing.assert_allclose(ours[lane], numpys, rtol=1e-12, atol=1e-14)


def test_single_precision_is_refused_with_the_way_out(problem):
    state, teacher = jax.tree.map(lambda array: array.astype(np.float32), problem)
    parameters = hyperparameters(lr=0.1)
    with jax.enable_x64(False):
        moved = jax.jit(lambda state: drift(state, teacher, parameters, rule=RULES["bp"]))
        with pytest.raises(ValueError, match=r"float64, but is in float32.*jax_enable_x64"):
            moved(state)
        with pytest.raises(ValueError, match="float64"):
            jax.grad(lambda state: generalization_error(state, teacher))(state)
