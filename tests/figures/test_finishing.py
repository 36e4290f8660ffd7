"""Letters of panels, numbers of axes, and legends that lie over no curve."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from figures import add_legend, plot_overlay
from figures.finishing import finish
from tests.figures.test_overlay import trajectory


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels(axis):
    axis.figure.canvas.draw()
    low, high = sorted(axis.get_view_interval())
    return [
        tick.label1.get_text() for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]  # fmt: skip


def test_panels_have_letters_and_colour_bars_and_residuals_do_not():
    figure, axes = plt.subplots(2, 2, layout="constrained")
    axes[0, 1].set_axis_off()
    plot_overlay(trajectory(), trajectory(3), residuals="relative", ax=axes[0, 0])
    figure.colorbar(axes[1, 0].imshow([[1.0, 2.0]]), ax=axes[1, 0])
    finish(figure)
    letters = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert letters == [["(a)"], [], ["(b)"], ["(c)"], [], []]
    alone, _ = plt.subplots()
    assert not finish(alone).axes[0].texts


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((0.08, 400), ["0.1", "1", "10", "100"]),
        ((2e-4, 1), ["0.001", "0.01", "0.1", "1"]),
        ((3e-5, 1), ["$10^{-4}$", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$", "$10^{0}$"]),
        ((100, 2e4), ["$10^{2}$", "$10^{3}$", "$10^{4}$"]),
        ((0.04, 0.8), ["0.05", "0.1", "0.2", "0.5"]),
    ],
)
def test_numbers_of_a_logarithmic_axis_are_all_decimals_or_all_powers(limits, expected):
    figure, ax = plt.subplots(figsize=(7, 7))
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    finish(figure)
    assert sorted(labels(ax.xaxis)) == sorted(labels(ax.yaxis)) == sorted(expected)


def test_ticks_of_ones_own_stay():
    figure, ax = plt.subplots()
    ax.set(yscale="log", ylim=(1, 10))
    ax.set_yticks([2, 3], ["two", "three"])
    ax.minorticks_off()
    finish(figure)
    assert labels(ax.yaxis) == ["two", "three"]


def test_a_legend_outside_is_above_all_panels_and_within_the_figure():
    figure, axes = plt.subplots(1, 2, figsize=(5.0, 3.0))
    for rule in ("bp", "fa"):
        plot_overlay(trajectory(), rule=rule, ax=axes[0])
    for rule in ("bp", "pepita-modulated", "ff-topdown"):
        plot_overlay(trajectory(), rule=rule, ax=axes[1])
    assert add_legend(axes[0], outside=True) is axes[0]
    (legend,) = figure.legends
    figure.canvas.draw()
    box = legend.get_window_extent()
    assert box.ymin >= max(ax.get_tightbbox().ymax for ax in axes)
    assert box.width <= figure.bbox.width
    assert [text.get_text() for text in legend.texts] == [
        "BP", "FA", "PEPITA, modulated", "Forward-Forward, top-down", "theory", "simulation"
    ]  # fmt: skip
