"""The cost model: what it was fitted to comes out again, and what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.small_bundle import make_bundle

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.cost_model import (
    DEVICES,
    Device,
    GraphCost,
    calibrate,
    costs_of,
    load_device,
    predicted_us,
    save_device,
)
from tubepilot.runtime.doctor import Level
from tubepilot.runtime.doctor_planner import check_planner

COSTS = [
    GraphCost(*sizes)
    for sizes in ((400, 4_000_000, 90_000), (300, 6_000_000, 160_000), (44, 800_000, 30_000), (26, 20_000, 500))
]


def test_a_device_is_found_from_its_times() -> None:
    truth = Device("board", 0.8, 20.0, 0.5)
    found = calibrate("board", [(cost, truth.graph_us(cost)) for cost in COSTS])
    assert (found.node_us, found.gflop_s, found.element_ns) == pytest.approx((0.8, 20.0, 0.5), rel=1e-6)


def test_a_compiled_planner_is_told_from_three_graphs_that_hardly_differ() -> None:
    usual = DEVICES["workstation"]
    truth = Device("board", 4.0 * usual.node_us, usual.gflop_s / 4.0, 4.0 * usual.element_ns, "compiled")
    alike = [GraphCost(10 * n, 100_000 * n, 5_000 * n + 1) for n in (30, 33, 36)]
    other = GraphCost(30, 4_000_000, 10_000)
    for rate in (0.95, 1.05):
        found = calibrate("board", [(cost, truth.graph_us(cost) * rate) for cost in alike], "compiled")
        assert found.engine == "compiled"
        assert found.graph_us(other) == pytest.approx(truth.graph_us(other), rel=0.06)


def test_noise_in_the_times_never_makes_a_number_negative() -> None:
    rng = np.random.default_rng(0)
    truth = DEVICES["workstation"]
    for _ in range(50):
        noisy = calibrate("x", [(cost, truth.graph_us(cost) * rng.uniform(0.7, 1.4)) for cost in COSTS[:3]])
        assert min(noisy.node_us, noisy.gflop_s, noisy.element_ns) > 0.0
    with pytest.raises(InputError, match="at least 3"):
        calibrate("x", [(COSTS[0], 1.0)])


def test_a_decision_is_the_sum_of_its_graphs() -> None:
    device = Device("x", 1.0, 1.0, 1.0)
    costs = dict(zip(("rollout", "refine", "rank"), COSTS, strict=False))
    wanted = device.graph_us(COSTS[0]) + 3 * device.graph_us(COSTS[1]) + device.graph_us(COSTS[2])
    assert predicted_us(device, costs, 3) == pytest.approx(wanted)


def test_device_files(tmp_path: Path) -> None:
    save_device(Device("pi", 1.5, 8.0, 0.9), tmp_path / "pi.json")
    assert load_device(str(tmp_path / "pi.json")) == Device("pi", 1.5, 8.0, 0.9)
    assert load_device("workstation") is DEVICES["workstation"]
    with pytest.raises(InputError, match="neither one of workstation nor a file"):
        load_device(str(tmp_path / "none.json"))
    save_device(Device("pi", 1.5, 8.0, 0.9, "compiled"), tmp_path / "compiled.json")
    assert load_device(str(tmp_path / "compiled.json")).engine == "compiled"
    (tmp_path / "odd.json").write_text('{"name": "x", "node_us": 1, "gflop_s": 1, "element_ns": 1, "engine": "steam"}')
    with pytest.raises(InputError, match="engine is 'steam'"):
        load_device(str(tmp_path / "odd.json"))
    (tmp_path / "bad.json").write_text('{"name": "x", "node_us": -1, "gflop_s": 1, "element_ns": 1}')
    with pytest.raises(InputError, match="must be above 0"):
        load_device(str(tmp_path / "bad.json"))


def test_the_doctor_times_and_predicts_a_bundle(tmp_path: Path) -> None:
    path, keys = make_bundle(tmp_path)
    assert costs_of(read_bundle(path, keys))["refine"].nodes > 50
    engine, check = check_planner(path, keys, tmp_path / "here.json")
    assert (engine.name, engine.level) == ("planner engine", Level.WARN), "this bundle brings no C code"
    assert check.level in {Level.OK, Level.WARN}
    assert "predicted" in check.found
    assert load_device(str(tmp_path / "here.json")).node_us > 0.0
