"""The doctor's look at a bundle's planner: how long it takes here, and what the cost model says of it."""

from __future__ import annotations

import platform
from pathlib import Path

from .bundle import read_bundle
from .cost_model import SHARE, calibrate, costs_of, predicted_us, save_device, time_planner
from .doctor import Check, Level
from .planner import Planner


def check_planner(path: Path, keys: Path, target: Path | None) -> Check:
    """Time the planner's graphs here, fit the cost model to them, and compare a whole decision with both.

    Args:
        path: Bundle directory.
        keys: Directory of trusted public keys.
        target: File to write the machine's speed to; None writes none.
    """
    bundle = read_bundle(path, keys)
    planner = Planner(bundle)
    planner.warm_up()
    costs = costs_of(bundle)
    times = time_planner(planner)
    device = calibrate(platform.node() or "here", [(costs[name], times[name]) for name in costs])
    steps = planner.steps_max
    decision_us = times["rollout"] + steps * times["refine"] + times["rank"]
    predicted = predicted_us(device, costs, steps)
    budget_us = 1e6 * SHARE / bundle.manifest.tick_hz
    found = (
        f"{decision_us:.0f} us of processor time for K={steps}, predicted {predicted:.0f} us; {100 * SHARE:.0f} % of a tick is "
        f"{budget_us:.0f} us; node {device.node_us:.2f} us, {device.gflop_s:.0f} GFLOP/s, {device.element_ns:.2f} ns per number"
    )
    if target is not None:
        save_device(device, target)
        found += f"; written to {target}"
    if decision_us <= budget_us:
        return Check("planner", Level.OK, found)
    remedy = "refinement stops at its deadline; export for this machine: `tubepilot doctor --calibrate FILE`, `export --device FILE`"
    return Check("planner", Level.WARN, found, remedy)
