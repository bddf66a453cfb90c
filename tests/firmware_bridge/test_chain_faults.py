"""The whole link under faults, alone and in pairs, in simulated time: adapter, faulty line, simulated firmware, physics.

A position law flies the vehicle from the states that the adapter gives. Whatever the line and the firmware do: nothing raises, no
set-point beyond its limits is ever handed to the line, and the vehicle either flies on or ends in its own failsafe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge import mavlink_vehicle
from tubepilot.firmware_bridge.mavlink import RATE_LIMIT_RAD_S, Parser
from tubepilot.firmware_bridge.px4 import Px4Vehicle
from tubepilot.firmware_bridge.sim_events import Mishap, TimedMishap
from tubepilot.firmware_bridge.sim_firmware import SimulatedFirmware
from tubepilot.firmware_bridge.sim_line import FaultyLine, LinkFaults
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint
from tubepilot.firmware_bridge.uri import parse_uri

STEP_NS = 10**9 // 300
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


class Chain:
    """Simulated time: one object is the clock, the device and the world."""

    def __init__(self, faults: tuple[str, ...], patch: pytest.MonkeyPatch) -> None:
        self.now_ns = 5 * 10**9
        vehicle = SimulatedQuadrotor()
        vehicle.reset()
        mishaps = tuple(MISHAPS[name] for name in faults if name in MISHAPS)
        self.firmware = SimulatedFirmware(vehicle, seed=2, boot_offset_ns=10**9, mishaps=mishaps)
        self.line = FaultyLine(LinkFaults(seed=4, **{name: LINE[name] for name in faults if name in LINE}))
        self._start_ns, self._coming = self.now_ns, b""
        self.sent: list[m.SetAttitudeTarget] = []
        self._check = Parser()
        patch.setattr(mavlink_vehicle, "clock_ns", lambda: self.now_ns)
        self.link = Px4Vehicle(parse_uri("px4:///dev/null"), vehicle.thrust_scale_m_s2)
        self.link._transport = self  # the device is this object

    # what the adapter needs of a transport
    is_open, low_latency, bytes_out, refused_writes, losses = True, None, 0, 0, 0

    def read(self) -> bytes:
        data, self._coming = self._coming, b""
        return data

    def write(self, frame: bytes) -> bool:
        for got in self._check.feed(frame):
            if isinstance(got.message, m.SetAttitudeTarget):
                self.sent.append(got.message)
        for arrived in self.line.incoming(frame, self.now_ns):
            self.firmware.receive(arrived, self._time_s())
        return True

    def flush(self) -> None:
        """Nothing waits."""

    def fileno(self) -> int:
        return -1

    def _time_s(self) -> float:
        return 1e-9 * (self.now_ns - self._start_ns)

    def run(self, seconds: float, act: Callable[[], None]) -> None:
        """Advance; the adapter and the law run at 100 Hz, firmware and line at 300 Hz."""
        for k in range(round(300 * seconds)):
            self.now_ns += STEP_NS
            for arrived in self.line.incoming(b"", self.now_ns):
                self.firmware.receive(arrived, self._time_s())
            self.firmware.step(1.0 / 300.0)
            self._coming += self.line.outgoing(self.firmware.outgoing, self.now_ns)
            self.firmware.outgoing.clear()
            self.link.poll()
            if k % 3 == 0:
                act()

    def idle(self) -> None:
        self.link.send(Setpoint(np.zeros(3), 0.0))

    def hover(self) -> None:
        """Climb to 1 m; without a state nothing is sent."""
        state = self.link.state()
        if state is None or (self.now_ns - state.t_ns) > 100_000_000:
            return
        force = np.clip(4.0 * (np.array([0.0, 0.0, 1.0]) - state.position_m) - 3.0 * state.velocity_m_s, -3.0, 3.0)
        w, x, y, z = state.quaternion_wxyz
        up_x, up_y, up_z = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
        lean = 8.0 * (force[0:2] / GRAVITY_M_S2 - np.array([up_x, up_y]))
        rates = np.clip([-lean[1], lean[0], -2.0 * z * w], -6.0, 6.0)
        self.link.send(Setpoint(rates, float(np.clip((force[2] + GRAVITY_M_S2) / max(up_z, 0.5), 0.0, 18.0))))


def fly(faults: tuple[str, ...], patch: pytest.MonkeyPatch) -> Chain:
    chain = Chain(faults, patch)
    chain.run(1.5, lambda: None)
    chain.link.request_streams(100.0)
    for _ in range(30):
        chain.run(0.2, chain.idle)
        status = chain.link.status()
        if status.mode is not FlightMode.OFFBOARD:
            chain.link.request_mode(FlightMode.OFFBOARD)
        elif not status.armed:
            chain.link.request_arm(True)
        else:
            break
    chain.run(FLIGHT_S, chain.hover)
    return chain


def judge(faults: tuple[str, ...], chain: Chain) -> None:
    assert chain.sent
    for sent in chain.sent:
        rates = (sent.body_roll_rate, sent.body_pitch_rate, sent.body_yaw_rate)
        assert sent.type_mask == 128
        assert all(math.isfinite(rate) and abs(rate) <= RATE_LIMIT_RAD_S for rate in rates), faults
        assert 0.0 <= sent.thrust <= 1.0, faults
        assert (sent.q1, sent.q2, sent.q3, sent.q4) == (1.0, 0.0, 0.0, 0.0)
    vehicle = chain.firmware.vehicle
    assert np.isfinite(vehicle.position_m).all()
    flies = chain.firmware.armed and vehicle.position_m[2] > 0.2
    ended = not chain.firmware.armed or chain.firmware.failsafes > 0
    assert flies or ended, (faults, vehicle.position_m, chain.firmware.events)


@pytest.mark.parametrize("faults", [(), *FEW], ids="+".join)
def test_without_and_with_some_pairs(faults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    chain = fly(faults, monkeypatch)
    judge(faults, chain)
    if not faults:
        assert chain.firmware.vehicle.position_m == pytest.approx([0.0, 0.0, 1.0], abs=0.2)
        assert chain.link.status().link.lost == 0


@pytest.mark.slow
def test_every_fault_and_every_pair() -> None:
    outcomes = {"flies": 0, "ended": 0}
    every = [*((name,) for name in EVERY), *PAIRS]
    for faults in every:
        with pytest.MonkeyPatch.context() as patch:
            chain = fly(faults, patch)
        judge(faults, chain)
        outcomes["flies" if chain.firmware.armed else "ended"] += 1
    print(f"{len(every)} faults and pairs: {outcomes}")
