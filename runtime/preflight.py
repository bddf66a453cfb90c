"""Checks before a flight, each with its finding and its remedy; what fails keeps the vehicle on the ground."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector, VehicleState
from tubepilot.firmware_bridge.vehicle import Vehicle

from .local_frame import LocalFrame, yaw_of
from .realtime import Rights
from .tick_interfaces import PlannerLike

WARM_UP_RUNS = 100
STREAM_SHARE = 0.8
"""Share of the asked stream rate that must arrive."""


class Level(Enum):
    """How a finding counts."""

    PASS = "ok"
    WARNING = "warning"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the pre-flight list."""

    name: str
    level: Level
    text: str

    def line(self) -> str:
        """For the terminal."""
        return f"  {self.level.value:<8}{self.name:<22}{self.text}"


@dataclass(frozen=True, slots=True)
class StateSample:
    """States seen during the check: the states [newest last] and their ages when read [s]."""

    states: tuple[VehicleState, ...]
    ages_s: tuple[float, ...]
    duration_s: float


def sample_states(vehicle: Vehicle, duration_s: float) -> StateSample:
    """Watch the state stream for a while [s]."""
    states: list[VehicleState] = []
    ages_s: list[float] = []
    start_s = time.monotonic()
    while time.monotonic() - start_s < duration_s:
        vehicle.poll()
        state = vehicle.state()
        if state is not None and (not states or state.t_ns != states[-1].t_ns):
            states.append(state)
            ages_s.append(1e-9 * (time.monotonic_ns() - state.t_ns))
        vehicle.wait_until(time.monotonic_ns() + 2_000_000)
    return StateSample(tuple(states), tuple(ages_s), time.monotonic() - start_s)


def check_stream(sample: StateSample, asked_hz: float, age_limit_s: float, remedy: str) -> list[Finding]:
    """State rate, with the firmware's remedy, and age; single late states are for the tick's own check, so they only warn."""
    seen_hz = len(sample.states) / sample.duration_s
    enough = seen_hz >= STREAM_SHARE * asked_hz
    rate = Finding(
        "state rate",
        Level.PASS if enough else Level.FAIL,
        f"{seen_hz:.0f} Hz of {asked_hz:.0f} Hz asked"
        + ("" if enough else f", {100.0 * STREAM_SHARE:.0f} % are needed; {remedy}"),
    )
    if not sample.ages_s:
        return [rate]
    p50, p90, p99 = (1e3 * float(v) for v in np.percentile(sample.ages_s, [50.0, 90.0, 99.0]))
    limit_ms = 1e3 * age_limit_s
    level = Level.FAIL if p90 > limit_ms else Level.WARNING if p99 > limit_ms else Level.PASS
    age = Finding(
        "state age",
        level,
        f"p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms, limit {limit_ms:.0f} ms"
        + ("" if level is Level.PASS else "; use 921600 baud or USB, and low-latency mode on FTDI adapters"),
    )
    return [rate, age]


def check_attitude(sample: StateSample) -> Finding:
    """Upright and still before take-off."""
    if not sample.states:
        return Finding("attitude", Level.FAIL, "no state arrived; check the estimator of the flight controller")
    state = sample.states[-1]
    _, x, y, _ = state.quaternion_wxyz.tolist()
    tilt_deg = math.degrees(math.acos(min(max(1.0 - 2.0 * (x * x + y * y), -1.0), 1.0)))
    speed = float(np.linalg.norm(state.velocity_m_s))
    if tilt_deg > 15.0 or speed > 0.3:
        return Finding(
            "attitude", Level.FAIL, f"tilt {tilt_deg:.1f} deg (limit 15), speed {speed:.2f} m/s (limit 0.3): level it"
        )
    return Finding("attitude", Level.PASS, f"tilt {tilt_deg:.1f} deg, speed {speed:.2f} m/s")


def check_link(vehicle: Vehicle) -> list[Finding]:
    """Heartbeat, clocks and battery."""
    status = vehicle.status()
    link = status.link
    alive = link.connected and link.heartbeat_age_s < 2.5
    findings = [
        Finding(
            "heartbeat",
            Level.PASS if alive else Level.FAIL,
            f"{link.heartbeat_age_s:.1f} s ago, {link.lost} frames lost, {link.crc_errors} CRC errors"
            + ("" if alive else "; check wiring, baud rate and that MAVLink runs on this port"),
        ),
        Finding(
            "time sync",
            Level.PASS if link.timesync.samples >= 5 else Level.FAIL,
            f"round trip {link.timesync.rtt_ms:.2f} ms, skew {1e6 * link.timesync.skew:.0f} ppm, "
            f"{link.timesync.rejected} of {link.timesync.samples + link.timesync.rejected} round trips rejected",
        ),
    ]
    if link.low_latency is False:
        findings.append(
            Finding("low latency", Level.WARNING, "driver refused it: `setserial DEVICE low_latency` or a udev rule")
        )
    voltage = "not reported" if status.battery_v is None else f"{status.battery_v:.2f} V"
    return [*findings, Finding("battery", Level.PASS, voltage)]


def check_rights(rights: Rights) -> list[Finding]:
    """What the operating system granted; a lack is a warning, since the overruns of the flight are counted anyway."""
    return [
        Finding(
            right.name,
            Level.PASS if right.obtained else Level.WARNING,
            right.detail + ("" if right.obtained else f"; {right.remedy}"),
        )
        for right in rights.rights
    ]


def warm_up(planner: PlannerLike, plan_by_s: float, send_by_s: float) -> Finding:
    """Run the planner at hover until it is warm, and compare its time with the tick's deadlines [s]."""
    state: Vector = np.zeros(14)
    state[6], state[13] = 1.0, GRAVITY_M_S2
    reference, disturbance = np.zeros((planner.horizon + 1, 9)), np.zeros(3)
    hover = Setpoint(np.zeros(3), GRAVITY_M_S2)
    times_us: list[float] = []
    for _ in range(WARM_UP_RUNS):
        start_ns = time.monotonic_ns()
        planner.plan(state, reference, disturbance, start_ns + round(1e9 * plan_by_s))
        planner.applied(hover)
        times_us.append(1e-3 * (time.monotonic_ns() - start_ns))
    p50, p99 = np.percentile(times_us[WARM_UP_RUNS // 4 :], [50.0, 99.0])
    fits = p50 < 1e6 * send_by_s
    return Finding(
        "planner",
        Level.PASS if fits else Level.FAIL,
        f"warm: p50 {p50:.0f} us, p99 {p99:.0f} us, must be done {1e3 * send_by_s:.1f} ms after the tick"
        + ("" if fits else "; export with fewer candidates or steps, or use a faster companion"),
    )


def mean_frame(sample: StateSample) -> LocalFrame:
    """Take-off frame from the mean of the standing vehicle's states: the estimate's noise averaged out."""
    origin = np.mean([state.position_m for state in sample.states], axis=0)
    yaws = [yaw_of(state.quaternion_wxyz) for state in sample.states]
    return LocalFrame(origin, math.atan2(float(np.mean(np.sin(yaws))), float(np.mean(np.cos(yaws)))))
