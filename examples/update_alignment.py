"""Align, then memorise: angles of feedback and of updates in feedback alignment and in AFA.

The feedback B turns from the readout v, or towards it; so does the update of the hidden weights
from the one that backpropagation would make.
"""

import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay, variants
from odes import feedback_angle, solve, update_angle
from simulations import sample_network, simulate

network = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], seed=0)
times = np.geomspace(0.1, 100, 25)
with paper_style():
    ax = None
    for rule in ("fa", "afa"):
        initial, teacher = network.overlaps(rule)

        def of_feedback(trajectory):
            return feedback_angle(trajectory.order_parameters)

        def of_updates(trajectory, rule=rule, teacher=teacher):
            return update_angle(trajectory.order_parameters, teacher, rule=rule)

        theory = solve(initial, teacher, rule=rule, lr=0.5, times=times)
        simulation = simulate(network, rule=rule, lr=0.5, times=times[::2], n_runs=4)
        for angle, name, look in zip(
            (of_feedback, of_updates), ("feedback", "updates"), variants(rule, 2), strict=True
        ):
            label = f"{rule.upper()}, {name}"
            ax = plot_overlay(theory, simulation, observable=angle, label=label, ax=ax, **look)
    ax.set_ylabel("angle with backpropagation (degrees)")
    finish(add_legend(ax).figure).savefig("update_alignment.png")
