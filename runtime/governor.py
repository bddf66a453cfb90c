"""Reference governor: keeps what the planner is asked for within what the certificate allows.

A reference that goes on as it went, and no faster or steeper than the certified set holds, is handed on bit for bit. Any other one (a
step to a far goal, a path that is too fast, a vehicle far from its path after the backup policy has acted) is chased by a point
whose speed, acceleration and jerk are bounded: towards the reference at the speed from which it can still stop there,

    f(d) = sqrt(c^2 + 2 B d) - c,   c = B^2 / 2 J        so that f^2 / 2 B + f B / 2 J = d

with B the deceleration and J the jerk. Once it is there, the point is the reference again. It knows no obstacles: what keeps
clear of them are the plan and the shield. World frame, SI; horizontally Euclidean norms. For governors in general: Garone, Di Cairano
and Kolmanovsky, Automatica 75 (2017) 306-328.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .governor_motion import Bounds, Flat, chase, cut, moved

JUMP_M, JUMP_M_S = 0.05, 0.3
"""A reference that is off by more from where its velocity led has jumped."""
STRAY_M, STRAY_M_S = 0.3, 0.6
"""A vehicle further than this from the point, at the beginning or when it did not fly the plan: the point goes on from there."""
FORGET_S = 1.0
"""After so long without a reference all begins anew."""
STILL: Flat = (0.0, 0.0, 0.0)
NEAR_M, NEAR_M_S, NEAR_M_S2 = 0.01, 0.03, 0.1
"""So near, the point is the reference."""


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

    def govern(self, rows: Vector, now_s: float, predicted: Sequence[float], refused: bool) -> None:
        """Bound the rows in place.

        Args:
            rows: Position [m], velocity [m/s] and acceleration [m/s^2] at `now_s` and every `dt_s` after it, shape (H + 1, 9).
            now_s: On any clock that goes on; after `FORGET_S` without a call all begins anew [s].
            predicted: State of the vehicle at `now_s`, 14 numbers, see `Predictor`.
            refused: Whether something else was flown in the last tick than was planned.
        """
        first = rows[0].tolist()
        elapsed_s = now_s - self._now_s
        anew = not 0.0 <= elapsed_s < FORGET_S
        self._now_s = now_s
        if anew:
            self.active = False
            self._take(first)
        if (anew or refused) and self._strayed(predicted):
            self._start_at(predicted)
        elif self.active:
            self._p, self._v, self._a = chase(self._p, self._v, self._a, first, self.chased, elapsed_s)
        sound = not self._breaks(rows) and not self._beyond(rows)
        if self.active:
            self.active = not (sound and self._is_near(first))
        elif not sound or (not anew and self._jumps(first, elapsed_s)):
            self.active = True
            if not anew:
                self._p, self._v, self._a = moved(self._p, self._v, self._a, STILL, elapsed_s)
            self._bound_acceleration()
        if self.active:
            self._chase(rows)
        else:
            self._take(first)

    def _strayed(self, predicted: Sequence[float]) -> bool:
        """Whether the vehicle is no longer near the point."""
        return math.dist(predicted[0:3], self._p) > STRAY_M or math.dist(predicted[3:6], self._v) > STRAY_M_S

    def _start_at(self, predicted: Sequence[float]) -> None:
        """Chase the reference from the vehicle's own motion on."""
        px, py, pz, vx, vy, vz, w, x, y, z, _, _, _, thrust = predicted
        ux, uy, uz = 2.0 * (x * z + w * y), 2.0 * (y * z - w * x), w * w - x * x - y * y + z * z
        self.active = True
        self._p, self._v, self._a = (px, py, pz), (vx, vy, vz), (thrust * ux, thrust * uy, thrust * uz - GRAVITY_M_S2)
        self._bound_acceleration()

    def _bound_acceleration(self) -> None:
        """Keep the point's acceleration within its bounds."""
        level, upright = self.chased.acceleration_m_s2
        ax, ay = cut(self._a[0], self._a[1], level)
        self._a = ax, ay, cut(self._a[2], 0.0, upright)[0]

    def _take(self, row: list[float]) -> None:
        """Be where the reference is."""
        self._p, self._v, self._a = (row[0], row[1], row[2]), (row[3], row[4], row[5]), (row[6], row[7], row[8])

    def _jumps(self, row: list[float], elapsed_s: float) -> bool:
        """Whether the reference is elsewhere than it led."""
        for axis in (0, 1, 2):
            v, a = self._v[axis], self._a[axis]
            led = self._p[axis] + elapsed_s * (v + 0.5 * elapsed_s * a)
            if abs(row[axis] - led) > JUMP_M or abs(row[3 + axis] - v - elapsed_s * a) > JUMP_M_S:
                return True
        return False

    def _breaks(self, rows: Vector) -> bool:
        """Whether positions jump between rows."""
        off = rows[1:, 0:3] - rows[:-1, 0:3] - (0.5 * self._dt_s) * (rows[1:, 3:6] + rows[:-1, 3:6])
        return bool(np.abs(off).max() > JUMP_M)

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

    def _chase(self, rows: Vector) -> None:
        """Write the point's own motion over the horizon into the rows."""
        p, v, a = self._p, self._v, self._a
        asked = rows.tolist()
        for number, row in enumerate(asked):
            rows[number, 0:3], rows[number, 3:6], rows[number, 6:9] = p, v, a
            p, v, a = chase(p, v, a, row, self.chased, self._dt_s)
