"""The outcome of `reach` in words and as one JSON object, and a guess of the cost beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from .closed_loop import Settings
from .reach import Result
from .sampling import Sampled, outside
from .specification import Specification

Numbers = npt.NDArray[np.float64]
# Seconds on one core of a shared server, fitted to benchmarks within a factor of about three: a guess, nothing relies on it.
_COMPILE_S, _COMPILE_STATE_S, _RUN_S = 5.0, 2.0, 5e-4


def guess_cost(spec: Specification, settings: Settings) -> tuple[float, float]:
    """Seconds of compilation, and of one tube, guessed from states and steps."""
    n, steps = len(spec.states), spec.steps * settings.substeps
    return _COMPILE_S + _COMPILE_STATE_S * n, _RUN_S * steps * n**1.5


def step_s(spec: Specification, result: Result) -> float:
    """Length of the longest integration step [s]."""
    if spec.discrete:
        return spec.period_s
    length = float(np.diff(result.times_s, axis=1).max(initial=0.0))
    equal = spec.period_s / result.settings.substeps
    return equal if math.isclose(length, equal, rel_tol=1e-9) else length


def width_over_sampling(result: Result, sampled: Sampled | None) -> list[float | None]:
    """Width of the end box over that of the simulated states there, per state; None where either is no positive number."""
    count = len(result.end_box)
    if sampled is None:
        return [None] * count
    spread, widths = sampled.spread(), np.ptp(result.end_box, axis=1)
    return [_finite(w / s) if s > 0 else None for w, s in zip(widths, spread, strict=True)]


def table(spec: Specification, result: Result, sampled: Sampled | None) -> dict[str, object]:
    """One JSON object. Bounds that are not finite are null: nothing is known there."""
    rows = zip(result.times_s.tolist(), result.lo, result.hi, strict=True)
    found = result.counterexample
    said: dict[str, object] = {
        "case": spec.name,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "peak_mb": result.peak_mb,
        "end_box": [_plain(side) for side in result.end_box],
        "width_over_sampling": width_over_sampling(result, sampled),
        "step": step_s(spec, result),
        "float": "float64",
        "tube": [{"t": t, "lo": _plain(lo), "hi": _plain(hi)} for t, lo, hi in rows],
        "settings": asdict(result.settings),
        "tubes": result.tubes,
        "boxes": len(result.boxes),
    }
    if found is not None:
        said["counterexample"] = {
            "x0": _plain(found.x0),
            "time": found.time_s,
            "condition": found.condition,
            "margin": _finite(found.margin),
            "proven": found.confirmed,
        }
    return said


def lines(spec: Specification, result: Result, sampled: Sampled | None) -> Iterator[str]:
    """What a user reads: the verdict first."""
    yield f"{spec.name}: {result.verdict.value}" + (f": {result.reason}" if result.reason else "")
    proven = "" if result.verdict.value == "verified" else ", not proven for the whole initial box"
    if np.isfinite(result.end_box).all():
        ratios = width_over_sampling(result, sampled)
        title = "" if sampled is None else f"; width over that of {len(sampled.states)} simulated trajectories"
        yield f"  states at the end{proven}{title}:"
        wide = max(map(len, spec.states))
        for name, (lo, hi), ratio in zip(spec.states, result.end_box + 0.0, ratios, strict=True):
            yield f"    {name:<{wide}}  [{lo:.6g}, {hi:.6g}]" + ("" if ratio is None else f"  {ratio:.4g}")
    else:
        known = np.isfinite(result.lo).all(axis=1) & np.isfinite(result.hi).all(axis=1)
        steps = len(known) if known.all() else int(np.argmin(known))
        yield f"  states at the end: no bound; the tube ends at t = {result.times_s[steps - 1, 1] if steps else 0.0:.4g} s"
    if sampled is not None:
        left = outside(sampled, result.times_s, result.lo, result.hi)
        part = "" if result.verdict.value == "verified" else " (it covers the proven boxes only)"
        yield f"  {left} of {len(sampled.states)} simulated trajectories leave the tube{part}"
    if result.counterexample is not None:
        found = result.counterexample
        start = ", ".join(f"{name} = {value!r}" for name, value in zip(spec.states, (found.x0 + 0.0).tolist(), strict=True))
        yield f"  counterexample{' (proven)' if found.confirmed else ' (simulated only)'}: {start}"
    s = result.settings
    chosen = f"order {s.order}, substeps {s.substeps}, degree {s.degree}, window {s.window}"
    yield f"  {result.tubes} tubes, {len(result.boxes)} boxes proven; {chosen}"
    yield f"  {result.seconds:.3f} s after {result.compile_seconds:.1f} s of compiling; peak {result.peak_mb:.0f} MB"


def _plain(values: Numbers) -> list[float | None]:
    return [_finite(v) for v in (values + 0.0).tolist()]  # no -0.0


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
