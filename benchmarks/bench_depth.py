"""What further hidden layers cost, beside one: ``python benchmarks/bench_depth.py``.

All in one run; times are the best of three, but for the cold processes.
"""

import subprocess
import sys
import time

import numpy as np

from odes import solve, sweep
from simulations import sample_network, simulate

COLD = """
from odes import solve
from simulations import sample_network
network = sample_network(N=1000, K={K}, M=2, v_star=(1.2, 0.6), seed=0)
solve(*network.overlaps("{rule}"), rule="{rule}", lr=0.3, times=[1.0, 10.0, 100.0])
"""


def cold(K, rule):
    """Seconds of a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", COLD.format(K=K, rule=rule)], check=True)
    return time.perf_counter() - start


def best(call, times=3):
    """Seconds of the fastest call, after one that compiles."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def swept(K, rule):
    """Seconds of a sweep of 1024 points over 2^10 nodes, to t = 5."""
    network = sample_network(N=1000, K=K, M=2, seed=0)
    given = network.overlaps(rule)
    rates = np.linspace(0.1, 0.5, 1024)
    return best(lambda: sweep(*given, rule=rule, lr=rates, times=[5.0], points=2**10))


def trained(K, rule="bp", N=1000):
    """Seconds of 20 N steps of 4 networks."""
    network = sample_network(N=N, K=K, M=4, seed=0)
    return best(lambda: simulate(network, rule=rule, lr=0.1, times=[20.0], n_runs=4, n_test=100))


def main():
    one, two = cold(3, "pepita"), cold((3, 3), "bp")
    print(f"cold process, t = 100: PEPITA K = 3 {one:.1f} s, BP K = (3, 3) {two:.1f} s", end="")
    print(f", ratio {two / one:.2f}")
    deep = swept((3, 3), "bp")
    for rule in ("bp", "pepita", "pepita-hebbian"):
        print(f"sweep, 1024 points: BP K = (3, 3) {deep / swept(3, rule):.2f} of {rule} K = 3")
    for rule in ("bp", "pepita"):
        one, two, three = (trained(K, rule) for K in (8, (8, 8), (8, 8, 8)))
        print(f"steps of {rule}, N = 1000: K = (8, 8) {two / one:.2f} of K = 8", end="")
        print(f", K = (8, 8, 8) {three / one:.2f}")
    network = sample_network(N=1000, K=3, M=2, seed=0)
    deep = sample_network(N=1000, K=(3, 3), M=2, seed=0)
    curves = [
        best(lambda net=net: solve(*net.overlaps("pepita"), rule="pepita", lr=0.3, times=[20.0]))
        for net in (network, deep)
    ]
    print(f"solve, PEPITA: K = (3, 3) {curves[1] / curves[0]:.2f} of K = 3")


if __name__ == "__main__":
    main()
