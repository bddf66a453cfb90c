"""The reference governor: what it hands on untouched, and what becomes of a reference that asks for too much."""

from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.runtime.governor import FORGET_S, STRAY_M, Governor
from tubepilot.runtime.governor_motion import ACCELERATION_SHARE, JERK_SHARE, SPEED_SHARE, Bounds, bounds_of

Array = npt.NDArray[np.float64]
FOLLOWED = Bounds((4.3, 2.3), (7.6, 2.1), (17.5, 10.3))
CHASED = Bounds((3.8, 1.4), (6.0, 0.6), (9.6, 2.6))
DT_S, TICK_S, KNOTS = 0.04, 0.01, 13
HORIZON = DT_S * np.arange(KNOTS)


def _state(position: Array | list[float], velocity: Array | list[float] = (0.0, 0.0, 0.0)) -> list[float]:  # type: ignore[assignment]
    return [*map(float, position), *map(float, velocity), 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, GRAVITY_M_S2]


def _at_rest(point: Array | list[float]) -> Array:
    return np.tile(np.concatenate([point, np.zeros(6)]), (KNOTS, 1))


def _circle(radius_m: float, speed_m_s: float, t_s: float) -> Array:
    rate = speed_m_s / radius_m
    phase = rate * (t_s + HORIZON)
    c, s, nothing = np.cos(phase), np.sin(phase), np.zeros(KNOTS)
    turn = rate * speed_m_s
    place, velocity = (radius_m * c, radius_m * s, nothing), (-speed_m_s * s, speed_m_s * c, nothing)
    return np.stack([*place, *velocity, -turn * c, -turn * s, nothing], axis=1)


def _step(governor: Governor, goal: list[float], ticks: int) -> Array:
    """First rows after the reference has jumped from the origin to a goal, the vehicle following it exactly."""
    governor.govern(_at_rest(np.zeros(3)), 10.0, _state(np.zeros(3)), False)
    seen, state = [], _state(np.zeros(3))
    for tick in range(1, ticks + 1):
        rows = _at_rest(goal)
        governor.govern(rows, 10.0 + tick * TICK_S, state, False)
        seen.append(rows[0].copy())
        state = _state(rows[0, 0:3], rows[0, 3:6])
    return np.array(seen)


def _norms(part: Array) -> tuple[float, float]:
    return float(np.linalg.norm(part[:, 0:2], axis=1).max()), float(np.abs(part[:, 2]).max())


def test_what_the_certificate_allows_is_handed_on_bit_for_bit() -> None:
    """Hover, circles within the bounds, and a pause of the ticks."""
    for radius, speed in ((2.0, 0.0), (2.0, 3.0), (2.5, 4.2)):
        governor = Governor(FOLLOWED, CHASED, DT_S)
        for tick in (*range(50), *range(53, 200)):
            rows = _circle(radius, speed, tick * TICK_S)
            asked = rows.copy()
            governor.govern(rows, 3.0 + tick * TICK_S, _state(rows[0, 0:3] + 0.15, rows[0, 3:6]), refused=tick % 7 == 0)
            np.testing.assert_array_equal(rows, asked)
            assert not governor.active


@pytest.mark.parametrize("seed", range(12))
def test_a_step_is_flown_within_the_bounds_to_its_end(seed: int) -> None:
    """Any direction, 0.1 to 12 m: never faster, steeper or more abrupt than the bounds, no more than 2 cm too far, then exact."""
    rng = np.random.default_rng(seed)
    goal = rng.normal(size=3)
    goal *= rng.uniform(0.1, 12.0) / np.linalg.norm(goal)
    goal[2] *= 0.3
    seen = _step(governor := Governor(FOLLOWED, CHASED, DT_S), goal.tolist(), 1500)
    for part, most in ((seen[:, 3:6], CHASED.speed_m_s), (seen[:, 6:9], CHASED.acceleration_m_s2)):
        assert all(seen_most <= bound * 1.02 for seen_most, bound in zip(_norms(part), most, strict=True))
    chased = seen[: next(k for k, row in enumerate(seen) if np.array_equal(row[0:3], goal))]
    jerk = np.diff(chased[:, 6:9], axis=0, prepend=0.0) / TICK_S
    assert all(seen_most <= bound * 1.001 for seen_most, bound in zip(_norms(jerk), CHASED.jerk_m_s3, strict=True))
    assert np.all((seen[:, 0:3] - goal) * np.sign(goal) < 0.02)
    np.testing.assert_array_equal(seen[-1], np.concatenate([goal, np.zeros(6)]))
    assert not governor.active


def test_the_rows_are_where_the_point_will_be() -> None:
    """What the planner is asked for half a second ahead is what comes then."""
    governor, state, ahead, came = Governor(FOLLOWED, CHASED, DT_S), _state(np.zeros(3)), [], []
    governor.govern(_at_rest(np.zeros(3)), 0.0, state, False)
    for tick in range(1, 250):
        rows = _at_rest([5.0, 1.0, 0.5])
        governor.govern(rows, tick * TICK_S, state, False)
        ahead.append(rows[-1].copy())
        came.append(rows[0].copy())
    np.testing.assert_allclose(np.array(ahead)[:-48, 0:3], np.array(came)[48:, 0:3], atol=0.02)
    np.testing.assert_allclose(np.array(ahead)[:-48, 3:6], np.array(came)[48:, 3:6], atol=0.15)


def test_a_reference_that_stays_too_fast_is_chased_within_the_bounds_and_caught_once_it_slows_down() -> None:
    governor, rows_seen = Governor(FOLLOWED, CHASED, DT_S), []
    for tick in range(1500):
        t = tick * TICK_S
        rows = _circle(3.0, 6.0, t) if t < 6.0 else _at_rest(_circle(3.0, 6.0, 6.0)[0, 0:3])
        asked = rows.copy()
        governor.govern(rows, t, _state(rows[0, 0:3], rows[0, 3:6]), False)
        rows_seen.append(rows[0].copy())
    seen = np.array(rows_seen)[200:]
    assert _norms(seen[:390, 3:6])[0] <= CHASED.speed_m_s[0] * 1.01
    assert _norms(seen[:, 3:6])[0] <= CHASED.speed_m_s[0] / SPEED_SHARE[0]  # as it turns round to the point where all stopped
    assert _norms(seen[:, 6:9])[0] <= CHASED.acceleration_m_s2[0] * 1.001
    np.testing.assert_array_equal(rows, asked)


def test_a_jump_within_the_horizon_is_seen_before_it_comes() -> None:
    governor = Governor(FOLLOWED, CHASED, DT_S)
    governor.govern(_at_rest(np.zeros(3)), 0.0, _state(np.zeros(3)), False)
    rows = _at_rest(np.zeros(3))
    rows[8:, 0] = 2.0
    governor.govern(rows, TICK_S, _state(np.zeros(3)), False)
    assert governor.active
    assert rows[-1, 0] < 0.2
    np.testing.assert_allclose(rows[:8, 0:3], 0.0, atol=1e-12)


@pytest.mark.parametrize("column", [3, 5, 6, 8])
def test_each_bound_of_what_is_followed_counts(column: int) -> None:
    """Just below it the rows are handed on, just above they are not."""
    bound = {3: FOLLOWED.speed_m_s[0], 5: FOLLOWED.speed_m_s[1], 6: FOLLOWED.acceleration_m_s2[0], 8: FOLLOWED.acceleration_m_s2[1]}
    for share, active in ((0.999, False), (1.001, True)):
        rows = _at_rest(np.zeros(3))
        rows[:, column] = share * bound[column] * (1.0 if column < 6 else np.linspace(0.0, 1.0, KNOTS))
        if column < 6:
            rows[:, column - 3] = HORIZON * rows[0, column]
        governor = Governor(FOLLOWED, CHASED, DT_S)
        governor.govern(rows, 0.0, _state(np.zeros(3), rows[0, 3:6]), False)
        assert governor.active is active


def test_after_a_refusal_far_away_the_reference_is_chased_from_the_vehicle_on() -> None:
    for away, active in ((0.9 * STRAY_M, False), (1.1 * STRAY_M, True)):
        governor = Governor(FOLLOWED, CHASED, DT_S)
        governor.govern(_at_rest(np.zeros(3)), 0.0, _state(np.zeros(3)), False)
        rows = _at_rest(np.zeros(3))
        governor.govern(rows, TICK_S, _state([away, 0.0, 0.0], [0.5, 0.0, 0.0]), True)
        assert governor.active is active
        assert rows[0, 0] == (away if active else 0.0)
        assert rows[0, 3] == (0.5 if active else 0.0)
    tilted = [0.0, 0.0, 0.0, 2.0, 0.0, 0.0, math.cos(0.5), 0.0, math.sin(0.5), 0.0, 0.0, 0.0, 0.0, 18.0]
    governor.govern(rows, 2 * TICK_S, tilted, True)
    assert rows[0, 6] == pytest.approx(CHASED.acceleration_m_s2[0])
    assert abs(rows[0, 8]) <= CHASED.acceleration_m_s2[1]


def test_without_a_refusal_the_planner_alone_brings_the_vehicle_back() -> None:
    governor = Governor(FOLLOWED, CHASED, DT_S)
    governor.govern(_at_rest(np.zeros(3)), 0.0, _state(np.zeros(3)), False)
    rows = _at_rest(np.zeros(3))
    governor.govern(rows, TICK_S, _state([1.0, 0.0, 0.0]), False)
    assert not governor.active
    assert not rows.any()


def test_after_a_pause_it_begins_anew_from_the_vehicle() -> None:
    governor = Governor(FOLLOWED, CHASED, DT_S)
    _step(governor, [6.0, 0.0, 0.0], 100)
    assert governor.active
    rows = _at_rest([6.0, 0.0, 0.0])
    governor.govern(rows, 11.0 + FORGET_S + TICK_S, _state([6.1, 0.0, 0.0]), False)
    assert not governor.active
    governor.govern(rows, 5.0, _state([1.0, 0.0, 0.0]), False)  # a clock that went back
    assert governor.active
    assert rows[0, 0] == 1.0


def test_bounds_are_shares_of_the_certificate() -> None:
    text = (
        "[set]\nat_once_velocity_m_s = [4.0, 2.0]\nat_once_tilt_deg = 35.0\nspeed_m_s = 4.3\ntilt_deg = 37.0\n"
        "[limits]\nvelocity_m_s = [6.9, 2.4]\nacceleration_m_s2 = [7.6, 2.1]\njerk_m_s3 = [17.5, 10.3]\n"
    )
    followed, chased = bounds_of(text.encode())
    assert followed.speed_m_s == (4.3, 2.4)
    assert followed.acceleration_m_s2 == (pytest.approx(GRAVITY_M_S2 * math.tan(math.radians(37.0))), 2.1)
    assert chased.speed_m_s == pytest.approx((4.0 * SPEED_SHARE[0], 2.0 * SPEED_SHARE[1]))
    steep = GRAVITY_M_S2 * math.tan(math.radians(35.0))
    assert chased.acceleration_m_s2 == pytest.approx((steep * ACCELERATION_SHARE[0], 2.1 * ACCELERATION_SHARE[1]))
    assert chased.jerk_m_s3 == pytest.approx((17.5 * JERK_SHARE[0], 10.3 * JERK_SHARE[1]))
    for change in (("[limits]", "[bounds]"), ("35.0", "-1.0"), ("[17.5, 10.3]", "17.5"), ("[4.0, 2.0]", "[0.0, 2.0]"), ("10.3", "nan")):
        with pytest.raises(BundleError, match="certify again"):
            bounds_of(text.replace(*change).encode())


def test_the_shipped_certificate_gives_bounds_within_its_own_set() -> None:
    """Chased: below what it promises at once; followed: a figure-eight at 4 m/s, which the shield admits."""
    followed, chased = bounds_of((Path(__file__).parents[2] / "bundles/demo/certificate.toml").read_bytes())
    assert chased.speed_m_s < (4.0, 2.0)
    assert chased.acceleration_m_s2[0] < GRAVITY_M_S2 * math.tan(math.radians(35.0))
    assert followed.speed_m_s > (4.2, 2.0)
    assert all(a < b for one, other in zip(astuple(chased), astuple(followed), strict=True) for a, b in zip(one, other, strict=True))
