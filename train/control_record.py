"""What `bench control` writes and resumes from: one entry per flight, and the figures made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

from .control_score import Estimate, difference, estimate, gain, interquartile_mean
from .task_flight import WIDE

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FlightRow:
    """One flight.

    Attributes:
        task, controller, seed: What was flown.
        score: Mean reward over the task's duration, in [0, 1].
        reason: Why it ended early; None if it did not.
        rmse_m: Root mean square of the position error to the reference while it flew [m].
        disagreement: Mean disagreement of the chosen plans, dimensionless; None of controllers that have none.
        evaluations: Calls of the model per decision.
        decision_p50_ms, decision_p99_ms: Time of a decision [ms].
        wide_score: The score with a margin of `task_flight.WIDE` times the task's; None of flights of older files.
    """

    task: str
    controller: str
    seed: int
    score: float
    reason: str | None
    rmse_m: float
    disagreement: float | None
    evaluations: int
    decision_p50_ms: float
    decision_p99_ms: float
    wide_score: float | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells flights apart."""
        return self.task, self.controller, self.seed


def scores(rows: Sequence[FlightRow], controller: str, tasks: Sequence[str], wide: bool = False) -> dict[str, Vector]:
    """Scores, or wide scores, of one controller by task, in the order of the seeds; an unknown wide score is nan."""
    picked = {task: sorted((r for r in rows if r.task == task and r.controller == controller), key=lambda r: r.seed) for task in tasks}
    read = (lambda row: row.wide_score) if wide else (lambda row: row.score)
    return {task: np.array([read(row) for row in found], dtype=np.float64) for task, found in picked.items() if found}


def summary(rows: Sequence[FlightRow]) -> dict[str, Any]:
    """Figures by task and controller, over all tasks, and of the first controller against each other one.

    Only tasks that every controller has flown with the same seeds count in comparisons; the others are named.
    """
    tasks, controllers = ordered(r.task for r in rows), ordered(r.controller for r in rows)
    flown = {c: scores(rows, c, tasks) for c in controllers}
    seeds = {(t, c): tuple(sorted(r.seed for r in rows if r.task == t and r.controller == c)) for t in tasks for c in controllers}
    common = [t for t in tasks if len({seeds[t, c] for c in controllers}) == 1 and seeds[t, controllers[0]]]
    by_task = {t: {c: _one(rows, t, c) for c in controllers if t in flown[c]} for t in tasks}
    overall, comparison = {}, {}
    for c in controllers:
        mine = {t: flown[c][t] for t in common}
        of_c = [r for r in rows if r.controller == c]
        overall[c] = {
            **({"iqm": asdict(estimate(mine)), "mean": float(np.mean(np.concatenate(list(mine.values()))))} if mine else {}),
            "crashes": sum(r.reason is not None for r in of_c),
            "flights": len(of_c),
            "evaluations": max(r.evaluations for r in of_c),
            "decision_ms": {
                "p50": float(np.median([r.decision_p50_ms for r in of_c])),
                "p99": float(np.max([r.decision_p99_ms for r in of_c])),
            },
        }
    for c in controllers[1:]:
        ours, other = ({t: flown[k][t] for t in common} for k in (controllers[0], c))
        if not common:
            continue
        by = {t: difference(ours[t], other[t]) for t in common}
        wide = [scores(rows, k, common, wide=True) for k in (controllers[0], c)]
        known = all(np.isfinite(s).all() for found in wide for s in found.values())
        comparison[f"{controllers[0]} against {c}"] = {
            "iqm_gain": asdict(gain(ours, other)),
            "iqm_gain_wide": asdict(gain(*wide)) if known else None,
            "difference": {t: asdict(e) for t, e in by.items()},
            "worse_on": [t for t, e in by.items() if e.high < 0],
            "evaluations_ratio": overall[controllers[0]]["evaluations"] / max(1, overall[c]["evaluations"]),
        }
    return {
        "tasks": by_task, "controllers": overall, "comparison": comparison,
        "not_compared": [t for t in tasks if t not in common],
    }  # fmt: skip


def _one(rows: Sequence[FlightRow], task: str, controller: str) -> dict[str, Any]:
    """Figures of one controller in one task."""
    found = sorted((r for r in rows if r.task == task and r.controller == controller), key=lambda r: r.seed)
    values = np.array([r.score for r in found])
    interval: Estimate = estimate({task: values})
    spread = [r.disagreement for r in found if r.disagreement is not None]
    return {
        "scores": values.tolist(), "seeds": [r.seed for r in found], "mean": float(values.mean()),
        "iqm": interquartile_mean(values), "interval": [interval.low, interval.high],
        "rmse_m": float(np.mean([r.rmse_m for r in found])), "ended_early": [r.reason for r in found if r.reason],
        "disagreement": float(np.mean(spread)) if spread else None,
    }  # fmt: skip


def ordered(names: Any) -> list[str]:
    """Names without repetition, in the order in which they came."""
    return list(dict.fromkeys(names))


def document(rows: Sequence[FlightRow], settings: Settings) -> bytes:
    """The file, complete after every flight."""
    content = {**summary(rows), "settings": settings, "flights": [asdict(row) for row in rows]}
    return json.dumps(content, indent=1).encode()


def finished(path: Path, settings: Settings) -> tuple[list[FlightRow], dict[str, Any]]:
    """Flights that an earlier run finished, with the same settings as far as both have them.

    Args:
        path: The file; it need not exist.
        settings: Those of this run; one entry per task and controller among them, so that runs of others add up.

    Returns:
        The flights, and the settings of both runs together.

    Raises:
        InputError: the file is of something else, or was written with other settings.
    """
    if not path.exists():
        return [], dict(settings)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        earlier, rows = content["settings"], [FlightRow(**row) for row in content["flights"]]
        other = sorted(key for key in earlier.keys() & settings.keys() if earlier[key] != settings[key])
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--json {path} was not written by this bench ({error!r}); delete it or name another file") from error
    if other:
        said = "; ".join(f"{key}: {earlier[key]} there, {settings[key]} now" for key in other)
        raise InputError(f"--json {path} was written with other settings ({said}); delete it or name another file")
    return rows, {**earlier, **settings}


def tables(rows: Sequence[FlightRow]) -> str:
    """Mean score by task and controller, then the aggregate."""
    made = summary(rows)
    names = list(made["controllers"])
    width = max(10, *(len(t) for t in made["tasks"]))
    column = max(12, *(len(n) for n in names))
    lines = [f"{'mean score':<{width}}" + "".join(f"  {n:>{column}}" for n in names)]
    for task, by in made["tasks"].items():
        cells = (f"{by[n]['mean']:.3f}{'!' * bool(by[n]['ended_early'])}" if n in by else "-" for n in names)
        lines.append(f"{task:<{width}}" + "".join(f"  {cell:>{column}}" for cell in cells))
    for label, read in (
        ("IQM", lambda c: f"{c['iqm']['value']:.3f}" if "iqm" in c else "-"),
        ("95 % from", lambda c: f"{c['iqm']['low']:.3f}" if "iqm" in c else "-"),
        ("to", lambda c: f"{c['iqm']['high']:.3f}" if "iqm" in c else "-"),
        ("ended early", lambda c: f"{c['crashes']}/{c['flights']}"),
        ("model calls", lambda c: f"{c['evaluations']}"),
        ("p50 [ms]", lambda c: f"{c['decision_ms']['p50']:.2f}"),
    ):
        lines.append(f"{label:<{width}}" + "".join(f"  {read(made['controllers'][n]):>{column}}" for n in names))
    lines.append("! a flight ended early (crash, gate missed, left the fence)")
    for name, found in made["comparison"].items():
        by = found["iqm_gain"]
        worse = f"; worse on {', '.join(found['worse_on'])}" if found["worse_on"] else ""
        lines.append(f"{name}: IQM {100 * by['value']:+.1f} % [{100 * by['low']:+.1f}, {100 * by['high']:+.1f}]{worse}")
        if found["iqm_gain_wide"]:
            lines.append(f"  with {WIDE:g} times the reward's margin: {100 * found['iqm_gain_wide']['value']:+.1f} %")
    return "\n".join(lines)
