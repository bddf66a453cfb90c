"""Identification of the physics from flights: multi-step least squares, linear inside, one search over each lag
outside.

For a given lag the multi-step prediction of body rates is linear in gain and offset, and the velocity increment over
a window is linear in thrust gain, drag and the disturbance of each flight. So only the lags need a (one-dimensional)
search, and there is no starting guess that could fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .dynamics import Physics
from .flight import RATES, Flight

RATE_WINDOW = 25
VELOCITY_WINDOW = 20
STRIDE = 5
LONGEST_DELAY = 5
LAG_BOUNDS_S = (0.004, 0.4)


@dataclass(frozen=True, slots=True)
class Identification:
    """What was identified.

    Attributes:
        physics: Parameters for `dynamics.step`, which has no delay: the lags take up what delay there is.
        disturbance_m_s2: Mean acceleration that the physics does not explain, world axes, one row per flight (wind),
            shape (F, 3).
        delay_s: Delay of the rate response that would fit best beside a lag [s]; reported, not used by `step`.
        rate_rms_rad_s: RMS of the rate prediction over 0.25 s, per axis [rad/s].
        acceleration_rms_m_s2: RMS of the mean acceleration over 0.2 s, all axes [m/s^2].
    """

    physics: Physics
    disturbance_m_s2: Vector
    delay_s: float
    rate_rms_rad_s: tuple[float, float, float]
    acceleration_rms_m_s2: float


def rotation_matrices(quaternion_wxyz: Vector) -> Vector:
    """Rotations body to world, shape (T, 3, 3), of scalar-first quaternions, shape (T, 4)."""
    w, x, y, z = quaternion_wxyz.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    result: Vector = np.moveaxis(np.array(rows), -1, 0)
    return result


def lagged(command: Vector, lag_s: float, dt_s: float, start: float) -> tuple[Vector, Vector]:
    """First-order response to a held command: values at the samples and means over the following period.

    Args:
        command: Held over each period, shape (T,).
        lag_s: Time constant [s].
        dt_s: Period [s].
        start: Response at the first sample.

    Returns:
        Response at each sample, shape (T,), and its mean over the period that follows, shape (T,).
    """
    decay = np.exp(-dt_s / lag_s)
    later, _ = lfilter([1 - decay], [1, -decay], command, zi=[decay * start])
    value = np.concatenate([[start], later[:-1]])
    mean: Vector = command + (value - command) * lag_s / dt_s * (1 - decay)
    return value, mean


def thrust_response(command_m_s2: Vector, physics: Physics, dt_s: float) -> Vector:
    """Collective acceleration [m/s^2] that the identified thrust model has at each sample, shape (T,)."""
    gain, lag = float(physics.thrust_gain), float(physics.thrust_lag_s)
    value, _ = lagged(gain * command_m_s2, lag, dt_s, gain * float(command_m_s2[0]))
    return value


def _rate_problem(flights: Sequence[Flight], axis: int, lag_s: float, delay: int) -> tuple[Vector, Vector]:
    """Design matrix (gain, offset) and target of the multi-step rate prediction."""
    rows, targets = [], []
    for flight in flights:
        decay = np.exp(-flight.dt_s / lag_s)
        start = np.arange(LONGEST_DELAY, len(flight) - RATE_WINDOW, STRIDE)
        command = flight.action[:, axis]
        response, bias = np.zeros(len(start)), 0.0
        for h in range(RATE_WINDOW):
            response = decay * response + (1 - decay) * command[start + h - delay]
            bias = decay * bias + (1 - decay)
            rows.append(np.stack([response, np.full(len(start), bias)], axis=1))
            targets.append(flight.rates_rad_s[start + h + 1, axis] - decay ** (h + 1) * flight.rates_rad_s[start, axis])
    return np.concatenate(rows), np.concatenate(targets)


def _solve(matrix: Vector, target: Vector) -> tuple[Vector, float]:
    """Least squares; the solution and the mean squared error."""
    solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return solution, float(np.mean((matrix @ solution - target) ** 2))


def identify_rates(
    flights: Sequence[Flight], axis: int, delay: int
) -> tuple[float, float, float, float]:
    """Gain, offset [rad/s] and lag [s] of one body rate, and the mean squared error [rad^2/s^2].

    Args:
        flights: Flights of action level "rates".
        axis: 0 roll, 1 pitch, 2 yaw.
        delay: Delay of the command [samples].
    """

    def error(log_lag: float) -> float:
        return _solve(*_rate_problem(flights, axis, float(np.exp(log_lag)), delay))[1]

    found = minimize_scalar(error, bounds=np.log(LAG_BOUNDS_S), method="bounded", options={"xatol": 0.005})
    lag = float(np.exp(found.x))
    (gain, offset), mse = _solve(*_rate_problem(flights, axis, lag, delay))
    return float(gain), float(offset), lag, mse


def _velocity_problem(flights: Sequence[Flight], scale_m_s2: Sequence[float], lag_s: float) -> tuple[Vector, Vector]:
    """Design matrix (thrust gain, drag 3, disturbance 3 per flight) and target: mean acceleration over each window."""
    blocks, targets = [], []
    for index, flight in enumerate(flights):
        dt = flight.dt_s
        command = flight.action[:, 3] * scale_m_s2[index]
        _, mean = lagged(command, lag_s, dt, float(command[0]))
        rotation = rotation_matrices(flight.quaternion_wxyz)
        up = 0.5 * (rotation[:-1, :, 2] + rotation[1:, :, 2])
        thrust = mean[:-1, None] * up
        body = np.einsum("tji,tj->ti", rotation, flight.velocity_m_s)[:-1]
        drag = -rotation[:-1] * body[:, None, :]
        signals = np.concatenate([thrust[:, :, None], drag], axis=2)
        total = np.concatenate([np.zeros((1, 3, 4)), np.cumsum(signals, axis=0)])
        first = np.arange(0, len(flight) - 1 - VELOCITY_WINDOW, STRIDE)
        part = (total[first + VELOCITY_WINDOW] - total[first]) / VELOCITY_WINDOW
        constant = np.zeros((len(first), 3, 3 * len(flights)))
        constant[:, :, 3 * index : 3 * index + 3] = np.eye(3)
        change = flight.velocity_m_s[first + VELOCITY_WINDOW] - flight.velocity_m_s[first]
        target = change / (VELOCITY_WINDOW * dt) + np.array([0.0, 0.0, GRAVITY_M_S2])
        blocks.append(np.concatenate([part, constant], axis=2).reshape(-1, 4 + 3 * len(flights)))
        targets.append(target.reshape(-1))
    return np.concatenate(blocks), np.concatenate(targets)


def identify(flights: Sequence[Flight], scale_m_s2: Sequence[float]) -> Identification:
    """Identify rate response, thrust response and drag.

    Args:
        flights: Flights of action level "rates", with some excitation on every axis.
        scale_m_s2: Commanded collective acceleration at throttle 1, one per flight [m/s^2].

    Returns:
        Physics, disturbance of each flight and how well they fit.

    Raises:
        InputError: no flight, a flight of another action level, or one too short.
    """
    if not flights:
        raise InputError("no flight to identify from; give at least one")
    for flight in flights:
        if flight.action_level != RATES:
            raise InputError(
                f"flight {flight.name} has action level {flight.action_level!r}; "
                f"the physics of rate set-points needs {RATES!r}"
            )
        if len(flight) < 10 * RATE_WINDOW:
            raise InputError(f"flight {flight.name} has {len(flight)} samples, at least {10 * RATE_WINDOW} are needed")
    axes = [identify_rates(flights, axis, 0) for axis in range(3)]
    delays = [identify_rates(flights[:2], 0, delay)[3] for delay in range(LONGEST_DELAY + 1)]

    def error(log_lag: float) -> float:
        return _solve(*_velocity_problem(flights, scale_m_s2, float(np.exp(log_lag))))[1]

    found = minimize_scalar(error, bounds=np.log(LAG_BOUNDS_S), method="bounded", options={"xatol": 0.005})
    thrust_lag = float(np.exp(found.x))
    solution, mse = _solve(*_velocity_problem(flights, scale_m_s2, thrust_lag))
    physics = Physics(
        thrust_gain=jnp.asarray(solution[0]),
        thrust_lag_s=jnp.asarray(thrust_lag),
        rate_gain=jnp.asarray([a[0] for a in axes]),
        rate_offset_rad_s=jnp.asarray([a[1] for a in axes]),
        rate_lag_s=jnp.asarray([a[2] for a in axes]),
        drag_1_s=jnp.asarray(solution[1:4]),
    )
    rms = [float(np.sqrt(a[3])) for a in axes]
    return Identification(
        physics,
        solution[4:].reshape(-1, 3),
        int(np.argmin(delays)) * flights[0].dt_s,
        (rms[0], rms[1], rms[2]),
        float(np.sqrt(mse)),
    )
