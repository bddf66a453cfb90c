"""Figures of a flight, gathered tick by tick in arrays of fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .phases import PLANNED, Phase
from .tick_types import SHIELD_OFF, Outcome

CAPACITY = 360_000
"""Ticks of which the duration is kept: one hour at 100 Hz; later ones overwrite the first."""


@dataclass(frozen=True, slots=True)
class FlightSummary:
    """What a flight came to.

    Attributes:
        completed: Whether the task was flown to its end and the vehicle landed.
        why: Why not, in words; empty if completed.
        rmse_m: Root mean square distance from the reference over the task, by the vehicle's own estimate [m].
        ticks: Planned ticks.
        skipped: Ticks that never happened because the one before took too long.
        overruns: Ticks whose set-point was late, and ticks after skipped ones.
        tick_us: 50th, 99th and 99.9th percentile from state read to set-point sent [us].
        late_us: The same percentiles of wake-up lateness [us].
        verdicts: Ticks accepted, replaced by the backup, void, and without shield.
        failure: Last failure of a stage, in words; empty if none.
    """

    completed: bool
    why: str
    rmse_m: float
    ticks: int
    skipped: int
    overruns: int
    tick_us: tuple[float, float, float]
    late_us: tuple[float, float, float]
    verdicts: tuple[int, int, int, int]
    failure: str

    def lines(self) -> list[str]:
        """For the terminal."""
        accepted, backup, void, off = self.verdicts
        p50, p99, p999 = self.tick_us
        rows = [
            f"position RMSE over the task   {self.rmse_m:.4f} m (vehicle's own estimate)",
            f"tick (state to set-point)     p50 {p50:.0f} us, p99 {p99:.0f} us, p99.9 {p999:.0f} us",
            f"wake-up lateness              p50 {self.late_us[0]:.0f} us, p99.9 {self.late_us[2]:.0f} us",
            f"planned ticks                 {self.ticks}, overruns {self.overruns}, skipped {self.skipped}",
            f"shield                        accepted {accepted}, backup {backup}, void {void}, not engaged {off}",
        ]
        if self.failure:
            rows.append(f"last failure of a stage       {self.failure}")
        return rows


def _percentiles(values: npt.NDArray[np.float32]) -> tuple[float, float, float]:
    if len(values) == 0:
        return (float("nan"),) * 3
    p50, p99, p999 = (float(value) for value in np.percentile(values, [50.0, 99.0, 99.9]))
    return p50, p99, p999


class Tally:
    """Gathers the figures of planned ticks."""

    def __init__(self) -> None:
        self._tick_us: npt.NDArray[np.float32] = np.zeros(CAPACITY, np.float32)
        self._late_us: npt.NDArray[np.float32] = np.zeros(CAPACITY, np.float32)
        self._ticks = self._skipped = self._overruns = 0
        self._squares_m2, self._tracked = 0.0, 0
        self._verdicts = {0: 0, 1: 0, 2: 0, SHIELD_OFF: 0}
        self._landed_after_task = False

    def add(self, phase: Phase, outcome: Outcome, late_ns: int, skipped: int) -> None:
        """Count one tick."""
        if phase not in PLANNED:
            return
        slot = self._ticks % CAPACITY
        self._tick_us[slot], self._late_us[slot] = outcome.tick_us, 1e-3 * late_ns
        self._ticks += 1
        self._skipped += skipped
        self._overruns += outcome.overrun
        self._verdicts[outcome.verdict] = self._verdicts.get(outcome.verdict, 0) + 1
        if phase is Phase.TRACK and outcome.error_m is not None:
            self._squares_m2 += float(outcome.error_m @ outcome.error_m)
            self._tracked += 1

    def summary(self, why: str, failure: str, task_started: bool) -> FlightSummary:
        """The figures so far.

        Args:
            why: Why the flight did not go as asked; empty if it did.
            failure: Last failure of a stage.
            task_started: Whether the task began.
        """
        kept = min(self._ticks, CAPACITY)
        rmse_m = (self._squares_m2 / self._tracked) ** 0.5 if self._tracked else float("nan")
        return FlightSummary(
            completed=task_started and not why,
            why=why if why or task_started else "the task was not flown",
            rmse_m=rmse_m,
            ticks=self._ticks,
            skipped=self._skipped,
            overruns=self._overruns,
            tick_us=_percentiles(self._tick_us[:kept]),
            late_us=_percentiles(self._late_us[:kept]),
            verdicts=(self._verdicts[0], self._verdicts[1], self._verdicts[2], self._verdicts[SHIELD_OFF]),
            failure=failure,
        )
