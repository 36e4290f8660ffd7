"""The weight-space simulator against the bound that drawing its inputs sets.

One network, K = M = 2.  The yardstick draws the same number of standard normals, float32, in blocks
of the same size, and adds them up.  The two run in turn; the figure is the median of the ratios of
neighbours, samples per second of the simulator over those of the yardstick, with the quartiles.
Then 64 chains against the same simulator, in samples per second of all chains.

    python benchmarks/bench_simulate.py [--pairs 10]
"""

import argparse
import time
from functools import partial

import jax
import numpy as np
from tqdm import tqdm

from simulations import RULES, sample_network, simulate, simulate_chain
from simulations.online_sgd import BLOCK


@partial(jax.jit, static_argnums=(1, 2))
def draw_alone(key, N, blocks):
    """Sum of ``blocks`` blocks of inputs."""

    def block(b, total):
        return total + jax.random.normal(jax.random.fold_in(key, b), (BLOCK, N)).sum()

    return jax.lax.fori_loop(0, blocks, block, 0.0)


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    N, samples = 1000, 64 * 500
    network = sample_network(N=N, K=2, M=2)
    key = jax.random.key(0)
    for rule in RULES:

        def train(rule=rule):
            simulate(network, rule=rule, lr=0.1, times=[samples / N], n_test=1)

        def draw():
            draw_alone(key, N, samples // BLOCK).block_until_ready()

        train(), draw()
        ratios = [1 / (seconds(train) / seconds(draw)) for _ in tqdm(range(pairs), disable=None)]
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(f"N = {N}  {rule:18s} {median:.2f} ({low:.2f} to {high:.2f}) of the bound")

    for size in (N, 10**6):
        small = sample_network(N=size, K=2, M=2)

        def chains(small=small, size=size):
            simulate_chain(small, rule="afa", lr=0.1, times=[samples / size], n_runs=64, n_test=1)

        def train():
            simulate(network, rule="afa", lr=0.1, times=[samples / N], n_test=1)

        chains(), train()
        ratios = [64 * seconds(train) / seconds(chains) for _ in tqdm(range(pairs), disable=None)]
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(
            f"64 chains at N = {size}: {median:.0f} ({low:.0f} to {high:.0f}) times the simulator"
        )


if __name__ == "__main__":
    main()
