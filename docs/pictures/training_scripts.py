"""Networks trained as a script trains them, and the theory in the units of this software.

Draws training_scripts.png and prints the numbers of docs/training_scripts.md, in five minutes.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import erf

from figures import paper_style
from figures.style import ERROR_LABEL, TIME_LABEL
from odes import solve
from simulations import Network


def g(z):
    return erf(z / 2**0.5)


def slope(z):
    return (2 / np.pi) ** 0.5 * np.exp(-(z**2) / 2)


def bp(w, v, F, x, y):
    """Gradients of half the squared error, averaged over a batch."""
    z = x @ w.T
    e = g(z) @ v - y
    return (slope(z) * (e @ v.T)).T @ x / len(x), g(z).T @ e / len(x)


def pepita(w, v, F, x, y):
    """PEPITA with the clean input as the presynaptic factor."""
    h = g(x @ w.T)
    e = h @ v - y
    h_err = g((x - e @ F.T) @ w.T)
    return (h - h_err).T @ x / len(x), h.T @ e / len(x)


def pepita_as_published(w, v, F, x, y):
    """PEPITA (Dellaferrera and Kreiman 2022): the second pass is the presynaptic factor."""
    h = g(x @ w.T)
    e = h @ v - y
    x_err = x - e @ F.T
    h_err = g(x_err @ w.T)
    return (h - h_err).T @ x_err / len(x), h_err.T @ e / len(x)


def train(start, rule, *, lr, batch, momentum=0.0, weight_decay=0.0, times, seed):
    """SGD as PyTorch does it on fresh inputs; the errors at the times, (n,)."""
    w, v, F, w_star, v_star = start
    N, rng = w.shape[1], np.random.default_rng(seed)
    test = rng.standard_normal((10_000, N), dtype=np.float32)
    errors, samples, moved_w, moved_v = [], 0, 0.0, 0.0
    for t in times:
        while samples < t * N:
            x = rng.standard_normal((batch, N), dtype=np.float32)
            dw, dv = rule(w, v, F, x, g(x @ w_star.T) @ v_star)
            moved_w = momentum * moved_w + dw + weight_decay * w
            moved_v = momentum * moved_v + dv + weight_decay * v
            w, v, samples = w - lr * moved_w, v - lr * moved_v, samples + batch
        e = g(test @ w.T) @ v - g(test @ w_star.T) @ v_star
        errors.append(np.mean(e**2) / 2)
    return np.array(errors)


def draw(N, limit, feedback_limit=0.0, *, seed, K=2):
    """Weights of fan-in scaling, uniform up to the limits, and a teacher."""
    rng = np.random.default_rng(seed)
    w, w_star = rng.uniform(-limit, limit, (K, N)), rng.normal(size=(2, N)) / N**0.5
    v, v_star = rng.uniform(-1, 1, (K, 1)), np.array([[1.2], [0.6]], np.float32)
    F = rng.uniform(-feedback_limit, feedback_limit, (N, 1))
    return tuple(np.float32(each) for each in (w, v, F, w_star, v_star))


def theory(start, rule, *, lr, batch, momentum=0.0, weight_decay=0.0, times):
    """The same in our units."""
    w, v, F, w_star, v_star = start
    N = w.shape[1]
    network = Network(N**0.5 * w, v, N**0.5 * w_star, v_star, B=v, F=F, aligned=True)
    lr = N * lr / batch / (1 - momentum)
    return solve(
        *network.overlaps(rule), rule=rule, lr=lr, weight_decay=lr * weight_decay, times=times
    ).generalization_error


def compare(ax, name, rules, color, marker="o", *, start, runs, times, **script):
    """Draw and print one script and its theory; ``rules`` are the network's and ours."""
    fine = np.geomspace(times[0], times[-1], 300)
    curve = theory(start, rules[1], times=fine, **script)
    errors = np.array([train(start, rules[0], times=times, seed=s, **script) for s in range(runs)])
    mean, error = errors.mean(axis=0), errors.std(axis=0, ddof=1) / runs**0.5
    expected = np.interp(times, fine, curve)
    for row in zip(times, expected, mean, error, strict=True):
        print(name.replace("\n", " "), *(f"{each:.4f}" for each in row), sep="  ")
    ax.plot(fine, curve, color=color)
    ax.errorbar(times, mean, error, color=color, ls="", marker=marker, mfc="none", label=name)
    ax.set(xscale="log", yscale="log", xlabel=TIME_LABEL)
    return fine, curve


with paper_style():
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.6))
    start = draw(784, 784**-0.5, seed=0)  # as torch.nn.Linear draws
    times = np.geomspace(0.5, 50, 8)
    given = {"start": start, "rules": (bp, "bp"), "runs": 6, "times": times}
    compare(left, "lr 0.0005", lr=0.0005, batch=1, color="C0", **given)
    compare(left, "0.016, batch 32", lr=0.016, batch=32, color="C1", marker="s", **given)
    given |= {"batch": 32, "lr": 0.0016, "momentum": 0.9}
    compare(left, "0.0016, batch 32,\nmomentum 0.9", color="C2", marker="^", **given)
    compare(left, "and decay 0.1", weight_decay=0.1, color="C3", marker="v", **given)
    left.set(ylabel=ERROR_LABEL, title="backpropagation, N = 784")

    given |= {"lr": 0.00016, "momentum": 0.99, "times": np.geomspace(0.5, 50, 13)}
    fine, curve = compare(middle, "0.00016, batch 32,\nmomentum 0.99", color="C2", **given)
    delay = 0.99 / (1 - 0.99) * 32 / 784
    middle.plot(fine + delay, curve, color="C2", ls="--", label=f"theory, {delay:.1f} later")
    middle.set(title="a long memory, N = 784")

    limit = (6 / 3072) ** 0.5
    published = {"start": draw(3072, limit, 0.05 * limit, seed=1), "runs": 3}
    published |= {"lr": 0.01, "batch": 64, "momentum": 0.9}
    published |= {"times": np.array([1.0, 3, 10, 30, 60, 100, 150, 200, 300, 400])}
    both = (pepita_as_published, "pepita-modulated")
    compare(right, "as published", both, "C0", **published)
    compare(right, "presynaptic $x$", (pepita, "pepita"), "C1", marker="s", **published)
    right.set(title="PEPITA, N = 3072")
    for ax in (left, middle, right):
        ax.legend()
    figure.savefig("training_scripts.png")
