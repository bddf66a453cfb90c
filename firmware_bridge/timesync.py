"""Clock of the flight controller against this machine's CLOCK_MONOTONIC, from TIMESYNC round trips.

A line (offset and skew) is fitted to the best round trips of the last seconds. Simulated flight controllers run up
to 6 % slow, so an offset alone would drift by 6 ms within a tenth of a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

RTT_LIMIT_NS = 10_000_000
"""Round trips longer than this are not used (PX4's own limit) [ns]."""

WINDOW = 40
MIN_SAMPLES = 5
MIN_SPAN_NS = 400_000_000
"""Shortest span of samples from which a skew is fitted; before, the clocks are taken to run alike [ns]."""

SKEW_LIMIT = 0.1
EXPIRY_NS = 30_000_000_000
"""Without a good round trip for so long the clocks are not known any more [ns]."""

CONTRADICTION_NS = 2_000_000
"""A round trip proves the fit wrong when its answer, by the fit, lies so far outside of the trip [ns]."""

CONTRADICTIONS = 2
"""So many in a row, of whatever length, and the clock is anchored anew (a simulator slipped, a clock was set)."""


@dataclass(frozen=True, slots=True)
class TimesyncStatistics:
    """How well the clocks are known.

    Attributes:
        samples: Round trips used.
        rejected: Round trips longer than `RTT_LIMIT_NS` or impossible.
        resets: Times that the clock was found to have jumped.
        rtt_ms: Least round trip in the window [ms].
        skew: Rate of the flight controller's clock over ours, minus 1, dimensionless.
    """

    samples: int
    rejected: int
    resets: int
    rtt_ms: float
    skew: float


class ClockFit:
    """Map between the flight controller's clock and ours."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=WINDOW)
        self._used = 0
        self._rejected = 0
        self._resets = 0
        self._contradictions = 0
        self._anchored = False
        self._sloped = False
        self._origin_ns = 0
        self._remote_origin_ns = 0
        self._rate = 1.0

    @property
    def locked(self) -> bool:
        """Whether enough round trips were seen to convert times."""
        return len(self._samples) >= MIN_SAMPLES or self._anchored

    def fresh(self, now_ns: int) -> bool:
        """Whether the clocks are locked and the newest round trip is recent enough, at our time `now_ns` [ns]."""
        return self.locked and now_ns - self._samples[-1][0] <= EXPIRY_NS

    def reset(self) -> None:
        """Forget everything (the flight controller restarted, or the link was away)."""
        self._samples.clear()
        self._contradictions = 0
        self._anchored = self._sloped = False
        self._rate = 1.0

    def add(self, sent_ns: int, remote_ns: int, received_ns: int) -> None:
        """Use one round trip.

        Args:
            sent_ns: When the request left, our clock [ns].
            remote_ns: The answerer's time [ns].
            received_ns: When the reply was read, our clock [ns].
        """
        rtt_ns = received_ns - sent_ns
        if rtt_ns < 0:
            self._rejected += 1
            return
        sample = (sent_ns + rtt_ns // 2, remote_ns, rtt_ns)
        if self._contradicts(sent_ns, remote_ns, received_ns):
            self._contradictions += 1
            self._rejected += 1
            if self._contradictions >= CONTRADICTIONS:
                self._anchor(sample)
            return
        self._contradictions = 0
        if rtt_ns > RTT_LIMIT_NS:
            self._rejected += 1
            return
        self._samples.append(sample)
        self._used += 1
        self._fit()

    def _contradicts(self, sent_ns: int, remote_ns: int, received_ns: int) -> bool:
        """Whether the fit puts the answer before its request or after its receipt, which cannot be."""
        local_ns = self.to_local_ns(remote_ns)
        if local_ns is None:
            return False
        slack_ns = CONTRADICTION_NS
        if not self._sloped:
            slack_ns += round(SKEW_LIMIT * (received_ns - self._samples[0][0]))
        return not sent_ns - slack_ns <= local_ns <= received_ns + slack_ns

    def _anchor(self, sample: tuple[int, int, int]) -> None:
        """Start again from one round trip; wrong by at most half of it. The skew found so far is kept."""
        self._samples.clear()
        self._samples.append(sample)
        self._contradictions = 0
        self._anchored, self._sloped = True, False
        self._resets += 1
        self._fit()

    def _fit(self) -> None:
        """Weighted least squares; a round trip's weight falls with the square of its excess over the best."""
        best_ns = min(rtt for _, _, rtt in self._samples)
        floor_ns = 50_000 + best_ns / 2
        weights = [1.0 / ((rtt - best_ns) / 2 + floor_ns) ** 2 for _, _, rtt in self._samples]
        total = sum(weights)
        first, remote_first, _ = self._samples[-1]
        xs = [middle - first for middle, _, _ in self._samples]
        ys = [(remote - remote_first) - (middle - first) for middle, remote, _ in self._samples]
        x_mean = sum(w * x for w, x in zip(weights, xs, strict=True)) / total
        y_mean = sum(w * y for w, y in zip(weights, ys, strict=True)) / total
        slope = self._rate - 1.0
        self._sloped = xs[-1] - xs[0] >= MIN_SPAN_NS
        if self._sloped:
            spread = sum(w * (x - x_mean) ** 2 for w, x in zip(weights, xs, strict=True))
            joint = sum(
                w * (x - x_mean) * (y - y_mean) for w, x, y in zip(weights, xs, ys, strict=True)
            )
            slope = min(max(joint / spread, -SKEW_LIMIT), SKEW_LIMIT)
        self._origin_ns = first
        self._remote_origin_ns = remote_first + round(y_mean - slope * x_mean)
        self._rate = 1.0 + slope

    def to_local_ns(self, remote_ns: int) -> int | None:
        """Our time of an instant on the flight controller's clock [ns]; None before the clocks are locked."""
        if not self.locked:
            return None
        return self._origin_ns + round((remote_ns - self._remote_origin_ns) / self._rate)

    def statistics(self) -> TimesyncStatistics:
        """Counts and the present fit."""
        best_ns = min((rtt for _, _, rtt in self._samples), default=0)
        return TimesyncStatistics(self._used, self._rejected, self._resets, best_ns / 1e6, self._rate - 1.0)
