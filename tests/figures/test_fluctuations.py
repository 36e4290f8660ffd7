"""Bands and falls with N: the right numbers, on the Axes given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray

from figures import plot_finite_size, plot_fluctuation_band
from figures.style import rule_color
from odes import Fluctuations, OrderParameters, Trajectory

TIMES = np.array([0.1, 1.0, 10.0])
ERROR = np.array([1.0, 0.5, 0.1])
STATES = OrderParameters(*(np.ones((3, 1, 1)) for _ in range(3)))
SCATTER = Fluctuations(np.ones((3, 3, 3)), STATES, np.array([1.0, 4.0, 100.0]))
THEORY = Trajectory(TIMES, STATES, ERROR, "ok", SCATTER)
RUNS = Trajectory(TIMES[:2], None, np.array([[1.1, 0.4], [0.9, 0.7]]), np.array(["ok"] * 2))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def band(ax):
    """Lower and upper edge of what is shaded, at each of TIMES."""
    corners = ax.collections[0].get_paths()[0].vertices
    at = [np.unique(corners[corners[:, 0] == t, 1]) for t in TIMES]
    return np.array([each[[0, -1]] for each in at]).T


def test_the_band_is_two_standard_deviations_of_N_inputs():
    ax = plot_fluctuation_band(THEORY, RUNS, N=400, rule="fa")
    std = np.array([0.05, 0.1, 0.5])
    low, high = band(ax)
    np.testing.assert_allclose(high, ERROR + 2 * std)
    np.testing.assert_allclose(low[:2], (ERROR - 2 * std)[:2])
    assert 0 < low[2] < 0.1  # where the axis is logarithmic
    line, *dots = ax.lines
    assert line.get_color() == rule_color("fa")
    for each, run in zip(dots, RUNS.generalization_error, strict=True):
        np.testing.assert_array_equal(each.get_ydata(), run)
        assert each.get_linestyle() == "None"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_legend_handles_labels()[1] == ["FA", "two standard deviations", "single runs"]


def test_the_band_may_be_relative_to_the_theory():
    ax = plot_fluctuation_band(THEORY, RUNS, N=400, relative=True)
    low, high = band(ax)
    np.testing.assert_allclose(high, [1.1, 1.4, 11])
    np.testing.assert_allclose(low, [0.9, 0.6, -9])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [1.1, 0.8])
    assert ax.get_yscale() == "linear"


def test_a_theory_without_fluctuations_has_no_band():
    with pytest.raises(ValueError, match="`theory` must come from solve"):
        plot_fluctuation_band(THEORY._replace(fluctuations=None), N=10)


def test_a_fall_with_N_is_markers_over_lines():
    N = np.array([10, 100])
    columns = {"gap": [3.0, 0.2], "gap_error": [6.0, 0.5], "gap_predicted": [2.0, 0.2]}
    dataset = xarray.Dataset({k: ("N", np.array(v)) for k, v in columns.items()}, {"N": N})
    ax = plot_finite_size(dataset, observable="gap", rule="afa")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2.0, 0.2])
    markers = ax.containers[0].lines[0]
    np.testing.assert_array_equal(markers.get_ydata(), [3.0, 0.2])
    low, high = ax.get_ylim()
    assert 0 < low <= 0.1
    assert high > 9.0
    dashed = plot_finite_size(
        dataset.assign(gap_sampled=("N", np.array([0.5, 0.4]))), observable="gap", ax=ax
    ).lines[-2]
    assert dashed.get_linestyle() == "--"
