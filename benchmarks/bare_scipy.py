"""The yardstick: backpropagation as a physicist's script has it, NumPy and SciPy and nothing else.

It shares no code with the packages.  All K x K x (K+M) x (K+M) averages are formed at once by
broadcasting, as written in Saad & Solla (1995), and the state is the plain concatenation of Q, R
and v.

    python benchmarks/bare_scipy.py [K] [M] [t]
"""

import json
import sys
import time

import numpy as np
from scipy.integrate import solve_ivp


def make_rhs(K, M, T, v_star, lr):
    def rhs(t, y):
        Q = y[: K * K].reshape(K, K)
        R = y[K * K : K * K + K * M].reshape(K, M)
        v = y[K * K + K * M :]
        C = np.block([[Q, R], [R.T, T]])
        U = np.concatenate([v, -v_star])
        d = 1 + np.diag(C)
        Ck = C[:K]
        root = np.sqrt(d[:K, None] * d - Ck**2)

        I2 = 2 / np.pi * np.arcsin(Ck / np.sqrt(d[:K, None] * d))
        dv = -lr * I2 @ U

        # I3[k, u, a] = <g'_k u g_a> for u any unit
        I3 = 2 / np.pi / root[:, None, :] * (C - Ck[:, :, None] * (Ck / d[:K, None])[:, None, :])
        first = -lr * v[:, None] * (I3 @ U)

        dk, dl = d[:K, None, None, None], d[None, :K, None, None]
        Ckl = Q[:, :, None, None]
        Cka, Ckb = Ck[:, None, :, None], Ck[:, None, None, :]
        Cla, Clb = Ck[None, :, :, None], Ck[None, :, None, :]
        L4 = dk * dl - Ckl**2
        L0 = L4 * C - Cla * Clb * dk - Cka * Ckb * dl + Ckl * (Cka * Clb + Ckb * Cla)
        L1 = L4 * d[:, None] - Cla**2 * dk - Cka**2 * dl + 2 * Ckl * Cka * Cla
        L2 = L4 * d - Clb**2 * dk - Ckb**2 * dl + 2 * Ckl * Ckb * Clb
        I4 = 4 / np.pi**2 / np.sqrt(L4) * np.arcsin(L0 / np.sqrt(L1 * L2))
        second = lr**2 * np.outer(v, v) * (I4 @ U @ U)

        dQ = first[:, :K] + first[:, :K].T + second
        return np.concatenate([dQ.ravel(), first[:, K:].ravel(), dv])

    return rhs


def initial_state(K, M):
    """One state for every script: a random student of norm about 1/2, and Q, R, T, v, v_star."""
    W = np.random.default_rng(0).normal(size=(K + M, 400))
    C = W @ W.T / 400
    scale = np.concatenate([np.full(K, 0.5), np.ones(M)])
    C = C * scale[:, None] * scale
    return C[:K, :K], C[:K, K:], C[K:, K:], np.linspace(0.5, 1.5, K), np.ones(M)


if __name__ == "__main__":
    K, M, t_end = (int(arg) for arg in sys.argv[1:4]) if len(sys.argv) > 3 else (2, 2, 1000)
    Q, R, T, v, v_star = initial_state(K, M)
    times = np.geomspace(0.1, t_end, 60)
    rhs = make_rhs(K, M, T, v_star, 0.5)
    start = time.perf_counter()
    solution = solve_ivp(
        rhs,
        (0, t_end),
        np.concatenate([Q.ravel(), R.ravel(), v]),
        method="LSODA",
        t_eval=times,
        rtol=1e-8,
        atol=1e-10,
    )
    seconds = time.perf_counter() - start
    Q, R, v = np.split(solution.y[:, -1], [K * K, K * K + K * M])
    C = np.block([[Q.reshape(K, K), R.reshape(K, M)], [R.reshape(K, M).T, T]])
    U, d = np.concatenate([v, -v_star]), 1 + np.diag(C)
    error = U @ np.arcsin(C / np.sqrt(np.outer(d, d))) @ U / np.pi
    print(
        json.dumps({"integration": seconds, "generalization_error": error, "nfev": solution.nfev})
    )
