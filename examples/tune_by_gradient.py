"""Tune learning rate and feedback scale of AFA by gradient descent through the learning curve."""

import jax
import numpy as np
from scipy.optimize import minimize

from figures import finish, paper_style, plot_phase_diagram
from odes import flow, sweep
from simulations import sample_network

initial, teacher = sample_network(N=1000, K=2, M=2, v_star=(1.2, 0.6), seed=2).overlaps("afa")
problem = {"rule": "afa", "times": [10.0], "rtol": 1e-8, "atol": 1e-10}


def log_error(log_parameters):
    lr, scale = jax.numpy.exp(log_parameters)
    curve = flow(initial, teacher, lr=lr, feedback_scale=scale, **problem)
    value = jax.numpy.log(curve.generalization_error[-1])
    return value, value


path = [np.log([0.3, 0.5])]
with jax.enable_x64(True):
    slope_and_value = jax.jit(jax.jacfwd(log_error, has_aux=True))

    def value_and_slope(x):
        slope, value = slope_and_value(x)
        return float(value), np.array(slope)

    found = minimize(value_and_slope, path[0], jac=True, callback=path.append)
lr, scale = np.exp(found.x)
print(f"gradient: lr = {lr:.4f}, feedback scale = {scale:.4f}, error {np.exp(found.fun):.6f}")

rates, scales = np.geomspace(0.2, 12, 60), np.geomspace(0.05, 1.2, 60)
swept = sweep(initial, teacher, lr=rates, feedback_scale=scales, **problem)
best = swept.generalization_error.isel(time=-1)
best = best[best.argmin(("lr", "feedback_scale"))]
print(f"sweep:    lr = {best.lr:.4f}, feedback scale = {best.feedback_scale:.4f}, error {best:.6f}")

with paper_style():
    ax = plot_phase_diagram(swept)
    ax.plot(*np.exp(path).T, "o-", color="white", mec="black", mew=0.5)
    ax.figure.colorbar(ax.collections[0], label=r"generalisation error $\epsilon_g$ at $t$ = 10")
    finish(ax.figure).savefig("tune_by_gradient.png")
