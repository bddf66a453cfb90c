"""Windows of a flight of rotor speeds as arrays: what the recurrent rotor dynamics may look at, and nothing later.

Of the past, a window sees the last rotor speeds, rates and velocities, and means over spans of the past: how fast rates, velocity and
position have changed, beside what a model linear in its weights would have made of the same span. The difference of the two is what
the model misses at present (wind, a worn rotor, a bias of a sensor).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tubepilot.firmware_bridge.types import Vector

from .flight import Flight
from .identify import rotation_matrices
from .prediction import HORIZON
from .rotor_features import THRUST_TAPS, lag_rows, squared_speeds

ROTOR_PAST = 16
"""Past samples of the rotor speeds; at least the taps of torque and thrust."""
RATE_PAST = 8
VELOCITY_PAST = 5
RATE_SPANS = (1, 2, 4, 8, 16, 32)
VELOCITY_SPANS = (3, 8, 20, 60)
POSITION_SPANS = (3, 8, 20)
FIRST = 64
"""First sample that starts a window to fit on: longer than every span."""
TERMS = 24
"""Terms of `torque_terms`."""


class RotorWindows(NamedTuple):
    """W windows; vectors in the world frame unless said; squared rotor speeds in (1000 rad/s)^2 less their usual value.

    Attributes:
        rotors: From `ROTOR_PAST` samples before the start to the last step, shape (W, ROTOR_PAST + HORIZON, 4).
        rates: At the start and before it, newest first [rad/s], shape (W, RATE_PAST, 3).
        velocity: Likewise [m/s], shape (W, VELOCITY_PAST, 3).
        quaternion: Attitude at the start, wxyz, shape (W, 4).
        rate_slope, rotor_mean, term_mean: Mean angular acceleration [rad/s^2], rotors and `torque_terms` over RATE_SPANS,
            shapes (W, 6, 3), (W, 6, 4), (W, 6, TERMS).
        velocity_slope, force_mean: Mean acceleration [m/s^2] and `force_terms` over VELOCITY_SPANS, shapes (W, 4, 3),
            (W, 4, 3, THRUST_TAPS + 7).
        position_slope: Mean of the change of position less the mean velocity over POSITION_SPANS [m/s], shape (W, 3, 3).
    """

    rotors: Array
    rates: Array
    velocity: Array
    quaternion: Array
    rate_slope: Array
    rotor_mean: Array
    term_mean: Array
    velocity_slope: Array
    force_mean: Array
    position_slope: Array


def torque_terms(rates_rad_s: Array, body_velocity_m_s: Array, rotors: Array) -> Array:
    """What angular acceleration is linear in besides the rotors: damping, gyroscopic and aerodynamic terms, shape (..., TERMS)."""
    total = rotors.sum(-1, keepdims=True)
    w, v = rates_rad_s, body_velocity_m_s
    following, last = [1, 2, 0], [2, 0, 1]
    gyroscopic = w[..., following] * w[..., last]
    return jnp.concatenate(
        [w, gyroscopic, v, v * total, w * total, jnp.abs(v) * v, v * w[..., following], v * w[..., last]], axis=-1
    )


def force_terms(rotation: Vector, velocity_m_s: Vector, rotors: Vector) -> Vector:
    """What acceleration is linear in: thrust taps, offset, drag and quadratic drag, shape (T, 3, THRUST_TAPS + 7)."""
    body = np.einsum("tji,tj->ti", rotation, velocity_m_s)
    collective = np.concatenate([lag_rows(rotors.sum(axis=1, keepdims=True), THRUST_TAPS), np.ones((len(rotors), 1))], axis=1)
    along = rotation[:, :, 2, None] * collective[:, None, :]
    return np.concatenate([along, -rotation * body[:, None, :], -rotation * (np.abs(body) * body)[:, None, :]], axis=2)


class _Spans:
    """Means over the last samples before each start, fewer at the beginning of the flight, zero at its first sample."""

    def __init__(self, starts: np.ndarray, dt_s: float) -> None:
        self.starts, self.dt_s = starts, dt_s

    def _first(self, span: int) -> tuple[np.ndarray, np.ndarray]:
        first = np.maximum(self.starts - span, 0)
        return first, np.maximum(self.starts - first, 1)

    def mean(self, values: Vector, spans: tuple[int, ...]) -> Vector:
        total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        parts = []
        for span in spans:
            first, count = self._first(span)
            parts.append((total[self.starts] - total[first]) / count.reshape(-1, *[1] * (values.ndim - 1)))
        return np.stack(parts, axis=1)

    def slope(self, values: Vector, spans: tuple[int, ...]) -> Vector:
        parts = []
        for span in spans:
            first, count = self._first(span)
            parts.append((values[self.starts] - values[first]) / (count * self.dt_s)[:, None])
        return np.stack(parts, axis=1)


def rotor_windows(flight: Flight, starts: np.ndarray, usual: float) -> RotorWindows:
    """Windows of a flight.

    Args:
        flight: Of action level "rotors".
        starts: First samples, shape (W,).
        usual: Mean squared rotor speed of the flights fitted on [(1000 rad/s)^2].

    Returns:
        The windows, float32.
    """
    rotors = squared_speeds(flight) - usual
    rotation = rotation_matrices(flight.quaternion_wxyz)
    velocity, rates = flight.velocity_m_s, flight.rates_rad_s
    terms = np.asarray(torque_terms(rates, np.einsum("tji,tj->ti", rotation, velocity), rotors), np.float64)
    spans = _Spans(starts, flight.dt_s)

    def around(values: Vector, offsets: np.ndarray) -> Vector:
        picked: Vector = values[np.clip(starts[:, None] + offsets, 0, len(values) - 1)]
        return picked

    mean_velocity = 0.5 * (velocity + np.concatenate([velocity[1:], velocity[-1:]]))
    parts = RotorWindows(
        rotors=around(rotors, np.arange(-ROTOR_PAST, HORIZON)),
        rates=around(rates, -np.arange(RATE_PAST)),
        velocity=around(velocity, -np.arange(VELOCITY_PAST)),
        quaternion=flight.quaternion_wxyz[starts],
        rate_slope=spans.slope(rates, RATE_SPANS),
        rotor_mean=spans.mean(rotors, RATE_SPANS),
        term_mean=spans.mean(terms, RATE_SPANS),
        velocity_slope=spans.slope(velocity, VELOCITY_SPANS),
        force_mean=spans.mean(force_terms(rotation, velocity, rotors), VELOCITY_SPANS),
        position_slope=spans.slope(flight.position_m, POSITION_SPANS) - spans.mean(mean_velocity, POSITION_SPANS),
    )
    return RotorWindows(*(np.asarray(part, np.float32) for part in parts))
