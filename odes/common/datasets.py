"""Results as labelled arrays: Datasets of xarray, and a table with a row for every number.

Names are those of sweeps (``grid.py`` beside this).  Variables that belong to a part of a
Trajectory have its name before theirs, such as "fluctuations.covariance", "final.Q" and
"recorded.angle".
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from odes.common.calls import label_of
from odes.common.grid import ENTRIES, LABELS, entries_of_layers
from odes.common.layers import by_layers, layers_of, shapes_of, together, widths_of
from odes.common.order_parameters import SYMMETRIC, given_parts, is_state, state_of

FORMAT = "trajectory_format"
"""The attribute that says how the Dataset of a Trajectory is laid out."""

FORMAT_NUMBER = 1

SCATTER = "fluctuations."
FINAL = "final."
RECORDED = "recorded."
"""Before the names of the variables of a part."""

STATE = "order_parameters"
"""The attribute that names the variables that are order parameters."""

ORDER = "variable_names"
"""The attribute that has the names of all variables in order, which netCDF does not keep."""

WHOLE = ("times", "order_parameters", "fluctuations", "recorded", "final", "call")
"""Fields of a Trajectory that are more than a number, or an array of runs and times."""

OF_SCATTER = ("covariance", "generalization_error", "bias")
"""The fields of Fluctuations that are arrays."""

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]
"""Dimensions and values, by name."""


def dataset_of(trajectory: Any) -> Any:
    """What :meth:`odes.Trajectory.to_xarray` returns."""
    import xarray  # takes longer to import than everything else here

    shape = np.shape(trajectory.generalization_error)
    leading = dict(zip(("run", "time")[-len(shape) :], shape, strict=True))
    variables = _of_state(trajectory.order_parameters, leading)
    attributes = {FORMAT: FORMAT_NUMBER, **_origin(trajectory.call), STATE: " ".join(variables)}
    coordinates: dict[str, Any] = {"time": np.asarray(trajectory.times)}
    for name, each in trajectory._asdict().items():
        if name in WHOLE or each is None:
            continue
        if np.ndim(each) == 0:
            attributes[name] = np.asarray(each).item()
        else:
            variables[name] = _placed(name, each, leading)
    scatter = trajectory.fluctuations
    if scatter is not None:
        coordinates["entry"] = coordinates["other"] = entry_names(scatter.order_parameters)
        variables |= _of_state(scatter.order_parameters, leading, SCATTER)
        for name in OF_SCATTER:
            if (each := getattr(scatter, name)) is not None:
                variables[SCATTER + name] = _placed(SCATTER + name, each, leading)
    recorded = trajectory.recorded
    for name, each in (recorded if isinstance(recorded, dict) else {"": recorded}).items():
        if each is not None:
            key = RECORDED + quote(str(name), safe=" ")
            variables[key] = _placed(key, each, leading)
    if is_state(trajectory.final):
        variables |= _of_state(trajectory.final, {}, FINAL)
    attributes[ORDER] = json.dumps(list(variables))
    for dimensions, array in variables.values():
        for name, size in zip(dimensions, array.shape, strict=True):
            if " " not in name:
                coordinates.setdefault(name, np.arange(size))
    return xarray.Dataset(
        {name: (*each, _described(name)) for name, each in variables.items()},
        {name: (name, each, _described(name)) for name, each in coordinates.items()},
        attributes,
    )


def _described(name: str) -> dict[str, str]:
    """Attributes of a variable."""
    return {"long_name": LABELS.get(name, name), "units": "1"}


def _origin(call: Any) -> dict[str, Any]:
    """What a reader wants to know of the call: numbers and names."""
    if call is None:
        return {}
    given = {
        name: each if abs(each) < 2**31 else float(each)  # as netCDF has integers
        for name, each in call.arguments.items()
        if type(each) in (int, float)
    }
    return {
        "function": call.function,
        "version": call.versions["topdown-odes"],
        "rule": label_of(call.arguments.get("rule")),
        "activation": label_of(call.arguments.get("activation")),
        **given,
    }


def _of_state(states: Any, leading: dict[str, int], prefix: str = "") -> Variables:
    """Order parameters after leading dimensions, each layer of several by itself."""
    if states is None:
        return {}
    sizes = tuple(leading.values())
    for name, each in by_layers(given_parts(states)).items():
        if np.shape(each)[:-2][: len(sizes)] != sizes:
            raise ValueError(
                f"Argument `{prefix}{name}` of a Trajectory must have the leading axes {sizes}, "
                f"but has shape {np.shape(each)}."
            )
    layers = layers_of(states.v)
    depth, widths = len(layers), widths_of(states.v)
    direct = depth > 1 and shapes_of(states.B) != shapes_of(states.v)
    labels = layers[-1].shape[-2] != widths[-1]
    found: Variables = {}
    for name, each in by_layers(given_parts(states)).items():
        symbol = name.partition("[")[0]
        own = (f"{symbol} {axis}" for axis in range(2))  # of weights that a rule keeps
        entries = entries_of_layers(symbol, depth, direct, labels) if symbol in ENTRIES else {}
        dimensions = entries.get(name, tuple(own))
        if np.ndim(each) > len(leading) + 2:
            dimensions = ("group", *dimensions)
        found[prefix + name] = ((*leading, *dimensions), np.asarray(each))
    return found


def _placed(name: str, value: Any, leading: dict[str, int]) -> tuple[tuple[str, ...], np.ndarray]:
    """An array with the leading dimensions that it has, and further ones."""
    array = np.asarray(value)
    sizes = tuple(leading.values())
    known = tuple(leading) if array.shape[: len(sizes)] == sizes else ()
    if not known and "run" in leading and array.shape[:1] == sizes[:1]:
        known = ("run",)
    further = {"output_errors": ("o",), f"{SCATTER}covariance": ("entry", "other")}
    axes = range(array.ndim - len(known))
    return (*known, *further.get(name, (f"{name} {axis}" for axis in axes))), array


def entry_names(states: Any) -> list[str]:
    """The entries of a covariance of these order parameters, such as "R[0,1]"; each Q_kl once."""
    found = []
    for name, each in by_layers(given_parts(states)).items():
        for index in np.ndindex(np.shape(each)[1:]):
            if name not in SYMMETRIC or index[-2] <= index[-1]:
                found.append(f"{name}[{','.join(map(str, index))}]")
    return found


def parts_of(dataset: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the Trajectory that :func:`dataset_of` made this of, by name.

    The fluctuations are a dictionary of theirs.
    """
    arrays = {name: _values(dataset[name]) for name in json.loads(dataset.attrs[ORDER])}

    def of(prefix: str) -> dict[str, Any]:
        chosen = {name: each for name, each in arrays.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): each for name, each in chosen.items()}

    found = {name: _plain(dataset.attrs[name]) for name in fields if name in dataset.attrs}
    found |= {name: arrays[name] for name in fields if name in arrays}
    found["times"] = dataset["time"].values
    names = str(found.pop(STATE, "")).split()
    found[STATE] = state_of(together({name: arrays[name] for name in names})) if names else None
    if scatter := of(SCATTER):
        known = {name: scatter.pop(name) for name in OF_SCATTER if name in scatter}
        found["fluctuations"] = known | {STATE: state_of(together(scatter))}
    if recorded := {unquote(name): each for name, each in of(RECORDED).items()}:
        found["recorded"] = recorded.get("", recorded)
    if final := of(FINAL):
        found["final"] = state_of(together(final))
    return found


def _plain(value: Any) -> Any:
    """A number or text without a type of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def _values(variable: Any) -> np.ndarray:
    """The values of a variable; of text, which a file returns as objects, as they were."""
    return variable.values.astype(str) if variable.dtype.kind == "O" else variable.values


def table_of(trajectory: Any) -> Any:
    """What :meth:`odes.Trajectory.to_table` returns."""
    import pandas  # xarray comes with it

    shape = np.shape(trajectory.generalization_error)
    leading = ("run", "time")[-len(shape) :]
    tables = []
    for name, array in by_layers(given_parts(trajectory.order_parameters)).items():
        axes = (*leading, *("group",) * (array.ndim - len(leading) - 2), "i", "j")
        columns = dict(zip(axes, np.indices(array.shape).reshape(array.ndim, -1), strict=True))
        columns["time"] = np.asarray(trajectory.times)[columns["time"]]
        tables.append(pandas.DataFrame(columns | {"name": name, "value": np.ravel(array)}))
    whole = pandas.concat(tables, ignore_index=True)
    order = (*leading, "name", "group", "i", "j", "value")
    return whole[[name for name in order if name in whole.columns]]
