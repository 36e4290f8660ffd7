"""Feedback drawn independently of the weights: B diffuses, and obeys a stochastic equation.

With entries of F of O(1), B = W F / sqrt(N) gets an increment at every sample, ``-lr / sqrt(N)
delta_k rho_o`` with ``rho = F^T x / sqrt(N)`` of O(1), and N of them per unit of time add up to
O(1).  In the limit B obeys the Ito equation ::

    dB = drift dt + Gaussian increments,   Cov(dB_ko, dB_lp) = lr^2 P_op <delta_k delta_l> dt

while Q, R and v follow their noise-free equations along the path of B, and S and P are constants of
motion.  The drift is that of ``odes/equations.py``.  The B of a group of inputs of variance omega
has increments of its own, with omega times the P of that group.  Importing this module imports JAX
and diffrax.
"""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import diffrax
import jax
import lineax
import numpy as np

from odes.averages.nodes import check_averaged
from odes.averages.quadrature import Points
from odes.averages.sampled import roots
from odes.common.calls import remembered
from odes.common.checks import check_count, check_number, check_seed, check_times, hyperparameters
from odes.common.layers import have_layers, outputs_of
from odes.common.machine import ran_out_of_memory, this_machine
from odes.common.order_parameters import (
    Hyperparameters,
    OrderParameters,
    Teacher,
    joint_covariance,
    over_parts,
)
from odes.common.overlaps import check_overlaps
from odes.common.tasks import with_tasks
from odes.common.trajectory import Trajectory, trajectory_of_runs
from odes.equations import averaged
from odes.problem import Problem, choose, has_closed_form, prepare, way_of_averaging
from odes.rules import FACTORS, Rule, check_moves_with_F
from odes.solvers.average_errors import average_error
from odes.solvers.batches import batch_of_paths

POINTS = 2**10
"""Sobol points where there is no closed form, unless the caller chose others."""

BROWNIAN_RESOLUTION = 2.0**-20
"""Relative to the last time: paths of the same seed are the same down to steps of this length."""

MIN_STEPS = 2**10
"""Least length of the padded grid of steps, so that few are compiled; padding costs nothing."""

PATHS_LOOKED_AT, TIMES_LOOKED_AT = 2, 4
"""Of which the error of averages is estimated."""

MAX_STEPS = 2**26
"""Steps of a path, at most."""


@remembered
def solve_paths(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    n_paths: int,
    seed: int = 0,
    lr: float,
    lr_v: float | None = None,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    times: Any,
    dt: float | None = None,
    points: int | Points | None = None,
    tasks: Any = None,
) -> Trajectory:
    """Learning curves for a random F: sample paths of the Ito equation of this module.

    One network has one path; mean and spread over paths are those of networks over their data.
    Integrated by the Euler-Maruyama scheme, of weak order 1 in ``dt``.  With P = 0 nothing
    diffuses, and the paths are the solution of :func:`odes.solve` to that order.

    Args:
        initial, teacher: as for :func:`odes.solve`, with P (O, O) in the scaling of random
            feedback, as :meth:`simulations.Network.overlaps` measures it on a network with random
            feedback; nothing in the numbers tells the scalings apart.  If both B and S are None,
            every path draws its own F, which gives [B; S] the covariance C x P; else all share
            B and S.
        rule: a rule that feeds back through F, does not move W along F, and leaves it to AFA how B
            moves: "afa", "pepita", or a rule object.
        n_paths: number of paths.
        seed: of the Brownian motions and of F.  The paths of a seed and a last time depend neither
            on ``dt`` nor on the other times.
        lr, lr_v, noise, weight_decay, weight_decay_v, activation: as for :func:`odes.solve`.
        times: where to report, (n,), in samples / N, strictly increasing and >= 0.
        dt: longest step, in samples / N; None for 0.01 over the larger learning rate.
        tasks: as for :func:`odes.solve`, but with rates that are numbers.
        points: as for :func:`odes.solve`, but 2^10 Sobol points where there is no closed form: see
            ``average_error``.

    Returns:
        A Trajectory with arrays of leading axes (n_paths, n), B what the rule sends back, and one
        status a path, "ok" or "diverged".  Where averages are taken over points, ``average_error``
        is their largest one at four of the times of two paths.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    rule, activation = choose(rule, activation)
    parameters = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v
    )
    parameters = with_tasks(parameters, tasks, check_number)
    times = check_times(times)
    n_paths = check_count("n_paths", n_paths)
    seed = check_seed(seed)
    if dt is None:
        dt = 0.01 / max(parameters.fastest, 0.01)
    dt = check_number("dt", dt, positive=True)
    check_diffuses(rule)
    draws_F = getattr(initial, "B", False) is None and getattr(teacher, "S", False) is None
    if draws_F:
        initial, teacher = check_overlaps(initial, teacher, ("P",))
        groups = np.shape(initial.R)[:-2]
        (K, M), O = np.shape(initial.R)[-2:], outputs_of(initial.v)
        initial = initial._replace(B=np.zeros((*groups, K, O)))
        teacher = teacher._replace(S=np.zeros((*groups, M, O)))
    shallow = not have_layers(getattr(initial, "v", None), getattr(teacher, "v_star", None))
    if points is None and not (shallow and has_closed_form(rule, activation)):
        points = POINTS
    problem = prepare(
        initial, teacher, rule=rule, activation=activation, points=points, parameters=parameters,
        tasks=tasks, with_P=True, aligned=False,
    )  # fmt: skip
    if check_averaged(problem.rule, problem.activation, problem.initial):
        raise ValueError(
            "Argument `rule` must not move W along F (gamma) if F is random: that moves B by O(1) "
            "at every sample, so that no limit of large N exists.  Use an aligned F and solve(), "
            'or the rule "pepita".'
        )

    if times[-1] > MAX_STEPS * dt:
        raise ValueError(
            f"Argument `dt` must be at least {times[-1] / MAX_STEPS:.3g} up to the last of "
            f"`times`, but is {dt:.3g}; unless given, it is 0.01 over the larger of `lr` and "
            "`lr_v`."
        )
    grid = _steps(times, dt)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), n_paths)
        if draws_F:
            overlaps = _draw_overlaps(problem.initial, problem.teacher, keys)
        else:
            given = np.concatenate([problem.initial.B, problem.teacher.S], axis=-2)
            overlaps = np.repeat(given[None], n_paths, axis=0)
    states, errors = _in_batches(problem, parameters, keys, overlaps, grid, times)
    total = problem.total(errors)
    curves = trajectory_of_runs(
        times,
        states,
        total,
        total if rule.classifies else None,
        errors,
        averages=way_of_averaging(problem.points),
    )
    if problem.points is None:
        return curves
    return curves._replace(average_error=_average_error(problem, overlaps, curves))


def _in_batches(problem: Problem, *given: Any) -> tuple[OrderParameters, Any]:
    """:func:`_paths` of so many side by side as fit the memory of the device."""
    batch_size = batch_of_paths(len(given[1]), this_machine(), problem.points)
    while True:
        try:
            return problem.compiled(_paths, batch_size=batch_size)(*given)
        except jax.errors.JaxRuntimeError as error:
            if not ran_out_of_memory(error) or batch_size == 1:
                raise
        batch_size = -(-batch_size // 2)
        warnings.warn(
            "The device ran out of memory; solve_paths() goes on with fewer paths at a time.",
            RuntimeWarning, stacklevel=4,
        )  # fmt: skip


def _average_error(problem: Problem, overlaps: Any, curves: Trajectory) -> float:
    """The largest estimated error of averages over nodes, of the first paths where they are saved.

    Each path has its own [B; S] at the start among ``overlaps``.
    """
    K, times = problem.initial.R.shape[-2], curves.times
    chosen = np.unique(np.linspace(0, len(times) - 1, TIMES_LOOKED_AT).round().astype(int))
    errors = []
    for index in range(min(PATHS_LOOKED_AT, len(curves.status))):
        S = np.asarray(overlaps[index])[..., K:, :]
        path = replace(problem, teacher=problem.teacher._replace(S=S))
        states = (
            (times[n], path.pack(over_parts(lambda a, i=(index, n): a[i], curves.order_parameters)))
            for n in chosen
        )
        errors.append(average_error(path, [(t, y) for t, y in states if np.all(np.isfinite(y))]))
    return float(np.nanmax(errors)) if np.any(np.isfinite(errors)) else np.nan


def check_diffuses(rule: Rule) -> None:
    """ValueError for a rule whose B does not diffuse with a random F, or not as that of AFA."""
    if set(FACTORS) & set(rule.needs):
        raise ValueError(
            "Argument `rule` must not have an F in factors (`needs`), such as mirrors learn, since "
            "it is aligned then: use solve()."
        )
    if "S" not in rule.needs:
        raise ValueError(
            "Argument `rule` must feed back through F for its B to diffuse, but this one does not: "
            "solve() is exact for it."
        )
    check_moves_with_F(rule, "rule", "be one for solve()")


def _steps(times: np.ndarray, dt: float) -> np.ndarray:
    """0, the ends of all steps, and among them the times; no step is longer than dt.

    The last end is there more than once, for few sizes to compile for.
    """
    grid = [np.zeros(1)]
    for start, end in itertools.pairwise([0.0, *times]):
        count = math.ceil((end - start) / dt)
        grid.append(np.linspace(start, end, count + 1)[1:])
    steps = np.concatenate(grid)
    steps = steps if steps.size > 1 else np.array([0.0, dt])
    size = max(MIN_STEPS, 2 ** (steps.size - 1).bit_length())
    return np.pad(steps, (0, size - steps.size), mode="edge")


class Steps(diffrax.StepTo):
    """Steps to prespecified times, which may end with copies of the last one."""

    def wrap(self, direction: Any) -> Steps:
        """Itself, unchecked: time goes forward."""
        return self


def _draw_overlaps(initial: OrderParameters, teacher: Teacher, keys: Any) -> Any:
    """[B; S] of an F of each path's own: normal with covariance C x P, (n_paths, K + M, O).

    In every group of inputs, if there are any, with the variance of the entries of F there.
    """
    C = joint_covariance(initial, teacher)
    P: Any = teacher.P
    if teacher.inputs is not None:
        P = P / teacher.inputs.shares[:, None, None]
    left, right = _roots(C), _roots(P)
    shape = (*C.shape[:-1], P.shape[-1])

    def one(key: Any) -> Any:
        return left @ jax.random.normal(jax.random.fold_in(key, 1), shape) @ right

    return jax.vmap(one)(keys)


def _roots(covariance: Any) -> Any:
    """Symmetric square roots of a covariance, or of one for each group of inputs."""
    if covariance.ndim == 2:
        return roots(covariance)[0]
    return jax.vmap(lambda each: roots(each)[0])(covariance)


def _paths(
    problem: Problem,
    parameters: Hyperparameters,
    keys: Any,
    overlaps: Any,
    grid: Any,
    times: Any,
    *,
    batch_size: int,
) -> tuple[OrderParameters, Any]:
    """States and errors at ``times`` of all paths, so many side by side."""
    problem = replace(problem, parameters=parameters)
    K, inputs = problem.initial.R.shape[-2], problem.teacher.inputs
    start: Any = problem.initial.B
    shape = start.shape

    def noise_increments(path: Problem, y: Any) -> Any:
        state, teacher = path.unpack(y), path.teacher
        delta_delta = sum(
            rate * averaged(
                state, teacher, own, path.rule, path.activation,
                path.moments if stream is None else partial(path.moments, stream=stream),
            ).delta_delta
            for stream, rate, own in path.by_stream(parameters)
        )  # fmt: skip
        P = teacher.P if inputs is None else inputs.eigenvalues[:, None, None] * teacher.P
        left, right = parameters.lr * roots(delta_delta)[0], _roots(P)
        still = path.changes(0 * y)
        return lineax.FunctionLinearOperator(
            lambda dW: path.pack(still._replace(B=left @ dW @ right)),
            jax.ShapeDtypeStruct(shape, y.dtype),
        )

    def one_path(drawn: tuple[Any, Any]) -> tuple[OrderParameters, Any]:
        key, B_S = drawn
        path = replace(
            problem,
            initial=problem.initial._replace(B=B_S[..., :K, :]),
            teacher=problem.teacher._replace(S=B_S[..., K:, :]),
        )
        brownian = diffrax.VirtualBrownianTree(
            0.0, grid[-1], tol=BROWNIAN_RESOLUTION * grid[-1], shape=shape, key=key
        )
        y = diffrax.diffeqsolve(
            diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, y, _: path.drift(y, parameters)),
                diffrax.ControlTerm(lambda t, y, _: noise_increments(path, y), brownian),
            ),
            diffrax.Euler(),
            t0=0.0,
            t1=grid[-1],
            dt0=None,
            y0=path.pack(path.initial),
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=Steps(ts=grid),
            max_steps=grid.size,
            throw=False,
        ).ys
        states = path.unpack(y)
        return path.sent_back(states), path.output_errors(states)

    return jax.lax.map(one_path, (keys, overlaps), batch_size=batch_size)
