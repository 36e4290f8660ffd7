"""Checks of the arguments of training: network, rule and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import check_count, check_seed, check_times
from odes.common.layers import as_weights, check_rates, layers_of, shapes_of, widths_of
from odes.common.order_parameters import Hyperparameters
from odes.common.schedules import check_scale
from odes.common.spectrum import check_data
from odes.common.tasks import Stream, room_for
from simulations.activations import Activation, check_activation, choose_activation
from simulations.networks import (
    Network,
    check_learned,
    check_network,
    given_matrix,
    in_eigenbasis,
    seen_by_feedback,
)
from simulations.rules import Rule, as_matrix, choose_rule, see, shape_drawn
from simulations.training.inputs import Data
from simulations.training.streams import choose_streams


def check_training(
    network: Network,
    rule: Any,
    activation: Any,
    times: Any,
    parameters: Hyperparameters,
    tasks: Any = None,
) -> tuple[Network, Rule, Activation, tuple[Stream | None, ...], list[int], int]:
    """The network, rule, activation functions, streams, times in samples, and samples per time.

    ValueError for what cannot be.

    Arguments are those of :func:`simulate`.  The network has no weights that the rule ignores.
    """
    chosen = choose_rule(rule)
    try:
        hash(chosen)
    except TypeError as error:
        raise ValueError(
            "Argument `rule` must hold what can be hashed, such as a tuple in `learns`, to be "
            f"compiled for: {error}"
        ) from error
    units = choose_activation(activation)
    network = check_network(network)
    check_activation(units, len(network.W))
    times, N = check_times(times), network.W.shape[1]
    per_time = N * room_for(parameters, N, times[-1])
    steps = whole_steps(times, per_time)
    check_learned(network, chosen)
    check_rates(parameters, network.v)
    widths = widths_of(network.v)
    if not chosen.classifies and len(layers_of(network.v)[-1]) != widths[-1]:
        raise ValueError(
            f"Argument `network.v[{len(widths) - 1}]` must have {widths[-1]} rows, a unit of the "
            f"last hidden layer each, for {rule!r}, but has {len(network.v[-1])}."
        )
    check_scale(bool(chosen.learns), parameters)
    if "F1" not in chosen.learns:
        network = network._replace(F1=None, F2=None)
    seen_by_feedback(network, chosen)
    check_shapes(chosen, network, units.hidden)
    streams = choose_streams(tasks, network, chosen)
    return network, chosen, units, streams, steps, per_time


def with_data(
    network: Network, rule: Rule, data: Any, labels: Any, dtype: str
) -> tuple[Network, Data | None]:
    """The network and the data to draw inputs from, with labels (n, O) if there are any.

    Without data, the network in coordinates in which the entries of its inputs are independent.
    Raises ValueError for data of another shape, and for a rule that looks at coordinates.
    """
    if data is None:
        if labels is not None:
            raise ValueError("Argument `labels` must be None without `data`, whose rows have them.")
        turned = in_eigenbasis(network)
        if turned is not network and not rule.equivariant and rule.mirror is None:
            raise ValueError(
                "Argument `rule` must be declared equivariant for inputs with eigenvectors, on "
                "whose coordinates it is run; or give `data`."
            )
        return turned, None
    rows, N = check_data("data", data), network.W.shape[1]
    if rows.shape[1] != N:
        raise ValueError(
            f"Argument `data` must have rows of N = {N} numbers, but has shape {rows.shape}."
        )
    if labels is not None:
        labels = given_matrix("labels", labels, (len(rows), network.F.shape[1]))
    centred = np.empty(rows.shape, dtype)
    np.subtract(rows, rows.mean(axis=0, dtype=float), out=centred, casting="same_kind")
    return network, Data(centred, labels)


def check_runs(n_runs: Any, n_test: Any, seed: Any) -> tuple[int, int, int]:
    """``n_runs``, ``n_test`` and ``seed`` as plain integers; ValueError for anything else."""
    return check_count("n_runs", n_runs), check_count("n_test", n_test), check_seed(seed)


def learned(rule: Rule) -> tuple[str, ...]:
    """The weights of a network that a rule moves."""
    return ("W", "v", *rule.learns)


def per_run(rule: Rule, network: Network) -> Network:
    """The axes of a group's networks for ``vmap``: 0 for weights that learn."""
    axes = {name: 0 if name in learned(rule) else None for name in Network._fields}
    own = network.own and {name: 0 if name in learned(rule) else None for name in network.own}
    return Network(**axes | {"own": own})


def whole_steps(times: np.ndarray, N: int, name: str = "times") -> list[int]:
    """The times in samples; ValueError if two are the same, or one is too many.

    ``name`` is that of the argument.
    """
    steps = np.rint(times * N)
    if steps[-1] >= 2**31 or np.any(np.diff(steps) == 0):
        raise ValueError(
            f"Argument `{name}` must be distinct numbers of samples below 2^31 at "
            f"N = {N}, but is {times!r}."
        )
    return steps.astype(int).tolist()


def check_shapes(rule: Rule, network: Network, g: Callable) -> None:
    """ValueError unless what a rule returns has the shapes of the weights that it is about."""
    (K, N), O = network.W.shape, network.F.shape[1]
    on_jax = jax.tree.map(jnp.asarray, network)
    if rule.equivariant:
        on_jax = on_jax._replace(W_star=None)
    drawn = jnp.ones(shape_drawn(rule, network.v)) if rule.draws else None
    sample = see(on_jax, jnp.ones(N), jnp.ones(O), g, 1.0, drawn)
    learns = rule.learns if rule.mirror is None else ()
    names = ("dW", "dv", "dB") if learns else ("dW", "dv")

    def called() -> dict[str, Any]:
        found = dict(zip(names, rule.update(on_jax, sample), strict=True))
        found["dW"] = as_matrix(found["dW"])
        if isinstance(found.get("dB"), dict):
            changes = found.pop("dB")
            found |= {f"a change of {name}": changes[name] for name in learns}
            unknown = set(changes) - set(learns)
            if unknown:
                raise ValueError(f"a change of {min(unknown)}, which is not in `learns`.")
        found["a prediction"] = rule.predict(on_jax, jnp.ones((3, N)), g)
        if rule.mirror is not None:
            ones = as_weights(jnp.ones(width) for width in widths_of(network.v))
            changes = rule.mirror(on_jax, (jnp.ones(N), ones), g)
            found |= {f"a change of {name}": changes[name] for name in rule.learns}
            unknown = set(changes) - set(learned(rule))
            if unknown:
                raise ValueError(f"a mirror that changes {min(unknown)}, which is not in `learns`.")
        return found

    try:
        returned = {name: shapes_of(each) for name, each in jax.eval_shape(called).items()}
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"Argument `rule` must return ({', '.join(names)}) and B, but failed with {error}"
        ) from error
    expected_shapes: dict[str, Any] = {
        "dW": (K, N),
        "dv": shapes_of(network.v),
        "dB": shapes_of(network.B),
        "a prediction": (3, O),
    }
    expected_shapes |= {f"a change of {each}": shapes_of(network.get(each)) for each in rule.learns}
    for name, shape in returned.items():
        expected = expected_shapes[name]
        if shape != expected:
            raise ValueError(
                f"Argument `rule` must return {name} of shape {expected}, but returned {shape}."
            )
