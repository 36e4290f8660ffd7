"""Sweeps of simulations: finite networks on the grids on which the theory is swept."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import check_count, check_progress, check_seed, check_times, lookup
from odes.common.chunks import run_chunks
from odes.common.grid import (
    AXES,
    Grid,
    axes_of,
    check_symbols,
    choose_rules,
    entries_of,
    gather,
    labelled,
    make_grid,
)
from odes.common.layers import by_layers
from odes.common.machine import this_machine
from odes.common.order_parameters import STATUS
from odes.common.store import Arrays
from simulations.activations import choose_activation
from simulations.ensembles import Networks
from simulations.networks import Network, check_network
from simulations.rules import Rule, choose_rule, direct_feedback, known_name
from simulations.training.checks import whole_steps
from simulations.training.errors import tested
from simulations.training.online_sgd import DTYPES, simulate


class SimulationJob(NamedTuple):
    """What all points of a sweep share; see ``odes/common/chunks.py``."""

    network: Any
    rules: list[Rule]
    settings: dict[str, Any]
    symbols: tuple[str, ...]
    own: tuple[str, ...]  # axes that are arguments of the network

    def prepare(self) -> Any:
        """A function of the index of a rule and of the parameters of one point."""
        lock = threading.Lock()
        compiled = set()
        with_tasks = "tasks" in self.settings

        def work(index: int, point: dict[str, Any]) -> Arrays:
            training = dict(point)
            N = training.pop("N")
            own = {name: training.pop(name) for name in self.own}
            which = training.pop("initial")
            network = self.network if which is None else self.network[which]
            if not isinstance(network, Network):
                network = check_network(network(N=N, seed=training["seed"], **own))
            kind = index, network.W.shape
            with nullcontext() if kind in compiled else lock:  # one thread compiles
                trajectory = simulate(
                    network, rule=self.rules[index], **training, **self.settings, progress=False
                )
                compiled.add(kind)
            status = [STATUS.index(each) for each in trajectory.status]
            kept = {name: getattr(trajectory.order_parameters, name, None) for name in self.symbols}
            B: Any = kept.get("B")
            if getattr(B, "ndim", 0) > 4:  # of groups of inputs, which send it back together
                kept["B"] = B.sum(axis=2)
            arrays = {
                "generalization_error": trajectory.generalization_error,
                "status": np.array(status, "int8"),
                **({"output_errors": trajectory.output_errors} if with_tasks else {}),
                **by_layers({name: each for name, each in kept.items() if each is not None}),
            }
            return {name: array[None] for name, array in arrays.items()}

        return work


def sweep(
    network: Any,
    *,
    rule: Any,
    times: Any,
    activation: Any = "erf",
    n_runs: int = 1,
    n_test: int = 2000,
    dtype: str = "float32",
    tasks: Any = None,
    order_parameters: Any = (),
    path: Any = None,
    executor: Any = None,
    progress: bool | None = False,
    **axes: Any,
) -> Any:
    """Learning curves of finite networks on a grid of parameters, as a labelled Dataset.

    Each point is what :func:`simulations.simulate` gives there, with the seed of the point (0 if
    none is given, so that all points see the same data), wherever it is computed.  The coordinates
    are those of :func:`odes.sweep`, so that theory and simulation can be subtracted as they are.

    Args:
        network: a Network; a list of them, of as many inputs, or Networks that a simulation
            returned, which make a dimension ``initial`` before the others; or a function
            ``network(N=..., seed=...)`` that returns one, such as
            ``functools.partial(sample_network, K=2, M=2)``, called at every point.  Further
            arguments of it that are numbers >= 0, such as the exponent of a spectrum, may be axes.
        rule: a rule, or a list of rules, or a dictionary of names and rules; the latter two make
            ``rule`` a dimension.
        times, activation, n_runs, n_test, dtype, tasks: as for :func:`simulations.simulate`.
        order_parameters: which to keep, such as ``("R", "B")``; by default only the errors.
        path, executor, progress: as for :func:`odes.sweep`; every point is kept as it finishes.
        **axes: ``lr``, and if wanted ``lr_v``, ``feedback_scale`` (multiplies B and F), ``noise``,
            ``weight_decay``, ``weight_decay_v``, ``seed``, and ``N`` if ``network`` is a function:
            numbers, or one-dimensional arrays, which make dimensions in the order in which they are
            given.  Learning rates and feedback scale may be schedules: the same at all points.

    Returns:
        An ``xarray.Dataset``: ``generalization_error`` (axes, run, time), which for Forward-Forward
        is the share of wrong classes; ``status`` (axes, run), one of "ok", "diverged", and the
        order parameters asked for, with their indices as last dimensions.  ``time`` is as given;
        networks are measured at the nearest whole sample.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    rules = choose_rules(
        rule,
        choose_rule,
        lambda one: known_name(one) or str(getattr(one.update, "__name__", type(one).__name__)),
    )
    times = check_times(times)
    symbols = check_symbols(order_parameters)
    progress = check_progress(progress)
    network, known, own = _networks(network, axes)
    if isinstance(network, list):
        axes = {"initial": range(len(network))} | axes
    grid = make_grid(axes, known)
    n_runs, n_test = check_count("n_runs", n_runs), check_count("n_test", n_test)
    lookup("dtype", DTYPES, dtype)
    choose_activation(activation)
    networks = network if isinstance(network, list) else [network]
    sizes = set(grid.column("N", None)) if callable(network) else networks[0].W.shape[1:]
    for N in sizes:
        whole_steps(times, int(N))
    settings = {
        "times": times, "activation": activation, "n_runs": n_runs, "n_test": n_test, "dtype": dtype
    }  # fmt: skip
    if tasks is not None:
        settings["tasks"] = tasks
    schedules = {name: each.function for name, each in grid.schedules.items()}
    points = [point | schedules for point in _points(grid, tuple(own))]
    plan = [(index, [row]) for index in range(len(rules)) for row in range(len(points))]
    machine = this_machine()
    results = run_chunks(
        SimulationJob(network, list(rules.values()), settings, symbols, tuple(own)),
        [(index, points[row]) for index, (row,) in plan],
        arguments={
            **grid.fixed,
            **grid.axes,
            **schedules,
            "network": network,
            "rule": {name: known_name(one) or one for name, one in rules.items()},
            **settings,
            "order_parameters": symbols,
        },
        layout={"dimensions": list(grid.axes), "device": machine.kind},
        path=path, executor=executor, progress=progress, threads=machine.callers,
    )  # fmt: skip
    entries = entries_of(symbols, rules, plan, results, lambda one: one.feedback is direct_feedback)
    dimensions = {"generalization_error": ("run", "time"), "status": ("run",)}
    if tasks is not None:
        dimensions["output_errors"] = ("run", "time", "o")
    dimensions |= {name: ("run", "time", *each) for name, each in entries.items()}
    return labelled(
        grid,
        rule,
        list(rules),
        activation,
        times,
        dimensions,
        gather(plan, results, len(rules), len(points)),
        {
            **({} if "seed" in grid.axes else {"seed": grid.fixed.get("seed", 0)}),
            "n_test": n_test,
            "averages": tested(n_test),
            "dtype": dtype,
        },
    )


def _networks(network: Any, axes: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The checked network or networks, the axes that there may be, and those of the network."""
    known: dict[str, Any] = {**AXES, "seed": lambda _, seed: check_seed(seed)}
    if isinstance(network, Networks):
        network = [network.run(index) for index in range(network.n_runs)]
    if callable(network):
        known["N"] = check_count
        own = axes_of(network, axes, known)
        if axes.get("N") is None:
            raise ValueError("Argument `N` must be given if `network` is a function, but is None.")
        return network, known | own, own
    if not isinstance(network, list):
        return check_network(network), known, {}
    networks = [check_network(each) for each in network]
    if len({each.W.shape[1] for each in networks}) != 1:
        raise ValueError(
            "Argument `network` must be a list of one or more networks of as many inputs, but has "
            f"those of {[each.W.shape[1] for each in networks]}."
        )
    return networks, known | {"initial": lambda _, index: index}, {}


def _points(grid: Grid, own: tuple[str, ...]) -> list[dict[str, Any]]:
    """The numbers of every point, by name; None where :func:`simulate` has a default.

    Those of the network's ``own`` among them.
    """
    defaults = dict.fromkeys(AXES) | {"noise": 0.0, "weight_decay": 0.0}
    defaults |= {"feedback_scale": 1.0, "seed": 0, "N": None, "initial": None} | dict.fromkeys(own)
    columns = {name: grid.column(name, otherwise).tolist() for name, otherwise in defaults.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
