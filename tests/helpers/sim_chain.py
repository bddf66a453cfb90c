"""Adapter, faulty line, simulated firmware and physics in simulated time: one object is the clock, the device and the world."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tubepilot.firmware_bridge import ardupilot, betaflight, mavlink_vehicle
from tubepilot.firmware_bridge.betaflight import BetaflightVehicle
from tubepilot.firmware_bridge.msp import MspParser, encode
from tubepilot.firmware_bridge.sim_betaflight import SimulatedBetaflight
from tubepilot.firmware_bridge.sim_firmware import SimulatedFirmware
from tubepilot.firmware_bridge.sim_line import FaultyLine, LinkFaults
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle

STEP_NS = 10**9 // 300
POSE_STEPS = 3


class Poses:
    """In place of the socket on which positions come: the newest one."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.newest = None
        self.refused: dict[str, int] = {}

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def poll(self) -> None:
        """Take what a motion capture system sees now."""
        firmware = self._chain.firmware
        if isinstance(firmware, SimulatedBetaflight):
            self.newest = firmware.pose(self._chain.now_ns) or self.newest


class Chain:
    """A vehicle's adapter joined to a simulated firmware.

    Args:
        firmware: The firmware, at simulated time 0.
        scheme: Of the adapter's address: px4, ardupilot, betaflight.
        patch: Puts simulated time into the adapter.
        faults: Of the line.
    """

    def __init__(
        self, firmware: SimulatedFirmware, scheme: str, patch: pytest.MonkeyPatch, faults: LinkFaults | None = None
    ) -> None:
        self.now_ns = 5 * 10**9
        self.firmware = firmware
        self.line = FaultyLine(faults or LinkFaults(), firmware.parser())
        self._start_ns, self._coming = self.now_ns, b""
        self.sent: list[bytes] = []
        for module in (mavlink_vehicle, ardupilot, betaflight):
            patch.setattr(module, "clock_ns", lambda: self.now_ns)
        self.link: Vehicle = open_vehicle(f"{scheme}:///dev/null", firmware.vehicle.thrust_scale_m_s2)
        self.link._transport = self  # the device is this object
        if isinstance(self.link, BetaflightVehicle):
            self.link._poses = Poses(self)

    # what the adapter needs of a transport
    is_open, low_latency, bytes_out, refused_writes, losses = True, None, 0, 0, 0

    def open(self) -> None:
        """It is open."""

    def close(self) -> None:
        """It stays open."""

    def read(self) -> bytes:
        data, self._coming = self._coming, b""
        return data

    def write(self, frame: bytes) -> bool:
        self.sent.append(frame)
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
            self.step()
            self.link.poll()
            if k % 3 == 0:
                act()

    def step(self) -> None:
        """Advance firmware, physics and line by one step."""
        self.now_ns += STEP_NS
        for arrived in self.line.incoming(b"", self.now_ns):
            self.firmware.receive(arrived, self._time_s())
        self.firmware.step(1.0 / 300.0)
        self._coming += self.line.outgoing(self.firmware.outgoing, self.now_ns)
        self.firmware.outgoing.clear()

    def ask(self, function: int) -> bytes:
        """Payload of the answer to one MSP question, with nothing wrong on the line."""
        self.firmware.receive(MspParser().feed(encode(function))[0], self._time_s())
        while not self.firmware.outgoing:
            self.firmware.step(1.0 / 300.0)
            self.now_ns += STEP_NS
        return MspParser().feed(self.firmware.outgoing.pop(0))[0].payload

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

    def take_off(self, rate_hz: float = 100.0) -> None:
        """Stream, ask for OFFBOARD and arming until the firmware shows both; then climb for a while."""
        self.run(1.5, lambda: None)
        self.link.request_streams(rate_hz)
        for _ in range(30):
            self.run(0.2, self.idle)
            status = self.link.status()
            if status.mode is not FlightMode.OFFBOARD:
                self.link.request_mode(FlightMode.OFFBOARD)
            elif not status.armed:
                self.link.request_arm(True)
            else:
                return
