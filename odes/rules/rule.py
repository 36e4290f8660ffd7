"""Learning rules: which feedback signal B each one sends back, and what it does with it.

A rule moves the first layer by ::

    w_k <- w_k - lr / sqrt(N) * ( delta_k x + gamma_k F e )

where delta and gamma are functions of one sample's local fields, error and B.  For backpropagation
and its relatives ``delta_k = g'(lambda_k) sum_o B_ko e_o`` and gamma = 0; they differ in B alone,
and their averages over inputs have closed forms.  PEPITA and its variants state delta and gamma
themselves and are averaged numerically.  The same rules acting on the weights of a network are in
``simulations/rules``.

Above the first layer there may be several, of fields ``z_l = V_l^T h_{l-1}`` and activities
``h_l = g(z_l)`` that are functions of the same fields lambda; their weights learn at a rate of 1/N
as the readout does, and the averages still run over the fields of the first layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from odes.common.layers import DIRECT, LAYERED, as_weights, layers_of
from odes.common.order_parameters import (
    DIMENSIONS,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
)


class Sample(NamedTuple):
    """What a rule sees of one input: JAX arrays."""

    fields: Array  # lambda_k = w_k . x / sqrt(N), (K,)
    v: Any  # (K, O), or a tuple of layers ((K, H1), ..., (H_L, O))
    label: Array  # the teacher's output and its noise, (O,)
    B: Any  # (K, O), or one a layer, as `feedback` gives it
    g: Callable[[Array], Array]  # the activities of all units from their fields
    lr: Array  # learning rate of the first layer
    xi: Array | None = None  # standard normals of the shape that the rule `draws`
    weights: dict[str, Array] | None = None  # that the rule `keeps`, by name
    mean_square: Array = 1.0  # of the entries of the input

    @property
    def h(self) -> Array:
        """Hidden activities, (K,); g(lambda_k), unless they are normalised."""
        return self.g(self.fields)

    @property
    def all_fields(self) -> tuple[Array, ...]:
        """The fields of every hidden layer, from the first upwards."""
        return tuple(fields_above(self.fields, self.v, self.g))

    @property
    def activities(self) -> tuple[Array, ...]:
        """The activities of every hidden layer, from the first upwards."""
        return tuple(self.g(fields) for fields in self.all_fields)

    @property
    def prediction(self) -> Array:
        """``sum_k v_ko h_k`` of the last hidden layer, (O,)."""
        return self.activities[-1] @ layers_of(self.v)[-1]

    def through(self, signal: Array, fields: Array | None = None) -> Array:
        """A signal at the activities taken back to the fields: ``g'(lambda_k) signal_k``, (K,).

        At the fields of the first layer, or at these.
        """
        import jax

        return jax.vjp(self.g, self.fields if fields is None else fields)[1](signal)[0]

    def outer(self, signals: Sequence[Array]) -> Any:
        """``h_l signal_{l+1}^T`` of every layer above the first, as v has them.

        The signals are those at the fields of the second hidden layer, and so on to the outputs.
        """
        pairs = zip(self.activities, signals, strict=True)
        return as_weights(h[:, None] * signal for h, signal in pairs)

    @property
    def error(self) -> Array:
        """Prediction minus label, (O,)."""
        return self.prediction - self.label


def fields_above(fields: Array, v: Any, g: Callable[[Array], Array]) -> list[Array]:
    """The fields of every hidden layer, from those of the first upwards."""
    found = [fields]
    for weights in layers_of(v)[:-1]:
        found.append(g(found[-1]) @ weights)
    return found


class Update(NamedTuple):
    """One sample's change of the weights, per -lr / sqrt(N) and per -lr_v / N."""

    delta: Array  # (K,), the factor of the input x
    readout: Any  # (K, O), or one a layer, as v
    gamma: Array | None = None  # (K,), the factor of the fed-back error F e


class Learning(NamedTuple):
    """How a student moves, for feedback that moves with it."""

    along: Callable[..., Array]  # d(w_k . u / N) / dt for directions u; see `Rule.feedback_drift`
    dv: Any  # dv/dt, (K, O), or one a layer, as v
    parameters: Hyperparameters
    activation: Any
    weights: dict[str, Array] | None = None  # averages of `Rule.learn`; None in closed form
    activities: Array | None = None  # <g_k g_a> of all units a, (K, K + M), in closed form


class Rule:
    """What a rule sends back, how that moves, and the update that it makes.

    Unless a rule says otherwise, B is a constant of motion and the update is that of
    backpropagation with B in place of v.  ``needs`` names the overlaps that a caller must supply
    beyond Q, R, v, T and v_star; a rule with gamma needs B, S and P.  ``smooth`` is to be False for
    an update that jumps or has kinks as a function of the fields, and ``classifies`` says that only
    the sign of the prediction has a meaning.  What a rule may override counts in every function, or
    is refused there by name: the table is in ``docs/rules.md``.

    ``draws`` is the shape of standard normals that the rule draws for every sample, such as
    ``("K",)`` for one for each hidden unit, and ``keeps`` has weights of its own, by name, and
    their dimensions, such as ``{"D": ("K", "O")}``; both are in terms of K, M and O.

    ``algorithm`` is the same rule as a :class:`simulations.Rule`, with which ``simulate`` and
    ``network.overlaps`` take this object, too; those of the packages have one by themselves.

    ``references`` are the keys, in ``odes/references.bib``, of the papers that the rule is from
    (:func:`odes.cite`).
    """

    needs: tuple[str, ...] = ("B",)
    smooth: bool = True
    classifies: bool = False
    direct: bool = False  # whether B leads from the outputs straight to every layer
    draws: tuple[str, ...] = ()
    keeps: dict[str, tuple[str, str]] = {}  # noqa: RUF012
    algorithm: Any = None
    references: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))

    def origin(self, method: str) -> Rule:
        """The rule whose ``method`` counts: itself, or the rule that it wraps."""
        return self

    def check_layers(self, v: Any) -> None:
        """ValueError for weights above the first layer, one a layer, that the rule cannot do with.

        Called for more than one; the readout is to be one of the last hidden layer.
        """
        below = v[-2].shape[-1]
        if v[-1].shape[-2] != below:
            raise ValueError(
                f"Argument `v[{len(v) - 1}]` must have {below} rows, as many as there are units in "
                f"the last hidden layer, for {self!r}, but has {v[-1].shape[-2]}."
            )

    def check(self, K: int, O: int, activation: Any) -> None:
        """ValueError for hidden units, outputs or an activation that the rule cannot do with."""
        if differentiates(self):
            check_derivative(K, activation)

    def feedback(self, state: OrderParameters) -> Array:
        """The feedback signal B, shape (K, O)."""
        return state.B

    def feedback_matrix(self, state: OrderParameters, teacher: Teacher) -> tuple[Array, Array]:
        """S (M, O) and P (O, O) of the F that is fed back."""
        return teacher.S, teacher.P

    def feedback_drift(
        self, state: OrderParameters, teacher: Teacher, learning: Learning
    ) -> dict[str, Array]:
        """d/dt of those order parameters of the feedback that move, such as ``{"B": dB}``.

        ``learning.along(u, with_F)`` is ``d(w_k . u / N) / dt`` for directions u in input space,
        given by their overlaps with all units, (K + M, number of directions), students first, and
        with F, (O, number of directions), which only rules with gamma look at; with inputs in
        groups, these overlaps and those of F have a first axis of the groups.  Unless this is that
        of :class:`Rule` or of :class:`AFA`, the feedback counts as learned: its scale is the one
        that it starts with.
        """
        return {}

    def learn(self, sample: Sample) -> dict[str, Array]:
        """N times what one sample adds to weights that the rule keeps, or to B, by name.

        A rule that overrides this has no closed form, unless its feedback_drift is one.
        """
        return {}

    def predict(self, fields: Array, v: Array, g: Callable[[Array], Array]) -> Array:
        """The output at these fields of the student, (K,), to be held against the teacher's."""
        return g(fields_above(fields, v, g)[-1]) @ layers_of(v)[-1]

    def update(self, sample: Sample) -> Update:
        """The update on one sample; a rule that overrides this has no closed form.

        The error goes back layer by layer, through B in place of v: with one hidden layer
        ``delta = g' (B e)``, and with more ``delta_{l-1} = g'(z_{l-1}) (B_l delta_l)``.
        """
        signals = [sample.error]
        for weights, fields in zip(layers_of(sample.B)[::-1], sample.all_fields[::-1], strict=True):
            signals.insert(0, sample.through(weights @ signals[0], fields))
        return Update(signals[0], sample.outer(signals[1:]))


RULES: dict[str, Any] = {}
"""All rules by name (``odes/rules/registry.py``)."""

HOOKS = (
    "needs", "smooth", "classifies", "direct", "check", "check_layers", "draws", "keeps",
    "feedback", "feedback_matrix", "feedback_drift", "learn", "predict", "update",
)  # fmt: skip
"""What a rule may override."""

OVERLAPS = ("B", "S", "P", "B1", "S1", "P1", "F2")
"""The overlaps that a rule may need besides those that all do."""

FACTORS = ("B1", "S1", "P1", "F2")

WITH = {"S": ("B",), "P": ("B", "S")} | dict.fromkeys(FACTORS, FACTORS)
"""What a rule has to need besides an overlap that it needs."""


def overrides(rule: Any, method: str, base: type[Rule] = Rule) -> bool:
    """Whether a rule, or its class, has another method of this name than ``base``."""
    return getattr(getattr(rule, method), "__func__", None) is not getattr(base, method)


DIFFERENTIATING: set[Callable] = set()
"""Updates that with one hidden layer are that of :class:`Rule`, and so have closed forms."""


def differentiating(update: Callable) -> Callable:
    """Decorator that enters an update in :data:`DIFFERENTIATING`."""
    DIFFERENTIATING.add(update)
    return update


def differentiates(rule: Any) -> bool:
    """Whether a rule changes the weights of a first, or only, hidden layer by ``g' (B e)``."""
    own = rule.origin("update")
    update = getattr(own.update, "__func__", own.update)
    return not overrides(own, "update") or update in DIFFERENTIATING


def check_derivative(K: int, activation: Any) -> None:
    """ValueError for activities whose derivative has an infinite variance."""
    if K == 2 and is_normalised(activation):
        raise ValueError(
            "Argument `activation` must not be normalised for two hidden units and a rule that "
            "differentiates the activities: as 1 / |h|, the derivative has an infinite "
            "variance.  Use three units or more, or PEPITA."
        )


def predicts_by_readout(rule: Any) -> bool:
    """Whether a rule puts out the weighted sum of its hidden activities, and nothing else."""
    return not overrides(rule.origin("predict"), "predict") and not rule.classifies


def is_normalised(activation: Any) -> bool:
    """Whether the hidden activities are those of the packages that have unit length."""
    return getattr(activation, "unit_length", False)


def is_smooth(rule: Any, activation: Any) -> bool:
    """Whether averages over points are smooth functions of the state."""
    return rule.smooth and getattr(activation, "smooth", False)


def needs_of(rule: Any) -> dict[str, tuple[str, ...]]:
    """The dimensions of what a rule needs and keeps, by name."""
    needs: dict[str, tuple[Any, ...]] = {name: DIMENSIONS[name] for name in rule.needs}
    if "B" in needs and "S" not in needs:
        needs["B"] = DIRECT if rule.direct else LAYERED
    if "F2" in needs:
        needs["F2"] = LAYERED
    return needs | rule.keeps


def weights_of(rule: Any) -> dict[str, tuple[Any, ...]]:
    """The dimensions of the weights above the input that a rule uses, by name.

    Its own among them, and not a B that is the overlap with F.
    """
    needs = needs_of(rule)
    if "S" in needs or "S1" in needs:
        needs.pop("B", None)
    above = {
        name: each for name, each in needs.items() if name in ("B", "F2") or name in rule.keeps
    }
    return {"v": LAYERED} | above


def draws_of(rule: Any, K: int, O: int) -> int:
    """How many standard normals a rule draws for every sample."""
    return math.prod(shape_of(rule.draws, K, O)) if rule.draws else 0


def shape_of(dimensions: tuple[str, ...], K: int, O: int) -> tuple[int, ...]:
    """The shape that dimensions K and O stand for."""
    return tuple({"K": K, "O": O}[each] for each in dimensions)
