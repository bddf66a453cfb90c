"""Keeps what the planner is asked for within what the certificate allows: a reference that asks for more is followed at the limits.

A reference that goes on as it went, and no faster or steeper than the certified set holds, is handed on bit for bit. Any other one (a
step to a far goal, a path that is too fast, a vehicle far from its path after the backup policy has acted) is chased by a point
whose speed, acceleration and jerk are bounded: towards the reference at the speed from which it can still stop there,

    f(d) = sqrt(c^2 + 2 B d) - c,   c = B^2 / 2 J        so that v^2 / 2 B + v B / 2 J = d

with B the deceleration and J the jerk; as it gets near, both become one again. World frame, SI; horizontally Euclidean norms.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

VELOCITY_1_S, ACCELERATION_1_S = 6.0, 15.0
"""How fast the point takes up the velocity that it should have, and the acceleration [1/s]."""
BRAKE_SHARE, TURN_SHARE = 0.75, 0.9
"""Deceleration towards the reference, of the largest acceleration: the rest is for what the reference does itself."""
JUMP_M, JUMP_M_S = 0.05, 0.3
"""A reference that is off by more from where its velocity led has jumped."""
NEAR_M, NEAR_M_S, NEAR_M_S2 = 0.01, 0.03, 0.1
"""So near, the point is the reference."""

Flat = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Largest speed [m/s], acceleration [m/s^2] and jerk [m/s^3], each (horizontal, vertical)."""

    speed_m_s: tuple[float, float]
    acceleration_m_s2: tuple[float, float]
    jerk_m_s3: tuple[float, float]


SPEED_SHARE, ACCELERATION_SHARE, JERK_SHARE = (0.95, 0.8), (0.85, 0.4), (0.55, 0.5)
"""Of the certified bounds, horizontally and vertically, that the point takes up: the rest is for the planner's corrections, wind and errors."""


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
        tops = [(float(a), float(b)) for a, b in (limits[f"{name}"] for name in ("velocity_m_s", "acceleration_m_s2", "jerk_m_s3"))]
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


class Governor:
    """See the module.

    Args:
        followed: What a reference may ask for to be handed on as it is; its jerk is not looked at.
        chased: Bounds of the point that follows any other reference.
        dt_s: Time between rows [s].
    """

    def __init__(self, followed: Bounds, chased: Bounds, dt_s: float) -> None:
        self.followed, self.chased, self._dt_s = followed, chased, dt_s
        self.active = False
        self._now_s = math.nan
        self._p: Flat = (0.0, 0.0, 0.0)
        self._v: Flat = (0.0, 0.0, 0.0)
        self._a: Flat = (0.0, 0.0, 0.0)

    def reset(self) -> None:
        """Forget what was; the next reference is where the point is, if the vehicle is near."""
        self.active, self._now_s = False, math.nan

    def start_at(self, predicted: Sequence[float]) -> None:
        """Chase the reference from the vehicle on, as it was not flown what was asked for.

        Args:
            predicted: State of 14 numbers for the instant at which `govern` is called next, see `Predictor`.
        """
        px, py, pz, vx, vy, vz, w, x, y, z, _, _, _, thrust = predicted
        self.active, self._now_s = True, math.nan
        self._p, self._v = (px, py, pz), (vx, vy, vz)
        up = thrust * (w * w - x * x - y * y + z * z)
        ax, ay = _cut(2.0 * thrust * (x * z + w * y), 2.0 * thrust * (y * z - w * x), self.chased.acceleration_m_s2[0])
        az, _ = _cut(up - GRAVITY_M_S2, 0.0, self.chased.acceleration_m_s2[1])
        self._a = (ax, ay, az)

    def govern(self, rows: Vector, now_s: float) -> None:
        """Bound the rows in place; rows (H + 1, 9) are position, velocity and acceleration at `now_s` and every `dt_s` after it."""
        elapsed_s = now_s - self._now_s
        if not 0.0 <= elapsed_s < 1.0:
            elapsed_s = 0.0
            if not self.active:
                self._take(rows[0].tolist())
        if self.active:
            self._advance(elapsed_s, rows[0].tolist())
        elif self._jumps(rows, elapsed_s) or self._beyond(rows):
            self._coast(elapsed_s)
            self.active = True
        self._now_s = now_s
        if self.active and self._is_near(rows[0].tolist()) and not self._beyond(rows) and not self._breaks(rows):
            self.active = False
        if not self.active:
            self._take(rows[0].tolist())
            return
        self._chase(rows)

    def _take(self, row: list[float]) -> None:
        """Be where the reference is."""
        self._p, self._v, self._a = (row[0], row[1], row[2]), (row[3], row[4], row[5]), (row[6], row[7], row[8])

    def _jumps(self, rows: Vector, elapsed_s: float) -> bool:
        """Whether the reference is elsewhere than it led, or jumps within the horizon."""
        row = rows[0].tolist()
        for axis in (0, 1, 2):
            v, a = self._v[axis], self._a[axis]
            led = self._p[axis] + elapsed_s * (v + 0.5 * elapsed_s * a)
            if abs(row[axis] - led) > JUMP_M or abs(row[3 + axis] - v - elapsed_s * a) > JUMP_M_S:
                return True
        return self._breaks(rows)

    def _breaks(self, rows: Vector) -> bool:
        """Whether positions jump between rows."""
        led = rows[1:, 0:3] - rows[:-1, 0:3] - (0.5 * self._dt_s) * (rows[1:, 3:6] + rows[:-1, 3:6])
        return bool(np.abs(led).max() > JUMP_M)

    def _beyond(self, rows: Vector) -> bool:
        """Whether a row asks for more speed or acceleration than may be followed."""
        squares = rows[:, 3:9] * rows[:, 3:9]
        vx, vy, vz, ax, ay, az = squares.max(axis=0).tolist()
        (v, w), (a, b) = self.followed.speed_m_s, self.followed.acceleration_m_s2
        if vz > w * w or az > b * b:
            return True
        if vx + vy <= v * v and ax + ay <= a * a:
            return False
        return bool((squares[:, 0] + squares[:, 1]).max() > v * v or (squares[:, 3] + squares[:, 4]).max() > a * a)

    def _is_near(self, row: list[float]) -> bool:
        """Whether the point is the reference."""
        return all(
            abs(row[axis] - self._p[axis]) < NEAR_M
            and abs(row[3 + axis] - self._v[axis]) < NEAR_M_S
            and abs(row[6 + axis] - self._a[axis]) < NEAR_M_S2
            for axis in (0, 1, 2)
        )

    def _coast(self, elapsed_s: float) -> None:
        """Go on as the reference went."""
        self._p, self._v, self._a = _moved(self._p, self._v, self._a, (0.0, 0.0, 0.0), elapsed_s)

    def _advance(self, elapsed_s: float, row: list[float]) -> None:
        """The point moves on for the time since the last tick."""
        jerk = self._jerk(self._p, self._v, self._a, row)
        self._p, self._v, self._a = _moved(self._p, self._v, self._a, jerk, elapsed_s)

    def _chase(self, rows: Vector) -> None:
        """Write the point's own motion over the horizon into the rows."""
        p, v, a = self._p, self._v, self._a
        asked = rows.tolist()
        for number, row in enumerate(asked):
            rows[number, 0:3], rows[number, 3:6], rows[number, 6:9] = p, v, a
            p, v, a = _moved(p, v, a, self._jerk(p, v, a, row), self._dt_s)

    def _jerk(self, p: Flat, v: Flat, a: Flat, row: list[float]) -> Flat:
        """Jerk of the point towards a row of the reference."""
        bounds = self.chased
        jx, jy = _pulled(
            (row[0] - p[0], row[1] - p[1]), (row[3], row[4]), (row[6], row[7]), (v[0], v[1]), (a[0], a[1]),
            bounds.speed_m_s[0], bounds.acceleration_m_s2[0], bounds.jerk_m_s3[0],
        )  # fmt: skip
        jz, _ = _pulled(
            (row[2] - p[2], 0.0), (row[5], 0.0), (row[8], 0.0), (v[2], 0.0), (a[2], 0.0),
            bounds.speed_m_s[1], bounds.acceleration_m_s2[1], bounds.jerk_m_s3[1],
        )  # fmt: skip
        return jx, jy, jz


Plane = tuple[float, float]


def _moved(p: Flat, v: Flat, a: Flat, j: Flat, t: float) -> tuple[Flat, Flat, Flat]:
    """Position, velocity and acceleration after a time under a constant jerk."""
    h, k = 0.5 * t * t, t * t * t / 6.0
    return (
        (p[0] + t * v[0] + h * a[0] + k * j[0], p[1] + t * v[1] + h * a[1] + k * j[1], p[2] + t * v[2] + h * a[2] + k * j[2]),
        (v[0] + t * a[0] + h * j[0], v[1] + t * a[1] + h * j[1], v[2] + t * a[2] + h * j[2]),
        (a[0] + t * j[0], a[1] + t * j[1], a[2] + t * j[2]),
    )


def _cut(x: float, y: float, most: float) -> Plane:
    """The vector, shortened to a length if it is longer."""
    length = math.hypot(x, y)
    return (x, y) if length <= most else (x * most / length, y * most / length)


def _pulled(away: Plane, reference_v: Plane, reference_a: Plane, v: Plane, a: Plane, speed: float, acceleration: float, jerk: float) -> Plane:
    """Jerk towards a reference that is `away` [m] and itself moves, within the bounds."""
    brake = BRAKE_SHARE * acceleration
    corner = brake * brake / (2.0 * jerk)
    distance = math.hypot(*away)
    pace = math.sqrt(corner * corner + 2.0 * brake * distance) - corner
    along, across = brake / (pace + corner), brake / corner  # change of the pace per metre along and across
    if distance > 1e-9:
        across = pace / distance
        ux, uy = away[0] / distance, away[1] / distance
    else:
        ux, uy = 1.0, 0.0
    vx, vy = reference_v[0] + pace * ux, reference_v[1] + pace * uy
    wanted = _cut(vx, vy, speed)
    cx, cy = reference_v[0] - v[0], reference_v[1] - v[1]  # how fast `away` changes
    part = cx * ux + cy * uy
    fx = reference_a[0] + across * cx + (along - across) * part * ux
    fy = reference_a[1] + across * cy + (along - across) * part * uy
    if wanted[0] != vx or wanted[1] != vy:
        fx = fy = 0.0  # at full speed
    gx, gy = wanted[0] - v[0], wanted[1] - v[1]
    soft = TURN_SHARE * jerk
    knee = soft / VELOCITY_1_S
    missing = math.hypot(gx, gy)
    gain = (math.sqrt(knee * knee + 2.0 * soft * missing) - knee) / missing if missing > 1e-9 else VELOCITY_1_S
    ax, ay = _cut(fx + gain * gx, fy + gain * gy, acceleration)
    return _cut(ACCELERATION_1_S * (ax - a[0]), ACCELERATION_1_S * (ay - a[1]), jerk)
