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

That is the linear model. It is good on flights of a kind that it has seen, and fails on another kind: with all random flights left
out, its rate error is nearly twice that of the plain ridge predictor. So `RECURRENT` puts recurrent dynamics (`rotor_dynamics`) in the
place of the chain, and regresses only what these leave over, with stronger regularisation and a share of its size: better on flights
like those fitted on, and much better on a kind that was not seen. The shares are a choice between the two, made on flights and on
kinds of flights left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .flight import ROTORS, Flight
from .identify import rotation_matrices
from .prediction import (
    HORIZON,
    QUANTITIES,
    Prediction,
    errors,
    integrate_attitude,
    mean_errors,
    quaternion_multiply,
    rotation_quaternion,
    window_starts,
    windows,
)
from .robust_ridge import apply, robust_moments, solve
from .rotor_dynamics import RotorDynamics, mean_prediction, predict
from .rotor_dynamics_fit import FitSettings, fit_dynamics, usual_speed
from .rotor_features import (
    THRUST_TAPS,
    coming_features,
    lag_rows,
    past_features,
    specific_force_design,
    squared_speeds,
)
from .rotor_windows import rotor_windows

TENTHS = 10
"""Reports of progress while recurrent dynamics are fitted."""


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
        share: Of the corrections that is used; and of the rates' regression, if there are dynamics.
        dynamics: How recurrent dynamics are fitted, whose leftover is regressed; None: the chain is the base. Members are those of the
            dynamics then.
    """

    history: int = 20
    rich: bool = True
    members: int = 5
    ridge: float = 1e-5
    ridge_correction: float = 1e-3
    every: int = 2
    passes: int = 2
    share: float = 1.0
    dynamics: FitSettings | None = None


RECURRENT = RotorSettings(ridge=1e-2, ridge_correction=1e-2, every=3, share=0.75, dynamics=FitSettings())
"""What `tubepilot train` fits."""


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
        usual: Mean squared rotor speed of the flights fitted on [(1000 rad/s)^2], shape ().
        dynamics: The plain dynamics, then the members, along a leading axis; None if the chain is the base.
    """

    settings: RotorSettings
    physics: Vector
    mean: Vector
    scale: Vector
    rates: Vector
    corrections: Vector
    spread: Vector
    usual: Vector
    dynamics: RotorDynamics | None = None


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


class _Design(NamedTuple):
    """Windows fitted on: starts and normalised features by flight, number of features of the past, their mean and scale."""

    starts: list[np.ndarray]
    normal: list[Vector]
    past: int
    mean: Vector
    scale: Vector


def _design(flights: Sequence[Flight], physics: Vector, settings: RotorSettings) -> _Design:
    pasts = [past_features(f, physics, settings.history, settings.rich) for f in flights]
    starts = [window_starts(f, settings.every) for f in flights]
    rows = np.concatenate([p[s] for p, s in zip(pasts, starts, strict=True)])
    coming = np.concatenate([squared_speeds(f)[s] for f, s in zip(flights, starts, strict=True)])
    mean = np.concatenate([rows.mean(axis=0), np.tile(coming.mean(axis=0), HORIZON)])
    scale = np.concatenate([rows.std(axis=0), np.tile(coming.std(axis=0), HORIZON)])
    mean[0], scale[0] = 0.0, 1.0
    scale = np.where(scale > 0, scale, 1.0)
    normal = [((_features(p, f, s) - mean) / scale).astype(np.float32) for f, p, s in zip(flights, pasts, starts, strict=True)]
    return _Design(starts, normal, rows.shape[1], mean, scale)


def stages(settings: RotorSettings) -> int:
    """How many stages `fit_rotor_model` reports."""
    return 3 + settings.rich + (settings.members if settings.dynamics is None else TENTHS)


def fit_rotor_model(
    flights: Sequence[Flight], settings: RotorSettings, seed: int, report: Callable[[str], None] | None = None
) -> RotorModel:
    """Fit the model.

    Args:
        flights: Flights of action level "rotors" of one vehicle.
        settings: How to fit.
        seed: Seed of the bootstrap, and of the dynamics' batches.
        report: Told the name of each stage.

    Returns:
        The model.
    """
    say = report or (lambda _: None)
    generator = np.random.default_rng(seed)
    say("thrust and drag")
    physics = fit_physics(flights)
    say("weights of the windows")
    design = _design(flights, physics, settings)
    none = np.zeros((HORIZON, len(design.mean), 0))
    empty = RotorModel(settings, physics, design.mean, design.scale, none, none, np.zeros(HORIZON), np.float64(usual_speed(flights)))
    if settings.dynamics is None:
        model = _fit_chain(flights, design, empty, generator, say)
        each = zip(flights, design.starts, design.normal, strict=True)
        predicted = [chain(f, s, physics, _rates(model, f, s, x)) for f, s, x in each]
    else:
        model, predicted = _fit_dynamics(flights, design, empty, settings.dynamics, seed, say)
    if not settings.rich:
        return model
    say("corrections")
    left = [_leftover(f, s, p).astype(np.float32) for f, s, p in zip(flights, design.starts, predicted, strict=True)]
    columns = [[values[..., k : k + 3] for values in left] for k in (0, 3, 6)]
    corrections = [_regress(design, vectors, settings.ridge_correction, settings.passes) for vectors in columns]
    return replace(model, corrections=np.concatenate(corrections, axis=2))


def _regress(design: _Design, vectors: Sequence[Vector], ridge: float, passes: int) -> Vector:
    """Weights of one vector at every horizon, every flight counting once."""
    parts = robust_moments(design.normal, vectors, design.past, ridge, passes)
    return solve(parts, np.ones(len(parts)), design.past, ridge)


def _fit_chain(
    flights: Sequence[Flight], design: _Design, empty: RotorModel, generator: np.random.Generator, say: Callable[[str], None]
) -> RotorModel:
    """Rates by regression of their change, mean of members fitted on flights drawn with replacement."""
    settings = empty.settings
    changes = [
        (windows(f.rates_rad_s, s) - f.rates_rad_s[s][:, None]).astype(np.float32) for f, s in zip(flights, design.starts, strict=True)
    ]
    parts = robust_moments(design.normal, changes, design.past, settings.ridge, settings.passes)
    draws = [np.ones(len(flights))]
    for _ in range(settings.members - 1):
        picked = generator.integers(0, len(flights), len(flights))
        draws.append(np.bincount(picked, minlength=len(flights)).astype(np.float64))
    members = []
    for k, draw in enumerate(draws):
        say(f"rates, member {k + 1} of {settings.members}")
        members.append(solve(parts, draw, design.past, settings.ridge))
    sample = design.normal[0][::20].astype(np.float64)
    spread = np.array([np.mean(np.var([sample @ m[h] for m in members], axis=0)) for h in range(HORIZON)])
    return replace(empty, rates=np.mean(members, axis=0), spread=spread)


def _fit_dynamics(
    flights: Sequence[Flight], design: _Design, empty: RotorModel, fit: FitSettings, seed: int, say: Callable[[str], None]
) -> tuple[RotorModel, list[Prediction]]:
    """Recurrent dynamics, and the regression of what they leave over in the rates; with the dynamics' predictions of the windows."""
    settings = empty.settings
    rough = [window_starts(f, 10) for f in flights]
    alone = mean_errors([errors(f, s, predict_physics(empty.physics, f, s)) for f, s in zip(flights, rough, strict=True)])
    unit = np.array([getattr(alone, quantity).sum() for quantity in QUANTITIES])
    total, told = fit.plain_iterations + fit.member_iterations, [0]

    def monitor(iteration: int, loss: float) -> bool:
        while told[0] < TENTHS * (iteration + 1) / total:
            say(f"recurrent dynamics, loss {loss:.3f}")
            told[0] += 1
        return True

    dynamics = fit_dynamics(flights, empty.physics, np.maximum(unit, 1e-9), fit, seed, monitor)
    for _ in range(TENTHS - told[0]):
        say("recurrent dynamics")
    model = replace(empty, dynamics=dynamics)
    members = [_members(dynamics, float(empty.usual), f, s) for f, s in zip(flights, design.starts, strict=True)]
    predicted = [mean_prediction(m, fit.weights) for m in members]
    spread = np.mean([np.var([p.rates_rad_s for p in m[1:]], axis=0).mean(axis=(0, 2)) for m in members], axis=0)
    say("rates")
    each = zip(flights, design.starts, predicted, strict=True)
    left = [(windows(f.rates_rad_s, s) - p.rates_rad_s).astype(np.float32) for f, s, p in each]
    return replace(model, rates=_regress(design, left, settings.ridge, settings.passes), spread=spread), predicted


def _members(dynamics: RotorDynamics, usual: float, flight: Flight, starts: np.ndarray) -> list[Prediction]:
    """Predictions of the plain dynamics and of the members."""
    return predict(dynamics, rotor_windows(flight, starts, usual), flight.position_m[starts], flight.dt_s)


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
    settings = model.settings
    past = past_features(flight, model.physics, settings.history, settings.rich)
    x = ((_features(past, flight, starts) - model.mean) / model.scale).astype(np.float32)
    if settings.dynamics is None or model.dynamics is None:
        base = chain(flight, starts, model.physics, _rates(model, flight, starts, x))
    else:
        base = mean_prediction(_members(model.dynamics, float(model.usual), flight, starts), settings.dynamics.weights)
        base = base._replace(rates_rad_s=base.rates_rad_s + settings.share * apply(model.rates, x).astype(np.float64))
    if not settings.rich:
        return base
    left = settings.share * apply(model.corrections, x).astype(np.float64)
    rotation = rotation_matrices(flight.quaternion_wxyz[starts])
    velocity, position = (np.einsum("wij,whj->whi", rotation, left[..., k : k + 3]) for k in (3, 6))
    attitude = quaternion_multiply(base.quaternion_wxyz, rotation_quaternion(left[..., 0:3]))
    return Prediction(base.position_m + position, base.velocity_m_s + velocity, attitude, base.rates_rad_s)
