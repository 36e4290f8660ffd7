"""The rules of the theory on handwritten digits: scikit-learn's 8 x 8 images, one hidden layer.

Every rule trains the same five networks, which all begin with a small random F.  Forward-Forward
contrasts the label with a wrong one, and puts out that of the greatest goodness.
Needs scikit-learn: ``pip install -e '.[examples]'``.
"""

from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.random import key, normal, permutation, randint, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from figures import finish, paper_style
from figures.style import rule_color, rule_label, rule_line
from odes import hyperparameters
from simulations import RULES, Network
from simulations.rules import contrast, goodness, symba
from simulations.training.steps import mirrored, step

N, K, O, SEEDS, EPOCHS = 64, 100, 10, 5, 12
LRS = {"bp": 0.5, "fa": 0.5, "afa": 50.0, "pepita": 50.0, "pepita-mirror": 1.0, "ff": 0.5}
g = lambda fields: jax.scipy.special.erf(fields / 2**0.5)  # noqa: E731
SMALL = 0.002  # the scale of F to begin with
images, digits = load_digits(return_X_y=True)
X = ((images - images.mean()) / images.std()).astype("float32")
X, X_test, y, y_test = map(jnp.array, train_test_split(X, digits, test_size=0.2, random_state=0))


def start(seed):
    """Weights of the first layer of O(1), readout and B such that outputs are, and F = F1 F2."""
    W, v, B, F1, F2 = map(normal, split(seed, 5), ((K, N), (K, O), (K, O), (N, K), (K, O)))
    F2 = SMALL * F2
    return Network(W, v / K**0.5, None, None, B / K**0.5, F1 @ F2 / N**0.5, False, F1, F2)


def goodness_of_labels(network, X, g):
    of_labels = jax.vmap(goodness, (None, None, 0, None))
    return jax.vmap(lambda x: of_labels(network.W @ x / N**0.5, network.v, jnp.eye(O), g))(X)


@partial(jax.jit, static_argnames="rule")
@partial(jax.vmap, in_axes=(0, 0, None))
def epoch(network, seed, rule):
    """The network after one pass through the images, and its accuracy on those kept for tests."""
    numbers = hyperparameters(lr=LRS[rule], lr_v=0.5 if rule == "ff" else 0.1)
    way = RULES[rule]
    if rule == "ff":
        way = way._replace(predict=goodness_of_labels)

    def learn(network, drawn):
        at, seed = drawn
        label, this = jax.nn.one_hot(y[at], O), way
        if rule == "ff":
            wrong = jax.nn.one_hot((y[at] + randint(seed, (), 1, O)) % O, O)
            this = way._replace(
                update=lambda net, its: contrast(net, its, (label, wrong), symba(1))
            )
        network = step(network, X[at], label, numbers, rule=this, g=g, N=N)
        if way.mirror is not None:
            network = mirrored(network, jnp.split(normal(seed, (N + K,)), [N]), 1, rule=way, g=g)
        return network, None

    network, _ = jax.lax.scan(learn, network, (permutation(seed, len(X)), split(seed, len(X))))
    return network, jnp.mean(jnp.argmax(way.predict(network, X_test, g), 1) == y_test)


curves = {}
with tqdm(total=len(LRS) * EPOCHS, disable=None) as bar:
    for rule in LRS:
        networks, curves[rule] = jax.vmap(start)(split(key(0), SEEDS)), []
        for seeds in split(key(1), (EPOCHS, SEEDS)):
            networks, accuracies = epoch(networks, seeds, rule)
            curves[rule].append(np.array(accuracies))
            bar.update()
with paper_style():
    figure, ax = plt.subplots()
    for rule, accuracies in curves.items():
        mean, std = np.mean(accuracies, 1), np.std(accuracies, 1, ddof=1)
        style = {"color": rule_color(rule), "ls": rule_line(rule), "label": rule_label(rule)}
        ax.errorbar(range(1, EPOCHS + 1), mean, std / SEEDS**0.5, **style)
        print(f"{rule:14s} {mean[-1]:.3f} +- {std[-1]:.3f}")
    ax.set(xlabel="epoch", ylabel="test accuracy")
    ax.legend()
    finish(figure).savefig("digits.png")
apart = np.array(curves["pepita"]) - np.array(curves["afa"])
print(f"In every epoch, PEPITA is within {np.max(np.abs(np.mean(apart, 1))):.3f} of AFA")
