"""Sweeps of the theory: learning curves over grids of learning rates, feedback scales and more.

The points of a grid are solved side by side in JAX, in batches.  The points of one batch wait for
the slowest, and so points of similar cost share a batch; batches of equal shape make a chunk, which
is what runs on a thread or in a worker, and what is saved.
Importing this module imports JAX.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, PartitionSpec

from odes.averages.quadrature import Points
from odes.common.checks import check_count, check_progress, check_times, completed, renamed
from odes.common.chunks import run_chunks
from odes.common.grid import (
    AXES,
    Grid,
    check_symbols,
    choose_rules,
    entries_of,
    gather,
    is_single,
    labelled,
)
from odes.common.layers import by_layers
from odes.common.machine import ran_out_of_memory, this_machine
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher, state_of
from odes.common.schedules import check_scheduled, jumps_of, probed
from odes.common.store import Arrays
from odes.common.tasks import Task, with_tasks
from odes.problem import Problem, choose, prepare, way_of_averaging
from odes.rules import known_name
from odes.solvers.accurate_chunks import (
    ChunkNodes,
    has_chosen_nodes,
    solved_accurately,
    warn_of_inaccurate_points,
    with_few_nodes,
)
from odes.solvers.batches import chunks_of, default_batch_size
from odes.solvers.flows import check_shape
from odes.solvers.initial_conditions import grid_of
from odes.solvers.jax_integrator import integrate
from odes.solvers.stopping import check_until, distance
from odes.solvers.trajectory import check_average_rtol, check_tolerances

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "generalization_error": ("time",), "output_errors": ("time", "o"), "status": (),
    "n_steps": (), "stopped": (), "average_error": (), "n_nodes": (),
}  # fmt: skip
"""Of what is kept of every point besides order parameters."""


class TheoryJob(NamedTuple):
    """What all chunks of a sweep share; see ``odes/common/chunks.py``."""

    equations: list[partial[Problem]]  # that make the problem of each rule
    times: np.ndarray
    static: dict[str, Any]  # further arguments of :func:`_solve_chunk`
    level: float | None  # the error at which points stop
    average_rtol: float | None

    def prepare(self) -> Any:
        """A function of the index of a rule and of the numbers at its points, (points, n)."""
        own = self.static["schedules"] or self.static["tasks"] or callable(self.static["until"])
        anew = bool(own)  # of this call: not to be kept
        problems = [make() for make in self.equations]
        solvers = [each.jitted(_solve_chunk, anew=anew, **self.static) for each in problems]
        locks = [threading.Lock() for _ in solvers]
        is_compiled = [False for _ in solvers]
        most: dict[int, int] = {}  # points that fit, where some did not

        def solved(index: int, values: np.ndarray, times: np.ndarray, nodes: Any) -> Arrays:
            if len(values) > most.get(index, len(values)):
                halves = [solved(index, each, times, nodes) for each in np.array_split(values, 2)]
                return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
            with (
                jax.enable_x64(True),
                nullcontext() if is_compiled[index] else locks[index],  # one thread compiles
            ):
                try:
                    found = solvers[index](times, values, self.level, nodes)
                    result = jax.tree.map(np.asarray, found)
                    is_compiled[index] = True
                    return result
                except jax.errors.JaxRuntimeError as error:
                    if not ran_out_of_memory(error) or len(values) == 1:
                        raise
            most[index] = -(-len(values) // 2)
            warnings.warn(
                "The device ran out of memory; the sweep goes on with fewer points at a time.",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip
            return solved(index, values, times, nodes)

        def work(index: int, values: np.ndarray) -> Arrays:
            problem, average_rtol = problems[index], self.average_rtol
            if average_rtol is None or not has_chosen_nodes(problem, average_rtol):
                return solved(index, values, self.times, None)

            def at_point(point: int) -> Problem:
                with jax.enable_x64(True):
                    own = _at_point(problem, values[point], self.static)
                    initial, teacher = jax.tree.map(np.asarray, (own.initial, own.teacher))
                return replace(own, initial=initial, teacher=teacher).with_scaled_start()

            return solved_accurately(
                problem, self.times, average_rtol, self.static["rtol"], len(values), at_point,
                partial(solved, index, values),
            )  # fmt: skip

        return work


@renamed(lanes="batch_size")
def sweep(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    times: Any,
    activation: Any = "erf",
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 10_000,
    points: int | Points | None = None,
    average_rtol: float | None = None,
    tasks: Any = None,
    until: Any = None,
    order_parameters: Any = (),
    inputs: Any = None,
    path: Any = None,
    executor: Any = None,
    progress: bool | None = False,
    batch_size: int | None = None,
    **axes: Any,
) -> Any:
    """Learning curves on a grid of parameters, as a labelled Dataset.

    Each point is what :func:`odes.solve` gives there, but solved in JAX, many side by side.  Where
    there is no closed form and some of the noise is not zero, all points are averaged over the
    nodes that noise asks for.  A point that diverges or gets stuck leaves the others as they are.
    For example::

        sweep(initial, teacher, rule=["fa", "afa"], times=times,
              lr=np.geomspace(0.05, 1.5, 64), feedback_scale=np.linspace(0.2, 2, 64))

    Args:
        initial, teacher: as for :func:`odes.solve`; or lists of them, or an OrderParameters whose
            arrays have a first axis more, such as of many sampled networks, which make a dimension
            ``initial`` before the others.
        activation, times, max_steps, points, tasks: as for :func:`odes.solve`.
        average_rtol: as for :func:`odes.solve`, but None for the same nodes at all points; those
            that are solved side by side share their nodes.  Adds ``n_nodes`` and ``average_error``
            (axes), NaN for closed forms and, where more than 256 points are solved side by side,
            for those that were not looked at.
        until: as for :func:`odes.flow`, point by point; adds ``stopped`` (axes), the time.
        rule: a rule, or a list of rules, or a dictionary of names and rules; the latter two make
            ``rule`` a dimension.
        rtol, atol: relative and absolute accuracy.  The steps of the integrator (Tsit5) are held to
            0.03 times these, or to 1e-4 where the rule or the activation is not smooth.  The whole
            solution is as accurate where errors do not grow along it; near the edge of stability,
            at large lr times feedback_scale, they do, and it can be several times less accurate.
        order_parameters: which to keep, such as ``("R", "B")``; by default only the errors.
        inputs: a function of numbers >= 0 that returns an odes.Spectrum, such as
            ``partial(Spectrum.power_law, groups=8)``, whose arguments become axes, here
            ``exponent=[0, 0.5, 1]``; always of as many groups and factors.  They take the place of
            the inputs of the teacher, whose overlaps and those of ``initial`` stay as they are
            (:func:`odes.spread`).
        path: a directory where finished chunks of points are kept.  A sweep that was interrupted,
            by whatever means, and is called again with the same arguments goes on where it stopped
            and returns the same numbers to the last bit.
        executor: a ``concurrent.futures.Executor`` of spawned processes, on this machine or on
            others, such as ``client.get_executor()`` of dask; None for threads of this process.
            Only this process writes to ``path``.
        progress: True shows how far it is, by a bar on a terminal and by a line after each tenth
            elsewhere; None by the bar alone; False not at all.
        batch_size: how many points to solve side by side; None for what is fast.
        **axes: ``lr``, and if wanted ``lr_v``, ``feedback_scale`` (multiplies B and S, and P by its
            square; backpropagation takes no notice), ``noise``, ``weight_decay``,
            ``weight_decay_v``: numbers, or one-dimensional arrays, which make dimensions in the
            order in which they are given.  Learning rates and feedback scale may be schedules, as
            for :func:`odes.flow`: the same at all points.

    Returns:
        An ``xarray.Dataset``: ``generalization_error`` (axes, time), which for Forward-Forward is
        the probability of a wrong class; ``status`` (axes), one of
        "ok", "diverged", "max_steps", "nonfinite", with NaN from where a point stopped, and
        ``n_steps`` (axes) of the integrator; the order parameters asked for, with their indices k,
        l, m, o as last dimensions (Q is (k, l), R is (k, m), v and B are (k, o); B is NaN for
        backpropagation, or absent if that is the only rule).  Fixed parameters and tolerances are
        its attributes, and ``averages``: "closed forms" or over which points, by rule if there is a
        dimension of them.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    rules = choose_rules(rule, lambda one: choose(one, activation)[0], _name_of)
    times = check_times(times)
    tolerances = check_tolerances(rtol, atol, max_steps)._asdict()
    symbols = check_symbols(order_parameters)
    progress, until = check_progress(progress), check_until(until)
    grid, starts = grid_of(initial, teacher, inputs, axes)
    columns = _columns(grid)
    schedules = _schedules(grid, columns, times[-1])
    parameters = with_tasks(columns._replace(**grid.schedules), tasks, check_scheduled)
    tasks = tasks and _as_given(tasks, parameters, times[-1])
    average_rtol = check_average_rtol(average_rtol, points)
    make = partial(
        prepare, *starts.first, activation=activation, points=points, parameters=parameters,
        tasks=tasks,
    )  # fmt: skip
    equations = [with_few_nodes(partial(make, rule=one), average_rtol) for one in rules.values()]
    problems = [make() for make in equations]
    if until is not None:
        distance(problems[0], until)(problems[0].pack(problems[0].initial))
    scalars = np.column_stack(columns[: len(AXES)])
    tables = [np.column_stack([scalars, starts.numbers(each, grid)]) for each in problems]
    machine = this_machine()
    are_chosen = any(has_chosen_nodes(each, average_rtol) for each in problems)
    fast = default_batch_size(problems, len(scalars), len(times), machine, are_chosen)
    batch_size = fast if batch_size is None else check_count("batch_size", batch_size)
    plan = chunks_of(problems, scalars, batch_size, machine, are_chosen)
    level, condition = (until, None) if isinstance(until, float) else (None, until)
    static = tolerances | {"symbols": symbols, "batch_size": batch_size, "schedules": schedules}
    static |= {"tasks": tasks, "until": condition}
    job = TheoryJob(equations, times, static, level, average_rtol)
    given = starts.known and starts.known | {"initial": _union(problems)}
    optional = {"tasks": tasks, "until": until, "average_rtol": average_rtol}
    optional["starts"] = starts if starts.are_axis else None
    results = run_chunks(
        job, [(index, tables[index][chosen]) for index, chosen in plan],
        arguments={
            **grid.fixed, **grid.axes, **dict(schedules), **given, **tolerances,
            "rule": {name: known_name(one) or one for name, one in rules.items()},
            "times": times, "activation": activation, "points": points,
            "order_parameters": symbols, "spectra": starts.spectra,
            **{name: each for name, each in optional.items() if each is not None},
        },
        layout={
            "device": machine.kind, "dimensions": list(grid.axes), "batch_size": batch_size,
            "points in a chunk": len(plan[0][1]),
        },
        path=path, executor=executor, progress=progress, threads=machine.callers,
    )  # fmt: skip
    entries = entries_of(symbols, rules, plan, results, lambda one: one.direct)
    dimensions = DIMENSIONS | {name: ("time", *each) for name, each in entries.items()}
    of_inputs = starts.variances(len(rules))
    gathered = gather(plan, results, len(rules), len(scalars)) | of_inputs
    warn_of_inaccurate_points(gathered, average_rtol)
    return labelled(
        grid, rule, list(rules), activation, times,
        dimensions | dict.fromkeys(of_inputs, ("group",)), gathered,
        {**tolerances, **_averages(rule, rules, problems, average_rtol), **given},
    )  # fmt: skip


def _name_of(rule: Any) -> str:
    """The name of a rule, or of its class."""
    return known_name(rule) or type(rule).__name__


def _averages(
    rule: Any, rules: dict[str, Any], problems: list[Problem], average_rtol: float | None
) -> dict[str, Any]:
    """How averages were taken, by rule if there are several."""
    found = [
        f"nodes for an error of {average_rtol:g}" if has_chosen_nodes(each, average_rtol)
        else way_of_averaging(each.points) for each in problems
    ]  # fmt: skip
    return {"averages": found[0] if is_single(rule) else dict(zip(rules, found, strict=True))}


def _union(problems: list[Problem]) -> Any:
    """A state with all that the problems' states hold."""
    parts: dict[str, Any] = {}
    for each in problems:
        held = each.initial._asdict().items()
        parts |= {name: part for name, part in held if part is not None}
    return state_of(parts)


def _columns(grid: Grid) -> Hyperparameters:
    """The parameters of every point, (points,) each; 1 where a schedule takes their place."""
    otherwise = {"noise": 0.0, "weight_decay": 0.0, "feedback_scale": 1.0}
    otherwise |= dict.fromkeys(grid.schedules, 1.0)
    columns = {name: grid.column(name, otherwise.get(name)) for name in AXES}
    given = {name: None if column[0] is None else column for name, column in columns.items()}
    return completed(given, lambda name, column: column.astype(float))


def _schedules(grid: Grid, columns: Hyperparameters, end: float) -> tuple[tuple[str, Any], ...]:
    """What changes with time, by name, tried up to the last time."""
    first = Hyperparameters(*(float(column[0]) for column in columns[: len(AXES)]))
    in_time = probed(first._replace(**grid.schedules), end)
    for name in grid.schedules:
        check_shape(name, getattr(in_time, name))
    return tuple((name, getattr(in_time, name)) for name in grid.schedules)


def _as_given(tasks: Any, parameters: Hyperparameters, end: float) -> tuple[Task, ...]:
    """The tasks, with rates that were tried up to the last time."""
    in_time = probed(Hyperparameters(1.0, 1.0, 0.0, 0.0, 0.0, rates=parameters.rates), end)
    rates: Any = in_time.rates
    return tuple(task._replace(rate=rate) for task, rate in zip(tasks, rates, strict=True))


def _solve_chunk(
    problem: Problem,
    times: Any,
    values: Any,
    level: Any,
    nodes: ChunkNodes | None,
    *,
    rtol: float,
    atol: float,
    max_steps: int,
    symbols: tuple[str, ...],
    batch_size: int,
    schedules: tuple[tuple[str, Any], ...],
    tasks: Any,
    until: Any,
) -> dict[str, Any]:
    """What is kept of the points with these numbers, (points, n), spread over all devices.

    They are the parameters and, if points have their own, those of state and teacher.
    """

    def one(values: Any, arrays: Any, times: Any, level: Any, nodes: Any) -> dict[str, Any]:
        initial, teacher, points = arrays
        around = replace(problem, initial=initial, teacher=teacher, points=points)
        around = _at_point(around, values, {"schedules": schedules, "tasks": tasks})
        looked_at, how = {}, {}
        if nodes is not None:
            around, how = replace(around, points=nodes.blocks), {"slack": nodes.slack}
        solution = integrate(
            around,
            around.parameters,
            times,
            jumps=np.array(jumps_of(around.parameters, np.inf)),
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            until=until if level is None else level,
            **how,
        )
        if nodes is not None:
            looked_at = {"looked_at": solution.y[nodes.looked_at]}
            solution = solution.at(nodes.kept)
        flow = solution.flow()
        kept = {symbol: getattr(flow.order_parameters, symbol, None) for symbol in symbols}
        B: Any = kept.get("B")
        if getattr(B, "ndim", 0) > 3:  # of groups of inputs, which send it back together
            kept["B"] = B.sum(axis=1)
        return {
            "generalization_error": flow.generalization_error,
            "status": flow.status.astype("int8"),
            "n_steps": flow.n_steps.astype("int32"),
            **looked_at,
            **({} if tasks is None else {"output_errors": flow.output_errors}),
            **({} if until is None and level is None else {"stopped": flow.stopped}),
            **by_layers({name: each for name, each in kept.items() if each is not None}),
        }

    def batch(values: Any, *shared: Any) -> dict[str, Any]:
        return jax.lax.map(lambda row: one(row, *shared), values, batch_size=batch_size)

    devices = jax.local_devices()
    if len(values) % len(devices) == 0 and len(devices) > 1:
        batch = jax.shard_map(
            batch,
            mesh=jax.make_mesh((len(devices),), ("devices",), axis_types=(AxisType.Auto,)),
            in_specs=(PartitionSpec("devices"), *[PartitionSpec()] * 4),
            out_specs=PartitionSpec("devices"),
            check_vma=False,
        )
    arrays = problem.initial, problem.teacher, problem.points
    return batch(values, arrays, times, level, nodes)


def _at_point(problem: Problem, values: Any, static: dict[str, Any]) -> Problem:
    """The problem with the numbers of a point."""
    initial, teacher, own = problem.initial, problem.teacher, values[len(AXES) :]
    if own.size:
        initial, teacher = ravel_pytree((initial, teacher))[1](own)
    parameters = Hyperparameters(*values[: len(AXES)])._replace(**dict(static["schedules"]))
    parameters = with_tasks(parameters, static["tasks"], lambda _, value: value)
    return replace(problem, initial=initial, teacher=teacher, parameters=parameters)
