"""What a plan must keep clear of: obstacles, the faces of a geofence and a speed limit, as arrays of fixed shape.

All positions are in the world frame ENU of the task [m]. A table of fixed length keeps compiled planners and exported
graphs the same whatever stands in the way; entries that are not used never count.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector


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


def violations(constraints: Constraints, x: Float[Array, "state"]) -> Float[Array, "3"]:
    """Smooth measures of how far a state breaks the constraints, each 0 where it does not, dimensionless or [m^2].

    Squared hinges: continuous with their first derivative, and free of square roots, so a gradient exists everywhere.

    Args:
        constraints: In the frame of the state.
        x: State whose entries 0:3 are the position [m] and 3:6 the velocity [m/s].

    Returns:
        Obstacles, sum of max(0, 1 - q)^2 with q = sum(inverse * (p - centre)^2): 1 in a centre, 0 on the surface;
        fence, sum of max(0, n . p - d)^2 [m^2]; speed, max(0, |v|^2 / limit^2 - 1)^2. Unused rows add exactly 0.
    """
    centre, inverse = constraints.obstacles[:, 0:3], constraints.obstacles[:, 3:6]
    depth = 1.0 - jnp.sum(inverse * (x[None, 0:3] - centre) ** 2, axis=1)
    beyond = constraints.fence[:, 0:3] @ x[0:3] - constraints.fence[:, 3]
    excess = jnp.sum(x[3:6] ** 2) / constraints.speed_m_s**2 - 1.0
    return jnp.stack(
        [
            jnp.sum(jnp.maximum(depth, 0.0) ** 2),
            jnp.sum(jnp.maximum(beyond, 0.0) ** 2),
            jnp.maximum(excess, 0.0) ** 2,
        ]
    )


def violation(constraints: Constraints, x: Float[Array, "state"]) -> Float[Array, ""]:
    """Sum of the three `violations`, unweighted; 0 exactly where a state breaks nothing."""
    return jnp.sum(violations(constraints, x))


def widened(constraints: Constraints, shell_m: float) -> Constraints:
    """The same with a safety shell: semi-axes longer and faces nearer by `shell_m`; directions without end stay so.

    It takes square roots of the inverses, so it belongs before a plan, not into it.
    """
    inverse = constraints.obstacles[:, 3:6]
    inverse = inverse / (1.0 + shell_m * jnp.sqrt(inverse)) ** 2
    normal = constraints.fence[:, 0:3]
    offset = constraints.fence[:, 3] - shell_m * jnp.sum(normal**2, axis=1)
    return Constraints(
        jnp.concatenate([constraints.obstacles[:, 0:3], inverse], axis=1),
        jnp.concatenate([normal, offset[:, None]], axis=1),
        constraints.speed_m_s,
    )


def relative(constraints: Constraints, origin_m: Vector, yaw_rad: float) -> Constraints:
    """The constraints seen from a frame at `origin_m` turned by `yaw_rad` about world z.

    Runs in numpy and float64, so that float32 planners lose nothing far from the origin of the world.

    Args:
        constraints: In world ENU.
        origin_m: Origin of the new frame, world ENU, shape (3,) [m].
        yaw_rad: Angle from world x to its x axis, counter-clockwise seen from above [rad].

    Returns:
        The same obstacles, faces and limit, as float64 numpy arrays.

    Raises:
        InputError: `yaw_rad` is not 0 and an ellipsoid is not round about z: it would no longer be axis-aligned.
    """
    obstacles = np.array(constraints.obstacles, dtype=np.float64)
    fence = np.array(constraints.fence, dtype=np.float64)
    uneven = np.flatnonzero(obstacles[:, 3] != obstacles[:, 4])
    if yaw_rad != 0.0 and len(uneven):
        x, y = obstacles[uneven[0], 3:5]
        raise InputError(
            f"obstacle {uneven[0]} has inverse squared semi-axes {x:g} and {y:g} 1/m^2 along x and y, and the frame is "
            f"turned by {yaw_rad:g} rad: give it equal ones, or keep the yaw 0"
        )
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    fence[:, 3] -= fence[:, 0:3] @ origin_m
    fence[:, 0:3] = fence[:, 0:3] @ turn
    obstacles[:, 0:3] = (obstacles[:, 0:3] - origin_m) @ turn
    return Constraints(obstacles, fence, np.asarray(constraints.speed_m_s, dtype=np.float64))  # type: ignore[arg-type]
