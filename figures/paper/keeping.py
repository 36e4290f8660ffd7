"""The data of a figure on disk, and what made it."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
from pathlib import Path
from typing import Any

import xarray

from figures.paper.registry import SHARED, TOLERANCES, Data, PaperFigure
from odes import FactoredOrderParameters, Fluctuations, OrderParameters, Trajectory
from odes.common.layers import by_layers, together
from odes.common.order_parameters import state_of
from odes.common.store import ROOT, load_arrays, save_arrays, versions

LAYOUT = "layout"  # of a Dataset, beside its arrays
SCATTER = "fluctuations."  # before the arrays of these, beside those of their Trajectory


def fingerprint(figure: PaperFigure, parameters: dict[str, Any]) -> str:
    """Changes with parameters, packages and computing code, but not with drawing code."""
    sources = [
        path.read_text()
        for d in ("odes", "simulations")
        for path in sorted((ROOT / d).rglob("*.py"))
    ]
    sources += [inspect.getsource(f) for f in (figure.compute, *SHARED)]
    origin = json.dumps([parameters, TOLERANCES, versions(), sources])
    return hashlib.sha256(origin.encode()).hexdigest()


def flat(each: Trajectory | Fluctuations) -> dict[str, Any]:
    """The fields, those of the order parameters among them."""
    parts = {**each._asdict(), **each.order_parameters._asdict()}
    del parts["order_parameters"]
    return parts


def states_in(parts: dict[str, Any], prefix: str = "") -> OrderParameters:
    """The order parameters that :func:`flat` put among other fields."""
    names = FactoredOrderParameters._fields
    return state_of({name: parts.get(prefix + name) for name in names})


def save_data(path: Path, data: Data, **origin: Any) -> None:
    """Data as an .npz of plain arrays named like "theory/afa/Q", with what made them."""
    arrays: dict[str, Any] = dict(origin)
    parts: dict[Any, Any]
    for name, each in data.items():
        if isinstance(each, xarray.Dataset):
            arrays[f"{name}/{LAYOUT}"] = json.dumps(each.to_dict(data=False))
            parts = {key: variable.values for key, variable in each.variables.items()}
        else:
            parts = flat(each)
            scatter = parts.pop("fluctuations")
            parts.pop("final", None)
            if scatter is not None:
                parts |= {f"{SCATTER}{key}": part for key, part in flat(scatter).items()}
        known = {f"{name}/{key}": part for key, part in parts.items() if part is not None}
        arrays |= by_layers(known)
    save_arrays(path, arrays)


def load_data(path: Path) -> tuple[Data, dict[str, Any]] | None:
    """Data and origin as :func:`save_data` wrote them; None if missing or damaged."""
    arrays: dict[str, Any] | None = load_arrays(path)
    if arrays is None:
        return None
    origin = {key: arrays.pop(key).item() for key in list(arrays) if "/" not in key}
    data: Data = {}
    for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in arrays):
        whole = {k.rsplit("/", 1)[1]: a for k, a in arrays.items() if k.rsplit("/", 1)[0] == name}
        parts = together(whole)
        if LAYOUT in parts:
            layout = json.loads(str(parts.pop(LAYOUT)))
            for kind in ("coords", "data_vars"):
                for key, description in layout[kind].items():
                    description["data"] = parts[key]
            data[name] = xarray.Dataset.from_dict(layout)
        else:
            error, scatter = "generalization_error", None
            if SCATTER + error in parts:
                scatter = Fluctuations(
                    parts[SCATTER + "covariance"],
                    states_in(parts, SCATTER),
                    parts[SCATTER + error],
                    parts.get(SCATTER + "bias"),
                )
            data[name] = Trajectory(
                parts["times"], states_in(parts), parts[error], parts["status"], scatter,
                parts.get("misclassification"),
                averages=parts["averages"].item() if "averages" in parts else None,
                stopped=parts["stopped"].item() if "stopped" in parts else None,
                output_errors=parts.get("output_errors"),
            )  # fmt: skip
    return data, origin


def commit() -> str | None:
    """The commit of the code, with "-dirty" for a changed tree; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
