"""What stands behind the explorer's page: choices, links, curves, and scripts."""

import os
import runpy
import sys
from types import ModuleType
from urllib.parse import parse_qs

import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures.explorer.choices import VIEWS, Choices, View, checked, from_link, quantities, to_link
from figures.explorer.curves import Percentages, key_of, simulation, theory
from figures.explorer.scripts import script
from figures.explorer.views import entry, picture, summary
from tests.conftest import quick_and_long

OTHER = Choices(
    rules=("afa", "bp"), K=3, M=1, lr=0.25, lr_v=0.1, feedback_scale=0.7, noise=0.3,
    activation="linear", t_max=2.0, N=60, n_runs=2, seed=4,
)  # fmt: skip


def test_a_link_restores_every_choice():
    given = OTHER, View("phase plane", "v", "error", "B_3")
    for others, usual in zip(given, (Choices(), View()), strict=True):
        assert all(a != b for a, b in zip(others, usual, strict=True))
    assert from_link(parse_qs(to_link(*given)[1:])) == given
    assert from_link({"file": "page.py"}) == (Choices(), View())
    assert from_link({"K": "1", "M": ["9", "1"]}) == (Choices(K=1, M=1), View())


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({"lr": "fast"}, "`lr` must be a number, but is 'fast'"),
        ({"lr": "-1"}, "`lr` must be a finite number >= 0, but is -1.0"),
        ({"noise": "nan"}, "`noise` must be a finite number"),
        ({"t_max": "0"}, "`t_max` must be a finite number > 0"),
        ({"K": "2.5"}, "`K` must be an integer, but is '2.5'"),
        ({"K": "10"}, "`K` must be below 10"),
        ({"N": "0"}, "`N` must be an integer >= 1"),
        ({"seed": "-1"}, "`seed` must be an integer >= 0"),
        ({"rules": ","}, "`rules` must have one rule at least"),
        ({"rules": "bp,hebb"}, "`rules` must be one of .* but is 'hebb'"),
        ({"activation": "step"}, "`activation` must be one of"),
        ({"view": "sideways"}, "`view` must be one of"),
        ({"parameter": "T"}, "`parameter` must be one of"),
        ({"x": "R_13"}, "`x` must be one of"),
    ],
)
def test_a_wrong_link_is_explained(link, words):
    with pytest.raises(ValueError, match=f"Argument {words}"):
        from_link(link)


def test_what_a_form_gives_is_checked():
    """An empty field is None, and a rule counts once."""
    with pytest.raises(ValueError, match="`N` must be an integer >= 1, but is None"):
        checked(Choices(N=None), View())
    assert checked(Choices(rules=("fa", "fa")), View())[0].rules == ("fa",)


def test_a_refusal_of_the_network_or_of_a_rule_is_an_error_of_theirs():
    with pytest.raises(ValueError, match=r"`N` must be at least K \+ M \+ O = 5, but is 4"):
        theory(Choices(N=4), "bp")


def test_quantities_are_entries_by_their_units():
    trajectory = theory(OTHER, "afa").trajectory
    states = trajectory.order_parameters
    named = {name: entry(trajectory, name) for name in quantities(3, 1)}
    assert len(named) == 1 + 6 + 3 + 3 + 3
    np.testing.assert_array_equal(named["error"], trajectory.generalization_error)
    np.testing.assert_array_equal(named["Q_23"], states.Q[:, 1, 2])
    np.testing.assert_array_equal(named["R_31"], states.R[:, 2, 0])
    np.testing.assert_array_equal(named["v_2"], states.v[:, 1, 0])
    np.testing.assert_array_equal(named["B_3"], states.B[:, 2, 0])


@pytest.mark.parametrize("name", [name for name in Choices._fields if name != "rules"])
def test_networks_trained_otherwise_are_others(name):
    """Whatever was chosen otherwise; the other rules do not count."""
    other = OTHER._replace(**{name: getattr(Choices(), name)})
    assert key_of(other, "bp") != key_of(OTHER, "bp")
    assert key_of(OTHER, "fa") != key_of(OTHER, "bp") == key_of(OTHER._replace(rules=()), "bp")


def lines_of(figure):
    """The points of all lines that are longer than a legend's, by panel."""
    found = []
    for ax in figure.axes:
        found.append([line.get_xydata() for line in ax.lines if len(line.get_xdata()) > 2])
    return found


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("simulated", quick_and_long([()], (OTHER.rules,)))
def test_the_script_draws_what_the_page_shows(view, simulated, tmp_path, monkeypatch):
    """To rounding, with all choices other than the usual ones."""
    monkeypatch.chdir(tmp_path)
    seen = View(view, "R", "R_21", "error")
    curves = {rule: theory(OTHER, rule) for rule in OTHER.rules}
    runs = {rule: simulation(OTHER, rule, lambda _: None) for rule in simulated}
    figure, _ = picture(OTHER, seen, curves, runs)
    names = {}
    exec(script(OTHER, seen, curves, runs), names)
    expected, found = lines_of(figure), lines_of(names["fig"])
    plt.close(names["fig"])
    assert [len(each) for each in found] == [len(each) for each in expected]
    assert sum(map(len, found)) >= 2
    for panel, other in zip(found, expected, strict=True):
        for line, same in zip(panel, other, strict=True):
            np.testing.assert_allclose(line, same, rtol=1e-12)
    assert (tmp_path / "explored.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (View("order parameters", "B"), "BP has no B of its own."),
        (View("phase plane", "R", "R_11", "B_1"), "BP has no B of its own."),
        (View("alignment"), "BP has no angle of $B$ and $v$: Argument `state` must have a B"),
    ],
)
def test_what_a_rule_does_not_have_is_said_and_the_others_are_drawn(
    seen, words, tmp_path, monkeypatch
):
    """By the script as well."""
    monkeypatch.chdir(tmp_path)
    curves = {rule: theory(OTHER, rule) for rule in OTHER.rules}
    figure, (note,) = picture(OTHER, seen, curves, {})
    assert words in note
    assert lines_of(figure)[0]
    names = {}
    exec(script(OTHER, seen, curves, {}), names)
    assert len(lines_of(names["fig"])[0]) == len(lines_of(figure)[0])
    plt.close(names["fig"])


def test_the_table_has_a_row_for_each_rule():
    curve = theory(OTHER, "bp")
    error = curve.trajectory.generalization_error
    runs = curve.trajectory._replace(generalization_error=np.stack([error + 0.25, error + 0.75]))
    first, second = summary({"bp": curve, "fa": curve}, {"fa": runs})
    assert (first["rule"], second["rule"]) == ("BP", "FA")
    assert first["status"] == "ok"
    assert first["averages"] == "closed forms"
    assert first["final error, theory"] == f"{error[-1]:.4g}"
    assert first["final error, simulation"] == ""
    assert second["final error, simulation"] == f"{error[-1] + 0.5:.4g} ± 0.2"


def test_progress_is_read_from_lines_however_they_are_cut():
    told = []
    stream = Percentages(told.append)
    for text in ("11 % of 90 sam", "ples, 1 s\nnoise\n", "50 % of 90 samples, 2 s\n100 % of", ""):
        stream.write(text)
    assert told == [11, 39]
    assert not stream.isatty()
    stream.write(" 90 samples, 3 s\n")
    assert sum(told) == 100
    assert sys.stderr is not stream


def test_the_page_is_started_for_this_machine_alone(monkeypatch):
    """Whatever host is asked for; and without marimo it is said what to install."""
    started = []
    monkeypatch.setattr(os, "execve", lambda *given: started.append(given))
    monkeypatch.setattr(sys, "argv", ["explorer", "--headless", "--host", "0.0.0.0"])
    monkeypatch.setitem(sys.modules, "marimo", None)
    with pytest.raises(SystemExit, match=r"pip install 'topdown-odes\[explore\]'"):
        runpy.run_module("figures.explorer", run_name="__main__")
    assert not started
    there = ModuleType("marimo")
    there.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "marimo", there)
    runpy.run_module("figures.explorer", run_name="__main__")
    ((_, command, environment),) = started
    *_, option, host, page = command
    assert (option, host) == ("--host", "127.0.0.1")
    assert os.path.exists(page)
    assert environment["MARIMO_SKIP_UPDATE_CHECK"] == "1"
