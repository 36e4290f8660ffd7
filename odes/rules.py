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

from collections.abc import Callable
from typing import NamedTuple

from odes.order_parameters import Array, OrderParameters, Teacher


class Sample(NamedTuple):
    """What a rule sees of one input: JAX arrays."""

    fields: Array  # lambda_k = w_k . x / sqrt(N), (K,)
    prediction: Array  # sum_k v_ko g(lambda_k), (O,)
    label: Array  # the teacher's output and its noise, (O,)
    B: Array  # (K, O), as `feedback` gives it
    g: Callable[[Array], Array]  # the activation
    lr: Array  # learning rate of the first layer

    @property
    def h(self) -> Array:
        """Hidden activities g(lambda_k), (K,)."""
        return self.g(self.fields)

    @property
    def slope(self) -> Array:
        """g'(lambda_k), (K,)."""
        import jax

        return jax.jvp(self.g, (self.fields,), (jax.numpy.ones_like(self.fields),))[1]

    @property
    def error(self) -> Array:
        """Prediction minus label, (O,)."""
        return self.prediction - self.label


class Update(NamedTuple):
    """One sample's change of the weights, per -lr / sqrt(N) and per -lr_v / N."""

    delta: Array  # (K,), the factor of the input x
    readout: Array  # (K, O)
    gamma: Array | None = None  # (K,), the factor of the fed-back error F e


class Rule:
    """What a rule sends back, how that moves, and the update that it makes.

    Unless a rule says otherwise, B is a constant of motion and the update is that of
    backpropagation with B in place of v.  ``needs`` names the overlaps that a caller must supply
    beyond Q, R, v, T and v_star; a rule with gamma needs B, S and P.  ``smooth`` is to be False for
    an update that jumps or has kinks as a function of the fields.
    """

    needs: tuple[str, ...] = ("B",)
    smooth: bool = True

    def feedback(self, state: OrderParameters) -> Array:
        """The feedback signal B, shape (K, O)."""
        return state.B

    def feedback_drift(
        self, state: OrderParameters, teacher: Teacher, along: Callable[..., Array]
    ) -> Array | None:
        """dB/dt, shape (K, O), or None where B is constant.

        ``along(u, with_F)`` is ``d(w_k . u / N) / dt`` for directions u in input space, given by
        their overlaps with all units, (K + M, number of directions), students first, and with F,
        (O, number of directions), which only rules with gamma look at.
        """
        return None

    def update(self, sample: Sample) -> Update:
        """The update on one sample; a rule that overrides this has no closed form."""
        return Update(
            delta=sample.slope * (sample.B @ sample.error),
            readout=sample.h[:, None] * sample.error,
        )


class BP(Rule):
    """Backpropagation: ``B_ko = v_ko``, the weights of the way forward."""

    needs = ()

    def feedback(self, state):
        return state.v


class FA(Rule):
    """Feedback alignment (Lillicrap et al. 2016): ``B_ko`` fixed and random.

    With one hidden layer this is also direct feedback alignment (Noekland 2016).
    """


class AFA(Rule):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``B_ko = w_k . F_o / sqrt(N)``.

    The first order of PEPITA in the feedback.  F is fixed, but w_k moves and takes B along.  The
    theory is exact for aligned F; for a random F, B diffuses besides (``random_feedback.py``).
    """

    needs: tuple[str, ...] = ("B", "S")

    def feedback_drift(self, state, teacher, along):
        xp = state.B.__array_namespace__()
        return along(xp.concat([state.B, teacher.S]), teacher.P)


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


RULES = {
    "bp": BP(),
    "fa": FA(),
    "afa": AFA(),
    "pepita": PEPITA(),
    "pepita-modulated": ModulatedPEPITA(),
    "pepita-hebbian": HebbianPEPITA(),
    "pepita-tl": TimeLocalPEPITA(),
}
