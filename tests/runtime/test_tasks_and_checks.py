"""Tasks through a flight log's meta data, pre-flight findings at their limits, and the figures of a flight."""

from __future__ import annotations

import argparse
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.firmware_bridge.types import Setpoint, Vector, VehicleState
from tubepilot.runtime import tasks
from tubepilot.runtime.flight_summary import Tally
from tubepilot.runtime.local_frame import LocalFrame
from tubepilot.runtime.manifest import LimitsEntry, PhysicsEntry
from tubepilot.runtime.on_board import task_limits
from tubepilot.runtime.phases import Phase
from tubepilot.runtime.preflight import (
    Level,
    StateSample,
    check_attitude,
    check_rights,
    check_stream,
    mean_frame,
    warm_up,
)
from tubepilot.runtime.realtime import Right, Rights
from tubepilot.runtime.state_check import Fault
from tubepilot.runtime.tick_types import Outcome


def _parsed(*options: str) -> tasks.TaskSettings:
    parser = argparse.ArgumentParser()
    tasks.add_arguments(parser)
    return tasks.from_arguments(parser.parse_args(options))


@pytest.mark.parametrize("options", [(), ("--task", "hover", "--hover-s", "3"), ("--size-m", "2", "--laps", "1")])
def test_a_task_survives_the_flight_log(options: tuple[str, ...]) -> None:
    settings, frame = _parsed(*options), LocalFrame(np.array([1.0, -2.0, 0.5]), 0.7)
    again, place = tasks.from_meta({**settings.meta(frame), "other": 1})
    assert again == settings
    assert place.yaw_rad == frame.yaw_rad
    np.testing.assert_array_equal(place.origin_m, frame.origin_m)
    t = np.linspace(0.0, 5.0, 11)
    np.testing.assert_array_equal(again.reference().derivatives(t), settings.reference().derivatives(t))


def test_a_log_of_something_else_is_refused() -> None:
    with pytest.raises(LogFormatError, match="height_m"):
        tasks.from_meta({"task": "hover"})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--height-m", "0.3"), "--height-m is 0.3"),
        (("--height-m", "nan"), "--height-m"),
        (("--task", "hover", "--hover-s", "0"), "--hover-s"),
    ],
)
def test_tasks_that_cannot_be_flown_are_refused(options: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        _parsed(*options)
    with pytest.raises(InputError, match="no task 'loop'"):
        tasks.TaskSettings("loop", 1.0, 1.0, 1.0, 1, 1.0, 1.0)


def _sample(
    count: int, age_s: float, tilt_rad: float = 0.0, speed_m_s: float = 0.0, yaw_rad: float = 0.0
) -> StateSample:
    rng = np.random.default_rng(0)
    states = []
    for k in range(count):
        yaw = yaw_rad + rng.uniform(-0.005, 0.005)
        attitude = np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
        if tilt_rad:
            attitude = np.array([math.cos(tilt_rad / 2), math.sin(tilt_rad / 2), 0.0, 0.0])
        position = np.array([4.0, 5.0, 6.0]) + rng.uniform(-0.02, 0.02, 3)
        states.append(VehicleState(k, position, np.array([speed_m_s, 0.0, 0.0]), attitude, np.zeros(3)))
    return StateSample(tuple(states), (age_s,) * count, 1.0)


@pytest.mark.parametrize(
    ("hz", "age_s", "levels"),
    [
        (100, 0.004, [Level.PASS, Level.PASS]),
        (80, 0.049, [Level.PASS, Level.PASS]),
        (79, 0.004, [Level.FAIL, Level.PASS]),
        (100, 0.051, [Level.PASS, Level.FAIL]),
        (0, 0.0, [Level.FAIL]),
    ],
)
def test_the_state_stream_at_its_limits(hz: int, age_s: float, levels: list[Level]) -> None:
    findings = check_stream(_sample(hz, age_s), 100.0, 0.05, "set the loop rate")
    assert [finding.level for finding in findings] == levels
    assert all(("; " in finding.text) == (finding.level is Level.FAIL) for finding in findings)
    assert findings[0].text.endswith("80 % are needed; set the loop rate") == (findings[0].level is Level.FAIL)


@pytest.mark.parametrize(("late", "level"), [(0, Level.PASS), (5, Level.WARNING), (12, Level.FAIL)])
def test_single_late_states_warn_and_many_fail(late: int, level: Level) -> None:
    sample = _sample(100, 0.004)
    sample = StateSample(sample.states, sample.ages_s[late:] + (0.09,) * late, 1.0)
    assert check_stream(sample, 100.0, 0.05, "")[1].level is level


def test_attitude_before_take_off() -> None:
    assert check_attitude(_sample(5, 0.0)).level is Level.PASS
    assert check_attitude(_sample(5, 0.0, tilt_rad=math.radians(14.9))).level is Level.PASS
    assert check_attitude(_sample(5, 0.0, tilt_rad=math.radians(15.1))).level is Level.FAIL
    assert check_attitude(_sample(5, 0.0, speed_m_s=0.31)).level is Level.FAIL
    assert check_attitude(_sample(0, 0.0)).level is Level.FAIL


@pytest.mark.parametrize("yaw_rad", [0.3, math.pi, -math.pi])
def test_the_take_off_frame_averages_the_noise_out(yaw_rad: float) -> None:
    frame = mean_frame(_sample(150, 0.0, yaw_rad=yaw_rad))
    np.testing.assert_allclose(frame.origin_m, [4.0, 5.0, 6.0], atol=0.004)
    assert abs(math.remainder(frame.yaw_rad - yaw_rad, 2 * math.pi)) < 0.001


def test_a_missing_right_is_a_warning_with_its_remedy() -> None:
    rights = Rights((Right("a", True, "fine"), Right("b", False, "refused", "do this")))
    levels = [(finding.level, finding.text) for finding in check_rights(rights)]
    assert levels == [(Level.PASS, "fine"), (Level.WARNING, "refused; do this")]


class Planner:
    horizon, dt_plan_s = 3, 0.04
    setpoint, steps, return_before, return_after, disagreement = Setpoint(np.zeros(3), 9.8), 1, 0.0, 0.0, 0.0

    def __init__(self) -> None:
        self.runs = 0

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Planner:
        assert (state.shape, reference.shape, disturbance.shape) == ((14,), (4, 9), (3,))
        self.runs += 1
        return self

    def applied(self, setpoint: Setpoint) -> None:
        """Nothing to remember."""

    def reset(self) -> None:
        """Nothing to forget."""


def test_the_planner_is_warmed_up_and_judged_by_its_time() -> None:
    planner = Planner()
    assert warm_up(planner, 0.005, 10.0).level is Level.PASS
    assert planner.runs == 100
    assert warm_up(planner, 0.005, 0.0).level is Level.FAIL


def _outcome(error_m: float, verdict: int = 0, overrun: bool = False, tick_us: float = 500.0) -> Outcome:
    error = np.array([0.0, error_m, 0.0])
    return Outcome(Fault.NONE, None, np.zeros(9), [0.0] * 14, error, None, verdict, False, overrun, tick_us, None)


def test_the_summary_counts_planned_ticks_and_measures_the_task_only() -> None:
    tally = Tally()
    tally.add(Phase.READY, _outcome(9.0), 0, 0)
    tally.add(Phase.CLIMB, _outcome(9.0, verdict=255), 1000, 0)
    for k in range(98):
        tally.add(Phase.TRACK, _outcome(0.3 if k % 2 else 0.4, verdict=int(k < 3), tick_us=float(k)), 1000, 0)
    tally.add(Phase.LAND, _outcome(9.0, verdict=2, overrun=True, tick_us=10_000.0), 1000, 2)
    summary = tally.summary("", "", True)
    assert summary.rmse_m == pytest.approx(math.sqrt(0.125))
    assert (summary.ticks, summary.overruns, summary.skipped) == (100, 1, 2)
    assert summary.verdicts == (95, 3, 1, 1)
    assert summary.tick_us[2] > summary.tick_us[1] > summary.tick_us[0] > 0
    assert summary.late_us[0] == pytest.approx(1.0)
    assert summary.completed
    assert not tally.summary("stopped", "", True).completed
    assert not tally.summary("", "", False).completed
    assert any("last failure" in line for line in tally.summary("", "SEND: x", True).lines())
    assert math.isnan(Tally().summary("", "", False).rmse_m)


def test_task_limits_are_the_certificates_within_what_the_thrust_allows() -> None:
    physics = PhysicsEntry(1.0, 0.07, (1.0,) * 3, (0.0,) * 3, (0.05,) * 3, (0.2,) * 3)
    manifest = SimpleNamespace(physics=physics, limits=LimitsEntry((6.0, 6.0, 3.0), 2.0, 16.0), certified_limits={})
    room = 0.9 * 16.0 - 9.80665
    assert task_limits(manifest) == ((5.0, 5.0), (pytest.approx(room), pytest.approx(room)))  # type: ignore[arg-type]
    manifest.certified_limits = {"velocity_m_s": [2.7, 1.4], "acceleration_m_s2": [3.3, 99.0]}
    assert task_limits(manifest) == ((2.7, 1.4), (3.3, pytest.approx(room)))  # type: ignore[arg-type]
