"""Which package may import which, and that what is installed is what there is."""

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("odes", "simulations", "figures")
ALLOWED = {
    "odes": {"odes"},
    "simulations": {
        "simulations",
        "odes.order_parameters",
        "odes.progress",
        "odes.checks",
        "odes.chunks",
        "odes.grid",
        "odes.schedules",
        "odes.store",
    },
    "figures": {"figures", "odes.order_parameters", "odes.checks", "odes.schedules"},
}


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
        for name in imports(path):
            top = name.split(".")[0]
            if top in (*PACKAGES, "paper_figs", "tests", "benchmarks"):
                allowed = top in ALLOWED[package] or name in ALLOWED[package]
                assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_setup_lists_the_packages_that_exist():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/**/__init__.py")}
    ours = {".".join(p.parts) for p in found if p.parts[0] not in ("tests", ".venv", "build")}
    assert listed == ours
    modules = {p.stem for p in ROOT.glob("*.py")}
    assert set(config["options"]["py_modules"].split()) == modules
