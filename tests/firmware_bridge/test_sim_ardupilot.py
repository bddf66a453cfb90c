"""The simulated ArduCopter through the adapter, in simulated time: checks, take-off, thrust's meaning, silence, landing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.sim_chain import Chain

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.ardupilot import GUIDED_NOGPS, STABILIZE, ArduPilotVehicle
from tubepilot.firmware_bridge.sim_ardupilot import READY_S, SimulatedArduPilot
from tubepilot.firmware_bridge.sim_firmware import FirmwareSettings
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.types import FlightMode, Setpoint

TIMEOUT_S = 0.5


def made(patch: pytest.MonkeyPatch, height_m: float = 0.0) -> Chain:
    vehicle = SimulatedQuadrotor()
    vehicle.reset(np.array([0.0, 0.0, height_m]))
    return Chain(SimulatedArduPilot(vehicle, FirmwareSettings(TIMEOUT_S, seed=1, boot_offset_ns=10**9)), "ardupilot", patch)


def test_flies_and_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.take_off()
    assert chain.firmware.vehicle.time_s > READY_S  # arming was refused before
    assert "Arm: EKF attitude is bad" in chain.link.status().texts
    chain.run(4.0, chain.hover)
    assert chain.firmware.vehicle.position_m == pytest.approx([0.0, 0.0, 1.0], abs=0.2)
    link = chain.link.status().link
    assert 100.0 <= link.state_hz <= 150.0  # asked for more than is needed
    assert link.lost == link.crc_errors == 0
    assert 0.0 < np.median(chain.link.echo_ms()) < 25.0
    chain.link.request_mode(FlightMode.LAND)
    chain.run(5.0, lambda: None)
    status = chain.link.status()
    assert (status.mode, status.armed, status.landed) == (FlightMode.LAND, False, True)
    assert "Disarming motors" in status.texts


def test_nothing_but_heartbeats_comes_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.run(2.2, lambda: None)
    assert set(chain.link.message_counts()) == {"Heartbeat", "Timesync"}


def test_silence_levels_and_drifts_in_the_same_mode_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.take_off()
    chain.run(3.0, chain.hover)
    east = Setpoint(np.array([0.0, 0.6, 0.0]), 10.5)
    chain.run(0.5, lambda: chain.link.send(east))
    vehicle = chain.firmware.vehicle
    silent_s, height_m = vehicle.time_s, float(vehicle.position_m[2])
    while chain.firmware.failsafes == 0:
        chain.run(1.0 / 300.0, lambda: None)
    assert vehicle.time_s - silent_s == pytest.approx(TIMEOUT_S, abs=0.02)
    chain.run(4.0, lambda: None)
    status = chain.link.status()
    assert (status.mode, status.armed) == (FlightMode.OFFBOARD, True)
    _, x, y, _ = vehicle.quaternion_wxyz
    assert math.degrees(math.acos(1.0 - 2.0 * (x * x + y * y))) < 2.0
    assert abs(float(vehicle.velocity_m_s[2])) < 0.1
    assert float(vehicle.position_m[2]) > height_m - 0.8
    assert float(np.hypot(*vehicle.velocity_m_s[:2])) > 0.3
    chain.run(0.2, chain.hover)  # set-points are back, and taken
    assert chain.firmware.setpoint_time_s > vehicle.time_s - 0.03


@pytest.mark.parametrize(("options", "climbs"), [(0.0, False), (8.0, True)])
def test_thrust_is_a_climb_rate_without_the_option(options: float, climbs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At half the throttle the vehicle, which hovers at 0.51, sinks; as a climb rate, half means standing still."""
    chain = made(monkeypatch)
    chain.take_off()
    chain.run(3.0, chain.hover)
    firmware = chain.firmware
    assert isinstance(firmware, SimulatedArduPilot)
    firmware.parameters["GUID_OPTIONS"].value = options
    scale = firmware.vehicle.thrust_scale_m_s2
    chain.run(1.5, lambda: chain.link.send(Setpoint(np.zeros(3), 0.56 * scale)))
    speed = float(firmware.vehicle.velocity_m_s[2])
    assert speed == pytest.approx(2.0 * 0.06 * 2.5, abs=0.1) if not climbs else speed > 0.6


def test_angle_boost_multiplies_thrust_by_the_tilt(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    firmware = chain.firmware
    assert isinstance(firmware, SimulatedArduPilot)
    firmware.armed, firmware._mode = True, GUIDED_NOGPS
    firmware.vehicle._s[6:10] = [math.sin(0.3), 0.0, 0.0, math.cos(0.3)]  # 0.6 rad of roll
    firmware._take_setpoint(np.zeros(3), 0.5)
    plain = firmware._thrust()
    firmware.parameters["ATC_ANGLE_BOOST"].value = 1.0
    assert firmware._thrust() == pytest.approx(plain / math.cos(0.6))


def test_set_points_are_ignored_outside_guided(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.run(0.5, chain.idle)
    assert chain.firmware.mode_number == STABILIZE
    assert chain.firmware.setpoints == 0


def test_disarming_in_the_air_fails_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.take_off()
    chain.run(3.0, chain.hover)
    chain.link.request_arm(False)
    chain.run(0.2, chain.hover)
    assert chain.firmware.armed
    chain.link.request_arm(False, force=True)
    chain.run(0.02, chain.hover)
    assert not chain.firmware.armed


def test_body_rates_are_limited_in_their_acceleration(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.take_off()
    chain.run(2.0, chain.hover)
    chain.link.send(Setpoint(np.array([6.0, 0.0, 0.0]), 9.8))
    before = chain.firmware.command[0][0]
    chain.run(0.1, lambda: None)
    assert chain.firmware.command[0][0] - before == pytest.approx(math.radians(1100.0) * 0.1, rel=0.05)


def test_preflight_runs_its_own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = made(monkeypatch)
    chain.run(0.5, lambda: None)
    link = chain.link
    assert isinstance(link, ArduPilotVehicle)
    # preflight blocks; time passes with every wait of its own
    monkeypatch.setattr(link, "_wait", lambda seconds: [chain.step() for _ in range(max(1, math.ceil(300 * seconds)))])
    check = link._prearm(1.0)
    assert not check.ok
    assert "PreArm: EKF attitude is bad" in check.text
    chain.run(READY_S, lambda: None)
    assert link._prearm(1.0).ok
    assert m.CMD_RUN_PREARM_CHECKS == 401
