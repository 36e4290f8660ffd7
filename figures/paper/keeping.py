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
from odes import Trajectory
from odes.common.datasets import FORMAT
from odes.common.store import ROOT, load_arrays, save_arrays, versions
from odes.common.trajectory import trajectory_of

LAYOUT = "layout"  # of a Dataset, beside its arrays


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


def save_data(path: Path, data: Data, **origin: Any) -> None:
    """Data as an .npz of plain arrays named like "theory/afa/Q", with what made them."""
    arrays: dict[str, Any] = dict(origin)
    for name, each in data.items():
        dataset = each.to_xarray() if isinstance(each, Trajectory) else each
        arrays[f"{name}/{LAYOUT}"] = json.dumps(dataset.to_dict(data=False))
        arrays |= {f"{name}/{key}": array.values for key, array in dataset.variables.items()}
    save_arrays(path, arrays)


def load_data(path: Path) -> tuple[Data, dict[str, Any]] | None:
    """Data and origin as :func:`save_data` wrote them; None if missing or damaged."""
    arrays: dict[str, Any] | None = load_arrays(path)
    if arrays is None:
        return None
    origin = {key: arrays.pop(key).item() for key in list(arrays) if "/" not in key}
    data: Data = {}
    for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in arrays):
        layout = json.loads(str(arrays[f"{name}/{LAYOUT}"]))
        for kind in ("coords", "data_vars"):
            for key, description in layout[kind].items():
                description["data"] = arrays[f"{name}/{key}"]
        dataset = xarray.Dataset.from_dict(layout)
        data[name] = trajectory_of(dataset) if FORMAT in dataset.attrs else dataset
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
