"""What is shown of long work: a bar on a terminal, and lines elsewhere where they are asked for."""

import io
import sys

import numpy as np
import pytest

import simulations
from odes import sweep
from odes.common.progress import shown
from simulations import sample_network, simulate, simulate_chain
from tests.conftest import random_problem


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("progress", [True, None, False])
def test_a_bar_is_for_terminals_and_lines_are_for_whoever_asks(monkeypatch, terminal, progress):
    written = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with shown(progress, 4, "chunks") as advance:
        for _ in range(4):
            advance(1)
    said = written.getvalue()
    if terminal and progress is not False:
        assert "4/4" in said
        assert "% of" not in said
    elif progress:
        first, *others = said.splitlines()
        assert first == "some 0 s for all, as the first went"
        lines = [line.split(",")[0] for line in others]
        assert lines == [f"{percent} % of 4 chunks" for percent in (25, 50, 75, 100)]
    else:
        assert said == ""


def test_lines_are_ten_at_most_and_go_on_where_work_does(capsys):
    with shown(True, 2000, "samples", done=500) as advance:
        for _ in range(1500):
            advance(1)
    lines = capsys.readouterr().err.splitlines()[1:]
    percents = [int(line.split(" %")[0]) for line in lines]
    assert percents == [30, 40, 50, 60, 70, 80, 90, 100]


def test_the_first_of_what_is_done_side_by_side_tells_how_long_all_takes(monkeypatch, capsys):
    """5 s for the first of ten that are left, two at a time."""
    clock = iter([100.0, 105.0, 105.0, *range(110, 200)])
    monkeypatch.setattr("odes.common.progress.time.monotonic", lambda: next(clock))
    with shown(True, 12, "chunks", done=2, abreast=2) as advance:
        advance(1)
    assert capsys.readouterr().err.splitlines()[0] == "some 25 s for all, as the first went"


def test_a_bar_does_not_outlive_work_that_fails(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ZeroDivisionError), shown(None, 4, "chunks") as advance:
        advance(1 / 0)
    assert sys.stderr.getvalue().endswith("\n")


STATE, TEACHER = random_problem(2, 2, 1)
NETWORK = sample_network(N=20, K=2, M=2)
TRAINING = {"rule": "bp", "lr": 0.1, "times": [0.0, 0.1]}
LONG = {
    "odes.sweep": (lambda **how: sweep(STATE, TEACHER, **TRAINING, **how), "1 chunks"),
    "simulations.sweep": (lambda **how: simulations.sweep(NETWORK, **TRAINING, **how), "1 chunks"),
    "simulate": (lambda **how: simulate(NETWORK, **TRAINING, **how), "2 samples"),
    "simulate_chain": (lambda **how: simulate_chain(NETWORK, **TRAINING, **how), "2 samples"),
}


@pytest.mark.parametrize("call", LONG)
def test_long_work_says_how_far_it_is_where_it_is_asked_and_only_there(capsys, call):
    work, unit = LONG[call]
    for how in ({"progress": None}, {"progress": False}, {}):
        work(**how)
        assert capsys.readouterr() == ("", "")
    work(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"100 % of {unit}, ")
    with pytest.raises(ValueError, match=r"`progress` must be True, False or None, but is 'yes'"):
        work(progress="yes")
    work(progress=np.True_)
    assert "100 %" in capsys.readouterr().err
