"""The gallery: a page for every script in examples/, with its picture and what it printed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from sphinx.errors import SphinxError

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"


def build_gallery() -> None:
    """Run the scripts whose pictures are out of date, and write all pages."""
    GALLERY.mkdir(exist_ok=True)
    for page in GALLERY.glob("*.md"):
        page.unlink()
    scripts = sorted((ROOT / "examples").glob("*.py"))
    for script in scripts:
        if is_stale(script):
            run(script)
        (GALLERY / f"{script.stem}.md").write_text(page_of(script))
    names = "\n".join(script.stem for script in scripts)
    entries = "\n".join(map(entry_of, scripts))
    (GALLERY / "index.md").write_text(
        f"# Gallery\n\nThe scripts in `examples/`, as they are.\n\n"
        f"```{{toctree}}\n:hidden:\n\n{names}\n```\n\n{entries}"
    )


def is_stale(script: Path) -> bool:
    """Whether a script or a package has changed since the picture was drawn."""
    picture = GALLERY / f"{script.stem}.png"
    packages = (ROOT / package for package in ("odes", "simulations", "figures"))
    sources = [script, *(path for folder in packages for path in folder.glob("*.*"))]
    newest = max(path.stat().st_mtime for path in sources)
    return not picture.exists() or picture.stat().st_mtime < newest


def run(script: Path) -> None:
    """Draw the picture anew and keep what is printed; SphinxError if the script fails."""
    picture = GALLERY / f"{script.stem}.png"
    picture.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, script],
        cwd=GALLERY,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    if done.returncode or not picture.exists():
        picture.unlink(missing_ok=True)
        reason = done.stderr if done.returncode else f"It did not save {picture.name}."
        raise SphinxError(f"examples/{script.name} failed.\n{reason}")
    (GALLERY / f"{script.stem}.txt").write_text(done.stdout)


def title_of(script: Path) -> str:
    """The name of the file in words."""
    words = script.stem.replace("_", " ")
    return words[0].upper() + words[1:]


def page_of(script: Path) -> str:
    """The page of one script."""
    source = script.read_text()
    printed = (GALLERY / f"{script.stem}.txt").read_text()
    output = f"It prints\n\n```text\n{printed.rstrip()}\n```\n\n" if printed.strip() else ""
    return (
        f"# {title_of(script)}\n\n```{{eval-rst}}\n{docstring(script)}\n```\n\n"
        f"![{title_of(script)}]({script.stem}.png)\n\n{output}```python\n{source.rstrip()}\n```\n"
    )


def entry_of(script: Path) -> str:
    """What the index says about one script."""
    picture = f"![{title_of(script)}]({script.stem}.png){{w=300px}}"
    first = docstring(script).partition("\n")[0]
    return (
        f"## {title_of(script)}\n\n```{{eval-rst}}\n{first}\n```\n\n[{picture}]({script.stem}.md)\n"
    )


def docstring(script: Path) -> str:
    """The docstring of a script, in reStructuredText as all of ours are."""
    return ast.get_docstring(ast.parse(script.read_text())) or ""
