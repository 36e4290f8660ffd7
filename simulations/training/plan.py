"""How runs are grouped and samples are blocked, for speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from odes.common.checks import check_count
from simulations.networks import Network
from simulations.rules import Rule

BLOCK = 16
"""Samples learned together, where that is fast."""

BLOCK_FROM = {"K": 8, "N": 4000}
"""From these sizes on the exact block form is faster than one sample after another
(``python benchmarks/bench_simulate.py``)."""

ABREAST = 2**19
"""Input components of BLOCK samples in all runs of a group, at most: they fit the cache."""

DRAWN = 2**13
"""Numbers drawn at once in the runs of a group, if BLOCK samples have no more: enough to be fast,
and few enough that those drawn in vain before a time of measurement take no time."""

HELD = 2**22
"""Numbers that may be held at once, if that is what it takes to draw BLOCK samples of one run."""

PIECE = 2**27
"""Input components drawn between two updates of progress and checkpoint."""


class Plan(NamedTuple):
    """How runs are grouped and samples are blocked."""

    groups: int  # of runs, each in a thread of its own
    abreast: int  # runs of a group, side by side
    piece: int  # samples in one call of compiled code
    drawn: int  # samples drawn at once, a multiple of `learned`
    learned: int  # samples in one call of a learner
    as_block: bool  # whether by the exact block form


def plan_of(
    network: Network,
    rule: Rule,
    block: int | None,
    n_runs: int,
    threads: int,
) -> Plan:
    """How to put runs and samples together; ValueError for a block that cannot be.

    Whatever the times, since compiled code is kept by plan.
    """
    (K, N), O = network.W.shape, network.v.shape[1]
    abreast = min(-(-n_runs // threads), max(1, ABREAST // (BLOCK * N)))
    held = max(1, HELD // (N * abreast))
    if block is None:
        fast = BLOCK_FROM["K"] <= K and BLOCK_FROM["N"] <= N and held >= BLOCK
        in_blocks = rule.equivariant and rule.mirror is None
        as_block = in_blocks and fast and O + BLOCK <= N / 4
        learned = min(BLOCK, held)
    else:
        as_block = check_count("block", block) > 1
        learned = block if as_block else min(BLOCK, held)
        if as_block and not rule.equivariant:
            raise ValueError(
                "Argument `block` must be None or 1 for a rule that is not declared equivariant, "
                f"but is {block}."
            )
        if as_block and rule.mirror is not None:
            raise ValueError(
                "Argument `block` must be None or 1 for a rule with a `mirror`, which runs beside "
                f"each sample, but is {block}."
            )
        if as_block and O + block > N / 4:
            raise ValueError(
                f"Argument `block` must be at most N / 4 - O = {N / 4 - O:g}, but is {block}."
            )
    drawn = learned * max(1, -(-(DRAWN // (N * abreast)) // learned))
    piece = drawn * max(1, PIECE // (N * abreast * drawn))
    return Plan(-(-n_runs // abreast), abreast, piece, drawn, learned, as_block)


class Piece(NamedTuple):
    """Samples first, ..., last - 1, and the index of the time at which they end, if they do."""

    first: int
    last: int
    measured: int | None


def pieces_of(steps: list[int], size: int) -> Iterator[Piece]:
    """All samples in pieces of that size, cut short where networks are measured."""
    first = 0
    for index, step in enumerate(steps):
        while step - first > size:
            yield Piece(first, first + size, None)
            first += size
        yield Piece(first, step, index)
        first = step
