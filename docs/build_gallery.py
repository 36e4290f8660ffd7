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
    """Run the scripts whose pictures are older than they or the packages, and write all pages."""
    GALLERY.mkdir(exist_ok=True)
    for page in GALLERY.glob("*.md"):
        page.unlink()
    folders = (ROOT / package for package in ("odes", "simulations", "figures"))
    packages = max(path.stat().st_mtime for folder in folders for path in folder.rglob("*.py"))
    names, entries = "", ""
    for script in sorted((ROOT / "examples").glob("*.py")):
        picture = GALLERY / f"{script.stem}.png"
        newest = max(script.stat().st_mtime, packages)
        if not picture.exists() or picture.stat().st_mtime < newest:
            run(script, picture)
        names += f"{script.stem}\n"
        entries += write_page(script)
    (GALLERY / "index.md").write_text(
        "# Gallery\n\nThe scripts in `examples/`, as they are.\n\n"
        f"```{{toctree}}\n:hidden:\n\n{names}```\n{entries}"
    )


def run(script: Path, picture: Path) -> None:
    """Draw the picture anew and keep what is printed; SphinxError if the script fails."""
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
    picture.with_suffix(".txt").write_text(done.stdout)


def write_page(script: Path) -> str:
    """Write the page of one script, and return what the index says about it."""
    source, name = script.read_text().rstrip(), script.stem
    words = name.replace("_", " ")
    title = words[0].upper() + words[1:]
    text = ast.get_docstring(ast.parse(source)) or ""
    printed = (GALLERY / f"{name}.txt").read_text().rstrip()
    output = f"It prints\n\n```text\n{printed}\n```\n\n" if printed else ""
    (GALLERY / f"{name}.md").write_text(
        f"# {title}\n\n```{{eval-rst}}\n{text}\n```\n\n![{title}]({name}.png)\n\n"
        f"{output}```python\n{source}\n```\n"
    )
    first = f"```{{eval-rst}}\n{text.partition(chr(10))[0]}\n```"
    return f"\n## {title}\n\n{first}\n\n[![{title}]({name}.png){{w=300px}}]({name}.md)\n"
