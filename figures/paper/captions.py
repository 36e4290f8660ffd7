"""Captions, from what a figure's data and parameters are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray

from figures.paper.registry import FIGURES, Data, PaperFigure
from figures.residuals import beyond_rounding, mean_and_standard_error, theory_at
from odes import Trajectory
from odes.common.layers import by_layers
from odes.common.order_parameters import SYMMETRIC

HEAD = """# Captions

Lines are theory, markers means over runs with standard errors, unless a caption says otherwise.
Deviations are simulation minus theory in standard errors.  These are estimates from few runs: with
n of them a theory without any error has an rms of sqrt((n - 1) / (n - 3)), with three or fewer it
has none.  Networks of finite N are off by O(1/N) besides, and points of one curve go together.
"""

ERRORS = {
    "generalization_error": "generalisation error",
    "misclassification": "classification error",
    "output_errors": "errors of single outputs",
}
"""Fields of a Trajectory, in words."""

STATE = "order parameters"


class Deviation(NamedTuple):
    """Simulation minus theory in standard errors, NaN where there is none, and of how many runs."""

    quantity: str
    off: xarray.DataArray
    runs: int | None
    entry: str = ""  # of a quantity that has several


def caption(figure: PaperFigure, parameters: dict[str, Any], data: Data) -> str:
    """What the figure shows, with which parameters, and how far simulation is from theory."""
    words = " ".join((inspect.getdoc(figure.compute) or "").split()).replace("``", "`")
    given = ", ".join(f"`{name}` = {in_words(value)}" for name, value in parameters.items())
    parts = [words, f"Parameters: {given}."]
    if found := deviations_in_words(data):
        parts.append("Deviation of simulation from theory in standard errors:\n\n" + found)
    lost = [f"{few} of {n} ({name})" for name, few, n in _lost(data) if few]
    if lost:
        parts.append(f"Runs that diverged: {', '.join(lost)}.")
    return "\n\n".join(parts)


def captions_page(captions: dict[str, str]) -> str:
    """The captions of figures by name as Markdown, in the order of the figures."""
    parts = [f"## {name}\n\n{captions[name]}\n" for name in FIGURES if name in captions]
    return "\n".join([HEAD, *parts])


def in_words(value: Any, digits: int = 6) -> str:
    """A parameter: numbers in short, several with commas."""
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(in_words, value))})"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def deviations_in_words(data: Data) -> str:
    """A line on each quantity, over all curves."""
    by_quantity: dict[str, list[tuple[str, Deviation]]] = {}
    for series, each in deviations_of(data):
        if np.isfinite(each.off.values).any():
            by_quantity.setdefault(each.quantity, []).append((series, each))
    lines = []
    for quantity, found in by_quantity.items():
        off = np.concatenate([each.off.values.ravel() for _, each in found])
        off = off[np.isfinite(off)]
        value, where = max((_worst(*each) for each in found), key=lambda worst: abs(worst[0]))
        lines.append(
            f"* {quantity}: rms {np.sqrt(np.mean(off**2)):.2f}, worst {value:+.1f} ({where}), over "
            f"{off.size} points"
        )
        for n in sorted({each.runs for _, each in found if each.runs}):
            right = f"rms {np.sqrt((n - 1) / (n - 3)):.2f}" if n > 3 else "no rms"
            lines[-1] += f", of {n} runs ({right} expected)"
    return "\n".join(lines)


def _worst(series: str, deviation: Deviation) -> tuple[float, str]:
    """The value of largest absolute value, and where it is."""
    off = deviation.off
    at = np.unravel_index(int(np.argmax(abs(off).fillna(-1.0).values)), off.shape)
    where = []
    for name, value in off[at].coords.items():
        if off.coords[name].dims:
            words = in_words(value.item(), digits=3)
            number = value.dtype.kind in "if"
            where.append(f"{'t' if name == 'time' else name} = {words}" if number else words)
    return off[at].item(), ", ".join(filter(None, [series, deviation.entry, *where]))


def _lost(data: Data) -> Iterator[tuple[str, int, int]]:
    """Of each simulation, how many runs diverged, and of how many."""
    for name, each in data.items():
        status = each.get("status") if isinstance(each, xarray.Dataset) else each.status
        if status is not None and name.partition("/")[0] == "simulation":
            yield name, int(np.sum(np.asarray(status) == "diverged")), np.size(status)


def deviations_of(data: Data) -> Iterator[tuple[str, Deviation]]:
    """Of whatever has both: with the name of the curve, each quantity's deviations.

    Trajectories and Datasets named "theory/..." and "simulation/..." alike; and variables of one
    Dataset, of which one is named as the other and "_networks", with runs, or has "_predicted" and
    "_error" beside it.
    """
    for name, each in data.items():
        kind, _, series = name.partition("/")
        theory = data.get(f"theory/{series}" if series else "theory")
        if kind == "simulation" and isinstance(each, Trajectory) and theory is not None:
            yield from ((series, one) for one in _of_trajectories(theory, each))
        elif kind == "simulation" and theory is not None:
            yield from ((series, one) for one in _of_datasets(theory, each))
        elif isinstance(each, xarray.Dataset):
            yield from ((name, one) for one in _within(each))


def _of_trajectories(theory: Trajectory, runs: Trajectory) -> Iterator[Deviation]:
    """Of errors, and of order parameters, each entry once; of paths, whose mean is off, too."""
    ours, theirs = (
        {field: getattr(each, field) for field in ERRORS}
        | by_layers(each.order_parameters._asdict())
        for each in (theory, runs)
    )
    if np.shape(ours["output_errors"])[-1:] == (1,):
        del ours["output_errors"]
    are_paths = np.ndim(theory.generalization_error) > 1
    for name in (each for each in ours if ours[each] is not None and theirs[each] is not None):
        values, samples = np.asarray(ours[name]), np.asarray(theirs[name])
        if values.ndim - are_paths >= samples.ndim:
            values = values.sum(axis=-3)  # over groups of inputs
        mean, error = mean_and_standard_error(samples)
        if error is None:
            return
        if are_paths:
            values, scatter = mean_and_standard_error(values)
            assert scatter is not None
            error = np.hypot(error, theory_at(theory.times, scatter, runs.times))
        off = mean - theory_at(theory.times, values, runs.times)
        off = off / beyond_rounding(mean, error)
        if name in SYMMETRIC:
            off[..., *np.tril_indices(off.shape[-1], -1)] = np.nan
        dims = ["time", *(f"axis {i}" for i in range(1, off.ndim))]
        array = xarray.DataArray(off, {"time": runs.times}, dims)
        named = (ERRORS[name], "") if name in ERRORS else (STATE, name)
        yield Deviation(named[0], array, len(samples), named[1])


def _of_datasets(theory: xarray.Dataset, simulation: xarray.Dataset) -> Iterator[Deviation]:
    """Of variables of the same name, over runs, or over networks that theory has one by one."""
    for name in theory.data_vars:
        measured = simulation.get(name)
        if measured is None or measured.dtype.kind != "f":
            continue
        if "network" in measured.dims:
            yield _over("network", str(name), 0 * theory[name], measured - theory[name])
        elif "run" in measured.dims:
            yield _over("run", str(name), theory[name], measured)


def _within(dataset: xarray.Dataset) -> Iterator[Deviation]:
    """Of variables of one Dataset that go together by name."""
    names = list(map(str, dataset.data_vars))
    for name in names:
        if f"{name}_networks" in names:
            measured = dataset[f"{name}_networks"]
            measured = measured.rename({"shown": "time"} if "shown" in measured.dims else {})
            yield _over("run", name, dataset[name], measured)
        if {f"{name}_predicted", f"{name}_error"} <= set(names):
            off = dataset[name] - dataset[f"{name}_predicted"]
            yield Deviation(name, off / dataset[f"{name}_error"], None)
    if {"length", "simulated", "error"} <= set(names):
        off = dataset.simulated - dataset.length
        yield Deviation("length", off / dataset.error, None)


def _over(
    dimension: str, name: str, theory: xarray.DataArray, measured: xarray.DataArray
) -> Deviation:
    """The deviation of the mean over a dimension from theory, which has other points."""
    measured = measured.transpose(dimension, ...)
    mean, error = mean_and_standard_error(measured.values)
    off = measured.isel({dimension: 0}, drop=True)
    exact = theory.mean(dimension) if dimension in theory.dims else theory
    for along in map(str, exact.dims):
        if along in exact.coords and along in off.coords:
            points = off[along].values
            if points.dtype.kind in "if":
                exact = exact.transpose(along, ...)
                values = theory_at(exact[along].values, exact.values, points)
                exact = xarray.DataArray(values, {along: points}, exact.dims).assign_coords(
                    {key: each for key, each in exact.coords.items() if along not in each.dims}
                )
            else:
                exact = exact.sel({along: points})
    if error is None:
        off = off.copy(data=np.full(off.shape, np.nan))
    else:
        exact = exact.transpose(*off.dims)
        off = off.copy(data=(mean - exact.values) / beyond_rounding(mean, error))
    return Deviation(ERRORS.get(name, name.replace("_", " ")), off, len(measured))
