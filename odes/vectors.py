"""A state as one vector of what can move, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from odes.common.layers import as_weights, layers_of, over_layers
from odes.common.order_parameters import (
    SYMMETRIC,
    Array,
    OrderParameters,
    distinct_pairs,
    given_parts,
)


def packing(
    like: OrderParameters, names: tuple[str, ...] | None = None
) -> tuple[Callable[..., Array], Callable[..., OrderParameters]]:
    """Functions between order parameters of these names and one vector, with each Q_kl once.

    None stands for all that there are.  The way back takes the others from ``like``.
    """
    k, l, pair = distinct_pairs(like.R.shape[-2])
    moving = {
        name: each for name, each in given_parts(like).items() if names is None or name in names
    }
    still = {name: each for name, each in given_parts(like).items() if name not in moving}
    places = [
        (name, (*layer.shape[:-2], k.size) if name in SYMMETRIC else layer.shape)
        for name, each in moving.items()
        for layer in layers_of(each)
    ]
    sizes = [math.prod(shape) for _, shape in places]
    ends = np.cumsum(sizes).tolist()

    def pack(state: OrderParameters) -> Array:
        parts = [
            (layer[..., k, l] if name in SYMMETRIC else layer).ravel()
            for name in moving
            for layer in layers_of(getattr(state, name))
        ]
        return state.R.__array_namespace__().concat(parts)

    def unpack(y: Array) -> OrderParameters:
        layers: dict[str, list[Array]] = {name: [] for name in moving}
        for (name, shape), start, end in zip(places, [0, *ends[:-1]], ends, strict=True):
            layers[name].append(y[..., start:end].reshape(*y.shape[:-1], *shape))
        parts = {name: as_weights(each) for name, each in layers.items()}
        parts |= {name: parts[name][..., pair] for name in SYMMETRIC if name in parts}
        if y.ndim > 1:  # NaN where the solution has stopped
            stopped = 0 * y[..., 0]
            parts |= {
                name: over_layers(partial(_along, stopped), each) for name, each in still.items()
            }
        return like._replace(**parts)

    return pack, unpack


def _along(zeros: Array, constant: Array) -> Array:
    """A constant at each of these zeros, and NaN where they are that."""
    return zeros.reshape(*zeros.shape, *(1 for _ in constant.shape)) + constant
