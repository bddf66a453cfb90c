"""A random but well-scaled planner model and random planning problems, seeded, for tests that need no training."""

from __future__ import annotations

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.dynamics import FEATURE_SIZE, RESIDUAL_SIZE, Physics, Residual, WorldModel
from tubepilot.train.planner import PlannerModel
from tubepilot.train.task import OBSERVATION_SIZE, ActionScale, CostWeights, Network, ObservationScale


def random_network(rng: np.random.Generator, inputs: int, width: int, outputs: int, gain: float) -> Network:
    """Two hidden layers with variance-preserving weights."""
    return Network(
        rng.normal(size=(inputs, width)) / np.sqrt(inputs),
        0.1 * rng.normal(size=width),
        rng.normal(size=(width, width)) / np.sqrt(width),
        0.1 * rng.normal(size=width),
        gain * rng.normal(size=(width, outputs)) / np.sqrt(width),
        0.1 * gain * rng.normal(size=outputs),
    )


def random_model(seed: int = 0, *, members: int = 5, width: int = 32, policy_width: int = 64) -> PlannerModel:
    """A quadrotor of plausible lags and drag with a random residual of about 1 m/s^2 and 1 rad/s^2."""
    rng = np.random.default_rng(seed)
    physics = Physics(
        thrust_gain=np.array(1.03),
        thrust_lag_s=np.array(0.06),
        rate_gain=np.array([0.98, 1.01, 0.95]),
        rate_offset_rad_s=np.array([0.02, -0.03, 0.01]),
        rate_lag_s=np.array([0.05, 0.055, 0.12]),
        drag_1_s=np.array([0.3, 0.35, 0.4]),
    )
    hidden = members * width
    residual = Residual(
        feature_mean=np.concatenate([np.zeros(5), [0.9], np.zeros(3), [GRAVITY_M_S2], np.zeros(3), [GRAVITY_M_S2, 0.0, 0.5]]),
        feature_scale=np.array([2.0, 2.0, 1.0, 0.3, 0.3, 0.2, 2.0, 2.0, 1.0, 3.0, 2.0, 2.0, 1.0, 3.0, 1.0, 1.0]),
        w1=rng.normal(size=(FEATURE_SIZE, hidden)) / np.sqrt(FEATURE_SIZE),
        b1=0.2 * rng.normal(size=hidden),
        w2=0.3 * rng.normal(size=(members, width, RESIDUAL_SIZE)) / np.sqrt(width),
        b2=0.05 * rng.normal(size=(members, RESIDUAL_SIZE)),
        output_scale=np.array([1.0, 1.0, 1.5, 4.0, 4.0, 2.0]),
    )
    cost = CostWeights(
        position=np.array([8.0, 8.0, 12.0]),
        velocity=np.array([1.0, 1.0, 1.5]),
        tilt=np.array(1.0),
        heading=np.array(2.0),
        rates=np.array([0.02, 0.02, 0.05]),
        action=np.array([0.1, 0.1, 0.1, 0.2]),
        smooth=np.array([0.05, 0.05, 0.05, 0.1]),
        disagreement=np.array(0.5),
    )
    divisor = np.array([1.0] * 3 + [2.0] * 3 + [0.5, 0.5, 1.0] + [0.5] + [3.0] * 3 + [3.0] * 4 + [2.0] * 3)
    return PlannerModel(
        WorldModel(physics, residual),
        ActionScale(np.array([0.0, 0.0, 0.0, 9.8]), np.array([6.0, 6.0, 3.0, 7.0])),
        ObservationScale(divisor, np.array(2.0)),
        cost,
        random_network(rng, OBSERVATION_SIZE, policy_width, 4, 0.5),
        random_network(rng, OBSERVATION_SIZE, policy_width, 1, 2.0),
    )
