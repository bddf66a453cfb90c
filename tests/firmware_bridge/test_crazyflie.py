"""The Crazyflie: numbers against the firmware's C definitions, the adapter against a stand-in for cflib. No firmware, no vehicle."""

from __future__ import annotations

import math
import struct
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepilot.firmware_bridge import crazyflie, crazyflie_codec
from tubepilot.firmware_bridge.errors import InputError, LinkError, MissingExtraError
from tubepilot.firmware_bridge.types import FlightMode, Setpoint
from tubepilot.firmware_bridge.uri import parse_uri
from tubepilot.firmware_bridge.vehicle import open_vehicle

RATE = st.floats(-34.0, 34.0)


def quatcompress(x: float, y: float, z: float, w: float) -> int:
    """The firmware's own compression (src/modules/interface/quatcompress.h), statement by statement."""
    q = [x, y, z, w]
    largest = max(range(4), key=lambda i: (abs(q[i]), -i))
    negate = q[largest] < 0
    packed = largest
    for i in range(4):
        if i != largest:
            magnitude = int(511 * (abs(q[i]) / math.sqrt(0.5)) + 0.5)
            packed = packed << 10 | (int((q[i] < 0) ^ negate) << 9) | magnitude
    return packed & 0xFFFFFFFF


@given(RATE, RATE, RATE, st.floats(0.0, 1.0))
def test_setpoint_is_what_manual_decoder_reads(roll: float, pitch: float, yaw: float, throttle: float) -> None:
    """struct manualPacket_s {float roll, pitch, yawrate; uint16_t thrust; char rate} after the type; deg/s, pitch of opposite sign."""
    payload = crazyflie_codec.manual_setpoint((roll, pitch, yaw), throttle)
    assert len(payload) == 1 + 4 + 4 + 4 + 2 + 1 <= 30
    kind, p, q, r, thrust, is_rate = struct.unpack("<BfffHB", payload)
    assert (kind, is_rate) == (11, 1)
    assert [math.radians(p), -math.radians(q), math.radians(r)] == pytest.approx([roll, pitch, yaw], rel=1e-6, abs=1e-6)
    assert thrust == pytest.approx(throttle * 65535, abs=0.5)


@given(st.lists(st.floats(), min_size=3, max_size=3), st.floats())
def test_nothing_beyond_the_limits_leaves(rates: list[float], throttle: float) -> None:
    fits = all(abs(rate) <= crazyflie_codec.RATE_LIMIT_RAD_S for rate in rates) and 0.0 <= throttle <= 1.0
    try:
        payload = crazyflie_codec.manual_setpoint((rates[0], rates[1], rates[2]), throttle)
    except InputError:
        assert not fits
        return
    assert fits
    assert all(map(math.isfinite, struct.unpack("<BfffHB", payload)[1:4]))


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 0.01))
def test_attitude_comes_back_from_the_firmware_s_compression(raw: list[float]) -> None:
    norm = math.sqrt(sum(x * x for x in raw))
    x, y, z, w = (part / norm for part in raw)
    got = crazyflie_codec.quaternion(quatcompress(x, y, z, w))
    assert math.hypot(*got) == pytest.approx(1.0, abs=1e-12)
    assert abs(got[0] * w + got[1] * x + got[2] * y + got[3] * z) > math.cos(0.004)


def test_state_units_and_the_sign_of_pitch() -> None:
    """stabilizer.c: mm, mm/s, milliradian/s, and ratePitch = -gyro.y."""
    got = crazyflie_codec.state((1000, -2000, 1500, 10, 20, -30, quatcompress(0.0, 0.0, 0.0, 1.0), 100, 200, 300))
    assert got.position_m == (1.0, -2.0, 1.5)
    assert got.velocity_m_s == pytest.approx((0.01, 0.02, -0.03))
    assert got.quaternion_wxyz == (1.0, 0.0, 0.0, 0.0)
    assert got.rates_rad_s == pytest.approx((0.1, -0.2, 0.3))


def test_one_way_clock_takes_the_least_delay_and_survives_wrap_and_restart() -> None:
    clock = crazyflie_codec.OneWayClock()
    for k in range(100):
        late_ns = (5 + k % 7) * 1_000_000
        local = clock.local_ns(1000 + 10 * k, 10**12 + 10_000_000 * k + late_ns)
    assert local == 10**12 + 10_000_000 * 99 + 5_000_000
    clock = crazyflie_codec.OneWayClock()
    first = clock.local_ns((1 << 24) - 10, 10**12)
    assert clock.local_ns(0, 10**12 + 10_000_000) - first == 10_000_000
    assert clock.local_ns(1 << 20, 2 * 10**12) > 0
    assert clock.local_ns(5, 3 * 10**12) == 3 * 10**12


# --- the adapter -----------------------------------------------------------------------------------------------


class Caller:
    def __init__(self) -> None:
        self.called: list[Callable[..., None]] = []

    def add_callback(self, function: Callable[..., None]) -> None:
        self.called.append(function)

    def call(self, *arguments: object) -> None:
        for function in self.called:
            function(*arguments)


class StandIn:
    """What the adapter uses of cflib, remembering what it was told."""

    def __init__(self, answers: bool = True) -> None:
        self.answers, self.blocks, self.sent, self.told = answers, {}, [], []
        self.fully_connected, self.connection_failed, self.connection_lost = Caller(), Caller(), Caller()
        self.console = types.SimpleNamespace(receivedChar=Caller())
        self.log = types.SimpleNamespace(add_config=self._add)
        self.commander = types.SimpleNamespace(send_notify_setpoint_stop=lambda: self.told.append("stop"))
        self.high_level_commander = types.SimpleNamespace(land=lambda height, duration: self.told.append(f"land {height} {duration}"))
        self.platform = types.SimpleNamespace(send_arming_request=lambda arm: self.told.append(f"arm {arm}"))
        self.loc = types.SimpleNamespace(send_emergency_stop=lambda: self.told.append("emergency"))
        self.param = types.SimpleNamespace(get_value=lambda name: "1")

    def _add(self, block: Any) -> None:
        self.blocks[block.name] = block

    def open_link(self, uri: str) -> None:
        self.told.append(uri)
        if self.answers:
            self.fully_connected.call(uri)
        else:
            self.connection_failed.call(uri, "no dongle")

    def close_link(self) -> None:
        self.told.append("close")

    def send_packet(self, packet: Any) -> None:
        self.sent.append((packet.port, packet.channel, bytes(packet.data)))


class Block:
    def __init__(self, name: str, period_in_ms: int) -> None:
        self.name, self.period, self.variables, self.data_received_cb = name, period_in_ms, [], Caller()

    def add_variable(self, name: str, kind: str) -> None:
        self.variables.append((name, kind))

    def start(self) -> None:
        """Nothing to start."""


def vehicle_of(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> crazyflie.CrazyflieVehicle:
    modules = {
        "cflib.crtp": types.SimpleNamespace(init_drivers=lambda: None),
        "cflib.crazyflie": types.SimpleNamespace(Crazyflie=lambda rw_cache: stand_in),
        "cflib.crazyflie.log": types.SimpleNamespace(LogConfig=Block),
        "cflib.crtp.crtpstack": types.SimpleNamespace(CRTPPacket=types.SimpleNamespace),
    }
    monkeypatch.setattr(crazyflie, "_cflib", lambda name: modules[name])
    return crazyflie.CrazyflieVehicle(parse_uri("crazyflie:///radio/0/80/2M/E7E7E7E7E7"), 19.0)


def test_a_flight_of_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn()
    vehicle = vehicle_of(stand_in, monkeypatch)
    vehicle.connect(1.0)
    vehicle.request_streams(100.0)
    assert stand_in.told[0] == "radio://0/80/2M/E7E7E7E7E7"
    assert stand_in.blocks["state"].period == 10
    sizes = {"int16_t": 2, "uint16_t": 2, "uint32_t": 4, "float": 4}
    assert all(sum(sizes[kind] for _, kind in block.variables) <= 26 for block in stand_in.blocks.values())
    values = (1000, 0, 500, 0, 0, 0, quatcompress(0.0, 0.0, 0.0, 1.0), 0, 100, 0)
    data = {name: value for (name, _), value in zip(crazyflie_codec.STATE_FIELDS, values, strict=True)}
    stand_in.blocks["state"].data_received_cb.call(1000, data, stand_in.blocks["state"])
    stand_in.blocks["status"].data_received_cb.call(1000, {"supervisor.info": 0b10, "pm.vbat": 3.9}, stand_in.blocks["status"])
    vehicle.poll()
    state, status = vehicle.state(), vehicle.status()
    assert state is not None
    assert state.position_m.tolist() == [1.0, 0.0, 0.5]
    assert state.rates_rad_s.tolist() == pytest.approx([0.0, -0.1, 0.0])
    assert (status.armed, status.landed, status.mode, status.battery_v) == (True, True, FlightMode.HOLD, pytest.approx(3.9))
    vehicle.request_mode(FlightMode.OFFBOARD)
    vehicle.request_arm(True)
    vehicle.send(Setpoint(np.array([0.1, 0.2, 0.3]), 9.5))
    assert stand_in.sent == [(7, 0, crazyflie_codec.manual_setpoint((0.1, 0.2, 0.3), 0.5))]
    with pytest.raises(InputError):
        vehicle.send(Setpoint(np.array([math.nan, 0.0, 0.0]), 9.5))
    assert len(stand_in.sent) == 1
    assert vehicle.status().mode is FlightMode.OFFBOARD
    vehicle.request_mode(FlightMode.LAND)
    assert stand_in.told[-2:] == ["stop", "land 0.0 2.0"]
    stand_in.blocks["status"].data_received_cb.call(2000, {"supervisor.info": 1 << 6, "pm.vbat": 3.9}, stand_in.blocks["status"])
    vehicle.poll()
    assert vehicle.status().mode is FlightMode.TERMINATE
    assert not vehicle.preflight()[1].ok
    vehicle.request_arm(False, force=True)
    assert stand_in.told[-1] == "emergency"
    stand_in.connection_lost.call("radio", "timeout")
    assert vehicle.state() is None
    vehicle.send(Setpoint(np.zeros(3), 0.0))
    assert len(stand_in.sent) == 1
    vehicle.close()


def test_why_nobody_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LinkError, match="no dongle"):
        vehicle_of(StandIn(answers=False), monkeypatch).connect(1.0)


def test_addresses_and_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert crazyflie.cflib_uri("/usb/0") == "usb://0"
    with pytest.raises(InputError, match="no Crazyflie"):
        open_vehicle("crazyflie:///dev/ttyACM0", 19.0)
    with pytest.raises(MissingExtraError, match=r"tubepilot\[crazyflie\]"):
        crazyflie._cflib("cflib_that_is_not_there")
