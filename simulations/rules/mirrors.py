"""Weight mirrors: feedback that learns from noise to be the transpose of the forward weights.

In mirror mode (Akrout et al. 2019) noise takes the place of the activity of a layer, and the
feedback to it learns from what the noise does to the layer after it.  A mirror is a function
``(network, noise, g)`` of the network, of standard normals for the inputs, (N,), and for the hidden
units, (K,) or one array a layer, and of the activation.  It returns by how much the feedback
weights change, by name.  The training loop runs it once beside each sample
(:func:`simulations.simulate`), and :func:`simulations.pre_mirrored` by itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial, reduce
from typing import Any

import jax.numpy as jnp

from odes.common.checks import check_mirror
from odes.common.layers import as_weights, layers_of, over_layers
from simulations.rules.rule import Rule


@dataclass(frozen=True)
class ReadoutMirror:
    """Moves B, the feedback of FA, towards v: ``B += lr / N xi (v^T xi)^T - decay / N B``.

    xi is hidden noise of standard deviation ``noise``.
    """

    lr: float = 0.1
    noise: float = 1.0
    decay: float = 0.1

    def __post_init__(self):
        check_mirror(self)

    def __call__(self, network: Any, noise: tuple[Any, Any], g: Callable) -> dict[str, Any]:
        N = network.W.shape[1]

        def change(xi, v, B):
            seen = jnp.outer(self.noise * xi, self.noise * xi @ v)
            return (self.lr * seen - self.decay * B) / N

        return {"B": over_layers(change, noise[1], network.v, network.B)}


@dataclass(frozen=True)
class TwoLayerMirror(ReadoutMirror):
    """Moves both factors of ``F = F1 F2 / sqrt(N)``, the top-down feedback of PEPITA.

    F2 moves towards v as B does in :class:`ReadoutMirror`.  The columns of F1 move towards the
    rows of W, by input noise xi of the same standard deviation,
    ``F1 += lr / sqrt(N) xi a^T - decay / N F1`` with ``a = W xi / sqrt(N)``, or the activities g(a)
    if ``nonlinear``, as in the hidden layers above.  If ``normalised``, each factor is scaled back
    to its Frobenius norm, in place of the decay.
    """

    nonlinear: bool = False
    normalised: bool = False

    def __call__(self, network: Any, noise: tuple[Any, Any], g: Callable) -> dict[str, Any]:
        N = network.W.shape[1]
        xi = self.noise * noise[0]
        a = network.W @ xi / N**0.5
        F1 = self.lr / N**0.5 * jnp.outer(xi, g(a) if self.nonlinear else a)
        *hidden, readout = layers_of(network.v)
        arrived = [self.noise * xi for xi in layers_of(noise[1])]
        seen = [b @ v for b, v in zip(arrived, (*hidden, readout), strict=True)]
        if self.nonlinear:
            seen = [*map(g, seen[:-1]), seen[-1]]  # the outputs are linear
        learned = (self.lr / N * jnp.outer(b, a) for b, a in zip(arrived, seen, strict=True))
        factors = zip(layers_of(network.F2), learned, strict=True)
        return {
            "F1": self._kept(network.F1, F1, N),
            "F2": as_weights(self._kept(factor, change, N) for factor, change in factors),
        }

    def _kept(self, weights: Any, change: Any, N: int) -> Any:
        """The change of weights, after decay or scaling back."""
        if not self.normalised:
            return change - self.decay / N * weights
        moved = weights + change
        return moved * (jnp.linalg.norm(weights) / jnp.linalg.norm(moved)) - weights


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


def composed(network):
    """The network with ``F = F1 F2 / sqrt(N)``, from the factors that mirrors learn."""
    factors = reduce(operator.matmul, layers_of(network.F2))
    return network._replace(F=network.F1 @ factors / network.W.shape[1] ** 0.5)


@cache
def in_factors(function):
    """The same function of a network whose F is in two factors."""
    return partial(_in_factors, function)


def _in_factors(function, network, *sample):
    """A function of a network, with the F whose two factors learn from mirrors."""
    return function(composed(network), *sample)
