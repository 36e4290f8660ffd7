"""How far the feedback of a rule points along the readout."""

from __future__ import annotations

from odes.order_parameters import Array, OrderParameters


def feedback_angle(state: OrderParameters) -> Array:
    """Angle between B and v as vectors of all K O entries, in degrees, 0 where they are parallel.

    In feedback alignment the readout turns towards B first and fits the teacher then (Refinetti et
    al. 2021).  ``state`` may have leading axes, as on the trajectories of theory and simulation;
    the result has their shape, and is NaN where B or v is zero.  Raises ValueError for a rule
    without B, such as backpropagation.
    """
    B, v = state.B, state.v
    if B is None:
        raise ValueError("Argument `state` must have a B, but B is None: the feedback is v itself.")
    xp = v.__array_namespace__()
    overlap, norm_B, norm_v = (xp.sum(x, axis=(-2, -1)) for x in (B * v, B * B, v * v))
    sine = xp.sqrt(xp.maximum(norm_B * norm_v - overlap * overlap, 0.0))
    angle = xp.atan2(sine, overlap) * (180 / xp.pi)
    return xp.where(norm_B * norm_v > 0, angle, xp.nan)
