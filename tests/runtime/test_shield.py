"""The shield: values at every limit, every verdict and reason, and tick-by-tick agreement with an implementation in numpy.

Each test takes the modules of the shield as `lib`, so that `test_shield_mutants` can hand it changed ones.
"""

from __future__ import annotations

import functools
import math
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_oracle import OracleShield
from helpers.small_shield import (
    CALM,
    HOVER,
    RATES_RAD_S,
    THRUST_M_S2,
    TICK_NS,
    Call,
    certificate,
    graphs,
    random_calls,
    setpoint,
    tables,
)

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.runtime.shield import Reason, Verdict, assumed_from

FENCE_M, FLOOR_M = 12.0, -4.0
YAW_RAD_S = (0.25 - 0.005) / 1.06
START_NS = 5_000_000_000
UP, DOWN = math.inf, -math.inf


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


def make(lib: Library, fence_m: float = 1e5, floor_m: float = DOWN, **changes: Any) -> Any:
    """A shield, engaged at `HOVER`."""
    timing = (changes.get("delay_max_s", ("", 0.005))[1], changes.get("missed_ticks", ("", 1))[1])
    clear = lib.clear.KeepClear(fence_m=fence_m, floor_m=floor_m)
    shield = lib.shield.Shield(*graphs(*timing), lib.assumed.assumed_from(certificate(**changes)), clear)
    shield.engage(HOVER)
    return shield


def at(**values: float) -> list[float]:
    """`HOVER` with some numbers changed: x3=1.0 is a speed of 1 m/s."""
    x = list(HOVER)
    for name, value in values.items():
        x[int(name[1:])] = value
    return x


class Clock:
    """One tick after the other."""

    def __init__(self, shield: Any) -> None:
        self.shield, self.now_ns = shield, START_NS

    def __call__(
        self,
        predicted: Sequence[float] | None = HOVER,
        disturbance: Sequence[float] = CALM,
        candidate: Setpoint | None = None,
        gap_ns: int = TICK_NS,
    ) -> Any:
        self.now_ns += gap_ns
        return self.shield.decide(predicted, disturbance, candidate, self.now_ns)


def same(decision: Any, verdict: Verdict, reason: Reason) -> None:
    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert (decision.setpoint is None) == (verdict is Verdict.VOID)


def stub(shield: Any, answer: Callable[[int, int], list[float]]) -> list[tuple[int, Sequence[Any]]]:
    """Let the margins be what `answer(states, call)` says, one per option; returns the calls: states and options."""
    calls: list[tuple[int, Sequence[Any]]] = []

    def margins(ahead: Any, instants: tuple[int, int], options: Sequence[Any]) -> list[float]:
        calls.append((4 if instants == (1, 2) else 1, options))
        found = answer(calls[-1][0], len(calls))
        return [*found, *[0.0] * (4 - len(found))]

    shield._set._margins = margins
    shield._set._rooms = [[8.0] * 4, [3.5] * 4]
    return calls


def roomy(lib: Library, **changes: Any) -> Any:
    """A shield whose set holds every state."""
    shield = make(lib, **changes)
    stub(shield, lambda states, call: [0.5] * 4)
    return shield


@functools.cache
def _oracle_says(seed: int, ticks: int, delay_s: float = 0.005, missed: int = 1) -> list[tuple[Call, Any]]:
    """The ticks of a seed, and what the numpy implementation decides."""
    backup, _ = graphs()
    timing = {"delay_max_s": ("assumptions", delay_s), "missed_ticks": ("assumptions", missed)}
    oracle = OracleShield(backup, tables(delay_s, missed), assumed_from(certificate(**timing)), FENCE_M, FLOOR_M)
    oracle.engage(_home(seed))
    with np.errstate(all="ignore"):
        calls = random_calls(seed, ticks)
        return [(c, oracle.decide(c.predicted, c.disturbance, c.candidate, c.now_ns)) for c in calls]


def _home(seed: int) -> list[float]:
    return at(x0=0.1 * seed, x1=-0.2)


def compare(
    lib: Library, seeds: range, ticks: int, delay_s: float = 0.005, missed: int = 1
) -> tuple[int, float, Counter[tuple[str, str]]]:
    """Feed both implementations the same ticks; the largest difference between margins or set-points, and what was decided."""
    timing = {"delay_max_s": ("assumptions", delay_s), "missed_ticks": ("assumptions", missed)}
    shield, worst, done, kinds = make(lib, FENCE_M, FLOOR_M, **timing), 0.0, 0, Counter[tuple[str, str]]()
    for seed in seeds:
        shield.engage(_home(seed))
        for call, wanted in _oracle_says(seed, ticks, delay_s, missed):
            given = shield.decide(call.predicted, call.disturbance, call.candidate, call.now_ns)
            done += 1
            kinds[wanted.verdict.name, wanted.reason.name] += 1
            assert (given.verdict, given.reason) == (wanted.verdict, wanted.reason), (seed, call)
            assert (given.setpoint is None) == (wanted.setpoint is None)
            assert (given.setpoint is call.candidate) == (wanted.setpoint is call.candidate)
            pairs = [(given.margin, wanted.margin)]
            if wanted.setpoint is not None:
                pairs += zip(given.setpoint.rates_rad_s.tolist(), wanted.setpoint.rates_rad_s.tolist(), strict=True)
                pairs += [(given.setpoint.thrust_m_s2, wanted.setpoint.thrust_m_s2)]
            for one, other in pairs:
                if not (one == other or (math.isnan(one) and math.isnan(other))):
                    difference = abs(one - other)
                    assert difference < 1e-12, (seed, call)
                    worst = max(worst, difference)
    return done, worst, kinds


def test_some_ticks_agree_with_numpy(lib: Library) -> None:
    compare(lib, range(3), 25)


def test_more_ticks_agree_with_numpy(lib: Library) -> None:
    compare(lib, range(3, 9), 60)


def test_ticks_of_shorter_and_longer_windows_agree_with_numpy(lib: Library) -> None:
    compare(lib, range(2), 25, delay_s=0.005, missed=0)
    compare(lib, range(2), 25, delay_s=0.03, missed=1)


def test_many_ticks_agree_with_numpy_and_reach_every_decision() -> None:
    done, worst, kinds = compare(mutants.real(), range(100, 160), 60)
    assert done == 3600
    assert worst < 1e-12  # a thousandth of the 1e-9 that the graph takes off; the graph's own arithmetic is in it
    assert {verdict for verdict, _ in kinds} == {"ACCEPT", "BACKUP", "VOID"}
    missing = {reason.name for reason in Reason} - {reason for _, reason in kinds}
    assert missing <= {"DISTURBANCE", "RATE_RESIDUAL", "MISSED_TICKS", "OBSTACLE"}  # tested one by one below


def _decided(implementation: Any, scale: float, direction: Any) -> Any:
    """Engage afresh, and judge one tick with a velocity and tilt of this size."""
    implementation.engage(HOVER)
    x = np.array(HOVER)
    x[3:6] += scale * direction[:3]
    x[6:10] = [1.0, *(0.05 * scale * direction[3:])]
    return implementation.decide(x.tolist(), CALM, setpoint(), START_NS)


@functools.cache
def _edges() -> list[tuple[Any, float, float]]:
    """Directions, each with the largest size that is accepted and the next one, which is not; by the numpy implementation."""
    oracle, found = OracleShield(graphs()[0], tables(), assumed_from(certificate()), 1000.0), []
    for seed in range(6):
        direction = np.random.default_rng(seed).normal(0.0, 1.0, 6)
        low, high = 0.0, 8.0
        while np.nextafter(low, high) < high:
            middle = 0.5 * (low + high)
            accepted = _decided(oracle, middle, direction).verdict == Verdict.ACCEPT
            low, high = (middle, high) if accepted else (low, middle)
        assert abs(_decided(oracle, low, direction).margin) < 1e-12
        found.append((direction, low, high))
    return found


def test_the_decision_at_the_edge_of_the_set_is_that_of_numpy(lib: Library) -> None:
    """But for the last few float64 around the edge: sums in another order, far within the 1e-9 that the graph takes off."""
    shield = make(lib)
    for direction, low, high in _edges():
        assert _decided(shield, low * (1.0 - 1e-13), direction).verdict == Verdict.ACCEPT
        assert _decided(shield, high * (1.0 + 1e-13), direction).verdict == Verdict.BACKUP


def test_rounding_10_km_away_is_below_what_the_certificate_says(lib: Library) -> None:
    near, far, done = make(lib), make(lib), 0
    for seed in range(3):
        near.engage(HOVER)
        far.engage(HOVER)
        for call in random_calls(seed, 25):
            moved = None if call.predicted is None else [*(value + 1e4 for value in call.predicted[:3]), *call.predicted[3:]]
            one = near.decide(call.predicted, call.disturbance, call.candidate, call.now_ns)
            other = far.decide(moved, call.disturbance, call.candidate, call.now_ns)
            assert (one.verdict, one.reason) == (other.verdict, other.reason)
            if math.isfinite(one.margin):
                assert abs(one.margin - other.margin) < 1e-10
                done += 1
    assert done > 20


# --- set-points --------------------------------------------------------------------------------------------------


def test_thrust_limits(lib: Library) -> None:
    low, high = THRUST_M_S2
    for thrust, inside in (
        (low, True),
        (math.nextafter(low, DOWN), False),
        (math.nextafter(low, UP), True),
        (high, True),
        (math.nextafter(high, UP), False),
        (math.nextafter(high, DOWN), True),
    ):
        candidate = setpoint(thrust=thrust)
        decision = Clock(roomy(lib))(candidate=candidate)
        same(decision, Verdict.ACCEPT, Reason.OK if inside else Reason.SOFTENED)
        assert (decision.setpoint is candidate) == inside


def test_rate_limits(lib: Library) -> None:
    for axis, most in enumerate((*RATES_RAD_S[:2], YAW_RAD_S)):
        for sign in (1.0, -1.0):
            for value, inside in ((most, True), (math.nextafter(most, UP), False), (math.nextafter(most, DOWN), True)):
                rates = [0.0, 0.0, 0.0]
                rates[axis] = sign * value
                decision = Clock(roomy(lib))(candidate=setpoint(*rates))
                same(decision, Verdict.ACCEPT, Reason.OK if inside else Reason.SOFTENED)


def test_the_smaller_of_both_yaw_limits_counts(lib: Library) -> None:
    """The yaw rate that is assumed is that of the vehicle, gain and offset included."""
    shield = roomy(lib, yaw_rate_rad_s=("assumptions", 0.5))
    assert shield.assumed.admitted_rates_rad_s == RATES_RAD_S
    same(Clock(shield)(candidate=setpoint(yaw=0.28)), Verdict.ACCEPT, Reason.OK)
    assert roomy(lib).assumed.admitted_rates_rad_s == (*RATES_RAD_S[:2], YAW_RAD_S)
    for gain, offset, most in ((-1.06, -0.005, YAW_RAD_S), (1.06, 0.3, 0.0), (1.0, 0.0, 0.25)):
        changed = {"rate_gain": ("backup", [1.03, 1.04, gain]), "rate_offset_rad_s": ("backup", [0.01, -0.02, offset])}
        assert make(lib, **changed).assumed.admitted_rates_rad_s[2] == most
    same(Clock(roomy(lib))(candidate=setpoint(yaw=0.28)), Verdict.ACCEPT, Reason.SOFTENED)


def test_what_is_no_setpoint_is_refused_and_not_softened(lib: Library) -> None:
    for wrong in (
        setpoint(roll=math.nan), setpoint(pitch=math.inf), setpoint(yaw=-math.inf), setpoint(thrust=math.nan),
        Setpoint(np.zeros(4), 9.8), Setpoint(np.zeros(2), 9.8), Setpoint(np.zeros((1, 3)), 9.8),
    ):  # fmt: skip
        same(Clock(make(lib))(candidate=wrong), Verdict.BACKUP, Reason.NOT_FINITE)


def test_without_a_plan_the_backup_acts(lib: Library) -> None:
    decision = Clock(make(lib))()
    same(decision, Verdict.BACKUP, Reason.NO_PLAN)
    assert decision.margin > 0.0


def test_softened_setpoints_are_those_of_the_text(lib: Library) -> None:
    before, asked = [0.1, 0.2, 0.05, 10.0], [1.4, -0.1, -0.2, 12.0]
    for accepted_at, share, kept in ((2, 0.5, 0.5), (3, 0.2, 0.8), (4, 0.0, 1.0), (5, 0.0, 0.5), (6, math.nan, math.nan)):
        for first in (True, False):
            shield = make(lib)
            tick = Clock(shield)
            if not first:
                stub(shield, lambda states, call: [0.3] * 4)
                same(tick(candidate=setpoint(*before)), Verdict.ACCEPT, Reason.OK)
                shield._thrust = None
            stub(shield, lambda states, call, n=accepted_at: [0.1 if call == n or states == 1 else -0.1] * 4)  # type: ignore[misc]
            decision = tick(candidate=setpoint(*asked))
            if math.isnan(share):
                same(decision, Verdict.BACKUP, Reason.WOULD_LEAVE_SET)
                continue
            same(decision, Verdict.ACCEPT, Reason.SOFTENED)
            assert decision.margin == 0.1
            fresh = make(lib)
            now = lib.states.flatten(HOVER, 0.0 if first else (0.99 * 10.0 - 9.80665) / 0.07, 9.80665)
            held = fresh._set.anchors(now.flat, (0.0, 0.0, 0.0), None)[1]
            backup, _ = fresh._backup.setpoint(now, held if first else shield_held(lib, before))
            other = [*backup.rates_rad_s, backup.thrust_m_s2]
            last = other if first else before
            mixed = [share * a + kept * b + (1.0 - share - kept) * c for a, b, c in zip(asked, last, other, strict=True)]
            given = [*decision.setpoint.rates_rad_s, decision.setpoint.thrust_m_s2]
            np.testing.assert_allclose(given, mixed, rtol=0.0, atol=1e-12)


def shield_held(lib: Library, before: list[float]) -> Any:
    """What a shield whose set holds every state holds after it accepted a set-point from `HOVER`."""
    shield = make(lib)
    stub(shield, lambda states, call: [0.3] * 4)
    Clock(shield)(candidate=setpoint(*before))
    return shield._held


def test_softening_keeps_to_every_limit(lib: Library) -> None:
    """Set-points far out: the first blend is that at the limits."""
    narrow = {"rate_limit_rad_s": ("backup", [0.1, 0.2, 0.05]), "thrust_min_m_s2": ("backup", 9.85)}
    for sign in (1.0, -1.0):
        shield = make(lib, thrust_max_m_s2=("backup", 9.95), **narrow)
        stub(shield, lambda states, call: [0.1] * 4)
        decision = Clock(shield)(candidate=setpoint(5.0 * sign, 5.0 * sign, 5.0 * sign, 9.9 + 9.0 * sign))
        same(decision, Verdict.ACCEPT, Reason.SOFTENED)
        np.testing.assert_array_equal(decision.setpoint.rates_rad_s, [0.1 * sign, 0.2 * sign, 0.05 * sign])
        assert decision.setpoint.thrust_m_s2 == (9.95 if sign > 0.0 else 9.85)


def test_nothing_is_softened_beyond_the_fence_or_without_a_backup(lib: Library) -> None:
    shield = make(lib, fence_m=1.0)
    calls = stub(shield, lambda states, call: [0.5] * 4)
    same(Clock(shield)(candidate=setpoint()), Verdict.BACKUP, Reason.GEOFENCE)
    assert [states for states, _ in calls] == [4, 1]
    shield = make(lib)
    shield._backup.setpoint = lambda now, held: (None, math.nan)
    decision = Clock(shield)(candidate=setpoint(roll=2.0))
    same(decision, Verdict.VOID, Reason.NOT_FINITE)


# --- membership --------------------------------------------------------------------------------------------------


def test_only_a_positive_margin_is_accepted(lib: Library) -> None:
    smallest = math.nextafter(0.0, UP)
    for margin in (smallest, 0.0, -smallest, -math.inf):
        verdict = Verdict.ACCEPT if margin == smallest else Verdict.BACKUP
        shield = make(lib)
        stub(shield, lambda states, call, margin=margin: [margin if states == 4 else 0.5] * 4)  # type: ignore[misc]
        decision = Clock(shield)(candidate=setpoint())
        same(decision, verdict, Reason.OK if verdict is Verdict.ACCEPT else Reason.WOULD_LEAVE_SET)
        assert decision.margin == (margin if verdict is Verdict.ACCEPT else 0.5)


def test_the_best_anchor_with_room_is_held(lib: Library) -> None:
    for margins, roomy_ones, wanted in (
        ([0.5, 0.7, 0.7, 0.1], (0, 1, 2, 3), 1),
        ([0.7, 0.5, 0.6, 0.1], (0, 1, 2, 3), 0),
        ([0.7, 0.5, 0.6, 0.1], (1, 2, 3), 2),
        ([0.1, 0.2, 0.3, 0.4], (0, 1, 2, 3), 3),
        ([-0.1, 0.2, -0.3, 0.4], (0,), None),
        ([0.5, -0.2, 0.0, 0.4], (2, 3), 3),
        ([-0.5, -0.2, 0.0, -0.4], (0, 1, 2, 3), None),
    ):
        shield = make(lib)
        shield._held = lib.margins.Held((9.0, 9.0, 9.0), (0.0, 0.0, 0.0))
        calls = stub(shield, lambda states, call, margins=margins: margins)  # type: ignore[misc]
        blocked: list[int] = []

        def answer(number: int, held: Any, calls: Any = calls, free: Any = roomy_ones, blocked: Any = blocked) -> Any:
            assert held is calls[-1][1][number]
            blocked.append(number)
            return lib.decision.Reason.OK if number in free else lib.decision.Reason.OBSTACLE

        shield._set.blocked = answer
        now = lib.states.flatten(HOVER, 0.0, 9.80665)
        reason, held, margin = shield._admit(now, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 9.9))
        assert held is (None if wanted is None else calls[0][1][wanted])
        assert margin == (max(margins) if wanted is None else margins[wanted])
        assert all(margins[number] > 0.0 for number in blocked)
        refused = Reason.OBSTACLE if max(margins) > 0.0 else Reason.WOULD_LEAVE_SET
        assert reason == (refused if wanted is None else Reason.OK)


def test_anchors_are_tried_around_the_best_one(lib: Library) -> None:
    shield = make(lib)
    now = lib.states.flatten(at(x0=1.0, x1=2.0, x3=0.5, x4=-0.25, x5=0.1), 0.0, 9.80665)
    options = shield._set.anchors(now.flat, (5.0, -5.0, 5.0), None)
    limit = 1.1 / math.sqrt(2.0)
    best = [-1.37 * 0.5 - 2.29 * limit, 1.37 * 0.25 + 2.29 * limit, -1.62 * 0.1 - 1.31 * 0.4]
    for option, share in zip(options, (0.7, 1.0, 1.3, 1.0), strict=True):
        np.testing.assert_allclose(option.anchor, np.array([1.0, 2.0, 1.0]) - share * np.array(best), rtol=1e-14)
        assert option.disturbance == (limit, -limit, 0.4)
    assert options[3] is options[1]
    held = lib.margins.Held((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert shield._set.anchors(now.flat, (0.1, 0.0, 0.0), held)[3] == lib.margins.Held((0.0, 0.0, 0.0), (0.1, 0.0, 0.0))


def test_a_margin_that_is_no_number_counts_as_outside(lib: Library) -> None:
    shield = make(lib)
    held = lib.margins.Held((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    good = lib.states.flatten(HOVER, 0.0, 9.80665).flat
    for number in (math.nan, 1e200, -1e200, 1e9):  # the square of the second one would be infinite, in the graph
        now = lib.states.flatten(at(x0=number), 0.0, 9.80665)
        assert shield._set.present(now.flat, [held]) == [-math.inf]
        still = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        assert shield._set.admitted(lib.ahead.Ahead((good, now.flat), still, (0.0,) * 10), [held] * 4) == [-math.inf] * 4
    for wrong in (math.nan, math.inf, -math.inf, 1e9, -1e9):
        ahead = lib.ahead.Ahead((good, good), (still[0], (0.0, wrong, 0.0)), (0.0,) * 10)
        assert shield._set.admitted(ahead, [held] * 4) == [-math.inf] * 4
        assert shield._set.admitted(lib.ahead.Ahead((good, good), still, (0.0,) * 9 + (wrong,)), [held] * 4) == [-math.inf] * 4
    assert min(shield._set.admitted(lib.ahead.Ahead((good, good), still, (0.0,) * 10), [held] * 4)) > 0.0


# --- room to stop ------------------------------------------------------------------------------------------------

ANCHOR = (1.0, 2.0, 3.0)
ROOM = (4.0, 2.0)
"""Radius and half height of the cylinder of these tests; 0.01 m is put on both."""


def edges(least: float) -> tuple[tuple[float, bool], ...]:
    """Numbers around the least one that is clear."""
    return (least, True), (math.nextafter(least, UP), True), (least - 1e-12, False)


def test_the_fence_counts_the_room(lib: Library) -> None:
    for fence_m, clear in edges(5.0 + 4.01):
        keep = lib.clear.KeepClear(fence_m=fence_m)
        keep.engage([1.0, -2.0, 99.0])
        for x, y in ((3.0, 4.0), (-3.0, 4.0), (4.0, -3.0), (0.0, 5.0)):
            assert keep.blocked((1.0 + x, -2.0 + y, 100.0), *ROOM) == (Reason.OK if clear else Reason.GEOFENCE)
    assert lib.clear.KeepClear().fence_m == 30.0
    assert lib.clear.KeepClear().blocked((0.0, 0.0, -1e4), *ROOM) == Reason.OK
    assert lib.clear.KeepClear().blocked((25.9, 0.0, 1e4), *ROOM) == Reason.OK
    for x, y in ((26.1, 0.0), (-26.1, 0.0), (0.0, 26.1), (0.0, -26.1)):
        assert lib.clear.KeepClear().blocked((x, y, 0.0), *ROOM) == Reason.GEOFENCE
    for number in (math.nan, math.inf):
        assert lib.clear.KeepClear().blocked(ANCHOR, number, 1.0) == Reason.GEOFENCE
        assert lib.clear.KeepClear(floor_m=0.0).blocked(ANCHOR, 1.0, number) == Reason.GEOFENCE


def test_floor_and_ceiling_count_the_room(lib: Library) -> None:
    for above, clear in edges(2.01):
        floor, ceiling = lib.clear.KeepClear(floor_m=0.0), lib.clear.KeepClear(ceiling_m=0.0)
        wanted = Reason.OK if clear else Reason.GEOFENCE
        assert floor.blocked((0.0, 0.0, above), *ROOM) == wanted
        assert ceiling.blocked((0.0, 0.0, -above), *ROOM) == wanted
        assert ceiling.blocked((0.0, 0.0, above), *ROOM) == Reason.GEOFENCE


def test_walls_count_the_room(lib: Library) -> None:
    for normal, least in (
        ((1.0, 0.0, 0.0), 1.0 + 4.01),
        ((-1.0, 0.0, 0.0), -1.0 + 4.01),
        ((0.0, -1.0, 0.0), -2.0 + 4.01),
        ((0.0, 0.0, -1.0), -3.0 + 2.01),
        ((0.36, 0.48, -0.8), 0.36 + 0.96 - 2.4 + 0.6 * 4.01 + 0.8 * 2.01),
    ):
        for offset, clear in ((least + 1e-12, True), (least - 1e-12, False)):
            walls = (lib.clear.Wall((0.0, 0.0, 1.0), 50.0), lib.clear.Wall(normal, offset))
            keep = lib.clear.KeepClear(walls=walls)
            assert keep.blocked(ANCHOR, *ROOM) == (Reason.OK if clear else Reason.GEOFENCE), normal


def test_a_wall_that_is_just_reached_is_clear(lib: Library) -> None:
    for offset, wanted in ((1.0 + (4.0 + 0.01), Reason.OK), (math.nextafter(1.0 + (4.0 + 0.01), DOWN), Reason.GEOFENCE)):
        assert lib.clear.KeepClear(walls=(lib.clear.Wall((1.0, 0.0, 0.0), offset),)).blocked(ANCHOR, *ROOM) == wanted


def test_obstacles_count_the_room(lib: Library) -> None:
    up, tall = (0.0, 0.0, 0.0), (0.0, 0.0, math.inf)
    for centre, half, gap in (
        ((9.0, 2.0, 3.0), up, 8.0 - 4.01),  # beside
        ((1.0, -9.0, 4.5), up, 11.0 - 4.01),
        ((1.0, 2.0, 9.0), up, 6.0 - 2.01),  # above
        ((4.0, 4.0, -6.0), up, 9.0 - 2.01),  # below, not in the middle
        ((9.0, 2.0, 9.0), up, math.hypot(8.0 - 4.01, 6.0 - 2.01)),  # at the rim
        ((9.0, 8.0, -500.0), tall, math.hypot(8.0, 6.0) - 4.01),
        ((9.0, 2.0, 3.0), (2.0, 50.0, 1.0), 6.0 - 4.01),
        ((9.0, 10.0, 3.0), (2.0, 2.0, 1.0), math.hypot(6.0, 6.0) - 4.01),
        ((1.0, 2.0, 9.0), (5.0, 5.0, 1.0), 5.0 - 2.01),
    ):
        for radius, clear in ((gap - 1e-12, True), (gap + 1e-12, False)):
            far = lib.clear.Obstacle((0.0, 29.0, 3.0), up, 1.0)
            keep = lib.clear.KeepClear(obstacles=(far, lib.clear.Obstacle(centre, half, radius)))
            assert keep.blocked(ANCHOR, *ROOM) == (Reason.OK if clear else Reason.OBSTACLE), centre
    touching = lib.clear.Obstacle((6.0, 2.0, 3.0), up, 0.5)
    assert touching.touches((1.0, 2.0, 3.0), 4.5, 1.0)  # exactly
    assert not touching.touches((1.0, 2.0, 3.0), math.nextafter(4.5, DOWN) - 1e-12, 1.0)
    assert touching.touches((math.nan, 2.0, 3.0), 4.5, 1.0)


def test_the_smallest_tube_that_holds_the_states_counts(lib: Library) -> None:
    held = [lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))] * 2
    hover, fast, outside = (lib.states.flatten(at(x3=speed), 0.0, 9.80665).flat for speed in (0.0, 1.6, 9.0))
    for flat, across, high in ((hover, 3.75, 1.625), (fast, 8.0, 3.5), (outside, 1e9, 1e9)):
        for beyond, wanted in ((0.02, Reason.OK), (0.0, Reason.GEOFENCE)):
            shield = make(lib, fence_m=across + beyond)
            assert (min(shield._set.present(flat, held)) > 0.0) == (flat is not outside)
            assert shield._set._rooms[0] == [across] * 4
            assert shield._set._rooms[1] == [high] * 4
            assert shield._set.blocked(1, held[1]) == wanted
    shield = make(lib, fence_m=1e9, floor_m=1.0 - 1.64)
    shield._set.present(hover, held)
    assert shield._set.blocked(0, held[0]) == Reason.OK
    shield._set.present(fast, held)
    assert shield._set.blocked(0, held[0]) == Reason.GEOFENCE
    shield = make(lib, fence_m=1e5)
    assert shield._set.blocked(3, held[0]) == Reason.GEOFENCE  # nothing was asked yet: a room without end


# --- backup ------------------------------------------------------------------------------------------------------


def test_the_backup_keeps_its_anchor_unless_another_is_better_for_sure(lib: Library) -> None:
    smallest = math.nextafter(0.0, UP)
    for kept, others, moves in (
        (smallest, [0.5] * 4, False),
        (0.0, [-0.1, smallest, smallest, 0.0], True),
        (0.0, [0.0] * 4, False),
        (-0.1, [-0.3, -0.05, 0.0, -0.1], False),
    ):
        shield = make(lib)
        shield._held = old = lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
        calls = stub(shield, lambda states, call, kept=kept, others=others: [kept] if call == 1 else others)  # type: ignore[misc]
        decision = Clock(shield)()
        outside = kept <= 0.0 and not moves
        same(decision, Verdict.BACKUP, Reason.OUTSIDE_SET if outside else Reason.NO_PLAN)
        assert shield._held is (calls[1][1][1] if moves else old)
        assert decision.margin == (smallest if moves else kept)
        assert len(calls) == (1 if kept > 0.0 else 2)


def test_the_backup_moves_only_to_an_anchor_with_room(lib: Library) -> None:
    for free, moves in (((1, 2), 1), ((2,), 2), ((3,), None), ((), None)):
        shield = make(lib)
        shield._held = old = lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
        calls = stub(shield, lambda states, call: [-0.1] if call == 1 else [-0.2, 0.3, 0.2, 0.0])
        kinds = lib.decision.Reason
        shield._set.blocked = lambda number, held, free=free, kinds=kinds: kinds.OK if number in free else kinds.OBSTACLE
        decision = Clock(shield)()
        assert shield._held is (old if moves is None else calls[1][1][moves])
        assert decision.margin == (-0.1 if moves is None else (0.3, 0.2)[moves - 1])
    shield = make(lib)  # without an anchor the best one, if none has room
    calls = stub(shield, lambda states, call: [0.1, 0.4, 0.4, 0.2])
    shield._set.blocked = lambda number, held: lib.decision.Reason.GEOFENCE
    decision = Clock(shield)()
    assert (decision.margin, decision.reason, shield._held is calls[0][1][1]) == (0.4, Reason.NO_PLAN, True)


def test_outside_the_set_the_backup_acts_for_fifty_ticks(lib: Library) -> None:
    shield = make(lib)
    tick = Clock(shield)
    stub(shield, lambda states, call: [0.0] * 4)
    for _ in range(50):
        same(tick(), Verdict.BACKUP, Reason.OUTSIDE_SET)
    same(tick(), Verdict.VOID, Reason.OUTSIDE_SET)
    shield.engage(HOVER)
    for _ in range(50):
        same(tick(), Verdict.BACKUP, Reason.OUTSIDE_SET)
    stub(shield, lambda states, call: [0.1] * 4)
    same(tick(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
    stub(shield, lambda states, call: [0.0] * 4)
    same(tick(), Verdict.BACKUP, Reason.OUTSIDE_SET)  # counted from the beginning again
    stub(shield, lambda states, call: [0.1] * 4)
    same(tick(), Verdict.BACKUP, Reason.NO_PLAN)
    stub(shield, lambda states, call: [0.0] * 4)
    for _ in range(50):
        same(tick(), Verdict.BACKUP, Reason.OUTSIDE_SET)


def test_a_backup_that_is_not_finite_voids(lib: Library) -> None:
    same(Clock(make(lib))(at(x6=0.0)), Verdict.VOID, Reason.NOT_FINITE)  # a quaternion of zeros
    shield = make(lib)
    same(Clock(shield)(at(x6=0.0), candidate=setpoint()), Verdict.VOID, Reason.NOT_FINITE)


def test_a_thrust_or_direction_of_zero_is_outside(lib: Library) -> None:
    shield = make(lib)
    now = lib.states.flatten(at(x13=0.0), 0.0, 9.80665)
    reason, _, margin = shield._admit(now, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 9.9))
    assert (reason, margin) == (Reason.WOULD_LEAVE_SET, -math.inf) or reason == Reason.GEOFENCE
    flat = lib.states.Flat((0.0,) * 3, (0.0,) * 3, (0.0,) * 3, (0.0,) * 3, 9.8)
    nowhere = lib.states.Present(flat, 0.0, (0.0,) * 3, (0.0,) * 3, (0.0,) * 3)
    found = shield._prediction.ahead(nowhere, (0.0, 0.0, 0.0, 9.9), (0.0,) * 3, ())
    assert math.isnan(found.states[0].acceleration[0])


# --- states that cannot be used ----------------------------------------------------------------------------------


def test_blind_ticks_repeat_the_last_setpoint(lib: Library) -> None:
    broken: tuple[tuple[list[float] | None, list[float], Reason], ...] = (
        (None, CALM, Reason.NO_STATE),
        (at(x3=math.nan), CALM, Reason.NOT_FINITE),
        (at(x12=math.inf), CALM, Reason.NOT_FINITE),
        (HOVER, [0.0, math.nan, 0.0], Reason.NOT_FINITE),
        (HOVER[:13], CALM, Reason.NOT_FINITE),
        ([*HOVER, 0.0], CALM, Reason.NOT_FINITE),
        (HOVER, [0.0, 0.0], Reason.NOT_FINITE),
        (HOVER, [0.0] * 4, Reason.NOT_FINITE),
        (at(x13=1.0), CALM, Reason.NOT_FINITE),
    )
    for predicted, disturbance, reason in broken:
        shield = make(lib)
        tick = Clock(shield)
        same(tick(predicted, disturbance, setpoint()), Verdict.VOID, reason)  # nothing to repeat yet
        shield.engage(HOVER)
        candidate = setpoint()
        for _ in range(2):
            same(tick(candidate=candidate), Verdict.ACCEPT, Reason.OK)
            for _ in range(25):
                decision = tick(predicted, disturbance, setpoint())
                same(decision, Verdict.BACKUP, reason)
                assert decision.setpoint is candidate
                assert math.isnan(decision.margin)
        decision = tick(predicted, disturbance, setpoint())
        same(decision, Verdict.VOID, reason)
        assert math.isnan(decision.margin)


def test_the_least_thrust(lib: Library) -> None:
    for thrust, usable in ((1.0, False), (math.nextafter(1.0, UP), True), (math.nextafter(1.0, DOWN), False), (-2.0, False)):
        decision = Clock(make(lib))(at(x13=thrust))
        assert (decision.reason == Reason.NOT_FINITE) == (not usable)


# --- the watch over the assumptions ------------------------------------------------------------------------------


def test_a_broken_assumption_is_tolerated_for_25_ticks(lib: Library) -> None:
    shield = make(lib)
    tick = Clock(shield)
    ways: tuple[tuple[Reason, Callable[[int], Any]], ...] = (
        (Reason.DISTURBANCE, lambda n: tick(disturbance=[9.0, 0.0, 0.0], candidate=setpoint())),
        (Reason.RATE_RESIDUAL, lambda n: tick(at(x10=(-1.0) ** n), candidate=setpoint())),
        (Reason.MISSED_TICKS, lambda n: tick(candidate=setpoint(), gap_ns=25_000_001)),
    )
    for reason, broken in ways:
        shield.engage(HOVER)
        tick(at(x10=1.0) if reason is Reason.RATE_RESIDUAL else HOVER, candidate=setpoint())
        for n in range(1, 26):
            assert broken(n).verdict != Verdict.VOID
        decision = broken(26)
        same(decision, Verdict.VOID, reason)
        assert math.isnan(decision.margin)


def test_a_good_tick_starts_the_count_again(lib: Library) -> None:
    tick = Clock(make(lib))
    tick(candidate=setpoint())
    for _ in range(2):
        for _ in range(25):
            assert tick(disturbance=[9.0, 0.0, 0.0], candidate=setpoint()).verdict != Verdict.VOID
        assert tick(candidate=setpoint()).verdict != Verdict.VOID


def test_late_is_more_than_the_missed_ticks_and_a_half(lib: Library) -> None:
    for missed, most_ns in ((0, 15_000_000), (1, 25_000_000), (2, 35_000_000)):
        monitor = make(lib, missed_ticks=("assumptions", missed))._monitor
        assert not monitor.is_late(1)  # the first tick is never late
        assert monitor.skipped == 0
        assert monitor.is_late(1 + most_ns + 1)
        assert not monitor.is_late(1 + 2 * most_ns + 1)
        monitor.engage()
        assert not monitor.is_late(START_NS)
        assert not monitor.is_late(START_NS)
        monitor.is_late(START_NS + 25_000_000)
        assert monitor.skipped == 1
        monitor.is_late(START_NS + 39_999_999)
        assert monitor.skipped == 0
        monitor.is_late(START_NS + 71_000_000)
        assert monitor.skipped == 2
        monitor.engage()
        assert monitor.skipped == 0
        assert not monitor.is_late(most_ns + 1)


def test_the_disturbance_estimate_at_its_limit(lib: Library) -> None:
    monitor = make(lib)._monitor
    horizontal, vertical = 1.1 / math.sqrt(2.0) + 0.25, 0.4 + 0.15
    for axis, most in enumerate((horizontal, horizontal, vertical)):
        for sign in (1.0, -1.0):
            for value, broken in ((most, False), (math.nextafter(most, UP), True), (math.nextafter(most, DOWN), False)):
                d = [0.0, 0.0, 0.0]
                d[axis] = sign * value
                found = monitor.watch((0.0, 0.0), tuple(d), None, False)
                assert found == ((Reason.DISTURBANCE, 1) if broken else (Reason.OK, 0))


def test_the_disturbance_estimate_against_the_one_held(lib: Library) -> None:
    monitor = make(lib)._monitor
    held = (0.25, -0.5, 0.125)
    most_h, most_v = 1.5 * 0.25, 1.5 * 0.15
    share = (0.6 * 0.375, 0.8 * 0.375)
    for change, broken in (
        ((most_h, 0.0, 0.0), False),
        ((0.376, 0.0, 0.0), True),
        ((-0.376, 0.0, 0.0), True),
        ((0.0, most_h, 0.0), False),
        ((0.0, -0.376, 0.0), True),
        ((share[0] - 1e-9, -share[1], 0.0), False),
        ((share[0] + 1e-9, -share[1], 0.0), True),
        ((0.0, 0.0, most_v - 1e-9), False),
        ((0.0, 0.0, most_v + 1e-9), True),
        ((0.0, 0.0, -most_v - 1e-9), True),
    ):
        d = tuple(base + step for base, step in zip(held, change, strict=True))
        assert (monitor.watch((0.0, 0.0), d, held, False)[0] == Reason.DISTURBANCE) == broken, change
    zero = (0.0, 0.0, 0.0)
    for edge, d in ((most_h, (most_h, 0.0, 0.0)), (most_v, (0.0, 0.0, most_v))):
        assert monitor.watch((0.0, 0.0), d, zero, False) == (Reason.OK, 0), edge
        beyond = tuple(math.nextafter(value, UP) if value else 0.0 for value in d)
        assert monitor.watch((0.0, 0.0), beyond, zero, False)[0] == Reason.DISTURBANCE
    far = (0.5, 0.0, 0.0)
    assert monitor.watch((0.0, 0.0), far, None, False) == (Reason.OK, 0)  # the backup does not act


def test_only_while_the_backup_acts_is_its_estimate_compared(lib: Library) -> None:
    tick = Clock(roomy(lib))
    for n in range(60):
        same(tick(disturbance=[0.5 * (-1.0) ** n, 0.0, 0.0], candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
    same(tick(), Verdict.BACKUP, Reason.NO_PLAN)
    for _ in range(25):
        same(tick(disturbance=[0.5, 0.0, 0.0]), Verdict.BACKUP, Reason.NO_PLAN)
    same(tick(disturbance=[0.5, 0.0, 0.0]), Verdict.VOID, Reason.DISTURBANCE)


def test_rates_at_their_limit(lib: Library) -> None:
    monitor = make(lib)._monitor
    decay = math.exp(-0.01 / 0.045)
    noise = 2.0 * math.sqrt(2.0) * 0.045 / (1.0 - decay)
    assert monitor._most_rate == 0.05 + noise
    monitor._response, monitor._most_rate = 0.5, 1.25
    expected, still = (0.25, -0.5), (0.0, 0.0, 0.0)
    for error, differ in (
        ((0.75, 1.0), False),
        ((-0.75, 1.0), False),
        ((0.75, 1.0 + 1e-14), True),
        ((0.75, -1.0 - 1e-14), True),
        ((1.25, 0.0), False),
        ((-1.25 - 1e-14, 0.0), True),
        ((1.0, 0.0), False),
    ):
        rates = tuple(base + 0.5 * part for base, part in zip(expected, error, strict=True))
        monitor._expected = expected
        assert (monitor.watch(rates, still, None, False)[0] == Reason.RATE_RESIDUAL) == differ, rates
        assert monitor.watch(rates, still, None, True)[0] == Reason.MISSED_TICKS  # nothing was expected of it
        monitor.expect_nothing()
        assert monitor.watch(rates, still, None, False) == (Reason.OK, 0)


def test_expected_rates_follow_the_lag(lib: Library) -> None:
    monitor = make(lib)._monitor
    monitor.expect((0.5, -0.25), (0.2, 0.4, 0.1, 9.9))
    decay = math.exp(-0.01 / 0.045)
    targets = 1.03 * 0.2 + 0.01, 1.04 * 0.4 - 0.02
    wanted = [target + (rate - target) * decay for target, rate in zip(targets, (0.5, -0.25), strict=True)]
    np.testing.assert_allclose(monitor._expected, wanted, rtol=1e-14)


def test_the_assumption_broken_for_longest_is_named(lib: Library) -> None:
    monitor = make(lib)._monitor
    wild, still = (9.0, 9.0, 9.0), (0.0, 0.0, 0.0)
    assert monitor.watch((0.0, 0.0), still, None, True) == (Reason.MISSED_TICKS, 1)
    assert monitor.watch((0.0, 0.0), wild, None, True) == (Reason.MISSED_TICKS, 2)
    assert monitor.watch((0.0, 0.0), wild, None, False) == (Reason.DISTURBANCE, 2)
    assert monitor.watch((0.0, 0.0), still, None, False) == (Reason.OK, 0)
    assert monitor.watch((0.0, 0.0), wild, None, True) == (Reason.DISTURBANCE, 1)  # the first of equal ones
    assert monitor.count(Reason.NO_STATE, True) == 1
    assert monitor.count(Reason.NO_STATE, True) == 2
    assert monitor.count(Reason.NO_STATE, False) == 0


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer (coverage, a debugger) slows Python down")
def test_a_decision_is_cheap() -> None:
    """Below 0.5 ms of processor time; the fastest tenth says so on a busy machine too."""
    tick, took = Clock(make(mutants.real())), []
    for _ in range(400):
        start_ns = time.thread_time_ns()
        same(tick(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
        took.append(time.thread_time_ns() - start_ns)
    assert np.percentile(took, 10) < 500_000


# --- bundle ------------------------------------------------------------------------------------------------------


def test_a_shield_comes_from_a_bundle(lib: Library) -> None:
    backup, graph = graphs()
    files = {"backup.onnx": backup, "shield.onnx": graph, "certificate.toml": certificate()}
    shield = lib.shield.Shield.from_bundle(types.SimpleNamespace(files=files))
    assert shield.lead_s == pytest.approx(0.5 * (2 * 0.01 + 0.005))
    shield.engage(HOVER)
    same(Clock(shield)(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
    assert shield._set.clear.fence_m == 30.0


def test_numbers_of_the_certificate(lib: Library) -> None:
    given, wanted = lib.assumed.assumed_from(certificate()), assumed_from(certificate())
    for name in wanted.__slots__:
        assert getattr(given, name) == getattr(wanted, name), name
    assert given.window_s == 0.0125
    assert given.missed_ticks == 1
    assert given.anchor == ((-1.37, -2.29, 0.09), (-1.62, -1.31, 0.03))
    assert given.estimate_limit_m_s2 == (1.1 / math.sqrt(2.0), 1.1 / math.sqrt(2.0), 0.4)


def test_a_certificate_that_cannot_be_used_is_refused(lib: Library) -> None:
    with pytest.raises(BundleError, match="lacks 'tick_s'"):
        lib.assumed.assumed_from(certificate().replace(b"tick_s", b"tock_s"))
    for change in (
        {"tick_s": ("assumptions", "soon")},
        {"tick_s": ("assumptions", math.nan)},
        {"tick_s": ("assumptions", math.inf)},
        {"missed_ticks": ("assumptions", [1])},
        {"drag_1_s": ("assumptions", [0.1])},
        {"drag_1_s": ("assumptions", [0.1, 0.1, 0.1])},
        {"drag_1_s": ("assumptions", 0.1)},
        {"rate_gain": ("backup", [1.0, 1.0])},
        {"anchor": ("set", [[1.0, 2.0, 3.0]])},
    ):
        with pytest.raises(BundleError, match="cannot be used"):
            lib.assumed.assumed_from(certificate(**change))


def renamed(graph: bytes, old: str, new: str) -> bytes:
    """The graph with an input or output of another name."""
    model = onnx.load_from_string(graph)
    for port in (*model.graph.input, *model.graph.output):
        port.name = new if port.name == old else port.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    return model.SerializeToString()


def test_graphs_of_other_forms_are_refused(lib: Library) -> None:
    backup, graph = graphs()
    assumed = lib.assumed.assumed_from(certificate())
    for pair in (
        (backup, renamed(graph, "wanted", "desired")),
        (backup, renamed(graph, "margin", "space")),
        (renamed(backup, "slope", "ramp"), graph),
        (renamed(backup, "slope_next", "ramp"), graph),
    ):
        with pytest.raises(BundleError, match="has other inputs or outputs"):
            lib.shield.Shield(*pair, assumed)
    with pytest.raises(BundleError, match="cannot load"):
        lib.shield.Shield(b"", graph, assumed)
