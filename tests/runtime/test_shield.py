"""The shield's decisions: values at every limit, every verdict and reason.

Each test takes the modules of the shield as `lib`, so that `test_shield_mutants` can hand it changed ones.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
import types
from typing import Any

import numpy as np
import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_checks import ACROSS_M, DOWN, UP, YAW_RAD_S, Clock, at, clear_of, make, margins_of, roomy, same, stub
from helpers.small_shield import CALM, HOVER, RATES_RAD_S, THRUST_M_S2, certificate, setpoint

from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.runtime.shield import Reason, Verdict


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


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
    for accepted_at, share, kept in ((2, 0.5, 0.5), (3, 0.1, 0.9), (4, 0.0, 0.5), (5, math.nan, math.nan)):
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
    assert [states for states, _ in calls] == [4, 1]  # no anchor is held yet: what the backup sends is not asked for
    shield = make(lib)
    shield._backup.setpoint = lambda now, held: (None, math.nan)
    decision = Clock(shield)(candidate=setpoint(roll=2.0))
    same(decision, Verdict.VOID, Reason.NOT_FINITE)


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
        blocked = clear_of(lib, shield, roomy_ones)
        now = lib.states.flatten(HOVER, 0.0, 9.80665)
        reason, held, margin = shield._admit(shield._start(now, (0.0, 0.0, 0.0)), (0.0, 0.0, 0.0, 9.9))
        assert held is calls[0][1][margins.index(max(margins)) if wanted is None else wanted]
        assert margin == (max(margins) if wanted is None else margins[wanted])
        assert all(margins[number] > 0.0 for number in blocked)
        refused = Reason.OBSTACLE if max(margins) > 0.0 else Reason.WOULD_LEAVE_SET
        assert reason == (refused if wanted is None else Reason.OK)


def test_anchors_are_tried_around_the_best_one(lib: Library) -> None:
    shield = make(lib)
    now = lib.states.flatten(at(x0=1.0, x1=2.0, x3=0.5, x4=-0.25, x5=0.1), 0.0, 9.80665)
    options = shield._set.anchors(now.flat, shield._set.limited((5.0, -5.0, 5.0)), None)
    limit = 1.1 / math.sqrt(2.0)
    swift = [-1.21 * 0.5 - 0.83 * limit, 1.21 * 0.25 + 0.83 * limit, -1.45 * 0.1 - 0.52 * 0.4]
    calm = [-1.37 * 0.5 - 2.29 * limit, 1.37 * 0.25 + 2.29 * limit, -1.62 * 0.1 - 1.31 * 0.4]
    for option, (best, share) in zip(options, ((calm, 0.7), (calm, 1.0), (swift, 1.0), (calm, 1.0)), strict=True):
        np.testing.assert_allclose(option.anchor, np.array([1.0, 2.0, 1.0]) - share * np.array(best), rtol=1e-14)
        assert option.disturbance == (limit, -limit, 0.4)
    assert options[3] is options[1]
    held = lib.margins.Held((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert shield._set.anchors(now.flat, (0.1, 0.0, 0.0), held)[3] == lib.margins.Held((0.0, 0.0, 0.0), (0.1, 0.0, 0.0))


def test_a_margin_that_is_no_number_counts_as_outside(lib: Library) -> None:
    shield, ahead, nothing = make(lib), lib.ahead.Ahead, (0.0,) * 3
    hover, origin = [lib.margins.Held(nothing, nothing)] * 4, [lib.margins.Held(nothing, nothing)] * 4
    good, still, sure = lib.states.flatten(HOVER, 0.0, 9.80665).flat, (nothing, nothing), (0.0,) * 10

    def found(states: Any, wanted: Any = still, doubts: Any = sure, options: Any = hover) -> list[float]:
        return margins_of(shield, lib.margins.taking_over(ahead(states, wanted, doubts), options))

    for number in (math.nan, 1e200, -1e200, 1e9):  # the square of the second one would be infinite, in the graph
        there = lib.states.flatten(at(x0=number), 0.0, 9.80665).flat
        assert margins_of(shield, lib.margins.present(there, hover)) == [-math.inf] * 4
        assert found((good, there)) == found((there, good)) == [-math.inf] * 4
    for wrong in (math.nan, math.inf, -math.inf, 1e9, -1e9):
        assert found((good, good), (nothing, (0.0, wrong, 0.0))) == [-math.inf] * 4
        assert found((good, good), doubts=(0.0,) * 9 + (wrong,)) == [-math.inf] * 4
    assert min(found((good, good))) > 0.0
    nowhere = lib.states.Flat(*[nothing] * 4, 9.8)
    for most, outside in ((1e9, True), (math.nextafter(1e9, 0.0), False), (math.nextafter(1e9, UP), True)):
        margins = found((nowhere, nowhere), doubts=(most, *[0.0] * 9), options=origin)
        assert (margins == [-math.inf] * 4) == outside
        assert max(margins) < 0.0
    falling = lib.states.Flat(nothing, nothing, (0.0, 0.0, -9.80665), nothing, 0.0)  # no direction of thrust, in the graph
    for states in ((falling, falling), (good, falling), (falling, good)):
        assert found(states, options=origin) == [-math.inf] * 4


def test_a_question_that_is_no_number_leaves_those_beside_it_alone(lib: Library) -> None:
    shield, calm = make(lib), (0.0, 0.0, 0.0)
    held = [lib.margins.Held((0.1 * n, 0.0, 1.0), calm) for n in range(4)]
    good = [lib.margins.present(lib.states.flatten(at(x3=0.1 * n), 0.0, 9.80665).flat, held) for n in range(6)]
    wrong = [lib.margins.present(lib.states.flatten(at(x3=number), 0.0, 9.80665).flat, held) for number in (math.nan, 1e200)]
    alone = [shield._set.ask([question])[0] for question in good]
    for count in range(1, 6):
        assert shield._set.ask(good[:count]) == alone[:count]
        for place in range(count):
            mixed = [*good[:place], wrong[count % 2], *good[place + 1 : count]]
            answers = shield._set.ask(mixed)
            assert answers.pop(place).margins == [-math.inf] * 4
            assert answers == [*alone[:place], *alone[place + 1 : count]]


def test_the_backup_gives_its_anchor_up_only_for_one_that_is_admitted(lib: Library) -> None:
    """It is covered though its margin shows the state outside; the present state's margin for another one is no proof of that one."""
    smallest = math.nextafter(0.0, UP)
    cases: tuple[tuple[float, list[float], int | None], ...] = (
        (smallest, [0.5] * 4, None),
        (0.0, [-0.1, smallest, smallest, 0.0], 1),
        (0.0, [0.0] * 4, None),
        (-0.1, [-0.3, -0.05, 0.2, -0.1], 2),
        (-0.1, [-0.3, -0.05, 0.0, -0.1], None),
    )
    for (kept, admitted, moves), by_itself in itertools.product(cases, (True, False)):
        shield = make(lib)
        old = lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
        shield._held = old
        calls = stub(shield, lambda states, call, kept=kept, admitted=admitted: admitted if states == 4 else [kept] * 4)  # type: ignore[misc]
        tick = Clock(shield)
        decision = tick()
        same(decision, Verdict.BACKUP, Reason.OUTSIDE_SET if kept <= 0.0 else Reason.NO_PLAN)
        assert decision.margin == kept
        assert [states for states, _ in calls] == [1]
        assert shield._held is old
        # sent is what leads to the anchor held so far; only from then on the slope is that of a set-point like any other
        wanted, slope = make(lib)._backup.setpoint(lib.states.flatten(HOVER, 0.0, 9.80665), old)
        np.testing.assert_array_equal(decision.setpoint.rates_rad_s, wanted.rates_rad_s)
        assert shield._next_slope == slope
        for _ in range(2):
            if by_itself:
                shield.settle()
            else:
                tick(None)  # the next tick does it first; without a state it asks nothing else
            assert [states for states, _ in calls] == ([1, 4] if kept <= 0.0 else [1])
            assert shield._held is (old if moves is None else calls[1][1][moves])
            assert shield._next_slope == (slope if moves is None else None)


def test_what_is_left_to_settle_is_forgotten_when_the_shield_is_engaged_again(lib: Library) -> None:
    shield = make(lib)
    calls = stub(shield, lambda states, call: [0.5 if states == 4 else -0.1] * 4)
    same(Clock(shield)(), Verdict.BACKUP, Reason.OUTSIDE_SET)
    shield.engage(HOVER)
    shield.settle()
    assert ([states for states, _ in calls], shield._held) == ([1], None)


def test_the_present_state_alone_moves_no_anchor(lib: Library) -> None:
    """With the graph itself: states that lie in S for another anchor, errors taken off, while what is sent leads out of it."""
    random, shield, kept, moved, calm = np.random.default_rng(4), make(lib), 0, 0, (0.0, 0.0, 0.0)
    for _ in range(120):
        shield.engage(HOVER)
        shield._held = old = lib.margins.Held(tuple(random.normal(size=3) * [12.0, 12.0, 3.0]), calm)
        speeds, rates = random.normal(size=3) * [1.0, 1.0, 0.4], random.normal(size=2) * 1.2
        x = at(x3=speeds[0], x4=speeds[1], x5=speeds[2], x10=rates[0], x11=rates[1])
        now = lib.states.flatten(x, 0.0, 9.80665)
        of_old = margins_of(shield, lib.margins.present(now.flat, [old] * 4))
        of_others = margins_of(shield, lib.margins.present(now.flat, shield._set.anchors(now.flat, calm, old)))
        if max(of_old) > 0.0 or max(of_others) <= 0.0:
            continue  # else the old rule moved to the best of these
        backup, _ = shield._backup.setpoint(now, old)
        tick = shield._start(now, calm)
        admitted = shield._admit(tick, (*backup.rates_rad_s.tolist(), backup.thrust_m_s2))[0] is lib.decision.Reason.OK
        shield._fall_back(x, tick, lib.decision.Reason.NO_PLAN)
        shield.settle()
        assert (shield._held is not old) == admitted
        kept, moved = kept + (not admitted), moved + admitted
    assert kept > 3
    assert moved > 3


def test_any_anchor_may_be_taken_when_nothing_is_claimed(lib: Library) -> None:
    """An assumption is broken, or the state looked outside for more than 25 ticks; then the best one with room."""
    smallest = math.nextafter(0.0, UP)
    for others, free, moves in (
        ([0.5] * 4, (0, 1, 2, 3), 0), ([-0.1, smallest, smallest, 0.0], (0, 1, 2, 3), 1), ([0.0] * 4, (0, 1, 2, 3), None),
        ([-0.2, 0.3, 0.2, 0.0], (2,), 2), ([-0.2, 0.3, 0.2, 0.0], (0, 3), None),
    ):  # fmt: skip
        for broken, kept in ((True, -0.1), (True, 0.0), (False, -0.1), (False, 0.0)):
            shield, calls = make(lib), []
            shield._held = old = lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))

            def ask(questions: Any, calls: Any = calls, answers: Any = (others, kept, old), answer: Any = lib.margins.Answer) -> Any:
                calls.extend(question.options for question in questions)
                kept = [question.instants == (1, 2) or question.options[0] is answers[2] for question in questions]
                return [answer([answers[1]] * 4 if same else answers[0], ACROSS_M, [3.5] * 4) for same in kept]

            shield._set.ask = ask
            clear_of(lib, shield, free)
            tick = Clock(shield)
            for n in range(1 if broken else 26):
                assert shield._held is old
                decision = tick(disturbance=[2.0, 0.0, 0.0] if broken else CALM)
                assert decision.reason == (Reason.OUTSIDE_SET if broken or n < 25 or moves is None else Reason.NO_PLAN) or broken
            taken = [options for options in calls if options[0] is not old]
            assert shield._held is (old if moves is None else taken[-1][moves])
            assert decision.margin == (kept if moves is None else others[moves])
            assert (decision.reason == Reason.OUTSIDE_SET) == (moves is None)
            assert shield._monitor._broken[Reason.OUTSIDE_SET] == (0 if moves is not None else 1 if broken else 26)


def test_without_an_anchor_the_best_one_is_taken_if_none_has_room(lib: Library) -> None:
    shield = make(lib)
    calls = stub(shield, lambda states, call: [0.1, 0.4, 0.4, 0.2])
    clear_of(lib, shield, ())
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


def test_one_number_of_the_backup_that_is_not_finite_is_enough(lib: Library) -> None:
    """The graph cuts its set-points, so that it gives none by itself: its answer is put there."""
    backup = make(lib)._backup
    now, held = lib.states.flatten(HOVER, 0.0, 9.80665), lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    backup._session = types.SimpleNamespace(run_with_iobinding=lambda binding: None)
    for place in range(5):
        numbers = [0.1, 0.2, 0.3, 9.9, 0.4]
        backup._out["setpoint"][0], backup._out["slope_next"][0, 0] = numbers[:4], numbers[4]
        given, slope = backup.setpoint(now, held)
        np.testing.assert_allclose([*given.rates_rad_s, given.thrust_m_s2, slope], numbers, rtol=1e-6)
        numbers[place] = (math.nan, math.inf, -math.inf)[place % 3]
        backup._out["setpoint"][0], backup._out["slope_next"][0, 0] = numbers[:4], numbers[4]
        given, slope = backup.setpoint(now, held)
        assert given is None
        assert math.isnan(slope)


def test_what_to_keep_clear_of_can_be_said_before_it_is_engaged(lib: Library) -> None:
    shield = make(lib)
    same(Clock(shield)(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
    shield.keep_clear(lib.clear.KeepClear(fence_m=1.0))
    shield.engage(HOVER)
    same(Clock(shield)(candidate=setpoint()), Verdict.BACKUP, Reason.GEOFENCE)


def test_a_thrust_or_direction_of_zero_is_outside(lib: Library) -> None:
    shield = make(lib)
    now = lib.states.flatten(at(x13=0.0), 0.0, 9.80665)
    reason, _, margin = shield._admit(shield._start(now, (0.0, 0.0, 0.0)), (0.0, 0.0, 0.0, 9.9))
    assert (reason, margin) == (Reason.WOULD_LEAVE_SET, -math.inf) or reason == Reason.GEOFENCE
    flat = lib.states.Flat((0.0,) * 3, (0.0,) * 3, (0.0,) * 3, (0.0,) * 3, 9.8)
    nowhere = lib.states.Present(flat, 0.0, (0.0,) * 3, (0.0,) * 3, (0.0,) * 3)
    found = shield._prediction.ahead(shield._start(nowhere, (0.0,) * 3), (0.0, 0.0, 0.0, 9.9))
    assert math.isnan(found.states[0].acceleration[0])


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


def test_as_many_setpoints_are_remembered_as_may_be_late(lib: Library) -> None:
    for delay_s, missed, count in ((0.0, 0, 1), (0.004, 0, 1), (0.0, 1, 1), (0.005, 1, 2), (0.01, 1, 2), (0.011, 1, 3), (0.02, 2, 4)):
        changes = {"delay_max_s": ("assumptions", delay_s), "missed_ticks": ("assumptions", missed)}
        assert lib.ahead.Prediction(lib.assumed.assumed_from(certificate(**changes))).remembered == count


def test_a_setpoint_without_thrust_leaves_the_set(lib: Library) -> None:
    shield = make(lib, thrust_min_m_s2=("backup", 0.0))
    now = lib.states.flatten(HOVER, 0.0, 9.80665)
    assert shield._admit(shield._start(now, (0.0, 0.0, 0.0)), (0.0, 0.0, 0.0, 0.0))[::2] == (Reason.WOULD_LEAVE_SET, -math.inf)


def test_the_least_thrust(lib: Library) -> None:
    for thrust, usable in ((1.0, False), (math.nextafter(1.0, UP), True), (math.nextafter(1.0, DOWN), False), (-2.0, False)):
        decision = Clock(make(lib))(at(x13=thrust))
        assert (decision.reason == Reason.NOT_FINITE) == (not usable)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer (coverage, a debugger) slows Python down")
def test_a_decision_is_cheap() -> None:
    """Below 0.5 ms of processor time; the fastest tenth says so on a busy machine too."""
    tick, took = Clock(make(mutants.real())), []
    for _ in range(400):
        start_ns = time.thread_time_ns()
        same(tick(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
        took.append(time.thread_time_ns() - start_ns)
    assert np.percentile(took, 10) < 500_000
