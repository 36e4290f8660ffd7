"""One problem of the theory: arguments checked once, and a state as one vector of what can move.

All that integrates, differentiates or looks for fixed points does so through a :class:`Problem`.
Importing this module does not import JAX; averages over points and compiled code do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from odes.averages.activations import ACTIVATIONS, Activation
from odes.averages.closed import Moments, closed_moments
from odes.averages.quadrature import Points
from odes.common.checks import check_traceable, is_activation, is_traced, lookup
from odes.common.groups import pooled
from odes.common.layers import (
    LAYERED,
    check_rates,
    have_layers,
    is_several,
    outputs_of,
    shapes_at,
    shapes_of,
    widths_of,
)
from odes.common.order_parameters import (
    DIMENSIONS,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    over_parts,
    scale_feedback,
)
from odes.common.overlaps import check_feedback_matrix, check_overlaps, shape_overlaps
from odes.common.schedules import check_scale, parameters_at
from odes.common.tasks import Stream, streams_of
from odes.equations import unchecked_drift, unchecked_output_errors
from odes.rules import (
    FACTORS,
    RULES,
    Rule,
    check_feedback_drift,
    check_rule,
    differentiates,
    is_own,
    learns_by_sample,
    learns_feedback,
    needs_of,
    overrides,
    predicts_by_readout,
    reported,
)
from odes.state_vector import packing


@dataclass(frozen=True)
class Problem:
    """A rule and an activation, where a student starts, and what stays as it is.

    B, S and P are those of the feedback before ``feedback_scale`` multiplies it, which the drift
    does; for rules that learn their feedback, :meth:`with_scaled_start` multiplies what they start
    with.
    """

    initial: OrderParameters
    teacher: Teacher
    rule: Rule
    activation: Any
    points: Any  # averaged over; None for closed forms
    moving: tuple[str, ...]  # the order parameters that can move, by name
    parameters: Any = None  # numbers or schedules; None where compiled code is given them
    streams: tuple[Stream | None, ...] = ()  # what each task trains
    own_code: dict[Any, Any] = field(default_factory=dict, repr=False)  # of a user's rule

    @cached_property
    def _packing(self) -> tuple[Callable[..., Array], Callable[..., OrderParameters]]:
        return packing(self.initial, self.moving)

    def pack(self, state: OrderParameters) -> Array:
        """What can move of a state, as one vector, each distinct Q_kl once."""
        return self._packing[0](state)

    def unpack(self, y: Array) -> OrderParameters:
        """The state of such a vector, or states of several; what cannot move is as it was."""
        return self._packing[1](y)

    def changes(self, y: Array) -> OrderParameters:
        """A difference of packed states, as order parameters; 0 in what cannot move."""
        still = over_parts(lambda part: 0 * part, self.initial)
        return packing(still, self.moving)[1](y)

    @property
    def moments(self) -> Callable[..., Moments]:
        """How averages over inputs are taken."""
        if self.points is None:
            return closed_moments
        from odes.averages.sampled import sampled_moments

        return partial(sampled_moments, points=self.points)

    @cached_property
    def node_averages(self) -> Any:
        """Averages over the points, of NumPy arrays."""
        from odes.averages.blocks import handed_over
        from odes.averages.node_sums import NodeAverages

        return NodeAverages(self, list(handed_over(self.points)))

    def drift(
        self, y: Array, parameters: Hyperparameters, moments: Callable[..., Moments] | None = None
    ) -> Array:
        """d/dt of a packed state: the sum of those by the samples of all tasks, if there are any.

        ``moments`` are taken in place of the problem's own.
        """
        if not self.streams:
            return self.drift_by(y, parameters, moments=moments)
        return sum(
            rate * self.drift_by(y, own, stream=stream, moments=moments)
            for stream, rate, own in self.by_stream(parameters)
        )

    def by_stream(
        self, parameters: Hyperparameters
    ) -> list[tuple[Stream | None, Any, Hyperparameters]]:
        """What each task trains, the rate of its samples, and the parameters that these see."""
        if not self.streams:
            return [(None, 1.0, parameters)]
        tasks = zip(self.streams, parameters.rates, parameters.noise, strict=True)
        return [
            (stream, rate, parameters._replace(noise=noise, rates=None))
            for stream, rate, noise in tasks
        ]

    def drift_by(
        self,
        y: Array,
        parameters: Hyperparameters,
        *,
        stream: Stream | None = None,
        moments: Callable[..., Moments] | None = None,
    ) -> Array:
        """d/dt of a packed state by samples that train what the stream says, at a rate of 1."""
        change = unchecked_drift(
            self.unpack(y), self.teacher, parameters, stream=stream,
            rule=self.rule, activation=self.activation, moments=moments or self.moments,
        )  # fmt: skip
        return self.pack(change)

    def velocity(self) -> Callable[[float, np.ndarray], np.ndarray]:
        """The drift of a packed NumPy state at time t, of those tasks alone that are on."""
        moments = self.moments if self.points is None else self.node_averages.moments

        def at(t: float, y: np.ndarray) -> np.ndarray:
            now, found = parameters_at(self.parameters, t), 0 * y
            for stream, rate, own in self.by_stream(now):
                if rate != 0:
                    found = found + rate * self.drift_by(y, own, stream=stream, moments=moments)
            return found

        return at if self.points is None else self.node_averages.in_double_precision(at)

    @property
    def has_closed_error(self) -> bool:
        """Whether the generalization error has a closed form."""
        shallow = not have_layers(self.initial.v, self.teacher.v_star)
        return shallow and predicts_by_readout(self.rule) and has_averages(self.activation)

    def error(self, states: OrderParameters) -> Array:
        """The generalization error of states with leading axis n, (n,)."""
        return self.total(self.output_errors(states))

    def total(self, output_errors: Array) -> Array:
        """The generalization error from those of all outputs, (..., O)."""
        return output_errors.mean(axis=-1) if self.rule.classifies else output_errors.sum(axis=-1)

    def output_errors(self, states: OrderParameters) -> Array:
        """The errors of all outputs of states with leading axis n, (n, O)."""
        if self.has_closed_error:
            return unchecked_output_errors(states, self.teacher, self.activation)
        from odes.averages.sampled import sampled_errors

        return sampled_errors(self, states)

    def measured_errors(self, states: OrderParameters) -> np.ndarray:
        """The errors of all outputs of NumPy states with leading axis n, (n, O)."""
        if self.has_closed_error:
            return self.output_errors(states)
        return self.node_averages.errors(states)

    def sent_back(self, states: OrderParameters, times: Any = None) -> OrderParameters:
        """The states with B what the rule sends back; None where that is v.

        A state, or states at times (n,).
        """
        scale = self.parameters.feedback_scale
        if callable(scale) and states.R.__array_namespace__() is np:
            scale = np.array([scale(t) for t in times.tolist()])[:, None, None]
        elif callable(scale):
            import jax

            scale = jax.vmap(scale)(times)[:, None, None]
        return reported(self.rule, scale_feedback(states, self.teacher, scale)[0])

    def with_scaled_start(self) -> Problem:
        """The problem with the scale of learned feedback absorbed into where it starts."""
        if not learns_feedback(self.rule):
            return self
        scale = self.parameters.feedback_scale
        initial, teacher = scale_feedback(self.initial, self.teacher, scale)
        parameters = self.parameters._replace(feedback_scale=1.0)
        return replace(self, initial=initial, teacher=teacher, parameters=parameters)

    def compiled(self, function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        """:meth:`jitted` in double precision, from and to NumPy arrays."""
        run = self.jitted(function, **how)

        def in_double_precision(*arguments: Any) -> Any:
            import jax

            with jax.enable_x64(True):
                return jax.tree.map(np.asarray, run(*arguments))

        return in_double_precision

    def jitted(
        self, function: Callable[..., Any], anew: bool = False, **static: Any
    ) -> Callable[..., Any]:
        """``function(problem, ...)`` under jit, with further constants.

        What is compiled for the packages' own rules and activations is kept, unless it is to be
        compiled ``anew``.  A user's objects may change between calls, and what is compiled of them
        is kept with the problem, and with those that :func:`dataclasses.replace` makes of it.
        """
        known = is_own(self.rule) and any(self.activation is own for own in ACTIVATIONS.values())
        given = function, self.rule, self.activation, self.moving, self.streams
        if known and not anew:
            run = _kept(*given, **static)
        elif anew:
            run = _jitted(*given, **static)
        else:
            key = function, tuple(static.items())
            run = self.own_code.setdefault(key, _jitted(*given, **static))
        return partial(run, (self.initial, self.teacher, self.points))


def _jitted(
    function: Callable[..., Any],
    rule: Any,
    activation: Any,
    moving: Any,
    streams: Any,
    **static: Any,
) -> Callable[..., Any]:
    """``function(problem, ...)`` under jit, as a function of the problem's arrays."""
    import jax

    def run(arrays: tuple[Any, Any, Any], *arguments: Any) -> Any:
        initial, teacher, points = arrays
        problem = Problem(initial, teacher, rule, activation, points, moving, streams=streams)
        return function(problem, *arguments, **static)

    return jax.jit(run)


_kept = cache(_jitted)


def prepare(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    rule: Any,
    activation: Any,
    points: int | Points | None,
    parameters: Hyperparameters,
    tasks: Any = None,
    name: str = "initial",
    with_P: bool = False,
    aligned: bool = True,
    traced: bool = False,
) -> Problem:
    """The Problem of arguments of :func:`odes.solve`, of which parameters are checked already.

    A parameter may be an array, and is zero if all entries are; rates and noise of the tasks are
    among the parameters.  ``name`` is that of the argument with the state; ``with_P`` asks for P
    wherever there is an F, whose scaling is ``aligned`` or random; and ``traced`` says that arrays
    may be traced by JAX, whose shapes alone are checked.

    Raises ValueError, which names the argument, what it must be and what it was.
    """
    rule, activation = choose(rule, activation)
    initial, teacher = overlaps_for(
        rule, initial, teacher, name=name, with_P=with_P, aligned=aligned, traced=traced
    )
    rule.check(initial.R.shape[-2], outputs_of(initial.v), activation)
    if is_several(initial.v):
        rule.check_layers(initial.v)
    check_rates(parameters, initial.v)
    of_labels = is_several(initial.v) and not predicts_by_readout(rule)
    apart = not (set(FACTORS) & set(rule.needs) or of_labels)
    streams = streams_of(tasks, initial.v, units_apart=apart)
    for part in (part for stream in streams for part in stream or ()):
        rule.check(len(part.units[0]), len(part.outputs), activation)
    if teacher.inputs is not None and "S" in rule.needs and overrides(rule, "feedback"):
        raise ValueError(
            "Argument `rule` must leave `feedback` as it is with inputs in groups, where B is the "
            f"overlap of W and F in each, but {rule!r} overrides it."
        )
    check_feedback(rule, pooled(initial, teacher)[0])
    frozen = _is_zero(parameters.lr_v) and _is_zero(parameters.weight_decay_v)
    nodes = learned = None
    shallow = not have_layers(initial.v, teacher.v_star)
    if points is not None or not (shallow and has_closed_form(rule, activation)):
        from odes.averages.nodes import points_of, tried

        noisy = not _is_zero(parameters.noise)
        nodes = points_of(initial, teacher, points, noisy, rule, activation)
        learned = tried(rule, activation, initial).weights
    moved = check_feedback_drift(rule, initial, teacher, activation, learned)
    moving = ("Q", "R", *(() if frozen else ("v",)), *moved)
    check_scale(learns_feedback(rule), parameters)
    return Problem(initial, teacher, rule, activation, nodes, moving, parameters, streams)


def overlaps_for(
    rule: Rule,
    initial: OrderParameters,
    teacher: Teacher,
    *,
    name: str = "initial",
    with_P: bool = False,
    aligned: bool = True,
    traced: bool = False,
) -> tuple[OrderParameters, Teacher]:
    """What a rule needs of state and teacher, checked; the rest as for :func:`prepare`."""
    needs = needs_of(rule)
    if with_P and "S" in needs:
        needs |= {"P": DIMENSIONS["P"]}
    if traced:
        return shape_overlaps(initial, teacher, needs, check_traceable)
    initial, teacher = check_overlaps(initial, teacher, needs, name)
    if "P" in needs and aligned:
        check_feedback_matrix(initial, teacher)
    return initial, teacher


def _is_zero(value: Any) -> bool:
    """Whether a parameter is known to be zero, everywhere and at all times."""
    if is_several(value):
        return all(map(_is_zero, value))
    return not callable(value) and not is_traced(value) and not np.any(value)


def choose(rule: Any, activation: Any) -> tuple[Rule, Any]:
    """The rule and the activation of those names, or the user's own; ValueError otherwise."""
    rule = lookup("rule", RULES, rule, "an odes.Rule", lambda own: isinstance(own, Rule))
    check_rule(rule)
    activation = lookup(
        "activation", ACTIVATIONS, activation, "a function of JAX arrays", is_activation
    )
    return rule, activation if hasattr(activation, "g") else Activation(activation, smooth=False)


def check_feedback(rule: Rule, initial: OrderParameters) -> None:
    """ValueError unless the rule feeds back something of the shape of v."""
    sent_back = rule.feedback(initial)
    if sent_back is initial.v:
        return
    found = shapes_of(sent_back)
    dimensions = needs_of(rule).get("B", LAYERED)
    if "S1" in rule.needs:
        dimensions = DIMENSIONS["B"]
    expected = shapes_at(dimensions, widths_of(initial.v), outputs_of(initial.v))
    if found != expected:
        raise ValueError(
            f"Argument `rule` must feed back a B of shape {expected}, but it is of shape {found}."
        )


def has_closed_form(rule: Rule, activation: Any) -> bool:
    """Whether ``closed_moments`` covers this rule with this activation."""
    closed = differentiates(rule) and not learns_by_sample(rule)
    return closed and predicts_by_readout(rule) and has_averages(activation)


def has_averages(activation: Any) -> bool:
    """Whether an activation has closed forms, and no function of all fields of its own."""
    return hasattr(activation, "second_moment") and getattr(activation, "hidden", None) is None


def way_of_averaging(points: Points | None) -> str:
    """How a result was averaged, in words; None for closed forms."""
    return "closed forms" if points is None else f"{len(points.weights)} {points.kind}"
