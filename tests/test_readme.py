"""The README's script runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.long
def test_the_script_runs_as_it_stands(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(script.strip().splitlines()) <= 12
    (tmp_path / "script.py").write_text(script)
    subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, check=True, env={"MPLBACKEND": "Agg"}
    )
    assert (tmp_path / "overlay.png").stat().st_size > 10_000


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
