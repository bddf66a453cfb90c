"""States in the coordinates of S, and where a set-point leads them.

Docs: docs/certificate.md, sections 2 and 6. Plain floats: at three components numpy costs ten times more, and the order of
every sum is the one written here, on every machine. What float64 rounds in it is far below the 1e-9 that the shield graph
takes off each margin (section 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .shield_assumed import Assumed, Triple

Command = tuple[float, float, float, float]
"""A set-point as plain numbers: body rates [rad/s], collective thrust [m/s^2]."""


@dataclass(frozen=True, slots=True)
class Flat:
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


@dataclass(frozen=True, slots=True)
class Present:
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


@dataclass(frozen=True, slots=True)
class _Instant:
    """What one of the judged instants needs, none of it dependent on the state.

    Attributes:
        t_s: After the instant of the tick [s].
        rate_share: How far the rates have gone towards their set-point.
        mean_share: The same on average since the instant of the tick.
        thrust_decay: What is left of the thrust's distance from its target.
    """

    t_s: float
    rate_share: float
    mean_share: float
    thrust_decay: float


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


class Prediction:
    """Where set-points lead within the window, and how sure that is.

    A set-point is judged where the backup policy can have taken over in full: a period after s_k at the earliest, and at the
    latest after the missed ticks too, or at s_k + window. By how much the states there can be off is in the shield graph.

    Args:
        assumed: Numbers of the certificate.
    """

    def __init__(self, assumed: Assumed) -> None:
        self._assumed = a = assumed
        last_s = max((1 + a.missed_ticks) * a.tick_s, a.window_s)
        self._instants = self._instant(a.tick_s), self._instant(last_s)

    def _instant(self, t_s: float) -> _Instant:
        """Shares at an instant."""
        lag = self._assumed.rate_lag_s
        share = 1.0 - math.exp(-t_s / lag)
        return _Instant(
            t_s=t_s, rate_share=share, mean_share=1.0 - share * lag / t_s, thrust_decay=math.exp(-t_s / self._assumed.thrust_lag_s)
        )

    def turn(self, now: Present, command: Command) -> Triple:
        """c times the derivative of the up direction that the rate set-point asks for [m/s^3], world."""
        gain, offset = self._assumed.rate_gain, self._assumed.rate_offset_rad_s
        roll, pitch = gain[0] * command[0] + offset[0], gain[1] * command[1] + offset[1]
        c, forward, left = now.flat.thrust, now.forward, now.left
        return (
            c * (pitch * forward[0] - roll * left[0]),
            c * (pitch * forward[1] - roll * left[1]),
            c * (pitch * forward[2] - roll * left[2]),
        )

    def ahead(self, now: Present, command: Command, disturbance: Triple) -> list[Flat]:
        """Nominal states at the judged instants, if only this set-point acts.

        Args:
            now: State at the instant of the tick.
            command: The set-point.
            disturbance: Estimate, within its limits [m/s^2].
        """
        a = self._assumed
        target = a.thrust_gain * command[3]
        drag_h, drag_v = a.drag_1_s
        flat, up, slope = now.flat, now.up, now.slope
        (px, py, pz), (vx, vy, vz), (ax, ay, az), (jx, jy, jz) = flat.position, flat.velocity, flat.acceleration, flat.jerk
        (dx, dy, dz), start = disturbance, flat.thrust or math.nan
        tx, ty, tz = jx - slope * up[0], jy - slope * up[1], jz - slope * up[2]
        wanted = self.turn(now, command)
        cx, cy, cz = wanted[0] - tx, wanted[1] - ty, wanted[2] - tz
        result = []
        for instant in self._instants:
            t, share, mean = instant.t_s, instant.rate_share, instant.mean_share
            thrust = target + (start - target) * instant.thrust_decay
            ux = up[0] + t * (tx + cx * mean) / start
            uy = up[1] + t * (ty + cy * mean) / start
            uz = up[2] + t * (tz + cz * mean) / start
            length = math.sqrt(ux * ux + uy * uy + uz * uz) or math.nan
            ux, uy, uz = ux / length, uy / length, uz / length
            gx, gy, gz = thrust * ux, thrust * uy, thrust * uz - a.gravity_m_s2
            wx = vx + t * (0.5 * (gx + ax) + dx - drag_h * vx)
            wy = vy + t * (0.5 * (gy + ay) + dy - drag_h * vy)
            wz = vz + t * (0.5 * (gz + az) + dz - drag_v * vz)
            half = 0.5 * t
            hx, hy, hz = tx + cx * share, ty + cy * share, tz + cz * share
            along = ux * hx + uy * hy + uz * hz
            slope = (target - thrust) / a.thrust_lag_s
            result.append(
                Flat(
                    position=(px + half * (vx + wx), py + half * (vy + wy), pz + half * (vz + wz)),
                    velocity=(wx, wy, wz),
                    acceleration=(gx, gy, gz),
                    jerk=(slope * ux + (hx - ux * along), slope * uy + (hy - uy * along), slope * uz + (hz - uz * along)),
                    thrust=thrust,
                )
            )
        return result

    def spread(self, now: Present, wanted: Triple, acting: Sequence[Command]) -> float:
        """Largest difference between what the judged set-point, see `turn`, and those that may still act ask of the jerk [m/s^3]."""
        largest = 0.0
        for old in acting:
            turn = self.turn(now, old)
            difference = (turn[0] - wanted[0], turn[1] - wanted[1], turn[2] - wanted[2])
            largest = max(largest, math.sqrt(dot(difference, difference)))
        return largest
