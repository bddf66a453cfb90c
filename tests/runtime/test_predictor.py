"""Predictor and disturbance observer: the training code and fine integration as oracles, and convergence under wind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, VehicleState
from tubepilot.runtime.observer import DisturbanceObserver
from tubepilot.runtime.predictor import HISTORY, PhysicsParameters, Predictor, advance

PHYSICS = PhysicsParameters(0.95, 0.06, (1.02, 0.98, 1.0), (0.05, -0.03, 0.01), (0.04, 0.045, 0.09), (0.25, 0.3, 0.1))


def _state(rng: np.random.Generator, t_ns: int = 0) -> VehicleState:
    quaternion = np.array([1.0, 0, 0, 0]) + 0.3 * rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    return VehicleState(t_ns, rng.normal(size=3), rng.normal(size=3), quaternion, rng.normal(size=3))


def _ode(_: float, x: np.ndarray, setpoint: np.ndarray, disturbance: np.ndarray) -> np.ndarray:
    """The physics as a differential equation, written afresh."""
    w, a, b, c = x[6:10] / np.linalg.norm(x[6:10])
    rotation = np.array(
        [
            [1 - 2 * (b * b + c * c), 2 * (a * b - w * c), 2 * (a * c + w * b)],
            [2 * (a * b + w * c), 1 - 2 * (a * a + c * c), 2 * (b * c - w * a)],
            [2 * (a * c - w * b), 2 * (b * c + w * a), 1 - 2 * (a * a + b * b)],
        ]
    )
    p, q, r = x[10:13]
    spin = 0.5 * np.array([[0, -p, -q, -r], [p, 0, r, -q], [q, -r, 0, p], [r, q, -p, 0]]) @ x[6:10]
    target = np.array(PHYSICS.rate_gain) * setpoint[:3] + np.array(PHYSICS.rate_offset_rad_s)
    force = x[13] * rotation[:, 2] - rotation @ (np.array(PHYSICS.drag_1_s) * (rotation.T @ x[3:6])) + disturbance
    return np.concatenate(
        [
            x[3:6],
            force - [0, 0, GRAVITY_M_S2],
            spin,
            (target - x[10:13]) / np.array(PHYSICS.rate_lag_s),
            [(PHYSICS.thrust_gain * setpoint[3] - x[13]) / PHYSICS.thrust_lag_s],
        ]
    )


@pytest.mark.parametrize("seed", range(4))
def test_one_step_equals_the_training_code(seed: int) -> None:
    jax = pytest.importorskip("jax")
    from tubepilot.train import dynamics

    rng = np.random.default_rng(seed)
    x = [*Predictor(PHYSICS, 0.0).complete(_state(rng))[:13], 9.0]
    setpoint, disturbance = [*rng.normal(size=3), 11.0], rng.normal(size=3)
    size = dynamics.FEATURE_SIZE
    residual = dynamics.Residual(
        np.zeros(size), np.ones(size), np.zeros((size, 4)), np.zeros(4), np.zeros((2, 2, 6)), np.zeros((2, 6)), np.ones(6)
    )
    physics = dynamics.Physics(*(np.array(getattr(PHYSICS, name)) for name in dynamics.Physics._fields))
    with jax.enable_x64(True):
        wanted, _ = dynamics.step(
            dynamics.WorldModel(physics, residual), jax.numpy.array(x), np.array(setpoint), disturbance, 0.005
        )
        np.testing.assert_allclose(advance(PHYSICS, x, setpoint, disturbance.tolist(), 0.005), wanted, atol=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_prediction_equals_fine_integration_over_the_history(seed: int) -> None:
    rng = np.random.default_rng(seed)
    delay_ns, ms = 7_000_000, 1_000_000
    predictor = Predictor(PHYSICS, 1e-9 * delay_ns)
    predictor.reset(GRAVITY_M_S2)
    sent = [(10 * k * ms, np.array([*rng.uniform(-2, 2, 3), rng.uniform(7, 13)])) for k in range(20)]
    for t_ns, setpoint in sent:
        predictor.sent(t_ns, Setpoint(setpoint[:3], float(setpoint[3])))
    predictor.complete(_state(rng, t_ns=7 * ms))  # the thrust filter starts when the first set-point acts
    state, disturbance = _state(rng, t_ns=171 * ms), np.array([0.3, -0.5, 0.1])
    predicted = predictor.predict(state, 203 * ms, disturbance.tolist())

    thrust = GRAVITY_M_S2
    for k in range(17):  # set-points that act in [7, 171) ms
        span_s = (min(171, 17 + 10 * k) - (7 + 10 * k)) * 1e-3
        target = PHYSICS.thrust_gain * sent[k][1][3]
        thrust = target + (thrust - target) * math.exp(-span_s / PHYSICS.thrust_lag_s)
    x = np.concatenate([state.position_m, state.velocity_m_s, state.quaternion_wxyz, state.rates_rad_s, [thrust]])
    for start, end, k in [(171, 177, 16), (177, 187, 17), (187, 197, 18), (197, 203, 19)]:
        arguments = (sent[k][1], disturbance)
        x = solve_ivp(_ode, (0, 1e-3 * (end - start)), x, args=arguments, rtol=1e-10, atol=1e-12).y[:, -1]
    x[6:10] /= np.linalg.norm(x[6:10])
    assert predicted[13] == pytest.approx(x[13], abs=1e-9)
    # second-order scheme with 5 ms steps: a few 1e-4 over 32 ms, a tenth of the sensor noise
    np.testing.assert_allclose(predicted, x, atol=2e-3)
    np.testing.assert_allclose(predicted[:3], x[:3], atol=1e-4)


def test_thrust_follows_the_setpoints_and_survives_repeated_and_older_states() -> None:
    predictor = Predictor(PHYSICS, 0.0)
    predictor.reset(0.0)
    rng = np.random.default_rng(0)
    predictor.complete(_state(rng, 0))
    for k in range(3 * HISTORY):
        predictor.sent(10_000_000 * k, Setpoint(np.zeros(3), 10.0))
        x = predictor.complete(_state(rng, 10_000_000 * (k + 1)))
    assert x[13] == pytest.approx(9.5, abs=1e-9)
    again = predictor.complete(_state(rng, 10_000_000 * HISTORY))
    assert again[13] == x[13]
    assert predictor.carry(again, 5, 5, [0.0] * 3) is again
    assert predictor.carry(again, 5, 4, [0.0] * 3) is again


def test_without_history_the_thrust_stays() -> None:
    predictor = Predictor(PHYSICS, 0.01)
    predictor.reset(GRAVITY_M_S2)
    level = VehicleState(0, np.zeros(3), np.zeros(3), np.array([1.0, 0, 0, 0]), np.zeros(3))
    x = predictor.predict(level, 50_000_000, [0.0, 0.0, 0.0])
    assert x[13] == pytest.approx(GRAVITY_M_S2)
    assert abs(x[5]) < 1e-3


@pytest.mark.parametrize("lag", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_lags_are_refused(lag: float) -> None:
    with pytest.raises(InputError, match="lag"):
        PhysicsParameters(1.0, lag, (1.0,) * 3, (0.0,) * 3, (0.1,) * 3, (0.0,) * 3)


def test_observer_finds_a_constant_disturbance_without_offset_under_noise() -> None:
    rng = np.random.default_rng(3)
    observer, truth, velocity = DisturbanceObserver(), np.array([0.8, -0.4, 0.2]), np.zeros(3)
    estimates = []
    for k in range(600):
        modelled = 0.01 * np.array([math.sin(0.02 * k), 1.0, -0.5])
        velocity = velocity + modelled + 0.01 * truth
        noisy = velocity + np.clip(rng.normal(0, 0.01, 3), -0.03, 0.03)
        estimates.append(list(observer.update(noisy.tolist(), modelled.tolist(), 0.01)))
    np.testing.assert_allclose(np.mean(estimates[200:], axis=0), truth, atol=0.02)
    assert np.std(estimates[200:], axis=0).max() < 0.06


def test_observer_settles_as_its_double_pole_says() -> None:
    observer, velocity = DisturbanceObserver(bandwidth_rad_s=5.0), 0.0
    observer.update([0.0] * 3, [0.0] * 3, 0.01)
    for k in range(1, 101):
        velocity += 0.01
        estimate = observer.update([velocity, 0.0, 0.0], [0.0] * 3, 0.01)[0]
        p = math.exp(-0.05)
        assert estimate == pytest.approx(1.0 - (1 + k * (1 - p)) * p**k, abs=1e-9)
    assert estimate == pytest.approx(1.0 - 6.0 * math.exp(-5.0), abs=0.01)


def test_observer_is_bounded_and_ignores_what_is_not_finite() -> None:
    observer = DisturbanceObserver(bound_m_s2=2.0)
    for k in range(300):
        observer.update([0.5 * k, -0.5 * k, 0.0], [0.0] * 3, 0.01)
    assert observer.disturbance_m_s2 == [2.0, -2.0, 0.0]
    for bad in (float("nan"), float("inf")):
        assert observer.update([bad, 0.0, 0.0], [0.0] * 3, 0.01) == [2.0, -2.0, 0.0]
        assert observer.update([0.0] * 3, [0.0, bad, 0.0], 0.01) == [2.0, -2.0, 0.0]
    assert observer.update([9.0] * 3, [0.0] * 3, 0.0) == [2.0, -2.0, 0.0]
    assert observer.update([9.0] * 3, [0.0] * 3, 0.5) == [2.0, -2.0, 0.0]
    observer.reset()
    assert observer.disturbance_m_s2 == [0.0, 0.0, 0.0]
