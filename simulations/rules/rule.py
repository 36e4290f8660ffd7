"""Learning rules as algorithms on the weights of a network, one input at a time.

A rule is a function ``(network, sample) -> (dW, dv)``, and the training loop then makes the step ::

    W <- W - lr / sqrt(N) dW,        v <- v - lr_v / N dv

dW is given as a list of pairs of what the hidden units, (K,), and the inputs, (N,), contribute,
``dW = sum_pairs post pre^T``, as papers write it; an array (K, N) will do.  dv is (K, O), or of
several hidden layers one for each layer above the first, as v has them.  A rule
that learns B as it learns v returns its dB as well; one that learns B or weights of its own in
another way returns a dictionary instead, of N times what the sample adds to them.  Weights of the
first layer are seen through ``sample.fields`` and ``sample.forward``.  Beside the function stands
how to measure the feedback signal B that the theory ascribes to the rule.  Nothing here knows the
theory's averages.

All rules here but those with mirrors are *equivariant*: a rotation of input space, of x, the rows
of W and the columns of F together, rotates the rows of dW and leaves dv and B as they are; N is
known through ``x.size`` and the factors ``1 / sqrt(N)`` alone, and the teacher's weights are out of
sight.  Inputs have no preferred directions, so that such a rule may be run in other coordinates
(``simulations/training/blocks.py``, ``simulations/chain.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.common.layers import as_weights, layers_of, outputs_of, widths_of


def outputs(W: Any, v: Any, X: Any, g: Callable) -> Any:
    """Outputs of a network on a block of inputs, (block, O)."""
    *hidden, readout = layers_of(v)
    h = g(X @ W.T / X.shape[1] ** 0.5)
    for weights in hidden:
        h = g(h @ weights)
    return h @ readout


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
    mirror: Any = None  # what runs beside each sample (simulations/rules/mirrors.py)
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
    """The shape of what a rule draws for each sample, beside a readout (K, O), or layers."""
    sizes = {"K": widths_of(v)[0], "O": outputs_of(v)}
    return tuple(sizes[each] for each in rule.draws)


def as_matrix(dW: Any) -> Any:
    """The sum of the outer products of pairs, (K, N); an array as it is."""
    return dW if hasattr(dW, "shape") else sum(jnp.outer(*pair) for pair in dW)


def ascend(network: Any, sample: Sample, fields: Any) -> tuple[list[Any], list[Any]]:
    """Fields and activities of every hidden layer, from the fields of the first, (K,)."""
    all_fields, activities = [fields], [sample.g(fields)]
    for weights in layers_of(network.v)[:-1]:
        all_fields.append(weights.T @ activities[-1])
        activities.append(sample.g(all_fields[-1]))
    return all_fields, activities


def through(sample: Sample, fields: Any, signal: Any) -> Any:
    """A signal at the activities of a layer, taken back to its fields: times g'."""
    return jax.vjp(sample.g, fields)[1](signal)[0]


def outers(below: Sequence[Any], signals: Sequence[Any]) -> Any:
    """The outer products of what is below each layer of weights, and of a signal above it."""
    return as_weights(map(jnp.outer, below, signals))


def forward(network: Any, sample: Sample) -> tuple[Any, Callable, Any]:
    """Of one hidden layer: activities h (K,), the way back through them, and e = h v - y (O,).

    The way back takes a signal (K,) at the activities to the fields: it multiplies by g', unless
    the activities are normalised.
    """
    h, back = jax.vjp(sample.g, sample.fields(sample.x))
    return h, lambda signal: back(signal)[0], h @ network.v - sample.y
