"""The admission box attacked: the plant of section 2, all errors at their bounds, every timing, must end inside what is claimed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.shield_oracle import OracleShield, _Flat, _Held
from helpers.shield_plant import Body, Errors, flat, fly, rotated, schedule
from helpers.small_shield import certificate, graphs, tables

from tubepilot.firmware_bridge.types import Setpoint, Vector
from tubepilot.runtime.shield import assumed_from

TIMINGS = ((0.005, 1), (0.01, 1), (0.02, 1), (0.004, 0), (0.015, 0))


def _unit(random: np.random.Generator, size: int) -> Vector:
    vector = random.normal(size=size)
    result: Vector = vector / np.linalg.norm(vector)
    return result


def _edge(random: np.random.Generator, low: float, high: float) -> float:
    """One end, the other, or between."""
    return float([low, high, random.uniform(low, high)][int(random.integers(3))])


class Case:
    """One flight through one set-point and one take-over, and what the box claims of it.

    Args:
        random: Draws everything.
        delay_s, missed: Timing.
        smaller: Which of the estimate's errors the box is made for a third of; None: for all as they are.
        calm: Whether it is made for half the wind.
        claimed_s: Delay that it is made for; None: as it is.
        upward: Part of what is across the thrust vector that it counts upwards.
    """

    def __init__(
        self, random: np.random.Generator, delay_s: float, missed: int, smaller: int | None = None, calm: bool = False,
        claimed_s: float | None = None, upward: float = 1.0,
    ) -> None:
        timing = {"delay_max_s": ("assumptions", delay_s), "missed_ticks": ("assumptions", missed)}
        self.a = a = assumed_from(certificate(**timing))
        self.tables = tables(delay_s, missed)
        claimed = delay_s if claimed_s is None else claimed_s
        box = tables(claimed, missed).admission
        errors_of_box = tuple(0.3 * error if n == smaller else error for n, error in enumerate(box.errors))
        wind_h, wind_v = (0.5 * w if calm else w for w in box.acceleration)
        box = replace(box, errors=errors_of_box, acceleration=(wind_h, wind_v))
        timing = {**timing, "delay_max_s": ("assumptions", claimed)}
        self.oracle = OracleShield(graphs()[0], replace(self.tables, admission=box), assumed_from(certificate(**timing)))
        self.oracle.upward = upward
        position, velocity, attitude, rate = self.tables.admission.errors
        late, tick, window = 2.0 * a.window_s - a.tick_s, a.tick_s, a.window_s
        size = float(random.choice([0.1, 0.5, 1.4]))
        sent = [Setpoint(np.array([*random.uniform(-size, size, 2), 0.0]), float(random.uniform(9.0, 11.0))) for _ in range(2 + 4)]
        asked = [np.array(a.rate_gain[:2]) * s.rates_rad_s[:2] + np.array(a.rate_offset_rad_s[:2]) for s in sent]
        # sent[0] is judged, the others came before it; each begins to act up to `late` after the earliest instant, in order
        earliest = [-window - n * tick for n in range(len(sent))]
        count = max(math.ceil(late / tick - 1e-9), 1)  # those that may still be late; older ones acted when they should
        actual = [at + (_edge(random, 0.0, late) if n < count else 0.0) for n, at in enumerate(earliest)]
        for n in range(len(actual) - 2, -1, -1):
            actual[n] = max(actual[n], actual[n + 1])
        begin = earliest[-1]
        start = Body(
            np.zeros(3), random.uniform(-3.0, 3.0, 3), rotated(np.eye(3), 0.4 * _unit(random, 3) * random.random()),
            asked[-1] + 0.2 * random.normal(size=2), float(random.uniform(9.0, 11.0)),
        )  # fmt: skip
        d = np.array(a.estimate_limit_m_s2) * random.uniform(-1.0, 1.0, 3)
        held = ("to", a.thrust_gain * sent[1].thrust_m_s2)
        calm = Errors()
        still = fly(start, a, begin, 0.0, schedule([(at, r) for at, r in zip(earliest, asked, strict=True)][:0:-1]), d, calm,
                    lambda t: held)  # fmt: skip
        # what the shield is told: off by E
        share = random.random() < 0.7
        ball = lambda n: _unit(random, n) * (1.0 if share else random.random())  # noqa: E731
        told = still.copy()
        told.position = told.position + position * np.array([*ball(2), random.choice([-1.0, 1.0])])
        told.velocity = told.velocity + velocity * np.array([*ball(2), random.choice([-1.0, 1.0])])
        told.rotation = rotated(told.rotation, attitude * ball(3))
        told.rates = told.rates + rate * random.choice([-1.0, 1.0], 2)
        # the take-over
        skipped = int(random.integers(missed + 1))
        instant = (1 + skipped) * tick
        switch = _edge(random, instant - window, window)
        self.end = max(switch, instant) if skipped == 0 else instant
        switch = max(min(switch, self.end), actual[0])
        errors = Errors(
            np.array([*(a.acceleration_m_s2[0] * ball(2)), a.acceleration_m_s2[1] * random.choice([-1.0, 1.0])]),
            a.rate_residual_rad_s * ball(2), a.yaw_rate_rad_s * random.choice([-1.0, 1.0]),
        )  # fmt: skip
        anchor = still.position + random.normal(size=3) * [3.0, 3.0, 1.5]
        self.held = _Held(anchor, d)
        ours = [(at, r) for at, r in zip(actual, asked, strict=True)][::-1]
        new = ("to", a.thrust_gain * sent[0].thrust_m_s2)

        def thrust(t: float) -> tuple[str, float]:
            return held if t < 0.0 else new

        # what the backup is told of the instant of its set-point, as if it did not act before; off by E again
        there = fly(start, a, begin, instant, schedule(ours), d, errors, thrust)
        seen = there.copy()
        seen.rotation = rotated(seen.rotation, attitude * ball(3))
        place = there.position + position * np.array([*ball(2), random.choice([-1.0, 1.0])]) - anchor
        speed = there.velocity + velocity * np.array([*ball(2), random.choice([-1.0, 1.0])])
        forward, left, up = seen.rotation.T
        force = there.thrust * up - np.array([0.0, 0.0, a.gravity_m_s2]) + d
        gain = self.tables.gain[[0, 0, 1]]
        nu = gain[:, 0] * place + gain[:, 1] * speed + gain[:, 2] * force
        backup = np.array([-left @ nu, forward @ nu]) / there.thrust
        along = float(up @ nu)

        def taken(t: float) -> tuple[str, float]:
            return thrust(t) if t < instant else ("law", along)

        self.truth = flat(fly(start, a, begin, self.end, schedule([*ours, (switch, backup)]), d, errors, taken), a.gravity_m_s2)
        self._claim(told, sent, held[1], d)

    def _claim(self, told: Body, sent: list[Setpoint], target: float, d: Vector) -> None:
        """Points and radii that the box claims."""
        oracle, a = self.oracle, self.oracle.assumed
        told.slope = (target - told.thrust) / a.thrust_lag_s
        now = _Flat(flat(told, a.gravity_m_s2), told.thrust, told.slope, told.rotation)
        oracle._sent = sent[1 : 1 + max(math.ceil((2.0 * a.window_s - a.tick_s) / a.tick_s - 1e-9), 1)]
        times = (a.tick_s, max((1 + a.missed_ticks) * a.tick_s, a.window_s))
        ahead = [oracle._ahead(now, sent[0], t, d) for t in times]
        self.points = oracle._points(ahead, times, self.held)

    def used(self, random: np.random.Generator, directions: int = 40) -> float:
        """Largest share of a radius that is used, over single rows and over random directions."""
        worst = 0.0
        for n in range(directions):
            row = np.eye(4)[n % 4] if n < 16 else random.normal(size=4) * [1.0, 1.0, 0.3, 0.1]
            for column, u in ((0, np.array([*_unit(random, 2), 0.0])), (1, np.array([0.0, 0.0, random.choice([-1.0, 1.0])]))):
                value = float(row @ self.truth @ u)
                centres = [float(row @ point.rows @ u) for point, _ in self.points]
                radii = [float(np.abs(row) @ radius[:, column]) for _, radius in self.points]
                beyond = value - max(c + r for c, r in zip(centres, radii, strict=True))
                worst = max(worst, 1.0 + beyond / max(radii))
        return worst


@pytest.mark.parametrize(("delay_s", "missed"), TIMINGS)
def test_what_the_box_claims_holds_in_the_plant(delay_s: float, missed: int) -> None:
    random = np.random.default_rng(7)
    shares = [Case(random, delay_s, missed).used(random) for _ in range(25)]
    assert 0.8 < max(shares) <= 1.0


@pytest.mark.parametrize("place", range(4))
def test_a_box_for_a_third_of_an_error_is_caught(place: int) -> None:
    random, shares = np.random.default_rng(8), []
    for _ in range(40):
        case = Case(random, 0.004, 0, smaller=place)
        shares.append(case.used(random))
    assert max(shares) > 1.0


def test_a_box_for_half_the_wind_or_delay_is_caught() -> None:
    random = np.random.default_rng(9)
    assert max(Case(random, 0.004, 0, calm=True).used(random) for _ in range(40)) > 1.0
    assert max(Case(random, 0.02, 1, claimed_s=0.0).used(random) for _ in range(60)) > 1.0


def test_a_box_that_counts_half_of_the_tilt_is_caught() -> None:
    random = np.random.default_rng(8)
    assert max(Case(random, 0.004, 0, upward=0.5).used(random) for _ in range(40)) > 1.0
