"""The rules among which to choose nodes for averages, by accuracy: lattices, or Sobol points."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from odes.averages.quadrature import (
    MAX_COARSE_NODES,
    SHAPED_DECAY,
    Points,
    lattice,
    mirrored_sobol,
    squared_radius,
)

LATTICE_SPACINGS = tuple(0.87**j for j in range(-5, 21))
"""Of the lattices among which to choose, the coarsest first, from 2 to 0.06."""

SHAPED_SPACINGS = tuple(0.96**j for j in range(-17, 71))
"""The same of lattices with a shape."""

DEFAULT_SPACING = 0.43
"""Of the lattices that are taken unless an accuracy was asked for, at least."""

MAX_LATTICE_AXES = 5
"""In more dimensions, lattices fill more nodes than Sobol points take for errors of interest."""

MAX_LADDER_NODES = 2**19
"""Nodes, at most, of the rules among which to choose."""

SOBOL_SIZES = tuple(2**j for j in range(11, 20, 2))
"""Sobol points among which to choose."""

DEFAULT_NODES = 36_000
"""Nodes, at most, unless an accuracy was asked for."""


class Ladder(NamedTuple):
    """The rules among which to choose for an integrand, by accuracy."""

    dimensions: int
    smooth: bool  # lattices in few dimensions, else Sobol points
    even: bool  # under z -> -z, so that one node of each pair will do
    students: int  # in so many dimensions, the first, Sobol points are mirrored
    shape: Any = None  # of the lattices
    most: int = MAX_LADDER_NODES

    @property
    def lattices(self) -> bool:
        """Whether the rules are lattices."""
        return self.smooth and 2 <= self.dimensions <= MAX_LATTICE_AXES

    @property
    def levels(self) -> tuple[float, ...]:
        """What the rules are made by, the coarsest first: a spacing, or a number of points."""
        if not self.lattices:
            return tuple(n for n in SOBOL_SIZES if n <= self.most)
        spacings = LATTICE_SPACINGS if self.shape is None else SHAPED_SPACINGS
        return tuple(a for a in spacings if self._size(a) <= self.most)

    def points(self, level: float) -> Points:
        """The rule of a level."""
        if self.shape is not None:
            return lattice(self.dimensions, level, halved=self.even, shape=self.shape)
        return _of_ladder(self, level)

    def finer(self, level: float) -> Points:
        """What to hold the rule of a level against: a finer lattice, whole; or other points."""
        if self.lattices:
            return self._replace(even=False).points(level * 0.87)
        return mirrored_sobol(self.dimensions, int(level), self.students, seed=1)

    def fineness(self, level: float) -> float:
        """Along which the logarithm of the error falls about linearly, at a rate of ``decay``."""
        return level**-2 if self.lattices else math.log(level)

    @property
    def decay(self) -> float:
        """How fast, before it has been seen."""
        return SHAPED_DECAY if self.lattices else 1.0

    @property
    def default(self) -> float:
        """The level of the finest rule that has few enough nodes, or of the coarsest."""
        return self._finest(DEFAULT_NODES)

    @property
    def coarse(self) -> float:
        """The level of the finest rule that has few nodes, or of the coarsest."""
        return self._finest(MAX_COARSE_NODES)

    def at_least(self, nodes: int) -> float:
        """The level of the default rule, or of a finer one with so many nodes."""
        if nodes <= len(self.points(self.default).weights):
            return self.default
        return next((a for a in self.levels if self._size(a) >= nodes), self.levels[-1])

    def _finest(self, nodes: int) -> float:
        least = DEFAULT_SPACING if self.lattices else 0
        fitting = [a for a in self.levels if a >= least and self._size(a) <= nodes]
        return fitting[-1] if fitting else self.levels[0]

    def _size(self, level: float) -> float:
        """How many nodes the rule of a level has, of a lattice about."""
        if not self.lattices:
            return level
        D = self.dimensions
        square = squared_radius(D, level, self.shape is not None)
        ball = (math.pi * square) ** (D / 2) / math.gamma(D / 2 + 1)
        return ball * (1 if self.even else 2) / level**D


@lru_cache(maxsize=32)
def _of_ladder(ladder: Ladder, level: float) -> Points:
    if ladder.lattices:
        return lattice(ladder.dimensions, level, halved=ladder.even)
    return mirrored_sobol(ladder.dimensions, int(level), ladder.students)
