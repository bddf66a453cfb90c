"""Open-loop prediction with the world model of rate set-points, and its one-tick residuals."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tubepilot.firmware_bridge.types import Vector

from .dynamics import WorldModel, rollout, step
from .flight import Flight
from .prediction import HORIZON, Prediction
from .residual import states

OBSERVER_S = 0.5
"""Time constant of the disturbance estimate that a prediction starts from [s]."""
_CHUNK = 256


@jax.jit
def _advance(model: WorldModel, x: Array, s: Array, dt_s: float) -> Array:
    return jax.vmap(lambda a, b: step(model, a, b, jnp.zeros(3, a.dtype), dt_s)[0])(x, s)


@jax.jit
def _roll(model: WorldModel, x: Array, plans: Array, disturbance: Array, dt_s: float) -> Array:
    return jax.vmap(lambda a, b, c: rollout(model, a, b, c, dt_s)[0])(x, plans, disturbance)


def _chunks(count: int) -> list[np.ndarray]:
    """Indices 0..count-1 in pieces of one size, so that one compilation serves all; the last piece repeats the last
    index."""
    padded = np.minimum(np.arange(-(-count // _CHUNK) * _CHUNK), count - 1)
    return list(padded.reshape(-1, _CHUNK))


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
    following = np.empty_like(x[:-1])
    for chunk in _chunks(len(x) - 1):
        following[chunk] = np.asarray(_advance(model, x[chunk], s[chunk], flight.dt_s))
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
        y = np.empty((len(starts), HORIZON, x.shape[1]))
        for chunk in _chunks(len(starts)):
            first = starts[chunk]
            plans = s[first[:, None] + np.arange(HORIZON)]
            y[chunk] = np.asarray(_roll(model, x[first], plans, disturbance[first], flight.dt_s))
        return Prediction(y[..., 0:3], y[..., 3:6], y[..., 6:10], y[..., 10:13])

    return predict
