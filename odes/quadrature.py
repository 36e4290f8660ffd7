"""Points and weights for averages over independent standard normals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from odes.checks import check_count

NEGLIGIBLE = 1e-7
"""Nodes of a tensor rule whose weights add up to less than this are left out: most of them."""


class Points(NamedTuple):
    """An average <f> over D independent standard normals is ``sum_p weights_p f(nodes_p)``."""

    nodes: Any  # (n, D)
    weights: Any  # (n,), adding up to 1


def gauss_hermite(dimensions: int, per_axis: int) -> Points:
    """Tensor Gauss-Hermite rule, without its negligible nodes.

    Converges geometrically for smooth integrands: for erf and fields of variance about 1, eight
    more nodes an axis gain a factor of about 20 (``python benchmarks/quadrature.py``).  Jumps and
    kinks want :func:`sobol`.
    """
    check_count("dimensions", dimensions)
    check_count("per_axis", per_axis)
    axis, weight = np.polynomial.hermite_e.hermegauss(per_axis)
    shape = (per_axis,) * dimensions
    weights = np.ones(shape)
    for a in range(dimensions):
        weights *= (weight / weight.sum()).reshape([-1 if b == a else 1 for b in range(dimensions)])
    order = np.argsort(weights, axis=None)
    kept = order[np.cumsum(weights.ravel()[order]) > NEGLIGIBLE]
    kept.sort()
    nodes = axis[np.stack(np.unravel_index(kept, shape), axis=1)]
    weights = weights.ravel()[kept]
    return Points(nodes, weights / weights.sum())


def sobol(dimensions: int, n: int, seed: int = 0) -> Points:
    """Scrambled Sobol points mapped to normals; n is rounded up to a power of two.

    The error falls almost as 1/n for smooth integrands in few dimensions, more slowly for jumps,
    and as 1/sqrt(n) at worst.
    """
    from scipy.special import ndtri
    from scipy.stats import qmc  # takes longer to import than everything else here

    check_count("dimensions", dimensions)
    check_count("n", n)
    uniform = qmc.Sobol(dimensions, rng=seed).random_base2((n - 1).bit_length())
    uniform = np.clip(uniform, 2.0**-32, 1 - 2.0**-32)  # a coordinate may be exactly 0
    return Points(ndtri(uniform), np.full(len(uniform), 1 / len(uniform)))


def default_points(dimensions: int, smooth: bool) -> Points:
    """Tensor Gauss-Hermite up to four dimensions if the integrand is smooth, else Sobol points.

    What error to expect: the largest one of any entry of the drift with erf, at unit learning rate
    and over random states with fields of variance about 1, was 1e-5 for PEPITA and PEPITA-Hebbian
    at K = M = 1 and 2, and 5e-7 and 4e-6 for AFA, all by Gauss-Hermite; by Sobol points 5e-4 at
    K = 2, M = 3 and 2e-3 at K = M = 4 for AFA.  Label noise adds O dimensions, so that K = M = 2 is
    left to Sobol points then.  Four times the Sobol points gain a factor of about 5
    (``python benchmarks/quadrature.py``).
    """
    per_axis = {2: 64, 3: 40, 4: 32}
    if smooth and dimensions in per_axis:
        return gauss_hermite(dimensions, per_axis[dimensions])
    return sobol(dimensions, 2**15)
