"""What is drawn of a sweep: every point in its place, lost ones hatched, spots in their colour."""

import matplotlib
import numpy as np
import pytest
import xarray

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.collections import PathCollection, PolyQuadMesh, QuadMesh
from matplotlib.contour import ContourSet

from figures import paper_style, plot_phase_diagram, plot_scan, shared_norm
from figures.style import AXIS_LABELS, rule_color
from figures.sweeps import _edges
from odes.common.grid import AXES

RATES, SCALES, TIMES = [0.1, 1.0, 10.0], [0.5, 2.0], [1.0, 9.0]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def theory():
    """One point is lost, and its error NaN at the last time only."""
    errors = np.random.default_rng(0).uniform(0.01, 0.5, (3, 2, 2))
    status = np.full((3, 2), "ok", dtype="<U9")
    errors[2, 1, 1], status[2, 1] = np.nan, "diverged"
    dims = ("lr", "feedback_scale")
    return xarray.Dataset(
        {"generalization_error": ((*dims, "time"), errors), "status": (dims, status)},
        {"lr": RATES, "feedback_scale": SCALES, "time": TIMES},
    )


@pytest.fixture
def simulation():
    """Two runs at four points, none of which got to the end at the last."""
    errors = np.random.default_rng(1).uniform(0.01, 0.5, (2, 2, 2, 2))
    errors[1, 1, :, 1] = np.nan
    dims = ("lr", "feedback_scale", "run", "time")
    return xarray.Dataset(
        {"generalization_error": (dims, errors)},
        {"lr": [0.2, 5.0], "feedback_scale": [0.6, 1.5], "time": TIMES},
    )


def drawn(ax, kind):
    return [each for each in ax.collections if isinstance(each, kind)]


def test_a_phase_diagram_shows_every_point_where_it_is(theory, simulation):
    ax = plot_phase_diagram(theory, simulation, level=0.2)
    (mesh,) = drawn(ax, QuadMesh)
    final = theory.generalization_error[..., -1]
    shown = mesh.get_array()
    np.testing.assert_array_equal(shown.filled(np.nan), final.values.T)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (float(final.min()), float(final.max()))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == AXIS_LABELS["lr"]
    assert ax.get_ylabel() == AXIS_LABELS["feedback_scale"]
    for centres, edges in zip(
        (RATES, SCALES),
        (mesh.get_coordinates()[0, :, 0], mesh.get_coordinates()[:, 0, 1]),
        strict=True,
    ):
        np.testing.assert_allclose(edges[:-1] * edges[1:], np.square(centres))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < RATES[0] < RATES[-1] < right
    assert bottom < SCALES[0] < SCALES[-1] < top
    (contour,) = drawn(ax, ContourSet)
    assert contour.levels == [0.2]


def test_cells_end_half_way_to_the_next_point_and_as_far_beyond_the_last():
    np.testing.assert_allclose(
        _edges(np.array([1.0, 10.0, 1e3])), 10 ** np.array([-0.5, 0.5, 2, 4])
    )
    np.testing.assert_allclose(_edges(np.array([2.0])), 2 * np.exp([-0.5, 0.5]))
    np.testing.assert_allclose(_edges(np.array([0.0, 1.0, 3.0])), [-0.5, 0.5, 2, 4])


def test_a_parameter_that_is_0_has_a_linear_axis(theory):
    ax = plot_phase_diagram(theory.assign_coords(feedback_scale=[0.0, 2.0]))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    (mesh,) = drawn(ax, QuadMesh)
    np.testing.assert_allclose(mesh.get_coordinates()[:, 0, 1], [-1, 1, 3])
    with pytest.raises(ValueError, match=r"`theory\.lr` must be >= 0 and sorted"):
        plot_phase_diagram(theory.assign_coords(lr=-theory.lr.values[::-1]))


def test_points_that_are_not_ok_are_hatched(theory):
    ax = plot_phase_diagram(theory)
    (hatched,) = drawn(ax, PolyQuadMesh)
    assert hatched.get_hatch()
    (cell,) = (path.get_extents() for path in hatched.get_paths())
    assert cell.contains(10.0, 2.0)
    assert not cell.contains(1.0, 2.0)
    fine = theory.assign(status=theory.status.where(theory.status == "ok", "ok"))
    assert not drawn(plot_phase_diagram(fine), PolyQuadMesh)


def test_spots_are_filled_with_the_colour_of_their_own_mean(theory, simulation):
    ax = plot_phase_diagram(theory, simulation)
    ax.figure.canvas.draw()
    spots, crosses = drawn(ax, PathCollection)
    mean = simulation.generalization_error[..., -1].mean("run").values
    np.testing.assert_allclose(spots.get_offsets(), [[0.2, 0.6], [0.2, 1.5], [5.0, 0.6]])
    norm, colormap = shared_norm(theory), plt.get_cmap("viridis")
    expected = colormap(norm(mean[np.isfinite(mean)]))
    np.testing.assert_allclose(spots.get_facecolors(), expected)
    np.testing.assert_allclose(crosses.get_offsets(), [[5.0, 1.5]])


def test_diagrams_can_share_their_colours(theory):
    other = theory.assign(generalization_error=10 * theory.generalization_error)
    norm = shared_norm(theory, other)
    final = theory.generalization_error[..., -1]
    assert (norm.vmin, norm.vmax) == (float(final.min()), float(10 * final.max()))
    axes = [plot_phase_diagram(each, norm=norm) for each in (theory, other)]
    assert all(drawn(ax, QuadMesh)[0].norm is norm for ax in axes)


@pytest.mark.parametrize("value", [-1e-18, np.nan])
def test_errors_that_have_no_logarithm_do_not_stop_the_drawing(theory, value):
    for everywhere in (False, True):
        errors = theory.generalization_error.copy()
        errors[(... if everywhere else (0, 0))] = value
        ax = plot_phase_diagram(theory.assign(generalization_error=errors))
        ax.figure.canvas.draw()


def test_a_scan_is_a_line_and_markers_with_standard_errors(theory, simulation):
    along = {"feedback_scale": 0}
    ax = plot_scan(theory.isel(along), simulation.isel(along), rule="afa")
    (bars,) = ax.containers
    line, markers = ax.lines[0], bars.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), RATES)
    np.testing.assert_array_equal(line.get_ydata(), theory.generalization_error[:, 0, -1])
    assert line.get_color() == markers.get_color() == rule_color("afa")
    runs = simulation.generalization_error[:, 0, :, -1]
    np.testing.assert_allclose(markers.get_ydata(), runs.mean("run"))
    lengths = [segment[1, 1] - segment[0, 1] for segment in bars.lines[2][0].get_segments()]
    np.testing.assert_allclose(lengths, 2 * runs.std("run", ddof=1) / np.sqrt(2))
    assert ax.get_xlabel() == AXIS_LABELS["lr"]
    assert "epsilon_g" in ax.get_ylabel()


def test_every_axis_of_a_sweep_has_a_label():
    assert set(AXES) <= set(AXIS_LABELS)


def test_a_diagram_is_saved_whole(theory, simulation, tmp_path):
    with paper_style():
        ax = plot_phase_diagram(theory, simulation, level=0.1)
        ax.figure.savefig(tmp_path / "diagram.pdf")
    assert (tmp_path / "diagram.pdf").stat().st_size > 5_000
