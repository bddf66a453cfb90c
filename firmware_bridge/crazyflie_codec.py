"""What crosses to and from a Crazyflie, by the firmware's own definitions.

The world is right-handed with z up, the body FLU, as ours. Two units differ from what cflib's documentation suggests, and so they are
taken from the firmware: set-points are in deg/s, states in milliradian/s; and pitch rates carry the opposite sign in both.

Source: crazyflie-firmware src/modules/src/crtp_commander_generic.c (`manualDecoder`), src/modules/src/controller/controller_pid.c
(pitch rate against -gyro.y), src/modules/src/stabilizer.c (`compressState`), src/modules/interface/quatcompress.h.
"""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple

from .errors import InputError
from .frames import Four, Three

PORT_SETPOINT_GENERIC: Final = 7
TYPE_MANUAL: Final = 11
RATE_LIMIT_RAD_S: Final = math.radians(2000.0)
"""Range of the gyro [rad/s]."""

THRUST_MAX: Final = 0xFFFF
_MANUAL: Final = struct.Struct("<BfffHB")
_MASK: Final = (1 << 9) - 1

STATE_FIELDS: Final = (
    ("stateEstimateZ.x", "int16_t"), ("stateEstimateZ.y", "int16_t"), ("stateEstimateZ.z", "int16_t"),
    ("stateEstimateZ.vx", "int16_t"), ("stateEstimateZ.vy", "int16_t"), ("stateEstimateZ.vz", "int16_t"),
    ("stateEstimateZ.quat", "uint32_t"),
    ("stateEstimateZ.rateRoll", "int16_t"), ("stateEstimateZ.ratePitch", "int16_t"), ("stateEstimateZ.rateYaw", "int16_t"),
)  # fmt: skip
"""One log block of 22 bytes: mm, mm/s, compressed quaternion, milliradian/s."""


class CrazyflieState(NamedTuple):
    """A state as the firmware logs it, in SI."""

    position_m: Three
    velocity_m_s: Three
    quaternion_wxyz: Four
    rates_rad_s: Three


def manual_setpoint(rates_rad_s: Three, throttle: float) -> bytes:
    """Payload of a generic set-point of type "manual": body rates and thrust, no parameters needed.

    Args:
        rates_rad_s: Body rates, FLU [rad/s].
        throttle: Collective thrust over the greatest possible, 0..1.

    Raises:
        InputError: not finite or beyond the limits; nothing may be sent then.
    """
    for axis, rate in zip(("roll", "pitch", "yaw"), rates_rad_s, strict=True):
        if not -RATE_LIMIT_RAD_S <= rate <= RATE_LIMIT_RAD_S:
            raise InputError(f"{axis} rate set-point is {rate!r} rad/s; the limit is +-{RATE_LIMIT_RAD_S:.1f} rad/s")
    if not 0.0 <= throttle <= 1.0:
        raise InputError(f"throttle is {throttle!r}; it must be 0..1: check the thrust scale of the bundle")
    roll, pitch, yaw = (math.degrees(rate) for rate in rates_rad_s)
    return _MANUAL.pack(TYPE_MANUAL, roll, -pitch, yaw, round(throttle * THRUST_MAX), 1)


def quaternion(compressed: int) -> Four:
    """Attitude of `quatcompress`, scalar first: two bits name the largest of x, y, z, w, ten bits each give the others."""
    largest, rest = compressed >> 30 & 3, compressed
    parts, squares = [0.0, 0.0, 0.0, 0.0], 0.0
    for index in (3, 2, 1, 0):
        if index == largest:
            continue
        size = math.sqrt(0.5) * (rest & _MASK) / _MASK
        parts[index] = -size if rest >> 9 & 1 else size
        squares += size * size
        rest >>= 10
    parts[largest] = math.sqrt(max(1.0 - squares, 0.0))
    x, y, z, w = parts
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return w / norm, x / norm, y / norm, z / norm


def state(values: tuple[int, ...]) -> CrazyflieState:
    """State of one log block, values in the order of `STATE_FIELDS`."""
    x, y, z, vx, vy, vz, packed, roll, pitch, yaw = values
    return CrazyflieState(
        (1e-3 * x, 1e-3 * y, 1e-3 * z),
        (1e-3 * vx, 1e-3 * vy, 1e-3 * vz),
        quaternion(packed),
        (1e-3 * roll, -1e-3 * pitch, 1e-3 * yaw),
    )


class OneWayClock:
    """Our time of the firmware's stamps without round trips: the least delay of the last seconds is taken as none.

    The state then seems younger than it is by that least delay, which over USB is 1 to 3 ms and belongs to the bundle's delay.
    """

    WINDOW_NS: Final = 2_000_000_000
    WRAP_MS: Final = 1 << 24

    def __init__(self) -> None:
        self._least: list[tuple[int, int]] = []
        self._last_ms: int | None = None
        self._turns = 0

    def local_ns(self, stamp_ms: int, arrived_ns: int) -> int:
        """Our time of a stamp that arrived at `arrived_ns` (CLOCK_MONOTONIC) [ns]; stamps are 24 bits of milliseconds."""
        if self._last_ms is not None and stamp_ms < self._last_ms:
            if self._last_ms - stamp_ms > self.WRAP_MS // 2:
                self._turns += 1
            else:
                self._least.clear()  # the firmware restarted
                self._turns = 0
        self._last_ms = stamp_ms
        remote_ns = (stamp_ms + self._turns * self.WRAP_MS) * 1_000_000
        offset = arrived_ns - remote_ns
        while self._least and self._least[-1][1] >= offset:
            self._least.pop()
        self._least.append((arrived_ns, offset))
        while self._least[0][0] < arrived_ns - self.WINDOW_NS:
            self._least.pop(0)
        return remote_ns + self._least[0][1]
