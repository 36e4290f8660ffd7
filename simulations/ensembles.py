"""Networks that a simulation ended with, to go on from."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from odes.common.checks import check_count, quoted
from odes.common.order_parameters import Hyperparameters, OrderParameters, Teacher, state_of
from odes.common.store import Arrays
from simulations.networks import Network, in_eigenbasis, whole_basis
from simulations.rules import Rule
from simulations.training.checks import learned
from simulations.training.steps import with_scale


class Networks(NamedTuple):
    """The networks of all runs, and how many random numbers each has used.

    :func:`simulations.simulate` and :func:`simulations.simulate_chain` go on from them as from one
    network, and with the same seed they draw the numbers that follow.
    """

    network: Network  # what all runs have in common, and where they started
    weights: Arrays  # that learned, by name (runs, ...)
    samples: int = 0  # that each run has seen
    tests: int = 0  # sets of test inputs that each has been tested on
    chain: Any = None  # where a chain ended; of networks as it returned them

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        return len(self.weights["W"])

    def run(self, index: int) -> Network:
        """The network of one run; ValueError for a number that none has."""
        index = check_count("index", index, least=0, below=self.n_runs)
        own = jax.tree.map(lambda each: np.asarray(each[index], float), self.weights)
        return self.network.put(**own)

    def overlaps(self, rule: Any) -> tuple[OrderParameters, Teacher]:
        """As of :meth:`Network.overlaps`, with a first axis of the runs in the order parameters."""
        pairs = [self.run(index).overlaps(rule) for index in range(self.n_runs)]
        parts = [state._asdict() for state, _ in pairs]
        stacked = {
            name: jax.tree.map(lambda *each: np.stack(each), *(part[name] for part in parts))
            for name, each in parts[0].items()
            if each is not None
        }
        return state_of(stacked), pairs[0][1]


def started(network: Any, n_runs: int) -> tuple[Any, int, Networks | None]:
    """The network that all runs have in common, how many there are, and where they go on from.

    Raises ValueError for networks of another number of runs, and weights that do not fit.
    """
    if not isinstance(network, Networks):
        return network, n_runs, None
    if n_runs not in (1, network.n_runs):
        raise ValueError(
            f"Argument `n_runs` must be {network.n_runs}, the number of networks to go on from, or "
            f"not given, but is {n_runs}."
        )
    for name in ("samples", "tests"):
        check_count(f"network.{name}", getattr(network, name), least=0)
    common = network.network
    for name, each in network.weights.items():
        own = common.get(name) if isinstance(common, Network) else None
        shapes = jax.tree.map(lambda one, many: np.shape(many)[1:] == np.shape(one), own, each)
        if own is None or not all(jax.tree.leaves(shapes)):
            raise ValueError(
                f"Argument `network.weights` must have {name} of the shape that `network.network` "
                f"has, for each run, but it is {quoted(each)}."
            )
    return common, network.n_runs, network


def going_on(
    before: Networks | None, rule: Rule, parameters: Hyperparameters, *, turned: bool
) -> tuple[Rule, Arrays]:
    """The rule, and the weights of all runs to go on from, by name; none without networks.

    ``turned`` says whether runs are in the coordinates of the eigenvectors of their inputs.  A B
    that a rule before learned, and that this one does not, differs from run to run: it counts as
    learned.
    """
    if before is None:
        return rule, {}
    if {"F1", "F2"} & set(before.weights) and "F1" not in rule.learns:
        raise ValueError(
            "Argument `rule` must learn an F in factors, as the rule before did, to go on from "
            f"these networks, whose F differ, but learns {rule.learns!r}."
        )
    if "B" in before.weights and "B" not in rule.learns:
        rule = rule._replace(learns=(*rule.learns, "B"))
    whole = before.network.put(**before.weights)
    whole, _ = with_scale(in_eigenbasis(whole) if turned else whole, parameters)
    found = {}
    for name in learned(rule):
        each = whole.get(name)
        if name not in before.weights:
            each = jax.tree.map(lambda a: np.broadcast_to(a, (before.n_runs, *a.shape)), each)
        found[name] = each
    return rule, found


def ended(network: Network, weights: Arrays, samples: int, tests: int, *, turned: bool) -> Networks:
    """The networks of runs with these weights, in the coordinates of the network."""
    weights = jax.tree.map(np.asarray, weights)
    if turned and network.inputs is not None and network.inputs.basis is not None:
        basis = whole_basis(network.inputs.basis)
        weights["W"] = weights["W"] @ basis.T
        if "F1" in weights:
            weights["F1"] = basis @ weights["F1"]
    return Networks(network, weights, samples, tests)
