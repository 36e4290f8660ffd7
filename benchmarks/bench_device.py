"""Simulations, chains and sweeps on a GPU, over what the device itself can do.

Rates and ratios of one run.  ``normal``: standard normals a second that jax.random.normal draws.
``simulate``: inputs drawn and learned from a second over that rate, by the kernel that keeps
weights on the chip, in blocks, and one sample after another.  ``chain``: steps a second of all
runs, over those of numbers drawn on the host.  ``sweep``: AFA, lr x feedback_scale, K = M = 2 up to
t = 200, compilation included in the first; whole calls, with and without a folder that keeps the
chunks.  ``pepita`` and ``paths``: points and paths a second over those of two processors.
``runs``: the same for few runs.  ``right``: differences from what processors compute.

    python benchmarks/bench_device.py [--part normal simulate chain sweep pepita paths runs right]
                                      [--small]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from odes import solve, solve_paths, sweep  # noqa: E402
from simulations import chain, sample_network, simulate, simulate_chain  # noqa: E402

RULES = ("bp", "fa", "afa", "pepita", "pepita-modulated")
NETWORK = sample_network(N=1000, K=2, M=2)
BEGUN = time.perf_counter()


def say(*words):
    print(f"[{time.perf_counter() - BEGUN:6.1f} s]", *words, flush=True)


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best(call, repeats=2):
    """The shortest time after a first call, and that of the first."""
    first = seconds(call)
    return min(seconds(call) for _ in range(repeats)), first


def normals_a_second(small):
    numbers, blocks = (2**22, 4) if small else (2**28, 64)

    @jax.jit
    def draw(key):
        def add(b, total):
            return total + jax.random.normal(jax.random.fold_in(key, b), (numbers,)).sum()

        return jax.lax.fori_loop(0, blocks, add, 0.0)

    took, _ = best(lambda: draw(jax.random.key(0)).block_until_ready())
    return numbers * blocks / took


def part_simulate(small):
    normal = normals_a_second(small)
    say(f"jax.random.normal: {normal:.2e} a second")
    sizes = ((100, 16, 1e5),) if small else ((1000, 4096, 2e11), (10_000, 512, 1e11))
    for N, n_runs, inputs in sizes:
        network = sample_network(N=N, K=2, M=2)
        for rule in RULES:
            for how, block, share in (("kernel", None, 1.0), ("blocks", 64, 0.3), ("turn", 1, 0.3)):
                plain = rule in ("bp", "pepita") and 300 <= N <= 1000
                if how != "kernel" and not plain:
                    continue
                train = partial(
                    simulate, network, rule=rule, lr=0.1, n_runs=n_runs, n_test=1, block=block,
                    progress=False,
                )  # fmt: skip
                steps = int(share * inputs / N / n_runs)
                first = seconds(lambda train=train, N=N: train(times=[2 / N]))
                took = seconds(lambda train=train, N=N, steps=steps: train(times=[steps / N]))
                rate = steps * N * n_runs / took
                say(
                    f"N = {N:6d}, {n_runs} runs, {rule:17s} {how:6s} {rate:.2e} inputs a second, "
                    f"{rate / normal:.2f} of normal (first call {first:.1f} s)"
                )


def part_chain(small):
    def train(n_runs, steps):
        return simulate_chain(
            NETWORK, rule="afa", lr=0.1, times=[steps / 1000], n_runs=n_runs, n_test=10,
            progress=False,
        )  # fmt: skip

    has_kernels, chain._has_kernels = chain._has_kernels, lambda: False
    n_runs, steps = (64, 200) if small else (4096, 500)
    train(n_runs, steps)
    host = n_runs * steps / seconds(lambda: train(n_runs, steps))
    say(f"numbers of the host, {n_runs} runs: {host:.2e} steps a second")
    chain._has_kernels = has_kernels
    for n_runs, steps in ((64, 200),) if small else ((4096, 200_000), (65_536, 50_000)):
        first = seconds(lambda n_runs=n_runs: train(n_runs, 2))
        rate = n_runs * steps / seconds(lambda n_runs=n_runs, steps=steps: train(n_runs, steps))
        say(f"{n_runs} runs: {rate:.2e} steps a second, {rate / host:.0f} times that of the host "
            f"(first call {first:.1f} s)")  # fmt: skip


def part_sweep(small):
    initial, teacher = NETWORK.overlaps("afa")
    times = np.array([50.0, 100.0, 150.0, 200.0])

    def points(n, **how):
        side = int(n**0.5)
        return sweep(
            initial, teacher, rule="afa", times=times, rtol=1e-6, atol=1e-9, progress=False,
            lr=np.geomspace(0.05, 1.0, side), feedback_scale=np.linspace(0.2, 2.0, n // side),
            **how,
        )  # fmt: skip

    few, many = (64, 256) if small else (10**5, 10**6)
    say(f"{few} points cold: {seconds(lambda: points(few)):.2f} s")
    say(f"{few} points warm: {seconds(lambda: points(few)):.2f} s")
    for _ in range(2):
        say(f"{many} points warm: {seconds(lambda: points(many)):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        say(f"{many} points warm, kept: {seconds(lambda: points(many, path=folder)):.2f} s")
        say(f"{many} points, read: {seconds(lambda: points(many, path=folder)):.2f} s")


def pepita_points(n):
    initial, teacher = NETWORK.overlaps("pepita")
    return sweep(
        initial, teacher, rule="pepita", times=[100.0], rtol=1e-6, atol=1e-9, progress=False,
        lr=np.geomspace(0.05, 0.5, n), order_parameters=("Q",),
    )  # fmt: skip


def paths(n):
    network = sample_network(N=1000, K=2, M=2, feedback="random", seed=1)
    initial, teacher = network.overlaps("afa")
    return solve_paths(
        initial, teacher, rule="afa", lr=0.2, times=[50.0], n_paths=n
    )  # fmt: skip


def few_runs(n):
    """A simulation of n runs, N = 1000, up to t = 20."""
    simulate(NETWORK, rule="pepita", lr=0.1, times=[20.0], n_runs=n, n_test=100, progress=False)


ON_PROCESSORS = {
    "pepita": (pepita_points, 8), "paths": (paths, 256),
    "1 run": (few_runs, 1), "16 runs": (few_runs, 16), "128 runs": (few_runs, 128),
}  # fmt: skip
"""What is compared with two processors, and of how many points, paths or runs."""


def on_processors(name):
    """Points or paths a second of a process on two processors, and where they end."""
    command = [sys.executable, __file__, "--worker", name]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    ).stdout  # fmt: skip
    return json.loads(output.splitlines()[-1])


def worker(name):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    work, n = ON_PROCESSORS[name]
    work(n)
    took = seconds(lambda: work(n))
    print(json.dumps({"rate": n / took}))


def compare(name, n, small):
    work, few = ON_PROCESSORS[name]
    processors = on_processors(name)["rate"]
    n = few if small else n
    took, first = best(lambda: work(n), 1)
    say(
        f"{name}: {n} in {took:.2f} s, {n / took / processors:.0f} times the {processors:.2f} a "
        f"second of two processors (first call {first:.1f} s)"
    )


def part_right(small):
    initial, teacher = NETWORK.overlaps("afa")
    rates = [0.1, 0.5]
    ours = sweep(initial, teacher, rule="afa", times=[10.0], lr=rates, rtol=1e-10, atol=1e-12)
    theirs = [
        solve(initial, teacher, rule="afa", times=[10.0], lr=lr, rtol=1e-12, atol=1e-14)
        for lr in rates
    ]
    curves = [each.generalization_error[0] for each in theirs]
    say(f"theory: {np.max(np.abs(ours.generalization_error.values[:, 0] - curves)):.1e}")
    network = sample_network(N=200, K=2, M=2)
    for rule in ("pepita-modulated", "dtp", "ff"):
        train = partial(
            simulate, network, rule=rule, lr=0.2, noise=0.1, weight_decay=0.01, times=[5.0],
            n_runs=64 if small else 1024, n_test=10, progress=False,
        )  # fmt: skip
        ways = [train(seed=1), train(seed=2, block=1), train(seed=3, block=16)]
        chained = simulate_chain(
            network, rule=rule, lr=0.2, noise=0.1, weight_decay=0.01, times=[5.0],
            n_runs=64 if small else 4096, n_test=10, seed=4, progress=False,
        )  # fmt: skip
        means, errors = [], []
        for runs in (*ways, chained):
            Q = runs.order_parameters.Q[:, 0].reshape(len(runs.status), -1)
            v = runs.order_parameters.v[:, 0].reshape(len(runs.status), -1)
            both = np.concatenate([Q, v], axis=1)
            means.append(both.mean(0))
            errors.append(both.std(0) / len(both) ** 0.5)
        apart = [
            np.max(np.abs(means[i] - means[1]) / np.hypot(errors[i], errors[1])) for i in (0, 2, 3)
        ]
        say(f"{rule}: kernel, blocks and chain are {np.round(apart, 1)} standard errors from turn")


PARTS = {
    "normal": lambda small: say(f"{normals_a_second(small):.2e} normals a second"),
    "simulate": part_simulate,
    "chain": part_chain,
    "sweep": part_sweep,
    "pepita": lambda small: compare("pepita", 1024, small),
    "paths": lambda small: compare("paths", 10_000, small),
    "runs": lambda small: [compare(f"{n} run{'s' * (n > 1)}", n, small) for n in (1, 16, 128)],
    "right": part_right,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--small", action="store_true", help="a trial of it all on a processor")
    parser.add_argument("--worker", choices=ON_PROCESSORS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    device = jax.local_devices()[0]
    say(f"{device.device_kind}, JAX {jax.__version__}")
    for part in options.part:
        PARTS[part](options.small)


if __name__ == "__main__":
    main()
