"""Forward-Forward, and how its top-down form is PEPITA-Hebbian.

Left: the class that Forward-Forward puts out, with two losses.  Right: the negative sample is
x - F e, and the loss the difference of the goodnesses.  For rectified linear units that is
PEPITA-Hebbian, in the equations and in every weight of a network.
"""

import matplotlib.pyplot as plt
import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay
from odes import solve
from simulations import sample_network, simulate

network = sample_network(
    N=1500, K=2, M=2, v=[0.5, -0.4], v_star=[1.2, 0.6], feedback_scale=0.5, seed=2
)
times = np.geomspace(0.1, 10, 28)


def curves(rule, **training):
    """Theory and simulation."""
    theory = solve(*network.overlaps(rule), rule=rule, times=times, points=2**14, **training)
    return theory, simulate(network, rule=rule, times=times[::3], n_runs=8, **training)


with paper_style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.6))
    for rule in ("ff", "ff-symba"):
        plot_overlay(*curves(rule, lr=1.0), rule=rule, ax=left)
    left.set(ylabel="probability of a wrong class")
    both = [curves(rule, lr=0.2, activation="relu") for rule in ("pepita-hebbian", "ff-topdown")]
    plot_overlay(*both[0], rule="pepita-hebbian", ax=right)
    plot_overlay(*both[1], rule="ff-topdown", color="black", marker="x", ax=right)
    for ax in (left, right):
        add_legend(ax)
    finish(figure).savefig("forward_forward.png")
for kind, pair in zip(("theory", "simulation"), zip(*both, strict=True), strict=True):
    ours, other = (each.order_parameters.R for each in pair)
    print(f"largest difference of R, {kind}: {np.max(np.abs(ours - other)):.8f}")
