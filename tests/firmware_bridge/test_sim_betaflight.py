"""The simulated Betaflight through the adapter, in simulated time: settings, arming by a switch, flight, failsafe, landing."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.sim_chain import Chain
from hypothesis import given
from hypothesis import strategies as st

from tubepilot.firmware_bridge import msp_messages as mm
from tubepilot.firmware_bridge.betaflight import BetaflightVehicle, enu_of_nwu, flag_names
from tubepilot.firmware_bridge.betaflight_craft import read_craft
from tubepilot.firmware_bridge.msp import FROM_FC, REFUSED, MspFrame, MspParser, encode
from tubepilot.firmware_bridge.sim_betaflight import BOOT_GRACE_S, SimulatedBetaflight, nwu_of_enu
from tubepilot.firmware_bridge.sim_firmware import FirmwareSettings
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.types import FlightMode

DELAY_S = 0.4


def standing(serial_hz: float = 1000.0) -> SimulatedBetaflight:
    vehicle = SimulatedQuadrotor()
    vehicle.reset()
    return SimulatedBetaflight(vehicle, FirmwareSettings(DELAY_S, seed=1), serial_hz)


def ask(firmware: SimulatedBetaflight, function: int, payload: bytes = b"") -> MspFrame:
    for frame in MspParser().feed(encode(function, payload)):
        firmware.receive(frame, firmware.vehicle.time_s)
    for _ in range(10):
        if firmware.outgoing:
            break
        firmware.step(1.0 / 300.0)
    return MspParser().feed(firmware.outgoing.pop(0))[0]


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Joined and connected, settings read."""
    firmware = standing()
    made = Chain(firmware, "betaflight", monkeypatch)
    assert isinstance(made.link, BetaflightVehicle)
    made.link._craft = read_craft(made.ask)
    return made


def fly(chain: Chain) -> None:
    chain.run(BOOT_GRACE_S, chain.idle)
    chain.take_off()
    chain.run(4.0, chain.hover)


def test_its_settings_pass_the_adapters_checks(chain: Chain) -> None:
    chain.run(0.5, lambda: None)
    assert isinstance(chain.link, BetaflightVehicle)
    assert chain.link._craft is not None
    assert chain.link._craft.name == "Betaflight 26.12.0"
    assert chain.link._craft.failsafe_s == pytest.approx(DELAY_S)
    assert all(check.ok for check in chain.link.preflight()), chain.link.preflight()


def test_flies_and_lands(chain: Chain) -> None:
    fly(chain)
    assert chain.firmware.vehicle.position_m == pytest.approx([0.0, 0.0, 1.0], abs=0.2)
    assert chain.link.status().link.state_hz == pytest.approx(100.0, abs=3.0)
    assert chain.link.status().battery_v == pytest.approx(4.2, abs=0.05)
    state = chain.link.state()
    assert state is not None
    assert np.allclose(state.position_m, chain.firmware.vehicle.position_m, atol=0.05)
    low = 0.2

    def sink() -> None:
        chain.hover()

    chain.firmware.vehicle._s[2] = low  # LAND is asked for close to the ground
    chain.run(0.1, sink)
    chain.link.request_mode(FlightMode.LAND)
    chain.run(2.5, lambda: None)
    assert not chain.firmware.armed
    assert not chain.link.status().armed
    assert chain.firmware.vehicle.on_ground
    assert chain.firmware.failsafes == 0


def test_silence_drops_it_and_the_switch_must_go_off_once(chain: Chain) -> None:
    fly(chain)
    silent_s = chain.firmware.vehicle.time_s
    while chain.firmware.armed:
        chain.run(1.0 / 300.0, lambda: None)
    assert chain.firmware.vehicle.time_s - silent_s == pytest.approx(DELAY_S, abs=0.02)
    chain.run(1.0, lambda: None)
    assert chain.link.status().mode is FlightMode.TERMINATE
    assert "FAILSAFE" in chain.link.status().texts[-1]
    assert chain.firmware.vehicle.on_ground
    chain.run(0.5, chain.idle)  # the switch still says on
    assert not chain.firmware.armed
    chain.link.request_arm(False)
    chain.run(0.3, chain.idle)
    chain.link.request_arm(True)
    chain.run(0.3, chain.idle)
    assert chain.firmware.armed


def test_arming_is_refused_with_throttle_and_in_the_boot_grace_time(chain: Chain) -> None:
    chain.run(0.5, chain.idle)
    chain.link.request_mode(FlightMode.OFFBOARD)
    chain.link.request_arm(True)
    chain.run(0.5, chain.idle)
    assert not chain.firmware.armed
    text = chain.link.status().texts[-1]
    assert "BOOT_GRACE_TIME" in text
    assert "ARM_SWITCH" in text
    chain.run(BOOT_GRACE_S, chain.idle)
    assert flag_names(mm.status(ask(chain.firmware, mm.STATUS_EX).payload).arming_disabled) == ["ARM_SWITCH"]
    chain.link.request_arm(False)
    chain.run(0.1, chain.idle)
    chain.link.request_arm(True)
    chain.run(0.1, chain.idle)
    assert chain.firmware.armed


def test_one_question_per_serial_task() -> None:
    firmware = standing(serial_hz=100.0)
    for _ in range(8):
        firmware.receive(MspFrame(0x3C, mm.RAW_IMU, b""), firmware.vehicle.time_s)
    answered = []
    for _ in range(30):
        firmware.step(1.0 / 300.0)
        answered.append(len(firmware.outgoing))
    assert answered[-1] == 8
    assert answered[11] in (4, 5)  # 40 ms at 100 a second


def test_what_it_does_not_know_is_refused() -> None:
    firmware = standing()
    assert ask(firmware, 9999).direction == REFUSED
    assert ask(firmware, mm.FC_VARIANT).direction == FROM_FC
    assert ask(firmware, mm.SET_RAW_RC, b"\x01").direction == FROM_FC
    assert firmware.setpoints == 0


@given(parts=st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: sum(p * p for p in q) > 0.01))
def test_world_frames_come_back(parts: tuple[float, float, float, float]) -> None:
    assert np.allclose(enu_of_nwu(*nwu_of_enu(*parts)), parts)
