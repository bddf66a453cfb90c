"""What a plan must keep clear of: obstacles, the faces of a geofence and a speed limit, as arrays of fixed shape.

All positions are in the world frame ENU of the task [m]. A table of fixed length keeps compiled planners and exported
graphs the same whatever stands in the way; entries that are not used never count.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float


class Constraints(NamedTuple):
    """Obstacles, geofence and speed limit; a pytree.

    Attributes:
        obstacles: One row per obstacle, shape (M, 6): centre (3) [m] and inverse squared semi-axes (3) [1/m^2] of an
            axis-aligned ellipsoid; an inverse of 0 extends it without end (a vertical cylinder has 0 for z). The point
            p is inside where sum(inverse * (p - centre)^2) < 1. A row of an unused entry has its centre 1e3 m away and
            inverses of 1.
        fence: One row per face, shape (F, 4): outward unit normal n (3) and offset d [m]; inside is n . p <= d. An
            unused row is (0, 0, 0, 1).
        speed_m_s: Greatest speed, shape ().
    """

    obstacles: Float[Array, "obstacle 6"]
    fence: Float[Array, "face 4"]
    speed_m_s: Float[Array, ""]
