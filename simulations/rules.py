"""Learning rules as algorithms on the weights of a network, one input at a time.

A rule is a function ``(network, sample) -> (dW, dv)``, and the training loop then makes the step ::

    W <- W - lr / sqrt(N) dW,        v <- v - lr_v / N dv

dW is given as a list of pairs of what the hidden units, (K,), and the inputs, (N,), contribute,
``dW = sum_pairs post pre^T``, as papers write it; an array (K, N) will do.  dv is (K, O).  A rule
that learns B as it learns v returns its dB as well; one that learns B or weights of its own in
another way returns a dictionary instead, of N times what the sample adds to them.  Weights of the
first layer are seen through ``sample.fields`` and ``sample.forward``.  Beside the function stands
how to measure the feedback signal B that the theory ascribes to the rule.  Nothing here knows the
theory's averages.

All rules here but those with mirrors are *equivariant*: a rotation of input space, of x, the rows
of W and the columns of F together, rotates the rows of dW and leaves dv and B as they are; N is
known through ``x.size`` and the factors ``1 / sqrt(N)`` alone, and the teacher's weights are out of
sight.  Inputs have no preferred directions, so that such a rule may be run in other coordinates
(``simulations/blocks.py``, ``simulations/chain.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.common.checks import lookup
from simulations.mirrors import ReadoutMirror, TwoLayerMirror


def outputs(W: Any, v: Any, X: Any, g: Callable) -> Any:
    """Outputs of a network on a block of inputs, (block, O)."""
    return g(X @ W.T / X.shape[1] ** 0.5) @ v


def prediction(network: Any, X: Any, g: Callable) -> Any:
    """What a student with a readout puts out on a block of inputs, (block, O)."""
    return outputs(network.W, network.v, X, g)


class Rule(NamedTuple):
    """A learning rule and the order parameter B that belongs to it."""

    update: Callable  # (network, sample) -> (dW, dv), or (dW, dv, dB or a dictionary)
    feedback: Callable  # network -> B (K, O), or None where B is v
    aligned_only: bool = False  # whether a limit of large N exists for aligned F only
    equivariant: bool = False  # whether it may be run in other coordinates (module docstring)
    learns: tuple[str, ...] = ()  # weights that learn besides W and v, those of its own among them
    mirror: Any = None  # what runs beside each sample (simulations/mirrors.py)
    predict: Callable = prediction  # (network, inputs (block, N), g) -> (block, O)
    classifies: bool = False  # whether only the sign of the prediction has a meaning
    draws: tuple[str, ...] = ()  # shape of the standard normals of each sample, such as ("K",)


class Sample(NamedTuple):
    """One input, its label, and what else a rule may need to know."""

    x: Any  # (N,)
    y: Any  # (O,)
    g: Callable  # the activation
    lr: Any  # learning rate of the first layer
    fields: Callable  # of any u in input space, (N,): the student's ``W u / sqrt(N)``, (K,)
    xi: Any = None  # standard normals of the shape that the rule draws

    def forward(self, u: Any) -> Any:
        """Hidden activities of the student for an input u, (K,)."""
        return self.g(self.fields(u))


def see(network: Any, x: Any, y: Any, g: Callable, lr: Any, xi: Any = None) -> Sample:
    """An input (N,) and its label (O,), as the student of a network sees them."""
    return Sample(x, y, g, lr, lambda u: network.W @ u / u.shape[0] ** 0.5, xi)


def shape_drawn(rule: Rule, v: Any) -> tuple[int, ...]:
    """The shape of what a rule draws for each sample, beside a readout (K, O)."""
    return tuple(dict(zip("KO", v.shape[-2:], strict=True))[each] for each in rule.draws)


def as_matrix(dW: Any) -> Any:
    """The sum of the outer products of pairs, (K, N); an array as it is."""
    return dW if hasattr(dW, "shape") else sum(jnp.outer(*pair) for pair in dW)


def choose_rule(rule: Any) -> Rule:
    """The rule of that name, a Rule itself, or that of an ``odes.Rule``; ValueError otherwise."""
    algorithm = getattr(rule, "algorithm", None)
    if algorithm is None and type(rule).__module__.startswith("odes.rules."):
        algorithm = of_theory(rule)
    return lookup(
        "rule", RULES, rule if algorithm is None else algorithm,
        "a simulations.Rule, or an odes.Rule with one as its `algorithm`",
        lambda own: isinstance(own, Rule),
    )  # fmt: skip


@cache
def of_theory(rule: Any) -> Rule | None:
    """The algorithm of one of the rules of ``odes.rules``, by the name of its class."""
    if hasattr(rule, "rule"):
        mirror = {name: getattr(rule, name) for name in ("lr", "noise", "decay")}
        if not rule.has_F:
            return with_mirror(choose_rule(rule.rule), ReadoutMirror(**mirror))
        mirror |= {name: getattr(rule, name) for name in ("nonlinear", "normalised")}
        return with_mirror(choose_rule(rule.rule), TwoLayerMirror(**mirror))
    name = CLASSES.get(type(rule).__name__)
    if name is None:
        return None
    if hasattr(rule, "loss"):
        return with_loss(name, rule.loss)
    if vars(rule):
        decoder = rule.lr, rule.decay, hasattr(rule, "step"), getattr(rule, "step", 1.0)
        return RULES[name]._replace(update=target_propagation(*decoder))
    return RULES[name]


def with_loss(name: str, loss: Any) -> Rule:
    """A rule of Forward-Forward with the loss of one of ``odes.rules``."""
    kind = type(loss).__name__
    if kind not in LOSSES:
        raise ValueError(
            f"Argument `rule` must have one of the losses {', '.join(LOSSES)} for networks, "
            f"but has {loss!r}."
        )
    train = {"ff": forward_forward, "ff-topdown": forward_forward_topdown}[name]
    return RULES[name]._replace(update=train(LOSSES[kind](*vars(loss).values())))


def with_mirror(rule: Rule, mirror: Any) -> Rule:
    """A rule with a mirror beside each sample, of its B, or of both factors of its F."""
    rule = rule._replace(mirror=mirror, equivariant=False)
    if not isinstance(mirror, TwoLayerMirror):
        return rule._replace(learns=("B",))
    return rule._replace(
        update=in_factors(rule.update),
        feedback=in_factors(rule.feedback),
        aligned_only=True,
        learns=("F1", "F2"),
    )


def forward(network: Any, sample: Sample) -> tuple[Any, Callable, Any]:
    """Hidden activities h (K,), the way back through them, and the error e = h v - y (O,).

    The way back takes a signal (K,) at the activities to the fields: it multiplies by g', unless
    the activities are normalised.
    """
    h, back = jax.vjp(sample.g, sample.fields(sample.x))
    return h, lambda signal: back(signal)[0], h @ network.v - sample.y


def two_passes(network: Any, sample: Sample) -> tuple[Any, Any, Any, Any]:
    """h and h_err (K,), of x and of ``x - F e``; the error e (O,); and ``x - F e`` (N,)."""
    h, _, e = forward(network, sample)
    x_err = sample.x - network.F @ e
    return h, sample.forward(x_err), e, x_err


def bp(network, sample):
    """Backpropagation: the gradient, ``delta = g' * (v e)``."""
    h, through, e = forward(network, sample)
    return [(through(network.v @ e), sample.x)], jnp.outer(h, e)


def fa(network, sample):
    """Feedback alignment (Lillicrap et al. 2016): fixed B in place of v, ``delta = g' * (B e)``.

    With one hidden layer also direct feedback alignment, "dfa".
    """
    h, through, e = forward(network, sample)
    return [(through(network.B @ e), sample.x)], jnp.outer(h, e)


def afa(network, sample):
    """Adaptive feedback alignment (Srinivasan et al. 2024): ``delta = g' * (W F e / sqrt(N))``."""
    h, through, e = forward(network, sample)
    return [(through(sample.fields(network.F @ e)), sample.x)], jnp.outer(h, e)


def sign_symmetry(network, sample):
    """Sign symmetry (Liao et al. 2016): ``delta = g' * (sign(v) e)``."""
    return fa(network._replace(B=jnp.sign(network.v)), sample)


def sign_random(network, sample):
    """Sign symmetry with the magnitudes of a fixed random B: ``delta = g' * (sign(v) |B| e)``."""
    return fa(network._replace(B=signed(network)), sample)


def kolen_pollack(network, sample):
    """Kolen & Pollack (1994): FA whose B learns and decays as v does."""
    dW, dv = fa(network, sample)
    return dW, dv, dv


@cache
def target_propagation(lr, decay, nonlinear, step):
    """Difference target propagation (Lee et al. 2015; Bengio 2020) with a decoder that learns.

    From the prediction y the decoder makes hidden activities, D(y) = B y, or g(B y) if
    ``nonlinear``.  The target of the hidden layer is ``h - (D(y) - D(y - step e))``, and so
    ``delta = g' * (D(y) - D(y - step e))``; B descends ``|h - D(y)|^2 / 2``.
    """
    return partial(_target_propagation, lr, decay, nonlinear, step)


def _target_propagation(lr, decay, nonlinear, step, network, sample):
    """Difference target propagation with a decoder that learns."""
    h, through, e = forward(network, sample)
    y = e + sample.y

    def decoded(y):
        return sample.g(network.B @ y) if nonlinear else network.B @ y

    def lost(B):
        return jnp.sum((h - (sample.g(B @ y) if nonlinear else B @ y)) ** 2) / 2

    dB = -lr * jax.grad(lost)(network.B) - decay * network.B
    delta = through(decoded(y) - decoded(y - step * e))
    return [(delta, sample.x)], jnp.outer(h, e), {"B": dB}


def pepita(network, sample):
    """PEPITA (Dellaferrera & Kreiman 2022) with the clean input as the presynaptic factor.

    A second forward pass sees ``x - F e``; its hidden activity h_err replaces a gradient:
    ``dW = (h - h_err) x^T``.
    """
    h, h_err, e, _ = two_passes(network, sample)
    return [(h - h_err, sample.x)], jnp.outer(h, e)


def pepita_modulated(network, sample):
    """PEPITA as published: the modulated pass supplies the presynaptic factors of both layers.

    ``dW = (h - h_err) (x - F e)^T`` and ``dv = h_err e^T``.
    """
    h, h_err, e, x_err = two_passes(network, sample)
    return [(h - h_err, x_err)], jnp.outer(h_err, e)


def pepita_hebbian(network, sample):
    """PEPITA-Hebbian (Srinivasan et al. 2024): Hebbian in one pass, the opposite in the other.

    ``dW = h x^T - h_err (x - F e)^T``, and the readout sees the prediction in the first pass and
    the label in the second: ``dv = h prediction^T - h_err y^T``.
    """
    h, h_err, e, x_err = two_passes(network, sample)
    dv = jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)
    return [(h, sample.x), (-h_err, x_err)], dv


def pepita_tl(network, sample):
    """Time-local PEPITA: the step of the first pass is taken before the second pass is run."""
    h, _, e = forward(network, sample)
    x_err = sample.x - network.F @ e
    stepped = sample.fields(x_err) - sample.lr / sample.x.size * (sample.x @ x_err) * h
    h_err = sample.g(stepped)
    dv = jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)
    return [(h, sample.x), (-h_err, x_err)], dv


@cache
def logistic(threshold):
    """The loss of Hinton (2022): ``softplus(threshold - G+) + softplus(G- - threshold)``."""
    return partial(_logistic, threshold)


def _logistic(threshold, positive, negative):
    return jax.nn.softplus(threshold - positive) + jax.nn.softplus(negative - threshold)


@cache
def symba(alpha):
    """The loss of the Trifecta (Dooms et al. 2023): ``softplus(-alpha (G+ - G-))``."""
    return partial(_symba, alpha)


def _symba(alpha, positive, negative):
    return jax.nn.softplus(-alpha * (positive - negative))


def difference(positive, negative):
    """Goodness is to be low on positive samples and high on negative ones: ``G+ - G-``."""
    return positive - negative


def goodness(fields, v, label, g):
    """``sum_k h_k^2`` of the activities for fields (K,) and a label (O,), weighted by v."""
    h = g(fields + v @ label)
    return h @ h


def contrast(network, sample, positive, negative, loss):
    """dW and dv of gradient descent on ``loss(G+, G-)``, for x with either label, (O,)."""

    def of_both(fields, v):
        return loss(*(goodness(fields, v, y, sample.g) for y in (positive, negative)))

    delta, dv = jax.grad(of_both, (0, 1))(sample.fields(sample.x), network.v)
    return [(delta, sample.x)], dv


@cache
def forward_forward(loss):
    """Forward-Forward (Hinton 2022): :func:`contrast` of the teacher's sign and the other one.

    v, (K, 1), holds the weights from the label to the hidden units.
    """
    return partial(_forward_forward, loss)


def _forward_forward(loss, network, sample):
    """Forward-Forward (Hinton 2022): a contrast of the right label and the wrong one."""
    if network.v.shape[1] != 1:
        raise ValueError(f"v has {network.v.shape[1]} outputs, but the label is one sign.")
    y = jnp.sign(sample.y)
    return contrast(network, sample, y, -y, loss)


def better_label(network, X, g):
    """Goodness with the label 1 minus goodness with the label -1, (block, 1)."""
    one = jnp.ones(1, X.dtype)

    def gain(fields):
        return goodness(fields, network.v, one, g) - goodness(fields, network.v, -one, g)

    return jax.vmap(gain)(X @ network.W.T / X.shape[1] ** 0.5)[:, None]


@cache
def forward_forward_topdown(loss):
    """Forward-Forward between x and ``x - F e``, with half the square of activities as goodness.

    The readout learns as in PEPITA-Hebbian.  The negative sample counts as given: no gradient
    passes through e.
    """
    return partial(_forward_forward_topdown, loss)


def _forward_forward_topdown(loss, network, sample):
    """Forward-Forward between the input x and ``x - F e``."""
    h, h_err, e, x_err = two_passes(network, sample)

    def of_both(fields, fields_err):
        return loss(*(h @ h / 2 for h in (sample.g(fields), sample.g(fields_err))))

    plus, minus = jax.grad(of_both, (0, 1))(sample.fields(sample.x), sample.fields(x_err))
    dv = jnp.outer(h, e + sample.y) - jnp.outer(h_err, sample.y)
    return [(plus, sample.x), (minus, x_err)], dv


def composed(network):
    """The network with ``F = F1 F2 / sqrt(N)``, from the factors that mirrors learn."""
    return network._replace(F=network.F1 @ network.F2 / network.W.shape[1] ** 0.5)


@cache
def in_factors(function):
    """The same function of a network whose F is in two factors."""
    return partial(_in_factors, function)


def _in_factors(function, network, *sample):
    """A function of a network, with the F whose two factors learn from mirrors."""
    return function(composed(network), *sample)


def no_feedback(network):
    """None: the signal sent back is v itself."""
    return None


def fixed_feedback(network):
    """The fixed feedback weights B."""
    return network.B


def overlap_with_F(network):
    """``B_ko = w_k . F_o / sqrt(N)``, the feedback that the second pass feels."""
    return network.W @ network.F / network.W.shape[1] ** 0.5


def signs(network):
    """``B = sign(v)``."""
    return jnp.sign(network.v)


def signed(network):
    """``B = sign(v) |b|`` with the fixed feedback weights b."""
    return jnp.sign(network.v) * jnp.abs(network.B)


LABELLED: dict[str, Any] = {"equivariant": True, "predict": better_label, "classifies": True}

RULES = {
    "bp": Rule(bp, no_feedback, equivariant=True),
    "fa": Rule(fa, fixed_feedback, equivariant=True),
    "afa": Rule(afa, overlap_with_F, equivariant=True),
    "pepita": Rule(pepita, overlap_with_F, equivariant=True),
    "pepita-modulated": Rule(pepita_modulated, overlap_with_F, aligned_only=True, equivariant=True),
    "pepita-hebbian": Rule(pepita_hebbian, overlap_with_F, aligned_only=True, equivariant=True),
    "pepita-tl": Rule(pepita_tl, overlap_with_F, aligned_only=True, equivariant=True),
    "sign-symmetry": Rule(sign_symmetry, signs, equivariant=True),
    "sign-random": Rule(sign_random, signed, equivariant=True),
    "kolen-pollack": Rule(kolen_pollack, fixed_feedback, equivariant=True, learns=("B",)),
    "dtp": Rule(
        target_propagation(0.1, 0.0, False, 1.0), fixed_feedback, equivariant=True, learns=("B",)
    ),
    "fa-mirror": with_mirror(Rule(fa, fixed_feedback), ReadoutMirror()),
    "afa-mirror": with_mirror(Rule(afa, overlap_with_F), TwoLayerMirror()),
    "pepita-mirror": with_mirror(Rule(pepita, overlap_with_F), TwoLayerMirror()),
    "ff": Rule(forward_forward(logistic(1.0)), no_feedback, **LABELLED),
    "ff-symba": Rule(forward_forward(symba(4.0)), no_feedback, **LABELLED),
    "ff-topdown": Rule(
        forward_forward_topdown(difference), overlap_with_F, aligned_only=True, equivariant=True
    ),
}
RULES["dfa"] = RULES["fa"]

CLASSES = {
    "BP": "bp", "FA": "fa", "AFA": "afa", "PEPITA": "pepita", "ModulatedPEPITA": "pepita-modulated",
    "HebbianPEPITA": "pepita-hebbian", "TimeLocalPEPITA": "pepita-tl",
    "SignSymmetry": "sign-symmetry", "RandomSignSymmetry": "sign-random",
    "KolenPollack": "kolen-pollack", "TargetPropagation": "dtp",
    "NonlinearTargetPropagation": "dtp", "ForwardForward": "ff",
    "TopDownForwardForward": "ff-topdown",
}  # fmt: skip
"""The rules of ``odes.rules`` but those with mirrors, by their classes."""

LOSSES: dict[str, Callable] = {
    "Logistic": logistic, "SymBa": symba, "Difference": lambda: difference
}  # fmt: skip
"""Losses from the parameters of those of ``odes.rules``, by their classes."""


def known_name(rule: Rule) -> str | None:
    """The name of one of the package's own rules; None for one of the user's."""
    names = [name for name, own in RULES.items() if rule == own]
    update = getattr(rule.update, "func", rule.update)
    return names[0] if names and update.__module__ == __name__ else None
