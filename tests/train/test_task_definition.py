"""Task files: every one loads and says what it must, and every kind of mistake is refused with its place and limit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train import task_definition
from tubepilot.train.task_definition import OBSTACLES_MAX, TASKS, load_task
from tubepilot.train.task_flight import gate_passed

FILES = Path(task_definition.__file__).parent / "tasks"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_loads_and_its_reference_is_inside_its_own_limits(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    reference = task.path.at(np.arange(0.0, task.duration_s, 0.01))
    assert np.all(reference[:, 0:3] > task.geofence.low_m)
    assert np.all(reference[:, 0:3] < task.geofence.high_m)
    assert np.linalg.norm(reference[:, 3:6], axis=1).max() < task.speed_limit_m_s
    if np.isfinite(task.path.end_s):
        assert task.path.end_s < task.duration_s
    assert len(task.obstacles) + (task.forest.count if task.forest else 0) <= OBSTACLES_MAX


def test_no_file_is_left_out_of_the_list() -> None:
    assert {path.stem for path in FILES.glob("*.toml")} == set(TASKS)


def test_the_slalom_reference_passes_every_gate_in_order() -> None:
    task = load_task("gate_slalom")
    assert len(task.gates) == 4
    position = task.path.at(np.arange(0.0, task.duration_s, 0.01))[:, 0:3]
    at = []
    for gate in task.gates:
        seen = [gate_passed(gate, task.vehicle_radius_m, a, b) for a, b in pairwise(position)]
        assert seen.count(True) == 1
        assert False not in seen
        at.append(seen.index(True))
    assert at == sorted(at)


@pytest.mark.parametrize(
    ("task", "old", "new", "parts"),
    [
        ("hover_in_wind", "delay_ticks", "delay_tick", ["`delay_ticks`", "missing"]),
        ("hover_in_wind", "[wind]", "colour = 3\n[wind]", ["unknown key", "`geofence.colour`", "3"]),
        ("hover_in_wind", "gust_m_s = 1.0", "gust_m_s = -1.0", ["`wind.gust_m_s`", "-1.0", "0 to 20"]),
        ("hover_in_wind", "gust_m_s = 1.0", "gust_m_s = nan", ["`wind.gust_m_s`", "nan"]),
        ("hover_in_wind", "delay_ticks = 1", "delay_ticks = 1.5", ["`delay_ticks`", "1.5", "whole number"]),
        ("hover_in_wind", "mass = [0.95, 1.05]", "mass = [1.05, 0.95]", ["`randomisation.mass`", "smallest and the greatest"]),
        ("hover_in_wind", "mass = [0.95, 1.05]", "mass = [0.05, 0.95]", ["`randomisation.mass`", "0.05", "0.2 to 5"]),
        ("hover_in_wind", 'kind = "hover"', 'kind = "loop"', ["`path.kind`", "'loop'", "figure-eight"]),
        ("hover_in_wind", "point_m = [0.0, 0.0, 1.5]", "point_m = [0.0, 1.5]", ["`path.point_m`", "3 numbers"]),
        ("hover_in_wind", "reward_margin_m = 0.1", 'reward_margin_m = "distance"', ["`reward_margin_m`", "goal"]),
        ("hover_in_wind", "point_m = [0.0, 0.0, 1.5]", "point_m = [0.0, 9.0, 1.5]", ["`geofence.low_m`", "start"]),
        ("hover_in_wind", 'title = "Hover in wind"', "title = 5", ["`title`", "5", "text"]),
        ("hover_in_wind", "duration_s = 8.0", "duration_s = = 8.0", ["not valid TOML"]),
        ("figure_eight_2", "ramp_s = 1.0", "ramp_s = true", ["`path.ramp_s`", "True"]),
        ("gate_slalom", "width_m = 0.8", "width_m = 0.0", ["`gates[0].width_m`", "0.0", "0.05 to 100"]),
        ("gate_slalom", "[1.0, 0.6, 1.3], [3.0", "[-1.0, -0.6, 1.7], [3.0", ["`path.waypoints_m`", "apart"]),
        ("obstacle_forest", "density_1_m2 = 0.4", "density_1_m2 = 1.0", ["`obstacles`", "28", "16"]),
        ("obstacle_forest", "gap_m = 0.7", "gap_m = 0.3", ["`forest.gap_m`", "0.3", "0.44"]),
        ("obstacle_forest", "high_m = [3.5, 2.0]", "high_m = [3.5, -2.0]", ["`forest.high_m`", "low_m"]),
        ("payload_change", "from_s = 4.0", "from_s = 40.0", ["`payload.from_s`", "40.0", "12"]),
        ("low_battery", "last = 0.75", "last = 0.1", ["`battery.last`", "0.1", "0.5 to 1.5"]),
    ],
)
def test_a_bad_file_is_refused_with_place_and_limit(tmp_path: Path, task: str, old: str, new: str, parts: list[str]) -> None:
    text = (FILES / f"{task}.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_task(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_an_unknown_name_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="figure_eight_4"):
        load_task("figure_eight_3")
    with pytest.raises(InputError, match="cannot be read"):
        load_task(tmp_path / "none.toml")


def test_a_file_of_ones_own_is_a_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FILES / "sprint.toml").read_text(encoding="utf-8").replace("5.0  #", "7.0  #"), encoding="utf-8")
    task = load_task(path)
    assert (task.name, task.duration_s, task.reward_margin_m) == ("mine", 7.0, None)
