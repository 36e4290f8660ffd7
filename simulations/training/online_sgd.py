"""The training loop: online SGD on the weights of finite networks, many runs at once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

import jax
import numpy as np

from odes.common.calls import remembered
from odes.common.checks import lookup
from odes.common.machine import Machine, ran_out_of_memory, this_machine
from odes.common.order_parameters import Hyperparameters
from odes.common.progress import shown
from odes.common.schedules import parameters_at
from odes.common.store import Arrays, load_arrays, open_store, save_arrays
from odes.common.trajectory import Trajectory
from simulations.ensembles import Networks, ended, going_on
from simulations.networks import Network
from simulations.rules import Rule, known_name
from simulations.training.arguments import Beginning, begin
from simulations.training.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_SECONDS,
    kept_in,
    to_keep,
)
from simulations.training.checks import with_data
from simulations.training.inputs import rates
from simulations.training.plan import Piece, Plan, pieces_of, plan_of
from simulations.training.precision import check_precision, precise_mean
from simulations.training.resident import can_be_resident
from simulations.training.runs import Job, advance, precision, start, weights_of
from simulations.training.steps import with_scale
from simulations.training.stopping import NEVER, kept_where, measured_curves, stopped_at

DTYPES = {"float32": np.float32, "float64": np.float64}


@remembered
def simulate(
    network: Network | Networks,
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
    until: Any = None,
    record: Any = None,
    return_networks: bool = False,
    until_standard_error: float | None = None,
) -> Trajectory:
    """Train copies of a network on different data and measure them as they learn.

    The runs are spread over the processors of this machine, or over all devices that JAX sees, as
    many at a time as their memory holds.

    Args:
        network: where every run starts; see :func:`simulations.sample_network`.  Or the Networks
            that a simulation returned, to go on from: times count anew, and with the same seed the
            numbers drawn are those that follow, as if there had been no end between.
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
        until: a generalization error, or a function of order parameters and teacher that is
            positive at first: a run stops at the first of the times at which its error is not above
            the one, or the other not above 0.  Its status is "reached", later entries are NaN, and
            all ends with the last run.
        record: a function of a Network, in JAX, whose value at every time is to be kept as
            ``recorded``: an array, or a dictionary of them.
        return_networks: whether to return the networks at the end, or where they stopped, as
            ``final``.
        until_standard_error: runs are added, to ``n_runs`` or 8 if that is less, until the standard
            error of the mean generalization error is at most this times the mean, at all times at
            which half of the runs are still there (``precision.py`` beside this has the rule).
            They are the runs that a larger ``n_runs`` has.  A RuntimeWarning says so if 16,384 are
            not enough.  Not for Networks, nor with ``return_networks``.
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
    train = partial(
        _trained, network, rule=rule, lr=lr, lr_v=lr_v, feedback_scale=feedback_scale, noise=noise,
        weight_decay=weight_decay, weight_decay_v=weight_decay_v, activation=activation,
        times=times, seed=seed, n_test=n_test, dtype=dtype, block=block, data=data, labels=labels,
        progress=progress, tasks=tasks, until=until, record=record,
        return_networks=return_networks,
    )  # fmt: skip
    if until_standard_error is None:
        return train(n_runs=n_runs, path=path)
    check_precision(until_standard_error, network, return_networks)
    return precise_mean(train, until_standard_error, n_runs, path)


def _trained(
    network: Network | Networks,
    *,
    rule: Any,
    activation: Any,
    times: Any,
    n_runs: int,
    seed: int,
    n_test: int,
    dtype: str,
    block: int | None,
    data: Any,
    labels: Any,
    path: Any,
    progress: bool | None,
    tasks: Any,
    until: Any,
    record: Any,
    return_networks: bool,
    first_run: int = 0,
    **scalars: Any,
) -> Trajectory:
    """:func:`simulate` of the runs from ``first_run`` on."""
    lookup("dtype", DTYPES, dtype)
    begun = begin(
        network, rule, activation, times, n_runs=n_runs, n_test=n_test, seed=seed,
        progress=progress, tasks=tasks, until=until, record=record,
        return_networks=return_networks, **scalars,
    )  # fmt: skip
    base, rows = with_data(begun.network, begun.rule, data, labels, dtype)
    machine = this_machine()
    chosen_plan = partial(
        plan_of, base, begun.rule, block, begun.n_runs,
        bytes_each=np.dtype(dtype).itemsize, resident=(
            machine.kind == "gpu" and block is None and rows is None and dtype == "float32"
            and not begun.streams and can_be_resident(base, begun.rule, begun.units)
        ),
    )  # fmt: skip
    plan = chosen_plan(machine)
    arguments = _arguments(
        begun, network=base, data=rows, activation=activation, times=times, dtype=dtype,
        until=until, record=record, first_run=first_run or None,
    )  # fmt: skip
    layout = {"device": machine.kind, "devices": machine.devices, **plan._asdict()}
    turned = rows is None
    chosen, weights = going_on(begun.before, begun.rule, begun.parameters, turned=turned)
    base, parameters = with_scale(base, begun.parameters)
    job = Job(
        chosen, begun.units, plan, begun.n_test, dtype, begun.streams, begun.room, record,
        *begun.seen, first_run,
    )  # fmt: skip
    course = Course(begun.steps, parameters, begun.n_runs, begun.stops, 0, [], weights)
    with (
        open_store(path, arguments, layout) as folder,
        precision(dtype),
        shown(begun.progress, begun.steps[-1], "samples", delay=1) as advanced,
    ):
        file = None if folder is None else folder / CHECKPOINT
        if file is not None and (found := load_arrays(file)) is not None:
            course = course.at(int(found["sample"]), *kept_in(found))
            advanced(course.sample)
        while not course.done:
            groups = start(base, rows, begun.seed, jax.local_devices(), job, course.weights)
            try:
                course.go_on(groups, job, machine, file, advanced, begun.look)
            except jax.errors.JaxRuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
                machine, plan = _with_less(machine, chosen_plan, job.plan, error)
                job = job._replace(plan=plan)
    trajectory = measured_curves(course.measured, begun.times, course.stopped, begun.n_test)
    if not begun.look:
        return trajectory
    reached = job.samples + course.sample, job.tests + len(course.measured)
    return trajectory._replace(final=ended(begun.given, course.weights, *reached, turned=turned))


def _arguments(begun: Beginning, **others: Any) -> dict[str, Any]:
    """What tells one simulation from another, by name; what is not used is left out."""
    others |= {"tasks": begun.streams or None, "before": begun.before}
    optional = {**begun.in_time._asdict(), **others}
    return {
        **{name: each for name, each in optional.items() if each is not None},
        "rule": known_name(begun.rule) or begun.rule, "n_runs": begun.n_runs, "seed": begun.seed,
        "n_test": begun.n_test,
    }  # fmt: skip


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
                RuntimeWarning, stacklevel=4,
            )  # fmt: skip
            return machine, smaller


@dataclass
class Course:
    """A simulation under way, however its runs are put together."""

    steps: list[int]  # the samples at which networks are measured
    parameters: Hyperparameters
    n_runs: int
    stops: Callable[[Arrays], np.ndarray] | None  # whether runs stop, from what is measured
    sample: int  # the next one
    measured: list[Arrays]  # at each time so far, by name (runs, ...)
    weights: Arrays  # that learn, by name (runs, ...), as last looked at; none before

    def __post_init__(self) -> None:
        self.stopped = stopped_at(self.stops, self.measured, self.n_runs)

    def at(self, sample: int, measured: list[Arrays], weights: Arrays) -> Course:
        """The same at a later sample."""
        return replace(self, sample=sample, measured=measured, weights=weights)

    @property
    def done(self) -> bool:
        """Whether the last time is reached, or all runs have stopped."""
        return len(self.measured) == len(self.steps) or bool(np.all(self.stopped < NEVER))

    def measure(self, found: Arrays, groups: Any, rule: Rule) -> None:
        """Add what is measured at one time; runs that stop keep the weights that they have."""
        found = jax.tree.map(lambda each: each[: self.n_runs], found)
        self.measured.append(found)
        if self.stops is None:
            return
        now = (self.stopped == NEVER) & self.stops(found)
        if np.any(now):
            self.look(groups, rule)
            self.stopped = np.where(now, len(self.measured) - 1, self.stopped)

    def look(self, groups: Any, rule: Rule) -> None:
        """Keep the weights of all runs that have not stopped."""
        current = weights_of(groups, rule, self.n_runs)
        self.weights = kept_where(self.stopped == NEVER, self.weights, current)

    def go_on(
        self,
        groups: Any,
        job: Job,
        machine: Machine,
        file: Any,
        advanced: Callable[[int], Any],
        look: bool,
    ) -> None:
        """Train and measure what is left, and keep it in the file, if there is one.

        ``look`` says whether the weights at the end are wanted.
        """
        plan = job.plan
        per_time = groups[0].networks.W.shape[-1] * job.room
        in_samples = partial(rates, self.parameters, per_time, dtype=DTYPES[job.dtype])
        go = partial(advance, job=job)
        kept = time.monotonic()
        with ThreadPoolExecutor(machine.threads) as pool:
            if plan.groups > 1:  # compiles, before all threads need it
                now = parameters_at(self.parameters, 0.0)
                go(groups[0], Piece(0, 0, 0), in_samples(0, 0, plan.piece), now)
            for piece in pieces_of(self.steps, plan.piece, self.sample, len(self.measured)):
                during = in_samples(piece.first, piece.last, plan.piece)
                then = parameters_at(self.parameters, piece.last / per_time)
                shared = (repeat(each) for each in (piece, during, then))
                try:
                    groups, measured = zip(*pool.map(go, groups, *shared), strict=True)
                except jax.errors.JaxRuntimeError:
                    self.look(groups, job.rule)
                    raise
                if piece.measured is not None:
                    found = jax.tree.map(lambda *parts: np.concatenate(parts), *measured)
                    self.measure(found, groups, job.rule)
                self.sample = piece.last
                advanced(piece.last - piece.first)
                due = self.done or time.monotonic() - kept > CHECKPOINT_SECONDS
                if due and (file is not None or look):
                    self.look(groups, job.rule)
                if due and file is not None:
                    save_arrays(file, to_keep(self.sample, self.measured, self.weights))
                if due:
                    kept = time.monotonic()
                if self.done:
                    return
