"""What a flight report shows, computed from a flight log: time base, tracking error, timing, shield, refinement.

Everything here is numpy; the drawing is in `report_plot`, the page in `report_html`.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import LogFormatError

from .flight_log import SHIELD_OFF, Flight
from .phases import Phase
from .shield import Reason, Verdict

Array = npt.NDArray[np.float64]
AIRBORNE = (Phase.CLIMB, Phase.TRACK, Phase.BRAKE, Phase.LAND)
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Truth:
    """True motion from the simulator, on the companion's clock.

    Attributes:
        t_ns: CLOCK_MONOTONIC [ns], shape (T,).
        position_m: World ENU [m], shape (T, 3).
    """

    t_ns: npt.NDArray[np.int64]
    position_m: Array


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a quantity over the ticks, in that quantity's unit."""

    p50: float
    p99: float
    p999: float
    largest: float


@dataclass(frozen=True, slots=True)
class Tracking:
    """Position error while tracking the reference [m].

    Attributes:
        source: "truth" (simulator) or "estimate" (the vehicle's own state estimate).
        rmse_m, horizontal_rmse_m, vertical_rmse_m, largest_m: Over the ticks of the TRACK phase [m].
        mean_speed_m_s: Mean speed over those ticks [m/s].
    """

    source: str
    rmse_m: float
    horizontal_rmse_m: float
    vertical_rmse_m: float
    largest_m: float
    mean_speed_m_s: float


@dataclass(frozen=True, slots=True)
class ReportData:
    """One flight, ready to draw. Arrays have one row per tick; times are seconds since the first tick.

    Attributes:
        t_s: Time of each tick [s].
        position_m, reference_m: Flown and reference position, world ENU [m], shape (T, 3).
        error_m: Flown minus reference [m], shape (T, 3).
        airborne, tracking: Which ticks are in the air, and which in the TRACK phase.
        timed: Ticks whose timing counts: those in the air, or all if the vehicle never left the ground.
        engaged: Ticks in which the shield decided.
        planned: Ticks in which the planner refined (a return before and after exists).
        deadline_ms: Length of a tick [ms].
        figures: None if the flight never tracked.
        tick_ms, solve_ms: Time from state to set-point, and of the planner alone [ms].
        late_us: Wake-up lateness [us].
        age_ms: Age of the newest state [ms].
    """

    flight: Flight
    t_s: Array
    position_m: Array
    reference_m: Array
    error_m: Array
    airborne: npt.NDArray[np.bool_]
    tracking: npt.NDArray[np.bool_]
    timed: npt.NDArray[np.bool_]
    engaged: npt.NDArray[np.bool_]
    planned: npt.NDArray[np.bool_]
    deadline_ms: float
    figures: Tracking | None
    tick_ms: Spread
    solve_ms: Spread
    late_us: Spread
    age_ms: Spread

    @property
    def gain(self) -> Array:
        """Return after refinement minus before, of the ticks in `planned`."""
        ticks = self.flight.ticks[self.planned]
        return np.asarray(ticks["return_after"] - ticks["return_before"], np.float64)

    def verdict_count(self, verdict: Verdict) -> int:
        """Ticks with this verdict, over those in which the shield was engaged."""
        return int(np.count_nonzero(self.flight.ticks["verdict"][self.engaged] == verdict))

    def reasons(self) -> tuple[tuple[str, int], ...]:
        """Why the shield did not accept: (reason, ticks), most frequent first."""
        ticks = self.flight.ticks[self.engaged]
        values, counts = np.unique(ticks["reason"][ticks["verdict"] != Verdict.ACCEPT], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return tuple((reason_name(int(values[k])), int(counts[k])) for k in order)

    def phase_spans(self) -> tuple[tuple[str, float, float], ...]:
        """Flight phases in order: (name, begin, end) [s]."""
        phase = self.flight.ticks["phase"]
        edges = np.flatnonzero(np.diff(phase.astype(np.int16))) + 1
        begins = np.concatenate([[0], edges])
        ends = np.concatenate([edges, [len(phase) - 1]])
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return tuple((phase_name(int(phase[b])), float(self.t_s[b]), float(self.t_s[e])) for b, e in spans)


def reason_name(value: int) -> str:
    """A shield reason in words; the number itself if this version does not know it."""
    return Reason(value).name.lower().replace("_", " ") if value in set(Reason) else f"reason {value}"


def phase_name(value: int) -> str:
    """A flight phase in words; the number itself if this version does not know it."""
    known = {int(phase.value): phase.name for phase in Phase}
    return known.get(value, f"phase {value}").lower()


def spread(values: npt.NDArray[np.floating]) -> Spread:
    """Percentiles of the finite values; NaN if there are none."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return Spread(np.nan, np.nan, np.nan, np.nan)
    p50, p99, p999, largest = np.percentile(finite, [50, 99, 99.9, 100]).tolist()
    return Spread(p50, p99, p999, largest)


def load_truth(path: Path) -> Truth:
    """Read what `tubepilot sim-fc --truth` wrote.

    Args:
        path: npz file with `t_mono_ns` (T,) [ns] and `position` (T, 3) [m], world ENU.

    Raises:
        LogFormatError: the file is absent, is no npz, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = {name.removesuffix("_m"): name for name in arrays.files}
            missing = {"t_mono_ns", "position"} - set(names)
            if missing:
                raise LogFormatError(f"{path} lacks {', '.join(sorted(missing))}; give the file of sim-fc --truth")
            return Truth(arrays["t_mono_ns"].astype(np.int64), arrays[names["position"]].astype(np.float64))
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise LogFormatError(f"{path} cannot be read as truth: {error}; give the file of sim-fc --truth") from error


def _interpolate(t_ns: npt.NDArray[np.int64], truth: Truth) -> Array:
    start = int(truth.t_ns[0])
    at = (t_ns - start) / NS_PER_S
    knots = (truth.t_ns - start) / NS_PER_S
    columns = [np.interp(at, knots, truth.position_m[:, axis], left=np.nan, right=np.nan) for axis in range(3)]
    return np.stack(columns, axis=1)


def _tracking(error_m: Array, velocity_m_s: Array, source: str) -> Tracking | None:
    good = np.isfinite(error_m).all(axis=1)
    if not good.any():
        return None
    square = error_m[good] ** 2
    total = square.sum(axis=1)
    return Tracking(
        source,
        float(np.sqrt(total.mean())),
        float(np.sqrt(square[:, :2].sum(axis=1).mean())),
        float(np.sqrt(square[:, 2].mean())),
        float(np.sqrt(total.max())),
        float(np.linalg.norm(velocity_m_s[good], axis=1).mean()),
    )


def prepare(flight: Flight, truth: Truth | None = None) -> ReportData:
    """Compute everything a report shows.

    Args:
        flight: The flight log.
        truth: True motion, if the flight was simulated; the error is then the true one, else that of the estimate.

    Raises:
        LogFormatError: the log holds no tick.
    """
    ticks = flight.ticks
    if len(ticks) == 0:
        raise LogFormatError("the flight log holds no tick; fly first, or check that the log is the right one")
    # The predicted state holds at the tick itself; the measured one is older by `state_age_ms`.
    estimate = np.asarray(ticks["state"][:, :3], np.float64)
    position = estimate if truth is None else _interpolate(ticks["t_ns"], truth)
    reference = np.asarray(ticks["reference"][:, :3], np.float64)
    error = position - reference
    airborne = np.isin(ticks["phase"], [int(phase.value) for phase in AIRBORNE])
    tracking = ticks["phase"] == int(Phase.TRACK.value)
    engaged = ticks["verdict"] != SHIELD_OFF
    planned = (ticks["steps"] > 0) & np.isfinite(ticks["return_before"]) & np.isfinite(ticks["return_after"])
    timed = airborne if airborne.any() else np.ones(len(ticks), np.bool_)
    source = "estimate" if truth is None else "truth"
    return ReportData(
        flight=flight,
        t_s=np.asarray((ticks["t_ns"] - ticks["t_ns"][0]) / NS_PER_S, np.float64),
        position_m=position,
        reference_m=reference,
        error_m=error,
        airborne=airborne,
        tracking=tracking,
        timed=timed,
        engaged=engaged,
        planned=planned,
        deadline_ms=1e3 / float(flight.meta.get("tick_hz", 100)),
        figures=_tracking(error[tracking], np.asarray(ticks["state"][tracking, 3:6]), source),
        tick_ms=spread(ticks["tick_us"][timed] / 1e3),
        solve_ms=spread(ticks["solve_us"][planned] / 1e3),
        late_us=spread(ticks["late_us"][timed]),
        age_ms=spread(ticks["state_age_ms"][timed]),
    )
