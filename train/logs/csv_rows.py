"""Which rows of a CSV log can be used: finite, in order, and of one stretch without long pauses; what was left out is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.flight import MetaValue

from .gaps import in_order, longest_gap_s, longest_stretch

LONGEST_PAUSE_S = 0.2
"""A longer pause ends a stretch [s]: the states in between would be the interpolation's, not the vehicle's."""


def usable_rows(path: Path, columns: dict[str, Vector], time: str = "t") -> tuple[dict[str, Vector], dict[str, MetaValue]]:
    """The longest stretch of usable rows.

    Args:
        path: For the message.
        columns: Name to values of one length, NaN where a cell was empty.
        time: Name of the column of time [s].

    Returns:
        The same columns, fewer rows, time strictly increasing; what to note in the flight's meta:
        `dropped_samples`, of them `dropped_not_finite` and `dropped_outside_stretch`, and `longest_gap_s`.

    Raises:
        LogFormatError: fewer than two rows are left; the message says what the others lack.
    """
    rows = np.stack(list(columns.values()), axis=1)
    finite = np.isfinite(rows).all(axis=1)
    kept = np.flatnonzero(finite)
    kept = kept[in_order(columns[time][kept])]
    ordered = len(kept)
    if ordered > 1:
        stamps = columns[time][kept]
        start_s, stop_s = longest_stretch([stamps], LONGEST_PAUSE_S)
        kept = kept[(stamps >= start_s) & (stamps <= stop_s)]
    if len(kept) < 2:
        holes = {name: int(np.sum(~np.isfinite(values))) for name, values in columns.items()}
        worst = ", ".join(f"{name} ({count})" for name, count in sorted(holes.items(), key=lambda h: -h[1])[:3] if count)
        raise LogFormatError(
            f"{path}: {len(kept)} of {len(rows)} rows can be used, 2 are needed; not finite: {worst or 'none'}; longest pause "
            f"allowed: {LONGEST_PAUSE_S} s. Use a log in which all channels are there at the same time"
        )
    stamps = columns[time][kept]
    noted: dict[str, MetaValue] = {
        "dropped_samples": len(rows) - len(kept),
        "dropped_not_finite": int(np.sum(~finite)),
        "dropped_outside_stretch": ordered - len(kept),
        "longest_gap_s": round(longest_gap_s([stamps], stamps[0], stamps[-1]), 3),
    }
    return {name: values[kept] for name, values in columns.items()}, noted
