"""The shield tick by tick against an implementation in numpy.

Each test takes the modules of the shield as `lib`, so that `test_shield_mutants` can hand it changed ones.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_checks import FENCE_M, FLOOR_M, START_NS, at, make
from helpers.shield_oracle import OracleShield
from helpers.small_shield import CALM, HOVER, Call, certificate, graphs, random_calls, setpoint, tables

from tubepilot.runtime.shield import Reason, Verdict, assumed_from


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


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
    assert missing <= {"DISTURBANCE", "RATE_RESIDUAL", "MISSED_TICKS", "OBSTACLE", "DELAY"}  # tested one by one below


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
