"""Configuration of the documentation; writes docs/api/ and docs/gallery/ before every build."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from build_gallery import build_gallery  # noqa: E402

project = "topdown-odes"
html_title = "topdown-odes"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "myst_parser",
]
exclude_patterns = ["_build"]
html_theme = "furo"
highlight_language = "none"
language = "en_GB"

myst_enable_extensions = ["amsmath", "attrs_inline", "dollarmath"]
myst_heading_anchors = 2
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
napoleon_use_param = False  # docstrings describe several arguments at once
napoleon_use_rtype = False  # and begin what is returned with "A name: ..."
napoleon_custom_sections = [("Fields", "params_style")]

PAGES: dict[str, tuple[str, ...]] = {
    "odes": (
        "odes.common.order_parameters",
        "odes.common.spectrum",
        "odes.common.overlaps",
        "odes.averages.activations",
        "odes.rules.rule",
        "odes.rules.credit",
        "odes.rules.top_down",
        "odes.rules.mirrors",
        "odes.rules.forward_forward",
        "odes.equations",
        "odes.solvers.trajectory",
        "odes.averages.sampled",
        "odes.solvers.paths",
        "odes.solvers.fluctuations",
        "odes.analyses.fixed_points",
        "odes.analyses.plateaus",
        "odes.analyses.alignment",
        "odes.common.schedules",
        "odes.analyses.optimal_control",
    ),
    "simulations": (
        "simulations.networks",
        "simulations.sampling",
        "simulations.rules.rule",
        "simulations.rules.mirrors",
        "simulations.training.online_sgd",
        "simulations.training.blocks",
        "simulations.chain",
    ),
    "figures": (),
}
"""Modules that have a section in any case, in the order of reading; those of other names follow."""


def write_api(app: Any) -> None:
    """A page for each package: every name that it exports, under the module that defines it."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for name, first in PAGES.items():
        package = import_module(name)
        homes = {entry: home_of(package, entry) for entry in package.__all__}
        lines = [*heading(name, "="), f".. automodule:: {name}", "   :no-members:", ""]
        for module in dict.fromkeys([*first, *sorted(homes.values())]):
            # A module that shares its name with a function leaves the name to the function.
            taken = module.removeprefix(f"{name}.") in package.__all__
            lines += [*heading(module, "-"), f".. automodule:: {module}", "   :no-members:"]
            lines += ["   :no-index:", ""] if taken else [""]
            for entry in (entry for entry, home in homes.items() if home == module):
                lines += describe(f"{name}.{entry}", getattr(package, entry))
        (folder / f"{name}.rst").write_text("\n".join(lines))


def heading(text: str, line: str) -> list[str]:
    """A heading in reStructuredText."""
    return [text, line * len(text), ""]


def home_of(package: Any, name: str) -> str:
    """The module of a package that defines a name: of a dictionary, the one that assigns it."""
    value = getattr(package, name)
    if hasattr(value, "__module__"):
        return value.__module__
    modules = [key for key in sys.modules if key.startswith(f"{package.__name__}.")]
    return next(
        key
        for key in modules
        if re.search(rf"^{name}\b.* = ", inspect.getsource(sys.modules[key]), re.MULTILINE)
    )


def describe(name: str, value: Any) -> list[str]:
    """The directive that documents an exported class, function or dictionary."""
    if inspect.isclass(value):
        lines = [f".. autoclass:: {name}", "   :members:"]
        if fields := getattr(value, "_fields", ()):
            lines.append(f"   :exclude-members: {', '.join(fields)}")
        if "__call__" in vars(value):
            lines.append("   :special-members: __call__")
        return [*lines, ""]
    if callable(value):
        return [f".. autofunction:: {name}", ""]
    package, _, own = name.rpartition(".")
    lines = [f".. py:data:: {own}", f"   :module: {package}", "", "   A dictionary:", ""]
    for key, entry in value.items():
        known = entry[0] if isinstance(entry, tuple) else entry
        summary = (
            (inspect.getdoc(getattr(known, "func", known)) or "")
            .partition("\n\n")[0]
            .replace("\n", " ")
        )
        lines.append(f'   * ``"{key}"``: {summary}')
    return [*lines, ""]


def add_fields(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Add the comments beside the fields of a NamedTuple to its docstring."""
    if fields := getattr(value, "_fields", ()) if what == "class" else ():
        found = re.findall(r"^    (\w+): [^#\n]+?(?:  # (.*))?$", inspect.getsource(value), re.M)
        lines += ["", "Fields:", *(f"    {key}: {text}" for key, text in found if key in fields)]
        lines.append("")


def join_names(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Put names of arguments that share a description on one line, as Napoleon reads them."""
    joined = re.sub(r"^(    [\w, ]+,)\n +(?=[\w, ]+:)", r"\1 ", "\n".join(lines), flags=re.M)
    lines[:] = joined.split("\n")


def setup(app: Any) -> None:
    """Connect what is above."""
    app.connect("builder-inited", lambda app: build_gallery())
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", add_fields, priority=400)
    app.connect("autodoc-process-docstring", join_names, priority=400)
