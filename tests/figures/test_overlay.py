"""What is drawn: the right numbers, on the Axes given, as lines and as markers."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import figures
from figures import add_legend, paper_style, plot_band, plot_order_parameter, plot_overlay, style
from figures.style import rule_color, rule_label, rule_line
from odes import OrderParameters, Trajectory
from simulations import RULES
from tests.conftest import DISTINCT

TIMES = np.array([0.1, 1.0, 10.0])


def trajectory(*runs):
    rng = np.random.default_rng(0)
    shapes = ((2, 2), (2, 2), (2, 1), (2, 1))
    states = OrderParameters(*(rng.random((*runs, 3, *shape)) for shape in shapes))
    status = np.full(runs, "ok") if runs else "ok"
    return Trajectory(TIMES, states, rng.random((*runs, 3)) + 0.1, status)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_theory_is_a_line_and_simulation_markers_with_standard_errors():
    theory, simulation = trajectory(), trajectory(5)
    ax = plot_overlay(theory, simulation, rule="fa")
    (bars,) = ax.containers
    line, markers = ax.lines[0], bars.lines[0]
    np.testing.assert_array_equal(line.get_ydata(), theory.generalization_error)
    assert line.get_linestyle() == "-"
    assert line.get_color() == markers.get_color() == rule_color("fa")
    assert markers.get_linestyle() == "None"
    samples = simulation.generalization_error
    np.testing.assert_allclose(markers.get_ydata(), samples.mean(axis=0))
    (ends,) = (segment.get_segments() for segment in bars.lines[2])
    heights = [bottom_top[1, 1] - bottom_top[0, 1] for bottom_top in ends]
    np.testing.assert_allclose(heights, 2 * samples.std(axis=0, ddof=1) / np.sqrt(5))
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_one_run_has_no_error_bars_and_diverged_runs_count_while_they_last():
    single = plot_overlay(None, trajectory(1), rule="pepita")
    assert not single.containers[0].has_yerr
    assert single.get_legend_handles_labels()[1] == ["PEPITA"]
    some = trajectory(3)
    some.generalization_error[0, 1:] = np.nan
    some.generalization_error[1, 2:] = np.nan
    markers = plot_overlay(None, some).containers[0].lines[0]
    errors = some.generalization_error
    expected = [errors[:, 0].mean(), errors[1:, 1].mean(), errors[2, 2]]
    np.testing.assert_allclose(markers.get_ydata(), expected)


def several(*rules):
    """Theory and simulation of rules, by name, whose errors differ."""
    grown = [1.0 + index for index, _ in enumerate(rules)]
    return tuple(
        {
            rule: each._replace(generalization_error=factor * each.generalization_error)
            for rule, factor in zip(rules, grown, strict=True)
        }
        for each in (trajectory(), trajectory(5))
    )


def test_several_rules_are_drawn_at_once():
    theory, simulation = several("bp", "fa", "my own")
    del simulation["fa"]
    ax = plot_overlay(theory, simulation)
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert [line.get_color() for line in lines] == [rule_color(rule) for rule in theory]
    assert [line.get_label() for line in lines] == ["BP", "FA", "my own"]
    for line, each in zip(lines, theory.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), each.generalization_error)
    means = [bars.lines[0].get_ydata() for bars in ax.containers]
    for mean, each in zip(means, simulation.values(), strict=True):
        np.testing.assert_allclose(mean, each.generalization_error.mean(axis=0))
    listed = plot_overlay(list(theory.values()), rule=list(theory), label=["one", None, "three"])
    assert [line.get_label() for line in listed.lines] == ["one", "FA", "three"]
    assert [line.get_color() for line in listed.lines] == [rule_color(rule) for rule in theory]
    shades = plot_overlay(None, list(simulation.values()), rule="fa", marker="x")
    colors = {bars.lines[0].get_color() for bars in shades.containers}
    assert len(colors) == 2
    assert {bars.lines[0].get_marker() for bars in shades.containers} == {"x"}


@pytest.mark.parametrize(("kind", "unit"), [("standard errors", False), ("relative", True)])
def test_residuals_are_simulation_minus_theory_in_a_panel_below(kind, unit):
    theory, simulation = several("bp", "fa")
    early = simulation["fa"]._replace(  # between the times of theory
        times=np.array([0.1, 1.0]), order_parameters=None,
        generalization_error=simulation["fa"].generalization_error[:, :2],
    )  # fmt: skip
    ax = plot_overlay(theory, simulation | {"fa": early}, residuals=kind)
    assert ax.figure.axes[0] is ax
    (below,) = ax.figure.axes[1:]
    assert below.get_label() == "residuals"
    assert below.get_xlabel() == style.TIME_LABEL
    assert not ax.get_xlabel()
    assert below.get_position().ymax < ax.get_position().ymin
    for bars, rule in zip(below.containers, theory, strict=True):
        samples = simulation[rule].generalization_error
        mean, exact = samples.mean(axis=0), theory[rule].generalization_error
        error = samples.std(axis=0, ddof=1) / np.sqrt(5)
        expected = (mean - exact) / (exact if unit else error)
        drawn = bars.lines[0]
        assert drawn.get_color() == rule_color(rule)
        np.testing.assert_allclose(drawn.get_ydata(), expected[: len(drawn.get_ydata())])
        assert bars.has_yerr == unit
        if unit:
            ends = bars.lines[2][0].get_segments()
            np.testing.assert_allclose(
                [end[1, 1] - end[0, 1] for end in ends], (2 * error / exact)[: len(ends)]
            )


def test_curves_that_are_added_share_the_panel_of_residuals():
    _, (left, right) = plt.subplots(1, 2)
    for ax in (left, left, right):
        plot_overlay(trajectory(), trajectory(3), residuals="relative", ax=ax)
    below = [ax for ax in left.figure.axes if ax.get_label() == "residuals"]
    assert [len(ax.containers) for ax in below] == [2, 1]


def test_residuals_where_all_runs_are_alike_are_not_drawn():
    theory, simulation = trajectory(), trajectory(4)
    simulation.generalization_error[:, 0] = 0.3  # as where they start
    ax = plot_overlay(theory, simulation, residuals="standard errors")
    drawn = ax.figure.axes[1].containers[0].lines[0].get_ydata()
    assert list(np.isfinite(drawn)) == [False, True, True]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"theory": {"bp": 1}}, r"`theory\['bp'\]` must be a Trajectory"),
        ({"simulation": [trajectory(2)]}, "`simulation` must be a dictionary of Trajectories"),
        ({"theory": {}}, "`theory` must be a dictionary of Trajectories"),
        ({"rule": "bp"}, "`rule` must be None where"),
        ({"label": ["a", "b"]}, "`label` must be a list of 1"),
        ({"label": [3]}, "`label` must be a string"),
        ({"theory": [trajectory()], "rule": ["bp", "fa"], "simulation": None}, "`rule` must be a"),
        (
            {"theory": [trajectory()], "simulation": [trajectory(2)] * 2},
            "`simulation` must be a list of 1 Trajectories",
        ),
        ({"residuals": "percent"}, '`residuals` must be one of "standard errors", "relative"'),
        ({"residuals": "relative", "simulation": None}, "`residuals` must be None where no rule"),
        (
            {"residuals": "standard errors", "simulation": {"bp": trajectory(1)}},
            '`residuals` must be "relative" or None for a simulation of one run',
        ),
    ],
)
def test_several_rules_that_cannot_be_drawn_are_named(given, words):
    whole = {"theory": {"bp": trajectory()}, "simulation": {"bp": trajectory(2)}}
    with pytest.raises(ValueError, match=words):
        plot_overlay(**whole | given)
    assert not plt.get_fignums()


def test_residuals_need_axes_of_a_grid():
    free = plt.figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="`ax` must be in a grid"):
        plot_overlay(trajectory(), trajectory(2), residuals="relative", ax=free)
    assert not free.lines


def test_any_observable_is_drawn_on_the_axes_given():
    _, ax = plt.subplots()
    theory = trajectory()
    returned = plot_overlay(
        theory, observable=lambda t: t.order_parameters.Q[..., 0, 1], label="$Q$", ax=ax
    )
    assert returned is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), theory.order_parameters.Q[:, 0, 1])
    assert ax.get_yscale() == "linear"
    add_legend(ax)
    assert [text.get_text() for text in ax.get_legend().texts] == ["$Q$", "theory", "simulation"]
    with pytest.warns(DeprecationWarning, match="`add_key` is now called `add_legend`"):
        assert figures.add_key(ax) is ax


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("Q", ["$Q_{11}$", "$Q_{12}$", "$Q_{22}$"]),
        ("R", ["$R_{11}$", "$R_{12}$", "$R_{21}$", "$R_{22}$"]),
        ("v", ["$v_{1}$", "$v_{2}$"]),
        ("B", ["$B_{1}$", "$B_{2}$"]),
    ],
)
def test_every_distinct_entry_of_an_order_parameter_is_drawn(name, labels):
    theory = trajectory()
    ax = plot_order_parameter(theory, trajectory(3), name=name, rule="afa")
    assert [text.get_text() for text in ax.get_legend().texts] == labels
    assert len(ax.containers) == len(labels)
    array = getattr(theory.order_parameters, name)
    lines = [line.get_ydata() for line in ax.lines if line.get_linestyle() != "None"]
    assert len(lines) == len(labels)
    for label, values in zip(labels, lines, strict=True):
        indices = [int(digit) - 1 for digit in label if digit.isdigit()]
        np.testing.assert_array_equal(values, array[(slice(None), *indices, 0)[:3]])


def test_a_band_is_drawn_where_most_paths_lie():
    paths, simulation = trajectory(40), trajectory(20)
    ax = plot_band(paths, simulation, rule="afa", label="paths")
    samples = paths.generalization_error
    np.testing.assert_allclose(ax.lines[0].get_ydata(), samples.mean(axis=0))
    (band,) = ax.collections[:1]
    edges = np.quantile(samples, (0.1, 0.9), axis=0)
    drawn = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([drawn.min(), drawn.max()], [edges.min(), edges.max()])
    ticks = [line.get_ydata() for line in ax.lines if line.get_marker() == "_"]
    expected = np.quantile(simulation.generalization_error, (0.1, 0.9), axis=0)
    np.testing.assert_allclose(ticks[-2:], expected)
    assert ax.get_legend_handles_labels()[1] == ["paths", "simulation"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot_order_parameter(None, name="Q"), "`theory` must be a Trajectory"),
        (
            lambda: plot_order_parameter(trajectory(), name="Z"),
            '`name` must be one of "Q", "R", "v", "B"',
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_every_rule_has_a_colour_and_line_of_its_own():
    looks = {(rule_color(rule), rule_line(rule)) for rule in (*DISTINCT, None)}
    assert len(looks) == len(DISTINCT) + 1
    assert set(style.RULES) == set(RULES)
    ax = plot_overlay(trajectory(), rule="fa-mirror")
    assert ax.lines[0].get_linestyle() == rule_line("fa-mirror") == "--"
    assert rule_label("pepita-tl") == "PEPITA-TL"
    assert rule_label("my own") == "my own"


def test_the_paper_style_is_local():
    before = plt.rcParams["figure.figsize"]
    with paper_style():
        assert plt.rcParams["figure.figsize"] == [3.4, 2.6]
    assert plt.rcParams["figure.figsize"] == before
