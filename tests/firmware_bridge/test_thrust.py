"""Thrust to throttle: the curve's inverse, the battery's share, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.thrust import LEAST_SHARE, SMOOTHING_S, ThrustMap, throttle_of


@given(share=st.floats(0.0, 1.0), curve=st.floats(0.0, 1.0))
def test_the_curve_comes_back(share: float, curve: float) -> None:
    u = throttle_of(share, curve)
    assert 0.0 <= u <= 1.0
    assert (1.0 - curve) * u + curve * u * u == pytest.approx(share, abs=1e-9)


@given(
    thrust=st.floats(0.0, 20.0), curve=st.floats(0.0, 1.0), full_v=st.floats(0.0, 100.0), volts=st.floats(allow_nan=True)
)
def test_never_beyond_full_throttle_whatever_the_battery_says(thrust: float, curve: float, full_v: float, volts: float) -> None:
    made = ThrustMap(20.0, curve, full_v)
    made.see_battery(volts, 0)
    assert 0.0 <= made.throttle(thrust) <= 1.0


@pytest.mark.parametrize("thrust", [-0.1, 20.1, math.nan, math.inf])
def test_refuses_what_a_full_battery_could_not(thrust: float) -> None:
    with pytest.raises(InputError, match="check the thrust scale"):
        ThrustMap(20.0).throttle(thrust)


def test_a_sagging_battery_asks_for_more_throttle_slowly() -> None:
    made = ThrustMap(20.0, full_v=16.8)
    assert made.throttle(9.8) == pytest.approx(0.49)
    made.see_battery(16.8, 0)
    assert made.throttle(9.8) == pytest.approx(0.49)
    made.see_battery(14.0, 10_000_000)  # a dip of one reading hardly counts
    assert made.throttle(9.8) == pytest.approx(0.49, rel=0.003)
    for k in range(2, 100):
        made.see_battery(14.0, round(k * 0.1e9 * SMOOTHING_S))
    assert made.throttle(9.8) == pytest.approx(0.49 * (16.8 / 14.0) ** 2, rel=1e-3)
    assert made.throttle(19.9) == 1.0
    made.see_battery(0.5, round(1e12))
    assert made.most_m_s2 == pytest.approx(20.0 * LEAST_SHARE**2)


def test_without_a_full_voltage_the_battery_is_left_out() -> None:
    made = ThrustMap(20.0)
    made.see_battery(7.0, 0)
    assert made.most_m_s2 == 20.0
