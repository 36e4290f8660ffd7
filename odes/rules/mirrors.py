"""Weight mirrors: feedback that learns from noise to be the transpose of the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from odes.common.checks import check_mirror, lookup
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

    If ``normalised``, both factors are scaled back to their Frobenius norm after each step, in
    place of the decay.  ``rule`` is any rule, or the name of one, that feeds back B or F and leaves
    it as it is.
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

    def predict(self, fields, v, g):
        return self.rule.predict(fields, v, g)

    def update(self, sample):
        return self.rule.update(sample)

    @property
    def draws(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the rule."""
        return self.rule.draws

    def feedback(self, state):
        return state.B1 @ state.F2 if self.has_F else state.B

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
        inputs = teacher.inputs
        seen = Q if inputs is None else Q.sum(axis=0)
        c, a_a = xp.ones_like(seen[0]), variance * seen
        if self.nonlinear:
            c, a_a = _noise_through(learning.activation, variance * seen)
        if inputs is not None:
            a_a = inputs.shares[:, None, None] * a_a
        grown = pull * (c[:, None] * B1 + (c[:, None] * B1).mT) + self.lr**2 * variance * a_a
        decay1 = decay2 = self.decay
        if self.normalised:
            square1, square2 = xp.sum(P1.diagonal(0, -2, -1)), xp.sum(F2 * F2)
            decay1 = xp.sum(grown.diagonal(0, -2, -1)) / (2 * xp.where(square1 > 0, square1, 1.0))
            decay2 = pull * xp.sum(v * F2) / xp.where(square2 > 0, square2, 1.0)
            v = xp.where(square2 > 0, v, 0.0)  # nothing can be scaled back to a norm of zero
        learned = learning.along(xp.concat([B1, S1], axis=-2), F2.T @ P1)
        return {
            "B1": learned + pull * Q * c - decay1 * B1,
            "S1": pull * R.mT * c - decay1 * S1,
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
