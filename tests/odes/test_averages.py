"""The closed-form averages against Gauss-Hermite quadrature, which shares no formula with them."""

import numpy as np
import pytest
from scipy.special import erf

from odes.averages.activations import ACTIVATIONS
from tests.conftest import gaussian_grid

SLOPES = {  # g, g', g''
    "erf": (
        lambda z: erf(z / np.sqrt(2)),
        lambda z: np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2),
        lambda z: -z * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2),
    ),
    "linear": (lambda z: z, np.ones_like, np.zeros_like),
}


def covariance(kind):
    """Four fields: in general position, nearly parallel, or one of them a copy of another."""
    A = 0.35 * np.random.default_rng(1).normal(size=(4, 4))  # small enough for 36 nodes an axis
    if kind == "nearly parallel":
        A[1] = A[0] + 1e-6 * A[1]
    if kind == "identical":
        A[2] = A[0]
    if kind == "tiny":
        A[0] *= 1e-8
    return A @ A.T


KINDS = ("general", "nearly parallel", "identical", "tiny")


@pytest.fixture(scope="module", params=[(a, k) for a in SLOPES for k in KINDS], ids=str)
def case(request):
    activation, kind = request.param
    C = covariance(kind)
    fields, weight = gaussian_grid(C, 36)
    return ACTIVATIONS[activation], C, fields, weight, [f(fields) for f in SLOPES[activation]]


def test_averages_of_two_fields_match_quadrature(case):
    closed, C, _, weight, (g, slope, curvature) = case
    variance = np.diag(C)
    J2 = closed.J2(C, variance[:, None], variance)
    mean = lambda left, right: np.einsum("kp,ap,p->ka", left, right, weight)  # noqa: E731
    np.testing.assert_allclose(
        closed.I2(C, variance[:, None], variance), mean(g, g), rtol=0, atol=2e-13
    )
    np.testing.assert_allclose(J2, mean(slope, slope), rtol=0, atol=2e-13)
    np.testing.assert_allclose(
        closed.G2(C, variance[:, None], J2), mean(curvature, g), rtol=0, atol=2e-13
    )


def test_I3_by_parts_matches_quadrature(case):
    closed, C, fields, weight, (g, slope, _) = case
    variance = np.diag(C)
    J2 = closed.J2(C, variance[:, None], variance)
    G2 = closed.G2(C, variance[:, None], J2)
    by_parts = J2[:, None, :] * C[None] + G2[:, None, :] * C[:, :, None]  # k, y, a
    direct = np.einsum("kp,yp,ap,p->kya", slope, fields, g, weight, optimize=True)
    np.testing.assert_allclose(by_parts, direct, rtol=0, atol=1e-12)


def test_second_moment_matches_quadrature(case):
    closed, C, _, weight, (g, slope, _) = case
    c = np.random.default_rng(0).normal(size=(3, 4))
    J2 = closed.J2(C[:3, :3], np.diag(C)[:3, None], np.diag(C)[:3])
    delta = slope[:3] * (c @ g)
    direct = np.einsum("kp,lp,p->kl", delta, delta, weight)
    np.testing.assert_allclose(J2 * closed.second_moment(c, C), direct, rtol=0, atol=2e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_I4_by_tilting_matches_quadrature(kind):
    closed, C, (g, slope, _) = ACTIVATIONS["erf"], covariance(kind), SLOPES["erf"]
    fields, weight = gaussian_grid(C, 36)
    g, slope = g(fields), slope(fields)
    k, l = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3])
    tilted = closed.tilt(C, k, l)
    variance = np.diagonal(tilted, axis1=1, axis2=2)
    J2 = closed.J2(C[k, l], C[k, k], C[l, l])[:, None, None]
    I4 = J2 * closed.I2(tilted, variance[:, :, None], variance[:, None, :])
    direct = np.einsum("kp,ap,bp->kab", slope[k] * slope[l] * weight, g, g, optimize=True)
    np.testing.assert_allclose(I4, direct, rtol=0, atol=1e-12)


def test_I4_has_the_published_closed_form():
    """Saad & Solla's (2/pi)^2 asin(L0 / sqrt(L1 L2)) / sqrt(L4), for one (k, l, a, b)."""
    closed, C = ACTIVATIONS["erf"], covariance("general")
    k, l, a, b = 0, 1, 2, 3
    d = 1 + np.diag(C)
    L4 = d[k] * d[l] - C[k, l] ** 2
    L0 = (
        L4 * C[a, b]
        - C[l, a] * C[l, b] * d[k]
        - C[k, a] * C[k, b] * d[l]
        + C[k, l] * (C[k, a] * C[l, b] + C[k, b] * C[l, a])
    )
    L1, L2 = (
        L4 * d[u] - C[l, u] ** 2 * d[k] - C[k, u] ** 2 * d[l] + 2 * C[k, l] * C[k, u] * C[l, u]
        for u in (a, b)
    )
    published = 4 / np.pi**2 / np.sqrt(L4) * np.arcsin(L0 / np.sqrt(L1 * L2))
    tilted = closed.tilt(C, np.array([k]), np.array([l]))[0]
    ours = closed.J2(C[k, l], C[k, k], C[l, l]) * closed.I2(
        tilted[a, b], tilted[a, a], tilted[b, b]
    )
    assert abs(ours - published) < 1e-15
