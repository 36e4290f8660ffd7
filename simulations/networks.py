"""Finite networks: a teacher, a student, and the feedback matrices that the rules use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import (
    check_array,
    check_flag,
    quoted,
)
from odes.common.groups import groups_of
from odes.common.layers import (
    DIRECT,
    LAYERED,
    as_weights,
    is_deep,
    outputs_of,
    shapes_at,
    widths_of,
)
from odes.common.order_parameters import (
    OrderParameters,
    Teacher,
    state_of,
)
from odes.common.spectrum import check_spectrum
from simulations.rules import Rule, choose_rule


class Network(NamedTuple):
    """The weights of one student and its teacher, and two kinds of feedback.

    First-layer weights have entries of O(1); the preactivations are ``W x / sqrt(N)``.  With
    several hidden layers v, B and F2, or v_star, are tuples of the layers above the first, from the
    input upwards.
    """

    W: Any  # (K, N) first layer of the student
    v: Any  # (K, O) readout of the student; ((K, H1), ..., (H_L, O))
    W_star: Any  # (M, N) first layer of the teacher
    v_star: Any  # (M, O) readout of the teacher
    B: Any  # (K, O) fixed feedback weights, for feedback alignment; as v
    F: Any  # (N, O) top-down feedback, for rules whose second pass sees x - F e
    aligned: Any  # whether entries of F are O(1 / sqrt(N)) and correlated with the weights
    F1: Any = None  # (N, K) and
    F2: Any = None  # (K, O): an aligned F in factors, F1 F2 / sqrt(N), for mirrors that learn it
    own: Any = None  # weights by names of its own that a rule keeps, a dictionary
    inputs: Any = None  # an odes.Spectrum; None for independent standard normal entries
    direct: Any = None  # ((K, O), (H1, O), ...) direct feedback; None for B of one hidden layer

    def get(self, name: str) -> Any:
        """Weights by name, those of a rule's own among them; None if there are none."""
        return getattr(self, name) if name in self._fields else (self.own or {}).get(name)

    def put(self, **weights: Any) -> Network:
        """The network with these weights in place of those of the same names."""
        own = {name: each for name, each in weights.items() if name not in self._fields}
        known = {name: each for name, each in weights.items() if name in self._fields}
        return self._replace(**known, **({"own": {**(self.own or {}), **own}} if own else {}))

    def overlaps(self, rule: Any) -> tuple[OrderParameters, Teacher]:
        """Order parameters and teacher measured on this network, in float64.

        They are the initial condition of the theory for ``rule``, and hold what it needs and
        nothing else (shapes in ``odes/common/order_parameters.py``): B, unless that follows from v;
        of a rule whose B is that of F, S and P besides; of one that learns F in factors, these in
        place of B; and weights of its own.  With ``inputs``, overlaps of vectors in input space
        have a first axis of its groups.  Raises ValueError for an unknown rule, and for one that
        has no theory with random feedback.
        """
        chosen = choose_rule(rule)
        if chosen.aligned_only and not self.aligned:
            raise ValueError(
                f"Argument `rule` must not be {rule!r} for random feedback: it moves W along F e, "
                "or learns F, and moves B by O(1) at every sample, so that no limit of large N "
                'exists.  Use feedback="aligned", or the rule "pepita".'
            )
        network = check_network(self)
        check_learned(network, chosen)
        N = network.W.shape[1]
        with jax.enable_x64(True):
            seen = seen_by_feedback(network, chosen)
            parts = jax.tree.map(np.asarray, overlaps_of(network, chosen))
            fixed = {"T": measured_by_group(network, _of_teacher)}
            if "F1" in chosen.learns or seen == {"v"}:
                parts.pop("B", None)
            elif "F" in seen:
                scale = 1 if network.aligned else N
                fixed["S"] = measured_by_group(network, _of_teacher_and_F)
                fixed["P"] = measured_by_group(
                    network, lambda seen, part: part(seen.F.T) @ seen.F / scale
                )
        inputs = network.inputs and network.inputs.alone()
        fixed = {name: np.asarray(each) for name, each in fixed.items()}
        return state_of(parts), Teacher(**fixed, v_star=network.v_star, inputs=inputs)


def overlaps_of(network: Network, rule: Rule) -> dict[str, Any]:
    """The order parameters of a network on the inputs that W has, by name."""
    of_F = network.inputs is not None and bool({"F", "F1"} & seen_by_feedback(network, rule))

    def overlaps(network: Network, part: Callable[[Any], Any]) -> dict[str, Any]:
        W, W_star, F1 = network.W, network.W_star, network.F1
        n = W.shape[1]
        measured = {"Q": part(W) @ W.T / n, "R": part(W) @ W_star.T / n}
        if of_F:
            measured["B"] = rule.feedback(network._replace(W=part(W)))
        if "F1" in rule.learns:
            measured |= {"B1": part(W) @ F1 / n, "S1": part(W_star) @ F1 / n}
            measured["P1"] = part(F1.T) @ F1 / n
        return measured

    measured = {**measured_by_group(network, overlaps), "v": network.v}
    if not of_F:
        measured["B"] = rule.feedback(network)
    if "F1" in rule.learns:
        measured["F2"] = network.F2
    measured |= {name: network.get(name) for name in rule.learns if name not in Network._fields}
    return {name: each for name, each in measured.items() if each is not None}


def _of_teacher(network: Network, part: Callable[[Any], Any]) -> Any:
    """T."""
    return part(network.W_star) @ network.W_star.T / network.W.shape[1]


def _of_teacher_and_F(network: Network, part: Callable[[Any], Any]) -> Any:
    """S."""
    return part(network.W_star) @ network.F / network.W.shape[1] ** 0.5


def measured_by_group(
    network: Network, measure: Callable[[Network, Callable[[Any], Any]], Any]
) -> Any:
    """``measure(network, part)`` for each group of inputs, along a first axis; without any, once.

    ``part`` takes vectors of input space, as rows, to what they are in the group.  What is measured
    has to be linear in what it returns.  With eigenvectors, the network is that of the coordinates
    along them, and the group of what is besides has what is left of the whole.
    """
    inputs, N = network.inputs, network.W.shape[1]
    if inputs is None:
        return measure(network, lambda rows: rows)
    seen = network if inputs.basis is None else _along(network, inputs.basis)
    groups = groups_of(inputs, N)[: seen.W.shape[1]]

    def one(s: Any) -> Any:
        return measure(seen, lambda rows: rows * (groups == s))

    found = jax.lax.map(one, jnp.arange(len(inputs.shares)))
    if seen.W.shape[1] == N:
        return found
    whole = measure(network, lambda rows: rows)
    return jax.tree.map(
        lambda each, all_of_it: each.at[-1].set(all_of_it - each.sum(0)), found, whole
    )


def _along(network: Network, basis: Any) -> Network:
    """The network on the coordinates of its inputs along r vectors, (N, r).

    Its weights count ``sqrt(r / N)`` times, so that overlaps are those on N inputs.
    """
    N, r = basis.shape
    scale = (r / N) ** 0.5
    given = network._asdict()
    turned = {name: scale * (given[name] @ basis) for name in ("W", "W_star")}
    turned["F"] = basis.T @ given["F"]
    if given["F1"] is not None:
        turned["F1"] = scale * (basis.T @ given["F1"])
    return network._replace(**turned)


def in_eigenbasis(network: Network) -> Network:
    """The network in the coordinates of the eigenvectors of its inputs' covariance."""
    basis = network.inputs and network.inputs.basis
    if basis is None:
        return network
    return _along(network, whole_basis(basis))._replace(inputs=network.inputs.alone())


def whole_basis(basis: Any) -> Any:
    """Orthonormal vectors of input space, (N, N), that begin with these, (N, r)."""
    rank = basis.shape[1]
    if rank == len(basis):
        return basis
    beyond = np.linalg.qr(basis, mode="complete")[0][:, rank:]
    return np.concatenate([basis, beyond], axis=1)


def seen_by_feedback(network: Network, rule: Rule) -> set[str]:
    """The weights that a rule's feedback signal B is made of, by name.

    Raises ValueError unless B has the shape of v, or is None.
    """
    weights = {
        name: jax.tree.map(jnp.asarray, each)
        for name, each in network._asdict().items()
        if name not in ("aligned", "own", "inputs") and each is not None
    }

    def feedback(given: dict[str, Any]) -> Any:
        return rule.feedback(network._replace(**given))

    try:
        traced, B = jax.make_jaxpr(feedback, return_shape=True)(weights)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `rule` must have a feedback from a network to B, but it failed with {error}"
        ) from error
    widths, O = widths_of(network.v), outputs_of(network.v)
    fine = [shapes_at(each, widths, O) for each in (LAYERED, DIRECT, ("K", "O"))]
    if B is not None and jax.tree.map(lambda each: each.shape, B) not in fine:
        raise ValueError(
            f"Argument `rule` must have a feedback B of shape {fine[0]}, but it returned {B!r}."
        )
    seen = [*traced.jaxpr.outvars, *(each for step in traced.eqns for each in step.invars)]
    names = [name for name in sorted(weights) for _ in jax.tree.leaves(weights[name])]
    inputs = zip(names, traced.jaxpr.invars, strict=True)
    return {name for name, variable in inputs if any(each is variable for each in seen)}


def check_network(network: Network) -> Network:
    """The network in float64, if all weights are finite and their shapes agree."""
    if not isinstance(network, Network):
        raise ValueError(f"Argument `network` must be a Network(...), but is {quoted(network)}.")
    matrices = [check_array(f"network.{name}", getattr(network, name)) for name in ("W", "W_star")]
    layers = {
        name: given_layers(f"network.{name}", getattr(network, name)) for name in ("v", "v_star")
    }
    sizes = [matrix.shape for matrix in matrices]
    if any(len(shape) != 2 for shape in sizes):
        raise ValueError(
            "Argument `network` must have matrices W (K, N), v (K, O) and W_star (M, N), "
            f"but they have the shapes {sizes}."
        )
    (K, N), (M, _) = sizes
    widths, O = widths_of(layers["v"]), outputs_of(layers["v"])
    layered = shapes_at(LAYERED, (K, *widths[1:]), O)
    of_student = layered
    if len(widths) > 1 and len(layers["v"][-1]) == K:
        of_student = (*layered[:-1], (K, O))  # label weights of Forward-Forward
    of_teacher = shapes_at(LAYERED, (M, *widths_of(layers["v_star"])[1:]), O)
    shapes: dict[str, Any] = {
        "W": (K, N), "v": of_student, "W_star": (M, N), "v_star": of_teacher, "B": layered,
        "F": (N, O),
    }  # fmt: skip
    if network.F1 is not None or network.F2 is not None:
        shapes |= {"F1": (N, K), "F2": layered}
    if network.direct is not None:
        shapes["direct"] = shapes_at(DIRECT, (K, *widths[1:]), O)
    weights = {
        name: given_weights(f"network.{name}", getattr(network, name), shape)
        for name, shape in shapes.items()
    }
    aligned = check_flag("network.aligned", network.aligned)
    if network.own is not None and not isinstance(network.own, dict):
        raise ValueError(
            "Argument `network.own` must be a dictionary of weights by name, or None, but is "
            f"{quoted(network.own)}."
        )
    own = {name: check_array(f"network.{name}", each) for name, each in (network.own or {}).items()}
    inputs = network.inputs
    if inputs is not None:
        inputs = check_spectrum(inputs, "network.inputs").of_inputs(N)._replace(grouping_error=None)
    return Network(**weights, aligned=aligned, own=own or None, inputs=inputs)


def check_learned(network: Network, rule: Rule) -> None:
    """ValueError unless the network has the weights that the rule learns."""
    if rule.mirror is None and set(rule.learns) & set(Network._fields) - {"B"}:
        raise ValueError(
            f"Argument `rule` must have a mirror to learn {', '.join(rule.learns)}, but has None."
        )
    for name in rule.learns:
        if network.get(name) is None:
            raise ValueError(
                f"Argument `network` must have {name} for a rule that learns it, but has None."
            )


def given_layers(name: str, value: Any) -> Any:
    """The caller's weights above a first layer, each in float64 and with an output axis."""
    if not is_deep(value):
        return _as_layer(name, value)
    return as_weights(_as_layer(f"{name}[{index}]", layer) for index, layer in enumerate(value))


def _as_layer(name: str, value: Any) -> np.ndarray:
    """A caller's matrix in float64 and with an output axis."""
    array = check_array(name, value)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"Argument `{name}` must be a matrix of weights to the layer above, but is "
            f"{quoted(value)}."
        )
    return array


def given_weights(name: str, value: Any, shape: Any) -> Any:
    """:func:`given_matrix`, or those of several layers if there are several shapes."""
    if isinstance(shape[0], int):
        return given_matrix(name, value, shape)
    if not is_deep(value) or len(value) != len(shape):
        raise ValueError(
            f"Argument `{name}` must be a tuple of {len(shape)} layers of the shapes {shape}, but "
            f"is {quoted(value)}."
        )
    layers = enumerate(zip(value, shape, strict=True))
    return tuple(given_matrix(f"{name}[{index}]", *each) for index, each in layers)


def given_matrix(name: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    """The caller's array in float64 and with an output axis; ValueError for another shape."""
    array = check_array(name, value)
    if array.ndim == 1 and shape[1] == 1:
        array = array[:, None]
    if array.shape != shape:
        raise ValueError(
            f"Argument `{name}` must be an array of shape {shape}, but is {quoted(value)}."
        )
    return array
