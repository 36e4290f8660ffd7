"""Quadrature nodes and weights for averages over independent standard normals."""

from __future__ import annotations

import math
from functools import cache
from itertools import chain, combinations_with_replacement, permutations
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

LATTICE_DECAY = 16.0
"""What a lattice of spacing a adds falls as ``exp(-16 / a^2)``, for products of three erfs of
fields of variance about 1 (``python benchmarks/quadrature.py``)."""

SHAPED_DECAY = 7.0
"""The same of a lattice with a shape, for the integrands that need one, of mean spacing a."""

SHAPED_DEGREE = 4
"""Polynomials up to this degree are averaged exactly over a lattice with a shape."""

PIECE = 2**14
"""Nodes of which polynomials are taken at once."""

MIN_ORBITS = 40
"""Distinct weights of a lattice from which on they are corrected."""

MIN_TAIL = 1e-9
"""Weight beyond the nodes of a lattice, at least."""

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


class Lattice(Points):
    """Points of :func:`lattice`."""

    @property
    def kind(self) -> str:
        """The name by which a result says how it was averaged."""
        return "lattice nodes"


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


def mirrored_sobol(dimensions: int, n: int, students: int, seed: int = 0) -> Points:
    """Sobol points, and as many again with the first ``students`` coordinates negated.

    Averages of what is odd in these coordinates vanish.  n is rounded up to a power of two.
    """
    nodes, _ = sobol(dimensions, (n + 1) // 2, seed)
    signs = np.where(np.arange(dimensions) < students, -1, 1)
    return Sobol(np.concatenate([nodes, signs * nodes]), np.full(2 * len(nodes), 0.5 / len(nodes)))


def lattice(dimensions: int, spacing: float, *, halved: bool = False, shape: Any = None) -> Points:
    """The trapezoidal rule on a body-centred lattice, inside a ball: for smooth integrands.

    Its nodes are ``a Z^D`` and ``a (Z^D + 1/2)``, with weights ``exp(-|z|^2 / 2)``.  The waves that
    it takes for constants have at least the wavenumber ``2 pi sqrt(2) / a``, the length of the
    shortest vectors of the dual lattice: a cubic lattice takes ``2^(D/2 - 1)`` times as many nodes
    for that (Conway & Sloane, Sphere Packings, Lattices and Groups, chapter 4).

    Args:
        dimensions: D, 2 or more.
        spacing: a; what those waves add falls as ``exp(-c / a^2)``, where c is smaller the steeper
            the integrand.  The weight outside the ball is about as large as it is for erf; weights
            near the rim are corrected for it as those of :func:`gauss_hermite`.
        halved: whether to leave out one of each pair z and -z, and to count the other twice, for
            integrands that are even in z.
        shape: a positive definite matrix of determinant 1, (D, D), by which the nodes are
            multiplied, for integrands that are steeper along some directions.
    """
    triangle = np.eye(dimensions) if shape is None else np.linalg.qr(shape).R
    square = squared_radius(dimensions, spacing, shape is not None)
    nodes = np.concatenate([_half_of_ball(triangle, square / spacing**2, s) for s in (0.0, 0.5)])
    counted = np.where(np.any(nodes != 0, axis=1), 2.0, 1.0)
    if shape is not None:
        nodes = spacing * nodes @ np.asarray(shape).T
        weights = counted * np.exp(-np.sum(nodes**2, axis=1) / 2)
        weights = _with_moments(weights / weights.sum(), nodes)
    else:
        doubled = np.sort(np.rint(2 * np.abs(nodes)).astype(int), axis=1)  # equal within an orbit
        bases = (doubled.max() + 1) ** np.arange(dimensions)
        _, where, member = np.unique(doubled @ bases, return_index=True, return_inverse=True)
        orbits = spacing / 2 * doubled[where]
        count = np.bincount(member, weights=counted)
        total = count * np.exp(-np.sum(orbits**2, axis=1) / 2)
        degree = EXACT_DEGREE if len(orbits) > MIN_ORBITS else 0
        total = _corrected(total / total.sum(), orbits, degree)
        nodes, weights = spacing * nodes, counted * (total / count)[member]
    if halved:
        return Lattice(nodes, weights)
    has_opposite = counted == 2
    return Lattice(
        np.concatenate([nodes, -nodes[has_opposite]]),
        np.concatenate([weights / counted, weights[has_opposite] / 2]),
    )


def squared_radius(dimensions: int, spacing: float, shaped: bool) -> float:
    """Of the ball that the nodes of a lattice of this spacing fill."""
    from scipy.special import chdtri  # takes longer to import than everything else here

    decay = SHAPED_DECAY if shaped else LATTICE_DECAY
    return chdtri(dimensions, max(math.exp(-decay / spacing**2), MIN_TAIL))


def _half_of_ball(triangle: np.ndarray, square: float, shift: float) -> np.ndarray:
    """One of u and -u for all integer vectors, shifted along all axes, of a ball.

    Those with ``|triangle @ u|^2`` up to ``square``.  The matrix is upper triangular: coordinates
    are found one by one, the last one first.
    """
    dimensions = len(triangle)
    reach = math.sqrt(square) * np.linalg.norm(np.linalg.inv(triangle), axis=1)
    found, squares = np.zeros((1, dimensions)), np.zeros(1)
    for d in reversed(range(dimensions)):
        axis = np.arange(-math.ceil(reach[d]) - 1, math.ceil(reach[d]) + 1) + shift
        along = triangle[d, d] * axis + (found @ triangle[d])[:, None]
        longer = squares[:, None] + along**2
        is_zero = ~np.any(found, axis=1)
        row, column = np.nonzero((longer <= square) & ((axis >= 0) | ~is_zero[:, None]))
        found, squares = found[row], longer[row, column]
        found[:, d] = axis[column]
    return found


def _with_moments(weights: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Weights close to these that average polynomials up to ``SHAPED_DEGREE``.

    The change is the least in the norm of :func:`_corrected`.  Each of the nodes stands for itself
    and its opposite.
    """
    averages, scales = _monomial_averages(nodes.shape[1])
    root = np.sqrt(weights) * np.sum(nodes**2, axis=1) ** 3
    pieces = [slice(i, i + PIECE) for i in range(0, len(nodes), PIECE)]
    monomials = [_even_monomials(nodes[piece]) for piece in pieces]
    missing, products = averages, 0.0
    for piece, each in zip(pieces, monomials, strict=True):
        weighted = each * root[piece]
        products = products + weighted @ weighted.T
        missing = missing - each @ weights[piece]
    along = np.linalg.lstsq(products / np.outer(scales, scales), missing / scales)[0] / scales
    weights = weights + root**2 * np.concatenate([along @ each for each in monomials])
    return weights / weights.sum()


@cache
def _even_exponents(dimensions: int) -> dict[tuple[int, ...], int]:
    """The axes that a monomial multiplies, (0, 0, 1, 2) for z_0^2 z_1 z_2, and its index.

    Of all monomials of even degree up to ``SHAPED_DEGREE``, the lower degrees first.
    """
    degrees = range(0, SHAPED_DEGREE + 1, 2)
    each = (combinations_with_replacement(range(dimensions), degree) for degree in degrees)
    return {axes: index for index, axes in enumerate(chain.from_iterable(each))}


def _even_monomials(nodes: np.ndarray) -> np.ndarray:
    """The monomials of :func:`_even_exponents` at nodes (n, D), (monomials, n)."""
    coordinates, index = nodes.T.copy(), _even_exponents(nodes.shape[1])
    found = np.ones((len(index), len(nodes)))
    for axes, i in index.items():
        if len(axes) == 2:
            np.multiply(coordinates[axes[0]], coordinates[axes[1]], out=found[i])
        elif axes:
            np.multiply(found[index[axes[:2]]], found[index[axes[2:]]], out=found[i])
    return found


@cache
def _monomial_averages(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """The averages of these monomials over independent normals, and their root mean squares."""
    powers = [[axes.count(a) for a in range(dimensions)] for axes in _even_exponents(dimensions)]

    def averages(times: int) -> np.ndarray:
        return np.array([math.prod(_even_moment(times * m) for m in each) for each in powers])

    return averages(1), np.sqrt(averages(2))


def _even_moment(power: int) -> int:
    """<z^power> of a standard normal."""
    return math.prod(range(power - 1, 0, -2)) if power % 2 == 0 else 0


def coarse_points(points: Points) -> Points:
    """Few nodes in place of these, good to some per cent, for a Jacobian; these if they are few."""
    dimensions = points.nodes.shape[1]
    per_axis = int(MAX_COARSE_NODES ** (1 / dimensions) + 1e-9)
    if per_axis < MIN_COARSE_PER_AXIS or len(points.weights) < 2 * MAX_COARSE_NODES:
        return points
    return gauss_hermite(dimensions, per_axis)
