"""Work in chunks survives what interrupts it: errors, dead workers, and SIGKILL."""

import importlib
import json
import linecache
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import distributed
import numpy as np
import pytest
import xarray

from odes import sweep
from odes.common.chunks import _prepared, remote, run_chunks
from odes.common.store import LOCK, describe, open_store, save_arrays
from tests.conftest import random_problem

ROOT = Path(__file__).parents[2]


class Squares:
    """A job that leaves a trace of every chunk, and fails or dies at one of them."""

    def __init__(self, trace, fails=None, dies=None):
        self.trace, self.fails, self.dies = trace, fails, dies

    def prepare(self):
        def work(number):
            if number == self.dies:
                os._exit(1)
            if number == self.fails:
                raise ArithmeticError("no square")
            (self.trace / f"{number}").touch()
            return {"square": np.array([number**2]), "text": np.array(["x"])}

        return work


@pytest.fixture
def trace(tmp_path):
    folder = tmp_path / "trace"
    folder.mkdir()
    return folder


def run(job, path, count=5, executor=None, **arguments):
    return run_chunks(
        job,
        [(number,) for number in range(count)],
        arguments={"count": count, **arguments},
        layout={"chunks": count},
        path=path,
        executor=executor,
        progress=False,
        threads=1,
    )


def squares(results):
    return [int(arrays["square"][0]) for arrays in results]


def computed(trace):
    """The numbers that were computed since the last time."""
    numbers = sorted(int(file.name) for file in trace.iterdir())
    for file in trace.iterdir():
        file.unlink()
    return numbers


def test_what_was_finished_stays_and_is_not_computed_again(tmp_path, trace):
    path = tmp_path / "deep" / "path"
    with pytest.raises(ArithmeticError, match="no square") as raised:
        run(Squares(trace, fails=4), path)
    assert raised.value.__notes__ == [f"4 of 5 chunks were finished and stay in {path}."]
    assert computed(trace) == [0, 1, 2, 3]
    assert squares(run(Squares(trace), path)) == [0, 1, 4, 9, 16]
    assert computed(trace) == [4]
    assert squares(run(Squares(trace), path)) == [0, 1, 4, 9, 16]
    assert computed(trace) == []


def test_files_are_plain_and_damage_is_repaired(tmp_path, trace):
    run(Squares(trace), tmp_path / "path", seed=np.arange(3), label="a")
    computed(trace)
    manifest = json.loads((tmp_path / "path" / "manifest.json").read_text())
    assert manifest["arguments"] == {"count": 5, "seed": [0, 1, 2], "label": "a"}
    assert manifest["layout"] == {"chunks": 5}
    assert {"python", "numpy", "jax", "diffrax", "code"} <= set(manifest["software"])
    files = sorted((tmp_path / "path").glob("*.npz"))
    assert len(files) == 5
    assert dict(np.load(files[2], allow_pickle=False))["square"] == 4
    files[2].write_bytes(files[2].read_bytes()[:50])
    (tmp_path / "path" / ".chunk-000001-left.npz").write_text("half")
    assert squares(run(Squares(trace), tmp_path / "path", seed=np.arange(3), label="a"))[2] == 4
    assert computed(trace) == [2]
    assert not list((tmp_path / "path").glob(".chunk*"))


def test_after_a_failure_nothing_more_is_started(trace):
    with pytest.raises(ArithmeticError):
        run(Squares(trace, fails=0), None, count=500)
    assert len(computed(trace)) < 400


def test_a_changed_definition_is_other_work(tmp_path, trace, monkeypatch):
    module = tmp_path / "its_own_module.py"
    monkeypatch.syspath_prepend(tmp_path)
    for factor in (1, 50):
        module.write_text(f"def g(z):\n    return {factor} * z\n")
        linecache.checkcache()
        g = importlib.reload(importlib.import_module("its_own_module")).g
        if factor == 1:
            run(Squares(trace), tmp_path / "path", activation=g)
            run(Squares(trace), tmp_path / "path", activation=g)
    with pytest.raises(ValueError, match="other arguments: `activation` was"):
        run(Squares(trace), tmp_path / "path", activation=g)


def test_other_work_is_refused_by_the_name_of_the_argument_that_differs(tmp_path, trace):
    path = tmp_path / "path"
    run(Squares(trace), path, lr=0.1)
    with pytest.raises(ValueError, match=r"`path` .* other arguments: `lr` was 0.1, and is 0.2"):
        run(Squares(trace), path, lr=0.2)
    with pytest.raises(ValueError, match=r"other arguments: `noise` was None, and is 0.3"):
        run(Squares(trace), path, lr=0.1, noise=0.3)
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(np.__version__, "0.9"))
    with pytest.raises(ValueError, match=r"other software: `numpy` was 0.9, and is"):
        run(Squares(trace), path, lr=0.1)


def test_results_of_other_code_are_refused_wherever_it_is(tmp_path, monkeypatch):
    """Of a copy of the packages, in which a file in a folder changes."""
    for package in ("odes", "simulations"):
        shutil.copytree(ROOT / package, tmp_path / "code" / package)
    monkeypatch.setattr("odes.common.store.ROOT", tmp_path / "code")
    for folder in ("odes/rules", "odes/solvers", "simulations/training"):
        path = tmp_path / folder.replace("/", "-")
        with open_store(path, {}, {}), open_store(None, {}, {}):
            pass
        with open_store(path, {}, {}):
            pass
        file = next((tmp_path / "code" / folder).glob("[a-z]*.py"))
        file.write_text(file.read_text() + "\nx = 1\n")
        with (
            pytest.raises(ValueError, match="other software: `code` was"),
            open_store(path, {}, {}),
        ):
            pass


def test_a_path_that_is_no_place_for_it_is_refused(tmp_path, trace):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"`path` must be a new or empty .* holds other files"):
        run(Squares(trace), tmp_path / "thesis")
    assert os.listdir(tmp_path / "thesis") == ["thesis.tex"]
    for name, content in ((".env", "secret"), ("manifest.json", '{"figures": {}}'), ("x", "")):
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(ValueError, match="`path` must be a new or empty"):
            run(Squares(trace), folder)
        assert os.listdir(folder) == [name]
        assert (folder / name).read_text() == content
    for path in (tmp_path / "thesis" / "thesis.tex", tmp_path / "thesis" / "thesis.tex" / "below"):
        with pytest.raises(ValueError, match="`path` must be a directory that can be written"):
            run(Squares(trace), path)
    assert computed(trace) == []


def test_a_second_live_process_is_refused(tmp_path, trace):
    path = tmp_path / "path"
    hold = (
        "import sys, time, pathlib, odes.common.store as s\n"
        "with s.open_store(pathlib.Path(sys.argv[1]), {'count': 5}, {'chunks': 5}):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, path], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="`path` must not be in use, but another process"):
            run(Squares(trace), path)
        other.kill()
    assert squares(run(Squares(trace), path)) == [0, 1, 4, 9, 16]


@pytest.mark.long
def test_an_executor_whose_worker_dies_for_good_leaves_what_was_finished(tmp_path, trace):
    path = tmp_path / "path"
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        pytest.raises(BrokenProcessPool) as raised,
    ):
        run(Squares(trace, dies=3), path, executor=executor)
    assert raised.value.__notes__ == [f"3 of 5 chunks were finished and stay in {path}."]
    assert squares(run(Squares(trace), path)) == [0, 1, 4, 9, 16]
    assert computed(trace) == [0, 1, 2, 3, 4]
    with pytest.raises(BrokenProcessPool, match="terminated"):
        run(Squares(trace, dies=3), None, executor=executor)


def test_an_executor_that_is_shut_down_ends_the_work(tmp_path, trace):
    """Before the first chunk, and from within the second, which cancels the others."""
    executor = ThreadPoolExecutor(1)

    class ShutsDown(Squares):
        def prepare(self):
            work = super().prepare()

            def last(number):
                if number == 1:
                    executor.shutdown(wait=False, cancel_futures=True)
                return work(number)

            return last

    path = tmp_path / "path"
    with mock.patch("odes.common.chunks.pickle.loads", return_value=ShutsDown(trace)):
        _prepared.cache_clear()
        with pytest.raises(CancelledError) as raised:
            run(Squares(trace), path, executor=executor)
    assert raised.value.__notes__ == [f"2 of 5 chunks were finished and stay in {path}."]
    with pytest.raises(RuntimeError, match="shutdown") as raised:
        run(Squares(trace), path, executor=executor)
    assert raised.value.__notes__ == [f"2 of 5 chunks were finished and stay in {path}."]


def test_a_disk_that_is_full_says_so(tmp_path, trace, monkeypatch):
    def save_two(path, arrays):
        if len(list(path.parent.glob("chunk-*"))) == 2:
            raise OSError("No space left on device")
        save_arrays(path, arrays)

    monkeypatch.setattr("odes.common.chunks.save_arrays", save_two)
    with pytest.raises(OSError, match="No space") as raised:
        run(Squares(trace), tmp_path / "path")
    assert raised.value.__notes__[0].startswith("2 of 5 chunks were finished and stay in")


def test_what_cannot_be_imported_cannot_be_sent_or_recognised(tmp_path, trace):
    job = Squares(trace)
    job.secret = lambda: None
    with pytest.raises(ValueError, match="`executor` must be None with functions"):
        run(job, None, executor=ThreadPoolExecutor(1))
    with pytest.raises(ValueError, match="`path` must be None with functions"):
        run(Squares(trace), tmp_path / "path", activation=lambda z: z)
    assert not (tmp_path / "path").exists()


def test_what_a_worker_cannot_import_is_refused_by_name(tmp_path, monkeypatch):
    """As what is defined in ``__main__`` under the condition that a spawned process fails."""
    module = tmp_path / "main_of_the_caller.py"
    module.write_text("def work():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    payload = pickle.dumps(importlib.import_module(module.stem).work)
    monkeypatch.delattr(sys.modules[module.stem], "work")
    with pytest.raises(ValueError, match=r"`executor` must be None with .*attribute 'work'"):
        remote(payload, ())
    module.unlink()
    monkeypatch.delitem(sys.modules, module.stem)
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"`executor` must be None with .*No module named"):
        remote(payload, ())


def test_what_was_half_written_is_no_obstacle_and_goes(tmp_path):
    for name in (".chunk-000001-ab.npz", ".checkpoint-ab.npz", ".manifest-ab.json", LOCK):
        (tmp_path / name).touch()
    with open_store(tmp_path, {"lr": 0.1}, {}):
        assert {each.name for each in tmp_path.iterdir()} <= {"manifest.json", LOCK}


def test_processes_that_would_deadlock_are_refused(trace):
    with pytest.raises(ValueError, match="`executor` must spawn its processes"):
        run(Squares(trace), None, executor=ProcessPoolExecutor(1, mp_context=get_context("fork")))


def test_long_arrays_and_objects_are_described_by_a_hash():
    one, other = np.zeros(1000), np.zeros(1000)
    other[7] = 1e-9
    assert describe(one) == describe(one.copy()) != describe(other)
    assert describe(one) != describe(one.reshape(10, 100)) != describe(one.reshape(100, 10))
    assert describe(Squares(1)) == describe(Squares(1)) != describe(Squares(2))


REAL = """
import sys, numpy as np
from odes import sweep
from tests.conftest import random_problem
initial, teacher = random_problem(2, 2, 1)
result = sweep(
    initial, teacher, rule="afa", times=np.linspace(0, 2000, 50), lr=np.linspace(0.1, 1, 24),
    feedback_scale=[0.5, 1.0], rtol=1e-12, atol=1e-14, max_steps=100_000, batch_size=1,
    order_parameters=("R", "B"), path=sys.argv[1],
)
result.to_netcdf(sys.argv[2], engine="scipy")
"""


@pytest.mark.long
def test_a_sweep_killed_ten_times_ends_with_the_identical_dataset(tmp_path):
    """SIGKILL at random moments, before and after chunks appear; compiled code is kept on disk."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
    }
    path = tmp_path / "killed"

    def start(where, result):
        return subprocess.Popen(
            [sys.executable, "-c", REAL, where, tmp_path / result], env=environment
        )

    def chunks():
        return len(list(path.glob("chunk-*.npz")))

    assert start(tmp_path / "whole", "whole.nc").wait() == 0
    total = len(list((tmp_path / "whole").glob("chunk-*.npz")))
    assert total == 12
    moments = random.Random(0)
    for kill in range(10):
        before = chunks()
        assert before < total
        process = start(path, "killed.nc")
        awaited = before + (kill % 3 == 0)  # now and then not before a new chunk has appeared
        while chunks() < awaited or not (path / LOCK).exists():
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed.nc").exists()
    assert 4 <= chunks() < total
    assert start(path, "killed.nc").wait() == 0
    with (
        xarray.open_dataset(tmp_path / "whole.nc", engine="scipy") as whole,
        xarray.open_dataset(tmp_path / "killed.nc", engine="scipy") as killed,
    ):
        assert killed.identical(whole)
        assert np.all(whole.status == "ok")
    assert not list(path.glob(".chunk*"))


def prepared_in_worker(_):
    time.sleep(0.2)  # so that every worker answers
    return os.getpid(), _prepared.cache_info().misses


SMALL = {"rule": "afa", "times": [1.0, 5.0], "lr": np.linspace(0.1, 1, 24), "batch_size": 1}


@pytest.mark.long
def test_spawned_processes_compute_the_same_and_prepare_once():
    initial, teacher = random_problem(1, 1, 1)
    here = sweep(initial, teacher, **SMALL)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = sweep(initial, teacher, **SMALL, executor=executor)
        workers = dict(executor.map(prepared_in_worker, range(6)))
    assert there.identical(here)
    assert list(workers.values()) == [1] * len(workers)


@pytest.mark.long
def test_a_dask_cluster_loses_nothing_when_a_worker_is_killed(tmp_path):
    initial, teacher = random_problem(1, 1, 1)
    here = sweep(initial, teacher, **SMALL)
    killed = []

    def kill_one(workers):
        while not list(tmp_path.glob("path/chunk-*.npz")):
            time.sleep(0.001)
        os.kill(workers[0], signal.SIGKILL)
        killed.append(len(list(tmp_path.glob("path/chunk-*.npz"))))

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        watcher = threading.Thread(target=kill_one, args=(pids,))
        watcher.start()
        executor = client.get_executor()
        there = sweep(initial, teacher, **SMALL, executor=executor, path=tmp_path / "path")
        watcher.join()
    assert killed[0] < 6
    assert there.identical(here)
