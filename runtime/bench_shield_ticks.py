"""What decisions of the shield cost, kind by kind: accepted at once, softened, replaced by the backup's set-point, void.

A vehicle without errors flies what the shield lets pass, tick after tick, with one planner after another before the shield: calm, eager
(to speeds and tilts beyond S), with set-points that jump, and with no plan at all; in some flights gusts push it out of S, or its rates
stop following. So every decision follows the one before it as in flight, warm and on one core; no planner runs between them.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.types import Setpoint, Vector

from .keep_clear import KeepClear
from .shield import Decision, Reason, Shield, Verdict, assumed_from
from .shield_assumed import Assumed
from .shield_states import flatten

FLIGHT_TICKS = 250
PLANNERS = {"calm": 1.0, "eager": 7.0, "jumping": 3.0, "none": 2.0}
"""To which speed each goes, in any direction [m/s]."""
TROUBLE = ("nothing", "gusts", "rates")
GUST_M_S, GUST_TICKS, OFF_RAD_S = 2.5, 60, 1.5
"""How fast a gust pushes, in how many ticks there is one; by how much rates that do not follow are off."""
TURN_1_S, SPEED_1_S, JUMP_RAD_S, TILT = 6.0, 1.5, 0.8, 0.9
"""The planner's: rates over the angle to go, acceleration over the speed to go; jumps of rates; largest tangent of its tilt."""
KINDS = {
    "accepted": "accepted at once",
    "softened": "accepted after blending",
    "refused": "refused, and the backup acts from within S",
    "outside": "refused, and the backup acts from a state without a margin: another anchor is looked for",
    "no plan": "nothing to judge: the backup acts",
    "void": "nothing is sent",
}


class Vehicle:
    """A state of 14 numbers, see `Shield.decide`, with the lags of the certificate."""

    def __init__(self, assumed: Assumed) -> None:
        self.assumed = assumed
        self.x: Vector = np.array([0.0] * 6 + [1.0] + [0.0] * 6 + [assumed.gravity_m_s2])

    def fly(self, setpoint: Setpoint) -> None:
        """For a tick."""
        a, x = self.assumed, self.x
        w, i, j, k = x[6:10]
        roll, pitch, yaw = 0.5 * a.tick_s * x[10:13]
        x[6:10] += [-i * roll - j * pitch - k * yaw, w * roll + j * yaw - k * pitch, w * pitch + k * roll - i * yaw,
                    w * yaw + i * pitch - j * roll]  # fmt: skip
        x[6:10] /= np.linalg.norm(x[6:10])
        force = np.array(flatten(x.tolist(), 0.0, a.gravity_m_s2).flat.acceleration)
        x[0:3] += a.tick_s * x[3:6]
        x[3:6] += a.tick_s * (force - np.array([a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1]]) * x[3:6])
        asked = np.array(a.rate_gain) * setpoint.rates_rad_s + np.array(a.rate_offset_rad_s)
        x[10:13] = asked + (x[10:13] - asked) * math.exp(-a.tick_s / a.rate_lag_s)
        thrust = a.thrust_gain * setpoint.thrust_m_s2
        x[13] = thrust + (x[13] - thrust) * math.exp(-a.tick_s / a.thrust_lag_s)

    def towards(self, velocity: Vector) -> Setpoint:
        """A set-point that leads to a velocity [m/s]."""
        now = flatten(self.x.tolist(), 0.0, self.assumed.gravity_m_s2)
        pull = SPEED_1_S * (velocity - self.x[3:6])
        level = float(np.linalg.norm(pull[:2])) / (TILT * self.assumed.gravity_m_s2)
        force = np.array([*(pull[:2] / max(level, 1.0)), self.assumed.gravity_m_s2 + min(max(pull[2], -3.0), 3.0)])
        axis = np.cross(now.up, force / np.linalg.norm(force))
        return Setpoint(TURN_1_S * np.array([axis @ now.forward, axis @ now.left, 0.0]), float(force @ now.up))


def kind(decision: Decision, candidate: Setpoint | None) -> str:
    """Which of `KINDS` a decision is of."""
    if decision.verdict is Verdict.VOID:
        return "void"
    if decision.verdict is Verdict.ACCEPT:
        return "softened" if decision.reason is Reason.SOFTENED else "accepted"
    if candidate is None or decision.ticks >= 3:
        return "no plan"
    return "outside" if decision.margin <= 0.0 or decision.reason is Reason.OUTSIDE_SET else "refused"


def measure(files: Mapping[str, bytes], ticks: int, seed: int) -> dict[str, Any]:
    """Time decisions.

    Args:
        files: Of a bundle or certificate, by name.
        ticks: How many; of each kind there are as many as come up in flight.
        seed: Of planners and troubles.

    Returns:
        kinds: name to count, p50 and p99 [us]; worst: the name of the kind with the largest p99 among those of 100 ticks or more (all
            if none has); p50 and p99: of that kind [us]; mixed: p50 and p99 of all ticks as they came [us]; settle_p99: of what is
            done after a set-point is sent [us].
    """
    shield = Shield(files["backup.onnx"], files["shield.onnx"], assumed_from(files["certificate.toml"]), KeepClear(fence_m=1e6))
    random, tick_ns = np.random.default_rng(seed), round(1e9 * shield.assumed.tick_s)
    took: dict[str, list[float]] = {name: [] for name in KINDS}
    after: list[float] = []
    now_ns, left = 10**9, 0
    gc.disable()  # as in flight
    for _ in range(ticks):
        if left == 0:
            left, vehicle = FLIGHT_TICKS, Vehicle(shield.assumed)
            planner, trouble = str(random.choice(list(PLANNERS))), str(random.choice(TROUBLE))
            shield.engage(vehicle.x.tolist())
        left -= 1
        if left % 50 == 0:
            direction = random.normal(size=3) * [1.0, 1.0, 0.5]
            wanted = PLANNERS[planner] * direction / np.linalg.norm(direction)
        candidate = None if planner == "none" else vehicle.towards(wanted)
        if planner == "jumping" and candidate is not None:
            candidate = Setpoint(candidate.rates_rad_s + random.normal(size=3) * JUMP_RAD_S, candidate.thrust_m_s2)
        seen = vehicle.x.copy()
        if trouble == "rates" and left < FLIGHT_TICKS // 2:
            seen[10:12] += OFF_RAD_S
        now_ns += tick_ns
        predicted = seen.tolist()
        start_ns = time.perf_counter_ns()
        decision = shield.decide(predicted, (0.0, 0.0, 0.0), candidate, now_ns)
        decided_ns = time.perf_counter_ns()
        shield.settle()
        took[kind(decision, candidate)].append(1e-3 * (decided_ns - start_ns))
        after.append(1e-3 * (time.perf_counter_ns() - decided_ns))
        if decision.setpoint is None:
            left = min(left, 10) if left > 0 else 0  # a few more, as each of them is void
            continue
        vehicle.fly(decision.setpoint)
        if trouble == "gusts" and left % GUST_TICKS == 0:
            vehicle.x[3:6] += random.normal(size=3) * GUST_M_S * np.array([1.0, 1.0, 0.3])
    gc.enable()
    return _summary(took, after)


def lines(measured: Mapping[str, Any]) -> list[str]:
    """What `measure` found, for people."""
    found = [
        f"  {kind:<9} {own['ticks']:6d} ticks, p50 {own['p50']:4.0f} us, p99 {own['p99']:4.0f} us: {KINDS[kind]}"
        for kind, own in measured["kinds"].items()
    ]
    slowest = f"p50 {measured['p50']:.0f} us, p99 {measured['p99']:.0f} us"
    return [
        f"shield: decision of the slowest kind, {measured['worst']}: {slowest} on this machine",
        *found, f"  after a set-point was sent, p99 {measured['settle_p99']:.0f} us",
    ]  # fmt: skip


def _summary(took: Mapping[str, list[float]], after: list[float]) -> dict[str, Any]:
    kinds = {
        name: {"ticks": len(times), **dict(zip(("p50", "p99"), np.percentile(times, [50.0, 99.0]).tolist(), strict=True))}
        for name, times in took.items()
        if times
    }
    often = [name for name, found in kinds.items() if found["ticks"] >= 100] or list(kinds)
    worst = max(often, key=lambda name: kinds[name]["p99"])
    p50, p99 = np.percentile([time_us for times in took.values() for time_us in times], [50.0, 99.0]).tolist()
    return {
        "kinds": kinds, "worst": worst, **{name: kinds[worst][name] for name in ("p50", "p99")}, "mixed": {"p50": p50, "p99": p99},
        "settle_p99": float(np.percentile(after, 99.0)),
    }  # fmt: skip
