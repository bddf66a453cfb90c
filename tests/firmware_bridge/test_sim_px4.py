"""The simulated firmware, without process and real time: modes, arming, failsafe, streams as measured on PX4."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.frames import swap_attitude, swap_world
from tubepilot.firmware_bridge.mavlink import Frame, Parser
from tubepilot.firmware_bridge.px4 import custom_mode
from tubepilot.firmware_bridge.sim_firmware import FirmwareSettings
from tubepilot.firmware_bridge.sim_mavlink import Parameter
from tubepilot.firmware_bridge.sim_px4 import SimulatedPx4
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor

STEP_S = 1.0 / 300.0
LAND = (4, 6)
HOLD = (4, 3)
OFFBOARD = (6, 0)


class Bench:
    """A firmware with somebody who talks to it and keeps what it says."""

    def __init__(self, height_m: float = 0.0, **options: float) -> None:
        self.vehicle = SimulatedQuadrotor()
        self.vehicle.reset(np.array([0.0, 0.0, height_m]))
        self.firmware = SimulatedPx4(self.vehicle, FirmwareSettings(**options))
        self.parser = Parser()
        self.said: list[m.Message] = []
        self.ground_station = True
        self._heard_s = -1.0

    def _beat(self) -> None:
        """A ground station's heartbeat once a second, without which there are no texts."""
        if self.ground_station and self.vehicle.time_s - self._heard_s >= 1.0:
            self._heard_s = self.vehicle.time_s
            self.tell(m.Heartbeat(0, m.MAV_TYPE_GCS, m.MAV_AUTOPILOT_INVALID, 0, m.MAV_STATE_ACTIVE, 3), 190)

    def tell(self, message: m.Message, component: int = 191) -> None:
        frame = Frame(m.SPEC_BY_KIND[type(message)].message_id, 0, 245, component, message)
        self.firmware.receive(frame, self.vehicle.time_s)
        self._listen()

    def command(self, command: int, *parameters: float, component: int = 191) -> list[int]:
        """Send a command; gives the results of its acknowledgements."""
        self._beat()
        before = len(self.said)
        filled = (*parameters, *([0.0] * (7 - len(parameters))))
        self.tell(m.CommandLong(*filled, command, 1, 1, 0), component)
        return [x.result for x in self.said[before:] if isinstance(x, m.CommandAck)]

    def setpoint(self, throttle: float, mask: int = 128, roll: float = 0.0) -> None:
        self.tell(m.SetAttitudeTarget(0, 1.0, 0.0, 0.0, 0.0, roll, 0.0, 0.0, throttle, 1, 1, mask))

    def run(self, seconds: float, throttle: float | None = None) -> None:
        """Advance; with set-points at 100 Hz if a throttle is given."""
        for k in range(round(seconds / STEP_S)):
            if throttle is not None and k % 3 == 0:
                self.setpoint(throttle)
            self._beat()
            self.firmware.step(STEP_S)
            self._listen()

    def _listen(self) -> None:
        for data in self.firmware.outgoing:
            self.said += [frame.message for frame in self.parser.feed(data) if frame.message is not None]
        self.firmware.outgoing.clear()

    @property
    def mode(self) -> tuple[int, int]:
        return self.firmware.main, self.firmware.sub

    def texts(self) -> list[str]:
        """Texts said so far, those sent in pieces put together."""
        texts: list[str] = []
        for x in self.said:
            if isinstance(x, m.Statustext):
                piece = x.text.rstrip(b"\x00").decode()
                if x.chunk_seq:
                    texts[-1] += piece
                else:
                    texts.append(piece)
        return texts


def flying(height_m: float = 3.0, **options: float) -> Bench:
    """Armed and hovering in OFFBOARD at a height, with set-points flowing."""
    bench = Bench(height_m, **options)
    bench.setpoint(bench.vehicle.hover_throttle)
    assert bench.command(m.CMD_DO_SET_MODE, 1, 6, 0) == [0, 0]
    assert bench.command(m.CMD_ARM_DISARM, 1) == [0]
    bench.run(0.1, bench.vehicle.hover_throttle)
    return bench


def test_offboard_is_accepted_on_the_ground_without_setpoints_but_arming_is_denied() -> None:
    bench = Bench()
    assert bench.command(m.CMD_DO_SET_MODE, 1, 6, 0) == [0, 0]
    assert bench.mode == OFFBOARD
    assert bench.command(m.CMD_ARM_DISARM, 1) == [1]
    assert not bench.firmware.armed
    assert "Arming denied: Resolve system health failures first" in bench.texts()
    bench.setpoint(0.0)
    assert bench.command(m.CMD_ARM_DISARM, 1) == [0]
    assert bench.firmware.armed


def test_offboard_in_the_air_needs_setpoints_and_the_first_acknowledgement_lies() -> None:
    bench = flying()
    bench.command(m.CMD_DO_SET_MODE, 1, *HOLD)
    bench.run(1.0)
    assert bench.command(m.CMD_DO_SET_MODE, 1, 6, 0) == [0, 1]
    assert bench.mode == HOLD
    assert not any("not possible" in text for text in bench.texts())
    bench.command(m.CMD_DO_SET_MODE, 1, 6, 0, component=190)
    assert any("not possible" in text for text in bench.texts())
    bench.setpoint(bench.vehicle.hover_throttle)
    assert bench.command(m.CMD_DO_SET_MODE, 1, 6, 0) == [0, 0]
    assert bench.mode == OFFBOARD


@pytest.mark.parametrize("failsafe_s", [0.1, 0.5])
def test_silence_in_offboard_lands_and_disarms_and_offboard_is_taken_again(failsafe_s: float) -> None:
    bench = flying(0.8, failsafe_s=failsafe_s)
    silent_since_s = bench.vehicle.time_s
    bench.setpoint(bench.vehicle.hover_throttle)
    while bench.mode == OFFBOARD:
        bench.run(STEP_S)
    assert failsafe_s <= bench.vehicle.time_s - silent_since_s <= failsafe_s + 3 * STEP_S
    assert bench.mode == LAND
    assert bench.firmware.failsafes == 1
    bench.run(0.2)
    bench.setpoint(bench.vehicle.hover_throttle)
    assert bench.command(m.CMD_DO_SET_MODE, 1, 6, 0) == [0, 0]
    bench.run(0.2, bench.vehicle.hover_throttle)
    assert bench.mode == OFFBOARD
    bench.run(failsafe_s + 0.02)
    assert bench.mode == LAND
    bench.run(4.5)
    assert not bench.firmware.armed
    assert bench.vehicle.on_ground
    assert np.abs(bench.vehicle.position_m[:2]).max() < 0.05
    expected = {"Failsafe: no offboard set-points, landing", "Landing detected", "Disarmed by landing"}
    assert expected <= set(bench.texts())


@pytest.mark.parametrize(("mask", "roll"), [(0, 0.0), (64 | 128, 0.0), (7, 0.0), (128, math.nan), (128, math.inf)])
def test_what_is_no_setpoint_does_not_keep_offboard_alive(mask: int, roll: float) -> None:
    bench = flying(failsafe_s=0.1)
    for _ in range(40):
        bench.setpoint(bench.vehicle.hover_throttle, mask, roll)
        bench.run(STEP_S)
    assert bench.mode == LAND
    assert np.isfinite(bench.vehicle.position_m).all()


def test_disarming_in_the_air_is_denied_unless_forced() -> None:
    bench = flying()
    assert bench.command(m.CMD_ARM_DISARM, 0) == [2]
    assert bench.firmware.armed
    assert bench.command(m.CMD_ARM_DISARM, 0, 21196) == [0]
    assert not bench.firmware.armed
    bench.run(0.1)
    assert bench.vehicle.rotor_rad_s.max() < 0.5 * 1789.0


def test_takes_off_returns_and_lands_by_itself() -> None:
    bench = Bench()
    assert bench.command(m.CMD_NAV_TAKEOFF, 0, 0, 0, 0, 0, 0, 1.5) == [1]
    assert bench.command(m.CMD_ARM_DISARM, 1) == [0]
    assert bench.command(m.CMD_NAV_TAKEOFF, 0, 0, 0, 0, 0, 0, 1.5) == [0]
    bench.run(3.5)
    assert bench.vehicle.position_m[2] == pytest.approx(1.5, abs=0.15)
    assert not bench.firmware.landed
    bench.firmware.autopilot._home = np.array([0.6, -0.3, 0.0])
    bench.command(m.CMD_DO_SET_MODE, 1, 4, 5)
    bench.run(7.0)
    assert not bench.firmware.armed
    assert np.allclose(bench.vehicle.position_m, [0.6, -0.3, 0.0], atol=0.15)


def test_armed_without_take_off_disarms_after_ten_seconds() -> None:
    bench = Bench()
    bench.command(m.CMD_ARM_DISARM, 1)
    bench.run(9.9)
    assert bench.firmware.armed
    bench.run(0.2)
    assert not bench.firmware.armed


def test_streams_come_at_the_rate_asked_and_share_their_instants() -> None:
    bench = Bench(boot_offset_ns=7 * 10**9)
    for message_id in (31, 32):
        assert bench.command(m.CMD_SET_MESSAGE_INTERVAL, message_id, 10_000) == [0]
    assert bench.command(m.CMD_SET_MESSAGE_INTERVAL, 83, -1) == [0]
    assert bench.command(m.CMD_SET_MESSAGE_INTERVAL, 105, 10_000) == [3]
    bench.said.clear()
    bench.run(1.95)
    attitudes = [x for x in bench.said if isinstance(x, m.AttitudeQuaternion)]
    positions = [x for x in bench.said if isinstance(x, m.LocalPositionNed)]
    assert len(attitudes) == pytest.approx(195, abs=1)
    assert [x.time_boot_ms for x in attitudes] == [x.time_boot_ms for x in positions]
    assert attitudes[0].time_boot_ms >= 7000
    assert not any(isinstance(x, m.AttitudeTarget) for x in bench.said)
    heartbeats = [x for x in bench.said if isinstance(x, m.Heartbeat)]
    assert len(heartbeats) == 2
    assert heartbeats[-1].custom_mode == custom_mode(*HOLD)


def test_rates_are_capped() -> None:
    bench = Bench()
    bench.command(m.CMD_SET_MESSAGE_INTERVAL, 31, 100)
    bench.said.clear()
    bench.run(1.0)
    assert sum(isinstance(x, m.AttitudeQuaternion) for x in bench.said) <= SimulatedPx4.stream_limit_hz + 1


def test_estimator_noise_is_bounded_and_there() -> None:
    bench = Bench(height_m=5.0)
    errors = []
    for _ in range(1500):
        attitude = bench.firmware._stream_message(m.AttitudeQuaternion)
        position = bench.firmware._stream_message(m.LocalPositionNed)
        w = swap_attitude(*attitude[1:5])
        turn = 2.0 * np.array(w[1:]) * math.copysign(1.0, w[0])
        rates = np.array(attitude[5:8]) * [1, -1, -1]
        place = np.array(swap_world(*position[1:4])) - bench.vehicle.position_m
        errors.append(np.concatenate([place, swap_world(*position[4:7]), turn, rates]))
    worst = np.abs(errors).max(axis=0)
    bounds = np.repeat([0.01, 0.02, 0.002, 0.02], 3)
    assert np.all(worst <= bounds * (1 + 1e-5))
    assert np.all(worst > 0.8 * bounds)
    assert np.abs(np.mean(errors, axis=0) / bounds).max() < 0.05


def test_parameters_are_read_back_and_set() -> None:
    bench = Bench(failsafe_s=0.7)
    bench.tell(m.ParamRequestRead(-1, 1, 1, b"COM_OF_LOSS_T"))
    value = bench.said[-1]
    assert isinstance(value, m.ParamValue)
    assert value.value_bits == Parameter(0.7, False).bits()
    bench.tell(m.ParamSet(Parameter(3, True).bits(), 1, 1, b"COM_OBL_RC_ACT", m.PARAM_INT32))
    assert bench.firmware.parameters["COM_OBL_RC_ACT"].value == 3.0
    before = len(bench.said)
    bench.tell(m.ParamRequestRead(-1, 1, 1, b"NO_SUCH"))
    assert len(bench.said) == before


def test_timesync_echoes_and_gives_its_own_clock() -> None:
    bench = Bench(boot_offset_ns=50 * 10**9, skew=0.01)
    bench.run(1.0)
    bench.tell(m.Timesync(0, 77))
    answer = bench.said[-1]
    assert isinstance(answer, m.Timesync)
    assert answer.ts1 == 77
    assert answer.tc1 == pytest.approx(51.01e9, abs=1e4)


@pytest.mark.parametrize("options", [{"failsafe_s": 0.0}, {"failsafe_s": math.nan}, {"skew": 0.2}])
def test_refuses_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Bench(**options)


def test_texts_go_only_to_a_link_with_a_ground_station() -> None:
    bench = Bench()
    bench.ground_station = False
    bench.command(m.CMD_DO_SET_MODE, 1.0, 6.0)
    assert bench.command(m.CMD_ARM_DISARM, 1.0) == [m.RESULT_TEMPORARILY_REJECTED]
    assert bench.texts() == []
    bench.ground_station = True
    bench.command(m.CMD_ARM_DISARM, 1.0)
    assert "Arming denied: Resolve system health failures first" in bench.texts()
