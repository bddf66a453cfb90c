"""States in the coordinates of S.

Docs: docs/certificate.md, sections 2 and 6. Plain floats: at three components numpy costs ten times more, and the order of
every sum is the one written here, on every machine. What float64 rounds in it is far below the 1e-9 that the shield graph
takes off each margin (section 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .shield_assumed import Triple

Command = tuple[float, float, float, float]
"""A set-point as plain numbers: body rates [rad/s], collective thrust [m/s^2]."""


class Flat(NamedTuple):
    """A state in the coordinates of S, world axes.

    Attributes:
        position, velocity, acceleration, jerk: [m], [m/s], [m/s^2], [m/s^3]; acceleration without drag and disturbance.
        thrust: Modelled collective thrust [m/s^2].
    """

    position: Triple
    velocity: Triple
    acceleration: Triple
    jerk: Triple
    thrust: float


class Present(NamedTuple):
    """The state at the instant of the tick, with the attitude and the thrust slope that it comes from.

    Attributes:
        flat: In the coordinates of S.
        slope: Slope of the modelled thrust [m/s^3].
        forward, left, up: Columns of the rotation body FLU to world.
    """

    flat: Flat
    slope: float
    forward: Triple
    left: Triple
    up: Triple


def dot(a: Triple, b: Triple) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def flatten(x: Sequence[float], slope: float, gravity_m_s2: float) -> Present:
    """State in the coordinates of S.

    Args:
        x: Position, velocity, quaternion wxyz, body rates, modelled collective thrust; 14 numbers, SI.
        slope: Thrust slope [m/s^3].
        gravity_m_s2: Gravity [m/s^2].

    Returns:
        The state; not a number throughout if the quaternion is zero.
    """
    px, py, pz, vx, vy, vz, w, i, j, k, roll, pitch, _, thrust = x
    length = math.sqrt(w * w + i * i + j * j + k * k) or math.nan
    w, i, j, k = w / length, i / length, j / length, k / length
    forward = (1 - 2 * (j * j + k * k), 2 * (i * j + w * k), 2 * (i * k - w * j))
    left = (2 * (i * j - w * k), 1 - 2 * (i * i + k * k), 2 * (j * k + w * i))
    up = (2 * (i * k + w * j), 2 * (j * k - w * i), 1 - 2 * (i * i + j * j))
    turn = (
        thrust * (pitch * forward[0] - roll * left[0]),
        thrust * (pitch * forward[1] - roll * left[1]),
        thrust * (pitch * forward[2] - roll * left[2]),
    )
    flat = Flat(
        position=(px, py, pz),
        velocity=(vx, vy, vz),
        acceleration=(thrust * up[0], thrust * up[1], thrust * up[2] - gravity_m_s2),
        jerk=(slope * up[0] + turn[0], slope * up[1] + turn[1], slope * up[2] + turn[2]),
        thrust=thrust,
    )
    return Present(flat, slope, forward, left, up)


def norm(a: Triple) -> float:
    """Length."""
    return math.sqrt(dot(a, a))


def less(a: Triple, b: Triple) -> Triple:
    """Difference."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]
