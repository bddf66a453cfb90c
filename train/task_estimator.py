"""The state estimate that controllers are given: the true state plus noise of declared size and correlation."""

from __future__ import annotations

import numpy as np

from tubepilot.firmware_bridge.types import Vector

from .task_definition import Estimator


def quaternion_times(p: Vector, q: Vector) -> Vector:
    """Hamilton product p q, scalar first, shape (4,)."""
    vector = p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:])
    return np.array([p[0] * q[0] - p[1:] @ q[1:], *vector])


class NoisyEstimator:
    """A first-order Gauss-Markov error on position, velocity, attitude (a rotation in the body) and rates.

    Args:
        settings: Standard deviations and correlation time.
        generator: Source of the noise.
        dt_s: Tick [s].
    """

    def __init__(self, settings: Estimator, generator: np.random.Generator, dt_s: float) -> None:
        sizes = (settings.position_m, settings.velocity_m_s, settings.attitude_rad, settings.rates_rad_s)
        self._std = np.repeat(sizes, 3)
        self._kept = float(np.exp(-dt_s / settings.correlation_s)) if settings.correlation_s > 0.0 else 0.0
        self._generator = generator
        self._error: Vector = self._std * generator.normal(size=12)

    def estimate(self, true_state: Vector) -> Vector:
        """Estimate of a state, shape (13,): position, velocity, quaternion wxyz, rates; equal until `advance`."""
        error, estimate = self._error, true_state.copy()
        estimate[0:6] += error[0:6]
        turned = quaternion_times(true_state[6:10], np.array([1.0, *(0.5 * error[6:9])]))
        estimate[6:10] = turned / np.linalg.norm(turned)
        estimate[10:13] += error[9:12]
        return estimate

    def advance(self) -> None:
        """Draw the error of the next tick."""
        fresh = np.sqrt(1.0 - self._kept**2) * self._std * self._generator.normal(size=12)
        self._error = self._kept * self._error + fresh
