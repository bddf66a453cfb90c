"""The doctor's look at a bundle's planner: what runs it here, how long it takes, and what the cost model says of it."""

from __future__ import annotations

import platform
from pathlib import Path

from .bundle import read_bundle
from .cost_model import SHARE, calibrate, costs_of, predicted_us, save_device, time_planner
from .doctor import Check, Level
from .engine_choice import Choice, choose
from .planner import Planner


def _times(planner: Planner) -> tuple[dict[str, float], float]:
    """Times of the graphs and of a whole decision [us]."""
    planner.warm_up()
    times = time_planner(planner)
    return times, times["rollout"] + planner.steps_max * times["refine"] + times["rank"]


def check_planner(path: Path, keys: Path, target: Path | None, engine: str = "auto") -> list[Check]:
    """Find what runs the planner's graphs here, time them, fit the cost model to them, and compare a whole decision with both.

    Args:
        path: Bundle directory.
        keys: Directory of trusted public keys.
        target: File to write the machine's speed to; None writes none.
        engine: What shall run the graphs; see `engine_choice.choose`.
    """
    bundle = read_bundle(path, keys)
    choice = choose(bundle, engine)
    planner = choice.planner(bundle)
    times, decision_us = _times(planner)
    costs = costs_of(bundle, choice.engine.name)
    device = calibrate(platform.node() or "here", [(costs[name], times[name]) for name in costs], choice.engine.name)
    predicted, budget_us = predicted_us(device, costs, planner.steps_max), 1e6 * SHARE / bundle.manifest.tick_hz
    found = (
        f"{decision_us:.0f} us of processor time for K={planner.steps_max}, predicted {predicted:.0f} us; {100 * SHARE:.0f} % of a "
        f"tick is {budget_us:.0f} us; node {device.node_us:.3f} us, {device.gflop_s:.0f} GFLOP/s, {device.element_ns:.3f} ns per number"
    )
    if target is not None:
        save_device(device, target)
        found += f"; written to {target}"
    checks = [_engine(choice, decision_us, _times(Planner(bundle))[1] if choice.engine.name == "compiled" else None)]
    if decision_us <= budget_us:
        return [*checks, Check("planner", Level.OK, found)]
    remedy = "refinement stops at its deadline; export for this machine: `tubepilot doctor --calibrate FILE`, `export --device FILE`"
    return [*checks, Check("planner", Level.WARN, found, remedy)]


def _engine(choice: Choice, decision_us: float, otherwise_us: float | None) -> Check:
    text = choice.text.removeprefix("planner engine: ")
    if choice.refused:
        return Check("planner engine", Level.WARN, text.partition(";")[0], choice.refused)
    beside = "" if otherwise_us is None else f"; a decision takes {decision_us:.0f} us, by onnxruntime {otherwise_us:.0f} us"
    return Check("planner engine", Level.OK, text + beside)
