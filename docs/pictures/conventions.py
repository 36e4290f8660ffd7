"""Known answers, and networks in the conventions of other papers, against the theory.

Draws conventions.png and prints the numbers of docs/conventions.md, in two minutes.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import erf

from figures import paper_style
from figures.style import ERROR_LABEL, TIME_LABEL
from odes import (
    OrderParameters,
    Teacher,
    critical_learning_rate,
    fixed_point,
    solve,
    symmetric_plateau,
)

BP = {"rule": "bp", "lr_v": 0.0}


def committee(K, *, Q=1.0, R=1.0):
    """A soft committee machine, and its teacher."""
    student = OrderParameters(Q=Q * np.eye(K), R=R * np.eye(K), v=np.ones(K))
    return student, Teacher(T=np.eye(K), v_star=np.ones(K))


def check(name, found, known):
    print(f"{name:50s} {found:.7g}  known {known:.7g}  apart {abs(found / known - 1):.0e}")


def known_answers():
    for K, known in ((1, np.pi * 15**0.5 / 3), (2, 2.3068277), (3, 1.6206745), (4, 1.2493928)):
        check(f"critical lr, K = {K}", critical_learning_rate(*committee(K), **BP), known)
    for K in (2, 3, 4):
        plateau = symmetric_plateau(*committee(K, Q=0.25, R=0.01), lr=1e-4, **BP)
        check(f"plateau, K = {K}", plateau.generalization_error, height(K))
        rate = 2 * K / np.pi * (2 * K - 1) ** -0.5 * (2 * K + 1) ** -1.5
        check(f"rate of escape / lr, K = {K}", plateau.escape_rate / 1e-4, rate)
    floor = fixed_point(*committee(1), lr=0.01, noise=0.01, **BP).generalization_error
    known = 0.01 * 0.01**2 / (2 * 3**0.5 * np.pi) / (1 - 0.01 / (np.pi * 15**0.5 / 3))
    check("error left by label noise, K = 1", floor, known)
    start = committee(1, Q=0.25, R=0.1)
    line = solve(*start, lr=0.5, times=[0.0, 4.0], activation="linear", **BP).generalization_error
    check("decay of a linear unit", np.log(line[0] / line[1]) / 4, 2 * 0.5 - 0.5**2)
    fa = OrderParameters(Q=[[0.25]], R=[[0.1]], v=[0.5], B=[-1.0])
    end = solve(fa, start[1], rule="fa", lr=0.5, times=[1000.0]).order_parameters
    check("readout that FA finds for B = -1", end.v[0, 0, 0], -1.0)


def height(K):
    """Of the plateau, by Saad and Solla (1995)."""
    return K / np.pi * (np.pi / 6 - K * np.arcsin(1 / (2 * K)))


def train(w, a, w_star, a_star, rates, *, g, slope, before=1.0, std=1.0, times, seed):
    """Fields w x, inputs of standard deviation std, output ``before`` times a weighted sum."""
    rng, N, errors, sample = np.random.default_rng(seed), w.shape[1], [], 0
    test = std * rng.normal(size=(5000, N))
    for t in times:
        while sample < t * N:
            x = std * rng.normal(size=N)
            z = w @ x
            e = before * (g(z) @ a - g(w_star @ x) @ a_star)
            w = w - rates[0] * np.outer(before * slope(z) * a * e, x)
            a = a - rates[1] * before * g(z) * e
            sample += 1
        e = before * (g(test @ w.T) @ a - g(test @ w_star.T) @ a_star)
        errors.append(np.mean(e**2) / 2)
    return np.array(errors)


def ours(z):
    return erf(z / 2**0.5)


def slope_of_ours(z):
    return (2 / np.pi) ** 0.5 * np.exp(-(z**2) / 2)


def slope_of_erf(z):
    return 2 / np.pi**0.5 * np.exp(-(z**2))


def other_conventions(ax, N=400, lr=0.5, runs=8):
    """One network in four conventions: rates of w and of the readout, then what is else."""
    rng, K = np.random.default_rng(0), 2
    W, W_star = rng.normal(size=(K, N)) / 2, rng.normal(size=(2, N))
    v, v_star, times = np.array([0.8, -0.5]), np.array([1.2, 0.6]), np.array([1.0, 2, 5, 10, 20])
    state = OrderParameters(Q=W @ W.T / N, R=W @ W_star.T / N, v=v)
    teacher = Teacher(T=W_star @ W_star.T / N, v_star=v_star)
    fine = np.geomspace(0.5, 20, 100)
    curve = solve(state, teacher, rule="bp", lr=lr, times=fine)
    ax.plot(fine, curve.generalization_error, color="black", label="theory")
    expected = solve(state, teacher, rule="bp", lr=lr, times=times).generalization_error
    print("theory", expected.round(4))
    root = N**0.5
    same = {"g": ours, "slope": slope_of_ours}
    for (name, scale, a, rates, options), marker in zip(
        (
            ("fields $w x$", root, 1, (lr / N, lr / N), same),
            ("erf($z$)", root * 2**0.5, 1, (lr / N / 2, lr / N), {"g": erf, "slope": slope_of_erf}),
            ("output / $K$", root, K, (lr / N, lr / N * K**2), {**same, "before": 1 / K}),
            ("inputs of variance 4", 2 * root, 1, (lr / N / 4, lr / N), {**same, "std": 2.0}),
        ),
        "osD^",
        strict=True,
    ):
        found = [
            train(
                W / scale, a * v, W_star / scale, a * v_star, rates, times=times, seed=s, **options
            )
            for s in range(runs)
        ]
        mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / runs**0.5
        print(name, mean.round(4), error.round(4))
        ax.errorbar(times, mean, error, ls="", marker=marker, mfc="none", label=name)
    ax.set(xscale="log", yscale="log", xlabel=TIME_LABEL, title="four conventions, one curve")
    ax.legend()


with paper_style():
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.6))
    known_answers()
    for K, color in ((2, "C0"), (3, "C1"), (4, "C2")):
        student, teacher = committee(K, Q=0.25)
        R = 1e-4 * np.eye(K)
        scaled = np.geomspace(0.1, 400, 200)
        curve = solve(student._replace(R=R), teacher, lr=0.01, times=scaled / 0.01, **BP)
        left.plot(scaled, curve.generalization_error, color=color, label=f"K = M = {K}")
        left.axhline(height(K), color=color, ls=":", lw=0.8)
        rates = np.linspace(0.2, 3, 30)
        growth = [fixed_point(*committee(K), lr=lr, **BP).escape_rate for lr in rates]
        middle.plot(rates, growth, color=color)
        middle.plot({2: 2.3068, 3: 1.6207, 4: 1.2494}[K], 0, "o", color=color)
    left.set(xscale="log", yscale="log", ylim=(1e-3, 2), xlabel=r"$\eta_w t$", ylabel=ERROR_LABEL)
    left.set(title="plateaus")
    left.legend(loc="lower left")
    middle.axhline(0, color="black", lw=0.6)
    middle.set(
        ylim=(-0.15, 0.4),
        xlabel=r"$\eta_w$",
        ylabel="growth of deviations",
        title="critical learning rates",
    )
    other_conventions(right)
    figure.savefig("conventions.png")
