"""Forward-Forward: a contrast of two passes in place of an error that is sent back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from odes.common.checks import check_flag, check_number, quoted
from odes.common.layers import as_weights, layers_of, over_layers, widths_of
from odes.common.order_parameters import Array
from odes.rules.rule import Rule, Sample, Update, is_normalised
from odes.rules.top_down import AFA, second_pass


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

    references = ("dooms2023trifecta",)

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

    With several hidden layers, each descends the loss of its own goodness on what the layer below
    hands up: its activities, divided by their length if ``normalised``.  If ``overlapping``, as in
    the Trifecta (Dooms et al. 2023), the gradient passes through the one layer below as well, and
    layers are taken in pairs, in turn: for each sample a coin says whether the losses of the first,
    third, ... layer count or those of the others.  There is no readout, and the last of the weights
    above the first layer are u, (K, 1), as with one hidden layer; all goodness is added up to tell
    the class.  Overlapping gradients through normalised activities grow as ``1 / |h|`` where these
    vanish: with two units their variance is infinite, and with few their averages over points
    converge slowly.
    """

    loss: Any = Logistic()
    normalised: bool = True
    overlapping: bool = False

    def __post_init__(self):
        check_loss(self.loss)
        for name in ("normalised", "overlapping"):
            object.__setattr__(self, name, check_flag(name, getattr(self, name)))

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

    def check_layers(self, v):
        if v[-1].shape[-2] != v[0].shape[-2]:
            raise ValueError(
                f"Argument `v[{len(v) - 1}]` must be label weights for Forward-Forward, of shape "
                f"({v[0].shape[-2]}, 1), which has no readout, but has shape {v[-1].shape}: see "
                "`label_weights` of sample_network."
            )
        if self.overlapping and self.normalised and 2 in widths_of(v)[:-1]:
            raise ValueError(
                "Argument `v` must have more than two units in each layer that a gradient passes "
                f"through, since the derivative of what it hands up, divided by its length, has an "
                f"infinite variance otherwise, but the widths are {widths_of(v)}."
            )

    @property
    def references(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of Forward-Forward, and of layers that overlap."""
        return ("hinton2022forward", *("dooms2023trifecta",) * self.overlapping)

    @property
    def draws(self) -> tuple[str, ...]:  # type: ignore[override]
        """A number whose sign is the coin, if layers overlap."""
        return ("O",) if self.overlapping else ()

    def feedback(self, state):
        return state.v

    def handed_up(self, h: Array) -> Array:
        """What a layer of these activities hands to the layer above."""
        if not self.normalised:
            return h
        import jax.numpy as jnp

        square = h @ h
        return h / jnp.sqrt(jnp.where(square > 0, square, 1.0))

    def fields_of_pass(self, fields: Array, v: Any, g: Any) -> list[Array]:
        """The fields of every layer, from those of the first."""
        found = [fields]
        for weights in layers_of(v)[:-1]:
            found.append(self.handed_up(g(found[-1])) @ weights)
        return found

    def predict(self, fields, v, g):
        u, goodness = layers_of(v)[-1][:, 0], []
        for sign in (1, -1):
            activities = [g(each) for each in self.fields_of_pass(fields + sign * u, v, g)]
            goodness.append(sum(h @ h for h in activities))
        return (goodness[0] - goodness[1])[None]

    def update(self, sample):
        import jax.numpy as jnp

        g, (*layers, u) = sample.g, layers_of(sample.v)
        y = jnp.sign(sample.label)
        passes = [
            self.fields_of_pass(sample.fields + s * y * u[:, 0], sample.v, g) for s in (1, -1)
        ]
        signals: list[Any] = []  # of either pass at the fields of each layer
        for own in zip(*passes, strict=True):
            slopes = self.loss.slopes(*(g(z) @ g(z) for z in own))
            signals.append(
                [2 * p * sample.through(g(z), z) for p, z in zip(slopes, own, strict=True)]
            )
        if self.overlapping and layers:
            signals = self._in_turn(sample, passes, signals)
        plus, minus = signals[0]
        changes = [
            sum(
                self.handed_up(g(below))[:, None] * signal
                for below, signal in zip(under, of_both, strict=True)
            )
            for under, of_both in zip(zip(*passes, strict=True), signals[1:], strict=False)
        ]
        return Update(plus + minus, as_weights([*changes, ((plus - minus) * y)[:, None]]))

    def _in_turn(self, sample: Sample, passes: list[list[Array]], own: list[Any]) -> list[Any]:
        """The signals where the losses of every other layer count, and reach the layer below."""
        import jax
        import jax.numpy as jnp

        def below(signal: Array, weights: Array, fields: Array) -> Array:
            _, back = jax.vjp(lambda z: self.handed_up(sample.g(z)), fields)
            return back(weights @ signal)[0]

        coin: Any = sample.xi
        found, first = [], coin[0] > 0
        for index, signals in enumerate(own):
            others = [jnp.zeros_like(each) for each in signals]
            if index + 1 < len(own):
                V = layers_of(sample.v)[index]
                others = [
                    below(signal, V, fields[index])
                    for signal, fields in zip(own[index + 1], passes, strict=True)
                ]
            mine = first if index % 2 == 0 else ~first
            found.append([jnp.where(mine, *both) for both in zip(signals, others, strict=True)])
        return found


@dataclass(frozen=True)
class TopDownForwardForward(AFA):
    """Forward-Forward between an input and the same input after top-down feedback.

    The positive sample is x, the negative one ``x - F e``, and the goodness ``1/2 sum_k h_k^2`` of
    the hidden layer, below a readout that learns as that of PEPITA-Hebbian.  With p and q the
    derivatives of the loss, ``dW = p (h g') x^T + q (h_err g'_err) (x - F e)^T``, which for
    rectified linear units, g g' = g, and the loss ``G+ - G-`` is PEPITA-Hebbian (Srinivasan et al.
    2024): the feedback lowers the error, so that goodness has to be low where there was none.
    Every hidden layer does so, with the activities of the layer below in place of the inputs.
    """

    references = ("hinton2022forward", "srinivasan2024forward")

    loss: Any = Difference()

    def __post_init__(self):
        check_loss(self.loss)

    needs = ("B", "S", "P")

    def check(self, K, O, activation):
        check_length(activation)

    def update(self, sample):
        passes = sample, second_pass(sample)
        signals: list[Any] = []  # of either pass at the fields of each layer
        for fields in zip(*(each.all_fields for each in passes), strict=True):
            h = [sample.g(z) for z in fields]
            slopes = self.loss.slopes(*(each @ each / 2 for each in h))
            signals.append(
                [s * sample.through(a, z) for s, a, z in zip(slopes, h, fields, strict=True)]
            )
        outputs = sample.prediction, -sample.label
        above = zip(*signals[1:], outputs, strict=True)
        changes = [each.outer(own) for each, own in zip(passes, above, strict=True)]
        readout = over_layers(lambda plus, minus: plus + minus, *changes)
        plus, minus = signals[0]
        return Update(delta=plus + minus, readout=readout, gamma=-minus)
