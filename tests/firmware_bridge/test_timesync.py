"""The clock fit under offset, skew up to 6 %, asymmetric queues, stalls and jumps."""

from __future__ import annotations

import random

import pytest

from tubepilot.firmware_bridge.timesync import EXPIRY_NS, MIN_SAMPLES, ClockFit

MS = 1_000_000


def remote(local_ns: int, skew: float, offset_ns: int = 123_456_789_012) -> int:
    return offset_ns + round(local_ns * (1.0 + skew))


def feed(fit: ClockFit, skew: float, start_ns: int, count: int, generator: random.Random) -> int:
    """Round trips at 10 Hz: 0.2 ms each way, with an exponential queue on each; gives the time of the last."""
    t = start_ns
    for _ in range(count):
        t += 100 * MS
        out = 0.2 * MS + generator.expovariate(1.0 / (0.5 * MS))
        back = 0.2 * MS + generator.expovariate(1.0 / (0.5 * MS))
        arrived = t + round(out)
        fit.add(t, remote(arrived, skew), arrived + round(back))
    return t


@pytest.mark.parametrize("skew", [-0.06, -1e-5, 0.0, 2e-4, 0.06])
def test_follows_skew_within_half_a_millisecond(skew: float) -> None:
    fit, generator = ClockFit(), random.Random(1)
    t = feed(fit, skew, 10**12, 40, generator)
    worst = 0
    for _ in range(100):
        t = feed(fit, skew, t, 1, generator)
        for ahead in (0, 50 * MS, 100 * MS):
            local = fit.to_local_ns(remote(t + ahead, skew))
            assert local is not None
            worst = max(worst, abs(local - t - ahead))
    assert worst < 0.5 * MS
    assert fit.statistics().skew == pytest.approx(skew, abs=5e-4)


def test_no_time_before_enough_round_trips() -> None:
    fit, generator = ClockFit(), random.Random(2)
    feed(fit, 0.0, 0, MIN_SAMPLES - 1, generator)
    assert fit.to_local_ns(5) is None
    feed(fit, 0.0, 10**9, 1, generator)
    assert fit.to_local_ns(5) is not None


def test_clocks_are_not_trusted_for_ever() -> None:
    fit, generator = ClockFit(), random.Random(4)
    assert not fit.fresh(0)
    t = feed(fit, 0.0, 0, 20, generator)
    assert fit.fresh(t + EXPIRY_NS)
    assert not fit.fresh(t + EXPIRY_NS + 10 * MS)


def test_long_and_impossible_round_trips_are_rejected() -> None:
    fit = ClockFit()
    for k in range(20):
        fit.add(k * 100 * MS, remote(k * 100 * MS, 0.0), k * 100 * MS + 10 * MS + 1)
        fit.add(k * 100 * MS, remote(k * 100 * MS, 0.0), k * 100 * MS - 1)
    assert not fit.locked
    assert fit.statistics().rejected == 40
    fit.add(0, remote(0, 0.0), 10 * MS)
    assert fit.statistics().samples == 1


def test_one_stalled_answer_does_not_move_the_clock_but_a_restart_does() -> None:
    fit, generator = ClockFit(), random.Random(3)
    t = feed(fit, 0.0, 0, 30, generator)
    fit.add(t, remote(t, 0.0) + 5_000 * MS, t + MS)
    local = fit.to_local_ns(remote(t, 0.0))
    assert local is not None
    assert abs(local - t) < MS
    assert fit.statistics().resets == 0
    for k in range(1, 20):
        at = t + k * 100 * MS
        fit.add(at, 7_000 * MS + at - t, at + MS)
    assert fit.statistics().resets == 1
    local = fit.to_local_ns(7_000 * MS + 2_000 * MS)
    assert local is not None
    assert abs(local - (t + 2_000 * MS)) < MS


def test_a_slip_is_followed_although_every_round_trip_is_long() -> None:
    fit, generator = ClockFit(), random.Random(5)
    t = feed(fit, 1e-4, 0, 40, generator)
    slipped = remote(0, 0.0) - 300 * MS
    for _ in range(2):
        t += 100 * MS
        fit.add(t, slipped + t + 15 * MS, t + 30 * MS)
    local = fit.to_local_ns(slipped + t)
    assert local is not None
    assert abs(local - t) <= 15 * MS
    assert fit.statistics().resets == 1
