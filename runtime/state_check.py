"""Whether a state estimate may be used at all: there, fresh, finite, a proper attitude, and no jump of the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from tubepilot.firmware_bridge.types import VehicleState

FUTURE_NS = 5_000_000
"""A measurement may claim to be this much in the future: the error of the time synchronisation [ns]."""
NORM_TOLERANCE = 1e-2
"""Largest deviation of the attitude's norm from 1; single-precision links give 1e-6."""


class Fault(IntEnum):
    """What is wrong with a state estimate."""

    NONE = 0
    MISSING = 1
    STALE = 2
    FROM_FUTURE = 3
    NOT_FINITE = 4
    NOT_AN_ATTITUDE = 5
    JUMPED = 6


@dataclass(frozen=True, slots=True)
class StateLimits:
    """When a state estimate is refused.

    Attributes:
        age_s: Largest age at the tick [s].
        jump_m: Largest distance from where the last estimate's velocity led, beyond what 50 m/s^2 would explain [m].
    """

    age_s: float = 0.05
    jump_m: float = 0.5


def check(state: VehicleState | None, last: VehicleState | None, now_ns: int, limits: StateLimits) -> Fault:
    """Judge the newest state estimate.

    Args:
        state: The newest estimate; None if there is none.
        last: The last one that was good; None if there is none, or to accept a jump.
        now_ns: CLOCK_MONOTONIC [ns].
        limits: Age and jump.

    Returns:
        The first fault found, `Fault.NONE` if it may be used.
    """
    if state is None:
        return Fault.MISSING
    age_ns = now_ns - state.t_ns
    if age_ns > 1e9 * limits.age_s:
        return Fault.STALE
    if age_ns < -FUTURE_NS:
        return Fault.FROM_FUTURE
    position, velocity = state.position_m.tolist(), state.velocity_m_s.tolist()
    quaternion = state.quaternion_wxyz.tolist()
    # One number that is not finite makes the sum not finite (and so do numbers that overflow it, rightly).
    if not math.isfinite(sum(position) + sum(velocity) + sum(quaternion) + sum(state.rates_rad_s.tolist())):
        return Fault.NOT_FINITE
    if abs(math.hypot(*quaternion) - 1.0) > NORM_TOLERANCE:
        return Fault.NOT_AN_ATTITUDE
    if last is not None:
        dt_s = 1e-9 * abs(state.t_ns - last.t_ns)
        before = zip(last.position_m.tolist(), last.velocity_m_s.tolist(), strict=True)
        beyond = [
            p - p0 - 0.5 * dt_s * (v + v0) for p, v, (p0, v0) in zip(position, velocity, before, strict=True)
        ]
        if math.hypot(*beyond) > limits.jump_m + 25.0 * dt_s * dt_s:
            return Fault.JUMPED
    return Fault.NONE
