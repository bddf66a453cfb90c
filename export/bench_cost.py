"""How well the cost model predicts planners that it was not calibrated on: `tubepilot bench cost`.

Calibrated as `tubepilot doctor --calibrate` does it on board, on the graphs of one planner; then decisions of other widths, members,
candidates, horizons and steps are timed, graph by graph in turns, and compared with what the model says of them. Times are processor
times, their 20th percentile: other programs only ever add to them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime.cost_model import Device, GraphCost, calibrate, load_device, predicted_us

from .bench_decision import Case, Ours, make_case
from .bench_planner import settings
from .c_source import write
from .random_model import random_model

Sizes = tuple[int, int, int, int, int]
CALIBRATED: Sizes = (64, 5, 5, 12, 4)
"""Width, members, candidates, horizon, steps of the planner that is calibrated on."""
OTHERS: tuple[Sizes, ...] = (
    (32, 5, 5, 20, 4), (32, 5, 2, 8, 1), (64, 1, 5, 10, 3), (64, 1, 3, 10, 2), (64, 5, 5, 10, 3), (64, 5, 2, 10, 2), (64, 5, 2, 20, 4),
    (128, 1, 5, 10, 3), (128, 5, 5, 10, 3), (128, 5, 3, 10, 2), (128, 5, 5, 20, 4),
)  # fmt: skip
BOUND = 0.2
CALLS = 5
SHARE = 20.0
"""Percentile of the times that counts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench cost`."""
    parser.add_argument("--device", default=None, metavar="NAME", help="predict for this machine instead of calibrating here")
    parser.add_argument("--turns", type=int, default=60, help="turns that every graph gets")
    parser.add_argument(
        "--planner-engine", choices=("compiled", "onnxruntime"), default="compiled", help="what runs the planners"
    )
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")


def _case(sizes: Sizes, seed: int) -> Case:
    width, members, candidates, horizon, steps = sizes
    model = random_model(seed, members=members, width=width, policy_width=width)
    return make_case(model, replace(settings(), candidates=candidates, horizon=horizon, steps=steps), seed)


def _costs(ours: Ours) -> dict[str, GraphCost]:
    if ours.engine.name == "compiled":
        return write(ours.models).costs
    return {name: GraphCost(size.nodes, size.flops, size.elements) for name, size in ours.sizes.items()}


def times_us(made: dict[Sizes, Ours], turns: int) -> tuple[dict[Sizes, float], dict[str, float]]:
    """Processor time of each decision, in turns, and of the graphs within the decision that is calibrated on [us]."""
    taken: dict[Sizes, list[float]] = {sizes: [] for sizes in made}
    within: dict[str, list[float]] = {"rollout": [], "refine": [], "rank": []}
    for _ in tqdm(range(turns), desc="turns", unit="turn", leave=False, mininterval=1.0):
        for sizes, ours in made.items():
            ours()
            start_ns = time.process_time_ns()
            for _ in range(CALLS):
                ours()
            taken[sizes].append(1e-3 * (time.process_time_ns() - start_ns) / CALLS)
            for _ in range(CALLS if sizes == CALIBRATED else 0):
                for name, graph in ours.stages():
                    start_ns = time.process_time_ns()
                    graph()
                    within[name].append(1e-3 * (time.process_time_ns() - start_ns))
    return {k: float(np.percentile(v, SHARE)) for k, v in taken.items()}, {k: float(np.percentile(v, SHARE)) for k, v in within.items()}


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, time, compare; status 1 if a prediction is off by more than a fifth."""
    if arguments.turns < 5:
        raise InputError(f"--turns is {arguments.turns}, must be at least 5")
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    compiled = arguments.planner_engine == "compiled"
    made = {
        sizes: Ours(_case(sizes, arguments.seed), compiled=compiled)
        for sizes in tqdm((CALIBRATED, *OTHERS), desc="planners", unit="planner", leave=False)
    }
    taken, graphs = times_us(made, arguments.turns)
    if arguments.device is None:
        costs = _costs(made[CALIBRATED])
        device = calibrate("here", [(costs[name], graphs[name]) for name in costs], arguments.planner_engine)
    else:
        device = load_device(arguments.device)
        if device.engine != arguments.planner_engine:
            raise InputError(f"{arguments.device} was measured with {device.engine}: give --planner-engine {device.engine}")
    rows = _table(device, made, taken)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"device": asdict(device), "decisions": rows}, indent=2) + "\n", encoding="utf-8")
    worst = max(abs(row["ratio"] - 1.0) for row in rows if not row["calibrated"])
    print(f"largest error of a prediction out of sample: {100 * worst:.0f} %")
    print("next: `tubepilot doctor --bundle BUNDLE --calibrate FILE` on the machine that flies, `tubepilot export --device FILE`")
    return 0 if worst <= BOUND else 1


def _table(device: Device, made: dict[Sizes, Ours], taken: dict[Sizes, float]) -> list[dict[str, Any]]:
    print(f"{device.name}: {device.node_us:.3f} us per node, {device.gflop_s:.0f} GFLOP/s, {device.element_ns:.3f} ns per number")
    print(f"{'width':>6}{'M':>4}{'N':>4}{'H':>4}{'K':>4}{'measured':>11}{'predicted':>11}{'ratio':>8}   [us]")
    rows = []
    for sizes, ours in made.items():
        predicted = predicted_us(device, _costs(ours), sizes[4])
        measured = taken[sizes]
        rows.append({"sizes": sizes, "measured_us": measured, "predicted_us": predicted, "ratio": predicted / measured,
                     "calibrated": sizes == CALIBRATED})  # fmt: skip
        figures = f"{measured:11.0f}{predicted:11.0f}{predicted / measured:8.2f}"
        print("".join(f"{size:{6 if place == 0 else 4}d}" for place, size in enumerate(sizes)) + figures + (
            "   calibrated on its graphs" if sizes == CALIBRATED else ""))  # fmt: skip
    return rows
