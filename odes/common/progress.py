"""How far long work has come, on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

TENTHS = 10
"""Plain lines, at most."""


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def shown(
    progress: bool | None,
    total: int,
    unit: str,
    *,
    done: int = 0,
    delay: float = 0.0,
    abreast: int = 1,
) -> Iterator[Callable[[int], object]]:
    """A function that is told how much more is done.

    Args:
        progress: True for a bar on a terminal, and elsewhere a line after the first piece of work,
            with an estimate of the whole, and after each tenth; None for the bar alone; False for
            neither.
        total: of all work, in units.
        unit: its name, as in "40 % of 50 chunks".
        done: what was done before.
        delay: seconds of work before there is a bar, which then does not stay.
        abreast: how many pieces of work are done side by side.
    """
    if progress and not on_terminal():
        yield _lines(total, unit, done, abreast)
        return
    silent = progress is False or not on_terminal()
    with tqdm(
        total=total, initial=done, unit=f" {unit}", disable=silent, delay=delay, leave=not delay
    ) as bar:
        yield bar.update


def _lines(total: int, unit: str, done: int, abreast: int) -> Callable[[int], None]:
    """Such a function: it writes an estimate first, and a line whenever another tenth is done."""
    start, before = time.monotonic(), done
    tenth = TENTHS * done // max(total, 1)

    def update(more: int) -> None:
        nonlocal done, tenth
        if done == before and more < total - before:
            rounds = max((total - before) / (max(more, 1) * abreast), 1)
            whole = rounds * (time.monotonic() - start)
            print(f"some {whole:.0f} s for all, as the first went", file=sys.stderr, flush=True)
        done += more
        reached = TENTHS * done // max(total, 1)
        if reached > tenth:
            tenth = reached
            percent, seconds = 100 * done // max(total, 1), time.monotonic() - start
            print(f"{percent} % of {total} {unit}, {seconds:.0f} s", file=sys.stderr, flush=True)

    return update
