"""Tasks: samples that come at rates of their own and train a part of the student.

A sample of a task sees the student as if there were nothing but the units and the outputs of that
task, and trains these alone; so it is for every rule.  What a sample does not train does not decay
by it either.  Several students that learn from the same samples are as many parts of one task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import quoted
from odes.common.layers import (
    DIRECT,
    is_several,
    layers_of,
    outputs_of,
    over_layers,
    plain,
    widths_of,
)
from odes.common.order_parameters import Array, Hyperparameters
from odes.common.schedules import PiecewiseConstant

MOST_PROBES = 100_000
"""Times, at most, at which rates that are functions are tried for how many samples there are."""


class Task(NamedTuple):
    """Samples at a rate of their own, which train some outputs and some hidden units.

    Outputs are those of student and teacher alike, so that a task is taught by its columns of
    v_star, and the student has a head for each.  For example, two tasks, one after the other::

        tasks=[Task(outputs=[0], rate=PiecewiseConstant([50.0], [1.0, 0.0])),
               Task(outputs=[1], rate=PiecewiseConstant([50.0], [0.0, 1.0]))]

    Two students that see the same samples, each with two units and a head::

        tasks=[Task(outputs=[[0], [1]], units=[[0, 1], [2, 3]])]
    """

    outputs: Any  # whole numbers, or a list of them for each of several students
    rate: Any = 1.0  # samples per sample / N of time: a number >= 0, or a schedule
    units: Any = None  # of the hidden layer, or a tuple of them, one a layer; None for all
    noise: Any = None  # standard deviation of the label noise; None for that of all tasks


class Part(NamedTuple):
    """A student within the student."""

    units: tuple[tuple[int, ...], ...]  # of every hidden layer
    outputs: tuple[int, ...]

    def indices(self, dimensions: tuple[Any, ...]) -> list[Any]:
        """What the part has along each of these dimensions, such as ("K", "O"); None for all."""
        widths = {f"H{level}": units for level, units in enumerate(self.units) if level}
        known = {"K": self.units[0], "O": self.outputs} | widths
        return [known.get(name) for name in dimensions]

    def of(self, weights: Any, dimensions: tuple[Any, ...]) -> Any:
        """The part's own of weights with these dimensions, after leading axes."""

        def own(array: Array, names: tuple[Any, ...]) -> Array:
            xp = array.__array_namespace__()
            for axis, index in enumerate(self.indices(names), -len(names)):
                if index is not None and len(index) < array.shape[axis]:
                    array = xp.take(array, xp.asarray(index), axis=axis)
            return array

        return over_layers(own, weights, by_layer(dimensions, weights))

    def put(self, weights: Any, changed: Any, dimensions: tuple[Any, ...]) -> Any:
        """The weights, of JAX, with those of the part as they are in ``changed``."""

        def whole(array: Array, own: Array, names: tuple[Any, ...]) -> Array:
            if array.shape == own.shape:
                return own
            sizes = array.shape[-len(names) :]
            pairs = zip(self.indices(names), sizes, strict=True)
            chosen = np.ix_(*(np.arange(n) if index is None else index for index, n in pairs))
            return array.at[(..., *chosen)].set(own.astype(array.dtype))

        return over_layers(whole, weights, changed, by_layer(dimensions, weights))

    def mask(self, weights: Any, dimensions: tuple[Any, ...]) -> Any:
        """1 at the part's own of such weights and 0 elsewhere, without leading axes."""

        def ones(array: Array, names: list[Any]) -> np.ndarray:
            return _mask(self, array.shape[-len(names) :], tuple(names))

        return over_layers(ones, weights, by_layer(dimensions, weights))


@cache
def _mask(part: Part, sizes: tuple[int, ...], names: tuple[Any, ...]) -> np.ndarray:
    """The mask of an array of these sizes, with dimensions of these names."""
    found = np.ones(sizes)
    for axis, (index, n) in enumerate(zip(part.indices(names), sizes, strict=True)):
        if index is not None:
            there = np.isin(np.arange(n), index)
            found = found * there.reshape(-1, *(1,) * (len(sizes) - 1 - axis))
    return found


Stream = tuple[Part, ...]
"""The parts that a task trains on the same samples."""


def by_layer(dimensions: tuple[Any, ...], weights: Any) -> Any:
    """The names of the dimensions of each layer of weights, as weights have them.

    Hidden layers are "K", "H1", "H2", ... from the input upwards; of a teacher, no name is known
    but "O".
    """
    names = plain(dimensions)
    if not is_several(weights):
        return list(names)
    depth = len(layers_of(weights))
    below = ["K", *(f"H{level}" for level in range(1, depth))]
    if names[0] != "K":
        below = ["M", *(f"teacher {level}" for level in range(1, depth))]
    above = ["O"] * depth if dimensions == DIRECT else [*below[1:], "O"]
    return tuple(list(pair) for pair in zip(below, above, strict=True))


def mask_of(stream: Stream, weights: Any, dimensions: tuple[Any, ...]) -> Any:
    """1 at what any of the parts of a stream has of such weights, and 0 elsewhere."""

    def ones(array: Array, names: list[Any]) -> np.ndarray:
        return _mask_of(stream, array.shape[-len(names) :], tuple(names))

    return over_layers(ones, weights, by_layer(dimensions, weights))


@cache
def _mask_of(stream: Stream, sizes: tuple[int, ...], names: tuple[Any, ...]) -> np.ndarray:
    """The largest of the masks of all parts."""
    return np.max([_mask(part, sizes, names) for part in stream], axis=0)


@cache
def trained_units(stream: Stream, K: int) -> np.ndarray:
    """1 for the units of the first layer that a stream trains, and 0 for the others, (K,)."""
    return _mask_of(stream, (K,), ("K",))


def with_tasks(
    parameters: Hyperparameters,
    tasks: Any,
    check: Callable[[str, Any], Any],
) -> Hyperparameters:
    """The parameters with a rate and a noise for each task; as they are if there are no tasks.

    ``check`` reads a number or a schedule.  Raises ValueError for tasks that are none.
    """
    if tasks is None:
        return parameters
    if not isinstance(tasks, Sequence) or not tasks or not all(is_task(each) for each in tasks):
        raise ValueError(
            "Argument `tasks` must be None or a list of one or more odes.Task, but is "
            f"{quoted(tasks)}."
        )
    return parameters._replace(
        rates=tuple(check(f"tasks[{i}].rate", task.rate) for i, task in enumerate(tasks)),
        noise=tuple(
            parameters.noise if task.noise is None else check(f"tasks[{i}].noise", task.noise)
            for i, task in enumerate(tasks)
        ),
    )


def room_for(parameters: Hyperparameters, N: float, end: float) -> int:
    """How many samples there is room for in 1 / N of time: as many as all tasks may have together.

    Rates that are functions are tried at the times of samples, or at 100,000 of them.
    """
    if parameters.rates is None:
        return 1
    jumps = [each for rate in parameters.rates for each in getattr(rate, "jumps", ())]
    times = np.array([0.0, *(t for t in jumps if t < end)])
    if any(_varies(rate) for rate in parameters.rates):
        times = np.union1d(times, np.linspace(0.0, end, min(MOST_PROBES, 1 + math.ceil(end * N))))
    total = sum(
        np.array([rate(t) if callable(rate) else rate for t in times.tolist()])
        for rate in parameters.rates
    )
    return max(1, math.ceil(np.max(total) - 1e-9))


def _varies(rate: Any) -> bool:
    """Whether a rate changes between its jumps."""
    return callable(rate) and not isinstance(getattr(rate, "function", rate), PiecewiseConstant)


def is_task(value: Any) -> bool:
    """Whether this is a Task, and no state or other tuple."""
    return isinstance(value, Task)


def streams_of(tasks: Any, v: Any, *, units_apart: bool = True) -> tuple[Stream | None, ...]:
    """What each task trains of a student with these weights above the first layer.

    () without tasks, and None for a task that trains all there is.  ``units_apart`` says whether
    the rule can train some units without the others.  Raises ValueError for outputs or units that
    do not exist, outputs in no task, and units that belong to two students of the same samples.
    """
    if tasks is None:
        return ()
    widths, O = widths_of(v), outputs_of(v)
    streams = [tuple(_parts(f"tasks[{i}]", task, widths, O)) for i, task in enumerate(tasks)]
    trained = {each for stream in streams for part in stream for each in part.outputs}
    if missing := set(range(O)) - trained:
        raise ValueError(
            f"Argument `tasks` must train each of {O} outputs, but output {min(missing)} is in no "
            "task; a rate may be 0."
        )
    all_units = tuple(tuple(range(width)) for width in widths)
    if not units_apart:
        for i, (stream, task) in enumerate(zip(streams, tasks, strict=True)):
            if any(part.units != all_units for part in stream):
                raise ValueError(
                    f"Argument `tasks[{i}].units` must be None or all units for a rule that learns "
                    "an F in factors, or label weights above several layers, whose parts hang "
                    f"together, but is {task.units!r}."
                )
    everything = (Part(all_units, tuple(range(O))),)
    return tuple(None if stream == everything else stream for stream in streams)


def _parts(name: str, task: Task, widths: tuple[int, ...], O: int) -> list[Part]:
    """The students of a task."""
    several = _is_nested(task.outputs)
    outputs = list(task.outputs) if several else [task.outputs]
    units = [task.units]
    if several and isinstance(task.units, (list, tuple, np.ndarray)):
        units = list(task.units)
    if len(units) != len(outputs) or (several and any(each is None for each in units)):
        raise ValueError(
            f"Argument `{name}.units` must be a list of units for each of {len(outputs)} students, "
            f"as `outputs` has, but is {task.units!r}."
        )
    found = []
    for own, head in zip(units, outputs, strict=True):
        layers = (None,) * len(widths) if own is None else units_by_layer(own)
        if len(layers) != len(widths):
            raise ValueError(
                f"Argument `{name}.units` must be a tuple of units of each of {len(widths)} hidden "
                f"layers, but is {own!r}."
            )
        units_of_layers = tuple(
            tuple(sorted(chosen(f"{name}.units", range(width) if each is None else each, width)))
            for each, width in zip(layers, widths, strict=True)
        )
        heads = tuple(sorted(chosen(f"{name}.outputs", head, O)))
        found.append(Part(units_of_layers, heads))
    for level in range(len(widths)):
        together = [unit for part in found for unit in part.units[level]]
        if len(set(together)) < len(together):
            raise ValueError(
                f"Argument `{name}.units` must be apart for students of the same samples, but is "
                f"{task.units!r}."
            )
    return found


def units_by_layer(units: Any) -> tuple[Any, ...]:
    """Units of each hidden layer, of a tuple of them, or of one layer."""
    layered = isinstance(units, tuple) and any(np.ndim(each) > 0 for each in units)
    return units if layered else (units,)


def _is_nested(outputs: Any) -> bool:
    """Whether there are outputs for each of several students."""
    several = isinstance(outputs, (list, tuple, np.ndarray))
    return several and any(np.ndim(each) > 0 for each in outputs)


def chosen(name: str, given: Any, count: int) -> tuple[int, ...]:
    """Distinct whole numbers below a count; ValueError otherwise."""
    try:
        found = np.asarray(list(given) if np.ndim(given) else [given])
        fine = found.ndim == 1 and found.size > 0 and found.dtype.kind in "iu"
    except (TypeError, ValueError):
        fine = False
    if not fine or len(set(found.tolist())) < found.size or min(found) < 0 or max(found) >= count:
        raise ValueError(
            f"Argument `{name}` must be distinct whole numbers from 0 to {count - 1}, but is "
            f"{quoted(given)}."
        )
    return tuple(found.tolist())
