"""Bounded motion for the reference governor: its bounds, and the jerk that leads a point to a reference within them.

Towards the reference at the speed from which it can still stop there, and to that speed at the acceleration that can still be taken
back there; both roots are smooth at 0. Plain floats: at three components numpy costs ten times more. World frame, SI.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

POSITION_1_S, VELOCITY_1_S, ACCELERATION_1_S = 4.0, 6.0, 15.0
"""How fast the point takes up position (at most), velocity and acceleration when it is near them [1/s]."""
BRAKE_SHARE, PACE_SHARE, TURN_SHARE = 0.75, 0.6, 0.8
"""Deceleration towards the reference, of the largest acceleration; jerk counted on for beginning it, and for taking up a velocity, of
the largest. With more of both a point that goes from speeding up straight to braking overshoots, by up to 0.4 m."""
TINY = 1e-9
STEP_S = 0.04
"""Longest step of the point's motion."""
SPEED_SHARE, ACCELERATION_SHARE, JERK_SHARE = (0.95, 0.7), (0.85, 0.25), (0.5, 0.25)
"""Of the certified bounds, (horizontal, vertical), what the point takes up: the rest is for the planner's corrections, wind and errors.
Found by flights of steps in several directions (docs/certificate.md, section 9)."""

Flat = tuple[float, float, float]
Plane = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Largest speed [m/s], acceleration [m/s^2] and jerk [m/s^3], each (horizontal, vertical)."""

    speed_m_s: tuple[float, float]
    acceleration_m_s2: tuple[float, float]
    jerk_m_s3: tuple[float, float]


def bounds_of(certificate: bytes) -> tuple[Bounds, Bounds]:
    """What a reference may ask for to be followed as it is, and the bounds of the point that chases any other.

    Args:
        certificate: certificate.toml of a bundle, checked.

    Raises:
        BundleError: a number is missing or not above 0.
    """
    table = tomllib.loads(certificate.decode())
    try:
        part, limits = table["set"], table["limits"]
        level, upright = (float(x) for x in part["at_once_velocity_m_s"])
        steep = GRAVITY_M_S2 * math.tan(math.radians(float(part["at_once_tilt_deg"])))
        alone = float(part["speed_m_s"]), GRAVITY_M_S2 * math.tan(math.radians(float(part["tilt_deg"])))
        tops = [(float(a), float(b)) for a, b in (limits[name] for name in ("velocity_m_s", "acceleration_m_s2", "jerk_m_s3"))]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"certificate.toml: no bounds for references: {error!r}; certify again") from error
    followed = Bounds((alone[0], tops[0][1]), (alone[1], tops[1][1]), tops[2])
    chased = Bounds(
        (SPEED_SHARE[0] * level, SPEED_SHARE[1] * upright),
        (ACCELERATION_SHARE[0] * steep, ACCELERATION_SHARE[1] * tops[1][1]),
        (JERK_SHARE[0] * tops[2][0], JERK_SHARE[1] * tops[2][1]),
    )
    for pair in (chased.speed_m_s, chased.acceleration_m_s2, chased.jerk_m_s3):
        if not all(0.0 < value < math.inf for value in pair):
            raise BundleError(f"certificate.toml: bounds for references are {chased}, must be above 0; certify again")
    return followed, chased


def chase(p: Flat, v: Flat, a: Flat, row: list[float], bounds: Bounds, time_s: float) -> tuple[Flat, Flat, Flat]:
    """Motion of a point towards a row of the reference (position, velocity, acceleration) after a time.

    Args:
        p, v, a: Position [m], velocity [m/s] and acceleration [m/s^2] now.
        row: The reference, 9 numbers.
        bounds: Of the point; a start beyond them is led back into them.
        time_s: How long [s].
    """
    (speed, climb), (steep, lift), (swift, rise) = bounds.speed_m_s, bounds.acceleration_m_s2, bounds.jerk_m_s3
    steps = math.ceil(time_s / STEP_S - 1e-6)
    for _ in range(steps):
        away, across = (row[0] - p[0], row[1] - p[1]), (v[0], v[1])
        jx, jy = _pulled(away, (row[3], row[4]), (row[6], row[7]), across, (a[0], a[1]), speed, steep, swift)
        jz, _ = _pulled((row[2] - p[2], 0.0), (row[5], 0.0), (row[8], 0.0), (v[2], 0.0), (a[2], 0.0), climb, lift, rise)
        p, v, a = moved(p, v, a, (jx, jy, jz), time_s / steps)
    return p, v, a


def moved(p: Flat, v: Flat, a: Flat, j: Flat, t: float) -> tuple[Flat, Flat, Flat]:
    """Position, velocity and acceleration after a time under a constant jerk."""
    h, k = 0.5 * t * t, t * t * t / 6.0
    return (
        (p[0] + t * v[0] + h * a[0] + k * j[0], p[1] + t * v[1] + h * a[1] + k * j[1], p[2] + t * v[2] + h * a[2] + k * j[2]),
        (v[0] + t * a[0] + h * j[0], v[1] + t * a[1] + h * j[1], v[2] + t * a[2] + h * j[2]),
        (a[0] + t * j[0], a[1] + t * j[1], a[2] + t * j[2]),
    )


def cut(x: float, y: float, most: float) -> Plane:
    """The vector, shortened to a length if it is longer."""
    length = math.hypot(x, y)
    return (x, y) if length <= most else (x * most / length, y * most / length)


def _pulled(
    away: Plane, reference_v: Plane, reference_a: Plane, v: Plane, a: Plane, speed: float, acceleration: float, jerk: float
) -> Plane:
    """Jerk towards a reference that is `away` [m] and itself moves, within the bounds."""
    brake, soft = BRAKE_SHARE * acceleration, TURN_SHARE * jerk
    corner = max(brake * brake / (2.0 * PACE_SHARE * jerk), brake / POSITION_1_S)
    distance = math.hypot(*away)
    pace = _root(corner, brake, distance)
    along, across = brake / (pace + corner), brake / corner  # change of the pace per metre along and across
    ux, uy = 1.0, 0.0
    if distance > TINY:
        across, ux, uy = pace / distance, away[0] / distance, away[1] / distance
    vx, vy = reference_v[0] + pace * ux, reference_v[1] + pace * uy
    wx, wy = cut(vx, vy, speed)
    fx = fy = 0.0
    if (wx, wy) == (vx, vy):  # not at full speed: the speed wanted changes with the distance
        cx, cy = reference_v[0] - v[0], reference_v[1] - v[1]
        part = (along - across) * (cx * ux + cy * uy)
        fx, fy = reference_a[0] + across * cx + part * ux, reference_a[1] + across * cy + part * uy
    gx, gy = wx - v[0], wy - v[1]
    knee, missing = soft / VELOCITY_1_S, math.hypot(gx, gy)
    gain = _root(knee, soft, missing) / missing if missing > TINY else VELOCITY_1_S
    ax, ay = cut(fx + gain * gx, fy + gain * gy, acceleration)
    fast = math.hypot(*v)
    if fast > TINY:  # never faster than the bound, wherever it is drawn
        left = speed - fast
        most = math.copysign(_root(knee, soft, abs(left)), left)
        beyond = max((ax * v[0] + ay * v[1]) / fast - most, 0.0)
        ax, ay = cut(ax - beyond * v[0] / fast, ay - beyond * v[1] / fast, acceleration)
    return cut(ACCELERATION_1_S * (ax - a[0]), ACCELERATION_1_S * (ay - a[1]), jerk)


def _root(knee: float, slope: float, x: float) -> float:
    """sqrt(knee^2 + 2 slope x) - knee: goes as sqrt(2 slope x) far from 0, and as slope / knee * x near it."""
    return math.sqrt(knee * knee + 2.0 * slope * x) - knee
