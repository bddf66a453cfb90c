"""The shield's decisions with one run of the graph for each set-point and each state, in the order in which they are needed.

An oracle for the shield that flies, which puts all questions that are left to it after a refused set-point in one run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.runtime.shield import BLENDS, Decision, Reason, Shield, Verdict
from tubepilot.runtime.shield_ahead import Start
from tubepilot.runtime.shield_margins import Held, present
from tubepilot.runtime.shield_monitor import OUTSIDE_TICKS, PATIENCE
from tubepilot.runtime.shield_states import Command


class SequentialShield(Shield):
    """Takes and gives what `Shield` does."""

    def _judge(self, x: list[float], tick: Start, candidate: Setpoint, broken: Reason) -> Decision:
        rates, thrust = candidate.rates_rad_s, float(candidate.thrust_m_s2)
        if rates.shape != (3,) or not (np.isfinite(rates).all() and math.isfinite(thrust)):
            return self._fall_back(x, tick, Reason.NOT_FINITE)
        command = (*rates.tolist(), thrust)
        reason, held, margin = self._admit(tick, command)
        accepted, named = candidate, broken
        if reason in (Reason.WOULD_LEAVE_SET, Reason.SETPOINT_LIMIT):
            for blend in self._mixtures(tick, command)[1 if reason is Reason.WOULD_LEAVE_SET else 0 :]:
                milder, held, margin = self._admit(tick, blend)
                if milder is Reason.OK:
                    reason, accepted, named = milder, Setpoint(np.array(blend[:3]), blend[3]), Reason.SOFTENED
                    break
        if reason is not Reason.OK:
            return self._fall_back(x, tick, reason)
        self._monitor.count(Reason.OUTSIDE_SET, False)
        self._held, self._next_slope = held, None
        self._keep(x, accepted)
        return Decision(accepted, Verdict.ACCEPT, named, margin)

    def _mixtures(self, tick: Start, command: Command) -> list[Command]:
        """The blends, by numbers of one set-point after the other."""
        held = self._held if self._held is not None else self._set.anchors(tick.now.flat, tick.disturbance, None)[1]
        backup, _ = self._backup.setpoint(tick.now, held)
        if backup is None:
            return []
        a, limits = self.assumed, self._rate_limit
        asked = [min(max(rate, -most), most) for rate, most in zip(command[:3], limits, strict=True)]
        asked.append(min(max(command[3], a.thrust_min_m_s2), a.thrust_max_m_s2))
        other = [*backup.rates_rad_s.tolist(), backup.thrust_m_s2]
        before = self._acting[0] if self._acting else other
        mixed: list[Any] = [
            tuple(share * i + kept * j + (1.0 - share - kept) * k for i, j, k in zip(asked, before, other, strict=True))
            for share, kept in BLENDS
        ]
        return mixed

    def _fall_back(self, x: list[float], tick: Start, reason: Reason, asked: Any = None) -> Decision:
        held, margin, _ = self._best(tick, [self._held] if self._held is not None else self._others(tick))
        ticks = self._monitor.count(Reason.OUTSIDE_SET, margin <= 0.0)
        if margin <= 0.0 and (self._doubted or ticks > PATIENCE):
            other, other_margin, has_room = self._best(tick, self._others(tick))
            if has_room:
                held, margin, ticks = other, other_margin, self._monitor.count(Reason.OUTSIDE_SET, False)
        if ticks > OUTSIDE_TICKS:
            return Decision(None, Verdict.VOID, Reason.OUTSIDE_SET, margin)
        setpoint, slope = self._backup.setpoint(tick.now, held)
        if setpoint is None:
            return Decision(None, Verdict.VOID, Reason.NOT_FINITE, margin)
        self._held, self._next_slope = held, slope
        self._along = tick.now.slope + (slope - tick.now.slope) / self._slope_share
        if margin <= 0.0:
            admitted, other, _ = self._admit(tick, (*setpoint.rates_rad_s.tolist(), setpoint.thrust_m_s2))
            if admitted is Reason.OK:
                self._held, self._next_slope = other, None
        self._keep(x, setpoint)
        return Decision(setpoint, Verdict.BACKUP, Reason.OUTSIDE_SET if margin <= 0.0 else reason, margin)

    def _others(self, tick: Start) -> list[Held]:
        return self._set.anchors(tick.now.flat, tick.disturbance, self._held)

    def _best(self, tick: Start, options: list[Held]) -> tuple[Held, float, bool]:
        """By a run for each anchor."""
        answers = [self._set.ask([present(tick.now.flat, [option])])[0] for option in options]
        order = sorted(range(len(options)), key=lambda n: -answers[n].margins[0])
        for n in order:
            (margin,), (across,), (high,) = answers[n]
            if margin > 0.0 and self._set.clear.blocked(options[n].anchor, across, high) is Reason.OK:
                return options[n], margin, True
        return options[order[0]], answers[order[0]].margins[0], False
