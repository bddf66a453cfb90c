"""Disagreement against error: on made-up windows of known law, and on real members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.calibration import compare_conditions, correlations, fit_error_scale, rank_correlation, reliability
from tubepilot.train.calibration_models import Unseen, angle_rad, distances, flown, halves, single_members, spread, unseen_rates
from tubepilot.train.dynamics import FEATURE_SIZE, Residual, WorldModel
from tubepilot.train.prediction import predict_naive, rotation_quaternion, window_starts
from tubepilot.train.residual import zero_residual


def made_up(seed: int, factor: float = 5.0, loud: float = 1.0, count: int = 300, blind: bool = False) -> Unseen:
    """Windows whose error is half-normal with a standard deviation of `factor` times the disagreement (or blind to it)."""
    generator = np.random.default_rng(seed)
    disagreement = loud * generator.lognormal(0, 0.7, (count, 3, 4))
    sigma = loud * np.ones_like(disagreement) if blind else disagreement
    error = factor * sigma * np.abs(generator.normal(size=disagreement.shape))
    observed = loud * np.abs(generator.normal(size=count))
    return Unseen(f"f{seed}", np.zeros(count), np.zeros((count, 6)), np.arange(count), error, disagreement, observed)


def columns(flights: list[Unseen]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [f.disagreement[:, 0, 0] for f in flights], [f.error[:, 0, 0] for f in flights]


def test_rank_correlation_is_positive_where_errors_follow_and_zero_where_not() -> None:
    d, e = columns([made_up(seed) for seed in range(6)])
    found = rank_correlation(d, e)
    assert found.value == pytest.approx(spearmanr(np.concatenate(d), np.concatenate(e)).statistic, abs=1e-12)
    assert 0.3 < found.low < found.value < found.high < 0.7
    assert found.within == pytest.approx(found.value, abs=0.1)
    assert found.windows == 1800
    blind = rank_correlation(*columns([made_up(seed, blind=True) for seed in range(6)]))
    assert blind.low < 0 < blind.high


def test_flights_that_only_differ_from_each_other_show_in_the_rank_within() -> None:
    """Loud flights have more of both: ranks over all windows are right, inside each flight there is nothing."""
    found = rank_correlation(*columns([made_up(seed, loud=10.0**seed, blind=True) for seed in range(4)]))
    assert found.value > 0.8
    assert abs(found.within) < 0.15


def test_error_scale_is_right_on_flights_left_out() -> None:
    d, e = columns([made_up(seed, factor=7.0) for seed in range(6)])
    scale = fit_error_scale(np.concatenate(d), np.concatenate(e))
    assert scale.factor == pytest.approx(7 * np.sqrt(2 / np.pi), rel=0.1)
    assert np.all(np.diff(scale.expected) >= 0)
    assert scale.isotonic(np.array([1.0]))[0] == pytest.approx(scale.linear(np.array([1.0]))[0], rel=0.2)
    assert max(reliability(d, e).linear_gap, reliability(d, e).isotonic_gap) < 0.15
    # Errors that grow with the root of the disagreement: no factor fits, the isotonic curve does.
    bent = [5 * np.sqrt(values) for values in d]
    found = reliability(d, bent)
    assert found.isotonic_gap < 0.05 < 0.2 < found.linear_gap


def test_correlations_by_horizon_and_quantity() -> None:
    rows = correlations([made_up(seed) for seed in range(3)])
    assert list(rows) == [1, 10, 50]
    assert list(rows[10]) == ["position", "velocity", "attitude", "rates", "all"]
    assert all(r.value > 0.3 for row in rows.values() for r in row.values())


def test_conditions_rise_where_the_disagreement_does() -> None:
    silent = replace(made_up(2), error=made_up(2).error * 3)
    groups = {"loud": [made_up(7, loud=3.0)], "calm": [made_up(0), made_up(1)], "unnoticed": [silent]}
    calm, loud, unnoticed = compare_conditions(groups, "calm", 10)
    assert (calm.name, calm.disagreement, calm.error) == ("calm", 1.0, 1.0)
    assert calm.disagreement_alarm == pytest.approx(0.05, abs=0.01)
    assert loud.disagreement == pytest.approx(3, rel=0.1)
    assert loud.error == pytest.approx(3, rel=0.15)
    assert loud.disagreement_alarm > 0.6
    assert loud.observed_alarm > 0.3
    assert unnoticed.error == pytest.approx(3, rel=0.15)
    assert unnoticed.disagreement == pytest.approx(1, rel=0.1)
    with pytest.raises(InputError, match="reference"):
        compare_conditions(groups, "storm", 10)
    with pytest.raises(InputError, match="reference"):
        compare_conditions(groups, "calm", 7)


def test_bad_input() -> None:
    same = [np.ones(5)]
    with pytest.raises(InputError, match="at least 3 windows that differ"):
        rank_correlation(same, [np.arange(5.0)])
    with pytest.raises(InputError, match="agree in all 5 windows"):
        fit_error_scale(np.zeros(5), np.ones(5))
    with pytest.raises(InputError, match="at least 2"):
        reliability(same, same)
    with pytest.raises(InputError, match="need at least 4"):
        halves(3, 2, 0)


def test_halves_leave_each_flight_out_of_as_many() -> None:
    chosen = halves(9, 5, 3)
    assert chosen.shape == (10, 9)
    np.testing.assert_array_equal((~chosen).sum(axis=0), 5)
    np.testing.assert_array_equal(chosen[0::2], ~chosen[1::2])
    assert not np.array_equal(chosen[0], chosen[2])


def test_angle_and_spread_in_closed_form(synthetic_flight) -> None:
    """Members turned by +-a about one axis and moved by +-b are a and b from their mean; the sign of a quaternion does not count."""
    turn = rotation_quaternion(np.array([[0.0, 0.3, 0.0]]))
    assert angle_rad(np.array([[1.0, 0, 0, 0]]), -turn)[0] == pytest.approx(0.3, abs=1e-12)
    flight = synthetic_flight(0, 200)
    starts = window_starts(flight, 20)
    held = predict_naive(flight, starts)
    level = np.zeros_like(held.quaternion_wxyz) + np.array([1.0, 0, 0, 0])
    members = [
        held._replace(
            position_m=held.position_m + sign * np.array([0.0, 0.2, 0.0]),
            quaternion_wxyz=sign * rotation_quaternion(sign * np.array([0.1, 0.0, 0.0])) + 0 * level,
        )
        for sign in (1.0, -1.0)
    ]
    found = spread(members)
    np.testing.assert_allclose(found[..., 0], 0.2, rtol=1e-9)
    np.testing.assert_allclose(found[..., 2], 0.1, rtol=1e-9)
    np.testing.assert_allclose(found[..., [1, 3]], 0.0, atol=1e-12)
    assert np.abs(distances(flown(flight, starts), flown(flight, starts))).max() < 1e-7
    with pytest.raises(InputError, match="at least 2"):
        spread(members[:1])


def ensemble(seed: int, size: float) -> Residual:
    """Three random members whose outputs grow with the body rates."""
    generator = np.random.default_rng(seed)
    blank = zero_residual(3, 4)
    w1 = np.zeros((FEATURE_SIZE, 12))
    w1[6:9] = generator.normal(size=(3, 12)) * 0.5
    return blank._replace(w1=blank.w1 + w1, w2=blank.w2 + size * generator.normal(size=(3, 4, 6)))


def test_members_of_the_world_model_disagree_in_proportion(synthetic_flight, known_physics) -> None:
    flight = synthetic_flight(0, 300)
    small, large = (unseen_rates(WorldModel(known_physics, ensemble(0, size)), flight, 19.0, 25) for size in (0.01, 0.02))
    np.testing.assert_allclose(large.disagreement.mean(axis=0), 2 * small.disagreement.mean(axis=0), rtol=0.1)
    assert np.all(np.diff(small.disagreement[..., :3].mean(axis=0), axis=0) > 0), "spread grows along a rollout"
    assert small.scores.shape == (299, 6)
    assert small.observed_m_s2[-1] == pytest.approx(np.linalg.norm([0.5, 0.3, 0.1]), abs=0.1)


def test_single_members_average_to_the_ensemble(known_physics) -> None:
    from tubepilot.train.dynamics import residual_members

    model = WorldModel(known_physics, ensemble(1, 0.5))
    feature = np.random.default_rng(0).normal(size=FEATURE_SIZE)
    together = np.asarray(residual_members(model.residual, feature))
    alone = [np.asarray(residual_members(m.residual, feature))[0] for m in single_members(model)]
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert np.ptp(together, axis=0).max() > 0.1
