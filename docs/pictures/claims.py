"""What papers claim of these rules, measured on a few networks each.

Draws claims.png and prints the numbers of docs/claims.md, in some ten minutes.
"""

import matplotlib.pyplot as plt
import numpy as np

from figures import paper_style
from figures.style import ANGLE_LABEL, ERROR_LABEL, TIME_LABEL, rule_color, rule_label, rule_line
from odes import ForwardForward, Logistic, SymBa, feedback_angle, solve
from simulations import sample_network, simulate

TIMES = np.geomspace(0.1, 300, 100)
DECAYS = {0.0: "#440154", 0.003: "#31688e", 0.01: "#35b779", 0.03: "#b5de2b"}
TEACHER = {"M": 2, "v_star": (1.2, 0.6)}


def at(times, curve, *chosen):
    return np.interp(chosen, times, curve).round(4)


def below(times, curve, level):
    """The first of the times at which a curve is below a level, or infinity."""
    return np.where(np.min(curve) < level, times[np.argmax(curve < level)], np.inf).round(1)


def gap(ax):
    """How far PEPITA is from AFA, at a learning rate that is 0.3 over the scale."""
    scales = (1.0, 0.3, 0.1, 0.03)
    times = np.geomspace(0.1, 100, 200)
    found = {}
    for scale in scales:
        network = sample_network(N=2000, K=2, feedback_scale=scale, seed=0, **TEACHER)
        for rule in ("afa", "pepita", "pepita-modulated"):
            given = {"rule": rule, "lr": 0.3 / scale, "lr_v": 0.3, "times": times}
            found[rule, scale] = solve(*network.overlaps(rule), **given).generalization_error
    for rule, marker in (("pepita", "o"), ("pepita-modulated", "s")):
        gaps = [np.max(abs(found[rule, s] / found["afa", s] - 1)) for s in scales]
        print(f"largest gap of {rule} to AFA at scales {scales}:", np.round(gaps, 3))
        look = {"color": rule_color(rule), "marker": marker, "mfc": "white"}
        ax.loglog(scales, gaps, label=rule_label(rule), **look)
    ax.set(xlabel="feedback scale", title="gap to AFA")


def variants():
    """The variants of PEPITA, medians over six networks."""
    times = np.geomspace(0.1, 100, 100)
    for rule in ("afa", "pepita", "pepita-modulated", "pepita-hebbian", "pepita-tl"):
        errors = []
        for seed in range(6):
            network = sample_network(N=2000, K=2, feedback_scale=0.4, seed=seed, **TEACHER)
            curve = solve(*network.overlaps(rule), rule=rule, lr=0.5, times=times)
            errors.append(curve.generalization_error)
        reached = np.median([below(times, error, 0.05) for error in errors])
        middle = at(times, np.nanmedian(errors, axis=0), 10, 30, 100)
        ended = np.isfinite(errors)[:, -1].sum()
        print(f"{rule}: error at 10, 30, 100", middle, "below .05 at", reached, ended, "ended")


def medians(name, rule, *, n=20, K=2, **training):
    """Angle and error, medians over networks; prints them and when they come below a level."""
    angles, errors, when = [], [], []
    for seed in range(n):
        network = sample_network(N=2000, K=K, feedback_scale=0.4, seed=seed, **TEACHER)
        curve = solve(*network.overlaps(rule), rule=rule, lr=0.5, times=TIMES, **training)
        angles.append(feedback_angle(curve.order_parameters))
        errors.append(curve.generalization_error)
        when.append([below(TIMES, angles[-1], 45), below(TIMES, errors[-1], 0.05)])
    angle, error = np.median(angles, axis=0), np.median(errors, axis=0)
    print(f"{name}: angle at 10, 100, 300", at(TIMES, angle, 10, 100, 300), end="; ")
    print("error", at(TIMES, error, 10, 100, 300), "below 45 degrees and .05 at", end=" ")
    print(np.median(when, axis=0), "in this order in", sum(a < e for a, e in when), "of", n)
    return angle, error


def decay(above, under):
    for rate, color in DECAYS.items():
        curves = medians(f"AFA, decay {rate}", "afa", weight_decay=rate)
        for ax, curve in zip((above, under), curves, strict=True):
            ax.plot(TIMES, curve, color=color, label=f"decay {rate:g}")
    above.set_title("AFA and weight decay")
    for rate in DECAYS:
        medians(f"AFA, label noise 0.5, decay {rate}", "afa", noise=0.5, weight_decay=rate)
    for rate in (0.0, 0.01):
        medians(f"PEPITA, decay {rate}", "pepita", n=6, weight_decay=rate)
    medians("PEPITA, mirrors", "pepita-mirror", n=6)
    medians("PEPITA, K = 3", "pepita", n=4, K=3, points=2**11)
    normalised = {"activation": "erf-normalised", "points": 2**11}
    medians("PEPITA, K = 3, normalised", "pepita", n=4, K=3, **normalised)


def learned(above, under):
    for rule in ("fa", "kolen-pollack", "fa-mirror", "dtp", "afa", "afa-mirror"):
        curves = medians(rule, rule)
        for ax, curve in zip((above, under), curves, strict=True):
            ax.plot(TIMES, curve, rule_line(rule), color=rule_color(rule), label=rule_label(rule))
    medians("Kolen-Pollack, decay 0.01", "kolen-pollack", weight_decay=0.01)
    above.set_title("feedback that learns")


def depth():
    """When the error of each of four networks comes below .05."""
    times = np.geomspace(0.1, 100, 80)
    for count in (1, 2, 3):
        for rule in ("bp", "fa", "dfa", "afa", "pepita"):
            reached = []
            for seed in range(4):
                network = sample_network(
                    N=1000, K=(3,) * count, feedback_scale=0.5, seed=seed, **TEACHER
                )
                points = 2**10 if count > 1 else None
                given = {"rule": rule, "lr": 0.4, "times": times, "points": points}
                curve = solve(*network.overlaps(rule), **given)
                reached.append(below(times, curve.generalization_error, 0.05))
            print(f"{rule}, {count} hidden layers: .05 at", np.sort(reached))


PARTS = {
    "plain": (Logistic(), False, False),
    "SymBa": (SymBa(), False, False),
    "normalised": (Logistic(), True, False),
    "overlapping": (Logistic(), False, True),
    "all three": (SymBa(), True, True),
}


def trifecta(ax):
    times = np.geomspace(0.5, 60, 9)
    for count in (2, 3):
        for (name, part), marker in zip(PARTS.items(), "osD^v", strict=True):
            runs = []
            for seed in range(4):
                network = sample_network(
                    N=500, K=(6,) * count, label_weights=True, seed=seed, **TEACHER
                )
                rule = ForwardForward(*part)
                found = simulate(network, rule=rule, lr=0.5, times=times, n_runs=4, seed=seed)
                runs.append(found.generalization_error.mean(axis=0))
            mean, error = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) / 2
            print(f"{name}, {count} layers, t = 60: {mean[-1]:.3f} +- {error[-1]:.3f}")
            if count == 2:
                ax.errorbar(times, mean, error, marker=marker, mfc="white", label=name)
    ax.set(xscale="log", title="Forward-Forward, two layers", ylabel="classification error")
    ax.set(xlabel=TIME_LABEL)


with paper_style():
    figure, axes = plt.subplots(2, 3, figsize=(7.2, 4.6))
    gap(axes[0, 0])
    trifecta(axes[1, 0])
    decay(*axes[:, 1])
    learned(*axes[:, 2])
    depth()
    variants()
    for above, under in axes[:, 1:].T:
        above.set(xscale="log", ylim=(-5, 180), yticks=(0, 45, 90, 135, 180), ylabel=ANGLE_LABEL)
        under.set(xscale="log", yscale="log", xlabel=TIME_LABEL, ylabel=ERROR_LABEL)
        under.legend()
    for ax in axes[:, 0]:
        ax.legend()
    figure.savefig("claims.png")
