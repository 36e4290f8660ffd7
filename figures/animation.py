"""A learning curve and its order parameters as a film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, TransformedBbox

from figures.checks import check_rule, check_trajectory
from figures.entries import check_states, plot_order_parameter
from figures.finishing import finish
from figures.legends import add_legend
from figures.overlay import plot_overlay
from figures.style import NEUTRAL, paper_style
from odes.common.checks import check_count, check_number, quoted
from odes.common.store import atomic
from odes.common.trajectory import Trajectory

WRITERS: dict[str, Any] = {".gif": PillowWriter, ".mp4": FFMpegWriter}
MOVING = ("Q", "R", "v", "B")
LIMITS = {"fps": (1, 50), "dpi": (20, 600)}


def animate(
    trajectory: Trajectory,
    simulation: Trajectory | None = None,
    *,
    path: Any,
    rule: str | None = None,
    frames: int = 60,
    fps: float = 15,
    dpi: float = 120,
) -> Path:
    """Write a film of a learning curve and its order parameters, which are drawn as time goes on.

    Args:
        trajectory: a Trajectory of theory, without run axis.
        simulation: a Trajectory with a leading run axis, or None: means with standard errors.
        path: where to write; its ending says what: ``.gif``, or ``.mp4``, for which ffmpeg has to
            be installed.
        rule: chooses colour and label.
        frames: how many pictures, evenly over the logarithm of time.
        fps: pictures a second, from 1 to 50.
        dpi: pixels an inch, from 20 to 600; a picture is 7 inches wide and 4 high.

    Returns:
        The path of the film.

    Raises:
        ValueError: also for another ending, for ``.mp4`` without ffmpeg, and for a folder that is
            not there.
    """
    trajectory = check_trajectory("trajectory", trajectory)
    names = [n for n in check_states("trajectory", trajectory) if n.partition("[")[0] in MOVING]
    if simulation is not None:
        simulation = check_trajectory("simulation", simulation, runs=True)
        known = check_states("simulation", simulation)
        names = [name for name in names if name in known]
    if not trajectory.times[-1] > 0:
        raise ValueError("Argument `trajectory` must have a time > 0, but has none.")
    check_rule(rule)
    frames = check_count("frames", frames, below=10**4)
    fps, dpi = _within("fps", fps), _within("dpi", dpi)
    path = _check_path(path)
    with paper_style():
        figure = _drawn(trajectory, simulation, names, rule)
        first, last = trajectory.times[trajectory.times > 0][[0, -1]].tolist()
        writer = WRITERS[path.suffix](fps=fps)
        with atomic(path) as beside, writer.saving(figure, beside, dpi):
            for t in np.geomspace(first, last, frames).tolist():
                _show_until(figure, t, last)
                writer.grab_frame()
    return path


def _within(name: str, value: Any) -> float:
    """``value`` as a float, if it is within the limits."""
    number, (low, high) = check_number(name, value), LIMITS[name]
    if not low <= number <= high:
        raise ValueError(
            f"Argument `{name}` must be between {low} and {high}, but is {quoted(value)}."
        )
    return number


def _check_path(path: Any) -> Path:
    """``path`` as a Path, if a film can be written there."""
    try:
        path = Path(path)
        there = path.parent.is_dir() and not path.is_dir()
    except (TypeError, ValueError, OSError):
        raise ValueError(f"Argument `path` must be a path, but is {quoted(path)}.") from None
    if path.suffix not in WRITERS:
        raise ValueError(
            f"Argument `path` must end in {' or '.join(WRITERS)}, but is {quoted(str(path))}."
        )
    if not WRITERS[path.suffix].isAvailable():
        raise ValueError(
            "Argument `path` must end in .gif where ffmpeg is not installed, "
            f"but is {quoted(str(path))}."
        )
    if not there:
        raise ValueError(
            f"Argument `path` must be in a folder that is there, but is {quoted(str(path))}."
        )
    return path


def _drawn(
    theory: Trajectory, simulation: Trajectory | None, names: list[str], rule: str | None
) -> Figure:
    """All of the film in one picture: the curve, and the order parameters beside it."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    columns = -(-len(names) // 2)
    grid = figure.add_gridspec(2, 1 + columns, width_ratios=(1.5, *(1,) * columns))
    curve = plot_overlay(theory, simulation, rule=rule, ax=figure.add_subplot(grid[:, 0]))
    for place, name in enumerate(names):
        ax = figure.add_subplot(grid[place // columns, 1 + place % columns], sharex=curve)
        plot_order_parameter(theory, simulation, name=name, rule=rule, ax=ax)
    if simulation is not None:
        add_legend(curve, of=curve, outside=True)
    for ax in figure.axes:
        ax.axvline(theory.times[-1], color=NEUTRAL, lw=0.6)
    finish(figure)
    curve.set_title("$t$ = 0")
    figure.canvas.draw()
    figure.set_layout_engine("none")  # the panels stay where they are
    return figure


def _show_until(figure: Figure, t: float, last: float) -> None:
    """Hide what is later than t, where a line is moved to."""
    for ax in figure.axes:
        (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        *lines, now = ax.lines
        right = high if t >= last else t  # the last marker is whole
        seen = TransformedBbox(Bbox.from_extents(low, bottom, right, top), ax.transData)
        now.set_xdata([t, t])
        for each in (*lines, *ax.collections):
            each.set_clip_box(seen)
    figure.axes[0].set_title(f"$t$ = {t:.3g}")
