"""What a rotor-level prediction may look at: the past of the flight at a window's start, and the rotor speeds of the
window."""

from __future__ import annotations

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .flight import Flight
from .identify import rotation_matrices
from .prediction import HORIZON

ROTOR_UNIT_RAD_S = 1000.0
THRUST_TAPS = 5
"""Past samples of the summed squared rotor speed that the thrust model uses: the lag of air and filters."""
_BIAS_SPANS = (5, 20, 60)
_SLOPE_SPANS = (3, 8, 20)


def squared_speeds(flight: Flight) -> Vector:
    """Squared rotor speeds in units of (1000 rad/s)^2, shape (T, 4)."""
    result: Vector = (flight.action / ROTOR_UNIT_RAD_S) ** 2
    return result


def lag_rows(values: Vector, taps: int) -> Vector:
    """Each row followed by the rows before it, shape (T, taps * n); the first row is repeated before the start."""
    index = np.clip(np.arange(len(values))[:, None] - np.arange(taps), 0, None)
    return values[index].reshape(len(values), -1)


def specific_force_design(flight: Flight, velocity_m_s: Vector) -> Vector:
    """Acceleration of the physics is this matrix times (thrust taps, offset, drag 3), plus gravity, shape (T, 3, taps
    + 4)."""
    rotation = rotation_matrices(flight.quaternion_wxyz)
    total = lag_rows(squared_speeds(flight).sum(axis=1, keepdims=True), THRUST_TAPS)
    collective = np.concatenate([total, np.ones((len(total), 1))], axis=1)
    body = np.einsum("tji,tj->ti", rotation, velocity_m_s)
    along = rotation[:, :, 2, None] * collective[:, None, :]
    return np.concatenate([along, -rotation * body[:, None, :]], axis=2)


def past_mean(values: Vector, span: int) -> Vector:
    """Mean of the `span` rows strictly before each row (fewer at the start, zero at the first), same shape."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    stop = np.arange(len(values))
    start = np.maximum(stop - span, 0)
    result: Vector = (total[stop] - total[start]) / np.maximum(stop - start, 1)[:, None]
    return result


def past_features(flight: Flight, physics: Vector, history: int, rich: bool) -> Vector:
    """Features at each sample from the past only, shape (T, n); vectors in the body frame of that sample.

    Args:
        flight: A flight of action level "rotors".
        physics: Thrust taps, offset and drag; see `specific_force_design`.
        history: Past samples of rates and rotor speeds.
        rich: Add velocity, attitude, acceleration bias and the disagreement of position and velocity; else rates and
            rotors only.
    """
    rates, squared = flight.rates_rad_s, squared_speeds(flight)
    before = np.concatenate([squared[:1], squared[:-1]])
    parts = [np.ones((len(flight), 1)), lag_rows(rates, history), lag_rows(before, history)]
    if rich:
        rotation = rotation_matrices(flight.quaternion_wxyz)

        def to_body(world: Vector) -> Vector:
            result: Vector = np.einsum("tji,tj->ti", rotation, world)
            return result

        body = to_body(flight.velocity_m_s)
        parts += [body, rotation[:, 2], body * np.abs(body), rates * rates[:, [1, 2, 0]], body * rates[:, [1, 2, 0]]]
        parts += [body[:, [0]] * squared.sum(axis=1, keepdims=True), body[:, [1]] * squared.sum(axis=1, keepdims=True)]
        modelled = specific_force_design(flight, flight.velocity_m_s) @ physics - [0.0, 0.0, GRAVITY_M_S2]
        measured = np.diff(flight.velocity_m_s, axis=0) / flight.dt_s
        bias = np.concatenate([measured - modelled[:-1], np.zeros((1, 3))])
        parts += [to_body(past_mean(bias, span)) for span in _BIAS_SPANS]
        slope = np.concatenate([np.diff(flight.position_m, axis=0) / flight.dt_s, np.zeros((1, 3))])
        mean_velocity = 0.5 * (flight.velocity_m_s + np.roll(flight.velocity_m_s, -1, axis=0))
        parts += [to_body(past_mean(slope - mean_velocity, span)) for span in _SLOPE_SPANS]
        parts.append(to_body(past_mean(flight.velocity_m_s, 1) - flight.velocity_m_s))
    return np.concatenate(parts, axis=1)


def coming_features(flight: Flight, starts: np.ndarray) -> Vector:
    """Squared rotor speeds of the window, shape (W, HORIZON * 4); the first 4 h columns are those before step h."""
    return squared_speeds(flight)[starts[:, None] + np.arange(HORIZON)].reshape(len(starts), -1)
