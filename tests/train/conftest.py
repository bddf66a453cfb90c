"""Flights made with the model's own equations, so that every parameter is known."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.dynamics import Physics, WorldModel, rollout
from tubepilot.train.flight import RATES, Flight, make_flight
from tubepilot.train.residual import zero_residual

SCALE_M_S2 = 19.0
KNOWN = Physics(
    thrust_gain=jnp.asarray(0.94),
    thrust_lag_s=jnp.asarray(0.06),
    rate_gain=jnp.array([1.05, 0.97, 1.1]),
    rate_offset_rad_s=jnp.array([0.05, -0.08, 0.02]),
    rate_lag_s=jnp.array([0.045, 0.05, 0.08]),
    drag_1_s=jnp.array([0.3, 0.25, 0.15]),
)
WIND_M_S2 = np.array([0.5, -0.3, 0.1])


@pytest.fixture(scope="session")
def known_physics() -> Physics:
    """The parameters behind `synthetic_flight`."""
    return KNOWN


@pytest.fixture(scope="session")
def synthetic_flight() -> Callable[..., Flight]:
    """Builds a flight of `dynamics.step` under random set-points that keep it level on average."""

    def build(seed: int, count: int = 800, wind_m_s2: np.ndarray = WIND_M_S2, name: str = "synthetic") -> Flight:
        generator = np.random.default_rng(seed)
        hold = 12
        knots = generator.normal(size=(count // hold + 1, 4)) * np.array([1.0, 1.0, 0.6, 1.5])
        knots[1::2, 0:3] = -knots[: len(knots[1::2]) * 2 : 2, 0:3]
        setpoints = np.repeat(knots, hold, axis=0)[:count] + np.array([0, 0, 0, GRAVITY_M_S2 / 0.94])
        x0 = np.concatenate([[0, 0, 2], [0, 0, 0], [1, 0, 0, 0], [0, 0, 0], [setpoints[0, 3] * 0.94]])
        model = WorldModel(KNOWN, zero_residual())
        with jax.enable_x64(True):
            following, _ = rollout(
                jax.tree.map(lambda v: jnp.asarray(np.asarray(v), jnp.float64), model),
                jnp.asarray(x0),
                jnp.asarray(setpoints),
                jnp.asarray(wind_m_s2),
                0.01,
            )
            x = np.concatenate([x0[None], np.asarray(following)[:-1]])
        meta = {
            "source": "synthetic",
            "action_level": RATES,
            "rate_hz": 100.0,
            "airframe": "synthetic",
            "thrust_scale_m_s2": SCALE_M_S2,
        }
        action = setpoints / np.array([1, 1, 1, SCALE_M_S2])
        return make_flight(
            name, np.arange(count) * 0.01, x[:, 0:3], x[:, 3:6], x[:, 6:10], x[:, 10:13], action, meta
        )

    return build
