"""The symmetric plateau of BP and AFA: predicted height and length, and what a student does."""

import numpy as np

from figures import add_legend, finish, paper_style, plot_height, plot_overlay
from odes import (
    OrderParameters,
    Teacher,
    escape_time,
    generalization_error,
    plateau_interval,
    solve,
    symmetric_plateau,
)
from simulations import network_with_overlaps, simulate_chain

K, lr = 2, 0.7
ones, times = np.ones((K, 1)), np.linspace(0, 150, 300)
student = OrderParameters(Q=0.25 * np.eye(K), R=0.03 * np.eye(K), v=ones, B=0.8 * ones)
teacher = Teacher(T=np.eye(K), v_star=ones, S=0.8 * ones)
network = network_with_overlaps(student, teacher, N=2000, seed=0)
with paper_style():
    ax = None
    for rule in ("bp", "afa"):
        training = {"rule": rule, "lr": lr, "lr_v": 0.0}
        plateau = symmetric_plateau(student, teacher, **training)
        theory = solve(student, teacher, times=times, **training)
        runs = simulate_chain(network, times=times[::25], n_runs=16, n_test=1, **training)
        errors = generalization_error(runs.order_parameters, teacher)
        ax = plot_overlay(theory, runs._replace(generalization_error=errors), rule=rule, ax=ax)

        height = plateau.generalization_error
        start, end = plateau_interval(theory, height)
        half = np.searchsorted(times, (start + end) / 2)
        states = (a if a is None else a[half] for a in theory.order_parameters)
        left = escape_time(plateau, OrderParameters(*states), teacher)
        plot_height(height, start, times[half] + left, color=ax.lines[0].get_color(), ax=ax)
        print(
            f"{rule}: height {height:.5f}, escape rate {plateau.escape_rate:.4f}, "
            f"left at t = {end:.1f}, predicted half-way {times[half] + left:.1f}"
        )
    ax.set(xscale="linear")
    finish(add_legend(ax).figure).savefig("symmetric_plateau.png")
