"""Long simulations survive what interrupts them, and several devices share the runs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from odes import PiecewiseConstant
from simulations import sample_network, simulate
from simulations.training import online_sgd, plan, runs

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NETWORK = {"N": 60, "K": 2, "M": 2, "seed": 3}
TRAINING = {
    "rule": "pepita", "lr": 0.3, "noise": 0.1, "n_runs": 3, "seed": 5, "n_test": 50, "block": 8
}  # fmt: skip
TIMES = [0.0, 10.0, 2000.0, 4000.0]

SCRIPT = f"""
import sys
from simulations import sample_network, simulate
from simulations.training import online_sgd, plan
plan.CPU, online_sgd.CHECKPOINT_SECONDS = plan.CPU._replace(piece=2**14), 0.0
network = sample_network(**{NETWORK})
print("ready", flush=True)
simulate(network, times={TIMES}, path=sys.argv[1], **{TRAINING})
"""


def same(one, other):
    arrays = zip(
        (*one.order_parameters, one.generalization_error),
        (*other.order_parameters, other.generalization_error),
        strict=True,
    )
    for ours, theirs in arrays:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.long
def test_a_killed_simulation_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    """Killed four times, half-way through as a rule, then finished; bit for bit the same."""
    monkeypatch.setattr(plan, "CPU", plan.CPU._replace(piece=2**14))
    network = sample_network(**NETWORK)
    whole = simulate(network, times=TIMES, **TRAINING)
    path, rng, done = tmp_path / "run", random.Random(1), []
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, path],
            env={**ENVIRONMENT, **compiled},
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        before = checkpoints(path)
        while checkpoints(path) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.5 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        done.append(checkpoints(path))
    assert done == sorted(done)
    assert done[0] > 0
    monkeypatch.setattr(online_sgd, "CHECKPOINT_SECONDS", 0.0)
    same(simulate(network, times=TIMES, path=path, **TRAINING), whole)
    assert not list(path.glob(".checkpoint*"))


def checkpoints(path):
    """How many samples the checkpoint says are done."""
    file = path / online_sgd.CHECKPOINT
    return int(np.load(file)["sample"]) if file.exists() else 0


def test_what_is_finished_is_not_computed_again(tmp_path, monkeypatch):
    network = sample_network(**NETWORK)
    arguments = {**TRAINING, "times": [1.0, 2.0], "path": tmp_path}
    first = simulate(network, **arguments)
    monkeypatch.setattr(runs, "train", None)
    same(simulate(network, **arguments | {"n_runs": 3}), first)
    with pytest.raises(ValueError, match=r"`path` must be .* other arguments: `lr` was 0\.3"):
        simulate(network, **arguments | {"lr": 0.4})
    with pytest.raises(ValueError, match=r"`path` must be .* other arguments: `network`"):
        simulate(network._replace(v=2 * network.v), **arguments)
    with pytest.raises(ValueError, match="other layout: `"):
        simulate(network, **arguments | {"block": 4})


def test_a_damaged_checkpoint_is_begun_again(tmp_path):
    network = sample_network(**NETWORK)
    arguments = {**TRAINING, "times": [1.0, 2.0], "path": tmp_path}
    first = simulate(network, **arguments)
    (tmp_path / online_sgd.CHECKPOINT).write_bytes(b"PK damaged")
    same(simulate(network, **arguments), first)


def test_a_schedule_is_an_argument(tmp_path):
    network = sample_network(**NETWORK)
    arguments = {**TRAINING, "times": [1.0, 2.0], "path": tmp_path}
    first = simulate(network, **arguments | {"lr": PiecewiseConstant([1.0], [0.3, 0.1])})
    same(simulate(network, **arguments | {"lr": PiecewiseConstant([1.0], [0.3, 0.1])}), first)
    with pytest.raises(ValueError, match="other arguments: `lr`"):
        simulate(network, **arguments | {"lr": PiecewiseConstant([1.0], [0.3, 0.2])})
    with pytest.raises(ValueError, match=r"`path` must be None with functions"):
        simulate(network, **arguments | {"lr": lambda t: 0.1})


DEVICES = """
import json, jax, numpy as np
from simulations import sample_network, simulate
from simulations.training import plan, runs
plan.CPU = plan.CPU._replace(cached=2 * 16 * 60)  # two runs to a group
used = set()
train = runs.train
def watched(group, *arguments, **named):
    after = train(group, *arguments, **named)
    used.update(after.networks.W.devices())
    return after
runs.train = watched
curves = simulate(
    sample_network(N=60, K=2, M=2), rule="afa", lr=0.5, times=[0.5, 3.0], n_runs=40
)
Q = curves.order_parameters.Q
print(json.dumps({"devices": len(used), "Q": Q.tolist(), "shape": curves.status.shape}))
"""


@pytest.mark.long
def test_several_devices_share_the_runs():
    """To the last bit, in groups of the same size."""
    results = []
    for flags in ("", "--xla_force_host_platform_device_count=3"):
        output = subprocess.run(
            [sys.executable, "-c", DEVICES],
            env={**ENVIRONMENT, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            check=True,
            capture_output=True,
        ).stdout
        results.append(json.loads(output))
    one, three = results
    assert (one["devices"], three["devices"]) == (1, 3)
    assert one["shape"] == three["shape"] == [40]
    np.testing.assert_array_equal(one["Q"], three["Q"])
