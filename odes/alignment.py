"""How far the feedback of a rule points along the readout."""

from __future__ import annotations

from odes.order_parameters import Array, OrderParameters


def feedback_angle(state: OrderParameters) -> Array:
    """Angle between B and v as vectors of all K O entries, in degrees, 0 where they are parallel.

    Feedback alignment brings it down before the error falls: align, then memorise (Refinetti et
    al. 2021).  ``state`` may have leading axes, as on the trajectories of theory and simulation;
    the result has their shape.  Raises ValueError for a rule without B, such as backpropagation.
    """
    B, v = state.B, state.v
    if B is None:
        raise ValueError("Argument `state` must have a B, but B is None: the feedback is v itself.")
    xp = v.__array_namespace__()
    overlap, norm_B, norm_v = (xp.sum(x, axis=(-2, -1)) for x in (B * v, B * B, v * v))
    cosine = overlap / xp.sqrt(norm_B * norm_v)
    return xp.acos(xp.clip(cosine, -1, 1)) * (180 / xp.pi)
