"""Inputs with a covariance: power laws, and real images beside their Gaussian equivalents."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from figures import add_legend, plot_overlay
from figures.paper.registry import FULL, NETWORK, QUICK, TOLERANCES, Curves, Data, paper_figure
from figures.plateaus import PREDICTION
from figures.style import NEUTRAL, rule_color, variants
from odes import (
    OrderParameters,
    Spectrum,
    Teacher,
    escape_time,
    plateau_interval,
    solve,
    spread,
    symmetric_plateau,
    widening_shares,
)
from simulations import sample_network, simulate

COMMITTEE = Teacher(np.eye(2), np.ones((2, 1)))


def draw_input_spectra(data: Data) -> Figure:
    figure, axes = plt.subplots(2, 3, figsize=(7.0, 4.6))
    curves = {key: each for key, each in data.items() if key.count("/") == 2}
    exponents = sorted({float(key.split("/")[2]) for key in curves if "linear" not in key})
    for exponent, ax in zip(exponents, axes[0], strict=False):
        for rule in dict.fromkeys(key.split("/")[1] for key in curves if "linear" not in key):
            ends = (curves[f"{kind}/{rule}/{exponent}"] for kind in ("theory", "simulation"))
            plot_overlay(*ends, rule=rule, ax=ax)
        ax.set_title(f"exponent {exponent:g}")
        if ax is not axes[0, 0]:
            ax.set(ylabel="")
    drawn = axes[0, : len(exponents)]
    for ax in axes[0, len(exponents) :]:
        ax.set_axis_off()
    lows, highs = zip(*(ax.get_ylim() for ax in drawn), strict=True)
    for ax in drawn:
        ax.set_ylim(min(lows), max(highs))
    _draw_tails(curves, axes[1, 0])
    _draw_lengths(data["plateaus"], axes[1, 1], axes[1, 2])
    add_legend(axes[0, 0], outside=True)
    return figure


def _draw_tails(curves: Curves, ax: Any) -> None:
    """Learning curves of a linear student, and the power laws of their tails."""
    tails = [key.split("/")[2] for key in curves if key.startswith("theory/linear/")]
    for exponent, look in zip(tails, variants("bp", len(tails)), strict=True):
        theory = curves[f"theory/linear/{exponent}"]
        simulation, label = curves[f"simulation/linear/{exponent}"], f"linear, exponent {exponent}"
        plot_overlay(theory, simulation, label=label, ax=ax, **look)
        slope = 1 / float(exponent) - 1
        middle = len(theory.times) // 2
        times = theory.times[middle // 2 : middle + middle // 2]
        height = theory.generalization_error[middle]
        law = 0.6 * height * (times / theory.times[middle]) ** slope
        ax.plot(times, law, color=NEUTRAL, lw=0.6, ls=":", zorder=1)
    ax.set_title("linear student")


def _draw_lengths(plateaus: Any, ax: Any, beside: Any) -> None:
    """Length of the plateau, and the rate at which it is left, against the exponent."""
    exponents = plateaus.exponent.values
    color = rule_color("bp")
    ax.plot(exponents, plateaus.length, color=color)
    ax.plot(exponents, plateaus.predicted, color=color, label="prediction", **PREDICTION)
    ax.set(xlabel="exponent", ylabel="length of the plateau", ylim=(0, 600))
    ax.set_title("committee, BP")
    beside.plot(exponents, plateaus.rate, color=color)
    beside.set(xlabel="exponent", ylabel="escape rate", yscale="log")
    beside.set_title("committee, BP")


SPECTRA: dict[str, Any] = {
    "exponents": (0.0, 0.5, 1.0), "tails": (1.5, 2.0, 3.0), "lr": 0.3, "t_max": 300.0,
    "plateaus": (0.0, 0.25, 0.5, 0.75, 1.0),
}  # fmt: skip


@paper_figure(
    draw_input_spectra,
    quick={**QUICK, **SPECTRA, "rules": ("bp", "afa"), "n_runs": 2, "plateaus": (0.0, 0.5),
           "t_max": 30.0, "exponents": (0.0, 1.0), "tails": (2.0,)},
    full={**FULL, **SPECTRA, "rules": ("bp", "fa", "afa", "pepita"), "N": 1000},
)  # fmt: skip
def input_spectra(
    *,
    N: int,
    exponents: tuple[float, ...],
    tails: tuple[float, ...],
    plateaus: tuple[float, ...],
    rules: tuple[str, ...],
    lr: float,
    t_max: float,
    n_runs: int,
    seed: int,
    **sizes: Any,
) -> Data:
    """Inputs whose covariance has a power-law spectrum, of mean 1: learning curves and plateaus.

    Above, learning curves of BP and its alternatives: the steeper the spectrum, the sooner learning
    begins and the longer it takes to end.  Below, the error of a linear student falls as
    ``t^-(a - 1)/a`` (dotted) for an exponent a > 1, as Worschech & Rosenow (2024) have it; and at a
    fixed mean variance the plateau of the symmetric committee is as high and is left sooner the
    steeper the spectrum is, since the escape feeds on the largest variances.  Dashed: the length as
    the eigenvalues at the plateau predict it.
    """
    data: Data = {}
    times, shown = np.geomspace(0.1, t_max, 200), np.geomspace(0.1, t_max, 13)
    for exponent in tqdm(exponents, disable=None, leave=False):
        network = sample_network(
            N=N, inputs=Spectrum.power_law(exponent, N=N, groups=N), seed=seed, **sizes
        )
        coarse = network._replace(
            inputs=Spectrum.power_law(exponent, N=N, groups=widening_shares(N, 12))
        )
        for rule in rules:
            training: dict[str, Any] = {"rule": rule, "lr": lr}
            initial, teacher = coarse.overlaps(rule)
            theory = solve(initial, teacher, times=times, **TOLERANCES, **training)
            data[f"theory/{rule}/{exponent}"] = theory
            runs = simulate(network, times=shown, n_runs=n_runs, seed=seed, **training)
            data[f"simulation/{rule}/{exponent}"] = in_one_group(runs)
    linear: dict[str, Any] = {"rule": "bp", "lr": 0.2, "lr_v": 0.0, "activation": "linear"}
    for exponent in tails:
        network = sample_network(
            N=N, K=1, M=1, inputs=Spectrum.power_law(exponent, N=N, groups=N), student_scale=0.1,
            v=[1.0], seed=seed,
        )  # fmt: skip
        coarse = network._replace(
            inputs=Spectrum.power_law(exponent, N=N, groups=widening_shares(N, 40))
        )
        initial, teacher = coarse.overlaps("bp")
        data[f"theory/linear/{exponent}"] = solve(initial, teacher, times=times, **linear)
        runs = simulate(network, times=shown, n_runs=n_runs, seed=seed, **linear)
        data[f"simulation/linear/{exponent}"] = in_one_group(runs)
    return data | {"plateaus": plateaus_of(plateaus)}


def in_one_group(runs: Any) -> Any:
    """The runs with overlaps that are summed over all groups, which take less room."""
    state = runs.order_parameters
    summed = {
        name: each.sum(axis=2) if each is not None and each.ndim > 4 else each
        for name, each in state._asdict().items()
    }
    return runs._replace(order_parameters=state._replace(**summed))


def plateaus_of(exponents: tuple[float, ...], lr: float = 0.2) -> Any:
    """Lengths of the plateau of the symmetric committee under BP, and the rate of the escape."""
    import xarray

    times = np.geomspace(0.1, 3000.0, 1500)
    found = []
    start = OrderParameters(0.25 * np.eye(2), 1e-3 * np.eye(2), np.ones((2, 1)))
    training: dict[str, Any] = {"rule": "bp", "lr": lr, "lr_v": 0.0}
    for exponent in exponents:
        given = spread(
            start, COMMITTEE, Spectrum.power_law(exponent, groups=widening_shares(1000, 8))
        )
        plateau = symmetric_plateau(*given, **training)
        curve = solve(*given, times=times, **training)
        begin, end = plateau_interval(curve, plateau.generalization_error)
        states = curve.order_parameters._asdict()
        reached = {
            name: None if each is None else each[np.searchsorted(times, begin)]
            for name, each in states.items()
        }
        predicted = escape_time(plateau, OrderParameters(**reached), given[1])
        found.append((end - begin, predicted, plateau.escape_rate))
    names = ("length", "predicted", "rate")
    columns = zip(names, np.transpose(found), strict=True)
    return xarray.Dataset(
        {name: ("exponent", column) for name, column in columns}, {"exponent": list(exponents)}
    )


def draw_natural_images(curves: Curves) -> Figure:
    kinds = list(dict.fromkeys(key.split("/")[1] for key in curves))
    rules = list(dict.fromkeys(key.split("/")[2] for key in curves))
    columns = min(len(kinds), 2 if len(kinds) < 5 else 3)
    rows = -(-len(kinds) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(7.0, 2.6 * rows), squeeze=False, sharey=True
    )
    for kind, ax in zip(kinds, axes.flat, strict=False):
        off: dict[str, list] = {"mixture": [], "gaussian": []}
        for rule in rules:
            mixture, data, gaussian = (
                curves[f"{each}/{kind}/{rule}"] for each in ("theory", "simulation", "gaussian")
            )
            plot_overlay(mixture, data, rule=rule, ax=ax)
            plot_overlay(gaussian, rule=rule, linestyle="--", label="", ax=ax)
            for name, theory in (("mixture", mixture), ("gaussian", gaussian)):
                off[name].append(deviations(theory, data)[0])
        percents = {name: f"{np.median(np.abs(each)):.0f}" for name, each in off.items()}
        words = kind.replace("_", " ")
        off_by = f"off by {percents['mixture']}% (solid), {percents['gaussian']}% (dashed)"
        ax.set_title(f"{words}\n{off_by}", fontsize=8)
    for ax in axes.flat[len(kinds) :]:
        ax.set_axis_off()
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    for ax in axes.flat[: max(len(kinds) - columns, 0)]:
        ax.set_xlabel("")
    axes[0, 0].plot([], [], color=NEUTRAL, ls="--", label="one Gaussian")
    add_legend(axes[0, 0], outside=True)
    return figure


def deviations(theory: Any, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """By how much theory is off what networks do, in per cent and in standard errors.

    At the times of the networks, (n,) each.
    """
    errors = data.generalization_error
    mean = errors.mean(axis=0)
    logs = np.interp(np.log(data.times), np.log(theory.times), np.log(theory.generalization_error))
    off = np.exp(logs) - mean
    return 100 * off / mean, off / (errors.std(axis=0, ddof=1) / len(errors) ** 0.5)


SOBOL_POINTS = 2**13
"""To average PEPITA over, beside 16 factors: the curves are within 0.2 per cent of those over the
default 70,656 nodes, in a tenth of the time."""

IMAGES: dict[str, Any] = {
    **NETWORK, "data": None, "lr": 0.3, "groups": 12, "factors": 16,
    "kinds": (
        "patches", "contrast_1", "whitened", "digits", "brightness_kept", "leading_teacher",
    ),
}  # fmt: skip


@paper_figure(
    draw_natural_images,
    quick=IMAGES | {"rules": ("bp", "afa"), "n_runs": 4, "t_max": 16.0, "kinds": ("whitened",)},
    full=IMAGES | {"rules": ("bp", "fa", "afa", "pepita"), "n_runs": 24, "t_max": 32.0},
)
def natural_images(
    *,
    kinds: tuple[str, ...],
    data: str | None,
    rules: tuple[str, ...],
    groups: int,
    factors: int,
    lr: float,
    t_max: float,
    n_runs: int,
    seed: int,
    **sizes: Any,
) -> Curves:
    """Learning from real images (markers), and two theories of it.

    Patches of 16 x 16 grey values of two photographs, each less its mean; with the contrast of each
    set to 1; and whitened; handwritten digits of 8 x 8; and where theory has to fail: patches that
    keep their brightness, a single direction with 90 per cent of the variance, and a teacher along
    the sixth and the seventh eigenvector.  Dashed: Gaussian inputs of the same
    covariance.  Solid: a scale mixture, one factor a sample, estimated from the images; where their
    projections are no more peaked than normal ones the two are the same.  The titles have the
    median deviation from the networks over all rules and times.
    """
    curves: Curves = {}
    times, shown = np.geomspace(0.2, t_max, 100), np.geomspace(0.5, t_max, 7)
    for kind in tqdm((*kinds, *(("own_file",) if data else ())), disable=None, leave=False):
        X = images(kind, data)
        spectrum = Spectrum.of(
            X, groups=widening_shares(effective_rank(X), groups), factors=factors
        )
        network = sample_network(N=X.shape[1], inputs=spectrum, seed=seed, **sizes)
        if kind == "leading_teacher":
            network = network._replace(W_star=X.shape[1] ** 0.5 * leading(spectrum))
        gaussian = network._replace(inputs=spectrum._replace(factors=None, factor_shares=None))
        for rule in rules:
            training: dict[str, Any] = {"rule": rule, "lr": lr}
            points = SOBOL_POINTS if rule == "pepita" else None
            runs = simulate(network, times=shown, data=X, n_runs=n_runs, seed=seed, **training)
            curves[f"simulation/{kind}/{rule}"] = in_one_group(runs)
            for name, each in (("theory", network), ("gaussian", gaussian)):
                initial, teacher = each.overlaps(rule)
                theory = solve(initial, teacher, times=times, points=points, **training)
                curves[f"{name}/{kind}/{rule}"] = theory
    return curves


def leading(spectrum: Spectrum) -> np.ndarray:
    """The sixth and the seventh eigenvector, as rows."""
    return np.asarray(spectrum.basis)[:, 5:7].T


def effective_rank(X: np.ndarray) -> int:
    """The number of directions along which data vary."""
    basis = Spectrum.of(X, groups=1).basis
    return 0 if basis is None else basis.shape[1]


def images(kind: str, path: str | None = None) -> np.ndarray:
    """A matrix of images as rows, with entries of mean square 1 about their mean.

    Those of scikit-learn; or, of the kind "own_file", of ``x_train`` in an .npz at the path.
    """
    if kind == "own_file":
        rows = from_file(path)
    else:
        from sklearn import datasets

        if kind == "digits":
            rows = datasets.load_digits().data
        else:
            photographs = datasets.load_sample_images().images
            rows = np.concatenate([patches(each.mean(axis=2)) for each in photographs])
            if kind != "brightness_kept":
                rows -= rows.mean(axis=1, keepdims=True)
    if kind == "contrast_1":
        rows /= np.maximum(rows.std(axis=1, keepdims=True), 1e-3 * rows.std())
    rows = rows - rows.mean(axis=0)
    if kind == "whitened":
        left, lengths, right = np.linalg.svd(rows, full_matrices=False)
        varies = lengths > 1e-6 * lengths[0]
        rows = left[:, varies] @ right[varies]
    return rows / np.sqrt(np.mean(rows**2))


def patches(photograph: np.ndarray, size: int = 16, step: int = 8) -> np.ndarray:
    """All squares of ``size`` that are ``step`` apart, as rows."""
    views = np.lib.stride_tricks.sliding_window_view(photograph, (size, size))[::step, ::step]
    return views.reshape(-1, size * size).astype(float)


def from_file(path: str | None) -> np.ndarray:
    """The images of an .npz with ``x_train``, as rows; ValueError for another file."""
    try:
        with np.load(str(path)) as arrays:
            found = arrays["x_train"]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"Argument `--data` must be an .npz that holds x_train, but {path!r} fails: {error}"
        ) from error
    return found.reshape(len(found), -1).astype(float)
