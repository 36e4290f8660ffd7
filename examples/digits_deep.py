"""One, two and three hidden layers on handwritten digits: how well each rule classifies.

Five networks a rule, of 100 units a layer.  "PEPITA +" has the weight decay, the normalised
activities and the weight mirrors of Srinivasan et al. (2024); the Trifecta is that of Dooms et al.
(2023).  Scikit-learn's 8 x 8 images, or others: ``--data mnist.npz`` with x_train, y_train, x_test
and y_test.  Needs scikit-learn: ``pip install -e '.[examples]'``.
"""

import argparse
import time
from functools import partial, reduce

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.random import key, normal, permutation, randint, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from figures import finish, paper_style
from odes import Mirrored, hyperparameters
from odes.common.layers import as_weights
from simulations import RULES, Network
from simulations.rules import choose_rule, contrast, goodness, symba
from simulations.training.steps import mirrored, step

options = argparse.ArgumentParser()
options.add_argument("--data", help="an .npz with images and labels")
path = options.parse_known_args()[0].data
if path:
    X, y, X_test, y_test = map(np.load(path).get, ("x_train", "y_train", "x_test", "y_test"))
else:
    X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
X, X_test = (each.reshape(len(each), -1).astype("float32") for each in (X, X_test))
X, X_test = (jnp.array((each - X.mean()) / X.std()) for each in (X, X_test))
(n, N), K, O, SEEDS, EPOCHS = X.shape, 100, 10, 5, 6
y, y_test = jnp.array(y, int), jnp.array(y_test, int)
erf = lambda z: jax.scipy.special.erf(z / 2**0.5)  # noqa: E731
unit = lambda z: erf(z) * (K / jnp.sum(erf(z) ** 2, -1, keepdims=True)) ** 0.5  # noqa: E731
SYMBA, PLUS = RULES["ff-symba"], choose_rule(Mirrored("pepita", lr=0.1, decay=0.1))
RATES = {"BP": 0.5, "FA": 0.5, "DFA": 0.5, "PEPITA": 50.0, "PEPITA +": 1.0, "Trifecta": 0.5}
ways = {"PEPITA +": PLUS, "Trifecta": SYMBA} | {n: RULES[n.lower()] for n in list(RATES)[:4]}


def start(seed, depth):
    """Weights of the first layer of O(1), the others such that activities are, and a small F."""
    shapes = [(K, K)] * (depth - 1) + [(K, O)]
    v, B, F2 = ([normal(s, at) / K**0.5 for s, at in zip(split(each, depth), shapes, strict=True)]
                for each in split(seed, 3))  # fmt: skip
    direct = [normal(s, (K, O)) / K**0.5 for s in split(seed, depth)]
    F2[-1] = 0.02 * F2[-1]
    W, F1 = normal(seed, (K, N)), normal(split(seed)[0], (N, K))
    F = F1 @ reduce(jnp.matmul, F2) / N**0.5
    v, B, F2, direct = map(as_weights, (v, B, F2, direct))
    return Network(W, v, None, None, B, F, False, F1, F2, direct=direct)


@partial(jax.jit, static_argnames=("name", "depth"))
@partial(jax.vmap, in_axes=(0, 0, None, None))
def epoch(network, seed, name, depth):
    """The network after one pass through the images, and its accuracy on those kept for tests."""
    way, g, last = ways[name], unit if name == "PEPITA +" else erf, name == "Trifecta"
    decay = 1e-3 * (name == "PEPITA +")
    numbers = hyperparameters(lr=RATES[name], lr_v=0.5 if last else 0.1, weight_decay=decay)

    def learn(network, drawn):
        at, seed = drawn
        label, rule = jax.nn.one_hot(y[at], O), way
        if last:
            both = label, jax.nn.one_hot((y[at] + randint(seed, (), 1, O)) % O, O)
            trifecta = partial(contrast, labels=both, loss=symba(1), overlapping=True)
            rule = way._replace(update=trifecta)
        xi = normal(seed, (1,))
        network = step(network, X[at], label, numbers, xi=xi, rule=rule, g=g, N=N)
        if way.mirror is not None:
            hidden = as_weights(normal(s, (K,)) for s in split(seed, depth))
            network = mirrored(network, (normal(seed, (N,)), hidden), 1, rule=way, g=g)
        return network, None

    network, _ = jax.lax.scan(learn, network, (permutation(seed, n), split(seed, n)))
    of_labels = jax.vmap(goodness, (None, None, 0, None))
    fields = X_test @ network.W.T / N**0.5
    found = (jax.vmap(lambda z: of_labels(z, network.v, jnp.eye(O), g))(fields) if last
             else way.predict(network, X_test, g))  # fmt: skip
    return network, jnp.mean(jnp.argmax(found, 1) == y_test)


print(f"{'':10s}" + "".join(f"{depth} hidden layer{'s' * (depth > 1):12s}" for depth in (1, 2, 3)))
with paper_style():
    figure, ax = plt.subplots()
for place, name in enumerate(tqdm(RATES, disable=None)):
    row, begun = [], time.perf_counter()
    for depth in (1, 2, 3):
        networks = jax.vmap(start, (0, None))(split(key(0), SEEDS), depth)
        for seeds in split(key(1), (EPOCHS, SEEDS)):
            networks, accuracy = epoch(networks, seeds, name, depth)
        row.append((float(np.mean(accuracy)), float(np.std(accuracy, ddof=1))))
    words = "".join(f"{mean:.3f} +- {std:.3f}      " for mean, std in row)
    print(f"{name:10s}{words}{time.perf_counter() - begun:.0f} s")
    with paper_style():
        ax.errorbar((1, 2, 3), *np.transpose(row), marker="os^Dvp"[place], label=name, capsize=2)
with paper_style():
    ax.set(xlabel="hidden layers", ylabel="test accuracy", xticks=(1, 2, 3))
    ax.legend()
    finish(figure).savefig("digits_deep.png")
