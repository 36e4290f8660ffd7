"""Quadrature nodes and weights for averages over independent standard normals."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, permutations
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import check_count, check_seed

DROPPED_WEIGHT = 1e-7
"""Nodes of a tensor rule whose weights add up to less than this are left out: most of them."""

EXACT_DEGREE = 8
"""Polynomials up to this total degree are averaged exactly, whatever nodes are left out."""

MAX_PER_AXIS = 300
"""Nodes on an axis, at most: with 400, NumPy's weights are no numbers."""

MAX_AXES = 10
"""Axes of a tensor rule, at most."""

MAX_NODES = 2**26
"""Nodes in all, at most: more have no place in memory."""

MAX_COARSE_NODES = 4096
"""Nodes of a coarse rule, at most."""

MIN_COARSE_PER_AXIS = 4
"""Nodes on an axis of a coarse rule, at least."""

SAME_WEIGHT_RTOL = 1e-9
"""Relative difference below which two weights are one, of nodes that are kept or left together."""


class Points(NamedTuple):
    """An average <f> over D independent standard normals is ``sum_p weights_p f(nodes_p)``."""

    nodes: Any  # (n, D)
    weights: Any  # (n,), adding up to 1

    @property
    def kind(self) -> str:
        """The name by which a result says how it was averaged."""
        return "points"


class GaussHermite(Points):
    """Points of :func:`gauss_hermite`."""

    @property
    def kind(self) -> str:
        """The name by which a result says how it was averaged."""
        return "Gauss-Hermite nodes"


class Sobol(Points):
    """Points of :func:`sobol`."""

    @property
    def kind(self) -> str:
        """The name by which a result says how it was averaged."""
        return "Sobol points"


def gauss_hermite(dimensions: int, per_axis: int) -> Points:
    """Tensor Gauss-Hermite rule, without its negligible nodes.

    A node is kept with all that permutations of the axes and changes of sign make of it, and the
    kept weights get the smallest correction that restores the averages of polynomials up to total
    degree :data:`EXACT_DEGREE`, or what ``per_axis`` nodes allow.  Converges geometrically for
    smooth integrands: for erf and fields of variance about 1, eight more nodes an axis gain a
    factor of about 20 (``python benchmarks/quadrature.py``), down to some 1e-8, which is what the
    nodes left out cost.  Jumps and kinks want :func:`sobol`.
    """
    dimensions = check_count("dimensions", dimensions, below=MAX_AXES + 1)
    per_axis = check_count("per_axis", per_axis, below=MAX_PER_AXIS + 1)
    if dimensions * math.log(per_axis) > math.log(MAX_NODES):
        raise ValueError(
            f"Argument `per_axis` must give at most {MAX_NODES} nodes in all, but is {per_axis} in "
            f"{dimensions} dimensions; use sobol()."
        )
    axis, axis_weights = (each.copy() for each in np.polynomial.hermite_e.hermegauss(per_axis))
    axis = (axis - axis[::-1]) / 2
    axis_weights = axis_weights + axis_weights[::-1]
    axis_weights /= axis_weights.sum()
    index = np.indices((per_axis,) * dimensions).reshape(dimensions, -1).T
    orbit = np.sort(np.minimum(index, per_axis - 1 - index), axis=1)  # equal within an orbit
    weights = np.prod(axis_weights[orbit], axis=1)
    ordered = np.sort(weights)
    least = ordered[np.searchsorted(np.cumsum(ordered), DROPPED_WEIGHT, side="right")]
    kept = weights >= least * (1 - SAME_WEIGHT_RTOL)
    orbits, member, count = np.unique(orbit[kept], axis=0, return_inverse=True, return_counts=True)
    total = count * np.prod(axis_weights[orbits], axis=1)
    degree = min(EXACT_DEGREE, 2 * per_axis - 2)
    total = _corrected(total / total.sum(), axis[orbits], degree)
    return GaussHermite(axis[index[kept]], (total / count)[member.ravel()])


def _corrected(weights: np.ndarray, nodes: np.ndarray, degree: int) -> np.ndarray:
    """Weights close to these that average polynomials up to ``degree``.

    The change is the least in the norm ``sum_p change_p^2 / (weights_p |z_p|^12)``: it stays at the
    rim, where what was left out would have been, and averages of bounded functions keep theirs.
    The nodes, (n, D), stand for all that permutations of the axes and changes of sign make of them,
    so that only the symmetric sums of even monomials are to be restored.
    """
    half = degree // 2
    powers = [np.ones_like(nodes)]
    for h in range(1, half + 1):
        powers.append(powers[-1] * nodes**2 / (2 * h - 1))  # of average 1 on every axis
    D = nodes.shape[1]
    monomials = [
        np.mean(
            [np.prod([powers[h][:, d] for d, h in enumerate(order)], axis=0)
             for order in sorted(set(permutations(exponents)))], axis=0,
        )
        for exponents in combinations_with_replacement(range(half + 1), D)
        if sum(exponents) <= half
    ]  # fmt: skip
    averages = np.stack(monomials)
    rim = np.sum(nodes**2, axis=1) ** 3  # |z|^6
    for _ in range(2):  # the second time for rounding
        root = np.sqrt(weights) * rim
        weights = weights + root * np.linalg.lstsq(averages * root, 1 - averages @ weights)[0]
    return weights


def sobol(dimensions: int, n: int, seed: int = 0) -> Points:
    """Scrambled Sobol points mapped to normals; n is rounded up to a power of two.

    The error falls almost as 1/n for smooth integrands in few dimensions, more slowly for jumps,
    and as 1/sqrt(n) at worst.  Odd moments do not vanish: with 2^15 points in 2 to 8 dimensions
    <z> is off by up to 2e-5, <z^3> by 8e-4 and <z^5> by 0.02 (``python benchmarks/quadrature.py``).
    """
    from scipy.special import ndtri
    from scipy.stats import qmc  # takes longer to import than everything else here

    dimensions = check_count("dimensions", dimensions, below=qmc.Sobol.MAXDIM + 1)
    n = check_count("n", n, below=MAX_NODES + 1)
    seed = check_seed(seed)
    uniform = qmc.Sobol(dimensions, rng=seed).random_base2((n - 1).bit_length())
    uniform = np.clip(uniform, 2.0**-32, 1 - 2.0**-32)  # a coordinate may be exactly 0
    return Sobol(ndtri(uniform), np.full(len(uniform), 1 / len(uniform)))


def mirrored_sobol(dimensions: int, n: int, students: int) -> Points:
    """Sobol points, and as many again with the first ``students`` coordinates negated.

    Averages of what is odd in these coordinates vanish.  n is rounded up to a power of two.
    """
    nodes, _ = sobol(dimensions, (n + 1) // 2)
    signs = np.where(np.arange(dimensions) < students, -1, 1)
    return Sobol(np.concatenate([nodes, signs * nodes]), np.full(2 * len(nodes), 0.5 / len(nodes)))


def coarse_points(points: Points) -> Points:
    """Few nodes in place of these, good to some per cent, for a Jacobian; these if they are few."""
    dimensions = points.nodes.shape[1]
    per_axis = int(MAX_COARSE_NODES ** (1 / dimensions) + 1e-9)
    if per_axis < MIN_COARSE_PER_AXIS or len(points.weights) < 2 * MAX_COARSE_NODES:
        return points
    return gauss_hermite(dimensions, per_axis)


def default_points(dimensions: int, smooth: bool, students: int) -> Points:
    """Tensor Gauss-Hermite up to four dimensions if the integrand is smooth, else Sobol points.

    What error to expect: the largest one of any entry of the drift with erf, at unit learning rate
    and over random states with fields of variance about 1, was 1e-5 for PEPITA and 2e-5 for
    PEPITA-Hebbian at K = M = 1 and 2, and 2e-7 and 5e-7 for AFA, all by Gauss-Hermite; by Sobol
    points 3e-4 at K = 2, M = 3 and 5e-3 at K = M = 4 for AFA.  Label noise adds O dimensions, so
    that K = M = 2 is left to Sobol points then (``python benchmarks/quadrature.py``).

    The first ``students`` dimensions are those in which Sobol points are mirrored.
    """
    per_axis = {2: 64, 3: 40, 4: 32}
    if smooth and dimensions in per_axis:
        return gauss_hermite(dimensions, per_axis[dimensions])
    return mirrored_sobol(dimensions, 2**15, students)
