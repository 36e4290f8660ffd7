"""What simulations of all inputs and of the chain have to know before the first sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import check_flag, check_progress
from odes.common.order_parameters import Hyperparameters
from odes.common.schedules import check_scheduled, probed, scheduled_hyperparameters
from odes.common.store import Arrays
from odes.common.tasks import Stream, with_tasks
from simulations.activations import Activation
from simulations.ensembles import Networks, started
from simulations.networks import Network
from simulations.rules import Rule
from simulations.training.checks import check_runs, check_training
from simulations.training.recording import check_record
from simulations.training.stopping import stopping_at


class Beginning(NamedTuple):
    """Arguments of a simulation, checked."""

    given: Network  # what all runs have in common, as the caller gave it
    before: Networks | None  # to go on from
    network: Network  # in float64, without weights that the rule ignores
    rule: Rule
    units: Activation
    parameters: Hyperparameters
    in_time: Hyperparameters  # with schedules as the caller gave them
    streams: tuple[Stream | None, ...]
    steps: list[int]  # the times in samples
    room: int  # for how many samples there is in 1 / N of time
    n_runs: int
    n_test: int
    seed: int
    progress: bool | None
    stops: Callable[[Arrays], np.ndarray] | None
    look: bool  # whether the networks at the end are wanted

    @property
    def times(self) -> np.ndarray:
        """When networks are measured, (n,)."""
        return np.array(self.steps) / (self.room * self.network.W.shape[1])

    @property
    def seen(self) -> tuple[int, int]:
        """How many samples and sets of test inputs runs have seen before."""
        return (0, 0) if self.before is None else (self.before.samples, self.before.tests)


def begin(
    network: Any,
    rule: Any,
    activation: Any,
    times: Any,
    *,
    n_runs: Any,
    n_test: Any,
    seed: Any,
    progress: Any,
    tasks: Any,
    until: Any,
    record: Any,
    return_networks: Any,
    **scalars: Any,
) -> Beginning:
    """The arguments of :func:`simulations.simulate` by these names, checked.

    Raises ValueError, which names the argument, what it must be and what it was.
    """
    parameters = with_tasks(scheduled_hyperparameters(**scalars), tasks, check_scheduled)
    progress, look = check_progress(progress), check_flag("return_networks", return_networks)
    n_runs, n_test, seed = check_runs(n_runs, n_test, seed)
    given, n_runs, before = started(network, n_runs)
    checked, chosen, units, streams, steps, per_time = check_training(
        given, rule, activation, times, parameters, tasks
    )
    check_record(record, checked)
    return Beginning(
        given, before, checked, chosen, units, parameters,
        probed(parameters, steps[-1] / per_time), streams, steps,
        per_time // checked.W.shape[1], n_runs, n_test, seed, progress,
        stopping_at(until, checked, chosen), look,
    )  # fmt: skip
