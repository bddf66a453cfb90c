"""Real Betaflight around the simulator's physics: arm, hover under rate control in wind, turn, land, disarm; and our death.

Needs TUBEPILOT_BETAFLIGHT; `TUBEPILOT_BUNDLE` and `TUBEPILOT_KEYS` name another bundle than the hand-made one for the flights with the
planner. Figures are printed (`pytest -s`).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.betaflight_firmware import BetaflightFirmware, missing
from helpers.flight_figures import Bundle, figures, fly, fly_figure_eight, named_bundle

from tubepilot.firmware_bridge.betaflight import heading_rad
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector, VehicleState
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle
from tubepilot.runtime.flight_log import read_flight

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realtime,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
THRUST_SCALE_M_S2 = 19.17
FAILSAFE_S = 0.4
"""`failsafe_delay` of the helper's settings [s]."""
CALIBRATION_S = 12.0
"""Its gyro is calibrated and its boot grace time over by then [s]."""
IDLE = Setpoint(np.zeros(3), 0.0)
TURN_RAD = 0.8


@pytest.fixture
def craft(tmp_path: Path) -> Iterator[Vehicle]:
    firmware = BetaflightFirmware(tmp_path / "betaflight")
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(46))
    vehicle = open_vehicle(f"betaflight://{firmware.device}?pose={firmware.pose}&curve=1", THRUST_SCALE_M_S2)
    try:
        vehicle.connect(10.0)
        vehicle.request_streams(100.0)
        yield vehicle
    finally:
        vehicle.close()
        firmware.stop()
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def ticks(vehicle: Vehicle, seconds: float, act: Callable[[], None]) -> None:
    """100 Hz for a time [s]."""
    next_ns = time.monotonic_ns()
    end_ns = next_ns + round(1e9 * seconds)
    while next_ns < end_ns:
        vehicle.poll()
        act()
        next_ns = max(next_ns + 10_000_000, time.monotonic_ns())
        vehicle.wait_until(next_ns)


def take_off(vehicle: Vehicle) -> None:
    ticks(vehicle, 2.0, lambda: vehicle.send(IDLE))
    assert all(check.ok for check in vehicle.preflight()), vehicle.preflight()
    vehicle.request_mode(FlightMode.OFFBOARD)
    for _ in range(40):
        vehicle.request_arm(True)
        ticks(vehicle, 0.5, lambda: vehicle.send(IDLE))
        if vehicle.status().armed:
            break
    assert vehicle.status().armed, vehicle.status().texts
    assert vehicle.status().mode is FlightMode.OFFBOARD


class Law:
    """Position, velocity and attitude law; remembers where the vehicle was."""

    def __init__(self, vehicle: Vehicle) -> None:
        self._vehicle, self._start_s, self._sum = vehicle, time.monotonic(), np.zeros(3)
        self.errors: list[tuple[float, float]] = []
        self.headings: list[float] = []
        self.setpoints: list[Vector] = []

    def __call__(self) -> None:
        state = self._vehicle.state()
        if state is None:
            return
        elapsed_s = time.monotonic() - self._start_s
        wanted = np.array([0.0, 0.0, min(elapsed_s / 2.0, 1.0)])
        error = wanted - state.position_m
        self._sum = np.clip(self._sum + 0.02 * error, -2.0, 2.0)
        force = np.clip(4.0 * error - 3.0 * state.velocity_m_s + self._sum, -4.0, 4.0) + np.array([0.0, 0.0, GRAVITY_M_S2])
        heading = TURN_RAD * min(max(elapsed_s - 5.0, 0.0) / 3.0, 1.0)
        rates, thrust = attitude_law(state, force, heading)
        self._vehicle.send(Setpoint(rates, thrust))
        self.errors.append((elapsed_s, float(np.linalg.norm(error))))
        w, x, y, z = state.quaternion_wxyz.tolist()
        self.headings.append(heading_rad((w, x, y, z)))
        self.setpoints.append(np.array([*rates, thrust]))


def attitude_law(state: VehicleState, force: Vector, heading: float) -> tuple[Vector, float]:
    """Body rates [rad/s] and thrust [m/s^2] that turn the thrust towards a force."""
    w, x, y, z = state.quaternion_wxyz
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    up = force / np.linalg.norm(force)
    left = np.cross(up, [math.cos(heading), math.sin(heading), 0.0])
    left /= np.linalg.norm(left)
    wanted = np.stack([np.cross(left, up), left, up], axis=1)
    skew = 0.5 * (wanted.T @ rotation - rotation.T @ wanted)
    rates = np.clip(-np.array([6.0 * skew[2, 1], 6.0 * skew[0, 2], 3.0 * skew[1, 0]]), -3.0, 3.0)
    return rates, float(np.clip(force @ rotation[:, 2], 1.0, 16.0))


def test_hover_turn_land(craft: Vehicle) -> None:
    take_off(craft)
    law, before = Law(craft), craft.status().link
    ticks(craft, 15.0, law)
    link = craft.status().link
    hover = [error for at_s, error in law.errors if at_s > 5.0]
    found = {
        "hover_s": 10.0,
        "rmse_m": round(float(np.sqrt(np.mean(np.square(hover)))), 4),
        "heading_rad": round(law.headings[-1], 3),
        "state_hz": link.state_hz,
        "setpoints_hz": round((link.setpoints - before.setpoints) / 15.0, 1),
        "round_trip_ms": round(link.timesync.rtt_ms, 2),
        "rates_std_rad_s": np.std(law.setpoints, axis=0)[0:3].round(3).tolist(),
        "lost": link.lost,
    }
    print(json.dumps(found))
    assert craft.status().armed
    assert found["rmse_m"] < 0.3
    assert abs(law.headings[-1] - TURN_RAD) < 0.1
    craft.request_mode(FlightMode.LAND)
    ticks(craft, 4.0, lambda: None)
    assert not craft.status().armed


def test_silence_disarms(craft: Vehicle) -> None:
    """As after SIGKILL: no more channels; Betaflight drops after `failsafe_delay`. We only go on asking for its status."""
    take_off(craft)
    ticks(craft, 4.0, Law(craft))
    silent_s, seen_s = time.monotonic(), math.inf
    while time.monotonic() - silent_s < 3.0:
        craft.poll()
        if not craft.status().armed:
            seen_s = time.monotonic() - silent_s
            break
        craft.wait_until(time.monotonic_ns() + 5_000_000)
    print(json.dumps({"silence_to_disarmed_s": round(seen_s, 3), "failsafe_delay_s": FAILSAFE_S}))
    # The status is asked for ten times a second.
    assert FAILSAFE_S - 0.05 < seen_s < FAILSAFE_S + 0.5


@pytest.fixture
def firmware(tmp_path: Path) -> Iterator[BetaflightFirmware]:
    running = BetaflightFirmware(tmp_path / "betaflight")
    time.sleep(CALIBRATION_S)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return named_bundle(tmp_path_factory.mktemp("bundle"))


def address(firmware: BetaflightFirmware) -> str:
    return f"betaflight://{firmware.device}?pose={firmware.pose}&curve=1"


def test_fly_hovers_with_the_planner(bundle: Bundle, firmware: BetaflightFirmware, tmp_path: Path) -> None:
    log = tmp_path / "flight.mcap"
    process = fly(bundle, address(firmware), log, "--task", "hover", "--hover-s", "10", "--height-m", "1")
    words = process.communicate(timeout=120.0)[0]
    print(words)
    found = figures(read_flight(log))
    print(json.dumps(found))
    assert process.returncode == 0, words
    assert "LAND -> DONE: disarmed, by heartbeat" in words
    assert found["setpoints_hz"] > 98.0
    assert found["tracking_rmse_m"] < 0.25


def test_fly_figure_eight(bundle: Bundle, firmware: BetaflightFirmware, tmp_path: Path) -> None:
    fly_figure_eight(bundle, address(firmware), tmp_path / "flight.mcap", 98.0, 90.0)


def test_fly_killed_in_the_air(bundle: Bundle, firmware: BetaflightFirmware, tmp_path: Path) -> None:
    process = fly(bundle, address(firmware), tmp_path / "flight.mcap", "--task", "hover", "--hover-s", "60", "--height-m", "1")
    for line in process.stdout or ():
        print(line, end="")
        if "-> TRACK" in line:
            break
    time.sleep(1.0)
    with contextlib.suppress(OSError):  # or a busy machine keeps us from looking before it is over
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(46))
    killed_s = time.monotonic()
    process.kill()
    process.communicate()
    watcher = open_vehicle(f"betaflight://{firmware.device}", THRUST_SCALE_M_S2)
    watcher.connect(10.0)
    armed_at_first = watcher.status().armed
    while watcher.status().armed and time.monotonic() - killed_s < 5.0:
        watcher.poll()
        watcher.wait_until(time.monotonic_ns() + 5_000_000)
    seen_s = time.monotonic() - killed_s
    watcher.close()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    print(json.dumps({"killed_to_disarmed_s": round(seen_s, 3), "failsafe_delay_s": FAILSAFE_S}))
    assert armed_at_first
    assert FAILSAFE_S - 0.05 < seen_s < FAILSAFE_S + 0.5
