"""The figures of `bench calibration`: coverage by regime of speed, disagreement against error, as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .bounds import METHODS, RegimeBox, Ticks, calibrate, left_out, share
from .calibration import Condition, correlations, fit_error_scale, reliability
from .calibration_models import HORIZONS, Unseen
from .flight import RATES
from .prediction import QUANTITIES

TOLERANCE = 0.01
"""Coverage seen may differ from coverage asked by this much."""
COMPONENTS = ("acceleration x", "acceleration y", "acceleration z", "rate x", "rate y", "rate z")


def component_units(level: str) -> list[str]:
    """Units of the six components: at level "rates" the rate ones are errors of the rate target."""
    return ["m/s^2"] * 3 + (["rad/s"] if level == RATES else ["rad/s^2"]) * 3


def coverage_figures(flights: Sequence[Ticks], coverage: float, edges_m_s: Sequence[float]) -> dict[str, Any]:
    """Asked, seen and half-widths by calibration method and regime, each flight left out in turn."""
    return {method: _method_figures(flights, coverage, edges_m_s, method) for method in METHODS}


def _method_figures(flights: Sequence[Ticks], coverage: float, edges_m_s: Sequence[float], method: str) -> dict[str, Any]:
    inside, count = left_out(flights, coverage, edges_m_s, method)
    one_inside, one_count = left_out(flights, coverage, (), method)
    whole = calibrate(flights, coverage, (), method)[0]
    by_flight = {f.name: share(inside[k], count[k]) for k, f in enumerate(flights)}
    regimes = [
        _box(box, coverage, share(inside[:, k], count[:, k])) for k, box in enumerate(calibrate(flights, coverage, edges_m_s, method))
    ]
    seen = [regime["seen"] for regime in regimes if regime["seen"] is not None]
    return {
        "asked": coverage,
        "seen": share(inside, count),
        "worst_regime": min(seen),
        "worst_flight": min(by_flight.values()),
        "regimes_within_tolerance": bool(all(abs(value - coverage) <= TOLERANCE for value in seen)),
        "regimes": regimes,
        "one_box_for_all": {
            **_box(whole, coverage, share(one_inside, one_count)),
            "worst_flight": float((one_inside.sum(axis=1) / one_count.sum(axis=1)).min()),
        },
        "flights": by_flight,
    }


def _box(box: RegimeBox, asked: float, seen: float) -> dict[str, Any]:
    return {
        "speed_m_s": [finite(v) for v in box.speed_m_s],
        "asked": asked,
        "claimed": box.claimed,
        "seen": finite(seen),
        "ticks": box.ticks,
        "pooled_ticks": box.pooled_ticks,
        "pooled_m_s": [finite(v) for v in box.pooled_m_s],
        "half_widths": [float(v) for v in box.half_widths],
    }


def finite(value: float) -> float | None:
    """JSON has neither inf nor nan."""
    return float(value) if math.isfinite(value) else None


def disagreement_figures(flights: Sequence[Unseen], seed: int) -> dict[str, Any]:
    """Rank correlations by horizon, error scales and reliability."""
    spearman = {
        str(horizon): {
            name: {"value": r.value, "low": finite(r.low), "high": finite(r.high), "within": finite(r.within), "windows": r.windows}
            for name, r in row.items()
        }
        for horizon, row in correlations(flights, seed).items()
    }
    scale: dict[str, dict[str, Any]] = {}
    for h, horizon in enumerate(HORIZONS):
        scale[str(horizon)] = {}
        for k, quantity in enumerate(QUANTITIES):
            d, e = [f.disagreement[:, h, k] for f in flights], [f.error[:, h, k] for f in flights]
            fitted, checked = fit_error_scale(np.concatenate(d), np.concatenate(e)), reliability(d, e)
            scale[str(horizon)][quantity] = {
                "factor": fitted.factor,
                "knots": fitted.knots.tolist(),
                "expected": fitted.expected.tolist(),
                "linear_gap": checked.linear_gap,
                "isotonic_gap": checked.isotonic_gap,
                "bins": {name: getattr(checked, name).tolist() for name in ("disagreement", "error", "linear", "isotonic")},
            }
    return {"spearman": spearman, "scale": scale}


def condition_figures(rows: Sequence[Condition], horizon: int) -> list[dict[str, Any]]:
    """Rows of `calibration.compare_conditions` as plain numbers."""
    return [
        {
            "condition": r.name, "horizon": horizon, "windows": r.windows, "disagreement": r.disagreement, "error": r.error,
            "disagreement_alarm": r.disagreement_alarm, "observed_m_s2": finite(r.observed_m_s2),
            "observed_alarm": finite(r.observed_alarm),
        }
        for r in rows
    ]


def _speeds(values: Sequence[float | None]) -> str:
    return f"{values[0]:g}-" if values[1] is None else f"{values[0]:g}-{values[1]:g}"


def coverage_table(figures: Mapping[str, Any], units: Sequence[str]) -> str:
    """Regimes of both methods, one line each, above the box that is one for all."""
    lines = []
    for method, part in figures.items():
        lines.append(f"joint coverage of the boxes, quantile over {method}; each flight by boxes from the others")
        widths = f"half-widths ax ay az [{units[0]}], rates x y z [{units[3]}]"
        lines.append(f"{'speed [m/s]':<12}{'ticks':>8}  {'asked':>6}  {'seen':>6}  {widths}")
        for row in [*part["regimes"], part["one_box_for_all"]]:
            name = "all" if row is part["one_box_for_all"] else _speeds(row["speed_m_s"])
            seen = "   -  " if row["seen"] is None else f"{row['seen']:.4f}"
            note = f"  too few ticks: with those of {_speeds(row['pooled_m_s'])} m/s" if row["pooled_m_s"] != row["speed_m_s"] else ""
            if row["claimed"] < row["asked"]:
                note += f"; {row['pooled_ticks']} ticks can claim only {row['claimed']:.4f}"
            half = " ".join(f"{value:7.3f}" for value in row["half_widths"])
            lines.append(f"{name:<12}{row['ticks']:>8}  {row['asked']:>6g}  {seen}  {half}{note}")
        one = part["one_box_for_all"]
        lines.append(
            f"all regimes {part['seen']:.4f}, worst flight {part['worst_flight']:.4f} (one box for all: {one['worst_flight']:.4f}); "
            f"regimes {'all' if part['regimes_within_tolerance'] else 'NOT all'} within {TOLERANCE:g} of what was asked"
        )
    return "\n".join(lines)


def spearman_table(figures: Mapping[str, Any]) -> str:
    """Rank correlation with its interval, by horizon and quantity, and what the error scales leave over."""
    lines = ["rank correlation of disagreement and error [95 % interval over flights]; all: the four quantities together"]
    names = [*QUANTITIES, "all"]
    lines.append(f"{'steps':<6}" + "".join(f"{name:<22}" for name in names))
    for horizon, row in figures["spearman"].items():
        cells = []
        for name in names:
            r = row[name]
            interval = "" if r["low"] is None else f" [{r['low']:.2f}, {r['high']:.2f}]"
            cells.append(f"{r['value']:.2f}{interval}")
        lines.append(f"{horizon:<6}" + "".join(f"{cell:<22}" for cell in cells))
    lines.append("error over disagreement (gap to the error on flights left out: linear, isotonic)")
    for horizon, row in figures["scale"].items():
        parts = [(r["factor"], 100 * r["linear_gap"], 100 * r["isotonic_gap"]) for r in (row[q] for q in QUANTITIES)]
        cells = [f"{factor:.2f} ({linear:.0f} %, {isotonic:.0f} %)" for factor, linear, isotonic in parts]
        lines.append(f"{horizon:<6}" + "".join(f"{cell:<22}" for cell in cells))
    return "\n".join(lines)


def condition_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Disagreement and error under other conditions, as multiples of those of the reference."""
    lines = [
        f"conditions that the training did not have, {rows[0]['horizon']} steps; medians over those of the reference; alarm: share of "
        "windows above the reference's 0.95 quantile",
        f"{'condition':<24}{'windows':>8}{'error':>8}{'disagreement':>14}{'alarm':>8}{'observer [m/s^2]':>18}{'alarm':>8}",
    ]
    for r in rows:
        observed = "-" if r["observed_m_s2"] is None else f"{r['observed_m_s2']:.2f}"
        alarm = "-" if r["observed_alarm"] is None else f"{r['observed_alarm']:.2f}"
        lines.append(
            f"{r['condition']:<24}{r['windows']:>8}{r['error']:>8.2f}{r['disagreement']:>14.2f}{r['disagreement_alarm']:>8.2f}"
            f"{observed:>18}{alarm:>8}"
        )
    return "\n".join(lines)
