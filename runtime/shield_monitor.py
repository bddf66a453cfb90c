"""The watch over the assumptions of the certificate: how long each has been broken (docs/certificate.md, section 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .shield_assumed import Assumed, Triple
from .shield_decision import Reason
from .shield_states import Command

DETECTED = 3
"""Ticks in a row after which a broken assumption brings the backup policy, until it holds again."""
PATIENCE = 25
"""Ticks that a broken assumption, or a state outside S, may last before the certificate is declared void."""
BLIND_TICKS = 25
"""Ticks without a usable state through which the last set-point is repeated; the certificate does not speak of them beyond
the missed ticks that it assumes, but a state found in S afterwards is covered again."""
OUTSIDE_TICKS = 2 * PATIENCE
"""Ticks for which the backup policy may act from a state that shows no margin."""
HELD_SHARE = 1.5
"""While the backup holds a disturbance estimate, the present one may differ by W and its own error, taken as W / 2."""


START_RAD_S = 1.0
"""What the model of the rates may be off when it starts; it dies out with the lag."""
LATE_S = 0.05
"""How much later than at its time the rates must answer for the reason to be called a delay, if that explains them better."""


class Finding(NamedTuple):
    """What the watch says of a tick.

    Attributes:
        reason: The assumption broken for longest; OK if none is.
        ticks: For how many ticks in a row.
        seen, most: What was compared, and the most that it may be: accelerations [m/s^2], rates [rad/s], time since the last tick [s].
    """

    reason: Reason
    ticks: int
    seen: float = math.nan
    most: float = math.nan


class RateModel:
    """Roll and pitch rate that set-points lead to through the lag alone, from no measurement.

    Args:
        assumed: Numbers of the certificate.
        late_ticks: By how many ticks later than they should the set-points act.
    """

    def __init__(self, assumed: Assumed, late_ticks: int) -> None:
        a = assumed
        self._gain, self._offset = a.rate_gain, a.rate_offset_rad_s
        self._decay, self._ahead = math.exp(-a.tick_s / a.rate_lag_s), math.exp(-a.window_s / a.rate_lag_s)
        self._waiting = [(0.0, 0.0)] * late_ticks
        self._rates = self._acting = (0.0, 0.0)

    def seen(self) -> tuple[float, float]:
        """At the instant s_k of this tick, the set-point before acting until then."""
        (roll, pitch), (to_roll, to_pitch) = self._rates, self._acting
        return to_roll + (roll - to_roll) * self._ahead, to_pitch + (pitch - to_pitch) * self._ahead

    def advance(self, command: Command) -> None:
        """By a tick in which this set-point acts, or one of before if they act late."""
        asked = self._gain[0] * command[0] + self._offset[0], self._gain[1] * command[1] + self._offset[1]
        self._waiting.append(asked)
        to_roll, to_pitch = self._acting = self._waiting.pop(0)
        roll, pitch = self._rates
        self._rates = to_roll + (roll - to_roll) * self._decay, to_pitch + (pitch - to_pitch) * self._decay


class Monitor:
    """Counts, per reason, the ticks in a row in which something was wrong.

    Args:
        assumed: Numbers of the certificate.
    """

    def __init__(self, assumed: Assumed) -> None:
        self._assumed = a = assumed
        horizontal, vertical = a.acceleration_m_s2
        limit = a.estimate_limit_m_s2
        self._most: Triple = (limit[0] + horizontal, limit[1] + horizontal, limit[2] + vertical)
        self._decay = math.exp(-a.tick_s / a.rate_lag_s)
        # a set-point that acts as late as it may, seen at the instant of the next tick
        late_s = 2.0 * a.window_s - a.tick_s
        self._early = math.exp(-a.window_s / a.rate_lag_s) * -math.expm1(-late_s / a.rate_lag_s)
        self._most_rate = a.rate_residual_rad_s + math.sqrt(2.0) * a.rate_error_rad_s
        self._late_ns = (1.5 + a.missed_ticks) * 1e9 * a.tick_s
        self._tick_ns = 1e9 * a.tick_s
        self.engage()

    def engage(self) -> None:
        """Forget everything."""
        self._broken = dict.fromkeys(Reason, 0)
        self._models = RateModel(self._assumed, 0), RateModel(self._assumed, math.ceil(LATE_S / self._assumed.tick_s))
        self._slack = START_RAD_S
        self._moved = 0
        self._last: Command | None = None
        self._last_ns = self._gap_ns = 0
        self.skipped = 0

    def is_late(self, now_ns: int) -> bool:
        """Note a tick; True if more ticks are missing before it than the certificate assumes. `skipped` says how many are."""
        self._gap_ns = gap_ns = now_ns - self._last_ns if self._last_ns > 0 else 0
        self._last_ns = now_ns
        self.skipped = max(round(gap_ns / self._tick_ns) - 1, 0)
        late = gap_ns > self._late_ns
        if late:
            self._slack = START_RAD_S  # when which set-point acted is not known
        elif self._last is not None:
            for _ in range(self.skipped):
                self.expect(self._last)
        return late

    def ticks(self, reason: Reason) -> int:
        """Ticks in a row, this one not included, in which this happened."""
        return self._broken[reason]

    def count(self, reason: Reason, happened: bool) -> int:
        """Ticks in a row, this one included, in which this happened."""
        self._broken[reason] = self._broken[reason] + 1 if happened else 0
        return self._broken[reason]

    def expect(self, command: Command) -> None:
        """Note the set-point of a tick."""
        gain = self._assumed.rate_gain
        if self._last is not None:
            roll, pitch = gain[0] * (command[0] - self._last[0]), gain[1] * (command[1] - self._last[1])
            self._slack = self._slack * self._decay + self._early * math.sqrt(roll * roll + pitch * pitch)
        self._last = command
        for model in self._models:
            model.advance(command)

    def watch(self, rates_rad_s: Sequence[float], disturbance: Triple, held: Triple | None, late: bool) -> Finding:
        """Compare with the assumptions.

        Args:
            rates_rad_s: Estimated body rates; roll and pitch are watched.
            disturbance: Present estimate, world [m/s^2].
            held: The estimate that the backup policy acts on; None if it does not act.
            late: What `is_late` said of this tick.

        Returns:
            The assumption broken for longest and for how many ticks.
        """
        on_time, delayed = (_apart(rates_rad_s, model.seen()) for model in self._models)
        most = self._most_rate + self._slack
        answer = Reason.DELAY if 2.0 * delayed < on_time else Reason.RATE_RESIDUAL
        differ = self.count(Reason.RATE_RESIDUAL, on_time > most)
        seen, limit = _worst(zip(map(abs, disturbance), self._most, strict=True))
        changed, change_limit = self._changed(disturbance, held)
        self._moved = self._moved + 1 if changed > change_limit and seen <= limit else 0
        found = (
            Finding(Reason.DISTURBANCE, self.count(Reason.DISTURBANCE, seen > limit), seen, limit),
            Finding(Reason.DISTURBANCE, self._moved, changed, change_limit),
            Finding(answer, differ, on_time, most),
            Finding(Reason.MISSED_TICKS, self.count(Reason.MISSED_TICKS, late), 1e-9 * self._gap_ns, 1e-9 * self._late_ns),
        )
        worst = max(found, key=lambda finding: finding.ticks)
        return worst if worst.ticks > 0 else Finding(Reason.OK, 0)

    def _changed(self, disturbance: Triple, held: Triple | None) -> tuple[float, float]:
        """The disturbance estimate's distance from the one held, and the most that it may be: horizontally or vertically."""
        if held is None:
            return 0.0, 0.0
        x, y, z = (now - before for now, before in zip(disturbance, held, strict=True))
        horizontal, vertical = self._assumed.acceleration_m_s2
        return _worst(((math.sqrt(x * x + y * y), HELD_SHARE * horizontal), (abs(z), HELD_SHARE * vertical)))


def _worst(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Of pairs of what is seen and the most that it may be the one that is furthest beyond."""
    return max(pairs, key=lambda pair: pair[0] - pair[1])


def _apart(rates_rad_s: Sequence[float], model: tuple[float, float]) -> float:
    """Distance of roll and pitch rate from a model's."""
    roll, pitch = rates_rad_s[0] - model[0], rates_rad_s[1] - model[1]
    return math.sqrt(roll * roll + pitch * pitch)
