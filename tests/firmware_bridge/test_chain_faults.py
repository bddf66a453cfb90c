"""The whole link under faults, alone and in pairs, in simulated time: adapter, faulty line, simulated firmware, physics.

A position law flies the vehicle from the states that the adapter gives. Whatever the line and the firmware do: nothing raises, no
set-point beyond its limits is ever handed to the line, and the vehicle either flies on or ends in its own failsafe.
"""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from helpers.sim_chain import Chain

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge import msp_messages as mm
from tubepilot.firmware_bridge.betaflight import BetaflightVehicle
from tubepilot.firmware_bridge.betaflight_craft import read_craft
from tubepilot.firmware_bridge.mavlink import RATE_LIMIT_RAD_S, Parser
from tubepilot.firmware_bridge.msp import MspParser
from tubepilot.firmware_bridge.sim_ardupilot import READY_S, SimulatedArduPilot
from tubepilot.firmware_bridge.sim_betaflight import BOOT_GRACE_S, SimulatedBetaflight
from tubepilot.firmware_bridge.sim_events import Mishap, TimedMishap
from tubepilot.firmware_bridge.sim_firmware import FirmwareSettings
from tubepilot.firmware_bridge.sim_line import LinkFaults
from tubepilot.firmware_bridge.sim_px4 import SimulatedPx4
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor

FLIGHT_S, MISHAP_S = 4.0, 4.0
LINE = {
    "drop": 0.1, "corrupt": 0.1, "delay_ms": 15.0, "jitter_ms": 10.0, "reorder": 0.1, "duplicate": 0.1, "truncate": 0.1, "stall": 0.01,
}  # fmt: skip
MISHAPS = {
    "reboot": TimedMishap(Mishap.REBOOT, MISHAP_S, 0.5),
    "clock": TimedMishap(Mishap.CLOCK, MISHAP_S, 0.3),
    "freeze": TimedMishap(Mishap.FREEZE, MISHAP_S, 0.3),
    "reset": TimedMishap(Mishap.RESET, MISHAP_S, 1.0),
    "nan": TimedMishap(Mishap.NAN, MISHAP_S, 0.3),
}
EVERY = (*LINE, *MISHAPS)
PAIRS = list(itertools.combinations(EVERY, 2))
FEW = [("corrupt", "reorder"), ("stall", "nan"), ("drop", "reboot"), ("jitter_ms", "clock")]


SETTLE_S = {"px4": 0.0, "ardupilot": READY_S, "betaflight": BOOT_GRACE_S}
FIRMWARES = {"px4": SimulatedPx4, "ardupilot": SimulatedArduPilot, "betaflight": SimulatedBetaflight}


def fly(scheme: str, faults: tuple[str, ...], patch: pytest.MonkeyPatch) -> Chain:
    vehicle = SimulatedQuadrotor()
    vehicle.reset()
    mishaps = tuple(MISHAPS[name] for name in faults if name in MISHAPS)
    mishaps = tuple(replace(mishap, time_s=mishap.time_s + SETTLE_S[scheme]) for mishap in mishaps)
    firmware = FIRMWARES[scheme](vehicle, FirmwareSettings(seed=2, boot_offset_ns=10**9, mishaps=mishaps))
    chain = Chain(firmware, scheme, patch, LinkFaults(seed=4, **{name: LINE[name] for name in faults if name in LINE}))
    if isinstance(chain.link, BetaflightVehicle):
        chain.link._craft = read_craft(chain.ask)  # before the faults: who cannot read the settings does not fly
    chain.run(SETTLE_S[scheme], lambda: None)
    chain.take_off()
    chain.run(FLIGHT_S, chain.hover)
    return chain


def judge(scheme: str, faults: tuple[str, ...], chain: Chain) -> None:
    within_limits = channels_within_limits if scheme == "betaflight" else setpoints_within_limits
    assert within_limits(b"".join(chain.sent)) > 0, faults
    vehicle = chain.firmware.vehicle
    assert np.isfinite(vehicle.position_m).all()
    flies = chain.firmware.armed and vehicle.position_m[2] > 0.2
    ended = not chain.firmware.armed or chain.firmware.failsafes > 0
    never_left = vehicle.on_ground and not vehicle.velocity_m_s.any()  # no clock, no state, so no flight
    assert flies or ended or never_left, (faults, vehicle.position_m, chain.firmware.events)


def setpoints_within_limits(data: bytes) -> int:
    """Set-points on the wire, each within its limits; how many."""
    setpoints = [x.message for x in Parser().feed(data) if isinstance(x.message, m.SetAttitudeTarget)]
    for sent in setpoints:
        rates = (sent.body_roll_rate, sent.body_pitch_rate, sent.body_yaw_rate)
        assert sent.type_mask == 128
        assert all(math.isfinite(rate) and abs(rate) <= RATE_LIMIT_RAD_S for rate in rates)
        assert 0.0 <= sent.thrust <= 1.0
        assert (sent.q1, sent.q2, sent.q3, sent.q4) == (1.0, 0.0, 0.0, 0.0)
    return len(setpoints)


def channels_within_limits(data: bytes) -> int:
    """Sets of channels on the wire, each within 1000..2000 us; how many."""
    told = [x.payload for x in MspParser().feed(data) if x.function == mm.SET_RAW_RC]
    for payload in told:
        assert all(1000 <= channel <= 2000 for (channel,) in struct.iter_unpack("<H", payload))
    return len(told)


@pytest.mark.parametrize("scheme", FIRMWARES)
@pytest.mark.parametrize("faults", [(), *FEW], ids="+".join)
def test_without_and_with_some_pairs(scheme: str, faults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    chain = fly(scheme, faults, monkeypatch)
    judge(scheme, faults, chain)
    if not faults:
        assert chain.firmware.vehicle.position_m == pytest.approx([0.0, 0.0, 1.0], abs=0.2)
        assert chain.link.status().link.lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", FIRMWARES)
def test_every_fault_and_every_pair(scheme: str) -> None:
    outcomes = {"flies": 0, "ended": 0, "failsafe": 0}
    every = [*((name,) for name in EVERY), *PAIRS]
    for faults in every:
        with pytest.MonkeyPatch.context() as patch:
            chain = fly(scheme, faults, patch)
        judge(scheme, faults, chain)
        in_air = not chain.firmware.vehicle.on_ground
        outcomes["ended" if not in_air else "failsafe" if chain.firmware.failsafes else "flies"] += 1
    print(f"{scheme}: {len(every)} combinations: {outcomes}")
