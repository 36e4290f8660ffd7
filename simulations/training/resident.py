"""Online SGD within one kernel: weights stay on the chip, and inputs are drawn where they are used.

A program of the kernel is one run.  It holds its W, entry by entry in the registers of its threads,
for all samples of a piece; draws each input by counter (``simulations/kernels``); sums up what the
input shows (``blocks.py`` beside this); carries out the rule, as it is written, on these few
numbers, entry by entry; and moves W along x and F.  Nothing but the weights passes through the
memory of the device.  Written for Pallas, which compiles it for a GPU, or interprets it on a
processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from odes.common.layers import have_layers
from odes.common.order_parameters import Hyperparameters
from simulations.activations import Activation
from simulations.kernels import counters
from simulations.kernels.entries import (
    by_entries,
    filled,
    flat,
    plus,
    restored,
    times,
)
from simulations.kernels.programs import (
    Draws,
    Rates,
    compiled_by_triton,
    factors_of,
    loaded,
    table_of,
    unrolls,
)
from simulations.networks import Network
from simulations.rules import Rule, shape_drawn
from simulations.training.blocks import Shown, learn_shown
from simulations.training.inputs import deviations

WARP = 32
"""Threads of a warp, each of which holds one entry of a chunk of inputs."""

MOST_RESIDENT = 45_000
"""Weights and inputs of a run, (K + 1) N, that fit the registers of a multiprocessor."""

MOST_ENTRIES = 128
"""Weights and inputs of a thread, above which a program has 16 warps."""

HELD_CHUNKS = 2
"""Chunks of a part up to which teacher and F are kept in registers as well."""


class Layout(NamedTuple):
    """How N inputs are spread over the threads of a program.

    In four equal parts, since four are drawn together; each part in chunks of as many as there are
    threads.
    """

    warps: int
    chunks: int  # of a part

    @property
    def lanes(self) -> int:
        """Inputs in a chunk."""
        return WARP * self.warps

    @property
    def shape(self) -> tuple[int, int]:
        """Of a row of numbers, one for each input, and of those that fill up the last chunks."""
        return 4 * self.chunks, self.lanes

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """The chunks of a part in pieces of a power of two: where they start, and how many."""
        sizes = [1 << bit for bit in range(self.chunks.bit_length()) if self.chunks >> bit & 1]
        return [(sum(sizes[i + 1 :]), size) for i, size in enumerate(sizes)][::-1]

    @property
    def places(self) -> list[tuple[int, int]]:
        """The pieces of all four parts of a row, in the order in which they are drawn."""
        return [
            (part * self.chunks + start, size) for start, size in self.pieces for part in range(4)
        ]


def layout_of(N: int, K: int) -> Layout:
    """Some sixteen inputs a thread; more threads where weights would not fit their registers."""
    warps = min(8, 1 << max(0, (N - 1) // 512).bit_length())
    if MOST_ENTRIES * WARP * warps < (K + 1) * N:
        warps = 16
    return Layout(warps, -(-N // (4 * WARP * warps)))


OF_INPUTS = ("factors", "ends")
"""What a program knows of inputs, beside weights of the network."""


def can_be_resident(network: Network, rule: Rule, units: Activation) -> bool:
    """Whether a kernel can carry out a rule and an activation, and hold the weights of a run."""
    K, N = network.W.shape
    if not rule.equivariant or rule.mirror is not None or (K + 1) * N > MOST_RESIDENT:
        return False
    if have_layers(network.v, network.v_star):
        return False
    weights = {
        name: np.asarray(network.get(name), np.float32)[None] for name in ("v", *rule.learns)
    }
    fixed = {name: network.get(name) for name in ("v_star", "B") if name not in weights}
    rates = Hyperparameters(*[0.0] * len(Hyperparameters._fields))
    return unrolls(lambda: sample_by_entries(weights, fixed, 0, rates, rule, units, N))


def learn_resident(
    weights: dict[str, Any],
    network: Network,
    basis: tuple[Any, Any],
    key: Any,
    span: Any,
    parameters: Hyperparameters,
    *,
    rule: Rule,
    units: Activation,
) -> dict[str, Any]:
    """The weights that learn, (runs, ...), after the samples span[0], ..., span[1] - 1.

    Args:
        weights: W (runs, K, N), v (runs, K, O) and what else the rule learns.
        network: the others, without an axis of runs.
        basis: Q_F (N, O) and its triangle.
        key: two words, uint32.
        span: first sample, the one after the last, the number of the first run, and 0, int32.
        parameters: numbers, or arrays with an entry for every sample from span[0] on; what is no
            array is compiled as it is.
        rule, units: as for :func:`learn_in_turn`; an equivariant rule without a mirror.

    Raises:
        CannotUnroll: for a rule or activation that a kernel cannot carry out.
    """
    Q, triangle = basis
    (runs, K, N), inputs = weights["W"].shape, network.inputs
    layout = layout_of(N, K)
    fixed = {"v_star": network.v_star, "triangle": triangle, "B": network.B}
    fixed = {n: each for n, each in fixed.items() if n not in weights and each.size}
    rows = [network.W_star, Q.T]
    if inputs is not None:
        rows.append(deviations(inputs, N)[None])
    fixed |= factors_of(inputs)

    def in_place(rows: Any) -> Any:
        padding = (0, math.prod(layout.shape) - N)
        padded = jnp.pad(rows, [(0, 0)] * (rows.ndim - 1) + [padding])
        return padded.reshape(*rows.shape[:-1], *layout.shape)

    shared = in_place(jnp.concatenate(rows))
    table, rates = table_of(parameters)
    moving = {**weights, "W": in_place(weights["W"])}
    still = [span, key, table, shared, *fixed.values()]
    kernel = Kernel(
        sample=sample_by_entries(weights, fixed, Q.shape[1], parameters, rule, units, N),
        moving=tuple(moving),
        fixed=tuple(fixed),
        rates=rates,
        layout=layout,
        N=N,
        drawn=shape_drawn(rule, weights["v"]),
        scaled=inputs is not None,
    )
    interpret = jax.default_backend() == "cpu"
    with jax.enable_x64(True):  # for products of 64 bits
        after = pl.pallas_call(
            lambda *refs: kernel(*refs),
            grid=(runs,),
            out_shape=[jax.ShapeDtypeStruct(each.shape, each.dtype) for each in moving.values()],
            input_output_aliases={len(still) + i: i for i in range(len(moving))},
            interpret=interpret,
            **({} if interpret else compiled_by_triton(layout.warps)),
        )(*still, *moving.values())
    found = dict(zip(moving, after, strict=True))
    return {**found, "W": found["W"].reshape(*weights["W"].shape[:2], -1)[:, :, :N]}


def sample_by_entries(
    weights: dict[str, Any],
    fixed: dict[str, Any],
    columns: int,
    parameters: Hyperparameters,
    rule: Rule,
    units: Activation,
    N: int,
) -> Callable:
    """What one sample does to the small weights, by entries of all that it depends on.

    A function of these weights by name, of fixed ones by name, of W Q_F and of what the input
    shows, of the teacher's fields, normals for noise and rule, and of the parameters.
    """
    M, (K, O) = len(fixed["v_star"]), weights["v"].shape[-2:]

    def sample(
        weights: Any, fixed: Any, W_Q: Any, shown: Any, nu: Any, zeta: Any, xi: Any, rates: Any
    ) -> Any:
        y = units.g(nu) @ fixed["v_star"] + rates.noise * zeta
        known = {name: fixed[name] for name in ("B",) if name in fixed}
        by_x, by_Q, moved = learn_shown(
            known | weights,
            shown._replace(W_Q=W_Q),
            fixed["triangle"],
            y,
            rates,
            xi,
            rule=rule,
            g=units.hidden,
            N=N,
        )
        kept = 1 - rates.weight_decay / N
        W_Q = kept * W_Q + jnp.outer(by_x, shown.along_F) + by_Q
        return {**weights, **moved}, W_Q, kept, by_x, by_Q

    def shape(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.float32)

    return by_entries(
        sample,
        {name: shape(*each.shape[1:]) for name, each in weights.items() if name != "W"},
        {"triangle": shape(0, O)}
        | {name: shape(*each.shape) for name, each in fixed.items() if name not in OF_INPUTS},
        shape(K, columns),
        Shown(shape(K), shape(columns), shape()),
        shape(M),
        shape(O),
        shape(*drawn) if (drawn := shape_drawn(rule, weights["v"])) else None,
        Hyperparameters(*[None if each is None else shape() for each in parameters]),
    )


class Kernel(NamedTuple):
    """The program of one run."""

    sample: Callable  # of :func:`sample_by_entries`
    moving: tuple[str, ...]  # weights that learn, by name
    fixed: tuple[str, ...]  # and others
    rates: Rates
    layout: Layout
    N: int
    drawn: tuple[int, ...]  # what the rule draws
    scaled: bool  # whether inputs have variances of their own

    def __call__(self, *refs: Any) -> None:
        """All samples of the run: of what :func:`learn_resident` gives, and of where it ends."""
        span, key, table, shared, *others = refs
        constants = {name: loaded(ref) for name, ref in zip(self.fixed, others, strict=False)}
        count = len(self.moving)
        starts, ends = (
            dict(zip(self.moving, part, strict=True))
            for part in (others[-2 * count : -count], others[-count:])
        )
        run = pl.program_id(0)
        K, O = starts["v"].shape[-2:]
        columns = len(constants.setdefault("triangle", filled((0, O), [])))
        M = len(constants["v_star"])

        # An offset that Triton does not know to be 0: else it has a thread load neighbours, in
        # another order than that of what is drawn, and exchanges all numbers at every sample.
        zero, lanes = span[3], self.layout.lanes

        def load(ref: Any, *index: Any) -> list[Any]:
            return [
                ref[(*index, pl.ds(first, count), pl.ds(zero, lanes))]
                for first, count in self.layout.places
            ]

        few = self.layout.chunks <= HELD_CHUNKS
        held = [load(shared, r) for r in range(shared.shape[0])] if few else None

        def row(r: int) -> list[Any]:
            return load(shared, r) if held is None else held[r]

        draw = Draws((key[0], key[1]), (span[2] + run).astype(jnp.uint32), np.float32)

        def learn(s: Any, carried: Any) -> Any:
            W, small = carried
            weights, W_Q = restored(small, like)
            x = self._input(draw, s, constants, row(M + columns) if self.scaled else None)
            rows = [*W, *(row(r) for r in range(M + columns)), x]
            found = [dot(each, x) for each in rows]
            root = np.float32(self.N**-0.5)
            now = self.rates.at(table, s - span[0])
            zeta, xi = draw.beside(O, self.drawn, s, now.noise)
            weights, W_Q, kept, by_x, by_Q = self.sample(
                weights,
                {n: e for n, e in constants.items() if n not in OF_INPUTS},
                W_Q,
                Shown(
                    filled((K,), [root * each for each in found[:K]]),
                    filled((columns,), found[K + M : -1]),
                    filled((), found[-1:]),
                ),
                filled((M,), [root * each for each in found[K : K + M]]),
                zeta,
                xi,
                now,
            )
            moved = [combined(kept.item(), W[k], by_x[k], x) for k in range(K)]
            for o in range(columns):
                one, Q = np.float32(1), row(M + o)
                moved = [combined(one, moved[k], by_Q[k, o], Q) for k in range(K)]
            return moved, flat((weights, W_Q))

        W = [load(starts["W"], run, k) for k in range(K)]
        weights = {name: loaded(ref, run) for name, ref in starts.items() if name != "W"}
        Q = [row(M + o) for o in range(columns)]
        W_Q = filled((K, columns), [dot(W[k], Q[o]) for k in range(K) for o in range(columns)])
        like = weights, W_Q
        W, small = jax.lax.fori_loop(span[0], span[1], learn, (W, flat((weights, W_Q))))
        weights, _ = restored(small, like)
        for k in range(K):
            for (first, count), each in zip(self.layout.places, W[k], strict=True):
                ends["W"][run, k, pl.ds(first, count), pl.ds(zero, lanes)] = each
        for name, each in weights.items():
            for index in np.ndindex(each.shape):
                ends[name][(run, *index)] = each[index]

    def _input(self, draw: Draws, s: Any, constants: Any, deviation: Any) -> list[Any]:
        """The input of a sample, in chunks."""
        lanes = self.layout.lanes
        x = list[Any]()
        for first, count in self.layout.pieces:
            place = jax.lax.broadcasted_iota(jnp.int32, (count, lanes), 0) * lanes
            place = place + jax.lax.broadcasted_iota(jnp.int32, (count, lanes), 1) + first * lanes
            words = draw.words(place.astype(jnp.uint32), s, counters.INPUTS)
            for part, each in enumerate(counters.normals(words)):
                start = part * self.layout.chunks * lanes
                if start + (first + count) * lanes > self.N and deviation is None:
                    each = jnp.where(place < self.N - start, each, np.float32(0))
                x.append(each)
        if deviation is not None:
            x = [each * scale for each, scale in zip(x, deviation, strict=True)]
        if "factors" not in constants:
            return x
        length = draw.length(constants["factors"], constants["ends"], s)
        return [length * each for each in x]


def combined(a: Any, row: list[Any], b: Any, other: list[Any]) -> list[Any]:
    """a row + b other."""
    return [plus(times(a, each), times(b, beside)) for each, beside in zip(row, other, strict=True)]


def dot(row: list[Any], x: list[Any]) -> Any:
    """The sum of all products; of those of a thread first, which takes no exchange."""
    by_size: dict[int, Any] = {}
    for a, b in zip(row, x, strict=True):
        size = len(a)
        by_size[size] = by_size[size] + a * b if size in by_size else a * b
    return jnp.sum(sum(jnp.sum(each, axis=0) for each in by_size.values()))
