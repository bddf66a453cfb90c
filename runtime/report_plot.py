"""The figures of a flight report, drawn with matplotlib's Agg canvas (no display, no global state)."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .report_data import ReportData
from .report_theme import Theme
from .shield import Verdict

DPI = 150
LANES = ((Verdict.ACCEPT, "accept"), (Verdict.BACKUP, "backup"), (Verdict.VOID, "void"))


def _shade_tracking(axes: Any, data: ReportData, theme: Theme) -> None:
    """Mark the flight phases: a soft band over TRACK, and names where there is room."""
    total = max(float(data.t_s[-1]), 1e-9)
    axes.set_xlim(0.0, total)
    for name, begin, end in data.phase_spans():
        if name == "track":
            axes.axvspan(begin, end, color=theme.phase, zorder=0, linewidth=0)
        if end - begin > 0.055 * total:
            axes.annotate(
                name, (0.5 * (begin + end), 1.0), xycoords=("data", "axes fraction"), xytext=(0, -9),
                textcoords="offset points", ha="center", fontsize=7.5, color=theme.muted,
            )  # fmt: skip


def draw_path(axes: Any, data: ReportData, theme: Theme) -> None:
    """3-D path in world ENU against the reference, with its shadow on the ground."""
    flown = data.position_m[data.airborne & np.isfinite(data.position_m).all(axis=1)]
    reference = data.reference_m[data.tracking]
    if len(flown):
        low, high = flown.min(axis=0), flown.max(axis=0)
        floor = min(0.0, float(low[2]))
        axes.plot(flown[:, 0], flown[:, 1], floor, color=theme.grid, linewidth=1.4, zorder=1)
        axes.plot(*flown.T, color=theme.flown, linewidth=1.8, label="flown", zorder=2)
        axes.plot(*reference.T, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 3)), label="reference", zorder=3)
        axes.scatter(*flown[0], color=theme.backup, s=22, depthshade=False, label="take-off", zorder=4)
        # A level path would be drawn as a sheet of paper: the height is shown with at least a third of the width.
        span = np.maximum(high - np.array([low[0], low[1], floor]), 0.25)
        widest = float(span[:2].max())
        span = np.maximum(span, [0.4 * widest, 0.4 * widest, 0.0])
        middle = 0.5 * (low + high)
        axes.set_xlim(middle[0] - 0.53 * span[0], middle[0] + 0.53 * span[0])
        axes.set_ylim(middle[1] - 0.53 * span[1], middle[1] + 0.53 * span[1])
        axes.set_zlim(floor, floor + 1.1 * span[2])
        axes.set_box_aspect((span[0], span[1], max(span[2], widest / 3.0)), zoom=1.08)
        axes.legend(loc="upper right", ncols=3, bbox_to_anchor=(1.0, 1.02), handlelength=1.6)
    axes.set_xlabel("east [m]", labelpad=4)
    axes.set_ylabel("north [m]", labelpad=4)
    axes.set_zlabel("up [m]", labelpad=-4)
    axes.view_init(elev=30, azim=-62)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.0, 0.0, 0.0, 0.0))
        axis.line.set_color(theme.grid)
        axis._axinfo["grid"].update(color=theme.grid, linewidth=0.6)
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def draw_error(axes: Any, data: ReportData, theme: Theme) -> None:
    """Position error over time [cm], with the RMSE of the tracking phase."""
    axes.set_title("Tracking error")
    shown = np.where(data.tracking[:, None], data.error_m * 100.0, np.nan)
    horizontal = np.linalg.norm(shown[:, :2], axis=1)
    axes.plot(data.t_s, np.linalg.norm(shown, axis=1), color=theme.flown, linewidth=1.3, label="total")
    axes.plot(data.t_s, horizontal, color=theme.second, linewidth=0.8, alpha=0.8, label="horizontal")
    axes.plot(data.t_s, np.abs(shown[:, 2]), color=theme.accept, linewidth=0.8, alpha=0.8, label="vertical")
    top = float(np.nanmax(np.linalg.norm(shown, axis=1), initial=0.0)) if data.tracking.any() else 0.0
    axes.set_ylim(0.0, max(top, 1.0) * 1.3)
    if data.figures is not None:
        rmse = data.figures.rmse_m * 100.0
        axes.axhline(rmse, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.annotate(
            f"RMSE {rmse:.1f} cm", (1.0, rmse), xycoords=("axes fraction", "data"), xytext=(-3, 3),
            textcoords="offset points", ha="right", fontsize=8, fontweight="bold",
        )  # fmt: skip
    _shade_tracking(axes, data, theme)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("error [cm]")
    axes.legend(loc="lower left", bbox_to_anchor=(0.32, 1.0), ncols=3, borderaxespad=0.2, handlelength=1.4)


def draw_timing(axes: Any, data: ReportData, theme: Theme) -> None:
    """Histogram of the tick time and of the planner alone, with the deadline."""
    axes.set_title("Tick time")
    ticks = data.flight.ticks
    total = ticks["tick_us"][data.timed] / 1e3
    solve = ticks["solve_us"][data.planned] / 1e3
    top = max(data.deadline_ms * 1.08, float(np.nanmax(total, initial=0.0)) * 1.05)
    bins = np.linspace(0.0, top, 90)
    axes.hist(total, bins, color=theme.flown, alpha=0.85, label="state to set-point")
    if len(solve):
        axes.hist(solve, bins, histtype="step", color=theme.second, linewidth=1.2, label="planner alone")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xlim(0.0, top)
    axes.grid(visible=False, axis="x")
    axes.axvline(data.deadline_ms, color=theme.void, linewidth=1.4)
    axes.annotate(
        f"deadline\n{data.deadline_ms:g} ms", (data.deadline_ms, 0.74), xycoords=("data", "axes fraction"),
        xytext=(-5, 0), textcoords="offset points", ha="right", va="top", fontsize=8, color=theme.void,
    )  # fmt: skip
    for label, value, height in (("p50", data.tick_ms.p50, 0.97), ("p99.9", data.tick_ms.p999, 0.86)):
        if np.isfinite(value):
            axes.axvline(value, color=theme.ink, linewidth=0.9, linestyle=(0, (2, 2)))
            axes.annotate(
                f"{label} {value:.2f} ms", (value, height), xycoords=("data", "axes fraction"), xytext=(4, 0),
                textcoords="offset points", va="top", fontsize=8,
            )  # fmt: skip
    axes.set_xlabel("time [ms]")
    axes.set_ylabel("ticks")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2, handlelength=1.4)


def binned(t_s: npt.NDArray[np.floating], values: npt.NDArray[np.floating], width_s: float) -> npt.NDArray[np.float64]:
    """Quantiles in time bins: rows (centre [s], 10 %, 50 %, 90 %)."""
    if not len(t_s):
        return np.zeros((0, 4))
    number = np.floor(t_s / width_s).astype(np.int64)
    rows = []
    for bin_number in np.unique(number):
        inside = values[number == bin_number]
        rows.append([(bin_number + 0.5) * width_s, *np.percentile(inside, [10, 50, 90])])
    return np.array(rows, np.float64)


def draw_gain(axes: Any, data: ReportData, theme: Theme) -> None:
    """What gradient refinement adds to the return of the warm-started plan, per tick."""
    axes.set_title("Plan refinement gain")
    gain = data.gain
    width_s = max(0.1, float(data.t_s[-1]) / 120.0)
    rows = binned(data.t_s[data.planned], gain, width_s)
    if len(rows):
        at, low_gain, high_gain = rows[:, 0], rows[:, 1], rows[:, 3]
        axes.fill_between(at, low_gain, high_gain, color=theme.flown, alpha=0.22, linewidth=0, label="10-90 %")
        axes.plot(rows[:, 0], rows[:, 2], color=theme.flown, linewidth=1.4, label="median")
        low, high = np.percentile(rows[:, [1, 3]], [1, 99])
        pad = 0.15 * max(float(high - min(low, 0.0)), 1e-9)
        axes.set_ylim(min(0.0, float(low)) - pad, max(0.0, float(high)) + 2.0 * pad)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2, handlelength=1.4)
    axes.axhline(0.0, color=theme.ink, linewidth=0.8)
    _shade_tracking(axes, data, theme)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("gain in return [-]")


def _runs(mask: npt.NDArray[np.bool_], t_s: npt.NDArray[np.float64], tick_s: float) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(float(t_s[b]), float(t_s[e - 1] - t_s[b]) + tick_s) for b, e in edges.reshape(-1, 2)]


def draw_shield(axes: Any, data: ReportData, theme: Theme) -> None:
    """The shield's verdict over time, one lane each, with its share of the ticks."""
    axes.set_title("Shield decisions")
    verdict = data.flight.ticks["verdict"]
    engaged = max(int(np.count_nonzero(data.engaged)), 1)
    colours = {Verdict.ACCEPT: theme.accept, Verdict.BACKUP: theme.backup, Verdict.VOID: theme.void}
    visible_s = float(data.t_s[-1]) / 500.0
    for lane, (value, _) in enumerate(reversed(LANES)):
        runs = _runs(data.engaged & (verdict == value), data.t_s, data.deadline_ms / 1e3)
        wide = [(begin, max(length, visible_s)) for begin, length in runs]
        axes.broken_barh(wide, (lane - 0.3, 0.6), color=colours[value], linewidth=0)
    labels = []
    for value, name in reversed(LANES):
        count = data.verdict_count(value)
        labels.append(f"{name}\n{count:,} ({100.0 * count / engaged:.1f} %)".replace(",", "\u2009"))
    axes.set_yticks(range(len(LANES)), labels)
    axes.set_ylim(-0.6, len(LANES) - 0.2)
    axes.grid(visible=False, axis="y")
    reasons = data.reasons()
    if reasons:
        text = ", ".join(f"{name} {count}" for name, count in reasons[:3])
        axes.annotate(text, (1.0, 1.0), xycoords="axes fraction", xytext=(0, 8), textcoords="offset points",
                      ha="right", fontsize=8, color=theme.muted)  # fmt: skip
    _shade_tracking(axes, data, theme)
    axes.set_xlabel("time [s]")


def draw_margin(axes: Any, data: ReportData, theme: Theme) -> None:
    """Margin to the certified invariant set; below zero the state is outside it."""
    axes.set_title("Margin to the invariant set")
    margin = np.where(data.engaged, data.flight.ticks["margin"], np.nan).astype(np.float64)
    finite = margin[np.isfinite(margin)]
    axes.plot(data.t_s, margin, color=theme.accept, linewidth=1.2)
    axes.plot(data.t_s, np.where(margin < 0.0, margin, np.nan), color=theme.void, linewidth=1.4)
    low = min(float(finite.min()), 0.0) if len(finite) else 0.0
    high = max(float(finite.max()), 0.0) if len(finite) else 1.0
    pad = 0.12 * max(high - low, 1e-9)
    axes.set_ylim(low - pad, high + 2.0 * pad)
    axes.axhspan(low - pad, 0.0, color=theme.void, alpha=0.10, linewidth=0)
    axes.axhline(0.0, color=theme.void, linewidth=1.0)
    if len(finite):
        axes.annotate(
            f"least {finite.min():.3f}", (1.0, 1.0), xycoords="axes fraction", xytext=(0, 8),
            textcoords="offset points", ha="right", fontsize=8, color=theme.muted,
        )  # fmt: skip
    _shade_tracking(axes, data, theme)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("margin [-]")


Draw = Callable[[Any, ReportData, Theme], None]
PANELS: dict[str, Draw] = {
    "path": draw_path,
    "error": draw_error,
    "timing": draw_timing,
    "gain": draw_gain,
    "shield": draw_shield,
    "margin": draw_margin,
}


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": "tubepilot"})
    return buffer.getvalue()


def panel_png(name: str, data: ReportData, theme: Theme) -> bytes:
    """One panel as a PNG image."""
    with matplotlib.rc_context(theme.settings()):
        spatial = name == "path"
        height = 4.4 if name in {"path", "error"} else 3.1
        figure = Figure(figsize=(6.4, height), layout=None if spatial else "constrained")
        if spatial:
            axes = figure.add_axes((0.0, 0.0, 0.97, 1.0), projection="3d")
            figure.text(0.03, 0.945, "Path", fontsize=11, fontweight="bold")
        else:
            axes = figure.add_subplot()
        PANELS[name](axes, data, theme)
        return _png(figure)


def overview_png(data: ReportData, theme: Theme, title: str, tiles: tuple[tuple[str, str], ...]) -> bytes:
    """All panels and the key figures on one sheet.

    Args:
        data: The flight.
        theme: Colours.
        title: First line of the sheet.
        tiles: (caption, value) pairs for the strip under the title.
    """
    with matplotlib.rc_context(theme.settings()):
        figure = Figure(figsize=(14.4, 9.6))
        figure.text(0.035, 0.965, title, fontsize=16, fontweight="bold", va="center")
        for index, (caption, value) in enumerate(tiles):
            left = 0.035 + index * 0.95 / len(tiles)
            figure.text(left, 0.915, value, fontsize=15, fontweight="bold", color=theme.flown, va="center")
            figure.text(left, 0.885, caption, fontsize=8.5, color=theme.muted, va="center")
        grid = figure.add_gridspec(
            12, 2, left=0.045, right=0.985, bottom=0.055, top=0.82, hspace=4.2, wspace=0.16, width_ratios=(1.0, 1.12)
        )
        places = {"timing": grid[9:12, 0]}
        for row, name in enumerate(("error", "gain", "shield", "margin")):
            places[name] = grid[3 * row : 3 * row + 3, 1]
        figure.text(0.045, 0.837, "Path", fontsize=11, fontweight="bold")
        draw_path(figure.add_axes((0.035, 0.315, 0.42, 0.54), projection="3d"), data, theme)
        for name, place in places.items():
            axes = figure.add_subplot(place)
            PANELS[name](axes, data, theme)
            if name in {"error", "gain", "shield"}:
                axes.set_xlabel("")
        return _png(figure)
