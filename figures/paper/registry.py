"""The figures of the paper by name, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from odes import Teacher, Trajectory, generalization_error, plateau_interval, solve
from simulations import sample_network, simulate

TOLERANCES: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-10}

Curves = dict[str, Trajectory]  # "theory/afa", "simulation/afa", ...
Data = dict[str, Any]  # Trajectories or Datasets, by such names


class PaperFigure(NamedTuple):
    """How a figure is computed and drawn, and its parameters in quick and in full form."""

    compute: Callable[..., Data]
    draw: Callable[[Data], Figure]
    quick: dict[str, Any]
    full: dict[str, Any]


FIGURES: dict[str, PaperFigure] = {}


def paper_figure(draw: Callable[[Data], Figure], *, quick: dict, full: dict) -> Callable:
    """Decorator that registers a function computing the data of the figure of its name."""

    def register(compute: Callable[..., Data]) -> Callable[..., Data]:
        FIGURES[compute.__name__] = PaperFigure(compute, draw, quick, full)
        return compute

    return register


@cache
def theory_and_simulation(
    rule: str,
    *,
    N: int,
    K: int,
    M: int,
    v_star: tuple[float, ...],
    feedback_scale: float,
    lr: float,
    lr_v: float,
    t_max: float,
    n_runs: int,
    seed: int,
    misclassification: bool = False,
) -> Curves:
    """A rule on a network with aligned F, drawn from the seed, and its theory.

    F is aligned, so that the equations hold at any learning rate: with a random F, B would diffuse,
    and the ordinary differential equation would be the wrong theory.  Its overlap S with the
    teacher is v_star; FA's fixed feedback is the one that AFA and PEPITA start from.  The teacher's
    units count unequally; were they equal, each run would specialise in a way of its own, which no
    mean over runs shows.
    """
    network = sample_network(N=N, K=K, M=M, v_star=v_star, feedback_scale=feedback_scale, seed=seed)
    training: dict[str, Any] = {"rule": rule, "lr": lr, "lr_v": lr_v}
    initial, teacher = network.overlaps(rule)
    times = np.geomspace(0.1, t_max, 200)
    theory = solve(
        initial, teacher, times=times, misclassification=misclassification, **TOLERANCES, **training
    )
    simulation = simulate(
        network, times=np.geomspace(0.1, t_max, 17), n_runs=n_runs, seed=seed, **training
    )
    return {f"theory/{rule}": theory, f"simulation/{rule}": simulation}


NETWORK: dict[str, Any] = {"K": 2, "M": 2, "v_star": (1.2, 0.6)}
QUICK: dict[str, Any] = {**NETWORK, "N": 250, "n_runs": 4}
FULL: dict[str, Any] = {**NETWORK, "N": 2000, "n_runs": 6}
ONE_NETWORK: dict[str, Any] = {"feedback_scale": 1.0, "lr": 0.5, "lr_v": 0.5, "t_max": 300.0}


def gather(rules: tuple[str, ...], parameters: dict[str, Any]) -> Curves:
    """The curves of several rules."""
    curves: Curves = {}
    for rule in tqdm(rules, disable=None, leave=False):
        curves |= theory_and_simulation(rule, **parameters)
    return curves


def rules_of(curves: Curves) -> dict[str, tuple[Trajectory, Trajectory]]:
    """(theory, simulation) of each rule."""
    rules = dict.fromkeys(key.split("/")[1] for key in curves)
    return {rule: (curves[f"theory/{rule}"], curves[f"simulation/{rule}"]) for rule in rules}


def from_overlaps(runs: Trajectory, teacher: Teacher) -> Trajectory:
    """The runs with the errors of their overlaps, free of the noise of test inputs."""
    errors = generalization_error(runs.order_parameters, teacher)
    return runs._replace(generalization_error=errors, averages="closed forms")


def length_of_plateau(trajectory: Trajectory, height: float) -> Any:
    begin, end = plateau_interval(trajectory, height)
    return end - begin
