"""How long until the flight controller follows a set-point: ours are recognised by their numbers in ATTITUDE_TARGET."""

from __future__ import annotations

import struct
from collections import deque
from enum import Enum

from .mavlink_messages import AttitudeTarget, SetAttitudeTarget

REMEMBERED = 64
_RATES, _THRUST = struct.Struct("<3f"), struct.Struct("<f")


class EchoOf(Enum):
    """What the firmware gives back unchanged: PX4 the body rates, ArduPilot, which shapes those, the thrust."""

    RATES = "rates"
    THRUST = "thrust"


class EchoWatch:
    """Remembers set-points until the flight controller echoes them.

    Args:
        of: What is compared. Zeros are too common to be recognised, and so is a number that does not change.
    """

    def __init__(self, of: EchoOf = EchoOf.RATES) -> None:
        self.ages_ms: deque[float] = deque(maxlen=1000)
        self._of = of
        self._sent: deque[tuple[bytes, int]] = deque(maxlen=REMEMBERED)
        self._last = b""

    def _key(self, message: SetAttitudeTarget | AttitudeTarget) -> bytes:
        if self._of is EchoOf.THRUST:
            return _THRUST.pack(message.thrust)
        return _RATES.pack(message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate)

    def sent(self, message: SetAttitudeTarget, now_ns: int) -> None:
        """Note a set-point that left at `now_ns` (CLOCK_MONOTONIC) [ns]."""
        key = self._key(message)
        if any(key) and key != self._last:
            self._sent.append((key, now_ns))
        self._last = key

    def heard(self, message: AttitudeTarget, now_ns: int) -> None:
        """Note what the flight controller follows; its age counts if it is one of ours, heard for the first time."""
        key = self._key(message)
        for index, (wanted, sent_ns) in enumerate(self._sent):
            if wanted == key:
                self.ages_ms.append(1e-6 * (now_ns - sent_ns))
                for _ in range(index + 1):
                    self._sent.popleft()
                return
