"""What follows from what a rule overrides, and the checks of what it declares."""

from __future__ import annotations

from typing import Any

import numpy as np

from odes.common.layers import is_several, layers_of, over_layers, shapes_of
from odes.common.order_parameters import (
    ALWAYS,
    DIMENSIONS,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
    over_parts,
)
from odes.rules.rule import OVERLAPS, WITH, Learning, Rule, overrides
from odes.rules.top_down import AFA


def learns_feedback(rule: Any) -> bool:
    """Whether B or F moves in a way of its own, and not only as W takes B along."""
    return has_own_drift(rule) or overrides(rule.origin("learn"), "learn")


def has_own_drift(rule: Any) -> bool:
    """Whether B or F moves as its feedback_drift says, and this is not that of AFA."""
    return overrides(rule, "feedback_drift") and overrides(rule, "feedback_drift", AFA)


def learns_by_sample(rule: Any) -> bool:
    """Whether a rule overrides `learn`, whose average has to be taken numerically."""
    return overrides(rule.origin("learn"), "learn") and not has_own_drift(rule)


def check_rule(rule: Any) -> None:
    """ValueError unless a rule needs overlaps that there are, and all of those that belong to F."""
    needs = tuple(rule.needs)
    for name in needs:
        if name not in OVERLAPS:
            raise ValueError(
                f"Argument `rule` must have `needs` among {', '.join(OVERLAPS)}, but they hold "
                f"{name!r}."
            )
    if not isinstance(rule.draws, tuple) or not set(rule.draws) <= {"K", "O"}:
        raise ValueError(
            "Argument `rule` must have `draws` that are a tuple of K and O, the dimensions of what "
            f"it draws, but they are {rule.draws!r}."
        )
    keeps = rule.keeps.items() if isinstance(rule.keeps, dict) else [("", None)]
    for name, each in keeps:
        fits = isinstance(each, tuple) and len(each) == 2 and set(each) <= {"K", "O"}
        if not fits or not name.isidentifier() or name in DIMENSIONS:
            raise ValueError(
                "Argument `rule` must have `keeps` that map names of its own to two dimensions, K "
                f"or O, but they are {rule.keeps!r}."
            )
    for name, others in WITH.items():
        missing = [other for other in others if name in needs and other not in needs]
        if missing:
            raise ValueError(
                f"Argument `rule` must have {', '.join(missing)} in its `needs`, since they hold "
                f"{name}, but they are {needs}."
            )


def check_feedback_drift(
    rule: Rule,
    initial: OrderParameters,
    teacher: Teacher,
    activation: Any,
    learned: dict[str, Array] | None = None,
) -> tuple[str, ...]:
    """What moves of the feedback; ValueError unless it is of the shapes of what there is of it.

    ``learned`` is what ``rule.learn`` returns of a sample, None where averages are closed.
    """
    learning = Learning(
        along=lambda overlaps, with_F=None: overlaps[..., : initial.R.shape[-2], :],
        dv=initial.v,
        parameters=Hyperparameters(1.0, 1.0, 0.0, 0.0, 0.0),
        activation=activation,
        weights=learned,
        activities=None if is_several(initial.v) else initial.v @ initial.v.mT,
    )
    with np.errstate(all="ignore"):
        moved = rule.feedback_drift(initial, teacher, learning)
    if not isinstance(moved, dict):
        raise ValueError(
            "Argument `rule` must have a feedback_drift that returns a dictionary of what moves, "
            f"but it returned {moved!r}."
        )
    given: dict[str, Array] = {
        name: each
        for name, each in initial._asdict().items()
        if name not in ALWAYS and each is not None
    }
    moved = (learned or {}) | moved
    for name, change in moved.items():
        if name not in given:
            raise ValueError(
                "Argument `rule` must have a feedback_drift of order parameters of the feedback "
                f"that it needs, {', '.join(given) or 'none'}, but it returned one of {name!r}."
            )
        if shapes_of(change) != shapes_of(given[name]):
            raise ValueError(
                f"Argument `rule` must have a feedback_drift of shape {shapes_of(given[name])} for "
                f"{name}, but it is of shape {shapes_of(change)}."
            )
    return tuple(name for name in given if name in moved)


def check_moves_with_F(rule: Rule, argument: str, remedy: str) -> None:
    """ValueError for a B that is the overlap of W with F and does not move as AFA's does."""
    for hook, base in (("feedback_drift", AFA), ("feedback_matrix", Rule)):
        if overrides(rule, hook, base):
            raise ValueError(
                f"Argument `{argument}` must {remedy} for a rule that feeds back through F and has "
                f"a `{hook}` of its own, since samples add noise to B by what F has beyond the "
                f"units, as B of odes.rules.AFA moves with W; but the rule is {rule!r}."
            )


def reported(rule: Rule, states: OrderParameters) -> OrderParameters:
    """The states, of one leading axis or none, with B what the rule sends back; None for v."""
    if layers_of(states.v)[0].ndim == 2:
        sent_back = rule.feedback(states)
        return states._replace(B=None if sent_back is states.v else sent_back)

    def at(index: int) -> OrderParameters:
        return over_parts(lambda array: array[index], states)

    def sent_back_in(state: OrderParameters) -> Array:
        return reported(rule, state).B

    if sent_back_in(at(0)) is None:
        return states._replace(B=None)
    if states.R.__array_namespace__() is np:
        each = [sent_back_in(at(index)) for index in range(len(states.R))]
        return states._replace(B=over_layers(lambda *parts: np.stack(parts), *each))
    import jax

    return states._replace(B=jax.vmap(sent_back_in)(states))
