"""Checks of the arguments that several plotting functions take, made before anything is drawn.

Each raises a ValueError that names the argument, what it must be and what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.lines import Line2D

from odes.common.checks import check_array, check_count, check_times, quoted
from odes.common.trajectory import Trajectory


def check_axes(name: str, value: Any, *, optional: bool = True) -> None:
    """ValueError unless this is an Axes, or None if ``optional``."""
    if not isinstance(value, Axes) and not (optional and value is None):
        or_none = " or None" if optional else ""
        raise ValueError(
            f"Argument `{name}` must be an Axes of matplotlib{or_none}, but is {quoted(value)}."
        )


def check_text(name: str, value: Any, *, optional: bool = True) -> None:
    """ValueError unless this is a string, or None if ``optional``."""
    if not isinstance(value, str) and not (optional and value is None):
        or_none = " or None" if optional else ""
        raise ValueError(f"Argument `{name}` must be a string{or_none}, but is {quoted(value)}.")


def check_rule(rule: Any) -> None:
    """ValueError unless this is the name of a rule, or None."""
    if rule is not None and not isinstance(rule, str):
        raise ValueError(
            "Argument `rule` must be the name of a rule, which may be one of your own, or None, "
            f"but is {quoted(rule)}."
        )


def check_line(**line: Any) -> None:
    """ValueError unless matplotlib takes these keywords for a line."""
    check_text("label", line.get("label"))
    check_keywords("a line", line, lambda given: Line2D([], [], **normalize_kwargs(given, Line2D)))


def check_keywords(what: str, given: dict[str, Any], draw: Callable[[dict[str, Any]], Any]) -> None:
    """ValueError that names the first of the keywords with which ``draw`` raises anything."""
    tried = {}
    for name, value in given.items():
        tried[name] = value
        try:
            draw(tried)
        except Exception as error:
            raise ValueError(
                f"Argument `{name}` must be what matplotlib takes for {what}, "
                f"but is {quoted(value)}."
            ) from error


def check_trajectory(name: str, value: Any, *, runs: bool = False) -> Trajectory:
    """``value`` with arrays of times and errors, if it is a Trajectory, with a run axis or not."""
    if not isinstance(value, Trajectory):
        raise ValueError(f"Argument `{name}` must be a Trajectory, but is {quoted(value)}.")
    times = check_times(value.times, f"{name}.times")
    errors = check_array(f"{name}.generalization_error", value.generalization_error, finite=False)
    if errors.ndim != 1 + runs or errors.shape[-1] != times.size or errors.size == 0:
        axes = f"(n_runs, {times.size}), as simulations have it" if runs else f"({times.size},)"
        raise ValueError(
            f"Argument `{name}` must have errors of shape {axes}, at as many times, "
            f"but has {errors.shape}."
        )
    return value._replace(times=times, generalization_error=errors)


def check_outputs(outputs: Any) -> list[int]:
    """Indices of outputs as a list, if they are at least one."""
    if isinstance(outputs, (str, bytes)) or not isinstance(outputs, Sequence) or not outputs:
        raise ValueError(
            f"Argument `outputs` must be None or a list of outputs, but is {quoted(outputs)}."
        )
    return [check_count("outputs", index, least=0) for index in outputs]


def check_observable(observable: Any) -> None:
    """ValueError unless this is a function."""
    if not callable(observable):
        raise ValueError(
            "Argument `observable` must be a function of a Trajectory, "
            f"but is {quoted(observable)}."
        )


def observed(observable: Callable[[Trajectory], Any], trajectory: Trajectory) -> np.ndarray:
    """What ``observable`` gives for a Trajectory: one number for each of its errors."""
    values, shape = observable(trajectory), np.shape(trajectory.generalization_error)
    array = check_array("observable", values, finite=False)
    if array.shape != shape:
        raise ValueError(
            "Argument `observable` must give one number for each error of a Trajectory, of shape "
            f"{shape}, but gives an array of shape {array.shape}."
        )
    return array


def check_standard_error(name: str, array: np.ndarray) -> None:
    """ValueError for standard errors below 0; NaN stands for none."""
    if np.any(array < 0):
        raise ValueError(f"Argument `{name}` must be >= 0, but is {quoted(array)}.")


def check_quantity(name: str, value: Any, dimensions: set[str]) -> None:
    """ValueError unless this is a DataArray of numbers with these dimensions, some of each."""
    import xarray  # takes longer to import than everything else here

    listed = ", ".join(sorted(dimensions))
    if not isinstance(value, xarray.DataArray):
        raise ValueError(
            f"Argument `{name}` must be a DataArray with the dimensions {listed}, "
            f"but is {quoted(value)}."
        )
    if set(value.dims) != dimensions or value.size == 0:
        raise ValueError(
            f"Argument `{name}` must have the dimensions {listed}, but has the sizes "
            f"{quoted(dict(value.sizes))}."
        )
    check_array(name, value.values, finite=False)


def check_coordinate(name: str, value: Any, dimension: str) -> None:
    """ValueError unless a Dataset or DataArray has finite numbers along a dimension."""
    if dimension not in value.coords:
        raise ValueError(f"Argument `{name}` must have the coordinate {dimension}, but has none.")
    check_array(f"{name}.{dimension}", value[dimension].values)


def check_dataset(name: str, value: Any, variables: tuple[str, ...]) -> None:
    """ValueError unless this is a Dataset with these variables."""
    import xarray

    if not isinstance(value, xarray.Dataset):
        raise ValueError(f"Argument `{name}` must be a Dataset of xarray, but is {quoted(value)}.")
    for variable in variables:
        if variable not in value.data_vars:
            raise ValueError(
                f"Argument `{name}` must have the variable {variable}, but has "
                f"{quoted(sorted(map(str, value.data_vars)))}."
            )


def check_columns(name: str, value: Any, dimension: str, variables: tuple[str, ...]) -> None:
    """ValueError unless this is a Dataset with these variables along one dimension."""
    check_dataset(name, value, variables)
    for variable in variables:
        check_quantity(f"{name}.{variable}", value[variable], {dimension})
    check_coordinate(name, value, dimension)


def check_sweep(name: str, value: Any, parameters: int, *, runs: bool = False) -> tuple[str, ...]:
    """The parameters of a Dataset of ``sweep``, if it has errors over so many of them."""
    check_dataset(name, value, ("generalization_error",))
    error = value.generalization_error
    expected = ("run", "time") if runs else ("time",)
    varied = tuple(each for each in error.dims if each not in expected)
    if len(varied) != parameters or error.ndim != len(varied) + len(expected):
        raise ValueError(
            f"Argument `{name}` must have errors over {', '.join(expected)} and {parameters} of "
            f"the parameters, but has them over {', '.join(map(str, error.dims))}.  To choose one "
            "value of another, use .sel()."
        )
    check_quantity(f"{name}.generalization_error", error, {*expected, *varied})
    for each in varied:
        check_coordinate(name, value, each)
    return varied
