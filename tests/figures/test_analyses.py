"""Figures of analyses: distributions, quantiles, schedules, plateaus and shades of a rule."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib.colors import rgb_to_hsv, to_rgb

from figures import (
    plot_distribution,
    plot_height,
    plot_plateau_lengths,
    plot_quantiles,
    plot_schedule,
    variants,
)
from figures.style import RULES, rule_color
from odes import PiecewiseConstant


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_distribution_is_the_sorted_values_and_what_is_nan_is_left_out():
    ax = plot_distribution(np.array([3.0, 1.0, 2.0]), np.array([2.5, np.nan, 0.5]), rule="fa")
    steps, markers = ax.lines[:2]
    np.testing.assert_array_equal(steps.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(steps.get_ydata(), [1 / 3, 2 / 3, 1])
    assert steps.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(markers.get_xdata(), [0.5, 2.5])
    np.testing.assert_allclose(markers.get_ydata(), [0.5, 1])
    assert steps.get_color() == markers.get_color() == rule_color("fa")
    assert [text for _, text in zip(*ax.get_legend_handles_labels(), strict=True)] == ["FA"]


def test_quantiles_are_those_over_networks():
    values = xarray.DataArray(
        [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 50.0], [9.0, 70.0]],
        dims=("network", "time"),
        coords={"time": [1.0, 10.0]},
    )
    ax = plot_quantiles(values, values + 1, rule="bp")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [3, 30])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [4, 31])
    band = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(np.unique(band[band[:, 0] == 1.0, 1])[[0, -1]], [2, 4])
    bars = np.array(ax.containers[0].lines[2][0].get_segments())[..., 1]
    np.testing.assert_allclose(bars, [[3, 5], [21, 51]])
    assert ax.get_xscale() == "log"


def test_a_schedule_jumps_where_it_says():
    ax = plot_schedule(PiecewiseConstant([2.0, 9.0], [1.0, 0.1, 5.0]), t_max=4.0, color="red")
    t, value = ax.lines[0].get_data()
    assert t[0] == 0
    assert t[-1] == 4
    np.testing.assert_array_equal(value, np.where(t < 2.0, 1.0, 0.1))
    assert np.min(np.diff(t)) < 1e-12
    plot_schedule(0.5, t_max=4.0, name="feedback_scale", ax=ax)
    assert set(ax.lines[1].get_ydata()) == {0.5}
    assert ax.get_ylabel() == "feedback scale"
    plot_schedule(lambda t: 1 / (1 + t), t_max=4.0, ax=ax)
    np.testing.assert_allclose(ax.lines[2].get_ydata()[-1], 0.2)


def test_plateaus_have_predictions_dashed():
    ax = plot_height(0.02, 1.0, 5.0, color="black")
    assert ax.lines[0].get_linestyle() == "--"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.02, 0.02])
    columns = {"length": [9.0, 5.0], "predicted": [8.0, 4.0]}
    columns |= {"simulated": [np.nan, 5.5], "error": [np.nan, 0.5]}
    lengths = xarray.Dataset(
        {name: ("asymmetry", each) for name, each in columns.items()}, {"asymmetry": [1e-3, 0.1]}
    )
    ax = plot_plateau_lengths(lengths, color="black", label="a")
    solid, dashed, markers = ax.lines[:3]
    np.testing.assert_array_equal(solid.get_ydata(), [9, 5])
    np.testing.assert_array_equal(dashed.get_ydata(), [8, 4])
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    np.testing.assert_array_equal(markers.get_ydata(), [np.nan, 5.5])
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize("rule", RULES)
def test_variants_of_a_rule_are_ever_darker_and_told_apart_without_colour(rule):
    looks = variants(rule, 4)
    values = [rgb_to_hsv(to_rgb(look["color"]))[2] for look in looks]
    assert np.all(np.diff(values) < 0)
    assert to_rgb(looks[0]["color"]) == to_rgb(rule_color(rule))
    assert len({look["marker"] for look in looks}) == 4
    assert len({look["linestyle"] for look in looks}) == 4
    assert variants(rule, 1)[0]["color"] == to_rgb(rule_color(rule))
