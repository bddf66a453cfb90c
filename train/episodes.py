"""Random episodes for policy and value: where a rollout starts, what it is to follow, and how the vehicle differs
from the model.

Drawn in numpy: a compiled random generator would cost more compile time than the whole training saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .dynamics import Physics
from .prediction import quaternion_multiply
from .references import ACCELERATION_MAX_M_S2, SPEED_MAX_M_S, Tones, draw_tones


@dataclass(frozen=True, slots=True)
class Variation:
    """How much episodes differ.

    Attributes:
        lag_share: Half width of the relative spread of lags and drag.
        gain_share: Half width of the relative spread of rate and thrust gains.
        offset_rad_s: Standard deviation of the body-rate offset [rad/s].
        disturbance_m_s2: Greatest disturbance [m/s^2].
        error: Scale of the initial errors, dimensionless.
        speed_m_s, acceleration_m_s2: Greatest speed and acceleration of the references [m/s, m/s^2].
    """

    lag_share: float = 0.10
    gain_share: float = 0.05
    offset_rad_s: float = 0.03
    disturbance_m_s2: float = 1.5
    error: float = 1.0
    speed_m_s: float = SPEED_MAX_M_S
    acceleration_m_s2: float = ACCELERATION_MAX_M_S2


class Episode(NamedTuple):
    """Physics, reference, state, disturbance, and what the observer says it is; batched along the first axis.

    The observer cannot tell a wrong thrust gain from a vertical disturbance, so it reports both together.
    """

    physics: Physics
    tones: Tones
    x: Float[Array, "14"]
    disturbance: Float[Array, "3"]
    observed: Float[Array, "3"]


def draw_episodes(
    generator: np.random.Generator, physics: Physics, variation: Variation, count: int
) -> Episode:
    """Draw starts: errors of decimetres to over a metre, tilts of tens of degrees around what the reference needs.

    Args:
        generator: Random source.
        physics: Identified physics to vary.
        variation: How much.
        count: Number of episodes.

    Returns:
        Episodes, float32, every leaf with a leading axis of `count`.
    """

    def spread(value: Array, share: float) -> Vector:
        nominal = np.asarray(value, dtype=np.float64)
        result: Vector = nominal * (1 + share * generator.uniform(-1, 1, (count, *nominal.shape)))
        return result

    offset = np.asarray(physics.rate_offset_rad_s) + variation.offset_rad_s * generator.normal(size=(count, 3))
    varied = Physics(
        *(
            jnp.asarray(v, jnp.float32)
            for v in (
                spread(physics.thrust_gain, variation.gain_share),
                spread(physics.thrust_lag_s, variation.lag_share),
                spread(physics.rate_gain, variation.gain_share),
                offset,
                spread(physics.rate_lag_s, variation.lag_share),
                spread(physics.drag_1_s, variation.lag_share),
            )
        )
    )
    direction = generator.normal(size=(count, 3)) * np.array([1.0, 1.0, 0.6])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    disturbance = direction * variation.disturbance_m_s2 * generator.uniform(size=(count, 1))
    observed = disturbance.copy()
    observed[:, 2] += (np.asarray(varied.thrust_gain) / float(physics.thrust_gain) - 1) * GRAVITY_M_S2
    tones, start = draw_tones(generator, count, variation.speed_m_s, variation.acceleration_m_s2)
    x = _start(generator, start, observed, variation.error * generator.exponential(size=(count, 1)))
    arrays = (tones, x, disturbance, observed)
    return Episode(varied, *jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), arrays))


def _start(generator: np.random.Generator, reference: Vector, disturbance: Vector, vigour: Vector) -> Vector:
    """States around the reference, shape (count, 14)."""
    noise = generator.normal(size=(len(reference), 13))
    thrust = reference[:, 6:9] + np.array([0.0, 0.0, GRAVITY_M_S2]) - disturbance
    magnitude = np.linalg.norm(thrust, axis=1, keepdims=True)
    up = thrust / magnitude
    lean = np.stack([1 + up[:, 2], -up[:, 1], up[:, 0], np.zeros(len(up))], axis=1)
    tilt = np.concatenate(
        [np.ones((len(up), 1)), 0.5 * vigour * noise[:, 6:9] * np.array([0.2, 0.2, 0.12])], axis=1
    )
    attitude = quaternion_multiply(lean, tilt)
    return np.concatenate(
        [
            reference[:, 0:3] + 0.35 * vigour * noise[:, 0:3],
            reference[:, 3:6] + 0.6 * vigour * noise[:, 3:6],
            attitude / np.linalg.norm(attitude, axis=1, keepdims=True),
            vigour * noise[:, 9:12] * np.array([1.2, 1.2, 0.5]),
            np.maximum(magnitude + 1.5 * noise[:, 12:13], 0.0),
        ],
        axis=1,
    )
