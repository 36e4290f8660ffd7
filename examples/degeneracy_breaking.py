"""Among solutions of equal error, feedback alignment picks the one aligned with its feedback.

Eight students of odd units start anywhere; the signs of a unit's weights and of its readout may
change together.  How the readout of each ends up relative to the B that FA has had all along.
"""

import numpy as np

from figures import add_legend, finish, paper_style, plot_distribution
from odes import feedback_angle, solve
from simulations import sample_network, simulate

training = {"lr": 1.5, "times": [200.0]}
networks = [sample_network(N=100, K=2, M=2, student_scale=1.0, seed=seed) for seed in range(8)]
with paper_style():
    ax = None
    for rule in ("bp", "fa", "afa"):
        angles = {"theory": [], "simulation": []}
        for network in networks:
            theory = solve(*network.overlaps(rule), rule=rule, **training)
            runs = simulate(network, rule=rule, n_test=1, **training)
            for kind, run in zip(angles, (theory, runs), strict=True):
                end = run.order_parameters._replace(B=network.B)
                angles[kind].append(feedback_angle(end).item())
        ax = plot_distribution(*map(np.array, angles.values()), rule=rule, ax=ax)
        print(f"{rule}: median angle {np.median(angles['theory']):.0f} degrees")
    ax.set_xlabel("angle of final readout and first feedback (degrees)")
    finish(add_legend(ax).figure).savefig("degeneracy_breaking.png")
