"""The examples run as they stand, and draw what they say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, folder):
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=folder,
        env={"MPLBACKEND": "Agg"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_draws_a_picture(name, tmp_path):
    output = run(name, tmp_path)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    if name == "own_rule":
        gap = np.array(ast.literal_eval(",".join(output.split("[")[1].rstrip("]\n").split())))
        assert gap.size == 15
        assert np.max(np.abs(gap)) < 0.1
    if name == "tune_by_gradient":
        tuned, swept = (
            [float(number) for number in re.findall(r"\d+\.\d+", line)]
            for line in output.splitlines()
        )
        np.testing.assert_allclose(tuned[:2], swept[:2], rtol=0.06)  # the grid's spacing
        assert tuned[2] <= swept[2]


def test_comparing_afa_with_pepita_takes_fifteen_lines():
    lines = (EXAMPLES / "afa_versus_pepita.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 16  # with its docstring
