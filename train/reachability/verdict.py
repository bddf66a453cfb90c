"""From a tube to what it shows of the properties."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from .closed_loop import Tube
from .specification import Property, Specification

Numbers = npt.NDArray[np.float64]


class Verdict(Enum):
    """What an analysis ends with."""

    VERIFIED = "verified"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the tube of one box shows.

    Attributes:
        proven: every property holds.
        reason: why not, in words; empty if proven.
        badness: smaller is closer to a proof: (steps that were not validated, largest overshoot of a condition).
    """

    proven: bool
    reason: str
    badness: tuple[int, float]


def judge(spec: Specification, tube: Tube, spans: tuple[tuple[Fraction, Fraction], ...]) -> Finding:
    """Check all properties on the tube of one box.

    Args:
        spec: what is to be shown.
        tube: numpy arrays without batch axis.
        spans: start and end of each step within a period, in periods.
    """
    good = np.asarray(tube.contracted).all(axis=-1).ravel()
    valid = len(good) if good.all() else int(np.argmin(good))  # steps before the first that failed
    starts = [Fraction(k) + a for k in range(spec.steps) for a, _ in spans]
    ends = [Fraction(k) + b for k in range(spec.steps) for _, b in spans]
    worst, reasons = 0.0, []
    for number, prop in enumerate(spec.properties):
        over = _overshoot(prop, tube, number, starts, ends, valid)
        if over is None:
            which = int(np.argmin(np.asarray(tube.contracted).reshape(len(good), -1)[valid]))
            place = f"step {valid + 1} of {len(good)} (t = {float(starts[valid]) * spec.period_s:.4g} s), state {spec.states[which]}"
            text = f"{place}: no remainder was found that the Picard operator maps into itself"
            return Finding(False, text, (len(good) - valid, np.inf))
        amount, index, condition = over
        if not amount <= 0.0:
            worst = max(worst, amount if np.isfinite(amount) else np.inf)
            where = f"t in [{float(starts[index]) * spec.period_s:.4g}, {float(ends[index]) * spec.period_s:.4g}] s"
            reasons.append(f"{prop.kind}: the bound of '{prop.text[condition]}' misses by {amount:.4g} at {where}")
    return Finding(not reasons, "; ".join(reasons), (len(good) - valid, worst))


def _overshoot(
    prop: Property, tube: Tube, number: int, starts: list[Fraction], ends: list[Fraction], valid: int
) -> tuple[float, int, int] | None:
    """How far the bounds are from showing the property, at which step and condition; <= 0 shows it. None: steps are missing."""
    lo, hi = (np.asarray(b).reshape(len(starts), -1) for b in tube.conditions[number])
    end_hi = np.asarray(tube.end_conditions[number][1]).reshape(len(starts), -1)
    end_lo = np.asarray(tube.end_conditions[number][0]).reshape(len(starts), -1)
    begin, stop = prop.window_periods
    touched = [i for i in range(len(starts)) if starts[i] < stop and ends[i] > begin]
    instants = [i for i in range(len(starts)) if begin <= ends[i] <= stop]
    if begin == stop:  # one instant: the end of a step, if it is one
        exact = [i for i in instants if ends[i] == begin]
        touched = exact or [i for i in range(len(starts)) if starts[i] <= begin <= ends[i]]
        if exact:
            lo, hi = end_lo, end_hi
    if prop.kind == "reach":
        choices = [(float(end_hi[i].max()), i, int(end_hi[i].argmax())) for i in instants if i < valid]
        choices += [
            (float(hi[i].max()), i, int(hi[i].argmax())) for i in touched if i < valid and starts[i] >= begin and ends[i] <= stop
        ]
        choices += [
            (float(hi[i].max()), i, int(hi[i].argmax())) for i in touched if i < valid and starts[i] <= begin and ends[i] >= stop
        ]
        return min(choices, key=lambda c: c[0]) if choices else None
    if max(touched) >= valid:
        return None
    if prop.kind == "stay":
        table = hi[touched]
        row, column = np.unravel_index(int(np.argmax(np.where(np.isnan(table), np.inf, table))), table.shape)
        return float(table[row, column]) if not np.isnan(table[row, column]) else np.inf, touched[int(row)], int(column)
    # avoid: at every time one condition is certainly broken; a bound of 0 would still be inside the closed region
    best = np.max(np.where(np.isnan(lo[touched]), -np.inf, lo[touched]), axis=1)
    row = int(np.argmin(best))
    amount = float(-best[row])
    return (np.nextafter(0.0, 1.0) if amount == 0.0 else amount), touched[row], int(np.argmax(lo[touched[row]]))
