"""The training loop: online SGD on the weights of finite networks, many runs at once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import jax
import numpy as np

from odes.common.checks import check_progress, lookup
from odes.common.machine import Machine, ran_out_of_memory, this_machine
from odes.common.order_parameters import Hyperparameters, state_of
from odes.common.progress import shown
from odes.common.schedules import (
    check_scheduled,
    parameters_at,
    probed,
    scheduled_hyperparameters,
)
from odes.common.store import Arrays, load_arrays, open_store, save_arrays
from odes.common.tasks import with_tasks
from odes.common.trajectory import Trajectory, trajectory_of_runs
from simulations.networks import Network
from simulations.rules import known_name
from simulations.training.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_SECONDS,
    kept_in,
    stacked,
    to_keep,
)
from simulations.training.checks import check_runs, check_training, with_data
from simulations.training.errors import ERRORS, tested
from simulations.training.inputs import rates
from simulations.training.plan import Piece, Plan, pieces_of, plan_of
from simulations.training.resident import can_be_resident
from simulations.training.runs import Group, Job, advance, precision, start, weights_of
from simulations.training.steps import with_scale

DTYPES = {"float32": np.float32, "float64": np.float64}


def simulate(
    network: Network,
    *,
    rule: Any,
    lr: Any,
    lr_v: Any = None,
    feedback_scale: Any = 1.0,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    times: Any,
    n_runs: int = 1,
    seed: int = 0,
    n_test: int = 2000,
    dtype: str = "float32",
    block: int | None = None,
    data: Any = None,
    labels: Any = None,
    path: Any = None,
    progress: bool | None = None,
    tasks: Any = None,
) -> Trajectory:
    """Train copies of a network on different data and measure them as they learn.

    The runs are spread over the processors of this machine, or over all devices that JAX sees, as
    many at a time as their memory holds.

    Args:
        network: where every run starts; see :func:`simulations.sample_network`.
        rule: a name in ``simulations.RULES`` or a :class:`simulations.Rule`, whose functions are
            compiled once and must not depend on values that change.
        lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v: as for :func:`odes.solve`;
            the scale multiplies B and F of the network.  Sample s sees the value of a schedule at
            t = s / N, s = 0, 1, ...
        activation: "erf", "linear", "tanh", "relu"; one of these with "-normalised", for students
            whose hidden activities are ``h / |h|``; an elementwise function of JAX arrays, compiled
            once like a rule; or an object with such functions ``g`` and ``hidden``, of the teacher
            and of the student, the latter along the last axis.
        times: when to measure, (n,), in samples / N, strictly increasing and >= 0; rounded to whole
            samples, which must still differ.
        n_runs: number of runs, which differ in their training and test inputs.
        seed: of all inputs and label noise.
        n_test: fresh inputs on which each run is tested at each time.
        dtype: "float32" or "float64", of the weights and of the arithmetic.
        block: samples learned together by the exact block form (``blocks.py`` beside this), up to
            N / 4 - O and for equivariant rules; 1 for one after another; None for what is fast: on
            a GPU a kernel (``resident.py``), if it can.  It need not divide the number of samples
            between two times: the last block is cut short.  Results differ by rounding alone, but
            a kernel draws other inputs.
        data: a matrix (n, N) whose rows, less their mean, are the inputs, drawn at random with
            replacement, in training and tests; kept once, in ``dtype``.  None for Gaussian inputs,
            with the covariance that ``network.inputs`` has, if any.
        labels: of the rows of ``data``, (n, O) or (n,); None for the output of the teacher.
        path: a directory where a checkpoint is kept, every 20 seconds and at the end.  A simulation
            that was interrupted, by whatever means, and is called again with the same arguments
            and on as many processors and devices goes on from there and returns the same numbers to
            the last bit.
        tasks: as for :func:`odes.solve`; each sample is of a task that is drawn in proportion to
            the rates (``streams.py`` beside this).
        progress: True shows how far it is, by a bar on a terminal and by a line after each tenth
            elsewhere; None by the bar alone; False not at all.

    Returns:
        A Trajectory.  The generalization error, (n_runs, n), is half the squared difference to the
        noiseless teacher, summed over outputs and averaged over the test inputs; the
        misclassification is the share of outputs of another sign, and is both for Forward-Forward.
        The order
        parameters, with leading axes (n_runs, n), are measured on the weights.  ``times`` are the
        rounded ones, and ``status`` has one entry a run, "ok" or "diverged".

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    parameters = scheduled_hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v,
        feedback_scale=feedback_scale,
    )  # fmt: skip
    parameters = with_tasks(parameters, tasks, check_scheduled)
    lookup("dtype", DTYPES, dtype)
    progress = check_progress(progress)
    n_runs, n_test, seed = check_runs(n_runs, n_test, seed)
    network, chosen, units, streams, steps, per_time = check_training(
        network, rule, activation, times, parameters, tasks
    )
    network, rows = with_data(network, chosen, data, labels, dtype)
    machine = this_machine()
    chosen_plan = partial(
        plan_of, network, chosen, block, n_runs,
        bytes_each=np.dtype(dtype).itemsize, resident=(
            machine.kind == "gpu" and block is None and rows is None and dtype == "float32"
            and not streams
            and can_be_resident(network, chosen, units)
        ),
    )  # fmt: skip
    plan = chosen_plan(machine)
    in_time = probed(parameters, steps[-1] / per_time)
    arguments = {
        "network": network, "rule": known_name(chosen) or chosen,
        **{name: each for name, each in in_time._asdict().items() if each is not None},
        **({"tasks": streams} if streams else {}),
        "activation": activation, "times": times, "n_runs": n_runs, "seed": seed,
        "n_test": n_test, "dtype": dtype, **({} if rows is None else {"data": rows}),
    }  # fmt: skip
    network, parameters = with_scale(network, parameters)
    layout = {"device": machine.kind, "devices": machine.devices, **plan._asdict()}
    job = Job(chosen, units, plan, n_test, dtype, streams, per_time // network.W.shape[1])
    reached = Reached(0, [], {})
    with (
        open_store(path, arguments, layout) as folder,
        precision(dtype),
        shown(progress, steps[-1], "samples", delay=1) as advanced,
    ):
        file = None if folder is None else folder / CHECKPOINT
        if file is not None and (found := load_arrays(file)) is not None:
            reached = Reached(int(found["sample"]), *kept_in(found))
            advanced(reached.sample)
        while len(reached.measured) < len(steps):
            begin = partial(start, network, rows, seed, jax.local_devices())
            try:
                _go_on(reached, begin, steps, parameters, n_runs, file, advanced, job, machine)
            except jax.errors.JaxRuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
                machine, plan = _with_less(machine, chosen_plan, job.plan, error)
                job = job._replace(plan=plan)
    curves = stacked(reached.measured)
    errors = [curves.pop(name) for name in ERRORS]
    return trajectory_of_runs(
        np.array(steps) / per_time, state_of(curves), *errors, averages=tested(n_test)
    )


def _with_less(
    machine: Machine, plan_for: Callable[[Machine], Plan], plan: Plan, error: Exception
) -> tuple[Machine, Plan]:
    """A machine of less memory, and another plan for it; the error where nothing is left."""
    while True:
        machine = machine.with_less_memory()
        try:
            smaller = plan_for(machine)
        except ValueError:
            raise error from None
        fewer = smaller.abreast < plan.abreast
        if fewer or (plan.abreast == 1 and smaller.drawn < plan.drawn):
            warnings.warn(
                "The device ran out of memory; simulate() goes on with less at a time.",
                RuntimeWarning, stacklevel=3,
            )  # fmt: skip
            return machine, smaller


@dataclass
class Reached:
    """What a simulation has come to, however its runs are put together."""

    sample: int  # the next one
    measured: list[Arrays]  # at each time so far, by name (runs, ...)
    weights: Arrays  # that learn, by name (runs, ...); none before the first sample


def _go_on(
    reached: Reached,
    begin: Callable[..., list[Group]],
    steps: list[int],
    parameters: Hyperparameters,
    n_runs: int,
    file: Any,
    advanced: Callable[[int], Any],
    job: Job,
    machine: Machine,
) -> None:
    """Train and measure what is left, and keep it in the file, if there is one."""
    plan = job.plan
    groups = begin(job, reached.weights)
    per_time = groups[0].networks.W.shape[-1] * job.room
    in_samples = partial(rates, parameters, per_time, dtype=DTYPES[job.dtype])
    go = partial(advance, job=job)
    kept = time.monotonic()
    with ThreadPoolExecutor(machine.threads) as pool:
        if plan.groups > 1:  # compiles, before all threads need it
            go(
                groups[0],
                Piece(0, 0, 0),
                in_samples(0, 0, plan.piece),
                parameters_at(parameters, 0.0),
            )
        for piece in pieces_of(steps, plan.piece, reached.sample, len(reached.measured)):
            during = in_samples(piece.first, piece.last, plan.piece)
            then = parameters_at(parameters, piece.last / per_time)
            shared = (repeat(each) for each in (piece, during, then))
            try:
                groups, measured = zip(*pool.map(go, groups, *shared), strict=True)
            except jax.errors.JaxRuntimeError:
                reached.weights = weights_of(groups, job.rule, n_runs)
                raise
            if piece.measured is not None:
                found = jax.tree.map(lambda *parts: np.concatenate(parts)[:n_runs], *measured)
                reached.measured.append(found)
            reached.sample = piece.last
            advanced(piece.last - piece.first)
            due = (
                len(reached.measured) == len(steps) or time.monotonic() - kept > CHECKPOINT_SECONDS
            )
            if file is not None and due:
                weights = weights_of(groups, job.rule, n_runs)
                save_arrays(file, to_keep(reached.sample, reached.measured, weights))
                kept = time.monotonic()
