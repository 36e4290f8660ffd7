"""With the variables of the README a second process compiles nothing, and no stale code is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from odes import OrderParameters, Teacher, solve

ROOT = Path(__file__).parents[1]

SCRIPT = """
import json, sys
import jax, numpy as np
from odes import OrderParameters, Teacher, solve, sweep
from odes.rules import AFA

events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rsplit("/", 1)[1]))
FACTOR = float(sys.argv[1])


class Scaled(AFA):
    def update(self, sample):
        plain = super().update(sample)
        return plain._replace(delta=FACTOR * plain.delta)


one = np.ones((1, 1))
state = OrderParameters(one / 4, one / 8, one, one / 2)
teacher = Teacher(one, one, one / 3, 2 * one)
shared = {"times": [1.0], "lr": 0.3}
swept = sweep(state, teacher, rule="afa", times=[1.0], lr=np.array([0.1, 0.2]))
solved = solve(state, teacher, rule=Scaled(), points=64, **shared)
pepita = solve(state, teacher, rule="pepita", points=64, **shared)
errors = np.concatenate([swept.generalization_error.values.ravel(),
                         solved.generalization_error, pepita.generalization_error])
print(json.dumps([events.count("cache_misses"), events.count("compile_requests_use_cache")
                  - events.count("cache_hits"), [each.hex() for each in errors.tolist()]]))
"""


def start(cache, factor=1.0):
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "EQX_ON_ERROR": "off",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(factor)], env=environment,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def result(process):
    printed = process.communicate()[0]
    assert process.returncode == 0
    return json.loads(printed)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A folder into which two processes wrote at once, and what they found."""
    cache = tmp_path_factory.mktemp("compiled")
    return cache, [result(each) for each in [start(cache), start(cache)]]


@pytest.mark.long
def test_a_later_process_compiles_nothing_and_finds_the_same_bits(twins):
    cache, (first, second) = twins
    written, compiled, errors = result(start(cache))
    assert (written, compiled) == (0, 0)
    assert errors == first[2] == second[2]
    assert first[1] > 0


@pytest.mark.long
def test_another_version_of_the_code_is_compiled_anew(twins):
    """A larger delta is a larger learning rate of the first layer."""
    cache, (first, _) = twins
    written, compiled, errors = result(start(cache, 1.5))
    assert written == compiled > 0
    *same, scaled, pepita = errors
    assert [*same, pepita] == [*first[2][:2], first[2][3]]
    one = np.ones((1, 1))
    state = OrderParameters(one / 4, one / 8, one, one / 2)
    teacher = Teacher(one, one, one / 3, 2 * one)
    expected = solve(state, teacher, rule="afa", lr=0.45, lr_v=0.3, times=[1.0], points=64)
    assert abs(float.fromhex(scaled) / expected.generalization_error[0] - 1) < 1e-6
    assert abs(float.fromhex(first[2][2]) / expected.generalization_error[0] - 1) > 0.01
