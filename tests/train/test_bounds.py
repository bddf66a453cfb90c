"""Split-conformal boxes on data whose law is known: what is claimed is covered, what is shifted is not, few ticks are said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.bounds import (
    SPEED_EDGES_M_S,
    Ticks,
    calibrate,
    covered,
    fewest_ticks,
    left_out,
    residual_bounds,
    share,
)

SCALES = np.array([1.0, 1.0, 0.1, 20.0, 5.0, 0.01])


def ticks(seed: int, count: int, size: float = 1.0, top_m_s: float = 3.0) -> Ticks:
    """Heavy-tailed, correlated between components, louder at speed; exchangeable between flights of one size."""
    generator = np.random.default_rng(seed)
    speed = generator.uniform(0, top_m_s, count)
    rows = np.abs(generator.standard_t(4, (count, 6)) + generator.normal(size=(count, 1)))
    return Ticks(f"f{seed}", speed, size * rows * SCALES * (1 + speed[:, None]))


@pytest.mark.parametrize("coverage", [0.8, 0.95, 0.99])
def test_joint_coverage_of_exchangeable_ticks(coverage: float) -> None:
    """Binomial limits of the test ticks plus the spread of the quantile itself (beta law), four standard deviations."""
    flights = [ticks(seed, 4000) for seed in range(3)]
    boxes = calibrate(flights, coverage)
    inside, count = np.sum([covered(boxes, ticks(100 + seed, 8000)) for seed in range(5)], axis=0)
    made = np.array([box.ticks for box in boxes])
    limit = 4 * np.sqrt(coverage * (1 - coverage) * (1 / count + 1 / made))
    assert np.all(np.abs(inside / count - coverage) < limit)
    assert [box.claimed for box in boxes] == [coverage] * 5
    # Louder at speed: one box for all is larger than needed when slow, and too small when fast.
    whole = calibrate(flights, coverage, ())[0]
    assert np.all(boxes[0].half_widths < 0.75 * whole.half_widths)
    assert np.all(boxes[-1].half_widths > whole.half_widths)


def test_the_rank_is_that_of_a_finite_sample() -> None:
    """Over many samples of 19 the 0.9 box covers at least 0.9; the plain 0.9 quantile of 19 does not."""
    generator = np.random.default_rng(0)
    seen, plain = [], []
    for _ in range(1500):
        made, new = (Ticks("f", np.zeros(n), np.repeat(generator.exponential(size=(n, 1)), 6, axis=1)) for n in (19, 40))
        box = calibrate([made], 0.9, ())
        seen.append(share(*covered(box, new)))
        plain.append(np.mean(new.scores[:, 0] <= np.quantile(made.scores[:, 0], 0.9)))
    assert np.mean(seen) == pytest.approx(0.9, abs=0.01)
    assert np.mean(plain) < 0.885


def test_the_box_holds_all_components_at_once() -> None:
    """Boxes of each component alone at 0.9 cover far less than 0.9 together: the joint box has to be larger than those."""
    flights = [ticks(seed, 5000) for seed in range(2)]
    box = calibrate(flights, 0.9, ())[0]
    rows = np.concatenate([f.scores for f in flights])
    alone = np.quantile(rows, 0.9, axis=0)
    assert np.mean(np.all(rows <= alone, axis=1)) < 0.8
    assert np.all(box.half_widths > alone)
    assert share(*covered([box], ticks(9, 20000))) == pytest.approx(0.9, abs=0.02)


def test_components_count_in_units_of_their_spread() -> None:
    """Scaling one component scales its half-width and nothing else."""
    flight = ticks(0, 3000)
    factor = np.array([1, 1, 1, 1, 1000.0, 1])
    box, scaled = (calibrate([f], 0.95, ())[0] for f in (flight, Ticks("g", flight.speed_m_s, flight.scores * factor)))
    np.testing.assert_allclose(scaled.half_widths, box.half_widths * factor, rtol=1e-12)


def test_a_shifted_flight_is_seen_and_flights_are_covered_by_flights() -> None:
    """One flight of 1.6 times the size: its coverage drops in boxes from the others, and the mean of ticks hides it."""
    flights = [ticks(seed, 3000, 1.6 if seed == 4 else 1.0) for seed in range(8)]
    inside, count = left_out(flights, 0.95, ())
    by_flight = inside.sum(axis=1) / count.sum(axis=1)
    assert by_flight[4] < 0.88
    assert np.delete(by_flight, 4).min() > 0.94
    # With two loud flights, each is covered by the other, and only if flights count and not ticks.
    flights[6] = ticks(6, 3000, 1.6)
    worst = {}
    for method in ("ticks", "flights"):
        inside, count = left_out(flights, 0.95, (), method)
        worst[method] = float((inside / count).min())
    assert worst["ticks"] < 0.9 < 0.935 < worst["flights"]


def test_a_regime_with_few_ticks_says_so_and_is_never_smaller() -> None:
    few = ticks(1, 40)
    few = Ticks("few", np.full(40, 0.7), few.scores * 30)
    flight = ticks(0, 9000)
    flight = Ticks("rest", np.where((flight.speed_m_s > 0.5) & (flight.speed_m_s < 1), 1.2, flight.speed_m_s), flight.scores)
    boxes = calibrate([flight, few], 0.99)
    assert boxes[1].ticks == 40 < fewest_ticks(0.99)
    assert boxes[1].pooled_m_s == (0.5, 1.5)
    assert boxes[1].pooled_ticks == 40 + boxes[2].ticks
    assert np.all(few.scores <= boxes[1].half_widths)
    assert boxes[2].pooled_m_s == (1.0, 1.5)
    assert np.all(boxes[2].half_widths < boxes[1].half_widths)
    # The fastest has no faster neighbour, and an empty one takes its neighbour's.
    slow = calibrate([ticks(3, 5000, top_m_s=1.9)], 0.99)
    assert slow[4].ticks == 0
    assert slow[4].pooled_m_s == (1.5, math.inf)
    np.testing.assert_array_equal(slow[4].half_widths, slow[3].half_widths)


def test_too_few_ticks_in_all_claim_less() -> None:
    boxes = calibrate([ticks(0, 50)], 0.99)
    assert [box.claimed for box in boxes] == [50 / 51] * 5
    assert boxes[0].pooled_m_s == (0.0, math.inf)


@pytest.mark.parametrize(("coverage", "count"), [(0.9, 9), (0.99, 99), (0.999, 999), (0.95, 19), (0.5, 1)])
def test_fewest_ticks(coverage: float, count: int) -> None:
    assert fewest_ticks(coverage) == count


@pytest.mark.parametrize(
    ("flights", "coverage", "edges", "method", "message"),
    [
        ([], 0.9, (), "ticks", "no ticks"),
        ([ticks(0, 5)], 1.0, (), "ticks", "coverage asked for is 1.0"),
        ([ticks(0, 5)], 0.0, (), "ticks", "coverage asked for is 0.0"),
        ([ticks(0, 5)], 0.9, (1.0, 1.0), "ticks", "rising"),
        ([ticks(0, 5)], 0.9, (math.nan,), "ticks", "rising"),
        ([ticks(0, 5)], 0.9, (), "mean", "'mean', it must be one of ticks, flights"),
    ],
)
def test_bad_input(flights: list[Ticks], coverage: float, edges: tuple[float, ...], method: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(flights, coverage, edges, method)


def test_one_flight_cannot_be_left_out() -> None:
    with pytest.raises(InputError, match="at least 2"):
        left_out([ticks(0, 100)], 0.9)


def test_stored_bounds_have_regimes_that_say_what_they_saw(synthetic_flight, known_physics) -> None:
    """Two flights of the same wind cover each other; one of a stronger wind is not covered by a calm one."""
    a, b = (synthetic_flight(seed, 400, name=f"f{seed}") for seed in (0, 1))
    same = residual_bounds(known_physics, [a, b], 19.0, 0.95)
    assert same.flights == ("f0", "f1")
    assert same.acceleration_m_s2[0] == pytest.approx(math.hypot(0.5, 0.3), abs=0.05)
    assert len(same.regimes) == len(SPEED_EDGES_M_S) + 1
    assert sum(regime.samples for regime in same.regimes) == same.samples == 2 * 399
    calm = synthetic_flight(0, 400, wind_m_s2=np.zeros(3), name="calm")
    assert residual_bounds(known_physics, [calm, b], 19.0, 0.95).coverage_seen < 0.6 < same.coverage_seen
