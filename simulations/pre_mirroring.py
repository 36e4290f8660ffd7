"""Mirror phases by themselves, before a network learns."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import check_number, check_seed, hyperparameters
from simulations.networks import Network
from simulations.rules import choose_rule, composed
from simulations.training.checks import check_training, whole_steps
from simulations.training.inputs import mirror_noise
from simulations.training.plan import CPU
from simulations.training.steps import mirrored


def pre_mirrored(
    network: Network, *, rule: Any, t: float, activation: Any = "erf", seed: int = 0
) -> Network:
    """The network after mirror phases alone, t N of them, in double precision.

    From there it may learn by any rule: B, F1 and F2 are those that the mirror made, and F is their
    product.  In theory the same is :func:`odes.solve` at a learning rate of 0.

    Args:
        network: see :func:`simulations.sample_network`.
        rule: one with a mirror, such as "fa-mirror", "pepita-mirror", or
            ``RULES["fa-mirror"]._replace(mirror=ReadoutMirror(lr=0.5))``.
        t: how long, in mirror phases over N.
        activation: as for :func:`simulations.simulate`; mirrors that are nonlinear look at it.
        seed: of the noise.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    t = check_number("t", t)
    if choose_rule(rule).mirror is None:
        raise ValueError(f"Argument `rule` must have a mirror, but is {rule!r}.")
    if "F1" in choose_rule(rule).learns and not getattr(network, "aligned", True):
        raise ValueError("Argument `network` must have an aligned F, but its feedback is random.")
    seed = check_seed(seed)
    start, chosen, units, *_ = check_training(
        network, rule, activation, [0.0], hyperparameters(lr=0.0)
    )
    (steps,) = whole_steps(np.array([t]), start.W.shape[1], "t")
    with jax.enable_x64(True):
        key = jax.random.key(seed, impl="threefry2x32")
        on_jax = jax.tree.map(jnp.asarray, start)
        after = _mirror(on_jax, key, steps, rule=chosen, units=units)
        learned = {name: jax.tree.map(np.asarray, after.get(name)) for name in chosen.learns}
    network = network.put(**learned)
    return composed(network) if "F1" in learned else network


@partial(jax.jit, static_argnames=("rule", "units"))
def _mirror(network, key, steps, *, rule, units):
    """The network after so many steps of the mirror."""
    drawn = max(1, CPU.cached // network.W.shape[1])

    def some(d: Any, network: Network) -> Network:
        noise = mirror_noise(key, d * drawn, drawn, network)

        def one(s: Any, network: Network) -> Network:
            beside = jax.tree.map(lambda each: each[s], noise)
            return mirrored(network, beside, d * drawn + s < steps, rule=rule, g=units.hidden)

        return jax.lax.fori_loop(0, drawn, one, network)

    return jax.lax.fori_loop(0, -(-steps // drawn), some, network)
