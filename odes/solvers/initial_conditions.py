"""Where the points of a sweep start, and what they are taught: one for all, or one each."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from odes.common.checks import quoted
from odes.common.grid import AXES, Grid, axes_of, make_grid
from odes.common.layers import is_deep, layers_of
from odes.common.order_parameters import (
    OrderParameters,
    Teacher,
    given_parts,
    is_state,
    over_parts,
)
from odes.common.overlaps import check_states
from odes.common.spectrum import Spectrum, check_spectrum
from odes.common.store import Arrays
from odes.problem import Problem, overlaps_for

Pair = tuple[OrderParameters, Teacher]


class Starts(NamedTuple):
    """Where points start: pairs of a state and a teacher, and the inputs of each point."""

    pairs: list[Pair]
    spectra: list[Spectrum]  # of every point; none if they are those of the teachers
    are_axis: bool  # whether the pairs make a dimension

    @property
    def first(self) -> Pair:
        """The state and the teacher of the first point."""
        initial, teacher = self.pairs[0]
        return initial, teacher._replace(inputs=self.spectra[0]) if self.spectra else teacher

    @property
    def known(self) -> dict[str, Any]:
        """What all points start with, by name, as far as that is the same."""
        if self.are_axis:
            return {}
        initial, teacher = self.pairs[0]
        return {
            "initial": initial,
            "teacher": teacher._replace(inputs=None) if self.spectra else teacher,
        }

    def numbers(self, problem: Problem, grid: Grid) -> np.ndarray:
        """All arrays of state and teacher at each point, for the rule of a problem, (points, n).

        None, n = 0, if they are those of the problem at all points.
        """
        if not self.are_axis and not self.spectra:
            return np.zeros((math.prod(grid.shape), 0))
        own = [overlaps_for(problem.rule, *pair) for pair in self.pairs]
        shapes = {tuple(map(np.shape, jax.tree.leaves(pair))) for pair in own}
        if len(shapes) > 1:
            raise ValueError(
                "Argument `initial` must hold states of the same sizes, and so must `teacher`, but "
                f"the shapes are {sorted(shapes)}."
            )
        chosen = (
            grid.column("initial", 0) if self.are_axis else np.zeros(math.prod(grid.shape), int)
        )
        rows = []
        for point, index in enumerate(chosen.tolist()):
            initial, teacher = own[index]
            if self.spectra:
                teacher = teacher._replace(inputs=self.spectra[point])
            rows.append(
                np.concatenate([np.ravel(each) for each in jax.tree.leaves((initial, teacher))])
            )
        return np.stack(rows)

    def variances(self, n_rules: int) -> Arrays:
        """The eigenvalues and shares of all points, rule by rule, if they differ."""
        if not self.spectra:
            return {}
        names = ("eigenvalues", "shares")
        parts = {name: np.stack([getattr(each, name) for each in self.spectra]) for name in names}
        return {name: np.tile(part, (n_rules, 1)) for name, part in parts.items()}


def grid_of(initial: Any, teacher: Any, inputs: Any, axes: dict[str, Any]) -> tuple[Grid, Starts]:
    """The points of a sweep, and where they start."""
    pairs, several = pairs_of(initial, teacher, axes)
    known: dict[str, Any] = AXES | axes_of(inputs, axes, AXES)
    if several:
        axes = {"initial": range(len(pairs))} | axes
        known["initial"] = lambda _, index: index
    grid = make_grid(axes, known)
    return grid, Starts(pairs, spectra_of(inputs, grid), several)


def pairs_of(initial: Any, teacher: Any, axes: dict[str, Any]) -> tuple[list[Pair], bool]:
    """States with their teachers, and whether there are several, which make an axis.

    Several are a list, or a state whose arrays have a first axis more.  Raises ValueError for what
    cannot be.
    """
    states = _states(initial, teacher)
    teachers = list(teacher) if isinstance(teacher, list) else None
    several = states is not None or teachers is not None
    states = [initial] * len(teachers or [0]) if states is None else states
    teachers = [teacher] * len(states) if teachers is None else teachers
    if not states or len(states) != len(teachers):
        raise ValueError(
            "Argument `initial` must hold one or more states, as many as a list of `teacher`, but "
            f"holds {len(states)} beside {len(teachers)}."
        )
    pairs = list(zip(states, teachers, strict=True))
    for state, own in pairs:
        check_states("initial", state, own)
        _check_rates(state, axes)
    return pairs, several


def _states(initial: Any, teacher: Any) -> list[Any] | None:
    """Several states; None for a single one."""
    if isinstance(initial, list):
        return initial
    if not is_state(initial) or initial.R is None:
        return None
    own = teacher[0] if isinstance(teacher, list) and teacher else teacher
    axes = 2 + (getattr(own, "inputs", None) is not None)
    try:
        arrays = over_parts(np.asarray, initial)
    except (TypeError, ValueError):  # what each is to be is said of single states
        return None
    if arrays.R.ndim != axes + 1 or any(
        np.shape(layer)[:1] != arrays.R.shape[:1]
        for each in given_parts(arrays).values()
        for layer in layers_of(each)
    ):
        return None
    return [over_parts(lambda a, i=i: a[i], arrays) for i in range(len(arrays.R))]


def _check_rates(initial: Any, axes: dict[str, Any]) -> None:
    """ValueError for rates of several layers, which are no axis."""
    for name in ("lr_v", "weight_decay_v"):
        if is_deep(initial.v) and isinstance(axes.get(name), (tuple, list)):
            raise ValueError(
                f"Argument `{name}` must be a number, or an array for an axis: one for each layer, "
                f"as a tuple says elsewhere, is not swept, but it is {axes[name]!r}."
            )


def spectra_of(inputs: Any, grid: Grid) -> list[Spectrum]:
    """The inputs of every point, of as many groups and factors each; none without a function."""
    if inputs is None:
        return []
    names = [name for name in (*grid.axes, *grid.fixed) if name not in (*AXES, "initial")]
    if not callable(inputs) or not names:
        raise ValueError(
            "Argument `inputs` must be a function of one or more of the axes that returns a "
            f"Spectrum, but is {quoted(inputs)}; inputs of all points belong to the teacher."
        )
    rows = zip(*(grid.column(name, None).tolist() for name in names), strict=True)
    points = [dict(zip(names, row, strict=True)) for row in rows]
    try:
        spectra = [check_spectrum(inputs(**point)).alone() for point in points]
    except TypeError as error:
        raise ValueError(
            f"Argument `inputs` must be a function of {', '.join(names)}, but failed: {error}"
        ) from error
    sizes = {tuple(np.shape(each) for each in spectrum if each is not None) for spectrum in spectra}
    if len(sizes) > 1:
        raise ValueError(
            "Argument `inputs` must return spectra of as many groups and factors at all points, "
            "but does not."
        )
    return spectra
