"""What the shield costs a planner that means well: tasks flown with it and without it, the same seeds and the same wind.

The bundle's own planner, tick and shield fly all the learning tasks on rotorpy's vehicle, once in a draught of 0.5 m/s and once in
the wind that the certificate's comparison was made for, both with gusts. Counted are the ticks in which the shield sent anything
else than the planner's set-point, and how much larger the tracking error is than without a shield, task by task. Both flights have the
reference governor, which bounds what the planner is asked for; where it acts, a third one has neither, and its error is shown as well.
Vehicle and estimate are within the certificate's assumptions: what tasks draw beyond them (10 mrad of attitude error, 7 % of thrust)
belongs to `bench control`. Trees are left out: the room to stop is wider than the gaps between them. Tasks that break an assumption by
what they are (`beyond`) are flown and shown as well, but not counted. The clock does not wait. Exit status: 0 if shares and cost of
every task that counts are below their limits, else 1.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.atomic import write_file
from tubepilot.train.workstation import PACKAGES, require

LIMITS = {"calm": 0.01, "wind": 0.05}
"""Largest share of ticks that the shield may replace."""
COST_LIMIT = 0.05
CALM_M_S = (0.5, 0.3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench shield-tasks`."""
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"), help="bundle directory")
    parser.add_argument("--keys", type=Path, default=Path("demo/keys"), help="directory of trusted public keys")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures")
    parser.add_argument(
        "--tasks", nargs="+", default=None, metavar="TASK", help="shipped tasks or TOML files; without it all that are shipped"
    )
    parser.add_argument("--seeds", type=int, default=3, help="flights per task and wind, each with the shield and without")
    parser.add_argument("--wind-m-s", type=float, default=3.0, help="mean wind for which the certificate was compared [m/s]")
    parser.add_argument("--gust-m-s", type=float, default=0.5, help="bound of its gusts [m/s]")


def beyond(task: Any) -> str:
    """Why a task breaks an assumption of the certificate, whatever the planner does; empty if it does not."""
    if task.payload is not None or task.battery is not None:
        return "mass or thrust changes by more than W: the shield has to say so"
    return ""


def run(arguments: argparse.Namespace) -> int:
    """Fly, print, write.

    Raises:
        InputError: an option cannot be used.
        MissingExtraError: a package is missing.
    """
    require("bench shield-tasks", (*PACKAGES, "rotorpy"))
    from tubepilot.runtime.on_board import load_on_board
    from tubepilot.train.task_definition import TASKS, load_task

    from .bench_shield_task_flight import fly_task

    if not 1 <= arguments.seeds <= 1000:
        raise InputError(f"--seeds is {arguments.seeds}; it must be 1 to 1000")
    tasks = [load_task(name) for name in arguments.tasks or TASKS]
    on_board = load_on_board(arguments.bundle, arguments.keys)
    winds = {"calm": CALM_M_S, "wind": (arguments.wind_m_s, arguments.gust_m_s)}
    rows: list[dict[str, Any]] = []
    with tqdm(total=2 * len(tasks) * len(winds) * arguments.seeds, desc="flights", unit="flight") as bar:
        for kind, wind in winds.items():
            for task in tasks:
                for seed in range(arguments.seeds):
                    flown = {}
                    for shielded in (False, True):
                        flown[shielded] = fly_task(task, on_board, seed, wind, shielded)
                        bar.update()
                    alone = flown[False]
                    if alone["governed"]:
                        alone = fly_task(task, on_board, seed, wind, shielded=False, governed=False)
                    without = {f"without_{key}": flown[False][key] for key in ("rmse_m", "speed_m_s", "tilt_deg")}
                    without |= {f"alone_{key}": alone[key] for key in ("rmse_m", "speed_m_s", "tilt_deg")}
                    rows.append({"wind": kind, "task": task.name, "seed": seed, **flown[True], **without, "beyond": beyond(task)})
    result: dict[str, Any] = {"rows": rows, "tasks": []}
    for kind, limit in LIMITS.items():
        print(f"{kind}: at most {100 * limit:g} % of the ticks, {100 * COST_LIMIT:g} % more tracking error")
        own = [row for row in rows if row["wind"] == kind]
        for name in dict.fromkeys(row["task"] for row in own):
            line = _summary(kind, name, [row for row in own if row["task"] == name], limit)
            result["tasks"].append(line)
            print(_text(line))
        counted = [row for row in own if not row["beyond"]]
        result[kind] = _figures(counted) if counted else {}
        if counted:
            share, cost = result[kind]["share"], result[kind]["cost"]
            print(f"  {'all that count':<16} {100 * share:6.2f} % of {result[kind]['ticks']} ticks, tracking error {100 * cost:+.2f} %")
    holds = all(line["holds"] for line in result["tasks"] if not line["beyond"])
    result["holds"] = holds
    write_file(arguments.json, (json.dumps(result, indent=1) + "\n").encode())
    print("holds in every task that counts" if holds else "does NOT hold in every task that counts")
    print(f"figures: {arguments.json}; next: tubepilot bench shield flies an adversary instead")
    return 0 if holds else 1


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Ticks, those replaced and why, and the mean tracking error with the shield over that without."""
    ticks, replaced = sum(row["ticks"] for row in rows), sum(row["replaced"] for row in rows)
    with_m, without_m = (float(np.mean([row[key] for row in rows])) for key in ("rmse_m", "without_rmse_m"))
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row["reasons"])
    return {
        "ticks": ticks, "replaced": replaced, "share": replaced / max(ticks, 1), "reasons": dict(reasons), "rmse_m": with_m,
        "without_rmse_m": without_m, "cost": with_m / without_m - 1.0,
    }  # fmt: skip


def _summary(kind: str, name: str, rows: list[dict[str, Any]], limit: float) -> dict[str, Any]:
    """The figures of a task in one wind."""
    figures = _figures(rows)
    ended = [row["ended_s"] for row in rows if row["ended"]]
    holds = figures["share"] < limit and figures["cost"] < COST_LIMIT and not ended
    return {
        "wind": kind, "task": name, **figures, "holds": holds, "ended_s": ended, "beyond": rows[0]["beyond"],
        "broken_s": [row["broken_s"] for row in rows], "speed_m_s": max(row["without_speed_m_s"] for row in rows),
        "tilt_deg": max(row["without_tilt_deg"] for row in rows), "governed": sum(row["governed"] for row in rows),
        "alone": {
            "rmse_m": float(np.mean([row["alone_rmse_m"] for row in rows])),
            **{key: max(row[f"alone_{key}"] for row in rows) for key in ("speed_m_s", "tilt_deg")},
        },
    }  # fmt: skip


def _text(line: dict[str, Any]) -> str:
    """A task's figures for people."""
    text = (
        f"  {line['task']:<16} {100 * line['share']:6.2f} % of {line['ticks']} ticks {line['reasons'] or ''}, "
        f"RMSE {line['rmse_m']:.4f} m; without {line['without_rmse_m']:.4f} m ({100 * line['cost']:+.1f} %), "
        f"{line['speed_m_s']:g} m/s and {line['tilt_deg']:g} deg"
    )
    if line["governed"]:
        alone = line["alone"]
        text += (
            f"; reference bounded in {line['governed']} ticks: the planner alone {alone['rmse_m']:.4f} m, "
            f"{alone['speed_m_s']:g} m/s and {alone['tilt_deg']:g} deg"
        )
    if line["beyond"]:
        text += f"; not counted: {line['beyond']}; assumption found broken at {line['broken_s']} s, given up at {line['ended_s']} s"
    return text if line["holds"] or line["beyond"] else text + "; does NOT hold"
