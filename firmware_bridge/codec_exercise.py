"""One tick's worth of codec work on made-up messages, to bring it back into the caches before a tick, and to measure it.

A loop that sleeps between ticks finds code and tables cold: the same work then takes about ten times longer (`tubepilot bench
link` shows both). Nothing here touches a link or the state of a vehicle.
"""

from __future__ import annotations

from . import mavlink_messages as m
from .frames import swap_body
from .mavlink import Parser, encode, rates_and_thrust
from .state import StateMerger

TICK_MS = 4


class CodecExercise:
    """Parses an attitude and a position, merges them, encodes a set-point; every call with later time stamps."""

    def __init__(self) -> None:
        self._parser, self._merger = Parser(), StateMerger()
        self._tick = 0
        self._burst = b""
        self.prepare()

    def prepare(self) -> None:
        """Make the bytes of the next tick, as a flight controller would send them."""
        self._tick += 1
        tick = self._tick
        time_ms = TICK_MS * tick & 0x7FFFFFFF
        attitude = m.AttitudeQuaternion(time_ms, 1.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.01 * (tick % 7))
        position = m.LocalPositionNed(time_ms, 1.0, 2.0, -1.5, 0.1, 0.2, 0.01 * (tick % 5))
        self._burst = encode(attitude, 2 * tick, 1, 1) + encode(position, 2 * tick + 1, 1, 1)

    def once(self) -> bytes:
        """Parse and merge what was prepared and encode one set-point; gives its bytes."""
        for frame in self._parser.feed(self._burst):
            if isinstance(frame.message, m.AttitudeQuaternion):
                self._merger.add_attitude(frame.message)
            elif isinstance(frame.message, m.LocalPositionNed):
                self._merger.add_position(frame.message)
        return encode(rates_and_thrust(self._tick, swap_body(0.1, -0.2, 0.05), 0.5, 1, 1), self._tick, 245, 191)

    @property
    def merged(self) -> int:
        """State messages taken so far; two a call."""
        return self._merger.accepted
