"""Activities of units from their fields, by name, stated anew and not taken from the theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from odes.common.checks import is_activation, lookup


class Activation(NamedTuple):
    """Activities of units from their fields, along the last axis."""

    g: Callable  # of the teacher, one by one
    hidden: Callable  # of the student, all together


def normalised(g: Callable) -> Callable:
    """Activities ``h / |h|`` of unit length, 0 where all are."""

    def unit(z: Any) -> Any:
        h = g(z)
        square = jnp.sum(h * h, axis=-1, keepdims=True)
        return h / jnp.sqrt(jnp.where(square > 0, square, 1))

    return unit


ELEMENTWISE: dict[str, Callable] = {
    "erf": lambda z: jax.scipy.special.erf(z / math.sqrt(2)),
    "linear": lambda z: z,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
}

ACTIVATIONS = {name: Activation(g, g) for name, g in ELEMENTWISE.items()}
ACTIVATIONS |= {
    f"{name}-normalised": Activation(g, normalised(g)) for name, g in ELEMENTWISE.items()
}


def choose_activation(activation: Any) -> Activation:
    """The functions of an activation: by its name, or those of the user; ValueError otherwise."""
    chosen = lookup(
        "activation", ACTIVATIONS, activation, "a function of JAX arrays", is_activation
    )
    g = getattr(chosen, "g", chosen)
    return Activation(g, getattr(chosen, "hidden", None) or g)


def check_activation(units: Activation, K: int) -> None:
    """ValueError unless both functions give as many activities as there are fields."""
    fields = jax.ShapeDtypeStruct((3, K), jnp.float32)
    for function in units:
        try:
            shape = jax.eval_shape(lambda z, function=function: function(z), fields).shape
        except Exception as error:
            raise ValueError(
                f"Argument `activation` must be a function of JAX arrays, but raised {error!r}."
            ) from error
        if shape != fields.shape:
            raise ValueError(
                f"Argument `activation` must give activities of the shape of the fields, "
                f"{fields.shape}, but gave {shape}."
            )
