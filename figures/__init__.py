"""Drawing: Trajectories in, Axes out.  Nothing here computes, and ``animate`` alone saves."""

from figures.animation import animate
from figures.distributions import plot_distribution, plot_quantiles
from figures.entries import plot_order_parameter
from figures.finishing import finish
from figures.fluctuations import plot_finite_size, plot_fluctuation_band
from figures.legends import add_key as add_key  # its former name
from figures.legends import add_legend
from figures.overlay import plot_band, plot_overlay
from figures.plateaus import plot_height, plot_plateau_lengths
from figures.schedules import plot_schedule
from figures.style import paper_style, variants
from figures.sweeps import plot_phase_diagram, plot_scan, shared_norm

__all__ = [
    "add_legend",
    "animate",
    "finish",
    "paper_style",
    "plot_band",
    "plot_distribution",
    "plot_finite_size",
    "plot_fluctuation_band",
    "plot_height",
    "plot_order_parameter",
    "plot_overlay",
    "plot_phase_diagram",
    "plot_plateau_lengths",
    "plot_quantiles",
    "plot_scan",
    "plot_schedule",
    "shared_norm",
    "variants",
]
