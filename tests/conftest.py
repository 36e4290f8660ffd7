"""What several test files share: random valid problems, and Gauss-Hermite quadrature.

Tests compile more than they compute, and so with fewer optimisations: a sixth less time.
"""

import os

os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=1 {os.environ.get('XLA_FLAGS', '')}"

import numpy as np
import pytest

from odes import RULES, OrderParameters, Teacher
from odes.averages import ACTIVATIONS
from odes.solve import has_closed_form

CLOSED_RULES = [name for name, rule in RULES.items() if has_closed_form(rule, ACTIVATIONS["erf"])]
LOCAL_RULES = [name for name in RULES if name not in CLOSED_RULES]


def random_problem(K, M, O, seed=0, scale=0.7, N=50):
    """Order parameters and teacher as measured on random vectors, F among them."""
    rng = np.random.default_rng(seed)
    W = scale * rng.normal(size=(K, N))
    W_star = rng.normal(size=(M, N))
    F = rng.normal(size=(N, O)) / np.sqrt(N)
    v, v_star = rng.normal(size=(K, O)), rng.normal(size=(M, O))
    root = np.sqrt(N)
    state = OrderParameters(W @ W.T / N, W @ W_star.T / N, v, W @ F / root)
    return state, Teacher(W_star @ W_star.T / N, v_star, W_star @ F / root, F.T @ F)


def gaussian_grid(covariance, points=40):
    """Fields (n, number of nodes) and weights of a tensor Gauss-Hermite rule; covariance (n, n)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    n = len(covariance)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * n, indexing="ij")])
    weight = np.prod(np.meshgrid(*[weights] * n, indexing="ij"), axis=0).ravel()
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(eigenvalues, 0)) @ grid, weight


@pytest.fixture
def problem():
    """The small problem of many tests: K = 2, M = 3, two outputs."""
    return random_problem(2, 3, 2)
