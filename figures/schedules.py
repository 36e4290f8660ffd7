"""Drawing parameters that change with time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from figures.checks import check_axes, check_line, check_text
from figures.style import AXIS_LABELS, TIME_LABEL
from odes.common.checks import check_number
from odes.common.schedules import check_schedule

POINTS = 400
"""Times at which a schedule is drawn, besides its jumps."""


def plot_schedule(
    schedule: Callable[[float], float] | float,
    *,
    t_max: float,
    name: str = "lr",
    ax: Axes | None = None,
    **line: Any,
) -> Axes:
    """Draw a parameter against time.

    Args:
        schedule: as ``odes.solve`` takes it: a function of t, of which an attribute ``jumps`` says
            where it jumps, or a number.
        t_max: up to where.
        name: of the parameter, for the label of the axis.
        ax: where to draw; None for a new figure.
        **line: colour, label and style.

    Returns:
        The Axes, with a logarithmic axis of the parameter, unless that is 0 throughout.
    """
    course: Any = schedule
    course = (check_schedule if callable(course) else check_number)("schedule", course)
    t_max = check_number("t_max", t_max, positive=True)
    check_text("name", name, optional=False)
    check_line(**line)
    check_axes("ax", ax)
    jumps = np.asarray(getattr(course, "jumps", ()), float)
    before = np.nextafter(jumps, -np.inf)
    times = np.unique(np.concatenate([np.linspace(0, t_max, POINTS), jumps, before]))
    times = times[times <= t_max]
    values = [course(t) if callable(course) else course for t in times.tolist()]
    if ax is None:
        _, ax = plt.subplots()
    ax.plot(times, values, **line)
    if any(values):
        ax.set_yscale("log")
    ax.set(xlabel=TIME_LABEL, ylabel=AXIS_LABELS.get(name, name))
    return ax
