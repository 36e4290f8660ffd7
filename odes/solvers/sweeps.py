"""Sweeps of the theory: learning curves over grids of learning rates, feedback scales and more.

The points of a grid are solved side by side by :func:`odes.solvers.flows.integrate`, in batches.
The points of one batch wait for the slowest, and so points of similar cost share a batch; batches
of equal shape make a chunk, which is what runs on a thread or in a worker, and what is saved.
Importing this module imports JAX.
"""

from __future__ import annotations

import math
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
from odes.common.checks import check_count, check_progress, check_times, completed, quoted, renamed
from odes.common.chunks import run_chunks
from odes.common.grid import (
    AXES,
    Grid,
    axes_of,
    check_symbols,
    choose_rules,
    entries_of,
    gather,
    is_single,
    labelled,
    make_grid,
)
from odes.common.layers import by_layers, is_deep
from odes.common.machine import ran_out_of_memory, this_machine
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher, state_of
from odes.common.overlaps import check_states
from odes.common.schedules import jumps_of, probed
from odes.common.spectrum import check_spectrum
from odes.common.store import Arrays
from odes.problem import Problem, choose, prepare, way_of_averaging
from odes.rules import known_name
from odes.solvers.batches import chunks_of, default_batch_size
from odes.solvers.flows import check_shape, integrate
from odes.solvers.trajectory import check_tolerances


class TheoryJob(NamedTuple):
    """What all chunks of a sweep share; see ``odes/common/chunks.py``."""

    equations: list[partial[Problem]]  # that make the problem of each rule
    times: np.ndarray
    rtol: float
    atol: float
    max_steps: int
    symbols: tuple[str, ...]
    batch_size: int
    schedules: tuple[tuple[str, Any], ...]

    def prepare(self) -> Any:
        """A function of the index of a rule and of the parameters at its points, (points, 6)."""
        solvers = [
            make().jitted(
                _solve_chunk,
                anew=bool(self.schedules),
                rtol=self.rtol,
                atol=self.atol,
                max_steps=self.max_steps,
                symbols=self.symbols,
                batch_size=self.batch_size,
                schedules=self.schedules,
            )
            for make in self.equations
        ]
        locks = [threading.Lock() for _ in solvers]
        is_compiled = [False for _ in solvers]
        most: dict[int, int] = {}  # points that fit, where some did not

        def work(index: int, values: np.ndarray) -> Arrays:
            if len(values) > most.get(index, len(values)):
                halves = [work(index, each) for each in np.array_split(values, 2)]
                return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
            with (
                jax.enable_x64(True),
                nullcontext() if is_compiled[index] else locks[index],  # one thread compiles
            ):
                try:
                    result = jax.tree.map(np.asarray, solvers[index](self.times, values))
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
            return work(index, values)

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
        initial, teacher, activation, times, max_steps, points: as for :func:`odes.solve`.
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
    rules = choose_rules(
        rule,
        lambda one: choose(one, activation)[0],
        lambda one: known_name(one) or type(one).__name__,
    )
    times = check_times(times)
    rtol, atol, max_steps = check_tolerances(rtol, atol, max_steps)
    symbols = check_symbols(order_parameters)
    progress = check_progress(progress)
    grid = make_grid(axes, AXES | axes_of(inputs, axes, AXES))
    columns = _columns(grid)
    check_states("initial", initial, teacher)
    _check_rates(initial, axes)
    teacher, spectra = _with_inputs(teacher, inputs, grid)
    values = np.column_stack([*columns, spectra])
    schedules = _schedules(grid, columns, times[-1])
    equations = [
        partial(
            prepare, initial, teacher, rule=one, activation=activation, points=points,
            parameters=columns._replace(**grid.schedules),
        )
        for one in rules.values()
    ]  # fmt: skip
    problems = [make() for make in equations]
    machine = this_machine()
    fast = default_batch_size(problems, len(values), len(times), machine)
    batch_size = fast if batch_size is None else check_count("batch_size", batch_size)
    plan = chunks_of(problems, values, batch_size, machine)
    job = TheoryJob(equations, times, rtol, atol, max_steps, symbols, batch_size, schedules)
    given = {"initial": _union(problems), "teacher": _without(problems[0].teacher, spectra)}
    tolerances = {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    results = run_chunks(
        job, [(index, values[chosen]) for index, chosen in plan],
        arguments={
            **grid.fixed, **grid.axes, **dict(schedules), **given, **tolerances,
            "rule": {name: known_name(one) or one for name, one in rules.items()},
            "times": times, "activation": activation, "points": points,
            "order_parameters": symbols, "spectra": spectra,
        },
        layout={
            "device": machine.kind, "dimensions": list(grid.axes), "batch_size": batch_size,
            "points in a chunk": len(plan[0][1]),
        },
        path=path, executor=executor, progress=progress, threads=machine.callers,
    )  # fmt: skip
    ways = [way_of_averaging(each.points) for each in problems]
    averages = dict(zip(rules, ways, strict=True))
    entries = entries_of(symbols, rules, plan, results, lambda one: one.direct)
    dimensions = {"generalization_error": ("time",), "status": (), "n_steps": ()}
    dimensions |= {name: ("time", *each) for name, each in entries.items()}
    of_inputs = _variances(problems[0].teacher.inputs, spectra, len(rules))
    return labelled(
        grid, rule, list(rules), activation, times,
        dimensions | dict.fromkeys(of_inputs, ("group",)),
        gather(plan, results, len(rules), len(values)) | of_inputs,
        {
            **tolerances,
            "averages": next(iter(averages.values())) if is_single(rule) else averages,
            **given,
        },
    )  # fmt: skip


def _check_rates(initial: Any, axes: dict[str, Any]) -> None:
    """ValueError for rates of several layers, which are no axis."""
    for name in ("lr_v", "weight_decay_v"):
        if is_deep(initial.v) and isinstance(axes.get(name), (tuple, list)):
            raise ValueError(
                f"Argument `{name}` must be a number, or an array for an axis: one for each layer, "
                f"as a tuple says elsewhere, is not swept, but it is {axes[name]!r}."
            )


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
    first = Hyperparameters(*(float(column[0]) for column in columns))
    in_time = probed(first._replace(**grid.schedules), end)
    for name in grid.schedules:
        check_shape(name, getattr(in_time, name))
    return tuple((name, getattr(in_time, name)) for name in grid.schedules)


def _with_inputs(teacher: Teacher, inputs: Any, grid: Grid) -> tuple[Teacher, np.ndarray]:
    """The teacher with the inputs of the first point, and all numbers of those of every point.

    (points, n), with n = 0 if they are those that the teacher has at all points.
    """
    if inputs is None:
        return teacher, np.zeros((math.prod(grid.shape), 0))
    names = [name for name in (*grid.axes, *grid.fixed) if name not in AXES]
    if not callable(inputs) or not names:
        raise ValueError(
            "Argument `inputs` must be a function of one or more of the axes that returns a "
            f"Spectrum, but is {quoted(inputs)}; inputs of all points belong to the teacher."
        )
    rows = zip(*(grid.column(name, None).tolist() for name in names), strict=True)
    points = [dict(zip(names, row, strict=True)) for row in rows]
    try:
        spectra = [check_spectrum(inputs(**point)).alone() for point in points]
    except TypeError as error:
        raise ValueError(
            f"Argument `inputs` must be a function of {', '.join(names)}, but failed: {error}"
        ) from error
    numbers = [[each for each in spectrum if each is not None] for spectrum in spectra]
    if len({tuple(map(np.shape, each)) for each in numbers}) > 1:
        raise ValueError(
            "Argument `inputs` must return spectra of as many groups and factors at all points, "
            "but does not."
        )
    return teacher._replace(inputs=spectra[0]), np.stack([np.concatenate(each) for each in numbers])


def _without(teacher: Teacher, spectra: np.ndarray) -> Teacher:
    """The teacher without inputs that differ from point to point."""
    return teacher._replace(inputs=None) if spectra.size else teacher


def _variances(inputs: Any, spectra: np.ndarray, n_rules: int) -> Arrays:
    """The eigenvalues and shares of all points, rule by rule, if they differ."""
    if not spectra.size:
        return {}
    S = len(inputs.shares)
    parts = {"eigenvalues": spectra[:, :S], "shares": spectra[:, S : 2 * S]}
    return {name: np.tile(part, (n_rules, 1)) for name, part in parts.items()}


def _solve_chunk(
    problem: Problem,
    times: Any,
    values: Any,
    *,
    rtol: float,
    atol: float,
    max_steps: int,
    symbols: tuple[str, ...],
    batch_size: int,
    schedules: tuple[tuple[str, Any], ...],
) -> dict[str, Any]:
    """What is kept of the points with these values, (points, 6), spread over all devices."""

    def one(values: Any, arrays: Any, times: Any) -> dict[str, Any]:
        initial, teacher, points = arrays
        values, spectrum = values[: len(AXES)], values[len(AXES) :]
        if spectrum.size:
            _, in_place = ravel_pytree(teacher.inputs)
            teacher = teacher._replace(inputs=in_place(spectrum))
        parameters = Hyperparameters(*values)._replace(**dict(schedules))
        flow = integrate(
            replace(problem, initial=initial, teacher=teacher, points=points),
            parameters,
            times,
            jumps=np.array(jumps_of(parameters, np.inf)),
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
        )
        kept = {symbol: getattr(flow.order_parameters, symbol, None) for symbol in symbols}
        B: Any = kept.get("B")
        if getattr(B, "ndim", 0) > 3:  # of groups of inputs, which send it back together
            kept["B"] = B.sum(axis=1)
        return {
            "generalization_error": flow.generalization_error,
            "status": flow.status.astype("int8"),
            "n_steps": flow.n_steps.astype("int32"),
            **by_layers({name: each for name, each in kept.items() if each is not None}),
        }

    def batch(values: Any, *shared: Any) -> dict[str, Any]:
        return jax.lax.map(lambda row: one(row, *shared), values, batch_size=batch_size)

    devices = jax.local_devices()
    if len(values) % len(devices) == 0 and len(devices) > 1:
        batch = jax.shard_map(
            batch,
            mesh=jax.make_mesh((len(devices),), ("devices",), axis_types=(AxisType.Auto,)),
            in_specs=(PartitionSpec("devices"), *[PartitionSpec()] * 2),
            out_specs=PartitionSpec("devices"),
            check_vma=False,
        )
    return batch(values, (problem.initial, problem.teacher, problem.points), times)
