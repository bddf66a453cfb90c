"""What the shield decides, and why: the words of its decisions, as they stand in flight logs."""

from __future__ import annotations

import math
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
    DELAY = 13


ADVICE = {
    Reason.DISTURBANCE: ("m/s^2", "wind, thrust or weight beyond what was certified: land; certify with a larger --disturbance-m-s2"),
    Reason.RATE_RESIDUAL: ("rad/s", "the rates do not follow the set-points as certified: check the flight controller's rate loop"),
    Reason.DELAY: ("rad/s", "the rates follow the set-points too late: check the link, or certify with a larger --delay-max-ms"),
    Reason.MISSED_TICKS: ("s", "the companion had no time for its ticks: look at `tubepilot doctor`"),
}
"""For each watched assumption the unit of what is compared, and what to do."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send this tick (None: nothing, the certificate is void), why, and the margin to the edge of S (positive inside).

    Attributes:
        setpoint, verdict, reason, margin: As said.
        seen, most, ticks: What the watch over the assumptions compared if one is broken, the most that it may be, and for how many
            ticks in a row it was more; units in `ADVICE`.
    """

    setpoint: Setpoint | None
    verdict: Verdict
    reason: Reason
    margin: float
    seen: float = math.nan
    most: float = math.nan
    ticks: int = 0

    def text(self) -> str:
        """The reason for people: which, by how much, for how long, and what to do."""
        if self.ticks == 0 or self.reason not in ADVICE:
            return self.reason.name
        unit, advice = ADVICE[self.reason]
        return f"{self.reason.name}: {self.seen:.3g} {unit}, at most {self.most:.3g} {unit}, for {self.ticks} ticks; {advice}"
