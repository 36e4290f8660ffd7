"""The learning rate of AFA as a function of time, tuned by gradients through the learning curve.

A student with small weights and noisy labels has a plateau to leave, which wants large steps, and
noise to average over, which wants small ones.
"""

import numpy as np

from figures import finish, paper_style, plot_schedule, variants
from odes import PiecewiseConstant, generalization_error, optimal_schedule, solve
from simulations import sample_network, simulate_chain

network = sample_network(N=300, K=2, M=2, v_star=[1.2, 0.6], student_scale=0.2, seed=0)
initial, teacher = network.overlaps("afa")
training = {"rule": "afa", "noise": 0.5, "times": [200.0]}


def final_error(lr):
    return solve(initial, teacher, lr=lr, **training).generalization_error[0]


jumps = np.arange(20.0, 200.0, 20.0)
annealed = [0.3 / (1 + t / 90) for t in np.arange(10.0, 200.0, 20.0)]
found = optimal_schedule(
    initial, teacher, rule="afa", noise=0.5, t=200.0, lr=PiecewiseConstant(jumps, annealed)
)
protocols = {
    "best constant": min(np.geomspace(0.05, 0.5, 40), key=final_error),
    "ten steps": found.schedules["lr"],
}
with paper_style():
    ax = None
    for (label, lr), look in zip(protocols.items(), variants("afa", 2), strict=True):
        runs = simulate_chain(network, lr=lr, n_runs=100, n_test=1, **training)
        errors = generalization_error(runs.order_parameters, teacher)
        print(
            f"{label}: theory {final_error(lr):.5f}, networks {errors.mean():.5f} "
            f"+- {errors.std() / 10:.5f}"
        )
        line = {"color": look["color"], "ls": look["linestyle"], "label": label}
        ax = plot_schedule(lr, t_max=200.0, ax=ax, **line)
    ax.legend()
    finish(ax.figure).savefig("optimal_schedule.png")
