"""What a tick writes into the flight log: the tick's own record, in world ENU, and the end of its decision's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.types import FlightMode, Setpoint, Vector

from .local_frame import LocalFrame
from .tick_types import SHIELD_OFF, Guidance, Instant, Work

_MODES = {mode: index for index, mode in enumerate(FlightMode)}


def record_tick(record: Any, work: Work, instant: Instant, guidance: Guidance, frame: LocalFrame, reference: Vector) -> None:
    """Fill a record of `flight_log.TICK_DTYPE` in place, but for disturbance, overrun and time.

    Args:
        record: Of this tick.
        work: What the stages did.
        instant, guidance: Of the tick.
        frame: Take-off frame.
        reference: Position, velocity and acceleration at the nominal instant, in that frame, shape (9,).
    """
    record["t_ns"], record["late_us"] = instant.nominal_ns, 1e-3 * instant.late_ns
    record["solve_us"], record["phase"] = 1e-3 * work.solve_ns, guidance.phase
    record["state"] = record["reference"] = record["measured"] = record["state_age_ms"] = math.nan
    if work.at_tick is not None:
        record["state"] = frame.state_to_world(work.at_tick)
    if guidance.reference is not None and work.predicted is not None:
        record["reference"] = frame.vectors_to_world(reference.reshape(3, 3)).reshape(9)
        record["reference"][:3] += frame.origin_m
    if work.measured is not None:
        m = work.measured
        record["measured"] = np.concatenate((m.position_m, m.velocity_m_s, m.quaternion_wxyz, m.rates_rad_s))
        record["state_age_ms"] = 1e-6 * (instant.nominal_ns + instant.late_ns - m.t_ns)
    record_setpoint(record, "sent", work.sent)
    record_setpoint(record, "planned", None if work.plan is None else work.plan.setpoint)
    if work.plan is not None:
        record["steps"], record["disagreement"] = work.plan.steps, work.plan.disagreement
        record["return_before"], record["return_after"] = work.plan.return_before, work.plan.return_after
    record["verdict"], record["margin"] = SHIELD_OFF, math.nan
    if work.decision is not None:
        record["verdict"], record["reason"] = work.decision.verdict, work.decision.reason
        record["margin"] = work.decision.margin
    if work.status is not None:
        record["vehicle_mode"], record["armed"] = _MODES[work.status.mode], work.status.armed


def note_decision(record: Any, work: Work, instant: Instant) -> None:
    """Put into a record of `decision_log` when it was, what the shield said and what was sent."""
    record["t_ns"], record["verdict"], record["margin"] = instant.nominal_ns, SHIELD_OFF, math.nan
    if work.decision is not None:
        record["verdict"], record["reason"] = work.decision.verdict, work.decision.reason
        record["margin"] = work.decision.margin
    record_setpoint(record, "sent", work.sent)


def record_setpoint(record: Any, name: str, setpoint: Setpoint | None) -> None:
    """Body rates [rad/s] and thrust [m/s^2] as four numbers; not a number if there is none."""
    if setpoint is None:
        record[name] = math.nan
        return
    record[name][:3] = setpoint.rates_rad_s
    record[name][3] = setpoint.thrust_m_s2
