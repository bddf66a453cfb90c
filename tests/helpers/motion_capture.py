"""A motion capture for a firmware that simulates its own vehicle: reads the true state, gives it back as external vision.

The true state comes as HIL_STATE_QUATERNION (1 cm and 1 cm/s coarse) and goes back at the same rate as ODOMETRY, as a motion
capture system would send it. A process of its own: `python motion_capture.py DEVICE`.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

METRES_PER_DEGREE = math.radians(1.0) * 6_371_000.0
"""PX4's own sphere, so that its local frame and ours agree (src/lib/geo)."""

UNKNOWN = [math.nan] * 21
LOCAL_NED = 1
MOTION_CAPTURE = 3
COMPONENT = 197
"""MAV_COMP_ID_VISUAL_INERTIAL_ODOMETRY."""


class MotionCapture:
    """The process, from construction until `stop`."""

    def __init__(self, device: Path) -> None:
        self._process = subprocess.Popen([sys.executable, __file__, str(device)], stdin=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(self._process.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(41))

    def stop(self) -> None:
        """End it; the firmware loses its position."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(5.0)


def _run(device: str) -> None:
    from pymavlink.dialects.v20 import common

    descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY)
    link = common.MAVLink(None, srcSystem=1, srcComponent=COMPONENT)
    link.robust_parsing = True
    origin: tuple[float, float, float] | None = None
    heartbeat_s = 0.0
    while True:
        select.select([descriptor], [], [], 0.5)
        for message in link.parse_buffer(os.read(descriptor, 4096)) or []:
            if message.get_type() != "HIL_STATE_QUATERNION":
                continue
            place = (message.lat * 1e-7, message.lon * 1e-7, message.alt * 1e-3)
            origin = origin or place
            north = (place[0] - origin[0]) * METRES_PER_DEGREE
            east = (place[1] - origin[1]) * METRES_PER_DEGREE * math.cos(math.radians(origin[0]))
            speed = (message.vx * 1e-2, message.vy * 1e-2, message.vz * 1e-2)
            out = common.MAVLink_odometry_message(
                message.time_usec, LOCAL_NED, LOCAL_NED, north, east, origin[2] - place[2], message.attitude_quaternion,
                *speed, message.rollspeed, message.pitchspeed, message.yawspeed, UNKNOWN, UNKNOWN, 0, MOTION_CAPTURE, 100,
            )  # fmt: skip
            os.write(descriptor, out.pack(link))
        if time.monotonic() > heartbeat_s:
            heartbeat_s = time.monotonic() + 1.0
            os.write(descriptor, common.MAVLink_heartbeat_message(18, 8, 0, 0, 4, 3).pack(link))


if __name__ == "__main__":
    _run(sys.argv[1])
