"""Newest-wins state from the flight controller's separate messages, merged to one instant.

Attitude with rates and position with velocity come in two messages, maybe at two rates. The state holds at the
newer time stamp of the two; the older part is carried there by its own derivative: attitude by its rates, position
by its velocity. Velocity has no derivative in the messages and is kept, which at `MERGE_LIMIT_MS` and 5 m/s^2 is
wrong by at most 0.15 m/s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from .frames import Four, Three, swap_attitude, swap_body, swap_world, turned
from .mavlink_messages import AttitudeQuaternion, LocalPositionNed
from .timesync import ClockFit
from .types import VehicleState

MERGE_LIMIT_MS = 30
"""Greatest difference between the two time stamps that is bridged [ms]."""

REBOOT_BACKWARD_MS = 500
"""A time stamp further back than this means that the flight controller restarted [ms]."""

JUMP_M = 0.5
JUMP_ACCELERATION_M_S2 = 60.0
"""A position may differ from the last one carried forward by `JUMP_M` plus half this times dt squared."""

JUMP_CONFIRMATIONS = 10
"""After so many consecutive positions that agree with each other at the new place, it is believed."""

NORM_TOLERANCE = 0.01


class Refusal(Enum):
    """Why a state message was not used."""

    NOT_FINITE = "a field is not finite"
    NOT_UNIT = "the attitude quaternion is not of unit norm"
    OUT_OF_ORDER = "older than a message already used"
    REBOOT = "time went back: the flight controller restarted"
    JUMP = "the position jumped"


@dataclass(frozen=True, slots=True)
class _Attitude:
    time_ms: int
    quaternion: Four
    rates: Three


@dataclass(frozen=True, slots=True)
class _Position:
    time_ms: int
    position: Three
    velocity: Three


class StateMerger:
    """Takes state messages, gives the newest state; refuses what cannot be true and counts why."""

    def __init__(self) -> None:
        self.refusals: dict[Refusal, int] = dict.fromkeys(Refusal, 0)
        self.accepted = 0
        self._attitude: _Attitude | None = None
        self._position: _Position | None = None
        self._suspect: _Position | None = None
        self._agreeing = 0

    def reset(self) -> None:
        """Forget the parts of the state, keep the counts."""
        self._attitude = self._position = self._suspect = None
        self._agreeing = 0

    def _refuse(self, reason: Refusal) -> Refusal:
        self.refusals[reason] += 1
        return reason

    def _order(self, time_ms: int, last_ms: int | None) -> Refusal | None:
        if last_ms is None or time_ms > last_ms:
            return None
        if last_ms - time_ms > REBOOT_BACKWARD_MS:
            self.reset()
            return self._refuse(Refusal.REBOOT)
        return self._refuse(Refusal.OUT_OF_ORDER)

    def add_attitude(self, message: AttitudeQuaternion) -> Refusal | None:
        """Use one attitude; the reason if it is refused."""
        time_ms, w, x, y, z, roll, pitch, yaw = message[:8]
        total = w + x + y + z + roll + pitch + yaw
        if not math.isfinite(total):
            return self._refuse(Refusal.NOT_FINITE)
        norm = math.sqrt(w * w + x * x + y * y + z * z)
        if abs(norm - 1.0) > NORM_TOLERANCE:
            return self._refuse(Refusal.NOT_UNIT)
        refused = self._order(time_ms, self._attitude.time_ms if self._attitude else None)
        if refused is not None:
            return refused
        quaternion = swap_attitude(w / norm, x / norm, y / norm, z / norm)
        self._attitude = _Attitude(time_ms, quaternion, swap_body(roll, pitch, yaw))
        self.accepted += 1
        return None

    def add_position(self, message: LocalPositionNed) -> Refusal | None:
        """Use one position; the reason if it is refused."""
        if not math.isfinite(sum(message[1:])):
            return self._refuse(Refusal.NOT_FINITE)
        refused = self._order(message.time_boot_ms, self._position.time_ms if self._position else None)
        if refused is not None:
            return refused
        position = swap_world(message.x, message.y, message.z)
        velocity = swap_world(message.vx, message.vy, message.vz)
        new = _Position(message.time_boot_ms, position, velocity)
        if self._position is not None and _jumped(self._position, new):
            agrees = self._suspect is not None and not _jumped(self._suspect, new)
            self._agreeing = self._agreeing + 1 if agrees else 0
            self._suspect = new
            if self._agreeing < JUMP_CONFIRMATIONS:
                return self._refuse(Refusal.JUMP)
        self._suspect, self._agreeing = None, 0
        self._position = new
        self.accepted += 1
        return None

    def state(self, clock: ClockFit) -> VehicleState | None:
        """The newest state, its time on our clock; None while a part, or the clock, is missing or too old."""
        attitude, position = self._attitude, self._position
        if attitude is None or position is None:
            return None
        time_ms = max(attitude.time_ms, position.time_ms)
        if abs(attitude.time_ms - position.time_ms) > MERGE_LIMIT_MS:
            return None
        # Whole milliseconds, rounded down by the sender: the instant lies half a millisecond later on average.
        t_ns = clock.to_local_ns(time_ms * 1_000_000 + 500_000)
        if t_ns is None:
            return None
        quaternion, place = attitude.quaternion, position.position
        if attitude.time_ms < time_ms:
            quaternion = turned(quaternion, attitude.rates, (time_ms - attitude.time_ms) * 1e-3)
        if position.time_ms < time_ms:
            dt_s = (time_ms - position.time_ms) * 1e-3
            x, y, z = place
            vx, vy, vz = position.velocity
            place = (x + dt_s * vx, y + dt_s * vy, z + dt_s * vz)
        return VehicleState(
            t_ns=t_ns,
            position_m=np.array(place),
            velocity_m_s=np.array(position.velocity),
            quaternion_wxyz=np.array(quaternion),
            rates_rad_s=np.array(attitude.rates),
        )


def _jumped(last: _Position, new: _Position) -> bool:
    dt_s = (new.time_ms - last.time_ms) * 1e-3
    allowed = JUMP_M + 0.5 * JUMP_ACCELERATION_M_S2 * dt_s * dt_s
    away = [
        b - a - 0.5 * dt_s * (va + vb)
        for a, b, va, vb in zip(last.position, new.position, last.velocity, new.velocity, strict=True)
    ]
    return math.hypot(*away) > allowed
