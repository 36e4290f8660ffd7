"""Quadrature nodes and weights for averages over independent standard normals."""

from __future__ import annotations

import math
from functools import lru_cache
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

LATTICE_SPACINGS = tuple(0.87**j for j in range(-5, 21))
"""Of the lattices among which to choose, the coarsest first, from 2 to 0.06."""

DEFAULT_SPACING = 0.43
"""Of the lattices that are taken unless an accuracy was asked for, at least."""

LATTICE_DECAY = 16.0
"""What a lattice of spacing a adds falls as ``exp(-16 / a^2)``, for products of three erfs of
fields of variance about 1 (``python benchmarks/quadrature.py``)."""

MIN_ORBITS = 40
"""Distinct weights of a lattice from which on they are corrected."""

MIN_TAIL = 1e-9
"""Weight beyond the nodes of a lattice, at least."""

MAX_LATTICE_AXES = 5
"""In more dimensions, lattices fill more nodes than Sobol points take for errors of interest."""

MAX_LADDER_NODES = 2**19
"""Nodes, at most, of the rules among which to choose."""

SOBOL_SIZES = tuple(2**j for j in range(11, 20, 2))
"""Sobol points among which to choose."""

DEFAULT_NODES = 36_000
"""Nodes, at most, unless an accuracy was asked for."""

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


def lattice(dimensions: int, spacing: float, *, halved: bool = False) -> Points:
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
    """
    square = _squared_radius(dimensions, spacing)
    nodes = np.concatenate([_in_ball(dimensions, square / spacing**2, s) for s in (0.0, 0.5)])
    counted = np.ones(len(nodes))
    if halved:
        first = np.argmax(nodes != 0, axis=1)
        sign = np.sign(np.take_along_axis(nodes, first[:, None], axis=1)[:, 0])
        nodes, counted = nodes[sign >= 0], 1 + sign[sign >= 0]
    doubled = np.sort(np.rint(2 * np.abs(nodes)).astype(int), axis=1)  # equal within an orbit
    bases = (doubled.max() + 1) ** np.arange(dimensions)
    _, where, member = np.unique(doubled @ bases, return_index=True, return_inverse=True)
    orbits = spacing / 2 * doubled[where]
    count = np.bincount(member, weights=counted)
    total = count * np.exp(-np.sum(orbits**2, axis=1) / 2)
    degree = EXACT_DEGREE if len(orbits) > MIN_ORBITS else 0
    total = _corrected(total / total.sum(), orbits, degree)
    return Lattice(spacing * nodes, counted * (total / count)[member])


def _squared_radius(dimensions: int, spacing: float) -> float:
    """Of the ball that the nodes of a lattice of this spacing fill."""
    from scipy.special import chdtri  # takes longer to import than everything else here

    return chdtri(dimensions, max(math.exp(-LATTICE_DECAY / spacing**2), MIN_TAIL))


def _in_ball(dimensions: int, square: float, shift: float) -> np.ndarray:
    """The integer vectors, shifted along all axes, whose squared length is at most this."""
    reach = math.ceil(math.sqrt(square))
    axis = np.arange(-reach - 1, reach + 1) + shift
    found, squares = np.zeros((1, 0)), np.zeros(1)
    for _ in range(dimensions):
        longer = squares[:, None] + axis**2
        row, column = np.nonzero(longer <= square)
        found = np.concatenate([found[row], axis[column, None]], axis=1)
        squares = longer[row, column]
    return found


def coarse_points(points: Points) -> Points:
    """Few nodes in place of these, good to some per cent, for a Jacobian; these if they are few."""
    dimensions = points.nodes.shape[1]
    per_axis = int(MAX_COARSE_NODES ** (1 / dimensions) + 1e-9)
    if per_axis < MIN_COARSE_PER_AXIS or len(points.weights) < 2 * MAX_COARSE_NODES:
        return points
    return gauss_hermite(dimensions, per_axis)


class Ladder(NamedTuple):
    """The rules among which to choose for an integrand, by accuracy."""

    dimensions: int
    smooth: bool  # lattices in few dimensions, else Sobol points
    even: bool  # under z -> -z, so that one node of each pair will do
    students: int  # in so many dimensions, the first, Sobol points are mirrored

    @property
    def lattices(self) -> bool:
        """Whether the rules are lattices."""
        return self.smooth and 2 <= self.dimensions <= MAX_LATTICE_AXES

    @property
    def levels(self) -> tuple[float, ...]:
        """What the rules are made by, the coarsest first: a spacing, or a number of points."""
        if not self.lattices:
            return SOBOL_SIZES
        return tuple(a for a in LATTICE_SPACINGS if self._size(a) <= MAX_LADDER_NODES)

    def points(self, level: float) -> Points:
        """The rule of a level."""
        return _of_ladder(self, level)

    def finer(self, level: float) -> Points:
        """What to hold the rule of a level against: a finer lattice, whole; or other points."""
        if self.lattices:
            return _of_ladder(self._replace(even=False), level * 0.87)
        return mirrored_sobol(self.dimensions, int(level), self.students, seed=1)

    @property
    def default(self) -> float:
        """The level of the finest rule that has few enough nodes."""
        least = DEFAULT_SPACING if self.lattices else 0
        fitting = (a for a in self.levels if a >= least and self._size(a) <= DEFAULT_NODES)
        return list(fitting)[-1]

    def _size(self, level: float) -> float:
        """How many nodes the rule of a level has, of a lattice about."""
        if not self.lattices:
            return level
        D = self.dimensions
        ball = (math.pi * _squared_radius(D, level)) ** (D / 2) / math.gamma(D / 2 + 1)
        return ball * (1 if self.even else 2) / level**D


@lru_cache(maxsize=32)
def _of_ladder(ladder: Ladder, level: float) -> Points:
    if ladder.lattices:
        return lattice(ladder.dimensions, level, halved=ladder.even)
    return mirrored_sobol(ladder.dimensions, int(level), ladder.students)
