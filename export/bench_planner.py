"""Time one decision of the planner beside what one would use instead, in one run, on one pinned core.

The decision is a whole tick (rollout, K refinement steps, ranking) on random weights: its time does not depend on them. Beside
it: the same decision through jax2onnx, jitted JAX, MPPI with TD-MPC2's settings on the same model (as an ONNX graph; over its 3
steps, and over as many as ours), nonlinear MPC by CasADi, and the time that the matrix products alone take on this core.
Contenders take turns, so that all see the same load; `cpu_ms` holds processor time, which another process on the core does not
lengthen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import BundleError, InputError, MissingExtraError
from tubepilot.train.planner_settings import preset

from . import bench_flops
from .bench_decision import Case, Decision, Ours, converted, jitted, make_case, mppi, mppi_jitted
from .bench_nmpc import nmpc
from .random_model import random_model

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
PEERS = ("converted", "mppi", "mppi_jax", "mppi_same_horizon", "mppi_jax_same_horizon", "jax", "nmpc")
BUDGET_MS = dict.fromkeys(("ours", "ours_onnxruntime", *PEERS), 6.0) | dict.fromkeys((p for p in PEERS if "mppi" in p), 20.0)
"""Time of each contender per turn [ms]: slow ones are called less often."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench planner`."""
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128], help="hidden units of every network and member")
    parser.add_argument("--members", type=int, nargs="+", default=[5, 1], help="ensemble members; the first is the full table")
    parser.add_argument("--rounds", type=int, default=200, help="turns that every contender gets")
    parser.add_argument("--core", type=int, default=None, help="processor core to stay on; the last one if not given")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")
    parser.add_argument(
        "--conversions", type=Path, default=None, metavar="DIR",
        help="folder where jax2onnx's graphs are kept: a conversion takes a minute per width; converted anew if not given",
    )  # fmt: skip
    parser.add_argument("--skip", nargs="*", choices=PEERS, default=[], help="peers to leave out (a conversion takes minutes)")


def settings() -> Any:
    """N=5, H=10, K=3 at 100 Hz and plan steps of 40 ms."""
    return replace(preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=10, candidates=5), steps=3)


def contenders(case: Case, seed: int, names: tuple[str, ...], kept: Path | None = None) -> tuple[dict[str, Decision], dict[str, Any]]:
    """The functions to time by name, and what is known of them: nodes, floating-point operations, seconds to make."""
    made: dict[str, Decision] = {}
    facts: dict[str, Any] = {}
    start_s = time.perf_counter()
    graphs = Ours(case)
    export_s = time.perf_counter() - start_s
    try:
        ours = Ours(case, compiled=True)
    except BundleError as error:
        print(f"onnxruntime plans: {error}")
        ours = graphs
    made["ours"], made["ours_onnxruntime"] = ours, graphs
    counts = {"rollout": 1, "refine": case.settings.steps, "rank": 1}
    facts["ours"] = {
        "engine": ours.engine.name,
        "export_s": export_s,
        "nodes": sum(counts[name] * size.nodes for name, size in ours.sizes.items()),
        "mflop": 1e-6 * sum(counts[name] * size.flops for name, size in ours.sizes.items()),
    }
    makers: dict[str, Callable[[], tuple[Decision, Any]]] = {
        "converted": lambda: converted(case, kept), "mppi": lambda: mppi(case, seed),
        "mppi_same_horizon": lambda: mppi(case, seed, same_horizon=True),
        "mppi_jax": lambda: (mppi_jitted(case, seed), "jax"),
        "mppi_jax_same_horizon": lambda: (mppi_jitted(case, seed, same_horizon=True), "jax"),
        "jax": lambda: (jitted(case), "jax"), "nmpc": lambda: nmpc(case, seed),
    }  # fmt: skip
    plan = ours().copy()
    facts["ours"]["plan_error"] = float(np.abs(plan - graphs()).max())
    for name in names:
        start_s = time.perf_counter()
        try:
            decision, what = makers[name]()
        except MissingExtraError as error:
            print(f"{name}: left out, {error}")
            continue
        answer = np.asarray(decision())
        facts[name] = {"make_s": time.perf_counter() - start_s, "what": what}
        if name in {"converted", "jax"}:
            facts[name]["plan_error"] = float(np.abs(answer - plan).max())
        made[name] = decision
    facts["flop_limit"] = bench_flops.measure(ours, counts)
    return made, facts


def race(made: dict[str, Decision], rounds: int, label: str) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Wall-clock percentiles and median processor time of each contender, in turns [ms]."""
    repeats = {}
    for name, decision in made.items():
        for _ in range(3):
            decision()
        start_ns = time.perf_counter_ns()
        decision()
        repeats[name] = max(1, min(50, int(BUDGET_MS[name] * 1e6 / (time.perf_counter_ns() - start_ns))))
    wall: dict[str, list[float]] = {name: [] for name in made}
    cpu: dict[str, list[float]] = {name: [] for name in made}
    for _ in tqdm(range(rounds), desc=label, unit="turn", leave=False):
        for name, decision in made.items():
            decision()
            cpu_ns = time.process_time_ns()
            for _ in range(repeats[name]):
                start_ns = time.perf_counter_ns()
                decision()
                wall[name].append(1e-6 * (time.perf_counter_ns() - start_ns))
            cpu[name].append(1e-6 * (time.process_time_ns() - cpu_ns) / repeats[name])
    percentiles = {
        name: {key: float(np.percentile(times, share)) for key, share in PERCENTILES.items()} for name, times in wall.items()
    }
    return percentiles, {name: float(np.median(times)) for name, times in cpu.items()}


def _table(label: str, times: dict[str, dict[str, float]], cpu: dict[str, float]) -> None:
    print(f"\n{label:<34}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}{'CPU':>9}   [ms], ours over it")
    for name, row in times.items():
        figures = "".join(f"{row[key]:9.3f}" for key in PERCENTILES)
        share = f"{times['ours']['p50'] / row['p50']:.3f}"
        processor = f"{cpu[name]:9.3f}" if name in cpu else f"{'':9}"
        print(f"  {name:<32}{figures}{processor}   {share}" + (f" ({cpu['ours'] / cpu[name]:.3f} of CPU)" if name in cpu else ""))


def run(arguments: argparse.Namespace) -> int:
    """Race, print, write the JSON."""
    if arguments.rounds < 1 or min(arguments.widths) < 1 or min(arguments.members) < 1:
        raise InputError("--rounds, --widths and --members must be at least 1")
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if arguments.core is None else arguments.core
    os.sched_setaffinity(0, {core})
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {len(cores)} cores, pinned to core {core}",
        "onnxruntime": onnxruntime.__version__, "seed": arguments.seed, "load_average": os.getloadavg()[0],
        "settings": {"candidates": 5, "horizon": 10, "steps": 3, "members": arguments.members[0]},
        "width": {}, "cpu_ms": {}, "facts": {}, "members": {},
    }  # fmt: skip
    print(f"load average {result['load_average']:.1f}; with other work on this core, read the processor time (CPU)")
    for number, members in enumerate(arguments.members):
        peers = tuple(name for name in (PEERS if number == 0 else ("jax",)) if name not in arguments.skip)
        for width in arguments.widths:
            case = make_case(random_model(arguments.seed, members=members, width=width, policy_width=width), settings(), arguments.seed)
            made, facts = contenders(case, arguments.seed, peers, arguments.conversions)
            label = f"width {width}, {members} members"
            times, cpu = race(made, arguments.rounds, label)
            times["flop_limit"] = facts["flop_limit"].pop("ms")
            _table(label, times, cpu)
            entry = {f"{name}_ms": row for name, row in times.items()}
            if number == 0:
                result["width"][str(width)] = entry
                result["cpu_ms"][str(width)], result["facts"][str(width)] = cpu, facts
            else:
                result["members"].setdefault(str(members), {})[str(width)] = {**entry, "cpu_ms": cpu, "facts": facts}
            known = facts["ours"]
            print(f"  ours: {known['nodes']} nodes, {known['mflop']:.1f} MFLOP, export {known['export_s']:.2f} s")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("\nnext: `tubepilot bench tick` runs the planner in its periodic tick")
    return 0
