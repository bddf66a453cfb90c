"""Falsifiers beside the bounds of docs/certificate.md, section 3: the worst cases found by a search stay below, and not far below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.proven import ASSUMED
from helpers.residual import PARTS, Case, Numbers, largest, residual

from tubepilot.train.invariance.assumptions import Assumptions
from tubepilot.train.invariance.disturbance import Disturbance, bound
from tubepilot.train.invariance.stages import as_limits

GAIN = np.array([[-0.2287, -0.7118, -1.5451], [-0.346, -1.1422, -1.922]])
FAST = np.array([[11.1, 5.8], [7.2, 2.4], [7.2, 2.0], [14.7, 6.5], [11.7, 4.0], [18.6, 11.8]])
CALM = np.array([[11.0, 5.8], [6.8, 2.4], [3.2, 1.9], [6.5, 4.6], [4.8, 3.2], [9.7, 8.5]])
"""Limits of a first and of a last stage."""
ROUNDING_M_S3 = 0.006
WIDE = replace(ASSUMED, attitude_error_rad=0.021, delay_max_s=0.02, acceleration_m_s2=(1.4, 1.0), yaw_rate_rad_s=0.5)
SLOW_TICK = replace(ASSUMED, tick_s=0.02, delay_max_s=0.0)
AT_ONCE = replace(ASSUMED, missed_ticks=0, delay_max_s=0.0)
ALONG, UP, DOWN = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)
LEAST = {None: 0.45, 0: 0.75, 1: 0.3, 2: 0.45, 3: 0.9}
"""Share of its bound that the search reaches at least, in whole and part by part: a bound cut by as much would be seen."""


def case_of(assumptions: Assumptions, limits: Numbers) -> tuple[Case, Disturbance]:
    found = bound(assumptions, as_limits(limits), GAIN, 8, ROUNDING_M_S3)
    return Case(assumptions, limits, GAIN, ROUNDING_M_S3, found.acceleration_m_s2), found


@pytest.mark.parametrize("limits", [FAST, CALM], ids=["first stage", "last stage"])
@pytest.mark.parametrize("assumptions", [ASSUMED, WIDE, SLOW_TICK, AT_ONCE], ids=["usual", "wide", "50 Hz", "no delay"])
def test_no_case_exceeds_the_bound_of_r(assumptions: Assumptions, limits: Numbers) -> None:
    case, found = case_of(assumptions, limits)
    for axis, directions in enumerate(((ALONG,), (UP, DOWN))):
        reached = max(largest(case, None, direction, seed=axis, count=300, rounds=80) for direction in directions)
        assert LEAST[None] * found.jerk_m_s3[axis] < reached < found.jerk_m_s3[axis]
    assert 0.8 * found.setpoint_rates_rad_s < largest(case, None, None, seed=2, count=300, rounds=60) < found.setpoint_rates_rad_s


@pytest.mark.parametrize("part", range(4), ids=PARTS)
def test_no_part_of_r_exceeds_its_bound(part: int) -> None:
    case, found = case_of(ASSUMED, FAST)
    assert tuple(found.parts) == PARTS
    for axis, directions in enumerate(((ALONG,), (UP, DOWN))):
        reached = max(largest(case, part, direction, seed=axis) for direction in directions)
        most = found.parts[PARTS[part]][axis]
        assert LEAST[part] * most < reached < most


def test_the_search_sees_a_bound_that_forgets_an_error() -> None:
    """The bound of half the attitude error, or of half the window, is below what the search reaches in that part."""
    case, _ = case_of(WIDE, CALM)
    half = bound(replace(WIDE, attitude_error_rad=0.5 * WIDE.attitude_error_rad), as_limits(CALM), GAIN, 8, ROUNDING_M_S3)
    assert largest(case, 0, ALONG, seed=0) > half.parts[PARTS[0]][0]
    half = bound(replace(WIDE, rate_residual_rad_s=0.9 * WIDE.rate_residual_rad_s), as_limits(CALM), GAIN, 8, ROUNDING_M_S3)
    assert largest(case, 3, ALONG, seed=0) > half.parts[PARTS[3]][0]


def test_r_is_what_the_plant_does() -> None:
    """The residual of the helper is tau j' + j - nu of the plant of section 2, its derivative taken by differences."""
    case, _ = case_of(ASSUMED, FAST)
    random = np.random.default_rng(4)
    rows = np.zeros((6, 30))
    rows[:, :9] = random.uniform(-0.5, 0.5, (6, 9))
    rows[:, 27] = random.uniform(-1.0, 1.0, 6)
    r = residual(case, rows).parts.sum(axis=1)  # no errors, no time: the set-points are those of the present state
    a, step = case.assumptions, 1e-6
    for n in range(6):
        reach = FAST[2] + np.array(a.disturbance_estimate_m_s2)
        force = rows[n, :3] * reach[[0, 0, 1]] + np.array([0.0, 0.0, a.gravity_m_s2])
        c, jerk, nu = np.linalg.norm(force), rows[n, 3:6] * FAST[3, [0, 0, 1]], rows[n, 6:9] * FAST[4, [0, 0, 1]]
        b = force / c
        slope, yaw = b @ jerk, a.yaw_rate_rad_s * rows[n, 27]
        omega = np.cross(b, jerk) / c + yaw * b
        asked = np.cross(b, nu) / c  # rates that realise the part of nu across b
        turned = b + step * np.cross(omega, b)
        turned /= np.linalg.norm(turned)
        rates = omega + step * ((asked + yaw * b - omega) / a.rate_lag_s)
        after = slope + step * (b @ nu - slope) / a.rate_lag_s
        thrust = c + step * slope
        new = after * turned + thrust * np.cross(rates, turned)
        change = (new - jerk) / step
        assert a.rate_lag_s * change + jerk - nu == pytest.approx(r[n], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("assumptions", [ASSUMED, SLOW_TICK], ids=["100 Hz", "50 Hz"])
def test_between_ticks_the_thrust_model_stays_within_the_ripple(assumptions: Assumptions) -> None:
    """The lag of a held set-point against the smooth slope of the proof, level at the weight: the difference is part of w."""
    a, t = assumptions, np.linspace(0.0, assumptions.tick_s, 200)
    found = bound(a, as_limits(FAST), GAIN, 8, ROUNDING_M_S3)
    allowed = found.acceleration_m_s2[1] - a.acceleration_m_s2[1]
    most = 0.0
    for slope in (-FAST[3, 1], FAST[3, 1]):
        for along in (-FAST[4, 1], FAST[4, 1]):
            smooth = along * t + (slope - along) * a.rate_lag_s * (1.0 - np.exp(-t / a.rate_lag_s))
            target = smooth[-1] / (1.0 - np.exp(-a.tick_s / a.thrust_lag_s))
            held = target * (1.0 - np.exp(-t / a.thrust_lag_s))
            most = max(most, float(np.abs(held - smooth).max()))
    assert 0.1 * allowed < most < allowed
