"""Open-loop prediction with the world model of rate set-points, and its one-tick residuals."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tubepilot.firmware_bridge.types import Vector

from .dynamics import WorldModel, rollout, step
from .flight import Flight
from .prediction import HORIZON, Prediction
from .residual import states

OBSERVER_S = 0.5
"""Time constant of the disturbance estimate that a prediction starts from [s]."""
_CHUNK = 1024


def one_step_residuals(model: WorldModel, flight: Flight, scale_m_s2: float) -> tuple[Vector, Vector]:
    """What one tick of the model without disturbance leaves over at each sample.

    Args:
        model: The world model.
        flight: A flight of action level "rates".
        scale_m_s2: Commanded collective acceleration at throttle 1 [m/s^2].

    Returns:
        Mean acceleration residual over the tick, world axes [m/s^2], and body-rate residual divided by the tick
        [rad/s^2], both of shape (T-1, 3).
    """
    x, s = states(flight, model.physics, scale_m_s2)
    advance = jax.jit(jax.vmap(lambda a, b: step(model, a, b, jnp.zeros(3), flight.dt_s)[0]))
    following = np.asarray(advance(jnp.asarray(x[:-1]), jnp.asarray(s[:-1])), dtype=np.float64)
    difference = (x[1:] - following) / flight.dt_s
    return difference[:, 3:6], difference[:, 10:13]


def observed_disturbance(acceleration_residual: Vector, dt_s: float) -> Vector:
    """Low-pass filtered residual, known at each sample from the past only.

    Args:
        acceleration_residual: Residual of each tick [m/s^2], shape (T-1, 3).
        dt_s: Tick [s].

    Returns:
        Estimate before each tick [m/s^2], shape (T, 3); starts at zero.
    """
    share = 1 - np.exp(-dt_s / OBSERVER_S)
    result = np.zeros((len(acceleration_residual) + 1, 3))
    for k, value in enumerate(acceleration_residual):
        result[k + 1] = result[k] + share * (value - result[k])
    return result


def model_predictor(model: WorldModel, scale_m_s2: float) -> Callable[[Flight, np.ndarray], Prediction]:
    """A predictor that rolls the model from each sample with the disturbance observed up to there."""

    def predict(flight: Flight, starts: np.ndarray) -> Prediction:
        x, s = states(flight, model.physics, scale_m_s2)
        disturbance = observed_disturbance(one_step_residuals(model, flight, scale_m_s2)[0], flight.dt_s)
        roll = jax.jit(jax.vmap(lambda a, b, c: rollout(model, a, b, c, flight.dt_s)[0]))
        padded = np.concatenate([starts, np.full(-len(starts) % _CHUNK, starts[0])])
        parts = []
        for chunk in padded.reshape(-1, _CHUNK):
            plans = s[chunk[:, None] + np.arange(HORIZON)]
            parts.append(np.asarray(roll(x[chunk], plans, disturbance[chunk]), dtype=np.float64))
        y = np.concatenate(parts)[: len(starts)]
        return Prediction(y[..., 0:3], y[..., 3:6], y[..., 6:10], y[..., 10:13])

    return predict
