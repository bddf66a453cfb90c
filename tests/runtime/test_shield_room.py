"""Room to stop: fence, floor, ceiling, walls, obstacles, and the tube that the shield graph names.

Each test takes the modules of the shield as `lib`, so that `test_shield_mutants` can hand it changed ones.
"""

from __future__ import annotations

import math

import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_checks import DOWN, UP, at, make
from helpers.small_shield import HOVER

from tubepilot.runtime.shield import Reason


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


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


def test_a_wall_away_from_the_origin(lib: Library) -> None:
    least = 0.6 * 2.5 - 0.8 * 4.0 + 4.01
    for offset, clear in ((least + 1e-12, True), (least - 1e-12, False)):
        keep = lib.clear.KeepClear(walls=(lib.clear.Wall((0.6, -0.8, 0.0), offset),))
        assert keep.blocked((2.5, 4.0, -3.0), *ROOM) == (Reason.OK if clear else Reason.GEOFENCE)


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
    held = [lib.margins.Held((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))] * 4
    hover, fast, outside = (lib.states.flatten(at(x3=speed), 0.0, 9.80665).flat for speed in (0.0, 1.6, 9.0))
    for flat, across, high in ((hover, 3.75, 1.625), (fast, 8.0, 3.5), (outside, 1e9, 1e9)):
        for beyond, wanted in ((0.02, Reason.OK), (0.0, Reason.GEOFENCE)):
            shield = make(lib, fence_m=across + beyond)
            question = lib.margins.present(flat, held)
            answer = shield._set.ask([question])[0]
            assert (min(answer.margins) > 0.0) == (flat is not outside)
            assert answer.across_m == [across] * 4
            assert answer.high_m == [high] * 4
            assert shield._set.choose(question, answer)[0] == (Reason.WOULD_LEAVE_SET if flat is outside else wanted)
    shield = make(lib, fence_m=1e9, floor_m=1.0 - 1.64)
    for flat, wanted in ((hover, Reason.OK), (fast, Reason.GEOFENCE)):
        question = lib.margins.present(flat, held)
        assert shield._set.choose(question, shield._set.ask([question])[0])[0] == wanted


def test_every_anchor_has_a_room_of_its_own(lib: Library) -> None:
    shield = make(lib, fence_m=5.0)
    options = [lib.margins.Held((float(n), 0.0, 1.0), (0.0, 0.0, 0.0)) for n in range(4)]
    question = lib.margins.present(lib.states.flatten(HOVER, 0.0, 9.80665).flat, options)
    for across, wanted in (([9.0, 9.0, 9.0, 1.98], 3), ([9.0, 9.0, 2.98, 1.98], 2), ([9.0, 3.98, 9.0, 9.0], 1), ([9.0] * 4, None)):
        answer = lib.margins.Answer([0.4, 0.3, 0.2, 0.1], across, [0.0] * 4)
        reason, held, margin = shield._set.choose(question, answer)
        assert reason == (Reason.GEOFENCE if wanted is None else Reason.OK)
        assert (held, margin) == (options[wanted or 0], answer.margins[wanted or 0])
    shield = make(lib, floor_m=0.5)
    answer = lib.margins.Answer([0.4, 0.3, 0.2, 0.1], [0.0] * 4, [0.6, 0.6, 0.48, 0.6])
    assert shield._set.choose(question, answer) == (Reason.OK, options[2], 0.2)
