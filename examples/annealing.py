"""Learning rates that change with time: a constant, 1/t annealing, and a drop, from noisy labels.

A schedule is any function of t.  One that jumps says when, as PiecewiseConstant does, so that
theory and simulation change it at that very sample.
"""

import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay, variants
from odes import PiecewiseConstant, solve
from simulations import sample_network, simulate

schedules = {
    "constant": 0.8,
    r"$0.8 / (1 + t / 10)$": lambda t: 0.8 / (1 + t / 10),
    "dropped at $t$ = 30": PiecewiseConstant(jumps=[30.0], values=[0.8, 0.1]),
}
network = sample_network(N=300, K=2, M=2, v_star=[1.2, 0.6], seed=0)
initial, teacher = network.overlaps("bp")
times = np.geomspace(0.3, 60, 60)
with paper_style():
    ax = None
    looks = variants("bp", len(schedules))
    for (label, lr), look in zip(schedules.items(), looks, strict=True):
        training = {"rule": "bp", "lr": lr, "noise": 0.3}
        theory = solve(initial, teacher, times=times, **training)
        simulation = simulate(network, times=times[::4], n_runs=4, **training)
        ax = plot_overlay(theory, simulation, label=label, ax=ax, **look)
    finish(add_legend(ax, loc="lower left").figure).savefig("annealing.png")
