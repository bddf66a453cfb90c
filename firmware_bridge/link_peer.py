"""The far end of a link under test: streams states on a schedule and answers time sync, as a flight controller would.

`python -m tubepilot.firmware_bridge.link_peer DESCRIPTOR RATE_HZ` writes to an inherited descriptor until it is closed or
killed. It simulates nothing: the vehicle stands still.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time

from . import mavlink_messages as m
from .mavlink import Parser, encode
from .px4 import AUTO, AUTO_LOITER, custom_mode


def serve(descriptor: int, rate_hz: float) -> None:
    """Stream for ever.

    Args:
        descriptor: Of a pseudo-terminal's master end, not blocking.
        rate_hz: Rate of attitude and position [Hz].
    """
    parser, sequence = Parser(), 0
    period_ns = round(1e9 / rate_hz)
    next_ns, beat_ns = time.monotonic_ns(), 0

    def send(message: m.Message) -> None:
        nonlocal sequence
        with contextlib.suppress(BlockingIOError):
            os.write(descriptor, encode(message, sequence, 1, 1))
        sequence = (sequence + 1) & 0xFF

    while True:
        now_ns = time.monotonic_ns()
        if now_ns >= beat_ns:
            beat_ns = now_ns + 1_000_000_000
            send(m.Heartbeat(custom_mode(AUTO, AUTO_LOITER), m.MAV_TYPE_QUADROTOR, m.MAV_AUTOPILOT_PX4, 1, m.MAV_STATE_STANDBY, 3))
        if now_ns >= next_ns:
            next_ns = max(next_ns + period_ns, now_ns)
            time_ms = now_ns // 1_000_000 & 0xFFFFFFFF
            send(m.AttitudeQuaternion(time_ms, 1.0, 0.0, 0.0, 0.0, 0.1, -0.1, 0.05))
            send(m.LocalPositionNed(time_ms, 1.0, 2.0, -1.5, 0.1, 0.2, 0.3))
        if select.select([descriptor], [], [], max(next_ns - time.monotonic_ns(), 0) * 1e-9)[0]:
            with contextlib.suppress(BlockingIOError):
                for frame in parser.feed(os.read(descriptor, 4096)):
                    if isinstance(frame.message, m.Timesync) and frame.message.tc1 == 0:
                        send(m.Timesync(time.monotonic_ns(), frame.message.ts1))


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
