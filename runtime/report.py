"""Flight report: from a flight log to one HTML page and one PNG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .flight_log import Flight
from .report_data import ReportData, Spread, Truth, prepare
from .report_html import Page, Rows, render
from .report_plot import PANELS, overview_png, panel_png
from .report_theme import DARK, LIGHT
from .shield import Verdict

PAGE_NAME, SHEET_NAME = "report.html", "report.png"


@dataclass(frozen=True, slots=True)
class Report:
    """Where the two files of a report are."""

    page: Path
    sheet: Path


def _number(value: float, digits: int, unit: str) -> str:
    return f"{value:.{digits}f} {unit}".rstrip() if math.isfinite(value) else "-"


def _share(count: int, of: int) -> str:
    return f"{count} ({100.0 * count / of:.2f} %)" if of else "0"


def _spread_rows(name: str, spread: Spread, digits: int, unit: str, note: str) -> Rows:
    values = (spread.p50, spread.p99, spread.p999, spread.largest)
    text = " / ".join(_number(value, digits, "") for value in values)
    return [(name, f"{text} {unit}", note)]


def _tiles(data: ReportData) -> tuple[tuple[str, str], ...]:
    engaged = int(np.count_nonzero(data.engaged))
    margin = data.flight.ticks["margin"][data.engaged]
    margin = margin[np.isfinite(margin)]
    figures = data.figures
    source = "true" if figures is not None and figures.source == "truth" else "estimated"
    overruns = int(data.flight.ticks["overrun"].astype(bool).sum())
    accepted = data.verdict_count(Verdict.ACCEPT)
    return (
        (f"position RMSE ({source})", _number(figures.rmse_m * 100.0, 1, "cm") if figures else "-"),
        ("mean speed while tracking", _number(figures.mean_speed_m_s, 2, "m/s") if figures else "-"),
        (f"tick p99.9 of {data.deadline_ms:g} ms", _number(data.tick_ms.p999, 2, "ms")),
        ("missed deadlines", f"{overruns} of {len(data.t_s)}"),
        ("plans the shield accepted", f"{100.0 * accepted / engaged:.1f} %" if engaged else "-"),
        ("least margin to the set", _number(float(margin.min()) if len(margin) else math.nan, 3, "")),
    )


def _tracking_rows(data: ReportData) -> Rows:
    figures = data.figures
    if figures is None:
        return [("tracking", "-", "the flight never reached the TRACK phase")]
    source = "simulator's own state" if figures.source == "truth" else "vehicle's state estimate, not the truth"
    wind = np.asarray(data.flight.ticks["disturbance"][data.tracking], np.float64)
    pull = float(np.linalg.norm(wind, axis=1).mean())
    return [
        ("position RMSE", _number(figures.rmse_m * 100.0, 2, "cm"), f"against the {source}"),
        ("horizontal RMSE", _number(figures.horizontal_rmse_m * 100.0, 2, "cm"), ""),
        ("vertical RMSE", _number(figures.vertical_rmse_m * 100.0, 2, "cm"), ""),
        ("largest error", _number(figures.largest_m * 100.0, 2, "cm"), ""),
        ("mean speed", _number(figures.mean_speed_m_s, 2, "m/s"), "of the predicted state"),
        ("time tracking", _number(np.count_nonzero(data.tracking) * data.deadline_ms / 1e3, 1, "s"), ""),
        ("mean disturbance", _number(pull, 2, "m/s^2"), "estimated, wind included"),
    ]


def _timing_rows(data: ReportData) -> Rows:
    ticks = data.flight.ticks
    planned = int(np.count_nonzero(data.planned))
    steps = float(ticks["steps"][data.planned].mean()) if planned else math.nan
    gain = data.gain
    better = int(np.count_nonzero(gain > 0.0))
    dropped = data.flight.dropped
    return [
        *_spread_rows("tick", data.tick_ms, 2, "ms", "newest state to set-point"),
        *_spread_rows("planner", data.solve_ms, 2, "ms", "planner alone"),
        *_spread_rows("wake-up lateness", data.late_us, 0, "us", "after the tick's nominal instant"),
        *_spread_rows("state age", data.age_ms, 1, "ms", "at the tick"),
        ("missed deadlines", f"{int(ticks['overrun'].astype(bool).sum())}", f"deadline {data.deadline_ms:g} ms"),
        ("refinement steps", _number(steps, 2, ""), "mean per planned tick"),
        ("refinement gain", _number(float(np.median(gain)) if planned else math.nan, 4, ""), "median, after - before"),
        ("ticks improved", _share(better, planned), "refined plan better than its warm start, of every tenth tick"),
        ("records dropped", str(dropped) if dropped >= 0 else "unknown", "by the recorder"),
    ]


def _shield_rows(data: ReportData) -> Rows:
    engaged = int(np.count_nonzero(data.engaged))
    rows: list[tuple[str, str, str]] = [("engaged", f"{engaged} ticks", f"of {len(data.t_s)}")]
    for verdict in (Verdict.ACCEPT, Verdict.BACKUP, Verdict.VOID):
        rows.append((verdict.name.lower(), _share(data.verdict_count(verdict), engaged), ""))
    rows += [(f"because {name}", str(count), "ticks not accepted") for name, count in data.reasons()]
    margin = data.flight.ticks["margin"][data.engaged]
    inside = int(np.count_nonzero(margin > 0.0))
    rows.append(("inside the set", _share(inside, engaged), "margin above 0"))
    return rows


def _settings_rows(flight: Flight) -> Rows:
    return [(key, str(value), "") for key, value in sorted(flight.meta.items()) if key != "format"]


def _events(data: ReportData) -> list[tuple[str, str]]:
    start = int(data.flight.ticks["t_ns"][0])
    return [(f"{(event.t_ns - start) / 1e9:8.2f} s", event.text) for event in data.flight.events]


def _notice(flight: Flight) -> str:
    if flight.complete and flight.dropped == 0:
        return ""
    if flight.complete:
        return f"The recorder dropped {flight.dropped} records: gaps in the curves are missing data, not the vehicle's."
    return "The log was cut off: everything up to its last whole record is shown."


def build(data: ReportData, title: str, bundle_rows: Rows, progress: bool = True) -> tuple[str, bytes]:
    """Draw everything.

    Args:
        data: From `prepare`.
        title: Headline.
        bundle_rows: (name, value, note) about the bundle that flew; empty if it was not given.
        progress: Show a progress bar on stderr.

    Returns:
        The HTML page and the PNG sheet.
    """
    tiles = _tiles(data)
    images: dict[str, tuple[bytes, bytes]] = {}
    for name in tqdm(PANELS, desc="drawing", unit="figure", disable=not progress, leave=False):
        images[name] = (panel_png(name, data, LIGHT), panel_png(name, data, DARK))
    length_s = float(data.t_s[-1])
    air_s = np.count_nonzero(data.airborne) * data.deadline_ms / 1e3
    tables = [
        ("Tracking", _tracking_rows(data)),
        ("Timing and planning (p50 / p99 / p99.9 / largest)", _timing_rows(data)),
        ("Shield", _shield_rows(data)),
        *([("Bundle", bundle_rows)] if bundle_rows else []),
        ("Settings of the flight", _settings_rows(data.flight)),
    ]
    rate_hz = 1e3 / data.deadline_ms
    page = Page(
        title=title,
        subtitle=f"{length_s:.1f} s recorded, {air_s:.1f} s in the air, {len(data.t_s)} ticks at {rate_hz:g} Hz",
        tiles=tiles,
        images=images,
        tables=tables,
        events=_events(data),
        notice=_notice(data.flight),
    )
    return render(page), overview_png(data, LIGHT, title, tiles)


def write(
    flight: Flight, truth: Truth | None, out: Path, title: str, bundle_rows: Rows = (), progress: bool = True
) -> tuple[Report, ReportData]:
    """Write `report.html` and `report.png` into a folder.

    Args:
        flight: The flight log.
        truth: True motion, if it was simulated.
        out: Folder, made if absent; older reports in it are replaced.
        title: Headline.
        bundle_rows: (name, value, note) about the bundle that flew.
        progress: Show a progress bar on stderr.

    Returns:
        Where the files are, and the figures behind them.

    Raises:
        LogFormatError: the log holds no tick.
    """
    data = prepare(flight, truth)
    page, sheet = build(data, title, bundle_rows, progress)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out / PAGE_NAME, out / SHEET_NAME)
    report.page.write_text(page, encoding="utf-8")
    report.sheet.write_bytes(sheet)
    return report, data
