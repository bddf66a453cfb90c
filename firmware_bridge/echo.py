"""How long until the flight controller follows a set-point: ours are recognised by their body rates in ATTITUDE_TARGET."""

from __future__ import annotations

import struct
from collections import deque

from .mavlink_messages import AttitudeTarget, SetAttitudeTarget

REMEMBERED = 64
_RATES = struct.Struct("<3f")


class EchoWatch:
    """Remembers set-points until the flight controller echoes them. Sets of zeros are too common to be recognised."""

    def __init__(self) -> None:
        self.ages_ms: deque[float] = deque(maxlen=1000)
        self._sent: deque[tuple[bytes, int]] = deque(maxlen=REMEMBERED)

    def sent(self, message: SetAttitudeTarget, now_ns: int) -> None:
        """Note a set-point that left at `now_ns` (CLOCK_MONOTONIC) [ns]."""
        rates = (message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate)
        if any(rates):
            self._sent.append((_RATES.pack(*rates), now_ns))

    def heard(self, message: AttitudeTarget, now_ns: int) -> None:
        """Note what the flight controller follows; its age counts if it is one of ours, heard for the first time."""
        rates = _RATES.pack(message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate)
        for index, (wanted, sent_ns) in enumerate(self._sent):
            if wanted == rates:
                self.ages_ms.append(1e-6 * (now_ns - sent_ns))
                for _ in range(index + 1):
                    self._sent.popleft()
                return
