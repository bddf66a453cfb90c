"""Real ArduCopter in its own simulation, flown over a pseudo-terminal by the `tubepilot` command; needs TUBEPILOT_ARDUCOPTER.

`TUBEPILOT_BUNDLE` and `TUBEPILOT_KEYS` name another bundle than the hand-made one; `TUBEPILOT_BUNDLE_250` and
`TUBEPILOT_KEYS_250` one that ticks at 250 Hz. Every figure is printed (`pytest -s`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.ardupilot_firmware import THRUST_SCALE_M_S2, ArduCopterFirmware, missing
from helpers.flight_figures import Bundle, fast_bundle, fly, fly_figure_eight, named_bundle

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.ardupilot import ArduPilotVehicle
from tubepilot.firmware_bridge.errors import LinkError
from tubepilot.firmware_bridge.mavlink import Frame
from tubepilot.firmware_bridge.types import FlightMode, VehicleState
from tubepilot.firmware_bridge.uri import parse_uri
from tubepilot.firmware_bridge.vehicle import open_vehicle
from tubepilot.runtime.cli import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realtime,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
TIMEOUT_S = 0.5
FAST = {"SCHED_LOOP_RATE": 500, "SIM_RATE_HZ": 500}
"""Its own loop of 400 Hz has slots of 2.5 ms and sends every second one at most: 180 to 200 states a second. Its simulated ground
holds a vehicle down until it rises by 1 mm within one step (SIM_Aircraft.cpp): at 1200 steps a second, its default, it leaves
with a leap of 1.2 m/s, at 500 with 0.5."""
READY_LIMIT_S = 90.0
"""Its estimator wants satellites, whose simulated receiver takes its time [s]."""


class Noting(ArduPilotVehicle):
    """Keeps time [s] and thrust of every ATTITUDE_TARGET."""

    def __init__(self, device: Path) -> None:
        super().__init__(parse_uri(f"ardupilot://{device}"), THRUST_SCALE_M_S2)
        self.targets: list[tuple[float, float]] = []

    def _receive(self, frame: Frame, now_ns: int) -> None:
        if isinstance(frame.message, m.AttitudeTarget):
            self.targets.append((1e-9 * now_ns, frame.message.thrust))
        super()._receive(frame, now_ns)


class Watcher:
    """A second link, on which a test sees what the firmware does."""

    def __init__(self, device: Path) -> None:
        self.vehicle = Noting(device)
        self.vehicle.connect(30.0)
        self.vehicle.request_streams(50.0)
        self.vehicle._interval(m.AttitudeTarget, 100.0)

    def fall_quiet(self) -> None:
        """Ask for hardly anything: the firmware's time for streams is shared by its links."""
        self.vehicle.request_streams(1.0)
        self.vehicle._interval(m.AttitudeTarget, 1.0)

    def look(self, seconds: float) -> VehicleState | None:
        """Watch for a time; the newest state."""
        self.vehicle.wait_until(time.monotonic_ns() + round(1e9 * seconds))
        return self.vehicle.state()

    def await_ready(self) -> None:
        """Until it has a position and its own checks pass."""
        deadline_s = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline_s:
            if self.look(0.5) is not None and self.vehicle._health and self.vehicle._health & m.HEALTH_PREARM:
                return
        raise AssertionError(f"not ready within {READY_LIMIT_S:g} s; it said {self.vehicle.status().texts}")

    def await_disarmed(self, limit_s: float) -> None:
        """Until its heartbeat says that it is disarmed."""
        deadline_s = time.monotonic() + limit_s
        while self.vehicle.status().armed:
            self.look(0.1)
            assert time.monotonic() < deadline_s, f"still armed after {limit_s:g} s"


@pytest.fixture
def arducopter(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[ArduCopterFirmware, Watcher]]:
    running = ArduCopterFirmware(tmp_path / "arducopter", {"GUID_TIMEOUT": TIMEOUT_S, **getattr(request, "param", {})})
    try:
        watcher = Watcher(running.watch_device)
        watcher.await_ready()
        yield running, watcher
        watcher.vehicle.close()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return named_bundle(tmp_path_factory.mktemp("bundle"))


def test_figure_eight(bundle: Bundle, arducopter: tuple[ArduCopterFirmware, Watcher], tmp_path: Path) -> None:
    arducopter[1].fall_quiet()
    fly_figure_eight(bundle, f"ardupilot://{arducopter[0].device}", tmp_path / "flight.mcap", 98.0, 80.0)


@pytest.mark.parametrize("arducopter", [FAST], indirect=True, ids=["fast"])
def test_figure_eight_at_250_hz(arducopter: tuple[ArduCopterFirmware, Watcher], tmp_path: Path) -> None:
    arducopter[1].fall_quiet()
    fly_figure_eight(fast_bundle(), f"ardupilot://{arducopter[0].device}", tmp_path / "flight.mcap", 245.0, 188.0)


def test_killed_in_the_air_it_levels_and_drifts(
    bundle: Bundle, arducopter: tuple[ArduCopterFirmware, Watcher], tmp_path: Path
) -> None:
    firmware, watcher = arducopter
    process = fly(bundle, f"ardupilot://{firmware.device}", tmp_path / "first.mcap", "--task", "figure-eight", "--laps", "3")
    for line in process.stdout or ():
        print(line, end="")
        if "-> TRACK" in line:
            break
    watcher.look(4.0)
    watcher.vehicle.targets.clear()
    watcher.look(0.5)
    moving = watcher.vehicle.state()
    killed_s = time.monotonic()
    process.kill()
    watcher.look(4.0)
    held = [(t, thrust) for t, thrust in watcher.vehicle.targets if t > killed_s + 0.05]
    changed_s = next(t for t, thrust in held if thrust != held[0][1]) - killed_s
    later = watcher.look(1.0)
    process.communicate()
    assert moving is not None
    assert later is not None
    _, x, y, _ = later.quaternion_wxyz.tolist()
    found = {
        "killed_to_height_hold_s": round(changed_s, 3),
        "speed_at_kill_m_s": round(float(math.hypot(*moving.velocity_m_s[:2])), 2),
        "speed_5_s_later_m_s": round(float(math.hypot(*later.velocity_m_s[:2])), 2),
        "climb_5_s_later_m_s": round(float(later.velocity_m_s[2]), 2),
        "tilt_5_s_later_deg": round(math.degrees(math.acos(min(1.0 - 2.0 * (x * x + y * y), 1.0))), 1),
    }
    print(json.dumps(found))
    status = watcher.vehicle.status()
    assert status.armed
    assert status.mode is FlightMode.OFFBOARD  # it stays in the mode for ever
    assert TIMEOUT_S - 0.05 < changed_s < TIMEOUT_S + 0.25
    assert found["tilt_5_s_later_deg"] < 5.0
    assert abs(found["climb_5_s_later_m_s"]) < 0.3
    watcher.vehicle.request_mode(FlightMode.LAND)
    watcher.await_disarmed(30.0)


def test_signed_frames(tmp_path: Path) -> None:
    """The key goes over once in the clear; then only who has it is heard and understood."""
    running, key, other = ArduCopterFirmware(tmp_path / "arducopter"), tmp_path / "key", tmp_path / "other"
    try:
        uri = f"ardupilot://{running.device}"
        for path in (key, other):
            assert main(["keys", "signing", str(path)]) == 0
        assert main(["link", uri, "--timeout-s", "30", "--setup-signing", str(key)]) == 0
        time.sleep(1.0)
        with pytest.raises(LinkError, match="frames are signed; give the key"):
            open_vehicle(uri, THRUST_SCALE_M_S2).connect(3.0)
        with pytest.raises(LinkError, match="signed with another key"):
            open_vehicle(f"{uri}?signing={other}", THRUST_SCALE_M_S2).connect(3.0)
        vehicle = open_vehicle(f"{uri}?signing={key}", THRUST_SCALE_M_S2)
        vehicle.connect(10.0)  # time sync is answered, so our frames are believed too
        assert isinstance(vehicle, ArduPilotVehicle)
        assert vehicle.read_parameter("GUID_OPTIONS", 3.0) == 8.0
        vehicle.request_streams(100.0)
        vehicle.wait_until(time.monotonic_ns() + 2_000_000_000)
        link = vehicle.status().link
        print(json.dumps({"signed_attitudes_hz": link.state_hz, "unproven": vehicle._parser.counts.unproven, "lost": link.lost}))
        assert link.state_hz > 80.0
        assert vehicle._parser.counts.unproven == 0
        vehicle.close()
    finally:
        running.stop()
