"""Take the weights of a network that was trained elsewhere, and go on in theory.

All that the theory wants is overlaps: arrays W (K, N), W* (M, N), v (K, O) and v* (M, O).  The loop
stands for any code of one's own, which goes on training to check.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import erf

from figures import finish, paper_style
from odes import OrderParameters, Teacher, solve

N, lr, rng = 1000, 0.6, np.random.default_rng(0)
W, W_star = rng.normal(size=(3, N)) / 2, rng.normal(size=(2, N))
v, v_star = rng.normal(size=(3, 1)), np.array([[1.0], [0.7]])


def train(W, v, steps):
    """Online backpropagation, the step at rate lr / sqrt(N) for W and lr / N for v."""
    for _ in range(steps):
        x = rng.normal(size=N)
        fields = W @ x / N**0.5
        h, slope = erf(fields / 2**0.5), (2 / np.pi) ** 0.5 * np.exp(-(fields**2) / 2)
        e = h @ v - erf(W_star @ x / (2 * N) ** 0.5) @ v_star
        W = W - lr / N**0.5 * np.outer(slope * (v @ e), x)
        v = v - lr / N * np.outer(h, e)
    return W, v


def test(W, v):
    x = rng.normal(size=(N, 5000))
    e = v.T @ erf(W @ x / (2 * N) ** 0.5) - v_star.T @ erf(W_star @ x / (2 * N) ** 0.5)
    return np.mean(e**2) / 2


W, v = train(W, v, 3 * N)
initial = OrderParameters(Q=W @ W.T / N, R=W @ W_star.T / N, v=v)
teacher = Teacher(T=W_star @ W_star.T / N, v_star=v_star)
times = np.linspace(0, 20, 11)
theory = solve(initial, teacher, rule="bp", lr=lr, times=times)
measured = [test(W, v)]
for _ in times[1:]:
    W, v = train(W, v, 2 * N)
    measured.append(test(W, v))
print("network / theory:", np.round(measured / theory.generalization_error, 2))
with paper_style():
    _, ax = plt.subplots()
    ax.plot(3 + times, theory.generalization_error, label="theory, from the weights at $t$ = 3")
    ax.plot(3 + times, measured, "o", mfc="white", label="the network")
    ax.set(yscale="log", xlabel="$t$ = samples / $N$", ylabel=r"generalisation error $\epsilon_g$")
    ax.legend()
    finish(ax.figure).savefig("trained_elsewhere.png")
