"""The shield: the last judge of every set-point, small enough to be read in ten minutes.

Each tick it decides one of three: ACCEPT the planner's set-point, because the state it can lead to lies in the certified set S
whatever the assumptions allow; BACKUP, the certified policy's set-point instead; or VOID, because an assumption broke and
stayed broken: no set-point at all, and the flight controller's own failsafe takes over.

It trusts nothing: an input that is missing, old or not finite is a reject. S is the shield graph of the bundle (float64),
the backup policy is the backup graph. What is proven of both: docs/certificate.md. The argument for the admission check is
section 6 there: the set-point of tick k, computed for the instant s_k, is in force at most until s_k + window; a set-point is
accepted only if the state lies in S at every instant at which the backup policy can have taken over from it in full.

Read this file first, then `shield_states` (where a set-point leads), `shield_margins` (membership in S), `shield_monitor`
(the watch over the assumptions), `shield_backup` and `shield_assumed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import Setpoint

from .bundle import Bundle
from .keep_clear import KeepClear
from .shield_ahead import Prediction, Start
from .shield_assumed import Assumed, Triple, assumed_from
from .shield_backup import BackupPolicy
from .shield_decision import Decision, Reason, Verdict
from .shield_margins import Answer, CertifiedSet, Held, Question, present, taking_over
from .shield_monitor import BLIND_TICKS, DETECTED, OUTSIDE_TICKS, PATIENCE, Monitor
from .shield_states import Command, Present, flatten

__all__ = ["Assumed", "Decision", "Reason", "Shield", "Verdict", "assumed_from"]

BLENDS = ((1.0, 0.0), (0.5, 0.5), (0.1, 0.9), (0.0, 0.5))
"""What is tried after a rejected set-point: shares of it, cut to its limits, and of the one before, the rest being the backup's."""
LEAST_THRUST_M_S2 = 1.0
"""A predicted thrust that is not above this is no state of a flying vehicle."""


class Resort(NamedTuple):
    """What is left if no set-point of the planner's is admitted.

    Attributes:
        setpoint, slope: The backup's towards an anchor, and the thrust slope that it leads to [m/s^3]; None if it is not finite.
        held: That anchor.
        questions: Does the present state lie in S for the anchor held, or, if none is, for one that can be? And, if the anchor may be
            given up, for another one?
    """

    setpoint: Setpoint | None
    slope: float
    held: Held
    questions: list[Question]


class Shield:
    """See the module's text.

    Args:
        backup, shield: ONNX bytes, hashes checked.
        assumed: Numbers of the certificate.
        clear: What the vehicle must stay clear of; a fence of 30 m around where the shield is engaged if None.

    Raises:
        BundleError: a graph does not load or has other inputs.
    """

    def __init__(self, backup: bytes, shield: bytes, assumed: Assumed, clear: KeepClear | None = None) -> None:
        self.assumed = assumed
        self._set = CertifiedSet(shield, assumed, KeepClear() if clear is None else clear)
        self._backup = BackupPolicy(backup)
        self._prediction = Prediction(assumed)
        self._monitor = Monitor(assumed)
        self._rate_limit = assumed.admitted_rates_rad_s
        self._thrust_share = 1.0 - math.exp(-assumed.tick_s / assumed.thrust_lag_s)
        self._slope_share = 1.0 - math.exp(-assumed.tick_s / assumed.rate_lag_s)
        self._forget()

    @classmethod
    def from_bundle(cls, bundle: Bundle, clear: KeepClear | None = None) -> Shield:
        """Shield of a bundle, which was checked when it was read.

        Raises:
            BundleError: see the class, or the certificate is for another tick rate.
        """
        files, assumed = bundle.files, assumed_from(bundle.files["certificate.toml"])
        if not math.isclose(bundle.manifest.tick_hz * assumed.tick_s, 1.0, rel_tol=1e-9):
            raise BundleError(
                f"manifest.toml: {bundle.manifest.tick_hz:g} ticks/s, the certificate is for {1.0 / assumed.tick_s:g}; export again"
            )
        return cls(files["backup.onnx"], files["shield.onnx"], assumed, clear)

    @property
    def lead_s(self) -> float:
        """How long after a set-point begins to act lies the instant for which its state must be predicted [s]."""
        return self.assumed.window_s

    def _forget(self) -> None:
        self._held: Held | None = None
        self._next_slope: float | None = None  # the backup's own; None if it did not act last
        self._along = 0.0  # what that slope tends to: the backup's feedback along the thrust, while it acts
        self._last: Setpoint | None = None
        self._acting: tuple[Command, ...] = ()  # set-points of the last ticks that may act too late, newest first
        self._thrust: float | None = None
        self._open: tuple[Start, Command] | None = None  # what `settle` has to look at
        self._doubted = False  # an assumption looks broken in this tick
        self._refused = False  # the set-point judged last: the next one likely is too, so that all is asked in one run then

    def keep_clear(self, clear: KeepClear) -> None:
        """Say what the vehicle must stay clear of, before the shield is engaged; in the frame of the states."""
        self._set.clear = clear

    def engage(self, predicted: Sequence[float]) -> None:
        """Start to judge; the geofence is measured from here.

        Args:
            predicted: State of 14 numbers, see `decide`.
        """
        self._set.engage(predicted)
        self._monitor.engage()
        self._forget()

    def decide(
        self, predicted: Sequence[float] | None, disturbance: Sequence[float], candidate: Setpoint | None, now_ns: int
    ) -> Decision:
        """Judge one tick.

        Args:
            predicted: State at the instant for which the set-point is computed: position [m], velocity [m/s], quaternion
                wxyz, body rates [rad/s], modelled collective thrust [m/s^2]; world z up; None if there is none.
            disturbance: Estimated world acceleration that the model lacks, 3 numbers [m/s^2].
            candidate: The planner's set-point, None if it has none.
            now_ns: CLOCK_MONOTONIC [ns].

        Returns:
            The decision; its set-point is what must be sent.
        """
        self.settle()
        late, skipped = self._monitor.is_late(now_ns), self._monitor.skipped
        if late:
            self._thrust = None  # too many ticks were skipped: start again from the predictor's thrust
        else:
            self._run_on(skipped)
        if predicted is None:
            return self._blind(Reason.NO_STATE)
        x, d = _usable_state(predicted), _usable_estimate(disturbance)
        if x is None or d is None:
            return self._blind(Reason.NOT_FINITE)
        self._monitor.count(Reason.NO_STATE, False)
        self._monitor.count(Reason.NOT_FINITE, False)
        if self._thrust is not None:
            x[13] = self._thrust  # the thrust that the certificate speaks of: one set-point a tick, each held for a tick
        now = flatten(x, self._slope(x[13]), self.assumed.gravity_m_s2)
        held_estimate = self._held.disturbance if self._held is not None and self._next_slope is not None else None
        broken = self._monitor.watch(x[10:12], d, held_estimate, late)
        if broken.ticks > PATIENCE:
            return Decision(None, Verdict.VOID, broken.reason, math.nan, broken.seen, broken.most, broken.ticks)
        tick, self._doubted = self._start(now, d), broken.ticks > 0
        if broken.ticks >= DETECTED:
            if broken.reason is Reason.DISTURBANCE:
                self._held = None  # held anew, with what is estimated now
            decision = self._fall_back(x, tick, broken.reason)
        elif candidate is None:
            decision = self._fall_back(x, tick, Reason.NO_PLAN)
        else:
            decision = self._judge(x, tick, candidate, broken.reason)
        return decision if broken.ticks == 0 else replace(decision, seen=broken.seen, most=broken.most, ticks=broken.ticks)

    # --- ACCEPT: does every state that the candidate can lead to lie in S? -----------------------------------

    def _judge(self, x: list[float], tick: Start, candidate: Setpoint, broken: Reason) -> Decision:
        """The candidate if it is admitted, or else the first blend of it that is, or else the backup's set-point."""
        command = _usable_command(candidate)
        if command is None:
            return self._fall_back(x, tick, Reason.NOT_FINITE)
        lead, eager = self._leads(tick, command), self._refused
        self._refused = True
        if lead is not None and not eager:
            decision = self._wish(x, tick, candidate, lead, self._set.ask([lead])[0], broken)
            if decision is not None:
                return decision
        resort = self._resort(tick)
        blends = self._blends(command, resort)[0 if lead is None else 1 :]  # the first: the set-point in its limits
        leads = [(blend, question) for blend in blends if (question := self._leads(tick, blend)) is not None]
        asked = [*(question for _, question in leads), *resort.questions]
        if lead is None or not eager:
            answers = self._set.ask(asked)
        else:
            first, *answers = self._set.ask([lead, *asked])
            decision = self._wish(x, tick, candidate, lead, first, broken)
            if decision is not None:
                return decision
        for (blend, question), answer in zip(leads, answers, strict=False):
            milder, held, margin = self._set.choose(question, answer)
            if milder is Reason.OK:
                return self._accept(x, Setpoint(np.array(blend[:3]), blend[3]), held, margin, Reason.SOFTENED)
        reason = Reason.SETPOINT_LIMIT if lead is None else Reason.WOULD_LEAVE_SET
        return self._fall_back(x, tick, reason, (resort, answers[len(leads) :]))

    def _wish(
        self, x: list[float], tick: Start, candidate: Setpoint, question: Question, answer: Answer, broken: Reason
    ) -> Decision | None:
        """What becomes of the planner's set-point as it is; None if a blend of it may be admitted."""
        reason, held, margin = self._set.choose(question, answer)
        if reason is Reason.WOULD_LEAVE_SET:
            return None
        if reason is not Reason.OK:
            return self._fall_back(x, tick, reason)
        self._refused = False
        return self._accept(x, candidate, held, margin, broken)

    def _start(self, now: Present, d: Triple) -> Start:
        """What all set-points of a tick have in common."""
        return self._prediction.start(now, self._set.limited(d), self._acting)

    def _accept(self, x: list[float], setpoint: Setpoint, held: Held | None, margin: float, reason: Reason) -> Decision:
        self._monitor.count(Reason.OUTSIDE_SET, False)
        self._held, self._next_slope = held, None
        self._keep(x, setpoint)
        return Decision(setpoint, Verdict.ACCEPT, reason, margin)

    def _admit(self, tick: Start, command: Command) -> tuple[Reason, Held | None, float]:
        """Whether the states that a set-point can lead to lie in S for an anchor with room to stop; the best one, and its margin."""
        lead = self._leads(tick, command)
        if lead is None:
            return Reason.SETPOINT_LIMIT, None, math.nan
        return self._set.choose(lead, self._set.ask([lead])[0])

    def _leads(self, tick: Start, command: Command) -> Question | None:
        """The question whether a set-point can be sent; None if it is beyond its limits."""
        if self._cut(command) != command:
            return None
        ahead = self._prediction.ahead(tick, command)
        return taking_over(ahead, self._set.anchors(ahead.states[1], tick.disturbance, self._held))

    def _cut(self, command: Command) -> Command:
        """A set-point cut to its limits."""
        a, (most_roll, most_pitch, most_yaw), (roll, pitch, yaw, thrust) = self.assumed, self._rate_limit, command
        return (
            min(max(roll, -most_roll), most_roll),
            min(max(pitch, -most_pitch), most_pitch),
            min(max(yaw, -most_yaw), most_yaw),
            min(max(thrust, a.thrust_min_m_s2), a.thrust_max_m_s2),
        )

    def _blends(self, command: Command, resort: Resort) -> list[Command]:
        """The set-point, cut to its limits and drawn towards the one before and the backup policy's; each is judged like any other."""
        if resort.setpoint is None:
            return []
        asked, other = self._cut(command), _plain(resort.setpoint)
        before = self._acting[0] if self._acting else other
        return [_mixed(asked, share, before, kept, other) for share, kept in BLENDS]

    # --- BACKUP ----------------------------------------------------------------------------------------------

    def _resort(self, tick: Start) -> Resort:
        """What the backup policy would do towards the anchor held, and what is to be asked of S about the present state."""
        now, d = tick.now, tick.disturbance
        any_other = self._set.anchors(now.flat, d, self._held)
        options = [self._held] if self._held is not None else any_other
        questions = [present(now.flat, options)]
        if self._held is not None and (self._doubted or self._monitor.ticks(Reason.OUTSIDE_SET) >= PATIENCE):
            questions.append(present(now.flat, any_other))
        return Resort(*self._backup.setpoint(now, options[-1]), options[-1], questions)

    def _fall_back(self, x: list[float], tick: Start, reason: Reason, asked: tuple[Resort, list[Answer]] | None = None) -> Decision:
        """The backup policy towards the anchor held last; from outside S it is sent all the same, but not for long.

        The anchor held stays covered though its margin, which takes off the estimate's errors, may show the state slightly outside, as
        may the ticks between two steps of the proof. So it is given up only for one for which the set-point sent now is admitted
        (`settle`), or when nothing is claimed any more: an assumption is broken, or the state looked outside for long.
        """
        if asked is None:
            resort = self._resort(tick)
            asked = resort, self._set.ask(resort.questions)
        resort, answers = asked
        _, held, margin = self._set.choose(resort.questions[0], answers[0])
        ticks = self._monitor.count(Reason.OUTSIDE_SET, margin <= 0.0)
        if margin <= 0.0 and len(answers) > 1:
            found, other, other_margin = self._set.choose(resort.questions[1], answers[1])
            if found is Reason.OK:
                held, margin, ticks = other, other_margin, self._monitor.count(Reason.OUTSIDE_SET, False)
        if ticks > OUTSIDE_TICKS:
            return Decision(None, Verdict.VOID, Reason.OUTSIDE_SET, margin)
        setpoint, slope = (resort.setpoint, resort.slope) if held is resort.held else self._backup.setpoint(tick.now, held)
        if setpoint is None:
            return Decision(None, Verdict.VOID, Reason.NOT_FINITE, margin)
        self._held, self._next_slope = held, slope
        self._along = tick.now.slope + (slope - tick.now.slope) / self._slope_share
        self._open = (tick, _plain(setpoint)) if margin <= 0.0 else None
        self._keep(x, setpoint)
        return Decision(setpoint, Verdict.BACKUP, Reason.OUTSIDE_SET if margin <= 0.0 else reason, margin)

    def settle(self) -> None:
        """What a tick can do after its set-point was sent, else the next one does it first: hold another anchor from then on if the
        backup's set-point for the one held so far, from a state without a margin, is admitted for it, like a planner's."""
        if self._open is None:
            return
        (tick, command), self._open = self._open, None
        reason, held, _ = self._admit(tick, command)
        if reason is Reason.OK:
            self._held, self._next_slope = held, None

    def _blind(self, reason: Reason) -> Decision:
        """No usable state: the last set-point once more, for `BLIND_TICKS` at most, then nothing."""
        self._thrust = None
        if self._monitor.count(reason, True) > BLIND_TICKS or self._last is None:
            return Decision(None, Verdict.VOID, reason, math.nan)
        self._monitor.expect(_plain(self._last))
        return Decision(self._last, Verdict.BACKUP, reason, math.nan)

    # --- what is carried along -------------------------------------------------------------------------------

    def _slope(self, thrust: float) -> float:
        """Thrust slope now: the backup's own if it acted, else what the last set-point implies."""
        if self._next_slope is not None:
            return self._next_slope
        if not self._acting:
            return 0.0
        return (self.assumed.thrust_gain * self._acting[0][3] - thrust) / self.assumed.thrust_lag_s

    def _run_on(self, ticks: int) -> None:
        """Carry the modelled thrust through ticks that were skipped: the last set-point acted on, and so did the backup's slope."""
        a = self.assumed
        for _ in range(ticks):
            if self._thrust is None or self._last is None:
                return
            if self._next_slope is None:
                self._thrust += self._thrust_share * (a.thrust_gain * self._last.thrust_m_s2 - self._thrust)
                continue
            lead = a.rate_lag_s * self._slope_share * (self._next_slope - self._along)
            self._thrust += a.tick_s * self._along + lead
            self._next_slope += self._slope_share * (self._along - self._next_slope)

    def _keep(self, x: list[float], setpoint: Setpoint) -> None:
        """Remember what acts now, and what it should lead to by the next tick."""
        command = _plain(setpoint)
        self._monitor.expect(command)
        self._last, self._acting = setpoint, (command, *self._acting)[: self._prediction.remembered]
        self._thrust = x[13] + self._thrust_share * (self.assumed.thrust_gain * command[3] - x[13])


def _usable_state(predicted: Sequence[float]) -> list[float] | None:
    """The state as plain numbers; None if one is missing or not finite, or the thrust is not that of a flight."""
    x = [float(value) for value in predicted]
    return x if len(x) == 14 and all(map(math.isfinite, x)) and x[13] > LEAST_THRUST_M_S2 else None


def _usable_estimate(disturbance: Sequence[float]) -> Triple | None:
    """The disturbance estimate; None if it is not three finite numbers."""
    d = tuple(float(value) for value in disturbance)
    return (d[0], d[1], d[2]) if len(d) == 3 and all(map(math.isfinite, d)) else None


def _usable_command(setpoint: Setpoint) -> Command | None:
    """The set-point as plain numbers; None if one is missing or not finite."""
    command = _plain(setpoint) if setpoint.rates_rad_s.shape == (3,) else None
    return command if command is not None and all(map(math.isfinite, command)) else None


def _plain(setpoint: Setpoint) -> Command:
    """The set-point as plain numbers."""
    roll, pitch, yaw = setpoint.rates_rad_s.tolist()
    return roll, pitch, yaw, float(setpoint.thrust_m_s2)


def _mixed(asked: Command, share: float, before: Command, kept: float, backup: Command) -> Command:
    """A share of the first set-point and of the second, the rest of the third."""
    rest = 1.0 - share - kept
    return (
        share * asked[0] + kept * before[0] + rest * backup[0],
        share * asked[1] + kept * before[1] + rest * backup[1],
        share * asked[2] + kept * before[2] + rest * backup[2],
        share * asked[3] + kept * before[3] + rest * backup[3],
    )
