"""Rules that send a signal straight to the hidden units; most have ``delta = g' (B e)``."""

from __future__ import annotations

from dataclasses import dataclass

from odes.common.checks import check_number
from odes.common.layers import layers_of, over_layers
from odes.rules.rule import Rule, Update, differentiating


class BP(Rule):
    """Backpropagation: ``B_ko = v_ko``, the weights of the way forward."""

    needs = ()

    def feedback(self, state):
        return state.v


class FA(Rule):
    """Feedback alignment (Lillicrap et al. 2016): B fixed and random, layer by layer.

    With several hidden layers B has the shapes of v.
    """

    references: tuple[str, ...] = ("lillicrap2016random", "refinetti2021align")


class DFA(FA):
    """Direct feedback alignment (Noekland 2016): the error goes straight to every hidden layer.

    ``delta_l = g'(z_l) (B_l e)`` with fixed random B of shapes ((K, O), (H1, O), ...).  With one
    hidden layer it is FA.
    """

    references = ("nokland2016direct", "refinetti2021align")

    direct = True

    @differentiating
    def update(self, sample):
        e = sample.error
        layers = zip(layers_of(sample.B), sample.all_fields, strict=True)
        deltas = [sample.through(weights @ e, fields) for weights, fields in layers]
        return Update(deltas[0], sample.outer([*deltas[1:], e]))


class SignSymmetry(Rule):
    """Sign symmetry (Liao et al. 2016, uniform): ``B_ko = sign(v_ko)``."""

    references = ("liao2016how",)

    needs = ()

    def feedback(self, state):
        xp = state.R.__array_namespace__()
        return over_layers(xp.sign, state.v)


class RandomSignSymmetry(Rule):
    """Sign symmetry with fixed random magnitudes: ``B_ko = sign(v_ko) |b_ko|``.

    The b are what B is at the start.
    """

    references = ("liao2016how",)

    def feedback(self, state):
        xp = state.R.__array_namespace__()
        return over_layers(lambda v, B: xp.sign(v) * xp.abs(B), state.v, state.B)


class KolenPollack(FA):
    """Kolen & Pollack (1994): B takes the increments of v and decays as v does.

    ``d(B - v)/dt = -kappa_v (B - v)``, so that decay makes them one.
    """

    references = ("kolen1994backpropagation",)

    def feedback_drift(self, state, teacher, learning):
        given = learning.dv, learning.parameters.weight_decay_v, state.v, state.B
        return {"B": over_layers(lambda dv, decay, v, B: dv + decay * (v - B), *given)}


@dataclass(frozen=True)
class TargetPropagation(FA):
    """Difference target propagation (Lee et al. 2015; Bengio 2020) with a linear decoder.

    B decodes the hidden activities from the prediction y, and learns to:
    ``B += lr / N (h - B y) y^T - decay / N B``.  The target of the hidden layer is
    ``h - (B y - B (y - e))``, so that ``delta = g' (B e)``; with ``I2 = <h h^T>`` of the student::

        dB/dt = lr ( I2 v - B v^T I2 v ) - decay B

    With several hidden layers, ``B_l`` decodes the activities of layer l from those of the layer
    above: the targets miss them by ``d_L = B_L e`` at the last one and ``d_l = B_l d_{l+1}`` below,
    and ``delta_l = g'(z_l) d_l``.
    """

    references = ("lee2015difference", "bengio2020deriving")

    lr: float = 0.1
    decay: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            object.__setattr__(self, name, check_number(f"{name} of the decoder", value))

    @differentiating
    def update(self, sample):
        return self.towards_targets(sample, sample.error)

    def towards_targets(self, sample, missed):
        """The update for targets that miss the prediction by so much."""
        signals, decoders = [sample.error], layers_of(sample.B)
        activities = [*sample.activities, sample.prediction]
        for index in reversed(range(len(decoders))):
            B, above = decoders[index], activities[index + 1]
            missed = self.decoded(sample, B, above) - self.decoded(sample, B, above - missed)
            signals.insert(0, sample.through(missed, sample.all_fields[index]))
        return Update(signals[0], sample.outer(signals[1:]))

    def decoded(self, sample, B, above):
        """The activities of a layer, from those of the layer above."""
        return B @ above

    def learn(self, sample):
        import jax

        activities = [*sample.activities, sample.prediction]

        def lost(B):
            pairs = zip(layers_of(B), activities[:-1], activities[1:], strict=True)
            return sum(((h - self.decoded(sample, b, y)) ** 2).sum() for b, h, y in pairs) / 2

        down = jax.grad(lost)(sample.B)
        return {"B": over_layers(lambda d, B: -self.lr * d - self.decay * B, down, sample.B)}

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
        return self.towards_targets(sample, self.step * sample.error)

    def decoded(self, sample, B, above):
        return sample.g(B @ above)
