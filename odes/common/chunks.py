"""Work in chunks: side by side, on this machine or on others, and kept on disk as it finishes.

A job is an object with a method ``prepare``, which returns the function that turns one chunk into
arrays.  What is prepared, such as compiled code, is prepared once in each process.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

from odes.common.checks import quoted
from odes.common.progress import shown
from odes.common.store import Arrays, load_arrays, open_store, pickled_for, save_arrays


def run_chunks(
    job: Any,
    chunks: Sequence[tuple],
    *,
    arguments: dict[str, Any],
    layout: dict[str, Any],
    path: Any,
    executor: Executor | None,
    progress: bool | None,
    threads: int | None = None,
) -> list[Arrays]:
    """``job.prepare()(*chunk)`` for every chunk, in the order of the chunks.

    Args:
        job: see the module; has to be picklable for an executor.
        chunks: arguments of the calls; an executor takes them in this order.
        arguments: what identifies the work, by the names that a user knows.
        layout: what else the chunks depend on.
        path: directory where finished chunks are kept and interrupted work goes on, or None.
        executor: where to run; None for threads of this process.
        progress: as for :func:`odes.common.progress.shown`.
        threads: their number; None for one on each processor.

    Raises:
        ValueError: for an executor that is none, forks, or cannot be sent the job, and for a path
            that cannot be written, is in use, or holds something else.
        Exception: what a chunk or the executor raises, with a note on what was finished.
    """
    if executor is not None and not isinstance(executor, Executor):
        raise ValueError(
            f"Argument `executor` must be a concurrent.futures.Executor, but is {quoted(executor)}."
        )
    context = getattr(executor, "_mp_context", None)  # of a ProcessPoolExecutor
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "Argument `executor` must spawn its processes, with ProcessPoolExecutor(mp_context="
            'multiprocessing.get_context("spawn")), but forks: after JAX has run, that deadlocks.'
        )
    store = open_store(path, arguments, layout)
    with _submitter(job, executor, threads or processors()) as submit, store as folder:
        done: dict[int, Arrays] = {}
        if folder is not None:
            files = [folder / f"chunk-{index:06d}.npz" for index in range(len(chunks))]
            found = enumerate(load_arrays(file) for file in files)
            done = {index: arrays for index, arrays in found if arrays is not None}
        futures: dict[Future, int] = {}
        failure: Exception | None = None
        abreast = getattr(executor, "_max_workers", 1) if executor else threads or processors()
        with shown(progress, len(chunks), "chunks", done=len(done), abreast=abreast) as advance:
            try:
                try:
                    for index, chunk in enumerate(chunks):
                        if index not in done:
                            futures[submit(chunk)] = index
                except Exception as error:
                    failure = error
                    _cancel(futures)
                # as_completed() misses what is cancelled
                ended: SimpleQueue[Future] = SimpleQueue()
                for future in futures:
                    future.add_done_callback(ended.put)
                for _ in range(len(futures)):
                    future = ended.get()
                    index = futures[future]
                    try:
                        arrays = future.result()
                        if folder is not None:
                            save_arrays(files[index], arrays)
                    except Exception as error:
                        failure = failure or error
                        _cancel(futures)
                    else:
                        done[index] = arrays
                        advance(1)
            finally:
                _cancel(futures)
        if failure is not None:
            kept = "" if folder is None else f" and stay in {folder}"
            failure.add_note(f"{len(done)} of {len(chunks)} chunks were finished{kept}.")
            raise failure
        return [done[index] for index in range(len(chunks))]


def _cancel(futures: dict[Future, int]) -> None:
    """Cancel what has not started."""
    for future in futures:
        future.cancel()


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _submitter(
    job: Any, executor: Executor | None, threads: int
) -> Iterator[Callable[[tuple], Future]]:
    """A function that submits one chunk and returns its future."""
    if executor is None:
        work = job.prepare()
        with ThreadPoolExecutor(threads) as pool:
            yield lambda chunk: pool.submit(work, *chunk)
    else:
        payload, _ = pickled_for("executor", job, "be sent to other processes")
        yield lambda chunk: executor.submit(remote, payload, chunk)


def remote(payload: bytes, chunk: tuple) -> Arrays:
    """One chunk of a pickled job, in a worker."""
    return _prepared(payload)(*chunk)


@lru_cache(maxsize=4)
def _prepared(payload: bytes) -> Callable[..., Arrays]:
    """What the job prepares, once in a process; ValueError for what this one cannot import."""
    try:
        job = pickle.loads(payload)
    except (AttributeError, ImportError) as error:
        raise ValueError(
            "Argument `executor` must be None with functions or objects that its processes cannot "
            'import, such as those defined under `if __name__ == "__main__"` or in a notebook; '
            f"move them to a module, or out of the condition: {error}"
        ) from error
    return job.prepare()
