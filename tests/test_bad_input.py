"""Whatever is given for an argument, the answer is right or a ValueError that names the argument.

The arguments are those of the signatures, and the functions all that are public, so that a new one
is tried without a new line here.
"""

import inspect
import re
import warnings
from fractions import Fraction
from types import SimpleNamespace

import jax
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure

import figures
import odes
import simulations
from odes.averages.activations import Erf
from odes.common.grid import AXES
from tests.conftest import random_problem

STATE, TEACHER = random_problem(2, 2, 1, seed=1)
NETWORK = simulations.sample_network(N=24, K=2, M=2, seed=1)
ENDED = simulations.Networks(NETWORK, {"W": NETWORK.W[None], "v": NETWORK.v[None]})
ALIKE = odes.Teacher(np.eye(2), np.ones((2, 1)))
INPUTS = odes.Spectrum([2.0, 0.5], [0.25, 0.75])
SPLIT = np.array([[1.0, -1.0], [-1.0, 1.0]])
SMALL = odes.OrderParameters(0.25 * np.eye(2), np.full((2, 2), 0.01), np.ones((2, 1)))
TRAINING = {"lr": 0.1, "times": [0.0, 0.1]}
LEARNING = {"initial": STATE, "teacher": TEACHER, "rule": "afa", **TRAINING}
FROZEN = {"rule": "bp", "lr": 0.5, "lr_v": 0.0}
NETWORKS = {"network": NETWORK, "rule": "fa", **TRAINING, "n_test": 2}
TAUGHT = odes.OrderParameters(np.eye(2), np.eye(2), np.ones((2, 1)))

# Calls that would compile, or search, for each value that is right are refused in the end, by what
# is looked at last: anything else that is wrong has to be named before.
REFUSED_LAST = odes.PiecewiseConstant([0.05], [0.0, 0.2])
UNLIKE = ALIKE._replace(v_star=np.array([[1.0], [2.0]]))

NEVER = {
    "text": "much",
    "bytes": b"much",
    "a complex number": 1j,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a negative number": -1.5,
    "a huge integer": 10**400,
    "an integer too long to print": 10**5000,
    "a dictionary": {"a": 1},
    "a set": {1.0},
    "a ragged list": [[1.0], [1.0, 2.0]],
    "an array without rank, of text": np.array("much"),
    "an array without rank, of None": np.array(None),
    "an array without rank, of a complex number": np.array(1j),
    "an object": SimpleNamespace(),
    "a class": SimpleNamespace,
}
"""What no argument may be, but for :data:`UNUSED` and :data:`TAKEN`."""

UNUSED = {
    ("odes.generalization_error", "B"), ("odes.generalization_error", "S"),
    ("odes.generalization_error", "P"), ("odes.drift", "P"),
    ("odes.output_errors", "B"), ("odes.output_errors", "S"), ("odes.output_errors", "P"),
    ("odes.feedback_cosine", "Q"), ("odes.feedback_cosine", "R"),
    ("odes.feedback_angle", "Q"), ("odes.feedback_angle", "R"),
}  # fmt: skip
"""Overlaps that are not looked at."""

TAKEN = {
    ("odes.sweep", "path", "text"), ("simulations.sweep", "path", "text"),
    ("simulations.simulate", "path", "text"), ("odes.Trajectory.save", "path", "text"),
    ("odes.drift", "moments", "a class"),  # a function, whose errors are its own
    ("odes.flow", "until", "a class"),  # called last
    *(("odes.PiecewiseConstant", "t", label) for label in (
        "infinity", "a negative number", "a huge integer", "an integer too long to print",
    )),
    *((f"figures.{name}", argument, "text") for name in figures.__all__ for argument in (
        "rule", "label",
    )),
    *((f"figures.{name}", "observable", "a class") for name in ("plot_overlay", "plot_band")),
    ("figures.plot_schedule", "schedule", "a class"),
    ("figures.plot_schedule", "name", "text"),  # of a parameter without a label
    ("figures.plot_height", "start", "NaN"), ("figures.plot_height", "end", "NaN"),
    ("figures.add_legend", "ncols", "bytes"),  # where matplotlib splits the legend
}  # fmt: skip
"""What is right after all."""

AT_TIMES = {
    "None": None,
    "zero": 0,
    "a huge number": 1e300,
    "a list": [0.1, 0.2],
    "a number in single precision": np.float32(0.5),
    "an array without rank": np.array(0.5),
    "a JAX array without rank": jax.numpy.asarray(0.5),
    "True": True,
    "an empty list": [],
    "an array of NaN": np.full((2, 2), np.nan),
    "an array of rank 3": np.ones((1, 2, 3)),
}
"""What may be right, or wrong with others only, one of which is named."""

FLUCTUATIONS = odes.Fluctuations(np.ones((2, 9, 9)), STATE, np.ones(2))
LEARNED = odes.Trajectory(np.array([0.0, 1.0]), STATE, np.array([1.0, 0.5]), "ok")

AX = Figure().add_subplot()
CURVE = LEARNED._replace(
    order_parameters=odes.OrderParameters(*(np.ones((2, *np.shape(each))) for each in STATE)),
    fluctuations=FLUCTUATIONS,
)
RUNS = odes.Trajectory(
    CURVE.times, odes.OrderParameters(*(np.stack([each] * 3) for each in CURVE.order_parameters)),
    np.array([[1.0, 0.5], [0.9, 0.6], [1.2, 0.4]]), np.full(3, "ok"),
)  # fmt: skip
COURSES = {"theory": CURVE, "simulation": RUNS, "ax": AX}
COLUMNS = xarray.Dataset(
    {name: ("N", [0.5, 0.1]) for name in ("gap", "gap_error", "gap_predicted", "gap_sampled")},
    {"N": [10, 100]},
)
LENGTHS = xarray.Dataset(
    {name: ("asymmetry", [9.0, 5.0]) for name in ("length", "predicted", "simulated", "error")},
    {"asymmetry": [1e-3, 0.1]},
)
GRID = xarray.Dataset(
    {
        "generalization_error": (("lr", "noise", "time"), [[[1.0], [0.5]], [[0.1], [0.2]]]),
        "status": (("lr", "noise"), [["ok", "ok"], ["ok", "diverged"]]),
    },
    {"lr": [0.1, 1.0], "noise": [0.5, 1.0], "time": [1.0]},
)
MEASURED = GRID[["generalization_error"]].expand_dims(run=2)
ANGLES = xarray.DataArray(
    [[1.0, 2.0], [3.0, 1.0]], dims=("network", "time"), coords={"time": [1.0, 2.0]}
)

PLATEAU = odes.FixedPoint(
    SMALL, float(odes.generalization_error(SMALL, ALIKE)), np.array([0.1 + 0j]),
    odes.OrderParameters(np.zeros((1, 2, 2)), SPLIT[None], np.zeros((1, 2, 1))), True, False,
    odes.RULES["bp"], Erf,
)  # fmt: skip

# A valid call of everything public: the function, and its arguments.
CALLS = {
    "odes.solve": (odes.solve, {**LEARNING, "max_steps": 100}),
    "odes.sweep": (odes.sweep, {**LEARNING, "path": f"{__file__}/below"}),
    "odes.flow": (
        odes.flow, {**LEARNING, "rule": "kolen-pollack", "feedback_scale": REFUSED_LAST},
    ),
    "odes.solve_paths": (
        odes.solve_paths, {**LEARNING, "n_paths": 2, "times": [0.0, 1e308], "dt": 1e-300},
    ),
    "odes.fixed_point": (
        odes.fixed_point,
        {"guess": TAUGHT, "teacher": ALIKE, **FROZEN},
    ),
    "odes.critical_learning_rate": (
        odes.critical_learning_rate,
        {"solution": TAUGHT, "teacher": ALIKE, "rule": "bp", "lr_v": 0.0},
    ),
    "odes.symmetric_plateau": (
        odes.symmetric_plateau, {"initial": SMALL, "teacher": UNLIKE, **FROZEN},
    ),
    "odes.escape_time": (
        odes.escape_time,
        {"plateau": PLATEAU, "state": SMALL._replace(R=SMALL.R + 0.01 * SPLIT), "teacher": ALIKE},
    ),
    "odes.plateau_interval": (odes.plateau_interval, {"trajectory": LEARNED, "height": 1.0}),
    "odes.optimal_schedule": (
        odes.optimal_schedule,
        {"initial": STATE, "teacher": TEACHER, "rule": "afa", "t": 0.1, "lr": REFUSED_LAST},
    ),
    "odes.generalization_error": (
        odes.generalization_error, {"state": STATE, "teacher": TEACHER},
    ),
    "odes.output_errors": (odes.output_errors, {"state": STATE, "teacher": TEACHER}),
    "odes.merge": (
        odes.merge, {"state": STATE, "groups": [[0], [1]], "weights": [0.5, 0.5]},
    ),
    "odes.drift": (
        odes.drift,
        {"state": STATE, "teacher": TEACHER, "rule": "afa",
         "parameters": odes.hyperparameters(lr=0.1)},
    ),
    "odes.hyperparameters": (odes.hyperparameters, {"lr": 0.1}),
    "odes.update_cosine": (
        odes.update_cosine, {"state": STATE, "teacher": TEACHER, "rule": "fa"},
    ),
    "odes.update_angle": (odes.update_angle, {"state": STATE, "teacher": TEACHER, "rule": "fa"}),
    "odes.feedback_cosine": (odes.feedback_cosine, {"state": STATE}),
    "odes.feedback_angle": (odes.feedback_angle, {"state": STATE}),
    "odes.gauss_hermite": (odes.gauss_hermite, {"dimensions": 2, "per_axis": 3}),
    "odes.sobol": (odes.sobol, {"dimensions": 2, "n": 3}),
    "odes.TargetPropagation": (odes.TargetPropagation, {}),
    "odes.NonlinearTargetPropagation": (odes.NonlinearTargetPropagation, {}),
    "odes.Mirrored": (odes.Mirrored, {"rule": "pepita"}),
    "odes.MirroredFA": (odes.MirroredFA, {}),
    "odes.MirroredAFA": (odes.MirroredAFA, {}),
    "odes.MirroredPEPITA": (odes.MirroredPEPITA, {}),
    "odes.Logistic": (odes.Logistic, {}),
    "odes.SymBa": (odes.SymBa, {}),
    "odes.Difference": (odes.Difference, {}),
    "odes.ForwardForward": (odes.ForwardForward, {}),
    "odes.TopDownForwardForward": (odes.TopDownForwardForward, {}),
    "odes.Fluctuations.std": (FLUCTUATIONS.std, {"N": 10}),
    "odes.Trajectory.save": (RUNS.save, {"path": "kept.nc"}),
    "odes.Trajectory.rerun": (odes.solve(**LEARNING).rerun, {}),
    "odes.Trajectory.to_xarray": (RUNS.to_xarray, {}),
    "odes.Trajectory.to_table": (RUNS.to_table, {}),
    "odes.cite": (odes.cite, {"what": "afa"}),
    "odes.load": (odes.load, {"path": "absent.nc"}),
    "odes.spread": (odes.spread, {"initial": STATE, "teacher": TEACHER, "inputs": INPUTS}),
    "odes.widening_shares": (odes.widening_shares, {"N": 10, "groups": 3}),
    "odes.Spectrum.power_law": (odes.Spectrum.power_law, {"exponent": 1.0}),
    "odes.Spectrum.blocks": (odes.Spectrum.blocks, {"eigenvalues": [1.0], "sizes": [3]}),
    "odes.Spectrum.of": (odes.Spectrum.of, {"X": np.eye(4), "groups": 2}),
    "odes.Spectrum.student_t": (odes.Spectrum.student_t, {"nu": 3.0}),
    "odes.PiecewiseConstant": (odes.PiecewiseConstant([0.05], [0.1, 0.2]), {"t": 0.5}),
    "simulations.simulate": (simulations.simulate, NETWORKS),
    "simulations.simulate_chain": (simulations.simulate_chain, NETWORKS),
    "simulations.sweep": (simulations.sweep, NETWORKS),
    "simulations.sample_network": (
        simulations.sample_network, {"N": 20, "K": 2, "M": 2, "inputs": INPUTS},
    ),
    "simulations.network_with_overlaps": (
        simulations.network_with_overlaps, {"initial": STATE, "teacher": TEACHER, "N": 20},
    ),
    "simulations.Network.overlaps": (NETWORK.overlaps, {"rule": "fa"}),
    "simulations.Networks.run": (ENDED.run, {"index": 0}),
    "simulations.Networks.overlaps": (ENDED.overlaps, {"rule": "fa"}),
    "simulations.pre_mirrored": (
        simulations.pre_mirrored, {"network": NETWORK, "rule": "fa-mirror", "t": 0.1},
    ),
    "simulations.ReadoutMirror": (simulations.ReadoutMirror, {}),
    "simulations.TwoLayerMirror": (simulations.TwoLayerMirror, {}),
    "figures.add_legend": (figures.add_legend, {"ax": AX}),
    "figures.animate": (
        figures.animate, {"trajectory": CURVE, "simulation": RUNS, "path": "not there/film.gif"},
    ),
    "figures.finish": (figures.finish, {"figure": Figure()}),
    "figures.paper_style": (figures.paper_style, {}),
    "figures.plot_band": (figures.plot_band, {"paths": RUNS, "simulation": RUNS, "ax": AX}),
    "figures.plot_distribution": (
        figures.plot_distribution, {"theory": [1.0, 2.0], "simulation": [1.0, np.nan], "ax": AX},
    ),
    "figures.plot_finite_size": (
        figures.plot_finite_size, {"dataset": COLUMNS, "observable": "gap", "ax": AX},
    ),
    "figures.plot_fluctuation_band": (figures.plot_fluctuation_band, {**COURSES, "N": 10}),
    "figures.plot_height": (
        figures.plot_height, {"height": 0.1, "start": 1.0, "end": 2.0, "ax": AX},
    ),
    "figures.plot_order_parameter": (figures.plot_order_parameter, {**COURSES, "name": "Q"}),
    "figures.plot_overlay": (figures.plot_overlay, COURSES),
    "figures.plot_phase_diagram": (
        figures.plot_phase_diagram, {"theory": GRID, "simulation": MEASURED, "ax": AX},
    ),
    "figures.plot_plateau_lengths": (
        figures.plot_plateau_lengths, {"dataset": LENGTHS, "ax": AX},
    ),
    "figures.plot_quantiles": (
        figures.plot_quantiles, {"theory": ANGLES, "simulation": ANGLES, "ax": AX},
    ),
    "figures.plot_scan": (
        figures.plot_scan,
        {"theory": GRID.isel(noise=0), "simulation": MEASURED.isel(noise=0), "ax": AX},
    ),
    "figures.plot_schedule": (
        figures.plot_schedule,
        {"schedule": odes.PiecewiseConstant([1.0], [0.1, 0.2]), "t_max": 2.0, "ax": AX},
    ),
    "figures.shared_norm": (figures.shared_norm, {"datasets": GRID}),
    "figures.variants": (figures.variants, {"rule": "bp", "count": 2}),
}  # fmt: skip

RECORDS = {
    "ACTIVATIONS", "RULES",  # dictionaries
    "Activation", "FactoredOrderParameters", "Hyperparameters", "Learning", "Network",
    "Networks", "OrderParameters", "Points", "Sample", "Spectrum", "Task", "Teacher", "Trajectory",
    "Update",
    "FixedPoint", "Flow", "Fluctuations", "Optimum",  # whoever takes one looks at what it holds
    "Rule",  # of one's own: tests of its hooks
}  # fmt: skip
"""What is public and checks nothing itself."""

MORE = {
    "odes.sweep": tuple(AXES),
    "simulations.sweep": (*AXES, "seed", "N"),
    "odes.optimal_schedule": tuple(inspect.signature(odes.flow).parameters),
    "odes.Trajectory.rerun": ("lr", "times", "rtol"),
    "figures.add_legend": ("loc", "ncols"),
    "figures.plot_schedule": ("color", "marker", "linestyle", "label"),
}
"""What stands for the ** of a signature."""

PARTS = {
    "initial": STATE._fields, "state": STATE._fields, "guess": STATE._fields,
    "solution": STATE._fields, "teacher": TEACHER._fields, "network": NETWORK._fields,
    "parameters": odes.Hyperparameters._fields, "inputs": INPUTS._fields,
    **dict.fromkeys(("theory", "simulation", "paths"), ("times", "generalization_error")),
}  # fmt: skip
"""Arguments that hold others: an error names the part."""


def arguments(call):
    """Names of the arguments, those that ** stands for among them."""
    for argument, parameter in inspect.signature(CALLS[call][0]).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            yield from MORE[call]
        else:
            yield argument


def cases():
    for call in CALLS:
        for argument in dict.fromkeys(arguments(call)):
            whole = CALLS[call][1].get(argument)
            parts = PARTS.get(argument, ()) if is_record(whole) else ()
            for part in (None, *(name for name in parts if getattr(whole, name) is not None)):
                yield call, argument, part


def called(call, given):
    """What a function returns, whose argument with a * is the only one before it."""
    function, given = CALLS[call][0], dict(given)
    parameters = inspect.signature(function).parameters.items()
    starred = [name for name, each in parameters if each.kind is each.VAR_POSITIONAL]
    values = [given.pop(name) for name in starred]
    return function(*values, **given)


def drawn():
    """What has been drawn: on the Axes given, and on new ones."""
    axis = (AX.get_xscale(), AX.get_yscale(), AX.get_xlabel(), AX.get_ylabel(), AX.get_legend())
    return len(AX.get_children()), axis, plt.get_fignums()


NOTHING = drawn()


def wipe():
    if drawn() != NOTHING:
        plt.close("all")
        AX.clear()


def answered(call, given):
    """What the function answers, or the words of a ValueError; warnings are errors."""
    before = drawn()
    with warnings.catch_warnings(), jax.enable_x64(call == "odes.flow"):
        warnings.simplefilter("error")
        try:
            return called(call, given), None
        except ValueError as refusal:
            assert drawn() == before, "half-drawn"
            return None, str(refusal)
        finally:
            wipe()


def is_record(value):
    return hasattr(value, "_fields")


def with_part(given, argument, part, value):
    return given | {argument: given[argument]._replace(**{part: value}) if part else value}


def is_named(words, expected):
    """Whether an error is about one of these arguments."""
    named = any(re.search(rf"`[\w.]*\b{name}\b", words) for name in expected)
    return words.startswith("Argument") and (named or "covariance" in words)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Text may be a path."""
    monkeypatch.chdir(tmp_path)
    yield
    wipe()


UNCHECKED = {
    ("Sample", "through"), ("Sample", "outer"), ("Sample", "forward"),
    ("OrderParameters", "with_weights"), ("Network", "get"), ("Network", "put"),
    ("Spectrum", "alone"), ("Spectrum", "of_inputs"),
}  # fmt: skip
"""What rules call with what they are given, and what holds what others look at."""


def test_everything_public_is_tried():
    for package in (odes, simulations, figures):
        for name in set(package.__all__) - RECORDS:
            assert f"{package.__name__}.{name}" in CALLS
        for name in RECORDS & set(package.__all__) - {"Rule", "RULES", "ACTIVATIONS"}:
            record = getattr(package, name)
            assert issubclass(record, tuple)
            methods = [
                key for key, each in vars(record).items()
                if inspect.isfunction(each) or isinstance(each, classmethod)
            ]  # fmt: skip
            for method in methods:
                known = method.startswith("_") or (name, method) in UNCHECKED
                assert known or f"{package.__name__}.{name}.{method}" in CALLS


@pytest.mark.parametrize(("call", "argument", "part"), list(cases()))
def test_any_value_is_answered_or_refused_by_name(call, argument, part):
    _, given = CALLS[call]
    own = (argument, part) if part else (argument, *PARTS.get(argument, ()))
    others = (*arguments(call), *STATE._fields, *TEACHER._fields)
    for label, value in NEVER.items():
        if (call, part) not in UNUSED and (call, argument, label) not in TAKEN:
            _, words = answered(call, with_part(given, argument, part, value))
            assert words is not None, label
            assert is_named(words, own), f"{label}: {words}"
    for label, value in AT_TIMES.items():
        _, words = answered(call, with_part(given, argument, part, value))
        assert words is None or is_named(words, others), f"{label}: {words}"


@pytest.mark.parametrize(("call", "argument", "part"), list(cases()))
def test_a_traced_value_is_taken_or_refused_by_name(call, argument, part):
    """In place of a scalar, and of an array of the same shape."""
    _, given = CALLS[call]
    whole = given.get(argument)
    array = getattr(whole, part) if part else whole
    shapes = {(), () if is_record(array) or isinstance(array, xarray.Dataset) else np.shape(array)}
    others = (*arguments(call), *STATE._fields, *TEACHER._fields)
    with jax.enable_x64(True):
        for shape in shapes:
            words = []

            def traced(value, words=words):
                try:
                    called(call, with_part(given, argument, part, value))
                except ValueError as refusal:
                    words.append(str(refusal))
                return value

            jax.eval_shape(traced, jax.ShapeDtypeStruct(shape, float))
            assert all(is_named(each, others) for each in words), words


FORMS = {
    "0-d array": np.array, "NumPy scalar": np.float64, "fraction": Fraction,
    "list": lambda value: np.asarray(value).tolist(), "JAX array": jax.numpy.asarray,
    "single precision": np.float32,
}  # fmt: skip

OF_NUMBERS = ("NumPy scalar", "fraction")
ROUNDED = (*OF_NUMBERS, "single precision")

SAME = {
    "odes.solve": ("lr", "times", "Q", "v", "T"),
    "odes.update_angle": ("noise", "Q", "B", "v_star"),
    "odes.generalization_error": (),
    "odes.fixed_point": ("lr", "lr_v", "Q", "T"),
    "odes.hyperparameters": ("lr",),
    "simulations.simulate": ("lr", "times", "W", "v", "n_test"),
    "simulations.simulate_chain": ("lr", "times", "W", "B", "n_test"),
    "simulations.network_with_overlaps": ("R", "v_star", "N"),
}
"""Arguments, and parts of them."""


@pytest.mark.parametrize("call", SAME)
def test_the_form_of_a_number_makes_no_difference(call):
    _, given = CALLS[call]
    exact = {"lr": 0.125, "times": [0.0, 0.125]}
    given = given | {name: exact[name] for name in exact if name in given}
    whole_of = {
        part: key for key, each in given.items() if is_record(each) for part in each._fields
    }
    for name in SAME[call]:
        argument, part = (whole_of[name], name) if name in whole_of else (name, None)
        value = getattr(given[argument], part) if part else given.get(argument, 0.0)
        value = np.float32(value) if part else value  # exact in single precision
        exact = np.asarray(value, float) if part else value
        plain, words = answered(call, with_part(given, argument, part, exact))
        assert words is None, words
        array, count = bool(part) or name == "times", isinstance(value, int)
        for label, form in FORMS.items():
            if not (count and label in ROUNDED) and not (array and label in OF_NUMBERS):
                other, words = answered(call, with_part(given, argument, part, form(value)))
                assert words is None, (name, label, words)
                for ours, theirs in zip(*map(jax.tree.leaves, (other, plain)), strict=True):
                    np.testing.assert_array_equal(ours, theirs, err_msg=f"{name}: {label}")


@pytest.mark.parametrize("value", [np.array([0.1, 0.2]), [0.1], np.array([])])
def test_an_array_of_learning_rates_is_sent_to_sweep(value):
    _, words = answered("odes.solve", LEARNING | {"lr": value})
    assert re.match(r"Argument `lr` must be a finite number.*sweep\(\)", words)


def test_a_traced_learning_rate_is_sent_to_flow():
    def error(lr):
        return odes.solve(**LEARNING | {"lr": lr})

    with pytest.raises(ValueError, match=r"`lr` must be a finite number.*flow\(\)"):
        jax.eval_shape(error, 0.1)


def test_what_is_quoted_of_a_value_can_be_read():
    for value in (np.zeros(10**4), "much" * 10**4, list(range(10**4)), 10**5000):
        _, words = answered("odes.solve", LEARNING | {"lr": value})
        assert len(words) < 500


@pytest.mark.parametrize("changes", [
    {"loss": odes.Logistic}, {"loss": None}, {"loss": 0.1},
])  # fmt: skip
def test_a_loss_is_an_object_with_slopes(changes):
    for rule in (odes.ForwardForward, odes.TopDownForwardForward):
        with pytest.raises(ValueError, match="`loss` must have slopes"):
            rule(**changes)


def test_points_without_end_are_refused():
    for call, given in (
        (odes.gauss_hermite, {"dimensions": 9, "per_axis": 100}),
        (odes.gauss_hermite, {"dimensions": 1, "per_axis": 1000}),
        (odes.gauss_hermite, {"dimensions": 40, "per_axis": 1}),
        (odes.sobol, {"dimensions": 2, "n": 2**30}),
        (odes.sobol, {"dimensions": 10**5, "n": 2}),
    ):
        with pytest.raises(ValueError, match=r"Argument `(dimensions|per_axis|n)` must"):
            call(**given)
    assert np.all(np.isfinite(odes.gauss_hermite(1, 300).weights))


def test_parameters_are_known_by_name():
    with pytest.raises(ValueError, match="`noize` is unknown"):
        odes.optimal_schedule(**CALLS["odes.optimal_schedule"][1], noize=0.1)
    for sweep, call in ((odes.sweep, "odes.sweep"), (simulations.sweep, "simulations.sweep")):
        with pytest.raises(ValueError, match="`noize` is unknown"):
            sweep(**CALLS[call][1], noize=0.1)


DATASETS = [
    (call, argument)
    for call, (_, given) in CALLS.items()
    for argument, each in given.items()
    if isinstance(each, (xarray.Dataset, xarray.DataArray))
]


def spoiled(dataset):
    """The Dataset or DataArray in every way short of something, or with a dimension too many."""
    for name in dataset.dims:
        yield dataset.rename({name: "other"})
        yield dataset.isel({name: 0}, drop=True)
        yield dataset.isel({name: slice(0)})
    yield dataset.expand_dims(other=2)
    for name in set(dataset.dims) & set(dataset.coords):
        yield dataset.assign_coords({name: [np.nan] * dataset.sizes[name]})
    for name in getattr(dataset, "data_vars", ()):
        yield dataset.drop_vars(name)
        yield dataset.assign({name: 1.0})
        yield dataset.assign({name: dataset[name].astype(object)})
        yield dataset.assign({name: dataset[name].astype(str)})
        yield dataset.assign({name: xarray.full_like(dataset[name], -1, float)})
        yield dataset.assign({name: xarray.full_like(dataset[name], np.nan, float)})


@pytest.mark.parametrize(("call", "argument"), DATASETS)
def test_a_dataset_is_drawn_or_refused_by_name(call, argument):
    _, given = CALLS[call]
    refused = 0
    for each in spoiled(given[argument]):
        _, words = answered(call, given | {argument: each})
        refused += words is not None
        assert words is None or is_named(words, arguments(call)), words
    assert refused > 1


def test_a_trajectory_of_another_kind_is_refused_by_name():
    scalar = lambda each: each.generalization_error[..., 0]  # noqa: E731
    for call, changes, named in (
        ("plot_overlay", {"theory": RUNS}, "theory"),
        ("plot_overlay", {"simulation": CURVE}, "simulation"),
        ("plot_overlay", {"observable": scalar}, "observable"),
        ("plot_overlay", {"observable": lambda _: None}, "observable"),
        ("plot_band", {"paths": CURVE}, "paths"),
        ("plot_band", {"simulation": CURVE}, "simulation"),
        ("plot_band", {"observable": scalar}, "observable"),
        ("plot_order_parameter", {"theory": LEARNED}, "theory"),
        ("plot_order_parameter", {"theory": CURVE._replace(order_parameters=None)}, "theory"),
        ("plot_fluctuation_band", {"theory": LEARNED}, "theory"),
        ("plot_fluctuation_band", {"theory": CURVE._replace(fluctuations=(1, 2))}, "theory"),
        ("plot_schedule", {"schedule": lambda t: -t}, "schedule"),
        ("plot_schedule", {"color": "red", "c": "red"}, "c"),
        ("plot_schedule", {"colour": "red"}, "colour"),
        ("add_legend", {"handles": []}, "handles"),
        ("plot_phase_diagram", {"simulation": MEASURED.rename(lr="lr_v")}, "simulation"),
        ("plot_scan", {"theory": GRID.isel(lr=0)}, "simulation"),
    ):
        _, words = answered(f"figures.{call}", CALLS[f"figures.{call}"][1] | changes)
        assert words is not None, (call, changes)
        assert is_named(words, [named]), words
    with pytest.raises(ValueError, match="`datasets`"):
        figures.shared_norm()


def test_a_level_that_is_not_reached_and_lost_runs_are_drawn_without_a_warning():
    diagram = CALLS["figures.plot_phase_diagram"][1]
    for level in (0.0, 0.05, 2.0):
        assert answered("figures.plot_phase_diagram", diagram | {"level": level})[1] is None
    errors = RUNS.generalization_error.copy()
    errors[:, 0] = np.nan
    lost = RUNS._replace(generalization_error=errors)
    for name in ("paths", "simulation"):
        assert (
            answered("figures.plot_band", CALLS["figures.plot_band"][1] | {name: lost})[1] is None
        )
