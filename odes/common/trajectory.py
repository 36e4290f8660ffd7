"""What comes out: learning curves, and how finite networks scatter around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import quoted
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
