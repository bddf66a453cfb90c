"""Merging of attitude and position: one instant, frames, and everything that must be refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubepilot.firmware_bridge.mavlink_messages import AttitudeQuaternion, LocalPositionNed
from tubepilot.firmware_bridge.state import JUMP_CONFIRMATIONS, MERGE_LIMIT_MS, Refusal, StateMerger
from tubepilot.firmware_bridge.timesync import ClockFit


def attitude(time_ms: int, q: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0), rates: tuple[float, ...] = (0.0, 0.0, 0.0)):
    return AttitudeQuaternion(time_ms, *q, *rates)


def position(time_ms: int, p: tuple[float, ...] = (0.0, 0.0, 0.0), v: tuple[float, ...] = (0.0, 0.0, 0.0)):
    return LocalPositionNed(time_ms, *p, *v)


@pytest.fixture
def clock() -> ClockFit:
    """Our clock is the flight controller's plus 5 s."""
    fit = ClockFit()
    for k in range(10):
        t = 5_000_000_000 + k * 100_000_000
        fit.add(t - 1000, t - 5_000_000_000, t + 1000)
    return fit


def test_frames_and_time(clock: ClockFit) -> None:
    merger = StateMerger()
    assert merger.add_attitude(attitude(1000, rates=(0.1, 0.2, 0.3))) is None
    assert merger.state(clock) is None
    assert merger.add_position(position(1000, (1.0, 2.0, -3.0), (0.1, 0.2, -0.3))) is None
    state = merger.state(clock)
    assert state is not None
    assert state.t_ns == pytest.approx(6_000_500_000, abs=2000)
    assert np.allclose(state.position_m, [2.0, 1.0, 3.0])
    assert np.allclose(state.velocity_m_s, [0.2, 0.1, 0.3])
    assert np.allclose(state.rates_rad_s, [0.1, -0.2, -0.3])
    assert np.allclose(state.quaternion_wxyz, [math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)])


def test_the_older_part_is_carried_to_the_newer(clock: ClockFit) -> None:
    merger = StateMerger()
    merger.add_attitude(attitude(1000, rates=(0.0, 0.0, 2.0)))
    merger.add_position(position(1020, (0.0, 5.0, 0.0), (0.0, 3.0, 0.0)))
    state = merger.state(clock)
    assert state is not None
    assert state.t_ns == pytest.approx(6_020_500_000, abs=2000)
    assert np.allclose(state.position_m, [5.0, 0.0, 0.0])
    yaw = 2.0 * math.atan2(state.quaternion_wxyz[3], state.quaternion_wxyz[0])
    assert yaw == pytest.approx(math.pi / 2 - 0.04)
    merger.add_attitude(attitude(1030))
    state = merger.state(clock)
    assert state is not None
    assert state.position_m[0] == pytest.approx(5.03)


def test_no_state_when_the_parts_are_too_far_apart(clock: ClockFit) -> None:
    merger = StateMerger()
    merger.add_attitude(attitude(1000))
    merger.add_position(position(1000 + MERGE_LIMIT_MS))
    assert merger.state(clock) is not None
    merger.add_position(position(1001 + MERGE_LIMIT_MS))
    assert merger.state(clock) is None


def test_no_state_before_the_clocks_are_locked() -> None:
    merger = StateMerger()
    merger.add_attitude(attitude(1000))
    merger.add_position(position(1000))
    assert merger.state(ClockFit()) is None


@pytest.mark.parametrize("index", range(1, 8))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_is_refused(index: int, value: float) -> None:
    merger = StateMerger()
    fields = list(attitude(5))
    fields[index] = value
    assert merger.add_attitude(AttitudeQuaternion(*fields)) is Refusal.NOT_FINITE
    if index < 7:
        fields = list(position(5))
        fields[index] = value
        assert merger.add_position(LocalPositionNed(*fields)) is Refusal.NOT_FINITE
    assert merger.refusals[Refusal.NOT_FINITE] == 1 + (index < 7)
    assert merger.accepted == 0


def test_a_quaternion_is_normalised_or_refused() -> None:
    merger = StateMerger()
    assert merger.add_attitude(attitude(1, (1.009, 0.0, 0.0, 0.0))) is None
    assert merger.add_attitude(attitude(2, (1.011, 0.0, 0.0, 0.0))) is Refusal.NOT_UNIT
    assert merger.add_attitude(attitude(3, (0.0, 0.0, 0.0, 0.0))) is Refusal.NOT_UNIT


def test_order_and_restart(clock: ClockFit) -> None:
    merger = StateMerger()
    merger.add_attitude(attitude(10_000))
    merger.add_position(position(10_000))
    assert merger.add_attitude(attitude(10_000)) is Refusal.OUT_OF_ORDER
    assert merger.add_attitude(attitude(9_500)) is Refusal.OUT_OF_ORDER
    assert merger.state(clock) is not None
    assert merger.add_attitude(attitude(9_499)) is Refusal.REBOOT
    assert merger.state(clock) is None
    assert merger.add_attitude(attitude(9_509)) is None


def test_a_jump_is_refused_until_it_is_confirmed() -> None:
    merger = StateMerger()
    merger.add_position(position(0, v=(2.0, 0.0, 0.0)))
    assert merger.add_position(position(100, (0.2, 0.0, 0.0), (2.0, 0.0, 0.0))) is None
    assert merger.add_position(position(110, (9.0, 0.0, 0.0))) is Refusal.JUMP
    assert merger.add_position(position(120, (0.24, 0.0, 0.0), (2.0, 0.0, 0.0))) is None
    refused = 0
    for k in range(50):
        refused += merger.add_position(position(130 + 10 * k, (9.0, 0.0, 0.0))) is Refusal.JUMP
    assert refused == JUMP_CONFIRMATIONS
    assert merger.refusals[Refusal.JUMP] == JUMP_CONFIRMATIONS + 1
