"""Captions: deviations that are known, found by name in whatever a figure's data are."""

import numpy as np
import pytest
import xarray

from figures.paper.captions import caption, captions_page, deviations_in_words
from figures.paper.registry import PaperFigure
from odes import OrderParameters, Trajectory

TIMES = np.geomspace(0.1, 10.0, 50)
SHOWN = TIMES[[7, 30]]
SPREAD = np.array([-1.0, 0.0, 1.0, 0.0, 0.0])[:, None]
ERROR = np.sqrt(0.5) / np.sqrt(5)
"""Of runs that are off their mean by SPREAD."""


def curve(times, errors, v=None):
    errors = np.asarray(errors)
    shape = (*errors.shape, 2, 2)
    Q = np.ones(shape) if v is None else np.stack([errors, errors, v, errors], -1).reshape(shape)
    state = OrderParameters(Q, np.ones(shape), np.ones((*errors.shape, 2, 1)))
    status = "ok" if errors.ndim == 1 else np.array(["ok"] * (len(errors) - 1) + ["diverged"])
    return Trajectory(times, state, errors, status)


def law(t):
    return 1 / (1 + t) ** 2


def off_by(*deviations, law=law):
    """Runs whose mean is so many standard errors above the law at SHOWN."""
    return curve(SHOWN, law(SHOWN) + ERROR * np.array(deviations) + SPREAD)


def test_the_deviation_of_a_mean_is_in_its_standard_errors():
    data = {
        "theory/a": curve(TIMES, law(TIMES)), "simulation/a": off_by(1.0, -3.0),
        "theory/b": curve(TIMES, -TIMES), "simulation/b": off_by(2.0, 0.0, law=np.negative),
        "theory/alone": curve(TIMES, TIMES), "simulation/lonely": off_by(9.0, 9.0),
    }  # fmt: skip
    assert deviations_in_words(data) == (
        f"* generalisation error: rms {np.sqrt(14 / 4):.2f}, worst -3.0 (a, t = {SHOWN[1]:.3g}), "
        "over 4 points, of 5 runs (rms 1.41 expected)"
    )


def test_theory_is_interpolated_between_its_times():
    between = np.sqrt(TIMES[20] * TIMES[21])
    runs = curve(np.array([between]), law(between) + ERROR * 2.0 + SPREAD)
    words = deviations_in_words({"theory/a": curve(TIMES, law(TIMES)), "simulation/a": runs})
    assert "worst +2.0" in words


def test_entries_of_order_parameters_count_once_and_those_that_stay_do_not():
    theory = curve(TIMES, law(TIMES), v=0 * TIMES)
    errors = law(SHOWN) + ERROR * np.array([1.0, 1.0]) + SPREAD
    runs = curve(SHOWN, errors, v=np.full((5, 2), 7.0) + SPREAD)  # below the diagonal of Q
    words = deviations_in_words({"theory/a": theory, "simulation/a": runs})
    assert "* order parameters: rms 1.00, worst +1.0 (a, Q, t = " in words
    assert "over 6 points" in words.split("order parameters")[1]


def test_paths_have_an_error_of_their_own():
    theory = curve(TIMES, law(TIMES) + SPREAD)
    words = deviations_in_words({"theory/a": theory, "simulation/a": off_by(2.0, 2.0)})
    assert "worst +1.4" in words


def test_sweeps_are_compared_at_the_points_of_the_simulation():
    lr, spots = np.geomspace(0.1, 10.0, 40), np.geomspace(0.1, 10.0, 3)
    dims = ("rule", "lr", "time")
    theory = xarray.Dataset(
        {
            "generalization_error": (dims, np.stack([law(lr), lr])[..., None]),
            "status": (dims[:2], np.full((2, 40), "ok")),
        },
        {"rule": ["bp", "fa"], "lr": lr, "time": [5.0]},
    ).isel(lr=slice(None, None, -1))
    mean = np.stack([law(spots) + [ERROR, 0, 0], spots + [0, 0, 2 * ERROR]])[..., None]
    simulation = xarray.Dataset(
        {"generalization_error": (("run", *dims), mean + SPREAD[:, :, None, None])},
        {"rule": ["bp", "fa"], "lr": spots, "time": [5.0]},
    ).isel(rule=[1, 0])
    words = deviations_in_words({"theory": theory, "simulation": simulation})
    assert words == (
        f"* generalisation error: rms {np.sqrt(5 / 6):.2f}, worst +2.0 (fa, lr = 10, t = 5), "
        "over 6 points, of 5 runs (rms 1.41 expected)"
    )


def test_networks_are_compared_one_by_one():
    dims = ("network", "time")
    exact = np.array([[1.0, 2.0], [5.0, 9.0], [2.0, 2.0], [3.0, 1.0], [4.0, 4.0]])
    theory = xarray.Dataset({"to_start": (dims, exact)}, {"time": SHOWN})
    simulation = theory + SPREAD + ERROR * np.array([0.5, 0.0])
    words = deviations_in_words({"theory": theory, "simulation": simulation})
    assert words.startswith("* to start: rms 0.35, worst +0.5 (t = ")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"gap": 1.5, "gap_error": 0.5, "gap_predicted": 2.0}, "gap: rms 1.00, worst -1.0 (x, N ="),
        ({"length": 1.0, "simulated": 2.0, "error": 0.5}, "length: rms 2.00, worst +2.0 (x, N ="),
    ],
)
def test_variables_beside_each_other_are_compared_by_name(columns, expected):
    variables = {name: ("N", [value, np.nan]) for name, value in columns.items()}
    assert expected in deviations_in_words({"x": xarray.Dataset(variables, {"N": [100, 10]})})


def test_runs_beside_theory_in_one_dataset():
    angle, networks = law(TIMES), law(SHOWN) - 3 * ERROR + SPREAD
    dataset = xarray.Dataset(
        {"angle": ("time", angle), "angle_networks": (("run", "shown"), networks)},
        {"time": TIMES, "shown": SHOWN},
    )
    assert "angle: rms 3.00, worst -3.0 (x, t = " in deviations_in_words({"x": dataset})


def test_a_caption_has_words_parameters_and_what_diverged():
    def compute(**_):
        """What is seen, with ``steps``.

        And more.
        """

    figure = PaperFigure(compute, None, {}, {})
    data = {"theory/a": curve(TIMES, law(TIMES)), "simulation/a": off_by(1.0, 1.0)}
    words = caption(figure, {"N": 100_000, "rates": (0.5, 1.0), "seed": 3}, data)
    assert words.startswith("What is seen, with `steps`. And more.\n\n")
    assert "Parameters: `N` = 100000, `rates` = (0.5, 1), `seed` = 3.\n" in words
    assert words.endswith("Runs that diverged: 1 of 5 (simulation/a).")
    single = {"theory/a": data["theory/a"], "simulation/a": curve(SHOWN, law(SHOWN)[None])}
    assert "Deviation" not in caption(figure, {}, single)


def test_a_page_has_the_captions_in_the_order_of_the_figures():
    page = captions_page({"alignment": "second", "learning_curves": "first", "gone": "no"})
    assert page.index("## learning_curves\n\nfirst") < page.index("## alignment\n\nsecond")
    assert "gone" not in page
