"""By how much simulation is off theory, in standard errors or relative to it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from scipy.interpolate import PchipInterpolator

from figures.style import NEUTRAL

PANEL = "residuals"
"""Label of the Axes below others that has their residuals."""

KINDS = {"standard errors": "residual\n(s.e.)", "relative": "relative\nresidual"}
"""Labels of their axes."""


def mean_and_standard_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Over the first axis, leaving NaN out; no error where there is one run only."""
    counted = np.sum(np.isfinite(samples), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(samples, axis=0) / counted
        variance = np.nansum((samples - mean) ** 2, axis=0) / (counted - 1)
        return mean, np.sqrt(variance / counted) if len(samples) > 1 else None


def theory_at(x: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What theory, (n, ...) at the points x, is at others, (m, ...).

    A monotone cubic between two points, in the logarithm of x if all are positive; NaN beyond the
    ends and beside NaN.
    """
    order = np.argsort(x)
    x, values, at = np.asarray(x, float)[order], values[order], np.asarray(at, float)
    nearest = np.argmin(abs(x - at[:, None]), axis=1)
    same = np.isclose(x[nearest], at, rtol=1e-9, atol=0)  # such as ends, but for rounding
    at = np.where(same, x[nearest], at)
    if x.size == 1:
        return np.where(same.reshape(-1, *(1,) * (values.ndim - 1)), values, np.nan)
    if np.all(x > 0):
        x, at = np.log(x), np.log(np.where(at > 0, at, np.nan))
    missing = ~np.isfinite(values)
    curve = PchipInterpolator(x, np.where(missing, 0.0, values), extrapolate=False)(at)
    return np.where(PchipInterpolator(x, 1.0 * missing)(at) > 0, np.nan, curve)


def residuals_of(
    kind: str, times: np.ndarray, values: np.ndarray, at: np.ndarray, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Simulation, (n_runs, m), minus theory, (n,), and the standard error, in the units asked for.

    NaN where the standard error is rounding alone, as where all runs start.
    """
    mean, error = mean_and_standard_error(samples)
    exact = theory_at(times, values, at)
    if kind == "relative":
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean / exact - 1, None if error is None else error / abs(exact)
    assert error is not None
    return (mean - exact) / beyond_rounding(mean, error), None


def beyond_rounding(mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The standard errors, with NaN where they are rounding."""
    return np.where(error > 1e-9 * abs(mean), error, np.nan)


def panel_below(ax: Axes, kind: str) -> Axes:
    """The Axes for residuals below others, in whose cell of the figure they make room for it."""
    figure, cell = ax.figure, ax.get_subplotspec()
    assert cell is not None
    grid = cell.get_gridspec()
    for each in figure.axes:
        other = each.get_subplotspec()
        if each.get_label() == PANEL and other is not None and other.get_gridspec() is grid:
            return each
    grid = cell.subgridspec(2, 1, height_ratios=(3, 1))
    ax.set_subplotspec(grid[0])
    below = figure.add_subplot(grid[1], sharex=ax, label=PANEL)
    ax.tick_params(labelbottom=False)
    below.set(xlabel=ax.get_xlabel(), ylabel=KINDS[kind])
    ax.set_xlabel("")
    for height in (-2, 0, 2) if kind == "standard errors" else (0,):
        below.axhline(height, color=NEUTRAL, lw=0.6, ls="-" if height == 0 else ":", zorder=1)
    return below
