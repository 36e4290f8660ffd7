"""The data of a figure on disk, and what made it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import xarray

from figures.paper.registry import TOLERANCES, Data, PaperFigure
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
    sources += computing_code(figure.compute)
    origin = json.dumps([parameters, TOLERANCES, versions(), sources])
    return hashlib.sha256(origin.encode()).hexdigest()


def computing_code(compute: Callable) -> list[str]:
    """A function, and whatever in the files of this folder it reaches by name, as source."""
    (own,) = statements_of(textwrap.dedent(inspect.getsource(compute)))
    waiting, found = [(compute.__module__, own)], dict[str, None]()
    while waiting:
        module, node = waiting.pop()
        if (source := ast.unparse(node)) not in found:
            found[source] = None
            here = defined_in(module) if module.startswith("figures.paper.") else {}
            names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            waiting += (here[name] for name in sorted(names & set(here)))
    return list(found)


def statements_of(source: str) -> list[ast.stmt]:
    """Those of a file or a part of one; functions without decorators and docstrings."""
    statements = ast.parse(source).body
    for each in statements:
        if isinstance(each, ast.FunctionDef):
            each.decorator_list.clear()
            each.body = each.body[ast.get_docstring(each) is not None :]
    return statements


@cache
def defined_in(module: str) -> dict[str, tuple[str, ast.stmt]]:
    """What a file defines, or imports from one beside it: by name, where it is defined and how."""
    found: dict[str, tuple[str, ast.stmt]] = {}
    for node in statements_of(inspect.getsource(sys.modules[module])):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("figures.paper."):
            there = defined_in(str(node.module))
            found |= {each.name: there[each.name] for each in node.names if each.name in there}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = module, node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id: (module, node) for each in targets if isinstance(each, ast.Name)}
    return found


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
