"""What the shield decides, and why: the words of its decisions, as they stand in flight logs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tubepilot.firmware_bridge.types import Setpoint


class Verdict(IntEnum):
    """What the shield decides."""

    ACCEPT = 0
    BACKUP = 1
    VOID = 2


class Reason(IntEnum):
    """Why."""

    OK = 0
    NO_STATE = 1
    NOT_FINITE = 2
    NO_PLAN = 3
    SETPOINT_LIMIT = 4
    WOULD_LEAVE_SET = 5
    OUTSIDE_SET = 6
    GEOFENCE = 7
    DISTURBANCE = 8
    RATE_RESIDUAL = 9
    MISSED_TICKS = 10
    SOFTENED = 11
    OBSTACLE = 12


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send this tick (None: nothing, the certificate is void), why, and the margin to the edge of S (positive inside)."""

    setpoint: Setpoint | None
    verdict: Verdict
    reason: Reason
    margin: float
