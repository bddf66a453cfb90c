"""What `bench prediction` writes and resumes from: error sums and errors per step of each model, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.errors import InputError

from .prediction import HORIZON, QUANTITIES, UNITS, Errors

OURS = "tubepilot"
NAMES = {"tubepilot": "ours", "physics": "physics only", "naive": "naive", "ridge": "linear ridge"}
"""Name of a model in the file, and in the tables of `tubepilot train`."""

Rows = dict[str, Errors]
"""Errors by the name of the model in the file."""


def renamed(rows: Mapping[str, Errors]) -> Rows:
    """Rows of `rotor_learn.evaluate` under the names of the file."""
    return {name: rows[known] for name, known in NAMES.items()}


def figures(rows: Rows) -> dict[str, dict[str, Any]]:
    """Rows as plain numbers: `<quantity>_sum` over the steps, and `<quantity>` at each step."""
    result: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        sums = {f"{q}_sum": float(getattr(row, q).sum()) for q in QUANTITIES}
        result[name] = {**sums, **{q: [float(value) for value in getattr(row, q)] for q in QUANTITIES}}
    return result


def plain_mean(parts: Sequence[Rows]) -> Rows:
    """Mean over flights, each with the same weight whatever its length."""

    def mean(name: str) -> Errors:
        values = [np.mean([getattr(part[name], q) for part in parts], axis=0) for q in QUANTITIES]
        return Errors(values[0], values[1], values[2], values[3], sum(part[name].windows for part in parts))

    return {name: mean(name) for name in NAMES}


def not_lowest(rows: Rows) -> list[str]:
    """Where another model is as good as ours or better: "rates (ridge)" and the like."""
    ours, found = rows[OURS], []
    for q in QUANTITIES:
        better = [n for n, row in rows.items() if n != OURS and getattr(row, q).sum() <= getattr(ours, q).sum()]
        if better:
            found.append(f"{q} ({', '.join(better)})")
    return found


def sums_table(parts: Mapping[str, Rows]) -> str:
    """Sums over the steps, one line per flight and model."""
    width = max(len("flight"), *(len(name) for name in parts))
    head = "  ".join(f"{f'{q} [{UNITS[q]}]':>14}" for q in QUANTITIES)
    lines = [f"{'flight':<{width}}  {'model':<10}  {head}"]
    for flight, rows in parts.items():
        for name, row in rows.items():
            lines.append(f"{flight:<{width}}  {name:<10}  " + "  ".join(f"{getattr(row, q).sum():>14.3f}" for q in QUANTITIES))
    return "\n".join(lines)


def document(parts: Mapping[str, Rows], settings: Mapping[str, Any], flights: int) -> bytes:
    """The file of a leave-one-out that has got as far as `parts`; its "models" are the mean of these.

    Args:
        parts: Name of the flight left out to errors; at least one.
        settings: What the figures depend on; a run with others does not resume from them.
        flights: Number of flights in all.
    """
    rows = [{"flight": name, "windows": row[OURS].windows, "models": figures(row)} for name, row in parts.items()]
    content = {
        "models": figures(plain_mean(list(parts.values()))),
        "seed": settings["seed"],
        "flights": {"train": flights - 1, "test": len(parts)},
        "left_out": rows,
        "settings": settings,
    }
    return json.dumps(content).encode()


def finished(path: Path, settings: Mapping[str, Any]) -> dict[str, Rows]:
    """Flights that an earlier run with the same settings finished.

    Args:
        path: The file; it need not exist.
        settings: Those of this run.

    Returns:
        Name of the flight left out to errors.

    Raises:
        InputError: the file is of something else, or was written with other settings.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        earlier, rows = content["settings"], {part["flight"]: _read(part) for part in content["left_out"]}
        other = sorted(key for key in {*earlier, *settings} if earlier.get(key) != settings.get(key))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--json {path} was not written by a leave-one-out of this bench ({error!r}); delete it or name another file"
        ) from error
    if other:
        said = "; ".join(f"{key}: {_short(earlier.get(key))} there, {_short(settings.get(key))} now" for key in other)
        raise InputError(f"--json {path} was written with other settings ({said}); delete it or name another file")
    return rows


def _read(part: Mapping[str, Any]) -> Rows:
    rows: Rows = {}
    for name in NAMES:
        values = [np.array(part["models"][name][q], dtype=np.float64) for q in QUANTITIES]
        if any(value.shape != (HORIZON,) or not np.isfinite(value).all() for value in values):
            raise ValueError(f"{part['flight']}: not {HORIZON} numbers per quantity")
        rows[name] = Errors(values[0], values[1], values[2], values[3], int(part["windows"]))
    return rows


def _short(value: Any) -> str:
    return f"{len(value)} flights" if isinstance(value, dict) and len(str(value)) > 200 else str(value)
