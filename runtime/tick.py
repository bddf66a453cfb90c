"""One control tick: newest state -> check -> observe -> predict -> plan -> shield -> send -> record.

Nothing escapes from a tick. A stage that fails counts as failed and hands on "nothing"; with no plan, or one that came
too late, the shield sends its backup set-point; with no state, it decides what that means. The two deadlines of a tick
are `TickSettings.plan_by_s` (no refinement step starts later; given to the planner in `Tick._plan`) and `TickSettings.send_by_s`
(a plan later than this is not used, `Tick._plan`; a set-point that leaves later counts as an overrun, `Tick.run`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector, VehicleState

from .governor import Governor
from .local_frame import LocalFrame
from .observer import DisturbanceObserver
from .predictor import Predictor
from .reference import Reference, rows
from .state_check import Fault, check
from .tick_interfaces import DecisionLogLike, NotingPlanner, PlannerLike, RecorderLike, ShieldLike, VehicleLink
from .tick_record import note_decision, record_setpoint, record_tick
from .tick_types import SHIELD_OFF, Guidance, Instant, Outcome, Stage, TickSettings, Work
from .trim import Trim

_T = TypeVar("_T")


class Tick:
    """The tick and what it carries from one to the next.

    Args:
        vehicle: The link, connected.
        planner: The planner, warm.
        shield: The shield; engaged by the first tick that asks for it.
        predictor, observer: See their modules.
        settings: Deadlines and limits.
        frame: Take-off frame.
        clock_ns: CLOCK_MONOTONIC [ns].
        governor: Keeps what the planner is asked for within the certificate; None: it is asked for the path as it is.
    """

    def __init__(
        self,
        vehicle: VehicleLink,
        planner: PlannerLike,
        shield: ShieldLike,
        predictor: Predictor,
        observer: DisturbanceObserver,
        settings: TickSettings,
        frame: LocalFrame,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        governor: Governor | None = None,
    ) -> None:
        self._governor, self._replaced = governor, False
        self.vehicle, self.planner, self.shield = vehicle, planner, shield
        self.predictor, self.observer = predictor, observer
        self.settings, self.frame = settings, frame
        self.recorder: RecorderLike | None = None
        self.decisions: tuple[DecisionLogLike, NotingPlanner] | None = None
        self.failures = dict.fromkeys(Stage, 0)
        self.last_failure = ""
        self.engaged = False
        self.trim = Trim()
        self.overruns = 0
        self._clock_ns = clock_ns
        self._blind = 0
        self._usual_send_ns = 1_000_000
        self._last_measured: VehicleState | None = None
        self._last_x: list[float] | None = None
        self._last_x_ns = 0
        # Row 0: the nominal instant (for the log); rows 1..: the horizon from when the set-point acts.
        self._times_s: Vector = np.zeros(planner.horizon + 2)
        self._horizon_s: Vector = np.arange(planner.horizon + 1, dtype=np.float64) * planner.dt_plan_s
        self._rows: Vector = np.full((planner.horizon + 2, 9), math.nan)
        self._asked: Vector = np.zeros((planner.horizon + 1, 9))
        self._no_reference: Vector = np.full(9, math.nan)
        self._to_world = frame.rotation()

    # --- one tick -------------------------------------------------------------------------------------------

    def run(self, instant: Instant, guidance: Guidance) -> Outcome:
        """Do one tick; never raises.

        Args:
            instant: When it is.
            guidance: What it shall do.

        Returns:
            What it did.
        """
        work, start_ns = Work(), self._clock_ns()
        self._guard(Stage.STATE, lambda: self._read_state(work, instant), None)
        if work.state is not None:
            self._guard(Stage.OBSERVE, lambda: self._observe(work), None)
            self._guard(Stage.PREDICT, lambda: self._predict(work, instant), None)
        if guidance.reference is not None:
            self._guard(Stage.PLAN, lambda: self._plan(work, instant, guidance), None)
        else:
            work.candidate = guidance.fixed
        self._guard(Stage.SHIELD, lambda: self._decide(work, instant, guidance), None)
        self._guard(Stage.SEND, lambda: self._send(work, guidance), None)
        sent_ns = work.sent_ns or self._clock_ns()
        self._guard(Stage.SHIELD, self.shield.settle, None)
        overrun = instant.skipped > 0 or sent_ns > instant.nominal_ns + round(1e9 * self.settings.send_by_s)
        self.overruns += overrun
        self._usual_send_ns += (min(max(sent_ns - instant.nominal_ns, 0), 8_000_000) - self._usual_send_ns) // 32
        tick_us = 1e-3 * (sent_ns - start_ns)
        self._replaced = work.decision is not None and work.sent is not work.candidate
        error_m = self._error_m(work, guidance)
        chasing = self._governor is not None and self._governor.active
        if error_m is not None and work.decision is not None and work.sent is work.candidate and not chasing:
            self.trim.update(error_m.tolist(), self.settings.period_s)
        work.status = self._guard(Stage.STATE, self.vehicle.status, None)
        self._guard(Stage.RECORD, lambda: self._record(work, instant, guidance, overrun, tick_us), None)
        return Outcome(
            fault=work.fault,
            state=work.state,
            reference=self._rows[1].copy() if guidance.reference is not None else self._no_reference,
            predicted=work.predicted,
            error_m=error_m,
            sent=work.sent,
            verdict=SHIELD_OFF if work.decision is None else int(work.decision.verdict),
            give_up=self._must_give_up(work, guidance),
            overrun=overrun,
            tick_us=tick_us,
            status=work.status,
            solve_us=1e-3 * work.solve_ns,
            steps=0 if work.plan is None else work.plan.steps,
            why=self._why(work),
        )

    def _guard(self, stage: Stage, function: Callable[[], _T], instead: _T | None) -> _T | None:
        """Run a stage; whatever it raises is counted and becomes `instead`."""
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - the one place where anything may be caught: a tick never raises
            self.failures[stage] += 1
            self.last_failure = f"{stage.name}: {type(error).__name__}: {error}"
            return instead

    # --- the stages -----------------------------------------------------------------------------------------

    def _read_state(self, work: Work, instant: Instant) -> None:
        """Newest measurement, judged; into the take-off frame if it may be used."""
        # After a blind spell a jump is accepted: the last good state says nothing any more.
        last = self._last_measured if self._blind == 0 else None
        wait_until_ns = instant.nominal_ns + round(1e9 * self.settings.wait_s)
        while True:
            self.vehicle.poll()
            work.measured = self.vehicle.state()
            work.fault = check(work.measured, last, self._clock_ns(), self.settings.state)
            if work.fault is not Fault.STALE or self._clock_ns() >= wait_until_ns:
                break
        if work.measured is None or work.fault is not Fault.NONE:
            self._blind += 1
            return
        self._blind, self._last_measured = 0, work.measured
        work.state = self.frame.to_local(work.measured)

    def _observe(self, work: Work) -> None:
        """Compare the change of velocity since the last measurement with the model's."""
        if work.state is None or work.state.t_ns <= self._last_x_ns:
            return
        x = self.predictor.complete(work.state)
        if self._last_x is not None and self.engaged:
            modelled = self.predictor.carry(self._last_x, self._last_x_ns, work.state.t_ns, (0.0, 0.0, 0.0))
            change = [modelled[3 + axis] - self._last_x[3 + axis] for axis in range(3)]
            self.observer.update(x[3:6], change, 1e-9 * (work.state.t_ns - self._last_x_ns))
        self._last_x, self._last_x_ns = x, work.state.t_ns

    def _predict(self, work: Work, instant: Instant) -> None:
        """Carry the state to the tick, and on to the instant at which this tick's set-point will act."""
        if work.state is None:
            return
        disturbance = self.observer.disturbance_m_s2
        at_tick = self.predictor.predict(work.state, instant.nominal_ns, disturbance)
        at_tick_ns = max(instant.nominal_ns, work.state.t_ns)
        work.act_ns = instant.nominal_ns + self._usual_send_ns + round(1e9 * self.predictor.delay_s)
        predicted = self.predictor.carry(at_tick, at_tick_ns, work.act_ns, disturbance)
        if all(map(math.isfinite, predicted)):
            work.at_tick, work.predicted = at_tick, predicted

    def _plan(self, work: Work, instant: Instant, guidance: Guidance) -> None:
        """Plan until the first deadline; drop what comes after the second."""
        if work.predicted is None or guidance.reference is None:
            return
        self._lay_out(guidance.reference, 1e-9 * (work.act_ns - instant.nominal_ns), guidance)
        np.copyto(self._asked, self._rows[1:])
        if self._governor is not None:
            self._governor.govern(self._asked, 1e-9 * work.act_ns, work.predicted, self._replaced)
        self._asked[:, 0:3] += self.trim.offset_m
        deadline_ns = instant.nominal_ns + round(1e9 * self.settings.plan_by_s)
        start_ns = self._clock_ns()
        state, disturbance = np.array(work.predicted), np.array(self.observer.disturbance_m_s2)
        plan = self.planner.plan(state, self._asked, disturbance, deadline_ns)
        end_ns = self._clock_ns()
        work.plan, work.solve_ns = plan, end_ns - start_ns
        if self.decisions is not None:
            log, planner = self.decisions
            work.record = log.decision()
            planner.note(work.record, plan)
        work.late_plan = end_ns > instant.nominal_ns + round(1e9 * self.settings.send_by_s)
        if not work.late_plan and _is_finite(plan.setpoint):
            work.candidate = self.settings.setpoint.clip(plan.setpoint)

    def _lay_out(self, reference: Reference, lead_s: float, guidance: Guidance) -> None:
        """Fill `_rows` from the path at its present pace (chain rule of path(time along it))."""
        pace = guidance.pace
        self._times_s[0] = guidance.path_s
        np.multiply(self._horizon_s, pace, out=self._times_s[1:])
        self._times_s[1:] += guidance.path_s + pace * lead_s
        self._rows[:] = rows(reference, self._times_s)
        if pace != 1.0:
            self._rows[:, 6:9] *= pace * pace
            self._rows[:, 6:9] += guidance.pace_change_1_s * self._rows[:, 3:6]
            self._rows[:, 3:6] *= pace

    def _decide(self, work: Work, instant: Instant, guidance: Guidance) -> None:
        """Let the shield decide; without it, the candidate, or level flight if there is none.

        It is told the nominal instant: gaps between these are whole periods, so that it counts the ticks that were skipped, never
        one that was merely late.
        """
        disturbance = self.observer.disturbance_m_s2
        ahead = None
        if work.predicted is not None:
            # The shield's set-point is computed for the middle of the span in which it may act.
            lead_ns = round(1e9 * self.shield.lead_s)
            ahead = self.predictor.carry(work.predicted, work.act_ns, work.act_ns + lead_ns, disturbance)
        newly = guidance.shielded and not self.engaged and ahead is not None
        if newly and ahead is not None:
            self.shield.engage(ahead)
            self.engaged = True
        if self.engaged and guidance.reference is not None:
            now_ns = instant.nominal_ns
            if self.decisions is not None:
                work.record = self.decisions[0].decision() if work.record is None else work.record
                work.record["engaged"], work.record["judged"], work.record["decide_ns"] = newly, True, now_ns
                work.record["seen"], work.record["ahead"] = ahead is not None, math.nan if ahead is None else ahead
                work.record["estimate"] = disturbance
                record_setpoint(work.record, "candidate", work.candidate)
            work.decision = self.shield.decide(ahead, disturbance, work.candidate, now_ns)
            return
        if work.candidate is None and guidance.reference is not None and work.state is not None:
            work.candidate = level(work.state, GRAVITY_M_S2 / self.predictor.physics.thrust_gain)

    def _send(self, work: Work, guidance: Guidance) -> None:
        """Send what was decided; if the shield itself failed, nothing is sent."""
        shield_failed = self.engaged and guidance.reference is not None and work.decision is None
        setpoint = work.candidate if work.decision is None else work.decision.setpoint
        if setpoint is None or shield_failed:
            return
        self.vehicle.send(setpoint)
        work.sent, work.sent_ns = setpoint, self._clock_ns()
        self.predictor.sent(work.sent_ns, setpoint)
        if guidance.reference is not None:
            self.planner.applied(setpoint)

    def _must_give_up(self, work: Work, guidance: Guidance) -> bool:
        """Streaming ends when the shield says so (or fails), or after too many blind ticks without it."""
        if self.engaged and guidance.reference is not None:
            return work.decision is None or work.decision.setpoint is None
        return self._blind >= self.settings.blind_ticks

    def _why(self, work: Work) -> str:
        """What the shield says when it sent nothing."""
        decision = work.decision
        if decision is None or decision.setpoint is not None:
            return ""
        return self._guard(Stage.SHIELD, decision.text, None) or ""

    def _error_m(self, work: Work, guidance: Guidance) -> Vector | None:
        if work.at_tick is None or guidance.reference is None:
            return None
        return np.array(work.at_tick[0:3]) - self._rows[0, 0:3]

    def _record(self, work: Work, instant: Instant, guidance: Guidance, overrun: bool, tick_us: float) -> None:
        """Fill the log's records in place."""
        if self.recorder is None:
            return
        record = self.recorder.tick()
        record["disturbance"] = self._to_world @ np.array(self.observer.disturbance_m_s2)
        record_tick(record, work, instant, guidance, self.frame, self._rows[0])
        record["overrun"], record["tick_us"] = overrun, tick_us
        self.recorder.commit()
        if self.decisions is not None and work.record is not None:
            note_decision(work.record, work, instant)
            self.decisions[0].commit_decision()


def _is_finite(setpoint: Setpoint) -> bool:
    return math.isfinite(setpoint.thrust_m_s2) and bool(np.isfinite(setpoint.rates_rad_s).all())


def level(state: VehicleState, thrust_m_s2: float, gain_1_s: float = 4.0) -> Setpoint:
    """Set-point that turns the vehicle upright with the given thrust [m/s^2]; heading is left alone.

    Args:
        state: Present state.
        thrust_m_s2: Collective thrust to command [m/s^2].
        gain_1_s: Body rate per tilt [1/s].
    """
    w, x, y, z = state.quaternion_wxyz.tolist()
    up_x, up_y = 2.0 * (x * z - w * y), 2.0 * (y * z + w * x)
    return Setpoint(np.array([-gain_1_s * up_y, gain_1_s * up_x, 0.0]), thrust_m_s2)
