"""Identification recovers known parameters; training is deterministic; bounds cover."""

from __future__ import annotations

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.bounds import conformal_quantile, residual_bounds
from tubepilot.train.dynamics import Physics, WorldModel
from tubepilot.train.identify import identify, lagged
from tubepilot.train.learn import split_flights
from tubepilot.train.policy import PolicySettings, default_task, train_policy
from tubepilot.train.residual import ResidualSettings, train_residual, zero_residual
from tubepilot.train.value import train_value


def test_known_parameters_are_recovered(synthetic_flight, known_physics: Physics) -> None:
    winds = [np.array([0.5, -0.3, 0.1]), np.array([-0.4, 0.6, 0.0])]
    flights = [synthetic_flight(k, 1200, wind) for k, wind in enumerate(winds)]
    found = identify(flights, [19.0, 19.0])
    for name in Physics._fields:
        tolerance = 0.02 if name != "drag_1_s" else 0.03
        np.testing.assert_allclose(
            getattr(found.physics, name), getattr(known_physics, name), rtol=tolerance, atol=0.003, err_msg=name
        )
    np.testing.assert_allclose(found.disturbance_m_s2, winds, atol=0.02)
    assert found.delay_s == 0.0


def test_a_delay_of_two_samples_is_found(synthetic_flight) -> None:
    flight = synthetic_flight(3, 800)
    early = type(flight)(
        flight.name, flight.t_s, flight.position_m, flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s,
        np.concatenate([flight.action[2:], flight.action[-2:]]), flight.meta,
    )
    assert identify([early], [19.0]).delay_s == pytest.approx(0.02)


def test_first_order_response_is_exact() -> None:
    value, mean = lagged(np.ones(50), 0.05, 0.01, 0.0)
    t = np.arange(50) * 0.01
    np.testing.assert_allclose(value, 1 - np.exp(-t / 0.05), atol=1e-12)
    fine = np.linspace(0, 0.01, 10001)
    assert mean[0] == pytest.approx(np.mean(1 - np.exp(-fine / 0.05)), abs=1e-6)


def test_wrong_flights_are_refused(synthetic_flight) -> None:
    with pytest.raises(InputError, match="at least one"):
        identify([], [])
    with pytest.raises(InputError, match="samples"):
        identify([synthetic_flight(0, 60)], [19.0])
    with pytest.raises(InputError, match="nowhere"):
        split_flights([synthetic_flight(0, 60)], ["nowhere"])


@pytest.mark.slow
def test_training_is_deterministic_for_a_seed(synthetic_flight, known_physics: Physics) -> None:
    small = ResidualSettings(members=2, width=4, window=4, batch=4, iterations=3)
    flights = [synthetic_flight(0, 200)]
    runs = [train_residual(flights, [19.0], known_physics, small, seed) for seed in (0, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))

    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    model = WorldModel(known_physics, zero_residual())
    settings = PolicySettings(width=8, steps=6, batch=8, iterations=4, value_iterations=3, value_rollouts=8)
    policies = [train_policy(model, task, 0.04, settings, 0) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*policies, strict=True))
    value = train_value(model, task, policies[0], 0.04, settings, 0)
    assert all(np.isfinite(leaf).all() for leaf in value)


def test_policy_training_lowers_the_cost(known_physics: Physics) -> None:
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    seen: list[float] = []

    def monitor(iteration: int, loss: float) -> bool:
        seen.append(loss)
        return True

    settings = PolicySettings(width=16, steps=24, batch=64, iterations=161)
    train_policy(WorldModel(known_physics, zero_residual()), task, 0.04, settings, 0, monitor)
    assert np.mean(seen[-5:]) < 0.8 * seen[0]


def test_a_monitor_that_returns_false_ends_the_training(known_physics: Physics) -> None:
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    calls: list[int] = []
    settings = PolicySettings(width=8, steps=2, batch=2, iterations=1000)

    def monitor(iteration: int, loss: float) -> bool:
        calls.append(iteration)
        return False

    train_policy(WorldModel(known_physics, zero_residual()), task, 0.04, settings, 0, monitor)
    assert calls == [0]


def test_conformal_quantile_is_conservative() -> None:
    generator = np.random.default_rng(0)
    covered = [
        np.mean(generator.exponential(size=(2000, 1)) <= conformal_quantile(generator.exponential(size=(499, 1)), 0.9))
        for _ in range(100)
    ]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)
    assert conformal_quantile(np.arange(5.0)[:, None], 0.999)[0] == 4.0


def test_bounds_see_the_wind(synthetic_flight, known_physics: Physics) -> None:
    bounds = residual_bounds(known_physics, [synthetic_flight(0, 1000)], 19.0)
    assert bounds.acceleration_m_s2[0] == pytest.approx(np.hypot(0.5, 0.3), abs=0.02)
    assert bounds.acceleration_m_s2[2] == pytest.approx(0.1, abs=0.02)
    assert max(bounds.rate_rad_s) < 0.02
    assert bounds.coverage_seen > 0.98


