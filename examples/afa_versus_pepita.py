"""Adaptive feedback alignment, exact PEPITA, and a network that runs each."""

import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay
from odes import solve
from simulations import sample_network, simulate

network = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], feedback_scale=0.5, seed=0)
times = np.geomspace(0.1, 50, 25)
with paper_style():
    ax = None
    for rule in ("afa", "pepita"):
        theory = solve(*network.overlaps(rule), rule=rule, lr=0.5, times=times)
        simulation = simulate(network, rule=rule, lr=0.5, times=times, n_runs=4)
        ax = plot_overlay(theory, simulation, rule=rule, ax=ax)
    finish(add_legend(ax).figure).savefig("afa_versus_pepita.png")
