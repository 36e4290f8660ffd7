"""A sweep of AFA against a loop of SciPy's LSODA over a bare NumPy right-hand side.

Three parts.  The sweep: points per second, compilation included, over those of the loop, which is
timed right before and after on 32 of the points and shares no code with the packages.  Memory: time
and peak memory of up to 102,400 points that save the last time only.  The right-hand side: its time
per lane on one core, by number of lanes, over the time of its distinct arcsines, each at the price
of one in a long array.  Every sweep runs in a process of its own.

    python benchmarks/bench_sweep.py [--part rhs sweep memory]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

K = M = 2
T_END, N_TIMES, RTOL, ATOL = 200.0, 60, 1e-6, 1e-9
REPEATS = 200
TIMES = np.linspace(T_END / N_TIMES, T_END, N_TIMES)


def bare_rhs(T, v_star, S, lr):
    """AFA with one output, after Saad & Solla (1995): all I4 at once, by broadcasting."""

    def rhs(t, y):
        Q = y[: K * K].reshape(K, K)
        R = y[K * K : K * K + K * M].reshape(K, M)
        v, B = y[K * K + K * M : -K], y[-K:]
        C = np.block([[Q, R], [R.T, T]])
        U = np.concatenate([v, -v_star])
        d = 1 + np.diag(C)
        Ck = C[:K]
        root = np.sqrt(d[:K, None] * d - Ck**2)
        I2 = 2 / np.pi * np.arcsin(Ck / np.sqrt(d[:K, None] * d))
        dv = -lr * I2 @ U

        # I3[k, u, a] = <g'_k u g_a> for u a unit or the column of F
        u = np.concatenate([C, np.concatenate([B, S])[None]])
        u_k = np.concatenate([Ck, B[:, None]], axis=1)
        I3 = 2 / np.pi / root[:, None, :] * (u - u_k[:, :, None] * (Ck / d[:K, None])[:, None, :])
        first = -lr * B[:, None] * (I3 @ U)

        dk, dl = d[:K, None, None, None], d[None, :K, None, None]
        Ckl = Q[:, :, None, None]
        Cka, Ckb = Ck[:, None, :, None], Ck[:, None, None, :]
        Cla, Clb = Ck[None, :, :, None], Ck[None, :, None, :]
        L4 = dk * dl - Ckl**2
        L0 = L4 * C - Cla * Clb * dk - Cka * Ckb * dl + Ckl * (Cka * Clb + Ckb * Cla)
        L1 = L4 * d[:, None] - Cla**2 * dk - Cka**2 * dl + 2 * Ckl * Cka * Cla
        L2 = L4 * d - Clb**2 * dk - Ckb**2 * dl + 2 * Ckl * Ckb * Clb
        I4 = 4 / np.pi**2 / np.sqrt(L4) * np.arcsin(L0 / np.sqrt(L1 * L2))
        second = lr**2 * np.outer(B, B) * (I4 @ U @ U)

        dQ = first[:, :K] + first[:, :K].T + second
        return np.concatenate([dQ.ravel(), first[:, K : K + M].ravel(), dv, first[:, -1]])

    return rhs


def problem():
    """One initial state for every script: AFA at feedback scale 1."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(K + M, 400)) * np.repeat([[0.5], [1.0]], [K, M], axis=0)
    C = W @ W.T / 400
    v, B = np.array([0.5, 1.5]), rng.normal(size=K)
    return C[:K, :K], C[:K, K:], C[K:, K:], v, np.ones(M), B, np.ones(M)


def axes(n):
    """Learning rates and feedback scales, n points in all."""
    n_scales = 64
    return np.geomspace(0.05, 1.5, n // n_scales), np.linspace(0.2, 2, n_scales)


@np.errstate(invalid="ignore")
def loop(points):
    """Seconds a point of the plain loop, and the final states."""
    Q, R, T, v, v_star, B, S = problem()
    finals = []
    start = time.perf_counter()
    for lr, scale in points:
        solution = solve_ivp(
            bare_rhs(T, v_star, scale * S, lr),
            (0, T_END),
            np.concatenate([Q.ravel(), R.ravel(), v, scale * B]),
            method="LSODA",
            t_eval=TIMES,
            rtol=RTOL,
            atol=ATOL,
        )
        finals.append(solution.y[:, -1])
    return (time.perf_counter() - start) / len(points), finals


def one_sweep(n, times=TIMES):
    """In a fresh process: seconds of the sweep, its final readouts at some points, peak memory."""
    from odes import OrderParameters, Teacher, sweep

    Q, R, T, v, v_star, B, S = problem()
    rates, scales = axes(n)
    start = time.perf_counter()
    result = sweep(
        OrderParameters(Q, R, v, B),
        Teacher(T, v_star, S, np.array([[10.0]])),
        rule="afa",
        times=times,
        lr=rates,
        feedback_scale=scales,
        rtol=RTOL,
        atol=ATOL,
        order_parameters="v" if n < 10**5 else (),
    )
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    final = result.v[..., -1, :, 0].values.reshape(-1, K).tolist() if "v" in result else None
    print(json.dumps({"seconds": seconds, "GiB": memory, "final": final}))


def in_process(*arguments):
    """What a fresh process of this script prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def part_sweep():
    for n in (4096, 16384):
        rates, scales = axes(n)
        chosen = np.random.default_rng(1).permutation(n)[:32]
        points = [(rates[i // len(scales)], scales[i % len(scales)]) for i in chosen]
        before, finals = loop(points)
        swept = in_process("--sweep", n)
        after, _ = loop(points)
        ratio = (before + after) / 2 / (swept["seconds"] / n)
        ours = np.array(swept["final"])[chosen]
        theirs = np.array(finals)[:, K * K + K * M : -K]
        print(
            f"{n} points: {ratio:.0f} times the throughput of the loop "
            f"({1e3 * before:.1f} and {1e3 * after:.1f} ms a point), "
            f"largest difference of a final v {np.nanmax(np.abs(ours - theirs)):.0e}, "
            f"{np.sum(np.isnan(theirs[:, 0]))} points lost by the loop"
        )


def part_memory():
    runs = {n: in_process("--sweep", n, "--last") for n in (25_600, 51_200, 102_400)}
    base = runs[25_600]["seconds"]
    for n, run in runs.items():
        print(
            f"{n} points, last time only: {run['seconds'] / base:.2f} of the time of 25600, "
            f"peak memory {run['GiB']:.2f} GiB"
        )


def part_rhs():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    from odes import RULES, OrderParameters, Teacher, drift, hyperparameters
    from odes.averages.special_functions import arcsine, erf

    def seconds(function, *arguments):
        jax.block_until_ready(function(*arguments))
        best = np.inf
        for _ in range(7):
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            best = min(best, time.perf_counter() - start)
        return best

    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    x = jax.numpy.asarray(rng.uniform(-1, 1, 2**20))
    price = seconds(jax.jit(arcsine), x) / x.size
    slow = seconds(jax.jit(jax.numpy.arcsin), x) / x.size
    print(f"XLA's arcsine takes {slow / price:.1f} times as long as ours ({price * 1e9:.2f} ns)")
    own, slow = (seconds(jax.jit(each), 4 * x) / x.size for each in (erf, jax.scipy.special.erf))
    print(f"XLA's erf takes {slow / own:.1f} times as long as ours ({own * 1e9:.2f} ns)")
    parameters = hyperparameters(lr=0.5)
    one_drift = partial(drift, parameters=parameters, rule=RULES["afa"])

    def many(state, teacher):
        def step(_, state):
            change = jax.vmap(one_drift)(state, teacher)
            return jax.tree.map(lambda y, dy: y + 1e-9 * dy, state, change)

        return jax.lax.fori_loop(0, REPEATS, step, state)

    for K, M in ((2, 2), (8, 4)):
        n = K + M
        distinct = K * (K + 1) // 2 * n * (n + 1) // 2 + K * n - K * (K - 1) // 2
        for lanes in (1, 16, 32, 64, 128, 256):
            W = rng.normal(size=(lanes, n, 50))
            C = W @ W.mT / 50
            v, B = rng.normal(size=(2, lanes, K, 1))
            v_star, S = rng.normal(size=(2, lanes, M, 1))
            state = OrderParameters(C[:, :K, :K], C[:, :K, K:], v, B)
            teacher = Teacher(C[:, K:, K:], v_star, S, np.ones((lanes, 1, 1)))
            arguments = jax.tree.map(jax.numpy.asarray, (state, teacher))
            lane = seconds(jax.jit(many), *arguments) / REPEATS / lanes
            print(
                f"K = {K}, M = {M}, {lanes:3d} lanes: {lane / (distinct * price):4.1f} times "
                f"{distinct} arcsines ({lane * 1e6:.2f} us a lane)"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"rhs": part_rhs, "sweep": part_sweep, "memory": part_memory}
    parser.add_argument("--part", nargs="+", choices=parts, default=["sweep", "memory", "rhs"])
    parser.add_argument("--sweep", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--last", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sweep:
        one_sweep(options.sweep, TIMES[-1:] if options.last else TIMES)
        return
    for part in options.part:
        parts[part]()


if __name__ == "__main__":
    main()
