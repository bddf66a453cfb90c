"""References for training and evaluation: sums of sines per axis, so that speed and acceleration are bounded by
construction."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.types import Vector

TONES = 2
SPEED_MAX_M_S = 2.6
ACCELERATION_MAX_M_S2 = 2.0


class Tones(NamedTuple):
    """position = centre + sum over tones of amplitude * sin(frequency * t + phase), per axis.

    Attributes:
        centre_m: Shape (3,).
        amplitude_m: Shape (3, TONES).
        frequency_rad_s: Shape (3, TONES).
        phase_rad: Shape (3, TONES).
    """

    centre_m: Float[Array, "3"]
    amplitude_m: Float[Array, "3 tones"]
    frequency_rad_s: Float[Array, "3 tones"]
    phase_rad: Float[Array, "3 tones"]


def reference_at(tones: Tones, t_s: Float[Array, ""]) -> Float[Array, "9"]:
    """Position [m], velocity [m/s] and acceleration [m/s^2] at time t, shape (9,)."""
    angle = tones.frequency_rad_s * t_s + tones.phase_rad
    sine, cosine = tones.amplitude_m * jnp.sin(angle), tones.amplitude_m * jnp.cos(angle)
    position = tones.centre_m + jnp.sum(sine, axis=1)
    velocity = jnp.sum(tones.frequency_rad_s * cosine, axis=1)
    acceleration = -jnp.sum(tones.frequency_rad_s**2 * sine, axis=1)
    return jnp.concatenate([position, velocity, acceleration])


def draw_tones(
    generator: np.random.Generator,
    count: int,
    speed_m_s: float = SPEED_MAX_M_S,
    acceleration_m_s2: float = ACCELERATION_MAX_M_S2,
) -> tuple[Tones, Vector]:
    """Random references: hover in one case of four, else sines.

    Args:
        generator: Random source.
        count: How many.
        speed_m_s, acceleration_m_s2: Greatest norms of velocity [m/s] and acceleration [m/s^2].

    Returns:
        References with a leading axis of `count` (numpy), and their values at time 0, shape (count, 9).
    """
    frequency = np.exp(generator.uniform(np.log(0.3), np.log(1.5), (count, 3, TONES)))
    amplitude = generator.exponential(size=(count, 3, TONES)) * np.array([[1.0], [1.0], [0.5]]) / frequency
    speed = np.linalg.norm(np.sum(amplitude * frequency, axis=2), axis=1)
    acceleration = np.linalg.norm(np.sum(amplitude * frequency**2, axis=2), axis=1)
    largest = np.minimum(speed_m_s / speed, acceleration_m_s2 / acceleration)
    vigour = np.maximum(0.0, generator.uniform(-1 / 3, 1.0, count))
    amplitude *= (largest * vigour)[:, None, None]
    phase = generator.uniform(0, 2 * np.pi, (count, 3, TONES))
    sine, cosine = amplitude * np.sin(phase), amplitude * np.cos(phase)
    start = [np.sum(sine, 2), np.sum(frequency * cosine, 2), -np.sum(frequency**2 * sine, 2)]
    tones = Tones(np.zeros((count, 3)), amplitude, frequency, phase)  # type: ignore[arg-type]
    return tones, np.concatenate(start, axis=1)


def figure_eight(speed_m_s: float, half_length_m: float = 1.5, height_m: float = 2.0) -> Tones:
    """A lying eight: x once, y twice per round, half as wide.

    Args:
        speed_m_s: Greatest speed, reached in the crossing [m/s].
        half_length_m: Amplitude along x [m].
        height_m: Constant height [m].
    """
    rate = speed_m_s / (half_length_m * np.sqrt(2))
    amplitude = np.zeros((3, TONES))
    amplitude[0, 0], amplitude[1, 0] = half_length_m, half_length_m / 2
    frequency = np.full((3, TONES), rate)
    frequency[1, 0] = 2 * rate
    return Tones(
        jnp.array([0.0, 0.0, height_m]), jnp.asarray(amplitude), jnp.asarray(frequency), jnp.zeros((3, TONES))
    )
