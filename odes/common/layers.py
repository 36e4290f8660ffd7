"""Weights above the first layer: one array with one hidden layer, a tuple of them with more.

Widths are counted from the input upwards: layers ``((K, H1), (H1, H2), ..., (H_L, O))``, of which
the last is the readout.  Nothing here or elsewhere depends on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np


def is_several(weights: Any) -> bool:
    """Whether these are several layers, or a number for each; schedules are tuples of a kind."""
    return type(weights) is tuple


def layers_of(weights: Any) -> tuple[Any, ...]:
    """The layers of weights, from the first hidden layer upwards; one, if they are an array."""
    return weights if is_several(weights) else (weights,)


def as_weights(layers: Any) -> Any:
    """Layers as weights have them: the array itself if there is one, or else a tuple."""
    layers = tuple(layers)
    return layers if len(layers) > 1 else layers[0]


def over_layers(function: Callable[..., Any], *weights: Any) -> Any:
    """``function`` of the layers of weights, one after another; of the arrays if there is one."""
    for each in weights:
        if type(each) is tuple:
            depth = len(each)
            break
    else:
        return function(*weights)
    columns = (each if is_several(each) else (each,) * depth for each in weights)
    return as_weights(function(*each) for each in zip(*columns, strict=True))


def is_deep(weights: Any) -> bool:
    """Whether a caller's weights are several layers: a sequence of matrices."""
    several = isinstance(weights, (tuple, list)) and len(weights) > 0
    return several and all(np.ndim(each) > 1 for each in weights[:1])


def have_layers(*weights: Any) -> bool:
    """Whether any of a caller's weights, such as v and v_star, are several layers."""
    return any(map(is_deep, weights))


def outputs_of(weights: Any) -> int:
    """How many outputs there are."""
    return layers_of(weights)[-1].shape[-1]


def widths_of(weights: Any) -> tuple[int, ...]:
    """The widths of all hidden layers, from the input upwards."""
    first, *_ = layers = layers_of(weights)
    return (first.shape[-2], *(each.shape[-1] for each in layers[:-1]))


def by_layers(weights: dict[str, Any]) -> dict[str, Any]:
    """The arrays of weights by name, each of several layers as one of its own, such as "v[1]"."""
    found: dict[str, Any] = {}
    for name, each in weights.items():
        several = is_several(each)
        found |= {f"{name}[{i}]" if several else name: a for i, a in enumerate(layers_of(each))}
    return found


def together(arrays: dict[str, Any]) -> dict[str, Any]:
    """The weights whose layers :func:`by_layers` took apart."""
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        whole, bracket, _ = name.partition("[")
        found[whole] = (*found.get(whole, ()), array) if bracket else array
    return found


LAYERED = ("K", ..., "O")
"""Dimensions of weights from layer to layer, ``((K, H1), ..., (H_L, O))``."""

DIRECT = ("K", "O", ...)
"""Dimensions of weights between every hidden layer and the outputs, ``((K, O), (H1, O), ...)``."""


ANYWHERE = (..., "K", "O")
"""Dimensions of weights that may be either, or those of feedback to the input, (K, O)."""


def plain(dimensions: tuple[Any, ...]) -> tuple[str, ...]:
    """The two dimensions that these are with one hidden layer."""
    return tuple(each for each in dimensions if each is not ...)


def shapes_at(dimensions: tuple[Any, ...], widths: tuple[int, ...], O: int) -> Any:
    """The shape, or the shapes of all layers, of weights above hidden layers of these widths."""
    if ... not in dimensions or len(widths) == 1:
        sizes = {"K": widths[0], "O": O}
        return tuple(sizes[each] for each in plain(dimensions))
    if dimensions == DIRECT:
        return tuple((width, O) for width in widths)
    return tuple(pairwise((*widths, O)))


def shapes_of(weights: Any) -> Any:
    """The shape of an array, or those of all layers."""
    return tuple(map(np.shape, weights)) if is_several(weights) else np.shape(weights)


def check_rates(parameters: Any, v: Any) -> None:
    """ValueError for rates and decays that are not one for each layer above the first."""
    layers = len(layers_of(v))
    for name in ("lr_v", "weight_decay_v"):
        given = getattr(parameters, name)
        if is_several(given) and len(given) != layers:
            raise ValueError(
                f"Argument `{name}` must be a number, or a tuple of one for each of {layers} "
                f"layers above the first, but is {given!r}."
            )


def shaped_layers(
    name: str,
    layers: tuple[Any, ...],
    dimensions: Any,
    sizes: dict[str, int],
    widths: tuple[int, ...],
) -> tuple[Any, ...]:
    """Layers with output axes, if their shapes follow from one another and from what is known."""
    layers = tuple(each[:, None] if each.ndim == 1 else each for each in layers)
    first, last = plain(dimensions)[-2:]
    if name in ("v", "v_star"):
        below = sizes[first]
        for index, each in enumerate(layers):
            is_last = index + 1 == len(layers)
            above = sizes.get(last, last) if is_last else f"H{index + 1}"
            from_labels = is_last and name == "v" and each.shape[:1] == (sizes[first],)
            _check_layer(f"{name}[{index}]", each, sizes[first] if from_labels else below, above)
            below = each.shape[1]
        sizes.setdefault(last, below)
        return layers
    if len(widths) < 2 or ... not in dimensions:
        raise ValueError(
            f"Argument `{name}` must be one matrix of shape ({', '.join(plain(dimensions))}), but "
            f"is a tuple of {len(layers)}."
        )
    options = [LAYERED, DIRECT] if dimensions == ANYWHERE else [dimensions]
    expected = [shapes_at(each, widths, sizes[last]) for each in options]
    if shapes_of(layers) not in expected:
        pairs = enumerate(zip(shapes_of(layers), expected[0], strict=False))
        wrong = next((index for index, (has, wants) in pairs if has != wants), len(widths))
        raise ValueError(
            f"Argument `{name}` must have layers of the shapes {expected[0]}, but those it has are "
            f"{shapes_of(layers)}: see `{name}[{wrong}]`."
        )
    return layers


def _check_layer(name: str, array: Any, below: int, above: Any) -> None:
    """ValueError unless a layer has this many units below, and as many above if that is known."""
    fits = array.ndim == 2 and array.size > 0 and array.shape[0] == below
    if not fits or (isinstance(above, int) and array.shape[1] != above):
        raise ValueError(
            f"Argument `{name}` must have the shape ({below}, {above}), from the layer below to "
            f"that above, but has {array.shape}."
        )


def beside_feedback(B: Any, v: tuple[Any, ...], direct: bool) -> list[tuple[Any, Any]]:
    """Feedback weights of several hidden layers, and the weights that each of them stands for.

    Of feedback layer by layer these are those of the layer, and of feedback from the outputs,
    ``direct`` or by its shape, the product of all weights on that way.
    """
    back, v = (
        tuple(each[:, None] if each.ndim == 1 else each for each in layers_of(w)) for w in (B, v)
    )
    if not direct and shapes_of(back) == shapes_of(v):
        return list(zip(back, v, strict=True))
    above = [v[-1]]
    for each in v[-2::-1]:
        above.insert(0, each @ above[0])
    if back[0].ndim == above[0].ndim + 1:  # of groups of inputs
        back = (back[0].sum(axis=-3),)
    pairs = list(zip(back, above, strict=False))
    if any(one.shape != other.shape for one, other in pairs):
        raise ValueError(
            "Argument `state` must have a B of the shapes of v, or of weights from the outputs to "
            f"each layer, or to the first, but has {shapes_of(B)} beside {shapes_of(v)}."
        )
    return pairs
