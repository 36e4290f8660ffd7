"""Node perturbation, a rule with noise of its own, in theory and in simulation.

It tries noise xi of standard deviation s on the fields of the hidden units, and moves them along it
by how much lower the loss is: ``delta = (loss with xi - loss without) xi / s^2``, without any
derivative.  The rule says that it ``draws`` one normal number for each unit; networks draw them,
and the theory averages over them.
"""

import jax.numpy as jnp
import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay
from odes import Update, solve
from odes.rules import BP
from simulations import Rule, sample_network, simulate
from simulations.rules import forward, no_feedback

S = 0.5


def node_perturbation(network, sample):
    """Algorithm: two passes, one of them with noise; returns dW, as pairs of factors, and dv."""
    h, _, e = forward(network, sample)
    h_noisy = sample.g(sample.fields(sample.x) + S * sample.xi)
    e_noisy = h_noisy @ network.v - sample.y
    delta = (jnp.sum(e_noisy**2) - jnp.sum(e**2)) / 2 * sample.xi / S
    return [(delta, sample.x)], jnp.outer(h, e)


class NodePerturbation(BP):
    """Theory: in terms of one sample's local fields and its noise; B is v, and not looked at."""

    draws = ("K",)
    algorithm = Rule(node_perturbation, no_feedback, equivariant=True, draws=("K",))

    def update(self, sample):
        def loss(fields):
            return jnp.sum((sample.g(fields) @ sample.v - sample.label) ** 2) / 2

        gain = loss(sample.fields + S * sample.xi) - loss(sample.fields)
        return Update(gain * sample.xi / S, readout=sample.h[:, None] * sample.error)


network = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], v=[0.6, -0.4], seed=1)
times = np.geomspace(0.1, 20, 65)
training = {"rule": NodePerturbation(), "lr": 0.2}
theory = solve(*network.overlaps(NodePerturbation()), times=times, **training)
simulation = simulate(network, times=times[::8], n_runs=16, **training)
gap = simulation.generalization_error.mean(axis=0) / theory.generalization_error[::8] - 1
print("simulation over theory, minus 1:", np.round(gap, 3))
with paper_style():
    ax = plot_overlay(theory, simulation, label="node perturbation")
    finish(add_legend(ax).figure).savefig("node_perturbation.png")
