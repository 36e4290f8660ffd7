"""Rules that send a signal straight to the hidden units; most have ``delta = g' (B e)``."""

from __future__ import annotations

from dataclasses import dataclass

from odes.common.checks import check_number
from odes.rules.rule import Rule, Update


class BP(Rule):
    """Backpropagation: ``B_ko = v_ko``, the weights of the way forward."""

    needs = ()

    def feedback(self, state):
        return state.v


class FA(Rule):
    """Feedback alignment (Lillicrap et al. 2016): ``B_ko`` fixed and random.

    With one hidden layer this is also direct feedback alignment (Noekland 2016), "dfa".
    """


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
        with_y = learning.activities[:, : len(state.v)] @ state.v
        missed = with_y - state.B @ (state.v.mT @ with_y)
        return {"B": self.lr * missed - self.decay * state.B}


@dataclass(frozen=True)
class NonlinearTargetPropagation(TargetPropagation):
    """Difference target propagation with the decoder ``D(y) = g(B y)``.

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
