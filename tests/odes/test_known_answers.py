"""Classical results: decay rates, plateau, noise floor and the linear network.

The soft committee machine: one output, v = v* = 1 frozen, T = identity, K = M.
"""

import numpy as np
import pytest

from odes import (
    RULES,
    OrderParameters,
    Teacher,
    drift,
    fixed_point,
    generalization_error,
    hyperparameters,
    solve,
)


def teacher(K):
    """K orthonormal units that count alike."""
    return Teacher(np.eye(K), np.ones((K, 1)))


def solution(K):
    """The student that equals its teacher."""
    return OrderParameters(np.eye(K), np.eye(K), np.ones((K, 1)))


def plateau(K):
    """The symmetric plateau for lr -> 0 (Saad & Solla 1995)."""
    Q = np.full((K, K), 1 / (2 * K - 1))
    R = np.full((K, K), 1 / np.sqrt(K * (2 * K - 1)))
    return OrderParameters(Q, R, np.ones((K, 1)))


def test_decay_rates_of_one_unit():
    """Two modes decay, at b lr and 6 b lr (1 - lr / lr_c).

    To first order eps does not see the first and follows its square, so that it falls fastest where
    2 b lr equals the second rate: at lr = 2/3 lr_c.
    """
    critical, b = np.pi * np.sqrt(15) / 3, 2 / np.pi * 3**-1.5
    for lr in (0.5, 2 / 3 * critical, 3.5):
        expected = sorted([-b * lr, -6 * b * lr * (1 - lr / critical)])
        found = fixed_point(solution(1), teacher(1), rule="bp", lr=lr, lr_v=0)
        np.testing.assert_allclose(np.sort(found.eigenvalues.real), expected, rtol=1e-12)


@pytest.mark.parametrize("fraction", [0.4, 2 / 3, 0.85])
def test_error_of_one_unit_falls_at_the_slower_rate(fraction):
    start = OrderParameters(np.full((1, 1), 0.9), np.full((1, 1), 0.92), np.ones((1, 1)))
    critical, b = np.pi * np.sqrt(15) / 3, 2 / np.pi * 3**-1.5
    lr = fraction * critical
    early, late = solve(
        start, teacher(1), rule="bp", lr=lr, lr_v=0, times=[25, 35], rtol=1e-10, atol=1e-14
    ).generalization_error
    expected = min(2 * b * lr, 6 * b * lr * (1 - fraction))
    assert abs(np.log(early / late) / 10 / expected - 1) < 0.01


@pytest.mark.parametrize("K", [2, 3])
def test_symmetric_plateau(K):
    """The fixed point for lr -> 0, its error, and the rate at which differences grow there."""
    found = fixed_point(plateau(K), teacher(K), rule="bp", lr=1e-6, lr_v=0)
    for ours, exact in zip(found.order_parameters[:2], plateau(K)[:2], strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-5)
    height = K / np.pi * (np.pi / 6 - K * np.arcsin(1 / (2 * K)))
    assert abs(generalization_error(plateau(K), teacher(K)) - height) < 1e-15
    escape = 2 * K / np.pi * (2 * K - 1) ** -0.5 * (2 * K + 1) ** -1.5
    assert abs(found.escape_rate / 1e-6 - escape) < 1e-5 * escape
    small = hyperparameters(lr=1e-9, lr_v=0.0)
    change = drift(plateau(K), teacher(K), small, rule=RULES["bp"])
    assert np.max(np.abs(change.Q)) < 1e-8 * small.lr
    assert np.max(np.abs(change.R)) < 1e-8 * small.lr


@pytest.mark.parametrize("lr", [0.5, 1.5])
def test_noise_floor(lr):
    """For small noise, eps ends at lr sigma^2 / (2 sqrt 3 pi) / (1 - lr / lr_c)."""
    noise, critical = 1e-3, np.pi * np.sqrt(15) / 3
    theory = solve(
        solution(1), teacher(1), rule="bp", lr=lr, lr_v=0, noise=noise, times=[300.0],
        atol=1e-14,
    )  # fmt: skip
    floor = lr * noise**2 / (2 * np.sqrt(3) * np.pi) / (1 - lr / critical)
    assert abs(theory.generalization_error[0] / floor - 1) < 1e-5


def test_linear_network():
    """d eps/dt = (lr^2 - 2 lr) eps + lr^2 sigma^2 / 2."""
    lr, noise, times = 0.6, 0.3, np.linspace(0, 10, 11)
    start = OrderParameters(np.full((1, 1), 0.3), np.full((1, 1), 0.2), np.ones(1))
    theory = solve(
        start, Teacher(np.eye(1), np.ones(1)), rule="bp", lr=lr, lr_v=0, noise=noise,
        activation="linear", times=times,
    )  # fmt: skip
    rate, final = lr**2 - 2 * lr, lr**2 * noise**2 / 2 / (2 * lr - lr**2)
    exact = final + (0.45 - final) * np.exp(rate * times)
    np.testing.assert_allclose(theory.generalization_error, exact, rtol=0, atol=1e-9)
