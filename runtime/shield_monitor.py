"""The watch over the assumptions of the certificate: how long each has been broken (docs/certificate.md, section 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .shield_assumed import Assumed, Triple
from .shield_decision import Reason
from .shield_states import Command

PATIENCE = 25
"""Ticks that a broken assumption, or a state outside S, may last before the certificate is declared void."""
BLIND_TICKS = 25
"""Ticks without a usable state through which the last set-point is repeated; the certificate does not speak of them beyond
the missed ticks that it assumes, but a state found in S afterwards is covered again."""
OUTSIDE_TICKS = 2 * PATIENCE
"""Ticks for which the backup policy may act from a state that shows no margin."""
HELD_SHARE = 1.5
"""While the backup holds a disturbance estimate, the present one may differ by W and its own error, taken as W / 2."""


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
        self._response = 1.0 - self._decay
        # noise of two estimates of two rates, seen through one tick of the response
        noise = 2.0 * math.sqrt(2.0) * a.rate_error_rad_s / self._response
        self._most_rate = a.rate_residual_rad_s + noise
        self._late_ns = (1.5 + a.missed_ticks) * 1e9 * a.tick_s
        self._tick_ns = 1e9 * a.tick_s
        self.engage()

    def engage(self) -> None:
        """Forget everything."""
        self._broken = dict.fromkeys(Reason, 0)
        self._expected: tuple[float, float] | None = None
        self._last_ns = 0
        self.skipped = 0

    def is_late(self, now_ns: int) -> bool:
        """Note a tick; True if more ticks are missing before it than the certificate assumes. `skipped` says how many are."""
        gap_ns = now_ns - self._last_ns if self._last_ns > 0 else 0
        self._last_ns = now_ns
        self.skipped = max(round(gap_ns / self._tick_ns) - 1, 0)
        return gap_ns > self._late_ns

    def count(self, reason: Reason, happened: bool) -> int:
        """Ticks in a row, this one included, in which this happened."""
        self._broken[reason] = self._broken[reason] + 1 if happened else 0
        return self._broken[reason]

    def expect(self, rates_rad_s: Sequence[float], command: Command) -> None:
        """Note the roll and pitch rates that a set-point should lead to by the next tick."""
        gain, offset = self._assumed.rate_gain, self._assumed.rate_offset_rad_s
        roll, pitch = gain[0] * command[0] + offset[0], gain[1] * command[1] + offset[1]
        self._expected = (
            roll + (rates_rad_s[0] - roll) * self._decay,
            pitch + (rates_rad_s[1] - pitch) * self._decay,
        )

    def expect_nothing(self) -> None:
        """After a tick without a state, nothing is known of the next one's rates."""
        self._expected = None

    def watch(
        self, rates_rad_s: Sequence[float], disturbance: Triple, held: Triple | None, late: bool
    ) -> tuple[Reason, int]:
        """Compare with the assumptions.

        Args:
            rates_rad_s: Estimated body rates; roll and pitch are watched.
            disturbance: Present estimate, world [m/s^2].
            held: The estimate that the backup policy acts on; None if it does not act.
            late: What `is_late` said of this tick.

        Returns:
            The assumption broken for longest and for how many ticks; OK and 0 if none is.
        """
        found = (
            (Reason.DISTURBANCE, self._disturbed(disturbance, held)),
            (Reason.RATE_RESIDUAL, not late and self._rates_differ(rates_rad_s)),
            (Reason.MISSED_TICKS, late),
        )
        worst, longest = Reason.OK, 0
        for reason, happened in found:
            ticks = self.count(reason, happened)
            if ticks > longest:
                worst, longest = reason, ticks
        return worst, longest

    def _disturbed(self, disturbance: Triple, held: Triple | None) -> bool:
        """Whether the disturbance estimate is beyond its bound plus W, or too far from the one held."""
        (x, y, z), (most_x, most_y, most_z) = disturbance, self._most
        if abs(x) > most_x or abs(y) > most_y or abs(z) > most_z:
            return True
        if held is None:
            return False
        x, y, z = x - held[0], y - held[1], z - held[2]
        horizontal, vertical = self._assumed.acceleration_m_s2
        return math.sqrt(x * x + y * y) > HELD_SHARE * horizontal or abs(z) > HELD_SHARE * vertical

    def _rates_differ(self, rates_rad_s: Sequence[float]) -> bool:
        """Whether the rates are further from the expected ones than residual and noise allow."""
        if self._expected is None:
            return False
        roll = (rates_rad_s[0] - self._expected[0]) / self._response
        pitch = (rates_rad_s[1] - self._expected[1]) / self._response
        return math.sqrt(roll * roll + pitch * pitch) > self._most_rate
