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
from helpers.flight_figures import figures, fly
from helpers.flyable import make_certified_bundle
from helpers.px4_firmware import Px4Firmware, missing

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.mavlink import Parser
from tubepilot.firmware_bridge.px4 import mode_of
from tubepilot.firmware_bridge.types import FlightMode
from tubepilot.runtime.flight_log import read_flight

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
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if "TUBEPILOT_BUNDLE" in os.environ:
        return Path(os.environ["TUBEPILOT_BUNDLE"]), Path(os.environ["TUBEPILOT_KEYS"])
    return make_certified_bundle(tmp_path_factory.mktemp("bundle"))


def fly_figure_eight(bundle: tuple[Path, Path], px4: Px4Firmware, log: Path, rate_hz: float) -> None:
    """Connect, read parameters back, arm, take off, more than a minute of figure-eight, land, disarm."""
    process = fly(bundle, f"px4://{px4.device}", log, "--task", "figure-eight", "--laps", "5")
    words = process.communicate(timeout=200.0)[0]
    print(words)
    flight = read_flight(log)
    found = figures(flight)
    print(json.dumps(found), *(event for event in flight.events if "link:" in str(event)))
    if found["state_age_p99_ms"] > 50.0:
        pytest.skip(f"this machine does not let PX4 run in real time now: {found}")
    assert process.returncode == 0, words
    assert "LAND -> DONE: disarmed, by heartbeat" in words
    assert found["task_s"] > 60.0
    assert found["setpoints_hz"] > 0.98 * rate_hz
    assert found["new_states_hz"] > 0.75 * rate_hz
    assert found["tracking_rmse_m"] < 0.25


def test_figure_eight(bundle: tuple[Path, Path], px4: Px4Firmware, tmp_path: Path) -> None:
    fly_figure_eight(bundle, px4, tmp_path / "flight.mcap", 100.0)


@pytest.mark.parametrize("px4", [FAST], indirect=True, ids=["fast"])
def test_figure_eight_at_250_hz(px4: Px4Firmware, tmp_path: Path) -> None:
    if "TUBEPILOT_BUNDLE_250" not in os.environ:
        pytest.skip("TUBEPILOT_BUNDLE_250 names no bundle that ticks at 250 Hz (`tick_hz` of the checkpoint, then certify and export)")
    bundle = Path(os.environ["TUBEPILOT_BUNDLE_250"]), Path(os.environ["TUBEPILOT_KEYS_250"])
    fly_figure_eight(bundle, px4, tmp_path / "flight.mcap", 250.0)


def test_killed_in_the_air_px4_lands_by_itself(bundle: tuple[Path, Path], px4: Px4Firmware, tmp_path: Path) -> None:
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
