"""A state as one vector of what can move, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from odes.common.layers import is_several, layers_of, over_layers
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
    ends = np.cumsum([math.prod(shape) for _, shape in places]).tolist()
    spans = [
        (name, shape, *span)
        for (name, shape), *span in zip(places, [0, *ends[:-1]], ends, strict=True)
    ]
    several = [name for name, each in moving.items() if is_several(each)]
    symmetric = [name for name in SYMMETRIC if name in moving]

    def pack(state: OrderParameters) -> Array:
        parts = []
        for name in moving:
            each = getattr(state, name)
            if name in symmetric:
                parts.append(each[..., k, l].ravel())
            else:
                parts += [each.ravel()] if name not in several else [a.ravel() for a in each]
        return state.R.__array_namespace__().concat(parts)

    def unpack(y: Array) -> OrderParameters:
        parts: dict[str, Any] = {name: () for name in several}
        for name, shape, start, end in spans:
            array = y[..., start:end].reshape(*y.shape[:-1], *shape)
            parts[name] = (*parts[name], array) if name in several else array
        for name in symmetric:
            parts[name] = parts[name][..., pair]
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
