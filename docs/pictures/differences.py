"""Eight ways in which theory and networks come to differ, and what mends each.

Draws differences.png and prints the numbers of docs/differences.md, in a few minutes.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter
from scipy.special import erf

from figures import paper_style
from figures.style import ERROR_LABEL, TIME_LABEL
from odes import (
    OrderParameters,
    Spectrum,
    Teacher,
    generalization_error,
    solve,
    solve_paths,
    widening_shares,
)
from simulations import network_with_overlaps, sample_network, simulate, simulate_chain

TIMES = np.geomspace(0.1, 100, 61)
SEEN = TIMES[::6]
PRINTED = (*SEEN[3:], 2, 5, 10, 20, 10**2.5, 1000)
WRONG, RIGHT = {"color": "0.55", "ls": "--"}, {"color": "C0"}


def line(ax, name, times, errors, **look):
    ax.plot(times, errors, **look)
    show(name, times, errors)


def marks(ax, name, runs, errors=None, color="C1", marker="o"):
    errors = runs.generalization_error if errors is None else errors
    mean, error = errors.mean(axis=0), errors.std(axis=0, ddof=1) / len(errors) ** 0.5
    ax.errorbar(runs.times, mean, error, color=color, ls="", marker=marker, mfc="white")
    show(name, runs.times, mean)
    show("standard error", runs.times, error)


def show(name, times, numbers):
    at = [np.flatnonzero(np.isclose(times, t, rtol=0.01)) for t in PRINTED]
    print(f"{name:28s}", *(f"{times[i[0]]:.3g}: {numbers[i[0]]:.4f} " for i in at if i.size))


def units(ax):
    network = sample_network(N=1000, K=2, M=2, v_star=[1.2, 0.6], seed=0)
    initial, teacher = network.overlaps("bp")
    runs = simulate(network, rule="bp", lr=0.5, times=SEEN, n_runs=8)
    small = initial._replace(Q=initial.Q / 1000, R=initial.R / 1000**0.5)
    for name, state, lr in (("lr of the script", initial, 0.0005), ("w for W", small, 0.5)):
        theory = solve(state, teacher, rule="bp", lr=lr, times=TIMES)
        line(ax, name, TIMES, theory.generalization_error, **WRONG)
    theory = solve(initial, teacher, rule="bp", lr=0.5, times=TIMES)
    line(ax, "in units", TIMES, theory.generalization_error, **RIGHT)
    marks(ax, "networks", runs)


def inputs(ax):
    spectrum = Spectrum.power_law(1.0, N=1000, groups=widening_shares(1000, 12))
    network = sample_network(N=1000, K=2, M=2, v_star=[1.2, 0.6], inputs=spectrum, seed=0)
    runs = simulate(network, rule="bp", lr=0.5, times=SEEN, n_runs=8)
    for name, each, look in (
        ("white", network._replace(inputs=None), WRONG),
        ("with the spectrum", network, RIGHT),
    ):
        theory = solve(*each.overlaps("bp"), rule="bp", lr=0.5, times=TIMES)
        line(ax, name, TIMES, theory.generalization_error, **look)
    marks(ax, "networks", runs)


def repeated(ax):
    network = sample_network(N=300, K=2, M=2, v_star=[1.2, 0.6], seed=0)
    initial, teacher = network.overlaps("bp")
    theory = solve(initial, teacher, rule="bp", lr=0.5, noise=0.3, times=TIMES)
    line(ax, "theory", TIMES, theory.generalization_error, **RIGHT)
    for P, color, marker in ((600, "C3", "s"), (6000, "C1", "o")):
        X = np.random.default_rng(1).standard_normal((P, 300))
        y = labels(network, X) + 0.3 * np.random.default_rng(2).standard_normal((P, 1))
        runs = simulate(network, rule="bp", lr=0.5, times=SEEN, n_runs=8, data=X, labels=y)
        fresh = generalization_error(runs.order_parameters, teacher)
        marks(ax, f"{P // 300} N samples", runs, fresh, color, marker)


def labels(network, X):
    return erf(X @ network.W_star.T / (2 * X.shape[1]) ** 0.5) @ network.v_star


def random_feedback(ax):
    network = sample_network(N=1000, K=2, M=2, v_star=[1.2, 0.6], feedback="random", seed=0)
    initial, teacher = network.overlaps("afa")
    runs = simulate(network, rule="afa", lr=1.0, times=SEEN, n_runs=32)
    theory = solve(initial, teacher, rule="afa", lr=1.0, times=TIMES)
    paths = solve_paths(initial, teacher, rule="afa", lr=1.0, times=TIMES, n_paths=256)
    line(ax, "solve", TIMES, theory.generalization_error, **WRONG)
    line(ax, "solve_paths", TIMES, paths.generalization_error.mean(axis=0), **RIGHT)
    marks(ax, "networks", runs)


def large_steps(ax):
    seen = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20])
    times = np.unique(np.concatenate([seen, TIMES[TIMES < 20]]))
    initial, teacher = sample_network(N=1000, K=2, M=2, seed=0).overlaps("bp")
    training = {"rule": "bp", "activation": "relu"}
    theory = solve(initial, teacher, lr=10.0, times=times, **training)
    line(ax, "theory, lr 10", times, theory.generalization_error, **RIGHT)
    theory = solve(initial, teacher, lr=60.0, times=times, **training)
    line(ax, "theory, lr 60", times, theory.generalization_error, color="0.55", ls=":")
    for N, n_runs, color, marker in ((1000, 32, "C3", "s"), (30_000, 16, "C1", "o")):
        network = network_with_overlaps(initial, teacher, N=N)
        runs = simulate_chain(network, lr=10.0, times=seen, n_runs=n_runs, **training)
        marks(ax, f"N = {N}", runs, None, color, marker)
    network = network_with_overlaps(initial, teacher, N=1000)
    runs = simulate(network, lr=60.0, times=seen, n_runs=8, **training)
    print("lr 60, N = 1000:", runs.status)
    network = network_with_overlaps(initial, teacher, N=30_000)
    runs = simulate_chain(network, lr=60.0, times=seen, n_runs=16, **training)
    print("lr 60, N = 30,000:", runs.status)
    show("mean", seen, runs.generalization_error.mean(axis=0))


def small(ax):
    network = sample_network(N=50, K=2, M=2, v_star=[1.2, 0.6], seed=0)
    initial, teacher = network.overlaps("bp")
    runs = simulate(network, rule="bp", lr=0.5, times=SEEN, n_runs=200, n_test=10)
    errors = generalization_error(runs.order_parameters, teacher)
    theory = solve(initial, teacher, rule="bp", lr=0.5, times=TIMES, fluctuations=True)
    mean = theory.generalization_error
    spread, bias = theory.fluctuations.std(N=50), theory.fluctuations.bias / 50
    line(ax, "theory", TIMES, mean, **RIGHT)
    show("its standard deviation", TIMES, spread)
    show("its bias", TIMES, bias)
    low = np.maximum(mean - spread, 1e-4)
    ax.plot(SEEN, errors[:12].T, color="C1", lw=0.4, alpha=0.6, zorder=1)
    ax.fill_between(TIMES, low, mean + spread, color="C0", alpha=0.3, lw=0)
    marks(ax, "networks", runs, errors)
    show("standard deviation of runs", SEEN, errors.std(axis=0, ddof=1))


def symmetric(ax):
    times, seen = np.geomspace(1, 1000, 61), np.geomspace(1, 1000, 13)
    teacher = Teacher(T=np.eye(2), v_star=np.ones(2))
    state = OrderParameters(Q=0.25 * np.eye(2), R=np.zeros((2, 2)), v=np.ones(2))
    training = {"rule": "bp", "lr": 0.3, "lr_v": 0.0}
    stuck = solve(state, teacher, times=times, **training)
    line(ax, "symmetric", times, stuck.generalization_error, **WRONG)
    network = sample_network(N=1000, K=2, M=2, v=[1.0, 1.0], seed=0)
    theory = solve(*network.overlaps("bp"), times=times, **training)
    line(ax, "measured", times, theory.generalization_error, **RIGHT)
    runs = simulate(network, times=seen, n_runs=4, **training)
    marks(ax, "networks", runs)


def coarse(ax):
    network = sample_network(N=1000, K=3, M=3, v_star=[1.2, 0.9, 0.6], seed=0)
    initial, teacher = network.overlaps("pepita")
    for points, look in ((2**6, WRONG), (2**9, {**WRONG, "ls": ":"}), (None, RIGHT)):
        theory = solve(initial, teacher, rule="pepita", lr=0.5, times=TIMES, points=points)
        line(ax, theory.averages, TIMES, theory.generalization_error, **look)
    marks(ax, "networks", simulate(network, rule="pepita", lr=0.5, times=SEEN, n_runs=8))


PANELS = {
    "units": units,
    "inputs with a covariance": inputs,
    "data that repeat": repeated,
    "random $F$": random_feedback,
    "steps too large": large_steps,
    "small $N$": small,
    "exact symmetry": symmetric,
    "coarse averages": coarse,
}

with paper_style():
    figure, axes = plt.subplots(2, 4, figsize=(7.2, 3.8))
    for place, (ax, (title, draw)) in enumerate(zip(axes.flat, PANELS.items(), strict=True)):
        print(f"\n{title}")
        draw(ax)
        ax.set(xscale="log", yscale="log", title=f"{place + 1}  {title}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    for ax in axes[:, 0]:
        ax.set_ylabel(ERROR_LABEL)
    for ax in axes[1]:
        ax.set_xlabel(TIME_LABEL)
    figure.savefig("differences.png")
