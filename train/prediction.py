"""Open-loop prediction from every sample: h = 1..50 steps, mean error norms, the protocol of arXiv:2512.14450.

A predictor sees the flight up to and including the first sample of a window and the actions of the window, never a
later state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

from .flight import Flight

HORIZON = 50
QUANTITIES = ("position", "velocity", "attitude", "rates")
UNITS = {"position": "m", "velocity": "m/s", "attitude": "rad", "rates": "rad/s"}


class Prediction(NamedTuple):
    """Predicted states of W windows over h = 1..HORIZON.

    Attributes:
        position_m: Shape (W, HORIZON, 3).
        velocity_m_s: Shape (W, HORIZON, 3).
        quaternion_wxyz: Shape (W, HORIZON, 4).
        rates_rad_s: Shape (W, HORIZON, 3).
    """

    position_m: Vector
    velocity_m_s: Vector
    quaternion_wxyz: Vector
    rates_rad_s: Vector


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean error norms over windows; entry h-1 belongs to h steps.

    Attributes:
        position: [m], shape (HORIZON,).
        velocity: [m/s], shape (HORIZON,).
        attitude: Rotation angle between predicted and measured attitude [rad], shape (HORIZON,).
        rates: [rad/s], shape (HORIZON,).
        windows: Number of windows.
    """

    position: Vector
    velocity: Vector
    attitude: Vector
    rates: Vector
    windows: int


def window_starts(flight: Flight, every: int = 1, first: int = 0) -> np.ndarray:
    """First samples of all complete windows.

    Args:
        flight: The flight.
        every: Take one window in this many; 1 is the protocol.
        first: First sample that may start a window (a predictor with an observer needs a past).

    Raises:
        InputError: the flight is shorter than one window.
    """
    if len(flight) <= HORIZON + first:
        raise InputError(
            f"flight {flight.name} has {len(flight)} samples, prediction over {HORIZON} steps needs more than "
            f"{HORIZON + first}"
        )
    return np.arange(first, len(flight) - HORIZON, every)


def windows(values: Vector, starts: np.ndarray) -> Vector:
    """Rows h = 1..HORIZON after each start, shape (W, HORIZON, n)."""
    result: Vector = values[starts[:, None] + 1 + np.arange(HORIZON)]
    return result


def errors(flight: Flight, starts: np.ndarray, prediction: Prediction) -> Errors:
    """Mean error norms of a prediction.

    Args:
        flight: What was flown.
        starts: First samples of the windows, shape (W,).
        prediction: Predicted states of these windows.

    Returns:
        The errors per horizon.
    """
    cosine = np.abs(np.sum(windows(flight.quaternion_wxyz, starts) * prediction.quaternion_wxyz, axis=2))
    chord = np.sqrt(np.clip(1 - np.minimum(cosine, 1.0) ** 2, 0, None))
    return Errors(
        position=_mean_norm(windows(flight.position_m, starts) - prediction.position_m),
        velocity=_mean_norm(windows(flight.velocity_m_s, starts) - prediction.velocity_m_s),
        attitude=np.mean(2 * np.arctan2(chord, cosine), axis=0),
        rates=_mean_norm(windows(flight.rates_rad_s, starts) - prediction.rates_rad_s),
        windows=len(starts),
    )


def _mean_norm(difference: Vector) -> Vector:
    result: Vector = np.mean(np.linalg.norm(difference, axis=2), axis=0)
    return result


def quaternion_multiply(p: Vector, q: Vector) -> Vector:
    """Hamilton product over the last axis, scalar first, broadcast."""
    pw, px, py, pz = np.moveaxis(p, -1, 0)
    qw, qx, qy, qz = np.moveaxis(q, -1, 0)
    parts = [
        pw * qw - px * qx - py * qy - pz * qz,
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
    ]
    return np.stack(parts, axis=-1)


def rotation_quaternion(vector_rad: Vector) -> Vector:
    """Unit quaternion of a rotation vector over the last axis [rad]."""
    angle = np.linalg.norm(vector_rad, axis=-1, keepdims=True)
    return np.concatenate([np.cos(angle / 2), 0.5 * np.sinc(angle / (2 * np.pi)) * vector_rad], axis=-1)


def integrate_attitude(start_wxyz: Vector, rates_rad_s: Vector, dt_s: float) -> Vector:
    """Attitudes after each step under body rates that are constant over the step.

    Args:
        start_wxyz: Attitudes at the start, shape (W, 4).
        rates_rad_s: Mean body rates of each step, shape (W, H, 3).
        dt_s: Step [s].

    Returns:
        Attitudes, shape (W, H, 4).
    """
    turns = rotation_quaternion(rates_rad_s * dt_s)
    attitude, result = start_wxyz, np.empty_like(turns)
    for h in range(turns.shape[1]):
        attitude = quaternion_multiply(attitude, turns[:, h])
        result[:, h] = attitude
    return result / np.linalg.norm(result, axis=-1, keepdims=True)


def predict_naive(flight: Flight, starts: np.ndarray) -> Prediction:
    """Every state stays as it is: the published "Naive" row (its position error after one step is mean speed times 10
    ms)."""
    kept = [
        np.repeat(values[starts][:, None], HORIZON, axis=1)
        for values in (flight.position_m, flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s)
    ]
    return Prediction(*kept)


def predict_constant_velocity(flight: Flight, starts: np.ndarray) -> Prediction:
    """Velocity and body rates stay as they are, position and attitude are integrated."""
    time_s = (np.arange(HORIZON) + 1)[None, :, None] * flight.dt_s
    held = predict_naive(flight, starts)
    turned = quaternion_multiply(held.quaternion_wxyz, rotation_quaternion(held.rates_rad_s * time_s))
    return Prediction(held.position_m + held.velocity_m_s * time_s, held.velocity_m_s, turned, held.rates_rad_s)


def format_table(rows: Mapping[str, Errors], title: str) -> str:
    """Rows h1/h10/h50/sum for each quantity, as in the published table."""
    width = max(20, *(len(name) for name in rows))
    head = "  ".join(f"{f'{q} [{UNITS[q]}]':<26}" for q in QUANTITIES)
    lines = [title, f"{'h1/h10/h50/sum':<{width}}  {head}"]
    for name, row in rows.items():
        cells = []
        for quantity in QUANTITIES:
            e = getattr(row, quantity)
            cells.append(f"{f'{e[0]:.4f}/{e[9]:.4f}/{e[-1]:.4f}/{e.sum():.2f}':<26}")
        lines.append(f"{name:<{width}}  " + "  ".join(cells))
    return "\n".join(lines)


def mean_errors(parts: list[Errors]) -> Errors:
    """Errors over the windows of several flights together."""
    weights = np.array([part.windows for part in parts], dtype=np.float64)
    mean = [np.average([getattr(p, q) for p in parts], axis=0, weights=weights) for q in QUANTITIES]
    return Errors(mean[0], mean[1], mean[2], mean[3], int(weights.sum()))
