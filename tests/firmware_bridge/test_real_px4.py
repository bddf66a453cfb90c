"""Real PX4 in its own simulation, flown over a pseudo-terminal by the `tubepilot` command; needs TUBEPILOT_PX4.

`TUBEPILOT_BUNDLE` and `TUBEPILOT_KEYS` name another bundle than the hand-made one; `TUBEPILOT_BUNDLE_250` and
`TUBEPILOT_KEYS_250` one that ticks at 250 Hz. Every figure is printed (`pytest -s`).
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.flight_figures import Bundle, fast_bundle, fly, fly_figure_eight, named_bundle
from helpers.px4_firmware import Px4Firmware, missing

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.mavlink import Parser
from tubepilot.firmware_bridge.px4 import mode_of
from tubepilot.firmware_bridge.types import FlightMode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realtime,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
LOSS_S = 0.5
SETTLE_S = 8.0
"""The estimator takes the motion capture within this time [s]."""
FAST = {"IMU_INTEG_RATE": 250, "EKF2_PREDICT_US": 4000}
"""An estimate at every sample of the simulation's gyro, 250 a second; PX4's own are 200 attitudes and 100 positions."""


@pytest.fixture
def px4(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Px4Firmware]:
    running = Px4Firmware(tmp_path / "px4", {"COM_OF_LOSS_T": LOSS_S, **getattr(request, "param", {})})
    time.sleep(SETTLE_S)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return named_bundle(tmp_path_factory.mktemp("bundle"))


def test_figure_eight(bundle: Bundle, px4: Px4Firmware, tmp_path: Path) -> None:
    fly_figure_eight(bundle, f"px4://{px4.device}", tmp_path / "flight.mcap", 98.0, 75.0)


@pytest.mark.parametrize("px4", [FAST], indirect=True, ids=["fast"])
def test_figure_eight_at_250_hz(px4: Px4Firmware, tmp_path: Path) -> None:
    fly_figure_eight(fast_bundle(), f"px4://{px4.device}", tmp_path / "flight.mcap", 245.0, 188.0)


def test_killed_in_the_air_px4_lands_by_itself(bundle: Bundle, px4: Px4Firmware, tmp_path: Path) -> None:
    process = fly(bundle, f"px4://{px4.device}", tmp_path / "first.mcap", "--task", "hover", "--hover-s", "60", "--height-m", "2")
    for line in process.stdout or ():
        print(line, end="")
        if "-> TRACK" in line:
            break
    time.sleep(1.0)
    modes = HeartbeatWatch(px4.watch_device)
    killed_s = time.monotonic()
    process.kill()
    landing_s = modes.wait_for(FlightMode.LAND, 5.0) - killed_s
    disarmed_s = modes.wait_for_disarm(40.0) - killed_s
    print(json.dumps({"killed_to_land_s": round(landing_s, 3), "killed_to_disarmed_s": round(disarmed_s, 2)}))
    process.communicate()
    # The firmware looks at the age of the stream once per cycle of its commander, and heartbeats come every 20 ms.
    assert LOSS_S - 0.05 < landing_s < LOSS_S + 0.75


class HeartbeatWatch:
    """When modes and arming change, seen on a line of its own."""

    def __init__(self, device: Path) -> None:
        self._descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._parser = Parser()

    def _wait(self, mode: FlightMode | None, limit_s: float) -> float:
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            if not select.select([self._descriptor], [], [], 0.1)[0]:
                continue
            for frame in self._parser.feed(os.read(self._descriptor, 4096)):
                beat = frame.message
                if not isinstance(beat, m.Heartbeat):
                    continue
                armed = bool(beat.base_mode & m.MODE_FLAG_ARMED)
                if mode_of(beat.custom_mode) is mode if mode is not None else not armed:
                    return time.monotonic()
        raise AssertionError(f"PX4 did not show {mode or 'disarmed'} within {limit_s:g} s")

    def wait_for(self, mode: FlightMode, limit_s: float) -> float:
        """CLOCK_MONOTONIC at which a mode is first seen [s]."""
        return self._wait(mode, limit_s)

    def wait_for_disarm(self, limit_s: float) -> float:
        """CLOCK_MONOTONIC at which the vehicle is first seen disarmed [s]."""
        return self._wait(None, limit_s)
