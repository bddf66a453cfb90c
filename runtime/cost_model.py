"""How long a decision takes: a time per node and a rate of multiplication, calibrated on the machine that flies.

    time = node_us * nodes + flops / rate + element_ns * elements

for each graph of a tick. Under onnxruntime, elements are the numbers that the nodes write. The compiled planner has calls for nodes,
products as they are really done (whole vectors, without what is zero) and entries of everything else, weighted. `tubepilot doctor
--bundle BUNDLE --calibrate FILE` fits the three to the bundle's own graphs, by the engine that flies, on the machine that flies, so
that `export --tick-hz HZ --device FILE` can choose a planner for that machine without running on it.
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
    """Nodes or calls, floating-point operations and numbers written of one graph; of onnxruntime or of the compiled planner."""

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
        engine: What the three were measured with: `compiled` or `onnxruntime`; they say nothing of the other.
    """

    name: str
    node_us: float
    gflop_s: float
    element_ns: float
    engine: str = "onnxruntime"

    def graph_us(self, cost: GraphCost) -> float:
        """Time of one run of a graph [us]."""
        return self.node_us * cost.nodes + 1e-3 * (cost.flops / self.gflop_s + self.element_ns * cost.elements)

    def decision_us(self, rollout: GraphCost, refine: GraphCost, rank: GraphCost, steps: int) -> float:
        """Time of a whole tick's planning with K steps, back to back [us]."""
        runs = [rollout, *[refine] * steps, rank]
        return sum(map(self.graph_us, runs))


DEVICES: dict[str, Device] = {
    "workstation": Device("workstation", 0.0131, 185.0, 0.0079, "compiled"),
}
"""Machines measured so far: a virtual core of an EPYC of Zen 5. Others: `tubepilot doctor --calibrate FILE` there."""
LOW: dict[str, tuple[float, float, float]] = {"onnxruntime": (0.02, 1e-3, 0.01), "compiled": (5e-4, 1e-4, 1e-4)}
"""Least time per node [us], per 1000 operations [us] and per 1000 numbers [us] that a calibration gives."""
ALIKE = 0.3
"""How much machines are held to differ by one factor in all three: three graphs of one compiled planner do not tell them apart."""


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
        node_us, gflop_s, element_ns = (float(values[key]) for key in ("node_us", "gflop_s", "element_ns"))
        device = Device(str(values["name"]), node_us, gflop_s, element_ns, str(values.get("engine", "onnxruntime")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        known = ", ".join(DEVICES)
        raise InputError(
            f"device {name!r} is neither one of {known} nor a file of `tubepilot doctor --calibrate FILE`: {error}"
        ) from error
    if device.engine not in LOW:
        raise InputError(f"device file {path}: engine is {device.engine[:40]!r}, must be one of {', '.join(LOW)}; calibrate again")
    if not all(math.isfinite(v) and v > 0.0 for v in (device.node_us, device.gflop_s, device.element_ns)):
        raise InputError(f"device file {path}: node_us, gflop_s and element_ns must be above 0; calibrate again")
    return device


def save_device(device: Device, path: Path) -> None:
    """Write a device for `load_device`."""
    path.write_text(json.dumps(asdict(device), indent=2) + "\n", encoding="utf-8")


def costs_of(bundle: Bundle, engine: str = "onnxruntime") -> dict[str, GraphCost]:
    """Nodes and operations of the planner's graphs by an engine, from the metadata that the export wrote."""
    from .session import open_session

    result = {}
    for name in ("rollout", "refine", "rank"):
        meta = open_session(bundle.files[f"{name}.onnx"], f"{name}.onnx").get_modelmeta().custom_metadata_map
        keys = [f"{'compiled_' if engine == 'compiled' else ''}{what}" for what in ("nodes", "flops", "elements")]
        if not set(keys) <= set(meta):
            raise InputError(f"{name}.onnx does not say its nodes and operations; export the bundle again")
        result[name] = GraphCost(*(int(meta[key]) for key in keys))
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


def calibrate(name: str, measured: Iterable[tuple[GraphCost, float]], engine: str = "onnxruntime") -> Device:
    """Fit the three numbers to graphs of known cost and measured time [us], by relative least squares, none below a floor.

    Args:
        name: Of the machine.
        measured: Costs of graphs by that engine, and their times [us].
        engine: What ran them. The compiled planner's numbers are drawn to the known machine's, times one factor, by `ALIKE`.

    Raises:
        InputError: fewer than three graphs.
    """
    rows = list(measured)
    if len(rows) < 3:
        raise InputError(f"{len(rows)} graphs were timed, at least 3 are needed to calibrate")
    scale = np.array([us for _, us in rows])
    columns = np.array([[g.nodes, 1e-3 * g.flops, 1e-3 * g.elements] for g, _ in rows]) / scale[:, None]
    wanted = np.ones(len(rows))
    if engine == "compiled":
        known = DEVICES["workstation"]
        usual = np.array([known.node_us, 1.0 / known.gflop_s, known.element_ns])
        pairs = ALIKE * np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]) / usual
        columns, wanted = np.concatenate([columns, pairs]), np.append(wanted, np.zeros(3))
    values = _bounded(columns, wanted, np.array(LOW[engine]))
    return Device(name, float(values[0]), 1.0 / float(values[1]), float(values[2]), engine)


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
