"""A learning rule that the packages do not have, in theory and in simulation.

Sign-error feedback sends back the sign of the error alone: ``delta = g' (B sign(e))``.  Each side
is one short definition, and one object stands for both.  The update jumps where the error changes
sign, so that the rule says that it is not smooth, and its theory is averaged over Sobol points.
"""

import jax.numpy as jnp
import numpy as np

from figures import add_legend, finish, paper_style, plot_overlay
from odes import Update, solve
from odes.rules import AFA
from simulations import Rule, sample_network, simulate
from simulations.rules import forward, overlap_with_F


def sign_error(network, sample):
    """Algorithm: on the weights of a network; returns dW, as pairs of factors, and dv."""
    h, through, e = forward(network, sample)
    fed_back = sample.fields(network.F @ jnp.sign(e))
    return [(through(fed_back), sample.x)], jnp.outer(h, e)


class SignError(AFA):
    """Theory: in terms of one sample's local fields; B moves with W as in AFA."""

    smooth = False
    algorithm = Rule(sign_error, overlap_with_F)

    def update(self, sample):
        fed_back = sample.B @ jnp.sign(sample.error)
        return Update(delta=sample.through(fed_back), readout=sample.h[:, None] * sample.error)


network = sample_network(N=500, K=2, M=2, v_star=[1.2, 0.6], seed=0)
training = {"rule": SignError(), "lr": 0.2, "lr_v": 0.4, "times": np.geomspace(0.1, 30, 15)}
theory = solve(*network.overlaps(SignError()), **training)
simulation = simulate(network, n_runs=8, **training)
gap = simulation.generalization_error.mean(axis=0) / theory.generalization_error - 1
print("simulation over theory, minus 1:", np.round(gap, 3))
with paper_style():
    ax = plot_overlay(theory, simulation, label="sign of the error")
    finish(add_legend(ax).figure).savefig("own_rule.png")
