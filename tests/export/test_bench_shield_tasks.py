"""What the shield costs in the learning tasks: which tasks count, what is flown, how it is summed up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tubepilot.export.bench_shield_task_flight import TaskReference, factors
from tubepilot.export.bench_shield_tasks import _summary, _text, beyond
from tubepilot.train.task_definition import TASKS, load_task


def test_two_tasks_break_an_assumption_by_what_they_are() -> None:
    """Not `sprint`, whose step of 6 m asks for more than is certified: what becomes of it is a result."""
    assert {name for name in TASKS if beyond(load_task(name))} == {"payload_change", "low_battery"}


def test_the_path_goes_on_beyond_the_end_and_waits_before_the_start() -> None:
    task = load_task("figure_eight_4")
    reference = TaskReference(task.path, task.duration_s)
    before, at, after = reference.derivatives(np.array([-1.0, 0.0, task.duration_s + 0.5]))
    np.testing.assert_array_equal(before, at)
    np.testing.assert_array_equal(after.reshape(-1), task.path.at(np.array([task.duration_s + 0.5]))[0])
    assert np.linalg.norm(after[1]) > 1.0


def test_payload_and_battery_are_those_of_the_task() -> None:
    payload, battery, plain = (load_task(name) for name in ("payload_change", "low_battery", "figure_eight_2"))
    assert [factors(payload, t).mass for t in (-1.0, 3.99, 4.0, 12.0)] == [1.0, 1.0, 1.3, 1.3]
    assert [factors(battery, t).thrust for t in (-1.0, 0.0, 6.0, 12.0, 13.0)] == pytest.approx([1.0, 1.0, 0.875, 0.75, 0.75])
    assert (factors(plain, 5.0).mass, factors(plain, 5.0).thrust) == (1.0, 1.0)


def _row(**changes: Any) -> dict[str, Any]:
    row = {
        "task": "path", "ticks": 1000, "replaced": 9, "reasons": {"SOFTENED": 9}, "rmse_m": 0.0104, "without_rmse_m": 0.01,
        "ended": False, "ended_s": 10.0, "broken_s": None, "beyond": "", "without_speed_m_s": 2.0, "without_tilt_deg": 20.0,
        "governed": 0, "alone_rmse_m": 0.008, "alone_speed_m_s": 2.0, "alone_tilt_deg": 20.0,
    }  # fmt: skip
    return {**row, **changes}


def test_a_task_holds_only_below_both_limits_and_to_its_end() -> None:
    for changes, limit, holds in (
        ({}, 0.01, True),
        ({"replaced": 10}, 0.01, False),
        ({"replaced": 49}, 0.05, True),
        ({"rmse_m": 0.0106}, 0.05, False),
        ({"ended": True}, 0.05, False),
    ):
        line = _summary("calm", "path", [_row(**changes), _row(**changes, without_speed_m_s=3.0)], limit)
        assert line["holds"] is holds
        assert ("does NOT hold" in _text(line)) is not holds
    line = _summary("wind", "path", [_row(replaced=900, beyond="a step", broken_s=1.5)], 0.05)
    assert (line["share"], line["broken_s"], line["ended_s"]) == (0.9, [1.5], [])
    assert "not counted: a step" in _text(line)
    assert _summary("calm", "path", [_row(), _row(without_speed_m_s=3.0)], 0.01)["speed_m_s"] == 3.0


def test_where_the_reference_was_bounded_the_planner_alone_is_shown_too() -> None:
    plain = _summary("calm", "path", [_row()], 0.05)
    assert "alone" not in _text(plain)
    line = _summary("calm", "path", [_row(governed=30), _row(governed=12, alone_rmse_m=0.006, alone_speed_m_s=5.5)], 0.05)
    assert (line["governed"], line["alone"]["rmse_m"], line["alone"]["speed_m_s"]) == (42, pytest.approx(0.007), 5.5)
    assert "reference bounded in 42 ticks: the planner alone 0.0070 m, 5.5 m/s and 20 deg" in _text(line)
