"""What comes out: learning curves, and how finite networks scatter around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from odes.common.calls import Call, label_of
from odes.common.checks import check_flag, quoted
from odes.common.datasets import FORMAT, dataset_of, parts_of, table_of
from odes.common.files import kept_in, read, save
from odes.common.layers import layers_of, over_layers
from odes.common.order_parameters import MAGNITUDE_LIMIT, OrderParameters, state_of


class Fluctuations(NamedTuple):
    """How finite networks scatter around a trajectory, and how far off their mean is, to order 1/N.

    All are times N: variances, covariances and the bias.  NaN where the trajectory is.
    """

    covariance: np.ndarray  # (n, D, D), of Q_kl with k <= l, R, v and B, each row by row
    order_parameters: OrderParameters  # variance of each entry, leading axis n
    generalization_error: np.ndarray  # variance of the generalization error, (n,)
    bias: np.ndarray | None = None  # its mean minus the trajectory's, (n,); with closed forms only

    def std(self, N: Any) -> np.ndarray:
        """Standard deviation of the generalization error of networks of N inputs, (n,).

        N may be an array that broadcasts with the times.  Raises ValueError unless it is positive.
        """
        try:
            sizes = np.asarray(N)
            fine = sizes.dtype.kind in "iuf" and np.all(np.isfinite(sizes)) and np.all(sizes > 0)
        except (TypeError, ValueError):  # traced, or rows of different lengths
            fine = False
        if not fine:
            raise ValueError(f"Argument `N` must hold finite numbers > 0, but is {quoted(N)}.")
        try:
            return np.sqrt(self.generalization_error / sizes)
        except ValueError:
            raise ValueError(
                "Argument `N` must broadcast with the times, of shape "
                f"{np.shape(self.generalization_error)}, but has shape {sizes.shape}."
            ) from None


class Trajectory(NamedTuple):
    """A learning curve, from theory (arrays as listed), or of runs or paths (a leading axis).

    ``status`` is "ok"; "diverged" (an order parameter beyond :data:`MAGNITUDE_LIMIT`); "nonfinite"
    (the equations gave no finite number); "max_steps" (the integrator gave up at the accuracy asked
    for); or "sliding" (it gave up where the drift jumps as an order parameter changes sign, and
    pushes it back from both sides: a readout of the rules with sign symmetry; of ``solve`` alone,
    "max_steps" elsewhere); or "reached", where ``until`` stopped it. ``stopped`` says when that
    was, for a solution of theory. Runs and paths are looked at where they are saved, and "diverged"
    there stands for numbers that overflowed, too. Simulations have an array of them, one a run.
    What was reached before is kept, and everything after is NaN.

    The misclassification is the probability that an output has another sign than the noiseless
    teacher's, averaged over outputs.  It is the generalization error of rules that have no other
    output than a class, such as Forward-Forward.

    The errors of single outputs, ``output_errors``, add up to the generalization error; those of a
    rule that puts out a class are shares of wrong signs, of which it is the mean.  ``final`` is
    where to go on from: the state at the last time, or where a solution was stopped by ``until``,
    and otherwise the last that was reported, with the feedback before its scale multiplies it.

    ``averages`` says how the averages over inputs were taken: "closed forms"; over nodes, such as
    "28465 lattice nodes"; or, in simulations, errors alone, over "2000 test inputs".
    ``average_error`` is the largest error of averages over nodes along the solution, as estimated
    from other nodes, relative to the root mean square of what is averaged.

    ``call`` is the call that returned it, with all arguments as they were given: they stay in
    memory as long as the Trajectory does, unless it is ``_replace(call=None)``.
    """

    times: np.ndarray  # (n,) samples / N
    order_parameters: OrderParameters  # leading axis n
    generalization_error: np.ndarray  # (n,) half the mean squared error, summed over outputs
    status: Any
    fluctuations: Fluctuations | None = None  # if asked for
    misclassification: np.ndarray | None = None  # (n,) classification error; if asked for
    averages: str | None = None
    stopped: Any = None  # time at which a solution that is not "ok" stopped, or runs (n_runs,)
    output_errors: Any = None  # (n, O), which add up to the generalization error
    recorded: Any = None  # what `record` returned, with leading axes (n,) or (n_runs, n)
    final: Any = None  # the last state: of theory OrderParameters, of simulations Networks
    average_error: float | None = None  # of averages over nodes; None for closed forms
    call: Call | None = None  # what returned it; None of one made by hand

    def __repr__(self) -> str:
        """What it is of, how it ended, and the last errors: a few lines."""
        try:
            return "\n  ".join(_lines(self))
        except (AttributeError, IndexError, TypeError, ValueError):  # made by hand, of other things
            return tuple.__repr__(self)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` with the names of those of :func:`odes.sweep`.

        Its dimensions are run, where there are several, time, and the indices of units and outputs:
        Q is (time, k, l), R (time, k, m), v and B (time, k, o).  Layers of several are variables of
        their own, ``v[0]`` (time, k, h1), ``v[1]`` (time, h1, o); overlaps in groups of inputs have
        a dimension ``group`` after the time.  What belongs to the fluctuations, to ``recorded`` and
        to ``final``, if that is a state, has these names before its own, as
        ``fluctuations.covariance`` (time, entry, other).  Numbers, such as the learning rate and
        the status of theory, and names are attributes.
        """
        return dataset_of(self)

    def to_table(self) -> Any:
        """The order parameters as a ``pandas.DataFrame`` with a row for every number.

        Its columns are run, where there are several, time, name, group, where inputs have groups, i
        and j, counted from 0, and value.  Layers of several have the names ``v[0]``, ``v[1]``, ...
        """
        return table_of(self)

    def save(self, path: Any, *, networks: bool = False) -> None:
        """Write everything to a file, netCDF, from which :func:`odes.load` reads it.

        The file is whole or absent.  It keeps the call as well, for :meth:`rerun`: every argument
        with its numbers, the weights of the network that was trained among them.  There is no more
        than a name of functions and rules of one's own, and of arrays above 2^24 entries a hash.

        Args:
            path: of the file, which is replaced if it exists.
            networks: whether to keep the networks that a simulation ended with, too, which may be
                large; without, ``final`` is None when it is read.  Those of ``simulate_chain`` then
                go on as those of ``simulate``: give another seed.

        Raises:
            ValueError: for a path that cannot be written.
        """
        save(self, path, check_flag("networks", networks))

    def rerun(self, **changes: Any) -> Trajectory:
        """What the same call returns now: the same numbers, by the same software and machine.

        Args:
            **changes: arguments to put in place of those of the call, and those of which a file
                keeps the name alone, such as ``rule=my_rule``.

        Raises:
            ValueError: names the argument that has to be given, is unknown, or is refused by the
                function that is called.
        """
        if self.call is None:
            raise ValueError(
                "Argument `call` of a Trajectory must be the call that made it, to run it again, "
                "but is None."
            )
        return self.call.again(**changes)


def _lines(trajectory: Trajectory) -> list[str]:
    """What a reader wants to know of a Trajectory."""
    times, errors, call = trajectory.times, trajectory.generalization_error, trajectory.call
    ended = str(trajectory.status)
    if np.ndim(trajectory.status):
        counts = zip(*np.unique(trajectory.status, return_counts=True), strict=True)
        ended = ", ".join(f"{count} {status}" for status, count in counts)
    made = rule = ""
    averages, accuracy = trajectory.averages, trajectory.average_error
    if accuracy is not None:
        averages = f"{averages}, error {accuracy:.0e}"
    if call is not None:
        made, rule = f" of {call.function}", f"rule {label_of(call.arguments['rule'])}, "
    lines = [
        f"Trajectory{made}: {rule}{ended}",
        f"{len(times)} times, from {times[0]:g} to {times[-1]:g}",
        f"generalisation error at the end: {_at_the_end(np.atleast_2d(errors))}",
        f"averages: {averages}",
    ]
    return lines if call is None else [*lines, f"topdown-odes {call.versions['topdown-odes']}"]


def _at_the_end(errors: np.ndarray) -> str:
    """The last known error of one run, or the mean of several with its standard error."""
    known = [row[np.isfinite(row)] for row in errors]
    last = np.array([row[-1] for row in known if row.size])
    if last.size < 2:
        return f"{last[0]:.4g}" if last.size else "none"
    error = last.std(ddof=1) / np.sqrt(last.size)
    return f"{last.mean():.4g} +- {error:.2g} ({last.size} runs)"


def load(path: Any) -> Any:
    """A Trajectory from a file of :meth:`Trajectory.save`; or the Dataset of a sweep from its file.

    The latter is one that ``to_netcdf`` wrote.  A Trajectory is as it was, but for arguments of the
    call that a file does not keep.

    Raises ValueError, which names the path, for what cannot be read or is something else.
    """
    dataset = read(path)
    if FORMAT not in dataset.attrs:
        return dataset
    try:
        return trajectory_of(dataset)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `path` must be the path of a file of Trajectory.save(), but {path} is "
            f"damaged: {error!r}"
        ) from error


def trajectory_of(dataset: Any) -> Trajectory:
    """The Trajectory that :meth:`Trajectory.to_xarray` made this Dataset of."""
    parts = parts_of(dataset, Trajectory._fields)
    call, networks = kept_in(dataset)
    if "fluctuations" in parts:
        parts["fluctuations"] = Fluctuations(**parts["fluctuations"])
    return Trajectory(**{"final": networks} | parts | {"call": call})


def _each(function: Callable[[np.ndarray], np.ndarray], recorded: Any) -> Any:
    """``function`` of what was recorded, an array, several by name, or None."""
    if isinstance(recorded, dict):
        return {name: function(each) for name, each in recorded.items()}
    return None if recorded is None else function(recorded)


def trajectory_of_runs(
    times: np.ndarray,
    states: OrderParameters,
    errors: np.ndarray,
    misclassification: np.ndarray | None = None,
    output_errors: np.ndarray | None = None,
    *,
    averages: str,
    recorded: Any = None,
    reached: np.ndarray | None = None,
) -> Trajectory:
    """A Trajectory from arrays with leading axes (runs, n), NaN from where a run diverged.

    And after the time with the index that ``reached`` has for it, (runs,), where it was stopped.
    """
    fine = np.isfinite(errors)
    for weights in states:
        for array in () if weights is None else layers_of(weights):
            fine &= np.max(np.abs(array), axis=tuple(range(2, array.ndim))) <= MAGNITUDE_LIMIT
    fine = np.logical_and.accumulate(fine, axis=1)
    stopped = status = None
    if reached is None:
        status = np.where(fine[:, -1], "ok", "diverged")
    else:
        last = np.minimum(reached, len(times) - 1)
        got_there = np.take_along_axis(fine, last[:, None], axis=1)[:, 0]
        cut = reached < len(times)
        status = np.where(got_there, np.where(cut, "reached", "ok"), "diverged")
        stopped = np.where(cut & got_there, times[last], np.nan)
        fine = fine & (np.arange(len(times)) <= reached[:, None])

    def up_to_there(a: np.ndarray) -> np.ndarray:
        return np.where(fine.reshape(*fine.shape, *(1,) * (a.ndim - 2)), a, np.nan)

    kept = {
        name: None if each is None else over_layers(up_to_there, each)
        for name, each in states._asdict().items()
    }
    if misclassification is not None:
        misclassification = np.where(fine, misclassification, np.nan)
    if output_errors is not None:
        output_errors = np.where(fine[..., None], output_errors, np.nan)
    return Trajectory(
        times,
        state_of(kept),
        np.where(fine, errors, np.nan),
        status,
        misclassification=misclassification,
        averages=averages,
        output_errors=output_errors,
        stopped=stopped,
        recorded=_each(up_to_there, recorded),
    )
