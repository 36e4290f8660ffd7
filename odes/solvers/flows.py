"""The learning curve as a JAX function: compiled, batched and differentiated like any other.

:func:`odes.solve` integrates in NumPy, without compilation, and checks its input; :func:`flow`
integrates the same equations in JAX.  Importing this module imports JAX and diffrax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.flatten_util import ravel_pytree

from odes.averages.quadrature import Points
from odes.common.checks import (
    check_double_precision,
    check_number,
    check_times,
    check_traceable,
    completed,
    is_traced,
)
from odes.common.layers import layers_of
from odes.common.order_parameters import (
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
)
from odes.common.schedules import (
    PiecewiseConstant,
    check_jumps,
    check_schedule,
    in_each,
    jumps_of,
    may_change,
)
from odes.common.tasks import with_tasks
from odes.problem import Problem, prepare
from odes.solvers.jax_integrator import Flow, integrate
from odes.solvers.stopping import check_until
from odes.solvers.trajectory import check_tolerances


def flow(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    lr: Any,
    lr_v: Any = None,
    feedback_scale: Any = 1.0,
    noise: Any = 0.0,
    weight_decay: Any = 0.0,
    weight_decay_v: Any = None,
    activation: Any = "erf",
    times: Any,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 10_000,
    points: int | Points | None = None,
    tasks: Any = None,
    until: Any = None,
) -> Flow:
    """The learning curve of ``odes.drift`` as a function for jax.jit, vmap, grad and jvp.

    Both modes of differentiation work, to any order, by every array and scalar but ``times``, the
    jumps of schedules, the tolerances and the parameters of a rule; the error of Forward-Forward, a
    share of points, has a gradient of zero, and where a rule or an activation jumps, the derivative
    leaves out what points that cross the jump add.  Inside, derivatives of either mode are taken in
    forward mode, side by side for all numbers that are differentiated by: meant for tens of them.

    What is compiled is kept by rule, activation, tolerances and shapes, for whatever function
    calls ``flow``: the first gradient of a process takes some 6 s, later ones hundredths of a
    second.  So leave ``jax.grad`` of a function that changes without a ``jax.jit`` around it, which
    would compile anew.  Rules, activations and functions of time of one's own, which may change,
    are compiled at each call unless there is one.

    Of arrays and scalars that are traced only the shapes are checked; a
    schedule is evaluated on traced times, and must be made of what JAX can trace.  JAX has
    to be in double precision: call it, and whatever transforms it, inside
    ``with jax.enable_x64(True):``.

    Args:
        initial, teacher, rule, lr, lr_v, feedback_scale, noise, weight_decay, weight_decay_v,
            activation, times, max_steps, points, tasks: as for :func:`odes.solve`, schedules
            included.  The values of a PiecewiseConstant, and rates and noise of tasks, may be
            traced, and be differentiated by; its jumps must not.
        until: as for :func:`odes.solve`, in JAX; ``stopped`` has derivatives.
        rtol, atol: relative and absolute accuracy.  The steps of the integrator (Tsit5) are held to
            0.03 times these, or to 1e-4 where the rule or the activation is not smooth.

    Returns:
        A Flow.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    solved, given = solution_of(
        initial, teacher, rule=rule, lr=lr, lr_v=lr_v, feedback_scale=feedback_scale, noise=noise,
        weight_decay=weight_decay, weight_decay_v=weight_decay_v, activation=activation,
        times=times, rtol=rtol, atol=atol, max_steps=max_steps, points=points, tasks=tasks,
        until=until,
    )  # fmt: skip
    (times, states, error, *others), counts = solved(*given)
    return Flow(times, states, error, *counts, *others)


def solution_of(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    activation: Any,
    times: Any,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    points: int | Points | None,
    tasks: Any,
    until: Any,
    **scalars: Any,
) -> tuple[Callable[..., tuple[tuple, tuple]], tuple]:
    """What :func:`flow` calls, and with what, from checked arguments."""
    check_double_precision(jnp.zeros(()))
    rtol, atol, max_steps = check_tolerances(rtol, atol, max_steps)
    until = check_until(until)
    times = jnp.asarray(times, float) if is_traced(times) else jnp.asarray(check_times(times))
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"Argument `times` must have shape (n,), but has shape {times.shape}.")
    parameters = with_tasks(completed(scalars, _checked), tasks, _checked)
    problem = prepare(
        initial, teacher, rule=rule, activation=activation, points=points, parameters=parameters,
        tasks=tasks, traced=True,
    )  # fmt: skip
    jumps = np.array(jumps_of(parameters, np.inf))
    parameters = Hyperparameters(
        *(None if each is None else in_each(_as_arrays, each) for each in parameters)
    )
    parts = (part for each in parameters for part in layers_of(each))
    anew = any(isinstance(part, Converted) for part in parts)  # of this call: not to be kept
    solved = problem.jitted(
        _by_columns, rtol=rtol, atol=atol, max_steps=max_steps,
        until=until if callable(until) else None, anew=anew or callable(until),
    )  # fmt: skip
    level = until if isinstance(until, float) else None
    return solved, (parameters, times, jumps, level)


class Converted(NamedTuple):
    """A user's schedule with the arrays that it refers to, traced ones among them, beside it."""

    function: jax.tree_util.Partial
    arrays: list[Any]

    def __call__(self, t: Any) -> Any:
        """The value at time t."""
        return self.function(t, *self.arrays)


def _checked(name: str, value: Any) -> Any:
    """A scalar, traced or not, or a schedule made of what JAX can trace; ValueError otherwise."""
    if callable(value) and may_change(name):
        if isinstance(value, PiecewiseConstant):
            check_jumps(name, value)
            if is_traced(value.values):
                value = value._replace(values=jnp.asarray(value.values, float))
            else:
                value = check_schedule(name, value).function
        check_shape(name, value)
        return value
    if not is_traced(value):
        return check_number(name, value)
    value = check_traceable(name, value)
    check_shape(name, value)
    return value


def _as_arrays(value: Any) -> Any:
    """A number or a schedule in terms of arrays, for compiled code to take as an argument."""
    if isinstance(value, PiecewiseConstant):
        return PiecewiseConstant(*(jnp.asarray(each, float) for each in value))
    if callable(value):
        function, arrays = jax.closure_convert(lambda t: value(t), jnp.zeros(()))
        return Converted(jax.tree_util.Partial(function), arrays)
    return jnp.asarray(value, float)


def _by_columns(
    problem: Problem,
    parameters: Hyperparameters,
    times: Array,
    jumps: Array,
    level: Array | None = None,
    *,
    until: Any,
    **static: Any,
) -> tuple[tuple, tuple]:
    """The arrays of a Flow that have derivatives, and the two counts; ``level`` is an error."""

    def solution(given: tuple) -> tuple[tuple, tuple]:
        initial, teacher, points, parameters, times, jumps, level = given
        around = replace(problem, initial=initial, teacher=teacher, points=points)
        stop = until if level is None else level
        curve = integrate(around, parameters, times, jumps=jumps, until=stop, **static).flow()
        others = curve.output_errors, curve.stopped, curve.final
        return (*curve[:3], *others), (curve.status, curve.n_steps)

    arrays = problem.initial, problem.teacher, problem.points
    return by_columns(solution)((*arrays, parameters, times, jumps, level))


def by_columns(function: Callable[[Any], tuple[Any, Any]]) -> Callable[[Any], tuple[Any, Any]]:
    """``function``, with derivatives of any order, in either mode, that take forward mode alone.

    A function of a tree of arrays, which returns what to differentiate and, beside it, integers.
    A derivative is a product with the columns of the Jacobian, one for each number that is
    differentiated by; loops are not traced backwards, which takes long to compile.
    """
    called = jax.custom_jvp(function)

    @partial(called.defjvp, symbolic_zeros=True)
    def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
        changes = jax.tree.leaves(tangents, is_leaf=lambda each: isinstance(each, SymbolicZero))
        moving = [i for i, each in enumerate(changes) if not isinstance(each, SymbolicZero)]

        def with_columns(given: Any) -> tuple[Any, Any]:
            leaves, structure = jax.tree.flatten(given)
            start, parts = ravel_pytree([leaves[i] for i in moving])

            def at(x: Any) -> tuple[Any, Any]:
                moved = dict(zip(moving, parts(x), strict=True))
                parts_now = [moved.get(i, each) for i, each in enumerate(leaves)]
                return function(jax.tree.unflatten(structure, parts_now))

            def along(direction: Any) -> tuple[Any, Any, Any]:
                return jax.jvp(at, (start,), (direction,), has_aux=True)

            basis = jnp.eye(start.size)
            values, columns, counts = jax.vmap(along, out_axes=(None, -1, None))(basis)
            return (values, columns), counts

        (values, columns), counts = by_columns(with_columns)(*primals)
        change, _ = ravel_pytree([changes[i] for i in moving])
        still = jax.tree.map(lambda each: np.zeros(each.shape, jax.dtypes.float0), counts)
        return (values, counts), (jax.tree.map(lambda each: each @ change, columns), still)

    return called


def check_shape(name: str, value: Any) -> None:
    """ValueError unless a number, or what a schedule returns when JAX traces it, is a scalar."""
    if callable(value):
        check_jumps(name, value)
        try:
            with jax.enable_x64(True):
                shape = jax.eval_shape(lambda t: value(t), jax.ShapeDtypeStruct((), float)).shape
        except (jax.errors.JAXTypeError, TypeError, AttributeError) as error:
            raise ValueError(
                f"Argument `{name}` must be made of what JAX can trace, such as "
                f"odes.PiecewiseConstant and jax.numpy; solve() takes any function.  {error}"
            ) from error
    else:
        shape = jnp.shape(value)
    if shape != ():
        raise ValueError(f"Argument `{name}` must be a scalar, but has shape {shape}.")
