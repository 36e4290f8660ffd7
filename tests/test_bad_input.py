"""Whatever is given for an argument, the answer is right or a ValueError that names the argument.

The arguments are those of the signatures, so that a new one is tried without a new line here.
"""

import inspect
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import odes
import simulations
from tests.conftest import random_problem

STATE, TEACHER = random_problem(2, 2, 1, seed=1)
TIMES = [0.0, 0.1]

BAD = {
    "text": "much",
    "bytes": b"much",
    "None": None,
    "a complex number": 1j,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a negative number": -1.5,
    "a huge integer": 10**400,
    "an empty list": [],
    "a list": [0.1, 0.2],
    "a ragged list": [[1.0], [1.0, 2.0]],
    "an array of rank 3": np.ones((1, 2, 3)),
    "an array without rank, of text": np.array("much"),
    "an array without rank, of None": np.array(None),
    "an array without rank, of a complex number": np.array(1j),
    "an array of NaN": np.full((2, 2), np.nan),
    "an object": SimpleNamespace(),
    "a number in single precision": np.float32(0.5),
}

CALLS = {
    "solve": (odes.solve, {"initial": STATE, "teacher": TEACHER, "rule": "afa", "lr": 0.1,
                           "times": TIMES}),
    "hyperparameters": (odes.hyperparameters, {"lr": 0.1}),
    "update_cosine": (odes.update_cosine, {"state": STATE, "teacher": TEACHER, "rule": "fa"}),
    "update_angle": (odes.update_angle, {"state": STATE, "teacher": TEACHER, "rule": "fa"}),
    "feedback_cosine": (odes.feedback_cosine, {"state": STATE}),
    "feedback_angle": (odes.feedback_angle, {"state": STATE}),
    "plateau_interval": (odes.plateau_interval, {
        "trajectory": odes.solve(STATE, TEACHER, rule="bp", lr=0.1, times=TIMES), "height": 0.1,
    }),
    "gauss_hermite": (odes.gauss_hermite, {"dimensions": 2, "per_axis": 3}),
    "sample_network": (simulations.sample_network, {"N": 20, "K": 2, "M": 2}),
    "network_with_overlaps": (simulations.network_with_overlaps, {
        "initial": STATE, "teacher": TEACHER, "N": 20,
    }),
}  # fmt: skip

INNER = {"initial": tuple(STATE._fields), "state": tuple(STATE._fields),
         "teacher": tuple(TEACHER._fields)}  # fmt: skip
"""What an argument consists of: an error may name that."""

HANDED_ON = {"activation", "points", "max_steps"}
"""Arguments of which a valid value runs for long, or whose kinds have tests of their own."""


def cases():
    for name, (function, given) in CALLS.items():
        known = INNER if given.get("teacher") is TEACHER or "state" in given else {}
        for argument in inspect.signature(function).parameters:
            if argument not in HANDED_ON:
                for part in (None, *known.get(argument, ())):
                    yield name, argument, part


def refused_by_name(function, given, names):
    """True or False; or the words of a ValueError that names none of these."""
    try:
        with np.errstate(all="ignore"):
            function(**given)
    except ValueError as refusal:
        said = str(refusal)
        return any(f"`{name}" in said or f" {name}" in said for name in names) or said
    return False


@pytest.mark.parametrize(("call", "argument", "part"), list(cases()))
def test_any_value_is_answered_or_refused_by_name(call, argument, part):
    function, given = CALLS[call]
    for value in BAD.values():
        named = (argument, *INNER.get(argument, ()), "covariance")
        put = given[argument]._replace(**{part: value}) if part else value
        assert refused_by_name(function, given | {argument: put}, named) in (True, False)


@pytest.mark.parametrize("value", ["text", "a complex number", "NaN", "a huge integer",
                                   "an array without rank, of None", "an object"])  # fmt: skip
@pytest.mark.parametrize("argument", ["lr", "lr_v", "noise", "weight_decay", "feedback_scale"])
def test_no_number_is_none(argument, value):
    function, given = CALLS["solve"]
    assert refused_by_name(function, given | {argument: BAD[value]}, [argument]) is True


@pytest.mark.parametrize("value", [np.array([0.1, 0.2]), [0.1], np.array([])])
def test_an_array_of_learning_rates_is_sent_to_sweep(value):
    with pytest.raises(ValueError, match=r"`lr` must be a finite number.*sweep\(\)"):
        odes.solve(STATE, TEACHER, rule="bp", lr=value, times=TIMES)


def test_a_traced_learning_rate_is_sent_to_flow():
    def error(lr):
        return odes.solve(STATE, TEACHER, rule="bp", lr=lr, times=TIMES)

    with pytest.raises(ValueError, match=r"`lr` must be a finite number.*flow\(\)"):
        jax.eval_shape(error, 0.1)
