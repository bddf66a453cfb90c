"""Rotor-level world model: identified thrust and drag, and linear multi-step predictors fitted directly at each
horizon.

With nominal rotor parameters body rates explode open loop: torque offsets of the single rotors, motor lag and the
filters of the log dominate. Instead of integrating a torque model, rates h steps ahead are regressed on the rates and
squared rotor speeds of the past and the rotor speeds that come before step h (never later ones). Attitude is
integrated from these rates, thrust along it and linear drag give velocity, and velocity gives position. What that
chain leaves over in attitude, velocity and position is regressed on the same features, in the body frame of the
window's start: biases of the sensors, of thrust and of the air that the last fraction of a second shows. All of these
are fitted to small error norms, not squares (`robust_ridge`). M members are fitted on flights drawn with replacement;
the prediction is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .flight import ROTORS, Flight
from .identify import rotation_matrices
from .prediction import (
    HORIZON,
    Prediction,
    integrate_attitude,
    quaternion_multiply,
    rotation_quaternion,
    window_starts,
    windows,
)
from .robust_ridge import apply, robust_moments, solve
from .rotor_features import (
    THRUST_TAPS,
    coming_features,
    lag_rows,
    past_features,
    specific_force_design,
    squared_speeds,
)


@dataclass(frozen=True, slots=True)
class RotorSettings:
    """How the predictors are fitted.

    Attributes:
        history: Past samples of rates and rotor speeds.
        rich: Use all features of the past and correct attitude, velocity and position; else the plain linear predictor.
        members: Ensemble members; 1 is fitted on every flight once.
        ridge: Regularisation relative to unit feature variance, for rates.
        ridge_correction: The same for the corrections.
        every: Fit on one window in this many; the logs are smoothed, neighbours are nearly the same.
        passes: Of reweighting towards the smallest mean error norm; 0 is least squares.
    """

    history: int = 20
    rich: bool = True
    members: int = 5
    ridge: float = 1e-5
    ridge_correction: float = 1e-3
    every: int = 2
    passes: int = 2


@dataclass(frozen=True, slots=True)
class RotorModel:
    """A fitted rotor-level model.

    Attributes:
        settings: How it was fitted.
        physics: Thrust taps [m/s^2 per (1000 rad/s)^2], thrust offset [m/s^2], drag [1/s], shape (THRUST_TAPS + 4,).
        mean, scale: Normalisation of the features, shape (n,).
        rates: Weights of rates, mean over members, shape (HORIZON, n, 3); rows of later rotor speeds are zero.
        corrections: Weights of attitude (3), velocity (3) and position (3), shape (HORIZON, n, 9); empty if not rich.
        spread: Variance between members of the rate weights' prediction on the training flights per horizon
            [rad^2/s^2].
    """

    settings: RotorSettings
    physics: Vector
    mean: Vector
    scale: Vector
    rates: Vector
    corrections: Vector
    spread: Vector


def fit_physics(flights: Sequence[Flight]) -> Vector:
    """Thrust taps, thrust offset and drag by least squares of the acceleration over 0.1 s.

    Raises:
        InputError: a flight has no rotor speeds.
    """
    span, rows, targets = 10, [], []
    for flight in flights:
        if flight.action_level != ROTORS:
            raise InputError(
                f"flight {flight.name} has action level {flight.action_level!r}, the rotor model needs {ROTORS!r}"
            )
        design = specific_force_design(flight, flight.velocity_m_s)
        total = np.concatenate([np.zeros((1, *design.shape[1:])), np.cumsum(design, axis=0)])
        first = np.arange(0, len(flight) - span, 3)
        rows.append(((total[first + span] - total[first]) / span).reshape(-1, design.shape[2]))
        change = (flight.velocity_m_s[first + span] - flight.velocity_m_s[first]) / (span * flight.dt_s)
        targets.append((change + np.array([0.0, 0.0, GRAVITY_M_S2])).reshape(-1))
    matrix, target = np.concatenate(rows), np.concatenate(targets)
    normal = matrix.T @ matrix
    regular = 1e-6 * np.trace(normal) / len(normal) * np.eye(len(normal))
    solution: Vector = np.linalg.solve(normal + regular, matrix.T @ target)
    return solution


def chain(flight: Flight, starts: np.ndarray, physics: Vector, rates_rad_s: Vector) -> Prediction:
    """Attitude from rates, velocity from thrust and drag along it, position from velocity.

    Args:
        flight: The flight.
        starts: First samples of the windows, shape (W,).
        physics: See `RotorModel`.
        rates_rad_s: Predicted rates at steps 1..HORIZON, shape (W, HORIZON, 3).
    """
    dt = flight.dt_s
    held = np.concatenate([flight.rates_rad_s[starts][:, None], rates_rad_s], axis=1)
    attitude = integrate_attitude(flight.quaternion_wxyz[starts], 0.5 * (held[:, :-1] + held[:, 1:]), dt)
    all_attitudes = np.concatenate([flight.quaternion_wxyz[starts][:, None], attitude], axis=1)
    rotation = rotation_matrices(all_attitudes.reshape(-1, 4)).reshape(len(starts), HORIZON + 1, 3, 3)
    total = lag_rows(squared_speeds(flight).sum(axis=1, keepdims=True), THRUST_TAPS)
    collective = (total @ physics[:THRUST_TAPS] + physics[THRUST_TAPS])[starts[:, None] + np.arange(HORIZON)]
    up = 0.5 * (rotation[:, :-1, :, 2] + rotation[:, 1:, :, 2])
    thrust = collective[:, :, None] * up - [0.0, 0.0, GRAVITY_M_S2]
    velocity, position = flight.velocity_m_s[starts], flight.position_m[starts]
    velocities, positions = np.empty_like(thrust), np.empty_like(thrust)
    for h in range(HORIZON):
        body = np.einsum("wji,wj->wi", rotation[:, h], velocity) * physics[THRUST_TAPS + 1 :]
        following = velocity + dt * (thrust[:, h] - np.einsum("wij,wj->wi", rotation[:, h], body))
        position = position + 0.5 * dt * (velocity + following)
        velocity = following
        velocities[:, h], positions[:, h] = velocity, position
    return Prediction(positions, velocities, attitude, rates_rad_s)


def predict_physics(physics: Vector, flight: Flight, starts: np.ndarray) -> Prediction:
    """The physics-only row: identified thrust and drag, body rates as they are (angular acceleration zero, as
    published)."""
    rates = np.repeat(flight.rates_rad_s[starts][:, None], HORIZON, axis=1)
    return chain(flight, starts, physics, rates)


def _features(model_past: Vector, flight: Flight, starts: np.ndarray) -> Vector:
    return np.concatenate([model_past[starts], coming_features(flight, starts)], axis=1)


def _leftover(flight: Flight, starts: np.ndarray, predicted: Prediction) -> Vector:
    """Errors of a chained prediction in the body frame of the start: rotation vector, velocity, position, (W,
    HORIZON, 9)."""
    conjugate = predicted.quaternion_wxyz * np.array([1.0, -1.0, -1.0, -1.0])
    difference = quaternion_multiply(conjugate, windows(flight.quaternion_wxyz, starts))
    difference = difference * np.where(difference[..., :1] < 0, -1.0, 1.0)
    rotation = rotation_matrices(flight.quaternion_wxyz[starts])
    velocity = windows(flight.velocity_m_s, starts) - predicted.velocity_m_s
    position = windows(flight.position_m, starts) - predicted.position_m
    turned = [np.einsum("wji,whj->whi", rotation, v) for v in (velocity, position)]
    return np.concatenate([2 * difference[..., 1:], *turned], axis=2)


def fit_rotor_model(
    flights: Sequence[Flight], settings: RotorSettings, seed: int, report: Callable[[str], None] | None = None
) -> RotorModel:
    """Fit the model.

    Args:
        flights: Flights of action level "rotors" of one vehicle.
        settings: How to fit.
        seed: Seed of the bootstrap.
        report: Told the name of each stage.

    Returns:
        The model.
    """
    say = report or (lambda _: None)
    generator = np.random.default_rng(seed)
    say("thrust and drag")
    physics = fit_physics(flights)
    pasts = [past_features(f, physics, settings.history, settings.rich) for f in flights]
    starts = [window_starts(f, settings.every) for f in flights]
    rows = np.concatenate([p[s] for p, s in zip(pasts, starts, strict=True)])
    coming = np.concatenate([squared_speeds(f)[s] for f, s in zip(flights, starts, strict=True)])
    past = rows.shape[1]
    mean = np.concatenate([rows.mean(axis=0), np.tile(coming.mean(axis=0), HORIZON)])
    scale = np.concatenate([rows.std(axis=0), np.tile(coming.std(axis=0), HORIZON)])
    mean[0], scale[0] = 0.0, 1.0
    scale = np.where(scale > 0, scale, 1.0)
    say("weights of the windows")
    normal = [((_features(p, f, s) - mean) / scale).astype(np.float32) for f, p, s in zip(flights, pasts, starts, strict=True)]
    changes = [
        (windows(f.rates_rad_s, s) - f.rates_rad_s[s][:, None]).astype(np.float32) for f, s in zip(flights, starts, strict=True)
    ]
    parts = robust_moments(normal, changes, past, settings.ridge, settings.passes)
    draws = [np.ones(len(flights))]
    for _ in range(settings.members - 1):
        picked = generator.integers(0, len(flights), len(flights))
        draws.append(np.bincount(picked, minlength=len(flights)).astype(np.float64))
    members = []
    for k, draw in enumerate(draws):
        say(f"rates, member {k + 1} of {settings.members}")
        members.append(solve(parts, draw, past, settings.ridge))
    rates = np.mean(members, axis=0)
    sample = normal[0][::20].astype(np.float64)
    spread = np.array([np.mean(np.var([sample @ m[h] for m in members], axis=0)) for h in range(HORIZON)])
    model = RotorModel(settings, physics, mean, scale, rates, np.zeros((HORIZON, len(mean), 0)), spread)
    if not settings.rich:
        return model
    say("corrections")
    left = [
        _leftover(f, s, chain(f, s, physics, _rates(model, f, s, x))).astype(np.float32)
        for f, s, x in zip(flights, starts, normal, strict=True)
    ]
    corrections = []
    for k in (0, 3, 6):
        vectors = [values[..., k : k + 3] for values in left]
        parts = robust_moments(normal, vectors, past, settings.ridge_correction, settings.passes)
        corrections.append(solve(parts, draws[0], past, settings.ridge_correction))
    return RotorModel(settings, physics, mean, scale, rates, np.concatenate(corrections, axis=2), spread)


def _rates(model: RotorModel, flight: Flight, starts: np.ndarray, x: Vector) -> Vector:
    """Predicted rates, shape (W, HORIZON, 3), from normalised features."""
    result: Vector = flight.rates_rad_s[starts][:, None] + apply(model.rates, x).astype(np.float64)
    return result


def predict_rotor_model(model: RotorModel, flight: Flight, starts: np.ndarray) -> Prediction:
    """Predict the windows of a flight.

    Args:
        model: A fitted model.
        flight: A flight of action level "rotors".
        starts: First samples of the windows, shape (W,).
    """
    past = past_features(flight, model.physics, model.settings.history, model.settings.rich)
    x = ((_features(past, flight, starts) - model.mean) / model.scale).astype(np.float32)
    chained = chain(flight, starts, model.physics, _rates(model, flight, starts, x))
    if not model.settings.rich:
        return chained
    left = apply(model.corrections, x).astype(np.float64)
    rotation = rotation_matrices(flight.quaternion_wxyz[starts])
    velocity, position = (np.einsum("wij,whj->whi", rotation, left[..., k : k + 3]) for k in (3, 6))
    attitude = quaternion_multiply(chained.quaternion_wxyz, rotation_quaternion(left[..., 0:3]))
    return Prediction(chained.position_m + position, chained.velocity_m_s + velocity, attitude, chained.rates_rad_s)
