"""The watch over the assumptions.

Each test takes the modules of the shield as `lib`, so that `test_shield_mutants` can hand it changed ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_checks import DOWN, START_NS, UP, Clock, at, make, roomy, same
from helpers.small_shield import TICK_NS, setpoint

from tubepilot.runtime.shield import Reason, Verdict


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


WILD = 9.0
WAYS: tuple[tuple[Reason, Callable[[Any, int], Any]], ...] = (
    (Reason.DISTURBANCE, lambda tick, n: tick(disturbance=[WILD, 0.0, 0.0], candidate=setpoint())),
    (Reason.RATE_RESIDUAL, lambda tick, n: tick(at(x10=WILD), candidate=setpoint())),
    (Reason.MISSED_TICKS, lambda tick, n: tick(candidate=setpoint(), gap_ns=25_000_001)),
)


def test_a_broken_assumption_is_named_at_once_answered_after_three_ticks_and_void_after_25(lib: Library) -> None:
    for reason, broken in WAYS:
        shield = roomy(lib, rate_error_rad_s=("assumptions", 2.0))  # the state stands still, whatever is asked
        tick = Clock(shield)
        same(tick(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
        for n in range(1, 26):
            decision = broken(tick, n)
            same(decision, Verdict.ACCEPT if n < 3 else Verdict.BACKUP, reason)
            assert decision.ticks == n
            assert decision.seen > decision.most > 0.0
        held = tick.shield._held
        decision = tick(candidate=setpoint())  # it holds again, but for what the backup held
        same(decision, Verdict.ACCEPT, Reason.DISTURBANCE if reason == Reason.DISTURBANCE else Reason.OK)
        assert decision.ticks == (1 if reason == Reason.DISTURBANCE else 0)
        same(tick(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
        assert tick.shield._held is not held
        for n in range(1, 26):
            assert broken(tick, n).verdict != Verdict.VOID
        decision = broken(tick, 26)
        same(decision, Verdict.VOID, reason)
        assert math.isnan(decision.margin)
        assert (decision.ticks, decision.seen > decision.most) == (26, True)


def test_the_reason_for_people(lib: Library) -> None:
    tick = Clock(roomy(lib))
    assert tick(candidate=setpoint()).text() == "OK"
    text = tick(disturbance=[0.0, -WILD, 0.0], candidate=setpoint()).text()
    assert text.startswith("DISTURBANCE: 9 m/s^2, at most 1.03 m/s^2, for 1 ticks; wind")
    decisions = lib.decision
    for reason in (Reason.RATE_RESIDUAL, Reason.DELAY, Reason.MISSED_TICKS):
        decision = decisions.Decision(None, decisions.Verdict.VOID, reason, math.nan, 2.0, 1.0, 3)
        assert decision.text().startswith(f"{reason.name}: 2 ")
    assert decisions.Decision(None, decisions.Verdict.VOID, Reason.OUTSIDE_SET, math.nan, 2.0, 1.0, 3).text() == "OUTSIDE_SET"
    assert decisions.Decision(None, decisions.Verdict.VOID, Reason.DELAY, math.nan).text() == "DELAY"


def test_softened_setpoints_keep_their_reason_while_an_assumption_is_broken(lib: Library) -> None:
    decision = Clock(roomy(lib))(disturbance=[WILD, 0.0, 0.0], candidate=setpoint(roll=2.0))
    same(decision, Verdict.ACCEPT, Reason.SOFTENED)
    assert decision.ticks == 1


def test_a_good_tick_starts_the_count_again(lib: Library) -> None:
    tick = Clock(make(lib, rate_error_rad_s=("assumptions", 2.0)))
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
                assert (found.reason, found.ticks) == ((Reason.DISTURBANCE, 1) if broken else (Reason.OK, 0))
                if broken:
                    assert (found.seen, found.most) == (abs(value), most)


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
        found = monitor.watch((0.0, 0.0), d, held, False)
        assert (found.reason == Reason.DISTURBANCE) == broken, change
        if broken:
            assert found.most in (most_h, most_v)
            assert found.seen > found.most
    zero = (0.0, 0.0, 0.0)
    for edge, d in ((most_h, (most_h, 0.0, 0.0)), (most_v, (0.0, 0.0, most_v))):
        assert monitor.watch((0.0, 0.0), d, zero, False).reason == Reason.OK, edge
        beyond = tuple(math.nextafter(value, UP) if value else 0.0 for value in d)
        assert monitor.watch((0.0, 0.0), beyond, zero, False).reason == Reason.DISTURBANCE
    limit = 1.1 / math.sqrt(2.0) + 0.25
    monitor.engage()
    for x, ticks in ((limit, 1), (limit, 2), (math.nextafter(limit, UP), 1)):  # at the bound the change counts, beyond it the bound
        found = monitor.watch((0.0, 0.0), (x, 0.0, 0.0), zero, False)
        assert (found.reason, found.ticks, found.most) == (Reason.DISTURBANCE, ticks, most_h if x == limit else limit)
    far = (0.5, 0.0, 0.0)
    assert monitor.watch((0.0, 0.0), far, None, False).reason == Reason.OK  # the backup does not act


def test_only_while_the_backup_acts_is_its_estimate_compared(lib: Library) -> None:
    tick = Clock(roomy(lib))
    for n in range(60):
        same(tick(disturbance=[0.5 * (-1.0) ** n, 0.0, 0.0], candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
    before = [0.5 * (-1.0) ** 59, 0.0, 0.0]
    same(tick(disturbance=before), Verdict.BACKUP, Reason.NO_PLAN)
    kept = tick.shield._held
    for n in range(60):  # held anew after three ticks: from then on the backup acts on what is estimated now
        decision = tick(disturbance=[0.5, 0.0, 0.0])
        same(decision, Verdict.BACKUP, Reason.DISTURBANCE if n == 2 else Reason.NO_PLAN)
        assert decision.ticks == (n + 1 if n < 3 else 0)
        assert (tick.shield._held is kept) == (n < 2)
    assert tick.shield._held.disturbance == (0.5, 0.0, 0.0)


DECAY, LEAD = math.exp(-0.01 / 0.045), math.exp(-0.0125 / 0.045)
STILL = (0.0, 0.0, 0.0)


def targets(command: tuple[float, ...]) -> np.ndarray:
    """Roll and pitch rate that a set-point leads to."""
    return np.array([1.03 * command[0] + 0.01, 1.04 * command[1] - 0.02])


def test_the_model_of_the_rates_follows_the_lag(lib: Library) -> None:
    assumed = make(lib).assumed
    for late in (0, 1, 3):
        model, acted = lib.monitor.RateModel(assumed, late), [np.zeros(2)] * late
        assert model.seen() == (0.0, 0.0)
        rates = np.zeros(2)
        for n in range(12):
            command = (0.2 * n, 0.4 - 0.1 * n, 0.1, 9.9)
            model.advance(command)
            acted.append(targets(command))
            rates = acted[n] + (rates - acted[n]) * DECAY
            np.testing.assert_allclose(model.seen(), acted[n] + (rates - acted[n]) * LEAD, rtol=1e-12, atol=1e-14)


def test_rates_at_their_limit(lib: Library) -> None:
    monitor = make(lib)._monitor
    most = 0.05 + math.sqrt(2.0) * 0.045
    assert monitor._most_rate == pytest.approx(most, rel=1e-14)
    assert monitor._slack == 1.0
    monitor._most_rate, monitor._slack = 1.0, 0.25
    for error, differ in (
        ((0.75, 1.0), False),
        ((-0.75, 1.0), False),
        ((0.75, 1.0 + 1e-14), True),
        ((0.75, -1.0 - 1e-14), True),
        ((1.25, 0.0), False),
        ((-1.25 - 1e-14, 0.0), True),
        ((1.0, 0.0), False),
    ):
        found = monitor.watch(error, STILL, None, False)
        assert found.reason == (Reason.RATE_RESIDUAL if differ else Reason.OK), error
        if differ:
            assert (found.most, found.seen) == (1.25, math.hypot(*error))


def test_what_timing_and_the_start_can_do_to_the_rates_dies_out(lib: Library) -> None:
    monitor = make(lib)._monitor
    late = LEAD * (1.0 - math.exp(-(2 * 0.0125 - 0.01) / 0.045))
    monitor.expect((0.2, 0.4, 0.1, 9.9))
    assert monitor._slack == 1.0  # nothing is known of the set-points before
    monitor.expect((0.5, 0.2, 0.1, 9.9))
    wanted = DECAY + late * math.hypot(1.03 * 0.3, 1.04 * 0.2)
    assert monitor._slack == pytest.approx(wanted, rel=1e-12)
    monitor.expect((0.5, 0.2, 0.1, 9.9))
    assert monitor._slack == pytest.approx(wanted * DECAY, rel=1e-12)
    assert not monitor.is_late(START_NS)
    monitor.is_late(START_NS + 2 * TICK_NS)  # a skipped tick: the last set-point acted on
    assert monitor._slack == pytest.approx(wanted * DECAY**2, rel=1e-12)
    np.testing.assert_allclose(monitor._models[0]._rates, _followed([(0.2, 0.4), (0.5, 0.2), (0.5, 0.2), (0.5, 0.2)]), rtol=1e-12)
    monitor.is_late(START_NS + 5 * TICK_NS)  # too many
    assert monitor._slack == 1.0
    np.testing.assert_allclose(monitor._models[0]._rates, _followed([(0.2, 0.4), (0.5, 0.2), (0.5, 0.2), (0.5, 0.2)]), rtol=1e-12)
    monitor.engage()
    assert (monitor._slack, monitor._models[0].seen()) == (1.0, (0.0, 0.0))
    monitor.is_late(START_NS)
    monitor.is_late(START_NS + 2 * TICK_NS)  # no set-point yet
    assert monitor._slack == 1.0


def _followed(rates: list[tuple[float, float]]) -> np.ndarray:
    result = np.zeros(2)
    for pair in rates:
        target = targets(pair)
        result = target + (result - target) * DECAY
    return result


def test_rates_that_answer_late_are_called_a_delay(lib: Library) -> None:
    monitor = make(lib)._monitor
    monitor._slack = monitor._most_rate = 0.0
    monitor._early = 0.0
    for n in range(30):
        monitor.expect((0.5 * math.sin(0.5 * n), 0.3 * math.cos(0.5 * n), 0.0, 9.9))
    now, before = (np.array(model.seen()) for model in monitor._models)
    assert len(monitor._models[1]._waiting) == 5
    for share, reason in ((0.0, Reason.RATE_RESIDUAL), (0.66, Reason.RATE_RESIDUAL), (0.67, Reason.DELAY), (1.0, Reason.DELAY)):
        rates = now + share * (before - now) + (1e-6 if share == 0.0 else 0.0)
        assert monitor.watch(tuple(rates), STILL, None, False).reason == reason, share
    monitor._models[1].seen = lambda: (0.0, 0.5)
    monitor._models[0].seen = lambda: (0.0, 0.0)
    assert monitor.watch((0.0, 1.0), STILL, None, False).reason == Reason.RATE_RESIDUAL  # exactly half


def test_the_assumption_broken_for_longest_is_named(lib: Library) -> None:
    monitor = make(lib)._monitor
    wild = (9.0, 9.0, 9.0)

    def found(d: tuple[float, ...], late: bool) -> tuple[Reason, int]:
        finding = monitor.watch((0.0, 0.0), d, None, late)
        return finding.reason, finding.ticks

    monitor.is_late(START_NS)
    monitor.is_late(START_NS + 30_000_000)
    finding = monitor.watch((0.0, 0.0), STILL, None, True)
    assert (finding.reason, finding.ticks) == (Reason.MISSED_TICKS, 1)
    assert (finding.seen, finding.most) == (pytest.approx(0.03), pytest.approx(0.025))
    assert found(wild, True) == (Reason.MISSED_TICKS, 2)
    assert found(wild, False) == (Reason.DISTURBANCE, 2)
    assert found(STILL, False) == (Reason.OK, 0)
    assert found(wild, True) == (Reason.DISTURBANCE, 1)  # the first of equal ones
    assert monitor.count(Reason.NO_STATE, True) == 1
    assert monitor.count(Reason.NO_STATE, True) == 2
    assert monitor.count(Reason.NO_STATE, False) == 0


def test_a_violation_by_half_is_noticed_within_three_ticks(lib: Library) -> None:
    """Of what is watched: the estimate, the rates against their set-points, the time between ticks."""
    most = 0.05 + math.sqrt(2.0) * 0.045
    for way in range(3):
        tick = Clock(roomy(lib))
        for _ in range(60):
            same(tick(at(x10=0.01, x11=-0.02), candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
        for n in range(3):
            if way == 0:
                decision = tick(at(x10=0.01, x11=-0.02), [1.5 * (1.1 / math.sqrt(2.0) + 0.25), 0.0, 0.0], setpoint())
            elif way == 1:
                decision = tick(at(x10=0.01 + 1.5 * most, x11=-0.02), candidate=setpoint())
            else:
                decision = tick(at(x10=0.01, x11=-0.02), candidate=setpoint(), gap_ns=round(1.5 * 2 * TICK_NS))
            assert decision.reason == (Reason.DISTURBANCE, Reason.RATE_RESIDUAL, Reason.MISSED_TICKS)[way]
            assert (decision.verdict == Verdict.BACKUP) == (n == 2)
