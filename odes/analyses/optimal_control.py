"""Optimal schedules of learning rates and feedback scale, found by gradients of the final error.

Optimal learning rates for the whole course of on-line learning go back to Saad and Rattray (1997).

Importing this module imports JAX and diffrax.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from odes.common.checks import check_count, check_number
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher
from odes.common.schedules import (
    SCHEDULED,
    PiecewiseConstant,
    check_scheduled,
    probed,
    scheduled_hyperparameters,
)
from odes.common.tasks import with_tasks
from odes.problem import Problem, prepare, way_of_averaging
from odes.rules import is_smooth
from odes.solvers.flows import flow, solution_of

LOG_ERROR_IF_LOST = 20.0
"""Logarithm that counts as that of the error of a solution that does not get to the end."""


class Optimum(NamedTuple):
    """The schedules that were found, and the generalization error that they reach."""

    schedules: dict[str, Any]  # by the names of the parameters, as `solve` takes them
    generalization_error: float  # at the time asked for
    initial_error: float  # with the schedules that the search began with
    averages: str  # "closed forms", or over which points


def optimal_schedule(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    t: float,
    lr: Any,
    lr_v: Any = None,
    feedback_scale: Any = 1.0,
    tasks: Any = None,
    within: float = 30.0,
    max_iterations: int = 200,
    **parameters: Any,
) -> Optimum:
    """Piecewise constant schedules with the least generalization error at a given time.

    A minimum of the logarithm of the error over the logarithms of the values, found by gradients
    through :func:`odes.flow` (L-BFGS); as any such, a local one.  The jumps stay where they are,
    and values that hold after ``t`` only what they were.  A :class:`PiecewiseConstant` without
    jumps becomes the best constant.  For example::

        optimum = optimal_schedule(initial, teacher, rule="afa", t=50.0,
                                   lr=PiecewiseConstant([10.0, 30.0], [0.5, 0.5, 0.5]))
        solve(initial, teacher, rule="afa", times=times, **optimum.schedules)

    Args:
        initial, teacher, rule: as for :func:`odes.solve`; without jumps and kinks where there are
            no closed forms, since the error is differentiated at the points.
        t: when the error counts.
        lr, lr_v, feedback_scale: each a PiecewiseConstant of positive values, from which the search
            begins, or a number or function, which stays as it is; ``lr_v=None`` for the same as
            ``lr``.
        tasks: as for :func:`odes.solve`.  Where the rates of two or more are PiecewiseConstant,
            with the same jumps and positive values, samples are shared out among them anew: the
            best curriculum, or the best replay, of as many samples as before at any time.  Other
            rates stay as they are.
        within: factor by which values may become larger or smaller than at the start.  Some
            directions have no best value: AFA with a readout as fast as can be, by a large lr and a
            small feedback scale, is one.
        max_iterations: of the search.
        **parameters: others of :func:`odes.flow`.

    Returns:
        An Optimum.

    Raises:
        ValueError: names the argument, what it must be and what it was; also if the solution does
            not get to ``t`` with the schedules at the start.
    """
    t = check_number("t", t, positive=True)
    within = check_number("within", within)
    if within <= 1:
        raise ValueError(f"Argument `within` must be above 1, but is {within!r}.")
    max_iterations = check_count("max_iterations", max_iterations)
    signature = inspect.signature(flow)
    known = set(signature.parameters) - {"times", "until"}
    for name in parameters:
        if name not in known:
            raise ValueError(
                f"Argument `{name}` is unknown; known are {', '.join(sorted(known))}, and `t`, "
                "`within` and `max_iterations`."
            )
    scalars = ("noise", "weight_decay", "weight_decay_v")
    checked = scheduled_hyperparameters(
        lr=lr, lr_v=lr_v, feedback_scale=feedback_scale,
        **{name: parameters[name] for name in scalars if name in parameters},
    )  # fmt: skip
    checked = with_tasks(checked, tasks, check_scheduled)
    probed(checked, t)
    problem = prepare(
        initial, teacher, rule=rule, activation=parameters.get("activation", "erf"),
        points=parameters.get("points"), parameters=checked, tasks=tasks,
    )  # fmt: skip
    _check_differentiable(problem, rule)
    given = dict(zip(SCHEDULED, (lr, lr_v, feedback_scale), strict=True))
    arguments = signature.bind(
        initial, teacher, rule=rule, times=[t], tasks=tasks, **given, **parameters
    )
    arguments.apply_defaults()
    with jax.enable_x64(True):
        solved, (untuned, times, jumps, _) = solution_of(*arguments.args, **arguments.kwargs)
    tuned = _tuned(given, checked)
    start = np.log(np.concatenate([each.values for each in tuned.values()]))
    ends = np.cumsum([len(each.values) for each in tuned.values()])[:-1]

    def schedules(logs: Any) -> dict[str, PiecewiseConstant]:
        values = jnp.split(jnp.exp(logs), ends)
        found = {
            name: each._replace(values=part)
            for (name, each), part in zip(tuned.items(), values, strict=True)
        }
        return found | _shared_out(found, tuned)

    def log_error(logs: Any) -> tuple[Any, Any]:
        now = schedules(logs)
        if lr_v is None and "lr" in now:
            now["lr_v"] = now["lr"]
        (_, _, (error,), *_), _ = solved(_in_place(untuned, now), times, jumps)
        value = jnp.log(jnp.where(error > 0, error, jnp.exp(LOG_ERROR_IF_LOST)))
        return value, value

    with jax.enable_x64(True):
        found, before = _minimum(log_error, start, np.log(within), max_iterations)
        if found is None:
            raise ValueError(
                "Argument `lr` must let the solution get to `t` with the schedules at the start, "
                f"but with {tuned} it does not."
            )
        best = _as_solve_takes_them(schedules(found.x), tasks)
    return Optimum(
        best,
        float(np.exp(found.fun)),
        float(np.exp(before)),
        way_of_averaging(problem.points),
    )


def _check_differentiable(problem: Problem, rule: Any) -> None:
    """ValueError unless the error has a gradient."""
    if problem.rule.classifies:
        raise ValueError(
            "Argument `rule` must have an error with a gradient, which a share of wrong classes "
            f"over points has not, and so not be one that `classifies`, but is {rule!r}."
        )
    if problem.points is not None and not is_smooth(problem.rule, problem.activation):
        raise ValueError(
            "Argument `rule` or `activation` must be without jumps and kinks (`smooth`), since the "
            "error is differentiated at points; wrap a smooth function as odes.Activation(g)."
        )


def _shared_out(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The rates among these schedules, with the sum that they had before."""
    rates = [name for name in found if name.endswith(".rate")]
    total, had = (sum(part[name].values for name in rates) for part in (found, before))
    return {name: found[name]._replace(values=found[name].values * (had / total)) for name in rates}


def _as_solve_takes_them(found: dict[str, Any], tasks: Any) -> dict[str, Any]:
    """Schedules by name, with tasks that have the rates among them, if there are any."""
    found = {
        name: PiecewiseConstant(each.jumps, np.asarray(each.values)) for name, each in found.items()
    }
    rates = {name: each for name, each in found.items() if name.endswith(".rate")}
    own = {name: each for name, each in found.items() if name not in rates}
    if not rates:
        return own
    return own | {
        "tasks": [
            task._replace(rate=rates.get(f"tasks[{i}].rate", task.rate))
            for i, task in enumerate(tasks)
        ]
    }


def _in_place(parameters: Hyperparameters, found: dict[str, Any]) -> Hyperparameters:
    """The parameters with what was found in place of what they had, by name."""
    rates = parameters.rates and tuple(
        found.get(f"tasks[{i}].rate", rate) for i, rate in enumerate(parameters.rates)
    )
    own = {name: each for name, each in found.items() if name in SCHEDULED}
    return parameters._replace(**own, rates=rates)


def _tuned(given: dict[str, Any], checked: Hyperparameters) -> dict[str, PiecewiseConstant]:
    """Those of these parameters that are to be tuned, by name, and rates of tasks besides."""
    found = {name: getattr(checked, name) for name in given if callable(given[name])}
    tuned: dict[str, PiecewiseConstant] = {
        name: each.function
        for name, each in found.items()
        if isinstance(getattr(each, "function", None), PiecewiseConstant)
    } | _tunable_rates(checked)
    if not tuned:
        listed = "{lr!r}, {lr_v!r} and {feedback_scale!r}".format(**given)
        raise ValueError(
            "Argument `lr`, `lr_v` or `feedback_scale` must be a PiecewiseConstant, to be tuned, "
            f"but they are {listed}, and no task has such a rate."
        )
    for name, each in tuned.items():
        if np.any(each.values <= 0):
            raise ValueError(f"Argument `{name}` must have values > 0, but has {each.values}.")
    return tuned


def _tunable_rates(checked: Hyperparameters) -> dict[str, PiecewiseConstant]:
    """Rates of tasks among which samples can be shared out anew, two or more, by name."""
    rates = {
        f"tasks[{i}].rate": rate.function
        for i, rate in enumerate(checked.rates or ())
        if isinstance(getattr(rate, "function", None), PiecewiseConstant)
        and np.all(rate.function.values > 0)
    }
    jumps = {tuple(np.asarray(each.jumps).tolist()) for each in rates.values()}
    if len(jumps) > 1:
        raise ValueError(
            "Argument `tasks` must have rates of the same jumps to share samples out among them, "
            f"but has {[*rates.values()]}; a function of t stays as it is."
        )
    return rates if len(rates) > 1 else {}


def _minimum(
    function: Callable[[Any], Any], start: np.ndarray, within: float, max_iterations: int
) -> tuple[Any, float]:
    """What L-BFGS finds no further than ``within`` from the start, and the value at the start.

    The function returns its value twice, of which one is differentiated.  None is found from a
    start that is lost already.
    """
    slope_and_value = jax.jacfwd(function, has_aux=True)

    def both(at: np.ndarray) -> tuple[float, np.ndarray]:
        slope, value = slope_and_value(at)
        return float(value), np.nan_to_num(np.asarray(slope))

    before, _ = both(start)
    if before >= LOG_ERROR_IF_LOST:
        return None, before
    found = minimize(
        both, start, jac=True, method="L-BFGS-B", options={"maxiter": max_iterations},
        bounds=[(each - within, each + within) for each in start],
    )  # fmt: skip
    return found, before
