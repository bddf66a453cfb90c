"""How long a decision takes: a time per node and a rate of multiplication, calibrated on the machine that flies.

    time = node_us * nodes + flops / rate + element_ns * elements

for each graph of a tick, where elements are the numbers that its nodes write. `tubepilot doctor --bundle BUNDLE --calibrate FILE` fits
the three to the bundle's own graphs on the machine that flies, so that `export --tick-hz HZ --device FILE` can choose a planner for
that machine without running on it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .bundle import Bundle
from .planner import Planner

SHARE = 0.25
"""Share of the tick period that a chosen planner may take back to back: the periodic tick is up to 2.5 times slower at worst, and
with shield, link and log beside it the set-point shall leave before `tick.SEND_SHARE` of the period then, too."""
RUNS = 300


@dataclass(frozen=True, slots=True)
class GraphCost:
    """Nodes, floating-point operations and numbers written of one graph."""

    nodes: int
    flops: int
    elements: int


@dataclass(frozen=True, slots=True)
class Device:
    """What a machine does.

    Attributes:
        name: Of the machine.
        node_us: Time per node [us].
        gflop_s: Rate of multiplications and additions in products of few rows [1e9 / s].
        element_ns: Time per number written [ns].
    """

    name: str
    node_us: float
    gflop_s: float
    element_ns: float

    def graph_us(self, cost: GraphCost) -> float:
        """Time of one run of a graph [us]."""
        return self.node_us * cost.nodes + 1e-3 * (cost.flops / self.gflop_s + self.element_ns * cost.elements)

    def decision_us(self, rollout: GraphCost, refine: GraphCost, rank: GraphCost, steps: int) -> float:
        """Time of a whole tick's planning with K steps, back to back [us]."""
        runs = [rollout, *[refine] * steps, rank]
        return sum(map(self.graph_us, runs))


DEVICES: dict[str, Device] = {
    "workstation": Device("workstation", 0.358, 101.0, 0.01),
}
"""Machines measured so far: a virtual core of an EPYC of Zen 5. Others: `tubepilot doctor --calibrate FILE` there."""


def load_device(name: str) -> Device:
    """A device by its name, or from the file that `tubepilot doctor --calibrate` wrote.

    Raises:
        InputError: neither.
    """
    if name in DEVICES:
        return DEVICES[name]
    path = Path(name)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        device = Device(str(values["name"]), *(float(values[key]) for key in ("node_us", "gflop_s", "element_ns")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        known = ", ".join(DEVICES)
        raise InputError(
            f"device {name!r} is neither one of {known} nor a file of `tubepilot doctor --calibrate FILE`: {error}"
        ) from error
    if not all(math.isfinite(v) and v > 0.0 for v in (device.node_us, device.gflop_s, device.element_ns)):
        raise InputError(f"device file {path}: node_us, gflop_s and element_ns must be above 0; calibrate again")
    return device


def save_device(device: Device, path: Path) -> None:
    """Write a device for `load_device`."""
    path.write_text(json.dumps(asdict(device), indent=2) + "\n", encoding="utf-8")


def costs_of(bundle: Bundle) -> dict[str, GraphCost]:
    """Nodes and operations of the planner's graphs, from the metadata that the export wrote."""
    from .session import open_session

    result = {}
    for name in ("rollout", "refine", "rank"):
        meta = open_session(bundle.files[f"{name}.onnx"], f"{name}.onnx").get_modelmeta().custom_metadata_map
        if not {"nodes", "flops", "elements"} <= set(meta):
            raise InputError(f"{name}.onnx does not say its nodes and operations; export the bundle again")
        result[name] = GraphCost(int(meta["nodes"]), int(meta["flops"]), int(meta["elements"]))
    return result


def time_planner(planner: Planner) -> dict[str, float]:
    """Times of the planner's graphs in the order of a decision, back to back, 20th percentile of processor time [us].

    In that order, because a graph that runs alone again and again is faster than between the others; processor time, and not its
    median, because other programs on the core only ever add to it.
    """
    state, rows = np.zeros(14), np.zeros((planner.horizon + 1, 9))
    state[6], state[13] = 1.0, GRAVITY_M_S2
    planner.load(state, rows, np.zeros(3))
    steps = ("refine",) * max(planner.steps_max, 1)
    stages = {"rollout": lambda: planner.rollout(0), "refine": planner.refine, "rank": planner.rank}
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(RUNS):
        for name in ("rollout", *steps, "rank"):
            start_ns = time.process_time_ns()
            stages[name]()
            times[name].append(1e-3 * (time.process_time_ns() - start_ns))
    return {name: float(np.percentile(taken, 20.0)) for name, taken in times.items()}


def calibrate(name: str, measured: Iterable[tuple[GraphCost, float]]) -> Device:
    """Fit the three numbers to graphs of known cost and measured time [us], by relative least squares, none below a floor.

    Raises:
        InputError: fewer than three graphs.
    """
    rows = list(measured)
    if len(rows) < 3:
        raise InputError(f"{len(rows)} graphs were timed, at least 3 are needed to calibrate")
    scale = np.array([us for _, us in rows])
    columns = np.array([[g.nodes, 1e-3 * g.flops, 1e-3 * g.elements] for g, _ in rows]) / scale[:, None]
    low = np.array([0.02, 1e-3, 0.01])
    values = _bounded(columns, np.ones(len(rows)), low)
    return Device(name, float(values[0]), 1.0 / float(values[1]), float(values[2]))


def _bounded(columns: np.ndarray, wanted: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Least squares with lower bounds, by trying which of the few unknowns lie on theirs."""
    best, best_error = low, math.inf
    for mask in range(1 << len(low)):
        fixed = np.array([bool(mask >> k & 1) for k in range(len(low))])
        values = low.copy()
        if not fixed.all():
            rest = wanted - columns[:, fixed] @ low[fixed]
            values[~fixed] = np.linalg.lstsq(columns[:, ~fixed], rest, rcond=None)[0]
        error = float(np.sum((columns @ values - wanted) ** 2))
        if np.all(values >= low) and error < best_error:
            best, best_error = values, error
    return best


def predicted_us(device: Device, costs: Mapping[str, GraphCost], steps: int) -> float:
    """`Device.decision_us` from the costs by name."""
    return device.decision_us(costs["rollout"], costs["refine"], costs["rank"], steps)
