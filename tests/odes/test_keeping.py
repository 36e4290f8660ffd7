"""Results in files, as labelled arrays and as tables, and the calls that made them."""

import copy
import inspect
import json
import pickle

import jax
import numpy as np
import pytest
import xarray

import odes
from odes import (
    Fluctuations,
    ForwardForward,
    Mirrored,
    OrderParameters,
    PiecewiseConstant,
    Spectrum,
    SymBa,
    Task,
    Trajectory,
    gauss_hermite,
    load,
    solve,
    solve_paths,
    sweep,
)
from odes.common.calls import MAX_INLINE, call_of, remembered
from odes.common.datasets import FORMAT, FORMAT_NUMBER, entry_names
from odes.common.order_parameters import FactoredOrderParameters, over_parts, state_of
from odes.rules import AFA, RULES
from odes.state_vector import packing
from simulations import Networks, sample_network, simulate, simulate_chain
from tests.conftest import random_problem

STATE, TEACHER = random_problem(2, 3, 2)
TIMES = [0.0, 0.5, 1.0]
NETWORK = sample_network(N=70, K=2, M=2, seed=1)
DEEP = sample_network(N=60, K=(3, 2), M=2, O=2, seed=1).overlaps("bp")
STRUCTURED = sample_network(
    N=60, K=2, M=2, O=2, seed=1, inputs=Spectrum([2.0, 0.5], [0.25, 0.75], [0.5, 1.5], [0.5, 0.5])
).overlaps("afa")
TASKS = [Task([0], rate=PiecewiseConstant([0.5], [1.0, 0.0])), Task([1], noise=0.2)]
TRAINED = {"rule": "bp", "lr": 0.3, "times": [0.0, 0.1], "n_runs": 3, "n_test": 20}


class Mine(AFA):
    """A rule of a user's own."""


def recorded(state, teacher):
    return {"trace/2": np.trace(state.Q) / 2, "R": state.R}


def recorded_of_networks(network):
    return network.W[:, :2]


CALLS = {
    "solve": lambda: solve(
        STATE, TEACHER, rule="afa", lr=PiecewiseConstant([0.5], [0.3, 0.1]), times=TIMES, noise=0.1
    ),
    "a rule with numbers": lambda: solve(
        *random_problem(2, 3, 2)[:1], TEACHER, rule=Mirrored("fa", lr=0.3), lr=0.5, times=TIMES
    ),
    "stopped": lambda: solve(STATE, TEACHER, rule="bp", lr=0.1, times=TIMES, until=1.2),
    "several layers": lambda: solve(
        *DEEP, rule="bp", activation="linear", lr=0.1, times=[0.0, 0.2], points=gauss_hermite(5, 2)
    ),
    "groups and tasks": lambda: solve(
        *STRUCTURED, rule="afa", lr=0.1, times=TIMES, tasks=TASKS, weight_decay=0.1
    ),
    "paths": lambda: solve_paths(
        *random_problem(2, 2, 1), rule="afa", lr=0.2, times=[0.1, 0.3], n_paths=3, seed=4
    ),
    "networks": lambda: simulate(NETWORK, **TRAINED, seed=2, return_networks=True),
    "chain": lambda: simulate_chain(NETWORK, **TRAINED, seed=2**32 - 1, return_networks=True),
}


def assert_same(one, other, name="it"):
    """The same to the last bit, and of the same types."""
    if hasattr(one, "_fields"):
        assert type(one).__name__ == type(other).__name__, name
        assert one._fields == other._fields, name
        one, other = one._asdict(), other._asdict()
    if isinstance(one, dict):
        assert list(one) == list(other), name
        for key in one:
            if key != "call":
                assert_same(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other), name
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{name}[{index}]")
    else:
        assert type(one) is type(other), name
        np.testing.assert_array_equal(one, other, err_msg=name)
        if isinstance(one, np.ndarray):
            text = one.dtype.kind == other.dtype.kind == "U"
            assert text or one.dtype == other.dtype, name


def without_networks(trajectory):
    return trajectory._replace(final=None) if isinstance(trajectory.final, Networks) else trajectory


QUICK = [name for name in CALLS if name != "paths"]


@pytest.mark.parametrize("call", [*QUICK, pytest.param("paths", marks=pytest.mark.long)])
def test_what_is_saved_is_read_and_runs_again(call, tmp_path):
    """To the last bit, from the file alone; and so are copies."""
    made = CALLS[call]()
    made.save(tmp_path / "kept.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.nc"]
    read = load(tmp_path / "kept.nc")
    assert_same(without_networks(made), read)
    assert repr(read) == repr(made)
    assert read.call.versions == made.call.versions
    again = read.rerun()
    assert_same(without_networks(again), read)
    assert type(again.final) is type(made.final)
    again.save(tmp_path / "again.nc")
    assert (tmp_path / "again.nc").read_bytes() == (tmp_path / "kept.nc").read_bytes()
    for each in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), copy.copy(made)):
        assert_same(without_networks(made), without_networks(each))
        assert_same(made.call.arguments, each.call.arguments)
        assert each.call.function == made.call.function


def test_the_networks_at_the_end_are_kept_on_request(tmp_path):
    runs = CALLS["networks"]()
    runs.save(tmp_path / "without.nc")
    assert load(tmp_path / "without.nc").final is None
    runs.save(tmp_path / "with.nc", networks=True)
    read = load(tmp_path / "with.nc")
    assert_same(runs.final, read.final)
    on = {"rule": "bp", "lr": 0.3, "times": [0.1], "n_test": 20, "seed": 2}
    theory = CALLS["solve"]()
    theory.save(tmp_path / "theory.nc", networks=True)
    assert_same(load(tmp_path / "theory.nc"), theory)
    further = simulate(read.final, **on)
    assert_same(further, simulate(runs.final, **on))
    further.save(tmp_path / "further.nc")
    assert_same(load(tmp_path / "further.nc").rerun(), further)


def test_what_is_of_ones_own_is_asked_for(tmp_path):
    path = tmp_path / "own.nc"
    training = {"lr": lambda t: 0.1, "times": TIMES, "rule": Mine(), "record": recorded}
    made = solve(STATE, TEACHER, **training)
    for each in (made, copy.deepcopy(made)):
        assert_same(each.rerun(), made)
    made.save(path)
    read = load(path)
    assert_same(read, made)
    assert_same(pickle.loads(pickle.dumps(made)), made)
    assert list(read.recorded) == ["trace/2", "R"]
    assert "recorded.trace%2F2" in made.to_xarray()
    given = {}
    for name, words in (("rule", r"\.Mine"), ("lr", "<lambda>"), ("record", r"\.recorded")):
        with pytest.raises(ValueError, match=rf"Argument `{name}` must be given, .*{words}\."):
            read.rerun(**given)
        given[name] = training[name]
    assert_same(read.rerun(**given), made)
    with pytest.raises(ValueError, match=r"Argument `noize` is unknown; .* takes initial, teacher"):
        read.rerun(**given, noize=0.1)
    load(path).save(path)
    with pytest.raises(ValueError, match=r"`rule` must be given, .*\.Mine"):
        load(path).rerun()
    changed = read.rerun(**given | {"lr": 0.2})
    assert changed.call.arguments["lr"] == 0.2
    assert not np.array_equal(changed.generalization_error, made.generalization_error)


def test_arguments_are_what_they_were():
    """Of every kind that is kept."""
    state = state_of({"Q": np.eye(2), "R": np.eye(2), "v": np.ones((2, 1)), "D": np.ones((2, 1))})
    long = np.linspace(0, 1, MAX_INLINE + 1)
    changed = AFA()
    changed.feedback = lambda state: state.B
    arguments = {
        "none": None, "flag": True, "count": np.int64(7), "number": 0.1 + 0.2, "text": "é",
        "big": 2**80, "infinite": np.inf, "pair": (1, (2.0, "x")), "list": [[1.0], (None,)],
        "array": np.arange(6).reshape(2, 3), "empty": np.zeros((0, 3)), "long": long,
        "single": long.astype(np.float32), "flags": long > 0.5, "jax": jax.numpy.arange(3),
        "named": {"a": long, "b": {"c": 1}}, "state": state, "teacher": TEACHER,
        "factors": FactoredOrderParameters(*np.ones((8, 1, 1))), "tasks": TASKS,
        "points": gauss_hermite(2, 9), "network": NETWORK, "schedule": TASKS[0].rate,
        "inputs": STRUCTURED[1].inputs, "activation": odes.Activation(np.tanh), "class": Mine,
        **{name: rule for name, rule in RULES.items()},
        "mirror": Mirrored("pepita", lr=0.2, normalised=True), "loss": ForwardForward(SymBa(2.0)),
        "partly": [Mine(), 1.0], "changed": changed,
    }  # fmt: skip

    def returned(**given):
        return Trajectory(np.ones(1), None, np.ones(1), "ok")

    call = remembered(returned)(**arguments).call
    assert call.arguments == {"given": arguments}
    arrays = {}
    call.function, call.arguments = "odes.solve", arguments
    again = call_of(json.loads(json.dumps(call.record(arrays))), arrays).arguments
    assert all(each.size > MAX_INLINE and each.dtype.kind == "f" for each in arrays.values())
    own = {"activation": "numpy.tanh", "class": f"{__name__}.Mine", "partly": f"{__name__}.Mine"}
    own["changed"] = "odes.rules.top_down.AFA"
    for name, words in own.items():
        assert again.pop(name).name == words
        del arguments[name]
    plain = arguments | {"count": 7, "jax": np.arange(3, dtype=np.int32)}
    assert_same(plain, again)
    assert again["mirror"] == arguments["mirror"]
    assert again["dtp"] == RULES["dtp"]


def test_long_arrays_are_kept_by_their_hash(monkeypatch, tmp_path):
    monkeypatch.setattr("odes.common.calls.MAX_KEPT", 70)
    times = np.linspace(0, 1, 71)
    solve(STATE, TEACHER, rule="afa", lr=0.1, times=times).save(tmp_path / "kept.nc")
    with pytest.raises(ValueError, match=r"`times` must be given, .*'shape': \[71\], 'sha256'"):
        load(tmp_path / "kept.nc").rerun()


def test_a_trajectory_is_a_tree_of_its_numbers():
    made = solve(STATE, TEACHER, rule="afa", lr=0.1, times=TIMES)
    assert len(jax.tree.leaves(made)) == len(jax.tree.leaves(made._replace(call=None)))
    assert jax.tree.map(lambda each: each, made).call is None
    other = solve(STATE, TEACHER, rule="afa", lr=0.2, times=TIMES)
    difference = jax.tree.map(np.subtract, made.order_parameters, other.order_parameters)
    assert difference.Q.shape == (3, 2, 2)
    assert jax.tree.structure(made) == jax.tree.structure(other)
    assert made._replace(status="reached").call is made.call


def test_by_hand_there_is_no_call(tmp_path):
    made = Trajectory(np.array([0.0, 1.0]), None, np.array([1.0, 0.5]), "ok")
    with pytest.raises(ValueError, match="`call` of a Trajectory must be the call that made it"):
        made.rerun()
    made.save(tmp_path / "kept.nc")
    assert_same(load(tmp_path / "kept.nc"), made)
    assert "Trajectory: ok" in repr(made)


def test_variables_and_coordinates_have_names(tmp_path):
    made = CALLS["groups and tasks"]()
    found = made.to_xarray()
    assert found.Q.dims == ("time", "group", "k", "l")
    assert found.R.dims == ("time", "group", "k", "m")
    assert found.v.dims == ("time", "k", "o")
    assert found.output_errors.dims == ("time", "o")
    assert found["final.R"].dims == ("group", "k", "m")
    assert made.order_parameters.R[1, 1, 0, 1] == found.sel(time=0.5, group=1, k=0, m=1).R
    assert found.attrs["status"] == "ok"
    assert found.attrs["rule"] == "afa"
    assert found.attrs["lr"] == found.attrs["weight_decay"] == 0.1
    assert found.attrs["averages"] == "closed forms"
    assert found.attrs["version"] == made.call.versions["topdown-odes"]
    deep = CALLS["several layers"]().to_xarray()
    assert deep["v[0]"].dims == ("time", "k", "h1")
    assert deep["v[1]"].dims == ("time", "h1", "o")
    runs = CALLS["networks"]()
    labelled = runs.to_xarray()
    assert labelled.generalization_error.dims == ("run", "time")
    assert labelled.status.dims == ("run",)
    assert labelled.R.dims == ("run", "time", "k", "m")
    assert runs.order_parameters.R[2, 1, 1, 0] == labelled.sel(run=2, time=0.1, k=1, m=0).R
    labelled.to_netcdf(tmp_path / "by_hand.nc", engine="scipy")
    assert_same(load(tmp_path / "by_hand.nc"), without_networks(runs)._replace(call=None))


@pytest.mark.parametrize(("v", "B", "dims"), [
    (((3, 4), (4, 2)), ((3, 2), (4, 2)), ["k h1", "h1 o", "k o", "h1 o"]),
    (((3, 4), (4, 2)), ((3, 4), (4, 2)), ["k h1", "h1 o", "k h1", "h1 o"]),
    (((3, 4), (3, 1)), (), ["k h1", "k o"]),  # label weights, from the label to the first layer
])  # fmt: skip
def test_layers_have_the_names_of_what_they_lead_to(v, B, dims):
    weights = [tuple(np.zeros((1, *shape)) for shape in shapes) or None for shapes in (v, B)]
    states = OrderParameters(np.zeros((1, 3, 3)), np.zeros((1, 3, 2)), *weights)
    found = Trajectory(np.ones(1), states, np.ones(1), "ok").to_xarray()
    names = ["v[0]", "v[1]", "B[0]", "B[1]"][: len(dims)]
    assert [found[name].dims for name in names] == [("time", *each.split()) for each in dims]


@pytest.mark.parametrize("layers", [False, True])
def test_a_covariance_is_labelled_in_the_order_of_the_state(layers):
    """As states are packed, which the entries of a covariance are of; Q_kl once."""
    state = DEEP[0] if layers else STRUCTURED[0]
    coded = over_parts(lambda array: np.arange(array.size, dtype=float).reshape(array.shape), state)
    packed = packing(state)[0](coded)
    names = entry_names(over_parts(lambda array: array[None], coded))
    assert len(names) == len(set(names)) == packed.size
    for name, code in zip(names, packed, strict=True):
        symbol, *index = name.replace("[", ",").replace("]", "").split(",")
        array = getattr(coded, symbol)
        if isinstance(array, tuple):
            array, index = array[int(index[0])], index[1:]
        assert array[tuple(map(int, index))] == code


def test_fluctuations_are_kept(tmp_path):
    """Made by hand: their solution takes long to compile."""
    made = solve(STATE, TEACHER, rule="afa", lr=0.1, times=TIMES)
    variances = over_parts(lambda array: array**2, made.order_parameters)
    D = 3 + 6 + 4 + 4
    covariance = np.random.default_rng(0).normal(size=(3, D, D))
    scatter = Fluctuations(covariance, variances, np.ones(3), np.arange(3.0))
    for each in (scatter, scatter._replace(bias=None)):
        whole = made._replace(fluctuations=each)
        whole.save(tmp_path / "kept.nc")
        assert_same(load(tmp_path / "kept.nc"), whole)
    found = whole.to_xarray()["fluctuations.covariance"]
    assert found.sel(time=0.5, entry="Q[1,1]", other="R[0,2]") == covariance[1, 2, 5]


def test_a_table_has_a_row_for_every_order_parameter():
    runs = CALLS["networks"]()
    table = runs.to_table()
    assert list(table.columns) == ["run", "time", "name", "i", "j", "value"]
    assert len(table) == 3 * 2 * (4 + 4 + 2)
    row = table.query("run == 2 and time == 0.1 and name == 'R' and i == 1 and j == 0")
    assert row.value.tolist() == [runs.order_parameters.R[2, 1, 1, 0]]
    made = CALLS["groups and tasks"]()
    table = made.to_table()
    assert list(table.columns) == ["time", "name", "group", "i", "j", "value"]
    row = table.query("time == 0.5 and name == 'R' and group == 1 and i == 0 and j == 1")
    assert row.value.tolist() == [made.order_parameters.R[1, 1, 0, 1]]
    row = table.query("time == 1.0 and name == 'v' and i == 1 and j == 0")
    assert row.value.tolist() == [made.order_parameters.v[2, 1, 0]]
    assert row.group.isna().all()
    assert set(CALLS["several layers"]().to_table().name) == {"Q", "R", "v[0]", "v[1]"}


def test_a_repr_is_of_a_few_lines():
    errors = np.array([[1.0, 0.2, 0.1], [1.0, 0.4, np.nan], [1.0, np.nan, np.nan]])
    status = np.array(["ok", "reached", "diverged"])
    made = Trajectory(np.array([0.0, 1.0, 2.5]), None, errors, status, averages="9 test inputs")
    at_end = np.array([0.1, 0.4, 1.0])
    error = at_end.std(ddof=1) / np.sqrt(3)
    assert repr(made).split("\n  ") == [
        "Trajectory: 1 diverged, 1 ok, 1 reached",
        "3 times, from 0 to 2.5",
        f"generalisation error at the end: 0.5 +- {error:.2g} (3 runs)",
        "averages: 9 test inputs",
    ]
    rule = Mirrored("fa", lr=0.3)
    made = solve(STATE, TEACHER, rule=rule, lr=0.5, times=TIMES)
    first, *_, last = repr(made).split("\n  ")
    assert first == "Trajectory of odes.solve: rule Mirrored(rule=FA(), lr=0.3), ok"
    assert last == f"topdown-odes {made.call.versions['topdown-odes']}"
    assert f"end: {made.generalization_error[-1]:.4g}\n" in repr(made)
    assert "None" in repr(Trajectory(None, None, None, None))


def test_sweeps_are_read_as_they_were(tmp_path):
    made = sweep(STATE, TEACHER, rule=["bp"], lr=[0.1, 0.2], times=[0.1], order_parameters="R")
    made.to_netcdf(tmp_path / "swept.nc", engine="scipy")
    xarray.testing.assert_identical(load(tmp_path / "swept.nc"), made)


def foreign(path):
    """Files that are none of ours, and what of theirs is wrong."""
    whole = path / "whole.nc"
    solve(STATE, TEACHER, rule="afa", lr=0.1, times=np.linspace(0, 1, 40)).save(whole)
    stored = whole.read_bytes()
    for size in [0, 2, 30, len(stored) // 2, len(stored) - 4]:
        (path / "cut.nc").write_bytes(stored[:size])
        yield path / "cut.nc", "damaged, or something else"
    (path / "text.nc").write_text("Q = 1")
    yield path / "text.nc", "damaged, or something else"
    xarray.Dataset({"status": ("time", [1.0])}, {"time": [0.0]}).to_netcdf(path / "other.nc")
    yield path / "other.nc", "holds other data"
    dataset = xarray.load_dataset(whole)
    dataset.assign_attrs({FORMAT: FORMAT_NUMBER + 1}).to_netcdf(path / "newer.nc")
    yield path / "newer.nc", f"is of format {FORMAT_NUMBER + 1}"
    dataset.drop_vars("Q").to_netcdf(path / "short.nc")
    yield path / "short.nc", "is damaged: KeyError"
    alien = '{"function": "os.getcwd", "arguments": {}, "software": {}}'
    for call in ("{", "[]", '{"function": "odes.solve"}', alien):
        dataset.assign_attrs(call=call).to_netcdf(path / "call.nc")
        yield path / "call.nc", "is damaged"
    yield path, "is none"
    yield path / "absent.nc", "is none"


def test_what_is_no_result_is_refused_by_name(tmp_path):
    for path, words in foreign(tmp_path):
        with pytest.raises(ValueError, match=f"^Argument `path` must .*{path}.*{words}"):
            load(path)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    made = solve(STATE, TEACHER, rule="afa", lr=0.1, times=TIMES)
    with pytest.raises(ValueError, match="`path` must be a file that can be written, but is"):
        made.save(tmp_path / "absent" / "kept.nc")
    with pytest.raises(ValueError, match="`path` must be a file that can be written, but is"):
        made.save(tmp_path)
    made.save(tmp_path / "kept.nc")
    before = (tmp_path / "kept.nc").read_bytes()
    wrong = made._replace(recorded=np.array([1j] * 3))
    with pytest.raises(ValueError, match="`recorded` of a Trajectory must hold real numbers"):
        wrong.save(tmp_path / "kept.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.nc"]
    assert (tmp_path / "kept.nc").read_bytes() == before


def test_decorated_functions_are_what_they_were():
    for function in (solve, solve_paths, simulate, simulate_chain):
        own = inspect.unwrap(function)
        assert own is not function
        assert inspect.signature(function) == inspect.signature(own)
        assert function.__doc__ == own.__doc__
        assert (function.__name__, function.__module__) == (own.__name__, own.__module__)
    given = CALLS["solve"]().call.arguments
    assert list(given) == list(inspect.signature(solve).parameters)
    assert given["rtol"] == 1e-8
