"""When a solution stops: at an error, or where a function of state and teacher is 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from odes.common.checks import check_number, quoted
from odes.common.order_parameters import Array
from odes.problem import Problem


def check_until(until: Any) -> Any:
    """None, a function, or an error > 0; ValueError for anything else."""
    if until is None or callable(until):
        return until
    return check_number("until", until, positive=True)


def check_function(name: str, value: Any) -> Any:
    """None or a function; ValueError for anything else."""
    if value is not None and not callable(value):
        raise ValueError(f"Argument `{name}` must be None or a function, but is {quoted(value)}.")
    return value


def distance(problem: Problem, until: Any) -> Callable[[Array], Array]:
    """How far a packed state is from where ``until`` stops it: positive, and 0 there."""

    def of_error(y: Array) -> Array:
        states = problem.unpack(y[None])
        measured = problem.measured_errors if isinstance(y, np.ndarray) else problem.output_errors
        return problem.total(measured(states))[0] - until

    def of_function(y: Array) -> Array:
        try:
            value = until(problem.unpack(y), problem.teacher)
            if not isinstance(y, np.ndarray):
                return value.reshape(()) * 1.0
            if np.isnan(number := float(value)):
                raise ValueError("NaN")
            return number
        except Exception as error:
            raise ValueError(
                "Argument `until` must return a number for order parameters and a teacher, in JAX "
                f"for flow() and sweep(), but raised {error!r}."
            ) from error

    return of_function if callable(until) else of_error
