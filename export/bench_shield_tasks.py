"""What the shield costs a planner that means well: tasks flown with it and without it, the same seeds and the same wind.

The bundle's own planner, tick and shield fly the paths of the learning tasks on rotorpy's vehicle, once in a draught of 0.5 m/s
and once in the wind that the certificate's comparison was made for, both with gusts. Counted are the ticks in which the shield
sent anything else than the planner's set-point, and how much larger the tracking error is than without a shield. Vehicle and
estimate are within the certificate's assumptions: what tasks draw beyond them (10 mrad of attitude error, 7 % of thrust) belongs
to `bench control`. The clock does not wait. Exit status: 0 if the shares and the cost are below their limits, else 1.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector
from tubepilot.train.atomic import write_file
from tubepilot.train.workstation import PACKAGES, require

TASKS = ("hover_in_wind", "figure_eight_1", "figure_eight_2", "obstacle_forest")
"""Those whose path keeps to what is certified at once with room for the planner (obstacles are left out). `figure_eight_4` flies at
34.7 of 35 degrees with a jerk of 15 m/s^3, `gate_slalom` climbs with 1.15 m/s^2, beyond the set's 0.8: with them it does not hold."""
LIMITS = {"calm": 0.01, "wind": 0.05}
"""Largest share of ticks that the shield may replace."""
COST_LIMIT = 0.05
CALM_M_S = (0.5, 0.3)
SETTLE_S = 2.0
"""Before the path begins, at its start: the wind comes up and the observer finds it [s]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench shield-tasks`."""
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"), help="bundle directory")
    parser.add_argument("--keys", type=Path, default=Path("demo/keys"), help="directory of trusted public keys")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="TASK", help="shipped tasks or TOML files, for their paths")
    parser.add_argument("--seeds", type=int, default=3, help="flights per task and wind, each with the shield and without")
    parser.add_argument("--wind-m-s", type=float, default=3.0, help="mean wind for which the certificate was compared [m/s]")
    parser.add_argument("--gust-m-s", type=float, default=0.5, help="bound of its gusts [m/s]")


class NoShield:
    """Stands where the shield does and sends what the planner asks for."""

    lead_s = 0.0

    def engage(self, predicted: Sequence[float]) -> None:
        """Nothing to do."""

    def decide(self, predicted: Any, disturbance: Any, candidate: Setpoint | None, now_ns: int) -> Any:
        """The planner's set-point; without one, level flight."""
        from tubepilot.runtime.shield import Decision, Reason, Verdict

        wanted = Setpoint(np.zeros(3), GRAVITY_M_S2) if candidate is None else candidate
        return Decision(wanted, Verdict.ACCEPT, Reason.OK, math.nan)


class TaskReference:
    """A task's path as the tick reads it."""

    def __init__(self, path: Any, duration_s: float) -> None:
        self._path, self.duration_s = path, duration_s

    def derivatives(self, t_s: Vector, count: int = 3) -> Vector:
        """Position, velocity and acceleration, shape (n, 3, 3)."""
        rows: Vector = self._path.at(np.clip(t_s, 0.0, self.duration_s)).reshape(-1, 3, 3)
        return rows


def fly_task(task: Any, on_board: Any, seed: int, wind: tuple[float, float], shielded: bool) -> dict[str, Any]:
    """One flight; RMSE over the path [m], ticks by verdict, reasons of those replaced."""
    from tubepilot.runtime.bench_shield_flight import Watched
    from tubepilot.runtime.bench_shield_scene import Link, Scene
    from tubepilot.runtime.keep_clear import KeepClear
    from tubepilot.runtime.local_frame import LocalFrame
    from tubepilot.runtime.observer import DisturbanceObserver
    from tubepilot.runtime.on_board import STATE_AGE_S
    from tubepilot.runtime.phases import Phase
    from tubepilot.runtime.predictor import Predictor
    from tubepilot.runtime.shield import Verdict
    from tubepilot.runtime.shield_decision import Reason
    from tubepilot.runtime.state_check import StateLimits
    from tubepilot.runtime.tick import Tick
    from tubepilot.runtime.tick_types import PLAN_SHARE, SEND_SHARE, Guidance, Instant, TickSettings

    random = np.random.default_rng(seed)
    scene = Scene("none", math.inf, 0.0, wind[0], float(random.uniform(0.0, 360.0)), wind[1], 1.0, 1.0, math.inf, 0.0, KeepClear())
    link = Link(scene, on_board, seed)
    link.vehicle.reset(task.path.start_m, hovering=True)
    on_board.planner._clock_ns = link
    on_board.planner.reset()
    predictor = Predictor(on_board.physics, on_board.delay_s)
    predictor.reset(GRAVITY_M_S2)
    period_ns = round(1e9 / on_board.tick_hz)
    period_s = 1e-9 * period_ns
    settings = TickSettings(
        PLAN_SHARE * period_s, SEND_SHARE * period_s, period_s, state=StateLimits(STATE_AGE_S), setpoint=on_board.setpoint
    )
    on_board.shield.keep_clear(KeepClear())
    watched = Watched(on_board.shield) if shielded else NoShield()
    tick = Tick(link, on_board.planner, watched, predictor, DisturbanceObserver(), settings, LocalFrame(np.zeros(3), 0.0), link)
    reference, verdicts, reasons = TaskReference(task.path, task.duration_s), Counter[str](), Counter[str]()
    errors, nominal_ns, ticks = [], link.now_ns, 0
    for number in range(round((SETTLE_S + task.duration_s) * on_board.tick_hz)):
        link.fly(nominal_ns)
        path_s = number * period_s - SETTLE_S
        if path_s >= 0.0:
            errors.append(float(np.linalg.norm(link.vehicle.position_m - reference.derivatives(np.array([path_s]))[0, 0])))
        guidance = Guidance(Phase.TRACK, reference, max(path_s, 0.0), 1.0 if path_s >= 0.0 else 0.0, shielded=True)
        outcome = tick.run(Instant(nominal_ns, max(link.now_ns - nominal_ns, 0), 0), guidance)
        nominal_ns += period_ns
        if path_s >= 0.0 and isinstance(watched, Watched) and watched.last is not None:
            ticks += 1
            verdicts[Verdict(outcome.verdict).name] += 1
            if watched.last.reason is not Reason.OK:
                reasons[watched.last.reason.name] += 1
        if outcome.give_up:
            break
    return {
        "rmse_m": float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan, "ticks": ticks, "verdicts": dict(verdicts),
        "replaced": sum(reasons.values()), "reasons": dict(reasons), "ended": bool(outcome.give_up),
    }  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Fly, print, write.

    Raises:
        InputError: an option cannot be used.
        MissingExtraError: a package is missing.
    """
    require("bench shield-tasks", (*PACKAGES, "rotorpy"))
    from tubepilot.runtime.on_board import load_on_board
    from tubepilot.train.task_definition import load_task

    if not 1 <= arguments.seeds <= 1000:
        raise InputError(f"--seeds is {arguments.seeds}; it must be 1 to 1000")
    tasks = [load_task(name) for name in arguments.tasks]
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
                    rows.append({"wind": kind, "task": task.name, "seed": seed, **flown[True], "without_m": flown[False]["rmse_m"]})
    result: dict[str, Any] = {"rows": rows}
    holds = True
    for kind, limit in LIMITS.items():
        own = [row for row in rows if row["wind"] == kind]
        ticks, replaced = sum(row["ticks"] for row in own), sum(row["replaced"] for row in own)
        cost = float(np.mean([row["rmse_m"] for row in own]) / np.mean([row["without_m"] for row in own]) - 1.0)
        reasons: Counter[str] = Counter()
        for row in own:
            reasons.update(row["reasons"])
        share = replaced / max(ticks, 1)
        result[kind] = {"ticks": ticks, "replaced": replaced, "share": share, "cost": cost, "reasons": dict(reasons)}
        holds = holds and share < limit and cost < COST_LIMIT and not any(row["ended"] for row in own)
        print(f"{kind}: {replaced} of {ticks} ticks replaced ({100 * share:.2f} %, limit {100 * limit:g} %) {dict(reasons)}")
        for name in dict.fromkeys(row["task"] for row in own):
            some = [row for row in own if row["task"] == name]
            with_m, without_m = (float(np.mean([row[key] for row in some])) for key in ("rmse_m", "without_m"))
            print(f"  {name:<16} RMSE {with_m:.4f} m with the shield, {without_m:.4f} m without")
        print(f"  tracking error {100 * cost:+.2f} % (limit {100 * COST_LIMIT:g} %)")
    result["holds"] = holds
    write_file(arguments.json, (json.dumps(result, indent=1) + "\n").encode())
    print("holds" if holds else "does NOT hold")
    print(f"figures: {arguments.json}; next: tubepilot bench shield flies an adversary instead")
    return 0 if holds else 1
