"""Feedback that learns from noise: FA with a fixed B, with a mirror, and mirrored beforehand.

The mirror turns B towards the readout while the network learns, or before; then B stays as it is.
Theory over networks, whose mirrors see real noise.
"""

import matplotlib.pyplot as plt
import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay, variants
from figures.style import ANGLE_LABEL
from odes import feedback_angle, solve
from odes.rules import Mirrored
from simulations import pre_mirrored, sample_network, simulate

network = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], v=[0.6, -0.4], B=[-0.5, 0.8], seed=1)
beside = Mirrored("fa", lr=0.3, noise=1.0, decay=0.3)
times = np.geomspace(0.1, 30, 61)
ways = {
    "fixed": (network, "fa"),
    "mirror": (network, beside),
    "mirrored before": (pre_mirrored(network, rule=beside, t=10.0), "fa"),
}
with paper_style():
    figure, (above, below) = plt.subplots(2, 1, figsize=(3.4, 4.2), sharex=True)
    for (name, (start, rule)), look in zip(ways.items(), variants("fa", 3), strict=True):
        theory = solve(*start.overlaps(rule), rule=rule, lr=0.5, times=times)
        simulation = simulate(start, rule=rule, lr=0.5, times=times[::4], n_runs=8)
        plot_overlay(theory, simulation, ax=below, label=name, **look)
        angle = lambda each: feedback_angle(each.order_parameters)  # noqa: E731
        plot_overlay(theory, simulation, observable=angle, ax=above, **look)
        print(f"{name}: {angle(theory)[40]:.1f} degrees at t = {theory.times[40]:.1f}")
    above.set(xlabel="", ylabel=ANGLE_LABEL)
    add_legend(below)
    finish(figure).savefig("weight_mirrors.png")
