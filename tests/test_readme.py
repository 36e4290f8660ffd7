"""The README's script, and those of pages for new users, run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run_blocks(page, folder, then=""):
    """Run the Python of a page as one script, and return its blocks."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (folder / "script.py").write_text("\n".join(blocks) + then)
    subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, env={"MPLBACKEND": "Agg"})
    return blocks


@pytest.mark.long
def test_the_script_runs_as_it_stands(tmp_path):
    (script,) = run_blocks("README.md", tmp_path)
    assert len(script.strip().splitlines()) <= 12
    assert (tmp_path / "overlay.png").stat().st_size > 10_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "then"),
    [
        ("training_scripts", 'assert abs(training["lr"] - 4.8) < 1e-9'),
        ("differences", 'assert theory.status == "ok"'),
        ("own_rule", "assert np.max(np.abs(gap)) < 0.04"),
    ],
)
def test_the_code_of_a_page_runs_as_it_stands(page, then, tmp_path):
    assert run_blocks(f"docs/{page}.md", tmp_path, then)


@pytest.mark.long
def test_output_folders_beside_a_script_do_not_hide_the_packages(tmp_path):
    packages = ("odes", "simulations", "figures")
    for name in packages:
        (tmp_path / name).mkdir()
    imports = "".join(f"import {name}; print({name}.__all__)\n" for name in packages)
    (tmp_path / "script.py").write_text(imports)
    subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, check=True, env={"MPLBACKEND": "Agg"}
    )
