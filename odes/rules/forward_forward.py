"""Forward-Forward: a contrast of two passes in place of an error that is sent back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from odes.common.checks import check_number, quoted
from odes.common.order_parameters import Array
from odes.rules.rule import Rule, Update, is_normalised
from odes.rules.top_down import AFA


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
