"""A whole flight: runs a tick per period, watches for events, and changes phase by the table in `phases`.

Each phase has one method that says what the tick shall do and one that looks for the event that ends the phase. A mode
or arming counts only once the flight controller's heartbeat shows it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector

from .course import Course
from .flight_requests import Requests
from .flight_settings import FlightSettings, StopSwitch
from .flight_summary import FlightSummary, Tally
from .phases import PLANNED, SILENT, TRANSITIONS, FlightEvent, Phase, next_phase
from .realtime import Ticker
from .reference import Move, Reference, brake, straight
from .state_check import Fault
from .tick import Tick, level
from .tick_interfaces import EventLog, Status, VehicleControl
from .tick_types import Guidance, Instant, Outcome

STREAM_BEFORE_S = 1.0
"""Set-points are streamed this long before OFFBOARD is asked for (PX4's documentation asks for more than 1 s) [s]."""
SURELY_STANDS_SHARE = 0.8
"""Share of the hover thrust below which the vehicle stands on the ground whatever the model's error."""
MOST_STALLS = 3
"""Stalls on the ground after which `fly` starts anew; after one more the machine is not fit to fly."""
LEAP_M_S, LEAP_M_S2, LEAP_M = 0.6, 1.5, 1.5
"""A vehicle that left the ground with a leap, climbing faster or thrusting further from hovering than this, is not handed to the shield
yet: its set need not hold that state. So much further up it is, in any case [m/s, m/s^2, m]."""
BACKUP = 1
"""`runtime.shield.Verdict.BACKUP`, as it stands in an outcome."""
IDLE = Setpoint(np.zeros(3), 0.0)
_SPOILS = {FlightEvent.VOIDED, FlightEvent.TAKEN_OVER, FlightEvent.NO_LIFT_OFF, FlightEvent.ABANDONED}


class Now(Protocol):
    """CLOCK_MONOTONIC [ns]."""

    def __call__(self) -> int: ...


class Flight:
    """One flight from the ground (or from a take-over in the air) until disarmed.

    Args:
        vehicle: The link, connected, streams running.
        tick: The tick, warm; its frame is that of take-off.
        task: Path of the task in the take-off frame; starts and ends at rest.
        settings: Climb, braking, landing.
        ticker: Periods.
        stop: Requests to stop.
        log: Receives events.
        say: Receives lines for the user.
        clock_ns: CLOCK_MONOTONIC [ns].
    """

    def __init__(
        self,
        vehicle: VehicleControl,
        tick: Tick,
        task: Reference,
        settings: FlightSettings,
        ticker: Ticker,
        stop: StopSwitch,
        log: EventLog,
        say: Callable[[str], None],
        clock_ns: Now = time.monotonic_ns,
    ) -> None:
        self.phase = Phase.INIT
        self.tally = Tally()
        self._vehicle, self._tick, self._task, self._settings = vehicle, tick, task, settings
        self._ticker, self._stop, self._log, self._say, self._clock_ns = ticker, stop, log, say, clock_ns
        self._course = Course(straight(np.zeros(3), np.zeros(3), 1.0))
        self._requests = Requests(log, say, clock_ns)
        self._entered_ns = self._began_ns = clock_ns()
        self._last: Outcome | None = None
        self._status: Status = vehicle.status()
        self._stop_seen = False
        self._ground_known = True
        self._own_landing = False
        self._claimed = False
        self._stalls = 0
        self._task_started = False
        self._why = ""
        self._guide: dict[Phase, Callable[[], Guidance]] = {
            Phase.READY: lambda: Guidance(self.phase, fixed=IDLE),
            Phase.ARMED: self._guide_lift_off,
            Phase.CLIMB: self._guide_path,
            Phase.TRACK: self._guide_path,
            Phase.BRAKE: self._guide_brake,
            Phase.LAND: self._guide_land,
        }
        self._watch: dict[Phase, Callable[[Outcome], FlightEvent | None]] = {
            Phase.READY: self._watch_ready,
            Phase.ARMED: self._watch_armed,
            Phase.CLIMB: self._watch_climb,
            Phase.TRACK: self._watch_track,
            Phase.BRAKE: self._watch_brake,
            Phase.LAND: self._watch_land,
            Phase.VOID: self._watch_silent,
            Phase.MANUAL: self._watch_silent,
        }

    # --- the loop -------------------------------------------------------------------------------------------

    def run(self, found_in_air: bool) -> FlightSummary:
        """Fly until disarmed, or until nothing more can be done.

        Args:
            found_in_air: The vehicle is armed and flying already: take it over where it is.

        Returns:
            What happened, with the figures.
        """
        self._ticker.restart()
        if found_in_air:
            self._ground_known = False
            self._tick.predictor.reset(GRAVITY_M_S2)
        self._happen(FlightEvent.FOUND_IN_AIR if found_in_air else FlightEvent.CHECKS_PASSED)
        while self.phase is not Phase.DONE:
            nominal_ns, late_ns, skipped = self._ticker.wait()
            outcome = self._tick.run(Instant(nominal_ns, late_ns, skipped), self._guidance())
            self._last, self._status = outcome, outcome.status or self._status
            self._advance_path(outcome)
            self.tally.add(self.phase, outcome, late_ns, skipped)
            event = self._event(outcome)
            if event is not None:
                self._happen(event)
            self._requests.report(self._status.texts)
        self._log.event(f"failures by stage: {self._failures()}")
        return self.tally.summary(self._why, self._tick.last_failure, self._task_started)

    def _failures(self) -> str:
        counts = {stage.name: count for stage, count in self._tick.failures.items() if count}
        return str(counts) if counts else "none"

    def _guidance(self) -> Guidance:
        guide = self._guide.get(self.phase)
        return Guidance(self.phase) if guide is None else guide()

    def _event(self, outcome: Outcome) -> FlightEvent | None:
        """The most urgent thing that happened: stop, the shield, the flight controller, then the phase's own."""
        if self._stop.count >= 2 and self.phase not in SILENT:
            return FlightEvent.ABANDONED
        if outcome.give_up and FlightEvent.VOIDED in TRANSITIONS[self.phase] and not self._own_landing:
            return FlightEvent.STALLED if self._may_start_anew() else FlightEvent.VOIDED
        status = self._status
        if self.phase not in {Phase.INIT, Phase.READY}:
            if not status.armed:
                return FlightEvent.DISARMED
            if self._claimed and self.phase not in SILENT and not self._mode_is_ours(status.mode):
                return FlightEvent.TAKEN_OVER
        if self._stop.count >= 1 and not self._stop_seen:
            self._stop_seen = True
            self._why = self._why or "stopped on request"
            return FlightEvent.STOP
        watch = self._watch.get(self.phase)
        return None if watch is None else watch(outcome)

    def _may_start_anew(self) -> bool:
        """Whether the vehicle surely stands: the thrust never came near what lifts it. Not for ever, though."""
        if self.phase is not Phase.ARMED or lift_off_share(self._elapsed_s() - self._vehicle.arming_delay_s) > SURELY_STANDS_SHARE:
            return False
        self._stalls += 1
        return self._stalls <= MOST_STALLS

    def _mode_is_ours(self, mode: FlightMode) -> bool:
        return mode is FlightMode.OFFBOARD or (self.phase is Phase.LAND and mode is FlightMode.LAND)

    def _happen(self, event: FlightEvent) -> None:
        """Move to the next phase, if the table says so, and prepare it."""
        before, self.phase = self.phase, next_phase(self.phase, event)
        if self.phase is before:
            return
        self._entered_ns = self._clock_ns()
        self._requests.forget()
        self._course.begin_again()
        reason = f"{event.value}{self._said_by_shield(event)}"
        change = f"{before.name} -> {self.phase.name}: {reason}"
        self._say(f"{self._elapsed_since_start_s():6.1f} s  {change}")
        self._log.event(f"phase {change}")
        if event in _SPOILS or (event is FlightEvent.DISARMED and before not in {Phase.LAND, *SILENT}):
            self._why = self._why or f"in {before.name}: {reason}"
        self._prepare(before)

    def _said_by_shield(self, event: FlightEvent) -> str:
        """What the shield said when it gave up, or what was wrong with the state; empty for other events."""
        if event is not FlightEvent.VOIDED or self._last is None:
            return ""
        fault = self._last.fault
        said = self._last.why or ("" if fault is Fault.NONE else f"no usable state, {fault.name.lower().replace('_', ' ')}")
        return f", {said}" if said else ""

    def _prepare(self, before: Phase) -> None:
        """Choose the path of the phase just entered, joined to the one before."""
        position, velocity = self._where(before)
        if self.phase is Phase.ARMED:
            self._claimed = True
            self._tick.predictor.reset(0.0)
        elif self.phase is Phase.CLIMB:
            self._tick.planner.reset()
            self._tick.trim.reset()
            top = self._task.derivatives(np.zeros(1))[0, 0]
            duration_s = max(1.875 * float(np.linalg.norm(top - position)) / self._settings.climb_m_s, 1.0)
            self._course.path = Move.to_rest(position, velocity, np.zeros(3), top, duration_s)
        elif self.phase is Phase.TRACK:
            self._course.path, self._task_started = self._task, True
        elif self.phase is Phase.BRAKE:
            self._course.path = brake(position, velocity, self._settings.brake_m_s2)
        elif self.phase is Phase.LAND:
            low = np.array([position[0], position[1], min(position[2], 0.5 * self._settings.land_mode_m)])
            self._course.path = straight(position, low, self._settings.descent_m_s)
            self._own_landing = before is Phase.ARMED or not self._ground_known

    def _where(self, before: Phase) -> tuple[Vector, Vector]:
        """Where the next path starts: the last reference of planned flight, else the vehicle, else the origin."""
        if self._last is not None and before in PLANNED and np.isfinite(self._last.reference).all():
            return self._last.reference[0:3], self._last.reference[3:6]
        if self._last is not None and self._last.predicted is not None:
            x = np.array(self._last.predicted)
            return x[0:3], x[3:6]
        return np.zeros(3), np.zeros(3)

    # --- what the tick shall do -----------------------------------------------------------------------------

    def _guide_lift_off(self) -> Guidance:
        """Ramp the thrust while holding the vehicle level; the shield speaks of flight, not of the ground."""
        hover = GRAVITY_M_S2 / self._tick.predictor.physics.thrust_gain
        thrust = hover * lift_off_share(self._elapsed_s() - self._vehicle.arming_delay_s)
        state = None if self._last is None else self._last.state
        return Guidance(self.phase, fixed=IDLE if state is None else level(state, thrust))

    def _guide_path(self) -> Guidance:
        return self._along_path(self._tick.engaged or self._may_engage())

    def _guide_brake(self) -> Guidance:
        """Brake; after a take-over, hold where the vehicle is until OFFBOARD is confirmed."""
        if not self._claimed and self._last is not None and self._last.predicted is not None:
            x = np.array(self._last.predicted)
            self._course.path, self._course.path_s = brake(x[0:3], x[3:6], self._settings.brake_m_s2), 0.0
        return self._along_path(self._claimed and (self._tick.engaged or self._may_engage()))

    def _along_path(self, shielded: bool) -> Guidance:
        return self._course.guidance(self.phase, shielded)

    def _advance_path(self, outcome: Outcome) -> None:
        """While the shield flies its backup, or the vehicle is far off, the path slows down and waits for it."""
        far = outcome.error_m is not None and float(np.linalg.norm(outcome.error_m)) > self._settings.far_m
        self._course.advance(far or outcome.verdict == BACKUP, 1e-9 * self._ticker.period_ns)

    def _guide_land(self) -> Guidance:
        """Descend along the plan; silent once the flight controller lands by itself, idle if never off the ground."""
        if self._status.mode is FlightMode.LAND:
            self._own_landing = True
            return Guidance(self.phase)
        if self._own_landing and self._ground_known:
            return Guidance(self.phase, fixed=IDLE)
        if not self._is_high():
            self._tick.engaged = False  # the certificate speaks of flight, not of touching down
            return self._along_path(False)
        return self._guide_path()

    # --- what ends a phase ----------------------------------------------------------------------------------

    def _watch_ready(self, outcome: Outcome) -> FlightEvent | None:
        """Stream, then ask for OFFBOARD, then for arming; each until the heartbeat shows it."""
        status, elapsed_s = self._status, self._elapsed_s()
        if status.mode is FlightMode.OFFBOARD and status.armed and outcome.state is not None:
            return FlightEvent.ARM_CONFIRMED
        if elapsed_s > 15.0:
            wanted = "arming" if status.mode is FlightMode.OFFBOARD else "OFFBOARD"
            said = "; ".join(status.texts[-3:]) or "nothing"
            self._why = f"{wanted} was not confirmed by heartbeat within 15 s; the flight controller said: {said}"
            if status.armed:  # after a stall: it stands, and nobody will send anything any more
                self._requests.ask(lambda: self._vehicle.request_arm(False))
            return FlightEvent.STOP
        if elapsed_s > STREAM_BEFORE_S and outcome.state is not None and self._requests.due():
            if status.mode is FlightMode.OFFBOARD:
                self._requests.ask(lambda: self._vehicle.request_arm(True))
            else:
                self._requests.ask(lambda: self._vehicle.request_mode(FlightMode.OFFBOARD))
        return None

    def _watch_armed(self, outcome: Outcome) -> FlightEvent | None:
        """Off the ground: higher or faster than the ground's own estimate noise allows."""
        if outcome.state is not None and (outcome.state.position_m[2] > 0.08 or outcome.state.velocity_m_s[2] > 0.2):
            return FlightEvent.LIFTED_OFF
        if self._elapsed_s() > self._vehicle.arming_delay_s + 4.0:
            self._why = "no lift-off at 1.5 times the modelled hover thrust: check propellers, mass and thrust scale"
            return FlightEvent.NO_LIFT_OFF
        return None

    def _watch_climb(self, outcome: Outcome) -> FlightEvent | None:
        if self._course.left_s < -1.0 and self._distance_m(outcome) < 0.2:
            return FlightEvent.AT_HEIGHT
        if self._elapsed_s() > 2.0 * self._course.path.duration_s + 7.0:
            self._why = f"still {self._distance_m(outcome):.2f} m from the start of the task long after the climb"
            return FlightEvent.STOP
        return None

    def _watch_track(self, outcome: Outcome) -> FlightEvent | None:
        """The end of the path, or far beyond its time (the shield holds the vehicle back for good)."""
        if self._elapsed_s() > 3.0 * self._course.path.duration_s + 10.0:
            self._why = f"the task took {self._elapsed_s():.0f} s instead of {self._course.path.duration_s:.0f} s"
            return FlightEvent.STOP
        return FlightEvent.TASK_DONE if self._course.left_s <= 0.0 else None

    def _watch_brake(self, outcome: Outcome) -> FlightEvent | None:
        if not self._claimed:
            return self._claim()
        after_s = self._elapsed_s() - self._course.path.duration_s
        slow = outcome.state is not None and float(np.linalg.norm(outcome.state.velocity_m_s)) < 0.3
        if (after_s > 0.5 and slow) or after_s > 5.0:
            goes_on = self._settings.resume and not (self._ground_known or self._stop_seen or self._task_started)
            return FlightEvent.AT_REST_TO_CONTINUE if goes_on else FlightEvent.AT_REST
        return None

    def _claim(self) -> FlightEvent | None:
        """Take a flying vehicle over: ask for OFFBOARD until the heartbeat shows it."""
        if self._status.mode is FlightMode.OFFBOARD:
            self._claimed = True
            self._entered_ns, self._course.path_s = self._clock_ns(), 0.0
            self._tick.planner.reset()
            self._tick.predictor.reset(GRAVITY_M_S2)
            self._log.event("OFFBOARD confirmed in the air")
            return None
        if self._elapsed_since_start_s() > 10.0:
            self._why = "OFFBOARD was not confirmed within 10 s after the take-over in the air"
            return FlightEvent.TAKEN_OVER
        if self._requests.due():
            self._requests.ask(lambda: self._vehicle.request_mode(FlightMode.OFFBOARD))
        return None

    def _watch_land(self, outcome: Outcome) -> FlightEvent | None:
        """Low enough: ask for the firmware's landing; on the ground and still armed: ask to disarm."""
        status, elapsed_s = self._status, self._elapsed_s()
        low = outcome.state is not None and bool(outcome.state.position_m[2] < self._settings.land_mode_m)
        low = low or self._own_landing or elapsed_s > self._course.path.duration_s + 2.0
        if status.landed and elapsed_s > 3.0 and self._own_landing:
            if self._requests.due():
                self._requests.ask(lambda: self._vehicle.request_arm(False))
        elif low and status.mode is not FlightMode.LAND and self._requests.due():
            self._requests.ask(lambda: self._vehicle.request_mode(FlightMode.LAND))
        if elapsed_s > self._course.path.duration_s + 60.0:
            self._why = self._why or "not disarmed 60 s after landing began"
            return FlightEvent.ABANDONED
        return None

    def _watch_silent(self, outcome: Outcome) -> FlightEvent | None:
        """Wait for the flight controller to disarm; a second stop, or a minute, ends the wait."""
        if self._stop.count >= 2 or self._elapsed_s() > 60.0:
            return FlightEvent.DISARMED
        return None

    # --- small things ---------------------------------------------------------------------------------------

    def _elapsed_s(self) -> float:
        return 1e-9 * (self._clock_ns() - self._entered_ns)

    def _elapsed_since_start_s(self) -> float:
        return 1e-9 * (self._clock_ns() - self._began_ns)

    def _is_high(self) -> bool:
        state = None if self._last is None else self._last.state
        return state is not None and float(state.position_m[2]) > self._settings.engage_m

    def _may_engage(self) -> bool:
        """High, and no longer in a leap off the ground, which may lie outside the set; much higher, in any case."""
        if not self._is_high() or self._last is None or self._last.predicted is None:
            return False
        height_m, climb_m_s, thrust_m_s2 = (self._last.predicted[k] for k in (2, 5, 13))  # modelled thrust last
        calm = abs(climb_m_s) <= LEAP_M_S and abs(thrust_m_s2 - GRAVITY_M_S2) <= LEAP_M_S2
        return calm or height_m > self._settings.engage_m + LEAP_M

    @staticmethod
    def _distance_m(outcome: Outcome) -> float:
        if outcome.predicted is None:
            return math.inf
        return float(np.linalg.norm(np.array(outcome.predicted[0:3]) - outcome.reference[0:3]))


def lift_off_share(elapsed_s: float) -> float:
    """Commanded thrust over hover thrust during lift-off: idle for 0.5 s, then a ramp, held at 1.5.

    The ramp of 0.9 per second leaves the ground slowly enough for the plan to take over, and fast enough not to slide
    over the ground in the wind.
    """
    return min(0.2 + 0.9 * max(elapsed_s - 0.5, 0.0), 1.5)
