"""How points of a sweep, and paths, are put together in batches, within the memory."""

from __future__ import annotations

import numpy as np

from odes.averages.quadrature import Points
from odes.common.machine import Machine
from odes.problem import Problem

BATCH_SIZE = {"cpu": 64}
"""Points integrated side by side, by kind of device: the right-hand side is then within a fifth of
its fastest, for K = M = 2 and for K = 8, M = 4 (``python benchmarks/bench_sweep.py``)."""

BATCH_SIZE_ELSEWHERE = 2**16
"""On others, whose many small processors want more (``python benchmarks/bench_device.py``)."""

NODES_HELD = {"cpu": 2**15}
"""Quadrature nodes held at once in a batch, where there is no closed form."""

BYTES_A_NODE = 512
"""Memory for a quadrature node of a point, on other devices, of which half may be used."""

POINTS_WITH_NODES = {"cpu": 4}
"""Points solved side by side over nodes that are chosen for them."""

PATHS_ON_CPU = 64
"""Paths integrated side by side; on other devices as many as points."""

BATCHES_PER_CHUNK = {"cpu": 4}
"""Batches in a chunk, on each device; 1 on other devices."""


def default_batch_size(
    problems: list[Problem],
    n_points: int,
    n_times: int,
    machine: Machine,
    nodes_are_chosen: bool = False,
) -> int:
    """Points to solve side by side: no more than fit the memory, or than the next power of two."""
    sizes = POINTS_WITH_NODES if nodes_are_chosen else BATCH_SIZE
    batch_size = sizes.get(machine.kind, BATCH_SIZE_ELSEWHERE)
    for each in problems:
        if machine.kind != "cpu":
            saved = 8 * 4 * n_times * each.pack(each.initial).size
            batch_size = min(batch_size, max(1, machine.memory // 2 // saved))
        if each.points is not None:
            batch_size = min(batch_size, _with_nodes(each.points, machine))
    return min(batch_size, 2 ** int(np.ceil(np.log2(n_points))))


def batch_of_paths(n_paths: int, machine: Machine, points: Points | None) -> int:
    """Paths to integrate side by side, averaged in closed form or over these nodes."""
    if machine.kind == "cpu":
        return PATHS_ON_CPU
    most = BATCH_SIZE_ELSEWHERE if points is None else _with_nodes(points, machine)
    return min(most, n_paths)


def _with_nodes(points: Points, machine: Machine) -> int:
    """Points of a sweep whose nodes may be held at once, 1 at least."""
    nodes = NODES_HELD.get(machine.kind, machine.memory // 2 // BYTES_A_NODE)
    return max(1, nodes // len(points.weights))


def chunks_of(
    problems: list[Problem],
    values: np.ndarray,
    batch_size: int,
    machine: Machine,
    nodes_are_chosen: bool = False,
) -> list[tuple[int, np.ndarray]]:
    """Chunks of equal size: the index of the rule, and which points, the costly ones first.

    The last chunk of a rule is filled up with copies of its last point.  Where each chunk has nodes
    chosen for it, it is one batch, of points with about the same feedback.
    """
    side_by_side = batch_size * machine.devices
    batches = 1 if nodes_are_chosen else BATCHES_PER_CHUNK.get(machine.kind, 1)
    size = side_by_side * min(batches, -(-len(values) // side_by_side))
    plan = []
    for index, each in enumerate(problems):
        if nodes_are_chosen and each.points is not None:
            order = np.lexsort((-values[:, 0], -values[:, -1]))
        else:
            cost = values[:, 0] * (1 if each.initial.B is None else values[:, -1])
            order = np.argsort(-cost, kind="stable")
        order = np.append(order, np.repeat(order[-1], -len(order) % size))
        plan += [(index, chosen) for chosen in order.reshape(-1, size)]
    return plan
