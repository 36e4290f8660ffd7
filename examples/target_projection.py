"""Direct random target projection (Frenkel et al. 2021), in theory and in simulation.

The label alone is sent back, through fixed random weights: ``delta = g' (B y*)``.  What the network
puts out plays no part, so that the hidden units would grow for ever; decay holds them.
"""

import jax.numpy as jnp
import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay
from odes import Update, solve
from odes.rules import FA
from simulations import Rule, sample_network, simulate
from simulations.rules import fixed_feedback, forward


def target_projection(network, sample):
    h, through, e = forward(network, sample)
    return [(through(network.B @ sample.y), sample.x)], jnp.outer(h, e)


class TargetProjection(FA):
    algorithm = Rule(target_projection, fixed_feedback, equivariant=True)

    def update(self, sample):
        delta = sample.through(sample.B @ sample.label)
        return Update(delta, readout=sample.h[:, None] * sample.error)


network = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], B=[-0.5, -0.8], seed=1)
times = np.geomspace(0.1, 30, 65)
training = {"rule": TargetProjection(), "lr": 0.5, "weight_decay": 0.05}
theory = solve(*network.overlaps(TargetProjection()), times=times, **training)
simulation = simulate(network, times=times[::8], n_runs=16, **training)
gap = simulation.generalization_error.mean(axis=0) / theory.generalization_error[::8] - 1
print("simulation over theory, minus 1:", np.round(gap, 3))
with paper_style():
    ax = plot_overlay(theory, simulation, label="target projection")
    finish(add_legend(ax).figure).savefig("target_projection.png")
