"""Weight mirrors: feedback that learns from noise to be the transpose of the weights."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from odes.common.checks import check_mirror, lookup
from odes.common.layers import as_weights, layers_of, over_layers
from odes.common.order_parameters import Array
from odes.rules.credit import FA
from odes.rules.properties import learns_feedback
from odes.rules.rule import FACTORS, RULES, Rule, overrides
from odes.rules.top_down import AFA, PEPITA


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

    with ``c_j = 1``, or ``<g'(a_j)>``.  The noise averages out of all but P1; it is white whatever
    the inputs are, and in groups of those its last term counts for their shares.

    With several hidden layers B, or F2, has a factor for each layer above the first, which learns
    from noise in the layer below it (and from g of what arrives, if ``nonlinear``, but at the
    outputs); F is the product of all.

    If ``normalised``, both factors are scaled back to their Frobenius norm after each step, in
    place of the decay.  ``rule`` is any rule, or the name of one, that feeds back B or F and leaves
    it as it is.
    """

    references = ("akrout2019deep",)

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
        of_its_own = learns_feedback(rule) or rule.keeps or overrides(rule, "feedback")
        if "B" not in rule.needs or of_its_own:
            raise ValueError(
                "Argument `rule` must feed back a B or an F that it does not learn itself, to have "
                f"mirrors, but is {self.rule!r}."
            )
        object.__setattr__(self, "rule", rule)
        check_mirror(self)

    def origin(self, method: str) -> Rule:
        """The rule within, unless a class of one's own says otherwise."""
        return self if overrides(self, method, Mirrored) else self.rule

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

    def check_layers(self, v):
        if self.rule.direct:
            raise ValueError(
                f"Argument `rule` must send the error back layer by layer to have mirrors with "
                f"{len(v)} hidden layers, each of which mirrors one, but is {self!r}."
            )
        self.rule.check_layers(v)

    def predict(self, fields, v, g):
        return self.rule.predict(fields, v, g)

    def update(self, sample):
        return self.rule.update(sample)

    @property
    def draws(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the rule."""
        return self.rule.draws

    def feedback(self, state):
        return state.B1 @ product_of(state.F2) if self.has_F else state.B

    def feedback_matrix(self, state, teacher):
        if self.has_F:
            F2 = product_of(state.F2)
            S, P = state.S1 @ F2, F2.mT @ state.P1 @ F2
            teacher = teacher._replace(S=S, P=P)
        return self.rule.feedback_matrix(state, teacher)

    def feedback_drift(self, state, teacher, learning):
        pull = self.lr * self.noise**2
        if not self.has_F:
            return {"B": over_layers(lambda v, B: pull * v - self.decay * B, state.v, state.B)}
        Q, R, v, _, B1, S1, P1, F2 = state
        xp = R.__array_namespace__()
        variance = self.noise**2
        inputs = teacher.inputs
        seen = Q if inputs is None else Q.sum(axis=0)
        c, a_a = xp.ones_like(seen[0]), variance * seen
        if self.nonlinear:
            c, a_a = _noise_through(learning.activation, variance * seen)
        if inputs is not None:
            a_a = inputs.shares[:, None, None] * a_a
        grown = pull * (c[:, None] * B1 + (c[:, None] * B1).mT) + self.lr**2 * variance * a_a
        decay1 = self.decay
        if self.normalised:
            square1 = xp.sum(P1.diagonal(0, -2, -1))
            decay1 = xp.sum(grown.diagonal(0, -2, -1)) / (2 * xp.where(square1 > 0, square1, 1.0))
        learned = learning.along(xp.concat([B1, S1], axis=-2), product_of(F2).T @ P1)
        mirrored = layers_of(v)
        if self.nonlinear:  # the outputs are linear
            noise = [variance * (each.T @ each) for each in mirrored[:-1]]
            slopes: list[Any] = [_noise_through(learning.activation, each)[0] for each in noise]
            mirrored = tuple(map(operator.mul, (*slopes, 1.0), mirrored))
        pairs = zip(mirrored, layers_of(F2), strict=True)
        return {
            "B1": learned + pull * Q * c - decay1 * B1,
            "S1": pull * R.mT * c - decay1 * S1,
            "P1": grown - 2 * decay1 * P1,
            "F2": as_weights(self._towards(pull * seen, factor) for seen, factor in pairs),
        }

    def _towards(self, seen: Array, factor: Array) -> Array:
        """d/dt of a factor of F that learns from what it has seen of the weights it mirrors."""
        if not self.normalised:
            return seen - self.decay * factor
        xp = factor.__array_namespace__()
        square = xp.sum(factor * factor)
        decay = xp.sum(seen * factor) / xp.where(square > 0, square, 1.0)
        return xp.where(square > 0, seen, 0.0) - decay * factor  # a norm of zero stays


def product_of(F2: Any) -> Array:
    """The factors of F above the first layer as one, (K, O)."""
    return reduce(lambda below, above: below @ above, layers_of(F2))


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
