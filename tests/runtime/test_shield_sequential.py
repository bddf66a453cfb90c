"""The shield against itself as it would be without runs for many options: blend after blend, each with a run of its own, and an anchor
after the other. Every decision is the same to the last bit, and so is what is held."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_checks import FENCE_M, FLOOR_M, at, make
from helpers.shield_sequential import SequentialShield
from helpers.small_shield import Call, certificate, graphs, random_calls, setpoint

from tubepilot.runtime.bench_shield_ticks import Vehicle
from tubepilot.runtime.keep_clear import KeepClear
from tubepilot.runtime.shield import Shield, assumed_from


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


def _facts(shield: Any, decision: Any) -> tuple[Any, ...]:
    """What a decision is, and what is held after it, as numbers and bytes."""
    given = decision.setpoint
    sent = None if given is None else (given.rates_rad_s.tobytes(), given.thrust_m_s2)
    shield.settle()
    held = None if shield._held is None else (*shield._held.anchor, *shield._held.disturbance)
    margin = None if math.isnan(decision.margin) else decision.margin
    return int(decision.verdict), int(decision.reason), margin, sent, held, shield._next_slope


def _sequential() -> Any:
    """As `make` makes one of the library's."""
    shield = SequentialShield(*graphs(), assumed_from(certificate()), KeepClear(fence_m=FENCE_M, floor_m=FLOOR_M))
    shield.engage(at())
    return shield


@functools.cache
def _said(seed: int, ticks: int) -> list[tuple[Call, Any]]:
    shield = _sequential()
    calls = random_calls(seed, ticks)
    return [(c, _facts(shield, shield.decide(c.predicted, c.disturbance, c.candidate, c.now_ns))) for c in calls]


def _compare(lib: Library, seeds: range, ticks: int) -> set[tuple[int, int]]:
    kinds = set()
    for seed in seeds:
        shield = make(lib, FENCE_M, FLOOR_M)
        for call, wanted in _said(seed, ticks):
            given = _facts(shield, shield.decide(call.predicted, call.disturbance, call.candidate, call.now_ns))
            assert given == wanted, (seed, call)
            kinds.add(given[:2])
    return kinds


def test_some_ticks_are_those_of_the_sequential_shield(lib: Library) -> None:
    _compare(lib, range(200, 206), 40)


def test_many_random_ticks_are_those_of_the_sequential_shield() -> None:
    assert len(_compare(mutants.real(), range(300, 380), 60)) >= 10


def test_after_a_refused_set_point_all_is_asked_in_one_run(lib: Library) -> None:
    shield = make(lib, FENCE_M, FLOOR_M)
    runs: list[int] = []
    ask = shield._set.ask

    def counted(questions: Any) -> Any:
        runs.append(len(questions))
        return ask(questions)

    shield._set.ask = counted
    seen = []
    for tick, speed_m_s in enumerate((0.0, 0.0, 2.8, 2.8, 0.0, 0.0)):  # 2.8 m/s lies outside S, whatever is sent
        shield.settle()
        runs.clear()
        shield.decide(at(x3=speed_m_s), (0.0, 0.0, 0.0), setpoint(), 10**9 + tick * 10**7)
        seen.append([count > 1 for count in runs])
    alone, together = False, True
    assert seen == [[alone], [alone], [alone, together], [together], [together], [alone]]


@pytest.mark.parametrize("speed_m_s", [1.0, 2.5, 6.0])
def test_flights_at_the_edge_are_those_of_the_sequential_shield(speed_m_s: float) -> None:
    """A planner that pushes out of S all the time, with jumps and gusts, in closed loop: what one shield decides, both are told."""
    random, kinds = np.random.default_rng(round(10 * speed_m_s)), set()
    for _ in range(4):
        shields: list[Shield] = [make(mutants.real(), FENCE_M, FLOOR_M), _sequential()]
        vehicle, now_ns = Vehicle(shields[0].assumed), 10**9
        vehicle.x[2] = 1.0
        for tick in range(200):
            if tick % 40 == 0:
                wanted = random.normal(size=3) * [1.0, 1.0, 0.4] * speed_m_s
            if tick % 70 == 69:
                vehicle.x[3:6] += random.normal(size=3) * 0.8
            candidate = vehicle.towards(wanted)
            jump = float(random.choice([0.0, 0.3, 1.0]))
            candidate = setpoint(*(candidate.rates_rad_s + jump * random.normal(size=3)).tolist(), candidate.thrust_m_s2)
            now_ns += 10_000_000
            decisions = [shield.decide(vehicle.x.tolist(), [0.1, 0.0, 0.0], candidate, now_ns) for shield in shields]
            one, other = (_facts(shield, decision) for shield, decision in zip(shields, decisions, strict=True))
            assert one == other, (speed_m_s, tick)
            kinds.add(one[:2])
            if decisions[0].setpoint is None:
                break
            vehicle.fly(decisions[0].setpoint)
    assert len(kinds) >= 2
