"""The training loop: online SGD on the weights of finite networks, many runs at once.

Inputs are drawn in blocks and forgotten, so that memory does not grow with time.  Sample s of run r
is a function of the seed, r and s alone: neither the saved times, the block size nor the number of
runs change the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from odes.checks import check_count, check_seed, check_times, hyperparameters, is_activation, lookup
from odes.order_parameters import (
    Hyperparameters,
    OrderParameters,
    Trajectory,
    trajectory_of_runs,
)
from simulations.networks import Network, check_network
from simulations.rules import Rule, Sample, choose_rule

ACTIVATIONS: dict[str, Callable] = {
    "erf": lambda z: jax.scipy.special.erf(z / math.sqrt(2)),
    "linear": lambda z: z,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
}

DTYPES = {"float32": np.float32, "float64": np.float64}

BLOCK = 64  # inputs drawn together, where memory allows
BLOCK_ELEMENTS = 2**22  # numbers held at once in all blocks of inputs


def simulate(
    network: Network,
    *,
    rule: Any,
    lr: float,
    lr_v: float | None = None,
    noise: float = 0.0,
    weight_decay: float = 0.0,
    weight_decay_v: float | None = None,
    activation: Any = "erf",
    times: Any,
    n_runs: int = 1,
    seed: int = 0,
    n_test: int = 2000,
    dtype: str = "float32",
    progress: bool = True,
) -> Trajectory:
    """Train copies of a network on different data and measure them as they learn.

    Args:
        network: where every run starts; see :func:`simulations.sample_network`.
        rule: a name in ``simulations.RULES`` or a :class:`simulations.Rule`, whose functions are
            compiled once and must not depend on values that change.
        lr, lr_v, noise, weight_decay, weight_decay_v: as for :func:`odes.solve`.
        activation: "erf", "linear", "tanh", "relu", or an elementwise function of JAX arrays,
            compiled once like a rule.
        times: when to measure, (n,), in samples / N, strictly increasing and >= 0; rounded to whole
            samples, which must still differ.
        n_runs: number of runs, which differ in their training and test inputs.
        seed: of all inputs and label noise.
        n_test: fresh inputs on which each run is tested at each time.
        dtype: "float32" or "float64", of the weights and of the arithmetic.
        progress: whether long runs show a bar, on a terminal.

    Returns:
        A Trajectory.  The generalization error, (n_runs, n), is half the squared difference to the
        noiseless teacher, summed over outputs and averaged over the test inputs.  The order
        parameters, with leading axes (n_runs, n), are measured on the weights.  ``times`` are the
        rounded ones, and ``status`` has one entry a run, "ok" or "diverged".

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    parameters = hyperparameters(
        lr=lr, lr_v=lr_v, noise=noise, weight_decay=weight_decay, weight_decay_v=weight_decay_v
    )
    lookup("dtype", DTYPES, dtype)
    network, chosen, g, steps = check_training(
        network, rule, activation, times, n_runs=n_runs, n_test=n_test, seed=seed
    )
    N = network.W.shape[1]
    block = min(BLOCK, max(1, BLOCK_ELEMENTS // (N * n_runs)))

    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("float32"):
        start = Network(*(jnp.asarray(weights, dtype) for weights in network))
        scalars = Hyperparameters(*(jnp.asarray(value, dtype) for value in parameters))
        root = jax.random.key(seed, impl="threefry2x32")
        keys = jax.vmap(lambda r: jax.random.split(jax.random.fold_in(root, r)))(jnp.arange(n_runs))
        networks = start._replace(**{w: jnp.tile(getattr(start, w), (n_runs, 1, 1)) for w in "Wv"})
        saved, done = [], 0
        with tqdm(
            total=steps[-1],
            unit=" samples",
            disable=None if progress else True,
            delay=1,
            leave=False,
        ) as bar:
            for index, step in enumerate(steps):
                networks = _train(
                    networks,
                    keys[:, 0],
                    done,
                    step,
                    scalars,
                    update=chosen.update,
                    g=g,
                    block=block,
                )
                measured = _measure(
                    networks, keys[:, 1], index, n_test, feedback=chosen.feedback, g=g, block=block
                )
                saved.append(jax.tree.map(np.asarray, measured))
                bar.update(step - done)
                done = step
    states, errors = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1, dtype=float), *saved)
    return trajectory_of_runs(np.array(steps) / N, states, errors)


def check_training(
    network: Network, rule: Any, activation: Any, times: Any, *, n_runs: int, n_test: int, seed: int
) -> tuple[Network, Rule, Callable, list[int]]:
    """The network, rule, activation function, and times in samples; ValueError for what cannot be.

    Arguments are those of :func:`simulate`.
    """
    chosen = choose_rule(rule)
    g = lookup("activation", ACTIVATIONS, activation, "a function of JAX arrays", is_activation)
    g = getattr(g, "g", g)
    check_count("n_runs", n_runs)
    check_count("n_test", n_test)
    check_seed(seed)
    network = check_network(network)
    steps = whole_steps(check_times(times), network.W.shape[1])
    _check_shapes(chosen, network, g)
    return network, chosen, g, steps


def whole_steps(times: np.ndarray, N: int) -> list[int]:
    """The times in samples; ValueError if two are the same, or one is too many."""
    steps = np.rint(times * N)
    if steps[-1] >= 2**31 or np.any(np.diff(steps) == 0):
        raise ValueError(
            "Argument `times` must be distinct numbers of samples below 2^31 at "
            f"N = {N}, but is {times!r}."
        )
    return steps.astype(int).tolist()


def _check_shapes(rule: Rule, network: Network, g: Callable) -> None:
    """ValueError unless a rule returns dW, dv and B of the shapes of W, v and v."""
    (K, N), O = network.W.shape, network.v.shape[1]
    sample = Sample(jnp.ones(N), jnp.ones(O), g, 1.0)
    on_jax = jax.tree.map(jnp.asarray, network)
    try:
        returned = jax.eval_shape(lambda: (rule.update(on_jax, sample), rule.feedback(on_jax)))
        (dW, dv), B = jax.tree.map(lambda array: array.shape, returned)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"Argument `rule` must return (dW, dv) and B, but failed with {error}"
        ) from error
    for name, shape, expected in (("dW", dW, (K, N)), ("dv", dv, (K, O)), ("B", B, (K, O))):
        if shape != expected and not (name == "B" and shape is None):
            raise ValueError(
                f"Argument `rule` must return {name} of shape {expected}, but returned {shape}."
            )


PER_RUN = Network(W=0, v=0, W_star=None, v_star=None, B=None, F=None, aligned=None)
"""Which weights have a leading run axis: those that learn."""


def _inputs(key: Any, first: Any, block: int, network: Network) -> tuple[Any, Any]:
    """Samples first, first + 1, ...: inputs (block, N), and normals for the noise (block, O)."""
    N, O = network.F.shape
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(block))
    normals = jax.vmap(lambda k: jax.random.normal(k, (N + O,), network.F.dtype))(keys)
    return normals[:, :N], normals[:, N:]


def outputs(W: Any, v: Any, X: Any, g: Callable) -> Any:
    """Outputs of a network on a block of inputs, (block, O)."""
    return g(X @ W.T / X.shape[1] ** 0.5) @ v


@partial(jax.jit, static_argnames=("update", "g", "block"))
def _train(networks, keys, first, last, parameters, *, update, g, block):
    """The networks after their samples first, ..., last - 1."""
    lr, lr_v, noise, decay, decay_v = parameters
    N = networks.F.shape[0]

    def one_run(network: Network, key: Any) -> Network:
        def learn_block(b, weights):
            start = first + b * block
            X, zeta = _inputs(key, start, block, network)
            Y = outputs(network.W_star, network.v_star, X, g) + noise * zeta

            def learn(s, weights):
                W, v = weights
                dW, dv = update(network._replace(W=W, v=v), Sample(X[s], Y[s], g, lr))
                return (
                    W - lr / N**0.5 * dW - decay / N * W,
                    v - lr_v / N * dv - decay_v / N * v,
                )

            return jax.lax.fori_loop(0, jnp.minimum(block, last - start), learn, weights)

        blocks = (last - first + block - 1) // block
        W, v = jax.lax.fori_loop(0, blocks, learn_block, (network.W, network.v))
        return network._replace(W=W, v=v)

    return jax.vmap(one_run, (PER_RUN, 0), PER_RUN)(networks, keys)


@partial(jax.jit, static_argnames=("feedback", "g", "block"))
def _measure(networks, keys, index, n_test, *, feedback, g, block):
    """Order parameters and generalization error of every network, on test set ``index``."""
    N = networks.F.shape[0]

    def one_run(network: Network, key: Any) -> tuple[OrderParameters, Any]:
        W, v, W_star, v_star = network[:4]
        key = jax.random.fold_in(key, index)

        def add_block(b, total):
            X, _ = _inputs(key, b * block, block, network)
            difference = outputs(W, v, X, g) - outputs(W_star, v_star, X, g)
            counted = b * block + jnp.arange(block) < n_test
            return total + jnp.sum(jnp.where(counted[:, None], difference**2, 0))

        blocks = (n_test + block - 1) // block
        total = jax.lax.fori_loop(0, blocks, add_block, jnp.zeros((), W.dtype))
        state = OrderParameters(Q=W @ W.T / N, R=W @ W_star.T / N, v=v, B=feedback(network))
        return state, total / (2 * n_test)

    return jax.vmap(one_run, (PER_RUN, 0))(networks, keys)
