"""Learning rules: which feedback signal B each one sends back, and what it does with it.

A rule moves the first layer by ::

    w_k <- w_k - lr / sqrt(N) * ( delta_k x + gamma_k F e )

where delta and gamma are functions of one sample's local fields, error and B.  For backpropagation
and its relatives ``delta_k = g'(lambda_k) sum_o B_ko e_o`` and gamma = 0; they differ in B alone,
and their averages over inputs have closed forms.  PEPITA and its variants state delta and gamma
themselves and are averaged numerically.  The same rules acting on the weights of a network are in
``simulations/rules.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from odes.averages import NORMALISED
from odes.checks import check_mirror, check_number, lookup, quoted
from odes.order_parameters import (
    ALWAYS,
    DIMENSIONS,
    Array,
    Hyperparameters,
    OrderParameters,
    Teacher,
)


class Sample(NamedTuple):
    """What a rule sees of one input: JAX arrays."""

    fields: Array  # lambda_k = w_k . x / sqrt(N), (K,)
    v: Array  # (K, O)
    label: Array  # the teacher's output and its noise, (O,)
    B: Array  # (K, O), as `feedback` gives it
    g: Callable[[Array], Array]  # the activities of all units from their fields
    lr: Array  # learning rate of the first layer
    xi: Array | None = None  # standard normals of the shape that the rule `draws`
    weights: dict[str, Array] | None = None  # that the rule `keeps`, by name

    @property
    def h(self) -> Array:
        """Hidden activities, (K,); g(lambda_k), unless they are normalised."""
        return self.g(self.fields)

    @property
    def prediction(self) -> Array:
        """``sum_k v_ko h_k``, (O,)."""
        return self.h @ self.v

    def through(self, signal: Array) -> Array:
        """A signal at the activities, (K,), taken back to the fields: ``g'(lambda_k) signal_k``."""
        import jax

        return jax.vjp(self.g, self.fields)[1](signal)[0]

    @property
    def error(self) -> Array:
        """Prediction minus label, (O,)."""
        return self.prediction - self.label


class Update(NamedTuple):
    """One sample's change of the weights, per -lr / sqrt(N) and per -lr_v / N."""

    delta: Array  # (K,), the factor of the input x
    readout: Array  # (K, O)
    gamma: Array | None = None  # (K,), the factor of the fed-back error F e


class Learning(NamedTuple):
    """How a student moves, for feedback that moves with it."""

    along: Callable[..., Array]  # d(w_k . u / N) / dt for directions u; see `Rule.feedback_drift`
    dv: Array  # dv/dt, (K, O)
    parameters: Hyperparameters
    activation: Any
    weights: dict[str, Array] | None = None  # averages of `Rule.learn`; None in closed form


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
    """

    needs: tuple[str, ...] = ("B",)
    smooth: bool = True
    classifies: bool = False
    draws: tuple[str, ...] = ()
    keeps: dict[str, tuple[str, str]] = {}  # noqa: RUF012
    algorithm: Any = None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))

    def check(self, K: int, O: int, activation: Any) -> None:
        """ValueError for hidden units, outputs or an activation that the rule cannot do with."""
        if K == 2 and differentiates(self) and is_normalised(activation):
            raise ValueError(
                "Argument `activation` must not be normalised for two hidden units and a rule that "
                "differentiates the activities: as 1 / |h|, the derivative has an infinite "
                "variance.  Use three units or more, or PEPITA."
            )

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
        with F, (O, number of directions), which only rules with gamma look at.  Unless this is that
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
        return g(fields) @ v

    def update(self, sample: Sample) -> Update:
        """The update on one sample; a rule that overrides this has no closed form."""
        return Update(
            delta=sample.through(sample.B @ sample.error),
            readout=sample.h[:, None] * sample.error,
        )


HOOKS = (
    "needs", "smooth", "classifies", "check", "draws", "keeps", "feedback", "feedback_matrix",
    "feedback_drift", "learn", "predict", "update",
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


def said_by(rule: Any, method: str) -> Any:
    """The rule whose method of this name counts: for one with mirrors, the rule within."""
    inherits = isinstance(rule, Mirrored) and not overrides(rule, method, Mirrored)
    return rule.rule if inherits else rule


def differentiates(rule: Any) -> bool:
    """Whether a rule changes the hidden weights by ``g' (B e)``."""
    return not overrides(said_by(rule, "update"), "update")


def predicts_by_readout(rule: Any) -> bool:
    """Whether a rule puts out the weighted sum of its hidden activities, and nothing else."""
    return not overrides(said_by(rule, "predict"), "predict") and not rule.classifies


def is_normalised(activation: Any) -> bool:
    """Whether the hidden activities are those of the packages that have unit length."""
    return getattr(activation, "hidden", None) in NORMALISED


def is_smooth(rule: Any, activation: Any) -> bool:
    """Whether averages over points are smooth functions of the state."""
    return rule.smooth and getattr(activation, "smooth", False)


def learns_feedback(rule: Any) -> bool:
    """Whether B or F moves in a way of its own, and not only as W takes B along."""
    return has_own_drift(rule) or overrides(said_by(rule, "learn"), "learn")


def has_own_drift(rule: Any) -> bool:
    """Whether B or F moves as its feedback_drift says, and this is not that of AFA."""
    return overrides(rule, "feedback_drift") and overrides(rule, "feedback_drift", AFA)


def learns_by_sample(rule: Any) -> bool:
    """Whether weights of a rule move by averages of what it says of single samples alone."""
    return overrides(said_by(rule, "learn"), "learn") and not has_own_drift(rule)


def needs_of(rule: Any) -> dict[str, tuple[str, ...]]:
    """The dimensions of what a rule needs and keeps, by name."""
    return {name: DIMENSIONS[name] for name in rule.needs} | rule.keeps


def draws_of(rule: Any, K: int, O: int) -> int:
    """How many standard normals a rule draws for every sample."""
    return math.prod(shape_of(rule.draws, K, O)) if rule.draws else 0


def shape_of(dimensions: tuple[str, ...], K: int, O: int) -> tuple[int, ...]:
    """The shape that dimensions K and O stand for."""
    return tuple({"K": K, "O": O}[each] for each in dimensions)


def is_own(rule: Any) -> bool:
    """Whether a rule is of the packages' own classes, with none of its hooks replaced."""
    if isinstance(rule, Mirrored) and not is_own(rule.rule):
        return False
    return type(rule).__module__ == __name__ and not set(HOOKS) & set(vars(rule))


def known_name(rule: Any) -> str | None:
    """The name of one of the packages' own rules; None for one of the user's, which may change."""
    names = [name for name, own in RULES.items() if rule == own]
    return names[0] if names and is_own(rule) else None


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
        along=lambda overlaps, with_F=None: overlaps[: len(initial.v)],
        dv=initial.v,
        parameters=Hyperparameters(1.0, 1.0, 0.0, 0.0, 0.0),
        activation=activation,
        weights=learned,
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
        if np.shape(change) != given[name].shape:
            raise ValueError(
                f"Argument `rule` must have a feedback_drift of shape {given[name].shape} for "
                f"{name}, but it is of shape {np.shape(change)}."
            )
    return tuple(name for name in given if name in moved)


def check_moves_with_F(rule: Rule, argument: str, remedy: str) -> None:
    """ValueError for a B that is the overlap of W with F and does not move as AFA's does."""
    for hook, base in (("feedback_drift", AFA), ("feedback_matrix", Rule)):
        if overrides(rule, hook, base):
            raise ValueError(
                f"Argument `{argument}` must {remedy} for a rule that feeds back through F and has "
                f"a `{hook}` of its own, since samples kick B by what F has beyond the units, as B "
                f"of odes.rules.AFA moves with W; but the rule is {rule!r}."
            )


class BP(Rule):
    """Backpropagation: ``B_ko = v_ko``, the weights of the way forward."""

    needs = ()

    def feedback(self, state):
        return state.v


class FA(Rule):
    """Feedback alignment (Lillicrap et al. 2016): ``B_ko`` fixed and random.

    With one hidden layer this is also direct feedback alignment (Noekland 2016), "dfa".
    """


class AFA(Rule):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``B_ko = w_k . F_o / sqrt(N)``.

    The first order of PEPITA in the feedback.  F is fixed, but w_k moves and takes B along.  The
    theory is exact for aligned F; for a random F, B diffuses besides (``random_feedback.py``).
    """

    needs: tuple[str, ...] = ("B", "S")

    def feedback_drift(self, state, teacher, learning):
        xp = state.B.__array_namespace__()
        return {"B": learning.along(xp.concat([state.B, teacher.S]), teacher.P)}


class PEPITA(AFA):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as presynaptic factor.

    The second pass sees ``x - F e`` and so the fields ``lambda - B e``:
    ``delta = h - h_err``, ``h_err = g(lambda - B e)``; readout ``h e^T``.
    """

    def update(self, sample):
        h_err = sample.g(sample.fields - sample.B @ sample.error)
        return Update(delta=sample.h - h_err, readout=sample.h[:, None] * sample.error)


class ModulatedPEPITA(AFA):
    """PEPITA as published: the second pass supplies the presynaptic factors of both layers.

    ``(h - h_err)(x - F e)^T``: delta as for PEPITA and ``gamma = -delta``; readout ``h_err e^T``.
    """

    needs = ("B", "S", "P")

    def update(self, sample):
        h_err = sample.g(sample.fields - sample.B @ sample.error)
        delta = sample.h - h_err
        return Update(delta, readout=h_err[:, None] * sample.error, gamma=-delta)


class HebbianPEPITA(AFA):
    """PEPITA-Hebbian (Srinivasan et al. 2024): ``h x^T - h_err (x - F e)^T``.

    Hence delta as for PEPITA and ``gamma = h_err``.  The readout sees its own prediction in the
    first pass and the label in the second: ``h prediction^T - h_err label^T``.
    """

    needs = ("B", "S", "P")

    def second_fields(self, sample: Sample) -> Array:
        """The fields of the second pass, (K,)."""
        return sample.fields - sample.B @ sample.error

    def update(self, sample):
        h_err = sample.g(self.second_fields(sample))
        readout = sample.h[:, None] * sample.prediction - h_err[:, None] * sample.label
        return Update(delta=sample.h - h_err, readout=readout, gamma=h_err)


class TimeLocalPEPITA(HebbianPEPITA):
    """Time-local PEPITA: the first pass takes its Hebbian step before the second pass is run.

    The second pass then sees ``lambda - B e - lr h``, since ``|x|^2 / N -> 1``.
    """

    def second_fields(self, sample):
        return super().second_fields(sample) - sample.lr * sample.h


class SignSymmetry(Rule):
    """Sign symmetry (Liao et al. 2016, uniform): ``B_ko = sign(v_ko)``."""

    needs = ()

    def feedback(self, state):
        return state.v.__array_namespace__().sign(state.v)


class RandomSignSymmetry(Rule):
    """Sign symmetry with fixed random magnitudes: ``B_ko = sign(v_ko) |b_ko|``.

    The b are what B is at the start.
    """

    def feedback(self, state):
        xp = state.v.__array_namespace__()
        return xp.sign(state.v) * xp.abs(state.B)


class KolenPollack(FA):
    """Kolen & Pollack (1994): B takes the increments of v and decays as v does.

    ``d(B - v)/dt = -kappa_v (B - v)``, so that decay makes them one.
    """

    def feedback_drift(self, state, teacher, learning):
        return {"B": learning.dv + learning.parameters.weight_decay_v * (state.v - state.B)}


@dataclass(frozen=True)
class TargetPropagation(FA):
    """Difference target propagation (Lee et al. 2015; Bengio 2020) with a linear decoder.

    B decodes the hidden activities from the prediction y, and learns to:
    ``B += lr / N (h - B y) y^T - decay / N B``.  The target of the hidden layer is
    ``h - (B y - B (y - e))``, so that ``delta = g' (B e)``; with ``I2 = <h h^T>`` of the student::

        dB/dt = lr ( I2 v - B v^T I2 v ) - decay B
    """

    lr: float = 0.1
    decay: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            object.__setattr__(self, name, check_number(f"{name} of the decoder", value))

    def learn(self, sample):
        y = sample.prediction
        missed = sample.h - sample.B @ y
        return {"B": self.lr * missed[:, None] * y - self.decay * sample.B}

    def feedback_drift(self, state, teacher, learning):
        if learning.weights is not None:
            return {}
        variance = state.Q.diagonal()
        with_y = learning.activation.I2(state.Q, variance[:, None], variance) @ state.v
        missed = with_y - state.B @ (state.v.mT @ with_y)
        return {"B": self.lr * missed - self.decay * state.B}


@dataclass(frozen=True)
class NonlinearTargetPropagation(TargetPropagation):
    """The same with the decoder ``D(y) = g(B y)``.

    ``delta = g' (D(y) - D(y - step e))``, and B descends ``|h - D(y)|^2 / 2`` at the rate lr.
    """

    step: float = 1.0

    def update(self, sample):
        y, B = sample.prediction, sample.B
        moved = sample.g(B @ y) - sample.g(B @ (y - self.step * sample.error))
        return Update(sample.through(moved), readout=sample.h[:, None] * sample.error)

    def learn(self, sample):
        y = sample.prediction
        decoder = sample._replace(fields=sample.B @ y)
        missed = decoder.through(sample.h - decoder.h)
        return {"B": self.lr * missed[:, None] * y - self.decay * sample.B}


@dataclass(frozen=True)
class Mirrored(Rule):
    """A rule whose feedback mirrors the weights of the way forward (Akrout et al. 2019).

    Beside each sample, hidden noise xi of standard deviation s = ``noise`` is sent to the outputs,
    and B learns from what arrives, ``B += lr / N xi (v^T xi)^T - decay / N B``::

        dB/dt = lr s^2 v - decay B

    A rule that feeds back through F has it in two factors (Srinivasan et al. 2024),
    ``F = F1 F2 / sqrt(N)``, aligned.  F2 (K, O) learns as B does, and the columns f_j of F1 (N, K)
    from noise xi in the input, of the same standard deviation, ``f_j += lr / sqrt(N) a_j xi -
    decay / N f_j`` with the field ``a_j = w_j . xi / sqrt(N)``, or g of it if ``nonlinear``.
    Besides what learning does to B1::

        dB1_kj/dt = lr s^2 c_j Q_kj - decay B1_kj,      dS1_mj/dt = lr s^2 c_j R_jm - decay S1_mj
        dP1_ij/dt = lr s^2 (c_i B1_ij + c_j B1_ji) - 2 decay P1_ij + lr^2 s^2 <a_i a_j>
        dF2/dt    = lr s^2 v - decay F2

    with ``c_j = 1``, or ``<g'(a_j)>``.  The noise averages out of all but P1.  If ``normalised``,
    both factors are scaled back to their Frobenius norm after each step, in place of the decay.
    ``rule`` is any rule, or the name of one, that feeds back B or F and leaves it as it is.
    """

    rule: Any
    lr: float = 0.1
    noise: float = 1.0
    decay: float = 0.1
    nonlinear: bool = False
    normalised: bool = False

    def __post_init__(self):
        rule = self.rule
        if not isinstance(rule, Rule):
            rule = lookup("rule", RULES, rule, "an odes.Rule", lambda own: False)
        if "B" not in rule.needs or learns_feedback(rule) or rule.keeps:
            raise ValueError(
                "Argument `rule` must feed back a B or an F that it does not learn itself, to have "
                f"mirrors, but is {self.rule!r}."
            )
        object.__setattr__(self, "rule", rule)
        check_mirror(self)

    @property
    def has_F(self) -> bool:
        """Whether the mirrors are of both layers."""
        return "S" in self.rule.needs

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """B, or an F in factors."""
        return FACTORS if self.has_F else ("B",)

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """As the rule."""
        return self.rule.smooth

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """As the rule."""
        return self.rule.classifies

    def check(self, K, O, activation):
        self.rule.check(K, O, activation)

    def predict(self, fields, v, g):
        return self.rule.predict(fields, v, g)

    def update(self, sample):
        return self.rule.update(sample)

    @property
    def draws(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the rule."""
        return self.rule.draws

    def feedback(self, state):
        B = state.B1 @ state.F2 if self.has_F else state.B
        return self.rule.feedback(OrderParameters(state.Q, state.R, state.v, B))

    def feedback_matrix(self, state, teacher):
        if self.has_F:
            S, P = state.S1 @ state.F2, state.F2.mT @ state.P1 @ state.F2
            teacher = teacher._replace(S=S, P=P)
        return self.rule.feedback_matrix(state, teacher)

    def feedback_drift(self, state, teacher, learning):
        v, pull = state.v, self.lr * self.noise**2
        if not self.has_F:
            return {"B": pull * v - self.decay * state.B}
        Q, R, v, _, B1, S1, P1, F2 = state
        xp = v.__array_namespace__()
        variance = self.noise**2
        c, a_a = xp.ones_like(Q[0]), variance * Q
        if self.nonlinear:
            c, a_a = _noise_through(learning.activation, variance * Q)
        grown = pull * (c[:, None] * B1 + (c[:, None] * B1).T) + self.lr**2 * variance * a_a
        decay1 = decay2 = self.decay
        if self.normalised:
            square1, square2 = xp.trace(P1), xp.sum(F2 * F2)
            decay1 = xp.trace(grown) / (2 * xp.where(square1 > 0, square1, 1.0))
            decay2 = pull * xp.sum(v * F2) / xp.where(square2 > 0, square2, 1.0)
            v = xp.where(square2 > 0, v, 0.0)  # nothing can be scaled back to a norm of zero
        learned = learning.along(xp.concat([B1, S1]), F2.T @ P1)
        return {
            "B1": learned + pull * Q * c - decay1 * B1,
            "S1": pull * R.T * c - decay1 * S1,
            "P1": grown - 2 * decay1 * P1,
            "F2": pull * v - decay2 * F2,
        }


def _noise_through(activation: Any, covariance: Array) -> tuple[Array, Array]:
    """``<g'(a_j)>``, (K,), and ``<g(a_i) g(a_j)>``, (K, K), of normal fields a."""
    if not hasattr(activation, "J2"):
        raise ValueError(
            "Argument `rule` must have a mirror that is not nonlinear with an activation without "
            "closed forms."
        )
    xp = covariance.__array_namespace__()
    variance = covariance.diagonal()
    none = 0 * variance
    with_none = activation.J2(none, variance, none)  # <g'(a_j)> g'(0)
    c = with_none / xp.sqrt(activation.J2(none, none, none))
    return c, activation.I2(covariance, variance[:, None], variance)


@dataclass(frozen=True)
class MirroredFA(Mirrored):
    """FA with mirrors."""

    rule: Any = field(default=FA(), init=False, repr=False)


@dataclass(frozen=True)
class MirroredAFA(Mirrored):
    """AFA with mirrors."""

    rule: Any = field(default=AFA(), init=False, repr=False)


@dataclass(frozen=True)
class MirroredPEPITA(Mirrored):
    """PEPITA, presynaptic x, with mirrors."""

    rule: Any = field(default=PEPITA(), init=False, repr=False)


@dataclass(frozen=True)
class Logistic:
    """``softplus(threshold - G+) + softplus(G- - threshold)`` (Hinton 2022)."""

    threshold: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "threshold", check_number("threshold", self.threshold))

    def slopes(self, positive: Array, negative: Array) -> tuple[Array, Array]:
        """Derivatives by the two goodnesses."""
        from jax.nn import sigmoid

        return -sigmoid(self.threshold - positive), sigmoid(negative - self.threshold)


@dataclass(frozen=True)
class SymBa:
    """``softplus(-alpha (G+ - G-))``, of the Trifecta (Dooms et al. 2023)."""

    alpha: float = 4.0

    def __post_init__(self):
        object.__setattr__(self, "alpha", check_number("alpha", self.alpha, positive=True))

    def slopes(self, positive: Array, negative: Array) -> tuple[Array, Array]:
        """Derivatives by the two goodnesses."""
        from jax.nn import sigmoid

        slope = self.alpha * sigmoid(-self.alpha * (positive - negative))
        return -slope, slope


@dataclass(frozen=True)
class Difference:
    """``G+ - G-``: goodness is to be low on positive samples, and high on negative ones."""

    def slopes(self, positive: Array, negative: Array) -> tuple[Array, Array]:
        """Derivatives by the two goodnesses."""
        return 1.0, -1.0


def check_loss(loss: Any) -> None:
    """ValueError unless this is a loss."""
    if isinstance(loss, type) or not hasattr(loss, "slopes"):
        raise ValueError(
            "Argument `loss` must have slopes, as Logistic, SymBa and Difference do, "
            f"but is {quoted(loss)}."
        )


def check_length(activation: Any) -> None:
    """ValueError for hidden activities of unit length, which are the goodness."""
    if is_normalised(activation):
        raise ValueError(
            "Argument `activation` must not be normalised for Forward-Forward, whose goodness is "
            "the length of the activities."
        )


@dataclass(frozen=True)
class ForwardForward(Rule):
    """Forward-Forward (Hinton 2022): a contrast of two passes, without any error.

    The label y is the sign of the teacher's (noisy) output, the one output that there may be, and
    an input: u_k, kept in v, is its weight.  The positive pass sees (x, y), the negative one
    (x, -y), with the fields ``lambda_k +- u_k y``, activities h+ and h-, and goodness
    ``G = sum_k h_k^2``.  Gradient descent on a loss with the derivatives p and q by G+ and G-::

        delta_k = 2 (p h+ g'+ + q h- g'-)_k        change of u_k = 2 y (p h+ g'+ - q h- g'-)_k

    The class put out is the sign of ``G(label 1) - G(label -1)``.
    """

    loss: Any = Logistic()

    def __post_init__(self):
        check_loss(self.loss)

    needs = ()
    smooth = False
    classifies = True

    def check(self, K, O, activation):
        check_length(activation)
        if O != 1:
            raise ValueError(
                "Argument `v` must have one output for Forward-Forward, whose label is a sign, but "
                f"has {O}."
            )

    def feedback(self, state):
        return state.v

    def predict(self, fields, v, g):
        plus, minus = (g(fields + sign * v[:, 0]) for sign in (1, -1))
        return (plus @ plus - minus @ minus)[None]

    def update(self, sample):
        import jax

        u = sample.v[:, 0] * jax.numpy.sign(sample.label)
        passes = [sample._replace(fields=sample.fields + sign * u) for sign in (1, -1)]
        slopes = self.loss.slopes(*(each.h @ each.h for each in passes))
        plus, minus = (
            2 * slope * each.through(each.h) for slope, each in zip(slopes, passes, strict=True)
        )
        return Update(
            delta=plus + minus, readout=((plus - minus) * jax.numpy.sign(sample.label))[:, None]
        )


@dataclass(frozen=True)
class TopDownForwardForward(AFA):
    """Forward-Forward between an input and the same input after top-down feedback.

    The positive sample is x, the negative one ``x - F e``, and the goodness ``1/2 sum_k h_k^2`` of
    the hidden layer, below a readout that learns as that of PEPITA-Hebbian.  With p and q the
    derivatives of the loss, ``dW = p (h g') x^T + q (h_err g'_err) (x - F e)^T``, which for
    rectified linear units, g g' = g, and the loss ``G+ - G-`` is PEPITA-Hebbian (Srinivasan et al.
    2024): the feedback lowers the error, so that goodness has to be low where there was none.
    """

    loss: Any = Difference()

    def __post_init__(self):
        check_loss(self.loss)

    needs = ("B", "S", "P")

    def check(self, K, O, activation):
        check_length(activation)

    def update(self, sample):
        second = sample._replace(fields=sample.fields - sample.B @ sample.error)
        passes = sample, second
        p, q = self.loss.slopes(*(each.h @ each.h / 2 for each in passes))
        plus, minus = p * sample.through(sample.h), q * second.through(second.h)
        readout = sample.h[:, None] * sample.prediction - second.h[:, None] * sample.label
        return Update(delta=plus + minus, readout=readout, gamma=-minus)


RULES = {
    "bp": BP(),
    "fa": FA(),
    "afa": AFA(),
    "pepita": PEPITA(),
    "pepita-modulated": ModulatedPEPITA(),
    "pepita-hebbian": HebbianPEPITA(),
    "pepita-tl": TimeLocalPEPITA(),
    "sign-symmetry": SignSymmetry(),
    "sign-random": RandomSignSymmetry(),
    "kolen-pollack": KolenPollack(),
    "dtp": TargetPropagation(),
    "fa-mirror": MirroredFA(),
    "afa-mirror": MirroredAFA(),
    "pepita-mirror": MirroredPEPITA(),
    "ff": ForwardForward(),
    "ff-symba": ForwardForward(SymBa()),
    "ff-topdown": TopDownForwardForward(),
}
RULES["dfa"] = RULES["fa"]
