"""Which package may import which, and that what is installed is what there is."""

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("odes", "simulations", "figures")
FLOORS = {
    "odes": ("odes",),
    "simulations": ("simulations", "odes.common"),
    "figures": ("figures", "odes.common"),
}
"""What each may import, of ours."""

ROOMS = (
    "common",
    "rules",
    "averages",
    "equations",
    "state_vector",
    "problem",
    "solvers",
    "analyses",
)
"""Of odes; each imports itself and those before it."""


def imports(path):
    """Dotted names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_in_one_direction(package):
    for path in (ROOT / package).rglob("*.py"):
        if path.parent.name in ("paper", "explorer"):  # figures that see theory and networks
            continue
        for name in imports(path):
            top = name.split(".")[0]
            if top in (*PACKAGES, "paper_figs", "tests", "benchmarks"):
                allowed = f"{name}.".startswith(tuple(f"{floor}." for floor in FLOORS[package]))
                assert allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_of_the_theory_imports_a_later_one(room):
    paths = [*(ROOT / "odes" / room).rglob("*.py"), ROOT / "odes" / f"{room}.py"]
    for path in (each for each in paths if each.exists()):
        for name in imports(path):
            if name.startswith("odes."):
                other = name.split(".")[1]
                assert ROOMS.index(other) <= ROOMS.index(room), f"{path.name} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_short_and_bear_no_name_of_what_they_define(package):
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        defined = [each.name for each in ast.parse(text).body if hasattr(each, "name")]
        assert path.stem not in defined, path


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package):
    """80 lines at most, the docstring not counted."""
    for path in (ROOT / package).rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.FunctionDef):
                doc = each.body[0] if ast.get_docstring(each) else None
                lines = each.end_lineno - each.lineno + 1
                lines -= doc.end_lineno - doc.lineno + 1 if doc else 0
                assert lines <= 80, f"{path.name}: {each.name}"


def test_setup_lists_the_packages_that_exist():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/**/__init__.py")}
    ours = {".".join(p.parts) for p in found if p.parts[0] not in ("tests", ".venv", "build")}
    assert listed == ours
    modules = {p.stem for p in ROOT.glob("*.py")}
    assert set(config["options"]["py_modules"].split()) == modules


def test_the_files_that_the_docs_name_are_there():
    """In the docs, the docstrings and the tests."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    paths += [p for d in (*PACKAGES, "tests", "examples") for p in (ROOT / d).rglob("*.py")]
    for path in paths:
        for name in re.findall(
            r"`((?:odes|simulations|figures|docs)/[\w/]+\.\w+)`", path.read_text()
        ):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


SCRIPT = """
import numpy as np

from odes import OrderParameters, Teacher, Trajectory, solve, sweep
from simulations import Network, sample_network, simulate

network: Network = sample_network(N=100, K=2, M=2)
initial, teacher = network.overlaps("afa")
start: OrderParameters = initial
theory: Trajectory = solve(start, teacher, rule="afa", lr=0.5, times=[1.0])
errors: np.ndarray = theory.generalization_error
runs: Trajectory = simulate(network, rule="afa", lr=0.5, times=[1.0], n_runs=2)
wrong: Teacher = initial
"""


@pytest.mark.long
def test_a_users_mypy_understands_the_types(tmp_path):
    """All lines but the last, which is wrong on purpose."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "script.py", "--cache-dir", str(tmp_path / "cache")],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if "script.py" in line and "error" in line]
    assert len(found) == 1, done.stdout
    assert 'variable has type "Teacher"' in found[0]
