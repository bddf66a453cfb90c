"""Whether a gyro's steps have the size we take them for: how far the attitude turned against what the rates say.

Betaflight sends its gyro in steps of the sensor and not the size of a step. Taken 16 times too large, as a glance at the name of the
function that sends them suggests, the vehicle's own rates look like a tumble, and plan and proof answer to that.
"""

from __future__ import annotations

import math

from .frames import Four, Three

LEAST_RATE_RAD_S = 0.3
"""Slower turns say little: noise of a standing craft's gyro is below [rad/s]."""
ENOUGH_RAD = 0.8
"""So far must it have turned before anything is said; twice that, and the older half is forgotten [rad]."""
LONGEST_NS = 100_000_000
LEAST_FIT, MOST_FIT = 0.7, 1.4
"""The gyro's own tolerance is 3 %, delays and quick shaking make the ratio smaller."""


class GyroFit:
    """Compares successive attitudes with the rates between them."""

    def __init__(self) -> None:
        self._last: tuple[int, Four, Three] | None = None
        self._along = self._squares = self._turned_rad = 0.0

    def see(self, t_ns: int, q: Four, rates: Three) -> None:
        """Take an attitude, body to world, and the newest body rates [rad/s]; the time is on CLOCK_MONOTONIC [ns]."""
        last, self._last = self._last, (t_ns, q, rates)
        if last is None or not 0 < t_ns - last[0] <= LONGEST_NS:
            return
        dt_s = 1e-9 * (t_ns - last[0])
        said = [0.5 * dt_s * (before + after) for before, after in zip(last[2], rates, strict=True)]
        size = math.hypot(*said)
        if size < LEAST_RATE_RAD_S * dt_s:
            return
        self._along += sum(a * b for a, b in zip(_turn(last[1], q), said, strict=True))
        self._squares += size * size
        self._turned_rad += size
        if self._turned_rad > 2.0 * ENOUGH_RAD:
            self._along, self._squares, self._turned_rad = 0.5 * self._along, 0.5 * self._squares, 0.5 * self._turned_rad

    @property
    def ratio(self) -> float | None:
        """Turn of the attitude over that of the rates, 1 if they agree; None before the vehicle has turned enough."""
        return self._along / self._squares if self._turned_rad >= ENOUGH_RAD else None

    @property
    def fits(self) -> bool:
        """False once it is known that they do not agree."""
        return self.ratio is None or LEAST_FIT <= self.ratio <= MOST_FIT


def _turn(a: Four, b: Four) -> Three:
    """Rotation from one attitude to the next as a vector in the body frame, for small angles [rad]."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    w = aw * bw + ax * bx + ay * by + az * bz
    x, y, z = aw * bx - ax * bw - ay * bz + az * by, aw * by + ax * bz - ay * bw - az * bx, aw * bz - ax * by + ay * bx - az * bw
    sign = math.copysign(2.0, w)
    return sign * x, sign * y, sign * z
