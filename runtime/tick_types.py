"""What a tick is told and what it says: its stages, deadlines, instant, guidance and outcome, and what stages hand on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.types import Setpoint, Vector, VehicleState

from .phases import Phase
from .reference import Reference
from .state_check import Fault, StateLimits
from .tick_interfaces import DecisionLike, PlanLike, Status

PLAN_SHARE, SEND_SHARE = 0.4, 0.85
"""Shares of the tick period at which the last refinement step must be done, and after which a plan is not used."""

WAIT_SHARE = 0.25
"""Share of the tick period for which a state that is too old is waited for."""

SHIELD_OFF = 255
"""Verdict in the flight log while the shield is not engaged."""


class Stage(IntEnum):
    """The stages of a tick, in order."""

    STATE = 0
    OBSERVE = 1
    PREDICT = 2
    PLAN = 3
    SHIELD = 4
    SEND = 5
    RECORD = 6


@dataclass(frozen=True, slots=True)
class SetpointLimits:
    """What a set-point may ask: magnitude of each body rate [rad/s], least and greatest thrust [m/s^2]."""

    rate_rad_s: tuple[float, float, float] = (math.inf, math.inf, math.inf)
    thrust_min_m_s2: float = 0.0
    thrust_max_m_s2: float = math.inf

    def clip(self, setpoint: Setpoint) -> Setpoint:
        """The nearest set-point within the limits; the same object if it is within."""
        asked = setpoint.rates_rad_s.tolist()
        rates = [min(max(rate, -most), most) for rate, most in zip(asked, self.rate_rad_s, strict=True)]
        thrust = min(max(setpoint.thrust_m_s2, self.thrust_min_m_s2), self.thrust_max_m_s2)
        return setpoint if rates == asked and thrust == setpoint.thrust_m_s2 else Setpoint(np.array(rates), thrust)


@dataclass(frozen=True, slots=True)
class TickSettings:
    """Deadlines and limits of a tick.

    Attributes:
        plan_by_s: After the nominal instant: no refinement step starts later [s].
        send_by_s: After the nominal instant: a plan that comes later is not used [s].
        period_s: Tick period [s].
        blind_ticks: Ticks in a row without a usable state, shield not engaged, until streaming ends.
        state: When a state estimate is refused.
        wait_s: After the nominal instant: until then, a state that is too old is waited for (after a stall the next
            one is on its way) [s].
        setpoint: A plan's set-point is clipped to these before the shield judges it.
    """

    plan_by_s: float
    send_by_s: float
    period_s: float = 0.01
    blind_ticks: int = 20
    state: StateLimits = field(default_factory=StateLimits)
    wait_s: float = 0.0
    setpoint: SetpointLimits = field(default_factory=SetpointLimits)


@dataclass(frozen=True, slots=True)
class Instant:
    """When a tick is: its nominal instant [ns], how late the loop woke up [ns], ticks skipped before it."""

    nominal_ns: int
    late_ns: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the tick shall do.

    Attributes:
        phase: For the log.
        reference: Path to plan along; None: send `fixed` instead.
        path_s: Time along the path at the nominal instant [s].
        pace: How fast time along the path runs against real time: 1 on schedule, 0 standing still.
        pace_change_1_s: Its derivative [1/s].
        fixed: Set-point when there is no path; None: send nothing.
        shielded: Whether the shield decides (and is engaged if it is not yet).
    """

    phase: Phase
    reference: Reference | None = None
    path_s: float = 0.0
    pace: float = 1.0
    pace_change_1_s: float = 0.0
    fixed: Setpoint | None = None
    shielded: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tick did.

    Attributes:
        fault: What was wrong with the state estimate.
        state: Newest usable estimate in the take-off frame; None if not usable.
        reference: Reference at the instant at which the set-point acts, shape (9,), NaN if no path.
        predicted: State at that instant, 14 numbers; None if not usable.
        error_m: Position minus reference at the nominal instant, shape (3,) [m]; None if either is missing.
        sent: Set-point sent; None if nothing was.
        verdict: Verdict of the shield, `SHIELD_OFF` if not engaged.
        give_up: True if streaming must end: the shield is void, or no state for too long without it.
        why: What the shield said of this tick, for people: reason, what was seen, the most that it may be, what to do.
        overrun: True if the set-point left after `send_by_s`, or ticks were skipped before.
        tick_us: From reading the state to sending [us].
        solve_us: Of that, the planner [us].
        steps: Refinement steps done; 0 without a plan.
        status: The flight controller's newest word of itself; None if it could not be read.
    """

    fault: Fault
    state: VehicleState | None
    reference: Vector
    predicted: list[float] | None
    error_m: Vector | None
    sent: Setpoint | None
    verdict: int
    give_up: bool
    overrun: bool
    tick_us: float
    status: Status | None
    solve_us: float = 0.0
    steps: int = 0
    why: str = ""


@dataclass(slots=True)
class Work:
    """What the stages of one tick hand on."""

    measured: VehicleState | None = None
    fault: Fault = Fault.MISSING
    state: VehicleState | None = None
    at_tick: list[float] | None = None
    predicted: list[float] | None = None
    act_ns: int = 0
    plan: PlanLike | None = None
    candidate: Setpoint | None = None
    solve_ns: int = 0
    late_plan: bool = False
    decision: DecisionLike | None = None
    sent: Setpoint | None = None
    sent_ns: int = 0
    status: Status | None = None
    record: Any = None
