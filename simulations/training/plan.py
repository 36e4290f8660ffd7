"""How runs are grouped and samples are blocked, for speed, and within the memory there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from odes.common.checks import check_count
from odes.common.machine import Machine
from simulations.networks import Network
from simulations.rules import Rule

BLOCK_FROM = {"K": 8, "N": 4000}
"""From these sizes on the exact block form is faster on processors than one sample after another
(``python benchmarks/bench_simulate.py``)."""

MEMORY_SHARE = 0.5
"""Of a device's memory, what runs may take."""

MOST_SAMPLES = 2**20
"""Samples of a piece, of which every parameter that changes with time has an entry."""


class Speed(NamedTuple):
    """What makes a kind of device fast."""

    block: int  # samples learned together, in the exact block form or not
    cached: int  # input components of a block in all runs of a group, at most
    drawn: int  # numbers drawn at once in the runs of a group, if a block has no more
    held: int  # numbers that may be held at once, if that is what it takes to draw a block
    piece: int  # input components drawn between two updates of progress and checkpoint
    resident: int  # the same where weights stay on the chip


CPU = Speed(16, 2**19, 2**13, 2**22, 2**27, 0)
"""A group's inputs fit the cache; few numbers are drawn in vain before a time of measurement."""

ELSEWHERE = Speed(64, 2**62, 2**28, 2**28, 2**31, 2**35)
"""A device of many small processors wants all runs at once
(``python benchmarks/bench_device.py``)."""


class Plan(NamedTuple):
    """How runs are grouped and samples are blocked."""

    how: str  # "in turn", "in blocks", or "resident"
    groups: int  # of runs, each in a thread of its own
    abreast: int  # runs of a group, side by side
    piece: int  # samples in one call of compiled code
    drawn: int  # samples drawn at once, a multiple of `learned`
    learned: int  # samples in one call of a learner
    stays: bool  # whether all groups stay on their devices, or are sent there for each piece


def plan_of(
    network: Network,
    rule: Rule,
    block: int | None,
    n_runs: int,
    machine: Machine,
    *,
    bytes_each: int = 4,
    resident: bool = False,
) -> Plan:
    """How to put runs and samples together; ValueError for what cannot be.

    Whatever the times, since compiled code is kept by plan.

    Args:
        bytes_each: of a number.
        resident: whether a kernel can hold the weights of a run.
    """
    (K, N), O = network.W.shape, network.F.shape[1]
    speed = CPU if machine.kind == "cpu" else ELSEWHERE
    memory = int(MEMORY_SHARE * machine.memory) // bytes_each  # in numbers
    of_weights = 2 * K * N  # before a piece and after it
    if of_weights + 3 * N > memory:
        raise ValueError(
            f"Argument `network` must fit the memory: a run of K = {K}, N = {N} takes "
            f"{(of_weights + 3 * N) * bytes_each / 2**30:.3g} GiB, but of a device's "
            f"{machine.memory / 2**30:.3g} GiB {MEMORY_SHARE:.0%} are for runs."
        )
    fitting = min(speed.cached // (speed.block * N), memory // 2 // (of_weights + 3 * N))
    abreast = min(-(-n_runs // machine.threads), max(1, fitting))
    groups = -(-n_runs // abreast)
    stays = -(-groups // machine.devices) * abreast * of_weights <= memory // 2
    held = max(1, min(speed.held, memory // 6) // (N * abreast))
    how, learned = "in turn", min(speed.block, held)
    in_blocks = rule.equivariant and rule.mirror is None
    if block is not None:
        if check_count("block", block) > 1:
            _check_block(block, rule, N, O)
            how, learned = "in blocks", block
    elif resident:
        how = "resident"
    elif in_blocks and held >= speed.block and O + speed.block <= N / 4:
        large = BLOCK_FROM["K"] <= K and BLOCK_FROM["N"] <= N
        how = "in blocks" if large else "in turn"
    wanted = min(speed.drawn, memory // 6) // (N * abreast)
    at_once = learned * max(1, -(-wanted // learned))
    components = speed.resident if how == "resident" else speed.piece
    samples = min(components // (N * abreast), MOST_SAMPLES)
    piece = at_once * max(1, samples // at_once)
    return Plan(how, groups, abreast, piece, at_once, learned, stays)


def _check_block(block: int, rule: Rule, N: int, O: int) -> None:
    """ValueError for samples that cannot be learned together."""
    if not rule.equivariant:
        raise ValueError(
            "Argument `block` must be None or 1 for a rule that is not declared equivariant, "
            f"but is {block}."
        )
    if rule.mirror is not None:
        raise ValueError(
            "Argument `block` must be None or 1 for a rule with a `mirror`, which runs beside "
            f"each sample, but is {block}."
        )
    if O + block > N / 4:
        raise ValueError(
            f"Argument `block` must be at most N / 4 - O = {N / 4 - O:g}, but is {block}."
        )


class Piece(NamedTuple):
    """Samples first, ..., last - 1, and the index of the time at which they end, if they do."""

    first: int
    last: int
    measured: int | None


def pieces_of(steps: list[int], size: int, first: int = 0, measured: int = 0) -> Iterator[Piece]:
    """All samples in pieces of that size, cut short where networks are measured.

    From sample ``first`` on, after ``measured`` measurements.
    """
    for index, step in enumerate(steps[measured:], measured):
        while step - first > size:
            yield Piece(first, first + size, None)
            first += size
        yield Piece(first, step, index)
        first = step
