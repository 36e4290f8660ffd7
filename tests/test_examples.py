"""The examples run as they stand, and draw what they say."""

import ast
import re
import runpy
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.conftest import quick_and_long

EXAMPLES = Path(__file__).parent.parent / "examples"


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def follows(output):
    """Within four per cent of the theory at every time."""
    gaps = np.array(re.findall(r"-?\d+\.\d*", output), float)
    assert gaps.size == 9
    assert np.max(abs(gaps)) < 0.04


def own_rule(output):
    gap = np.array(ast.literal_eval(",".join(output.split("[")[1].rstrip("]\n").split())))
    assert gap.size == 15
    assert np.max(np.abs(gap)) < 0.1


def tune_by_gradient(output):
    tuned, swept = (numbers(line) for line in output.splitlines())
    np.testing.assert_allclose(tuned[:2], swept[:2], rtol=0.08)  # the grid's spacing
    assert tuned[2] <= swept[2]


def critical_learning_rate(output):
    np.testing.assert_allclose(numbers(output), [2.3068, 4.6137, 4.6137], atol=1e-4)


def symmetric_plateau(output):
    for line in output.splitlines():
        left, predicted = numbers(line)[-2:]
        assert abs(predicted / left - 1) < 0.1


def degeneracy_breaking(output):
    medians = {line.split(":")[0]: int(line.split()[-2]) for line in output.splitlines()}
    assert medians["fa"] < 30
    assert medians["afa"] < 30 < medians["bp"]


def optimal_schedule(output):
    (constant, of_constant, error), (steps, of_steps, other) = map(numbers, output.splitlines())
    assert steps < 0.8 * constant
    assert of_steps + 5 * other < of_constant - 5 * error


def digits(output):
    *accuracies, apart = (numbers(line) for line in output.splitlines())
    assert len(accuracies) == 6
    assert all(mean > 0.95 and std < 0.02 for mean, std in accuracies)
    assert apart[0] < 0.01


def digits_deep(output):
    _, *rows = output.splitlines()
    assert len(rows) == 6
    for row in rows:
        means_and_deviations = np.reshape(numbers(row), (3, 2))
        assert np.all(means_and_deviations[:, 0] > 0.87)
        assert np.all(means_and_deviations[:, 1] < 0.05)


def weight_mirrors(output):
    fixed, mirrored, before = (numbers(line)[0] for line in output.splitlines())
    assert before < 10 < mirrored < 0.6 * fixed


def forward_forward(output):
    gaps = numbers(output)
    assert len(gaps) == 2
    assert max(gaps) < 1e-5


def trained_elsewhere(output):
    ratios = np.array(re.findall(r"\d+\.\d*", output), float)
    assert ratios.size == 11
    assert np.max(abs(ratios - 1)) < 0.2


PRINTS = {
    "node_perturbation": follows,
    "target_projection": follows,
} | {
    check.__name__: check
    for check in (
        own_rule,
        tune_by_gradient,
        critical_learning_rate,
        symmetric_plateau,
        degeneracy_breaking,
        optimal_schedule,
        trained_elsewhere,
        digits,
        digits_deep,
        weight_mirrors,
        forward_forward,
    )
}


QUICK = ["own_rule"]


@pytest.mark.computes
@pytest.mark.parametrize(
    "name",
    quick_and_long(
        QUICK, *(name for name in sorted(path.stem for path in EXAMPLES.glob("*.py"))
                 if name not in QUICK),
    ),
)  # fmt: skip
def test_every_example_draws_a_picture(name, tmp_path, monkeypatch, capsys):
    """Run as a script is, at most 60 lines long; what it prints is what it is about.

    Those on digits, with data and a loop of their own, may have 110.
    """
    script = EXAMPLES / f"{name}.py"
    assert len(script.read_text().splitlines()) <= (110 if "digits" in name else 60)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    runpy.run_path(str(script), run_name="__main__")
    plt.close("all")
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    if name in PRINTS:
        PRINTS[name](capsys.readouterr().out)


def test_comparing_afa_with_pepita_takes_fifteen_lines():
    lines = (EXAMPLES / "afa_versus_pepita.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 16  # with its docstring
