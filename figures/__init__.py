"""Drawing: Trajectories in, Axes out.  Nothing here computes or saves."""

from figures.fluctuations import plot_finite_size, plot_fluctuation_band
from figures.overlay import add_key, plot_band, plot_order_parameter, plot_overlay
from figures.style import paper_style
from figures.sweeps import plot_phase_diagram, plot_scan, shared_norm

__all__ = [
    "add_key",
    "paper_style",
    "plot_band",
    "plot_finite_size",
    "plot_fluctuation_band",
    "plot_order_parameter",
    "plot_overlay",
    "plot_phase_diagram",
    "plot_scan",
    "shared_norm",
]
