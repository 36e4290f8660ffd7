"""The weight-space simulator against the bound that drawing its inputs sets, and the chain.

``bound``: networks with K = M = 2.  The yardstick draws as many standard normals by
``jax.random.normal``, float32, and adds them up: in blocks of 64 inputs, and in the blocks that are
the fastest of several sizes.  ``block``: the exact block form over one sample after another.
``chain``: 64 chains over the simulator at N = 1000, in samples per second of all chains.

What is compared runs in turn; every figure is the median of the ratios of neighbours, in samples
per second, with the quartiles.

    python benchmarks/bench_simulate.py [--pairs 10] [--part bound block chain]
"""

import argparse
import time
from functools import partial

import jax
import numpy as np
from tqdm import tqdm

from simulations import RULES, sample_network, simulate, simulate_chain

NUMBERS = 64_000_000
"""Numbers drawn in one timing."""


@partial(jax.jit, static_argnums=(1, 2))
def draw_alone(key, N, block):
    """Sum of as many normals as are drawn in one timing, in blocks of inputs."""

    def add(b, total):
        return total + jax.random.normal(jax.random.fold_in(key, b), (block, N)).sum()

    return jax.lax.fori_loop(0, NUMBERS // (N * block), add, 0.0)


def training(N, K=2, n_runs=1, rule="afa", **how):
    """A function that trains on the same number of normals."""
    network = sample_network(N=N, K=K, M=K)
    times = [NUMBERS / N / n_runs / N]
    return lambda: simulate(
        network, rule=rule, lr=0.1, times=times, n_runs=n_runs, n_test=1, progress=False, **how
    )


def chains(N):
    """A function that trains 64 chains for 100 times as many samples as ``training(1000)``."""
    network = sample_network(N=N, K=2, M=2)
    times = [100 * NUMBERS / 1000 / 64 / N]
    return lambda: simulate_chain(
        network, rule="afa", lr=0.1, times=times, n_runs=64, n_test=1, progress=False
    )


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(label, ours, theirs, pairs, work=1.0):
    """Print how many times faster ``ours`` is, if it does ``work`` times as much."""
    ours(), theirs()
    ratios = [
        work * seconds(theirs) / seconds(ours)
        for _ in tqdm(range(pairs), disable=None, leave=False)
    ]
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    print(f"{label:58s} {median:.2f} ({low:.2f} to {high:.2f})", flush=True)


def bound(pairs):
    key = jax.random.key(0)
    for N, n_runs in ((1000, 1), (1000, 32), (10_000, 1)):
        draws = {
            block: lambda block=block, N=N: draw_alone(key, N, block).block_until_ready()
            for block in (16, 64, 256, 1024)
        }
        for draw in draws.values():
            draw()
        block = min(draws, key=lambda block: min(seconds(draws[block]) for _ in range(3)))
        for rule in RULES:
            for size in dict.fromkeys((64, block)):
                label = f"N = {N}, {n_runs} runs, {rule}, blocks of {size}"
                compare(label, training(N, n_runs=n_runs, rule=rule), draws[size], pairs)


def block(pairs):
    for K, N, n_runs in (
        (2, 1000, 1),
        (8, 1000, 1),
        (8, 10_000, 1),
        (16, 1000, 32),
        (16, 10_000, 1),
    ):
        together, in_turn = (training(N, K, n_runs, block=count) for count in (16, 1))
        compare(f"block form, K = {K}, N = {N}, {n_runs} runs", together, in_turn, pairs)


def chain(pairs):
    for N in (1000, 10**6):
        compare(f"64 chains, N = {N}", chains(N), training(1000), pairs, work=100.0)


PARTS = {"bound": bound, "block": block, "chain": chain}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    for part in options.part:
        PARTS[part](options.pairs)


if __name__ == "__main__":
    main()
