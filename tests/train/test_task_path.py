"""References: derivatives against finite differences, continuity of the acceleration, and the greatest speed as given."""

from __future__ import annotations

import numpy as np
import pytest

from tubepilot.train.task_path import FigureEightPath, GoalPath, SplinePath, TaskPath

WAYPOINTS = np.array([[-5.0, 0.0, 1.5], [-3.0, 0.6, 1.3], [-1.0, -0.6, 1.7], [2.0, 0.6, 1.3], [5.0, 0.0, 1.5]])
PATHS: list[TaskPath] = [
    FigureEightPath(np.array([1.0, 2.0, 1.5]), 1.5, 2.0, 1.0),
    SplinePath(WAYPOINTS, 2.0, 1.0),
    SplinePath(WAYPOINTS[[0, 4]], 1.5, 0.8),
]


@pytest.mark.parametrize("path", PATHS)
def test_velocity_and_acceleration_are_the_derivatives(path: TaskPath) -> None:
    h = 1e-4
    t = np.linspace(0.05, 9.0, 300)
    before, now, after = (path.at(t + shift) for shift in (-h, 0.0, h))
    # Central differences: h^2 / 6 times the third derivative, which jumps by at most some 100 m/s^3 where ramps and splines meet.
    assert np.allclose((after[:, 0:3] - before[:, 0:3]) / (2 * h), now[:, 3:6], atol=1e-6)
    assert np.allclose((after[:, 3:6] - before[:, 3:6]) / (2 * h), now[:, 6:9], atol=5e-3)


@pytest.mark.parametrize("path", PATHS)
def test_the_acceleration_is_continuous_and_the_start_at_rest(path: TaskPath) -> None:
    t = np.arange(0.0, 12.0, 1e-3)
    jumps = np.abs(np.diff(path.at(t)[:, 6:9], axis=0)).max()
    assert jumps < 0.06  # 60 m/s^3 over a millisecond; a jump of the speed profile's slope would be 1.5 m/s^2 and more
    first = path.at(np.zeros(1))[0]
    assert np.array_equal(first[0:3], path.start_m)
    assert np.allclose(first[3:9], 0.0, atol=1e-12)


@pytest.mark.parametrize(("path", "speed"), [(PATHS[0], 2.0), (PATHS[1], 2.0), (PATHS[2], 1.5)])
def test_the_greatest_speed_is_as_given(path: TaskPath, speed: float) -> None:
    v = np.linalg.norm(path.at(np.arange(0.0, 20.0, 1e-3))[:, 3:6], axis=1)
    assert v.max() == pytest.approx(speed, rel=1e-5)


def test_a_spline_goes_through_its_waypoints_and_rests_at_the_last() -> None:
    path = SplinePath(WAYPOINTS, 2.0, 1.0)
    flown = path.at(np.arange(0.0, path.end_s + 1.0, 1e-3))[:, 0:3]
    for point in WAYPOINTS:
        assert np.linalg.norm(flown - point, axis=1).min() < 2e-3
    after = path.at(np.array([path.end_s, path.end_s + 5.0]))
    assert np.allclose(after[:, 0:3], WAYPOINTS[-1], atol=1e-12)
    assert np.allclose(after[:, 3:9], 0.0, atol=1e-9)


def test_a_path_too_short_for_its_speed_keeps_its_ramps() -> None:
    path = SplinePath(np.array([[0.0, 0.0, 1.0], [0.2, 0.0, 1.0]]), 5.0, 1.0)
    assert path.end_s == pytest.approx(2.0)
    assert np.linalg.norm(path.at(np.linspace(0.0, 2.0, 500))[:, 3:6], axis=1).max() == pytest.approx(0.2, rel=1e-4)


def test_the_goal_is_a_step() -> None:
    path = GoalPath(np.zeros(3), np.array([6.0, 0.0, 0.0]))
    assert np.array_equal(path.at(np.array([0.0, 3.0])), np.tile([6.0, 0, 0, 0, 0, 0, 0, 0, 0], (2, 1)))
