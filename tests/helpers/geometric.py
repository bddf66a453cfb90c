"""A plain geometric tracking controller on body rates and thrust, for tests that need something that flies a task."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector
from tubepilot.train.task_flight import StepResult, TaskFlight


class GeometricController:
    """Position loop of damping 0.8 at 2.4 rad/s with an integrator, attitude loop of 8 1/s (the rate loop's is 22 1/s).

    Args:
        flight: What is flown.
    """

    def __init__(self, flight: TaskFlight) -> None:
        self._flight = flight
        self._integral = np.zeros(3)

    def setpoint(self) -> Vector:
        """Body rates [rad/s] and thrust [m/s^2] for this tick, shape (4,)."""
        x = self._flight.state()
        reference = self._flight.reference(np.array([self._flight.time_s]))[0]
        error = reference[0:3] - x[0:3]
        self._integral = np.clip(self._integral + 5.0 * self._flight.dt_s * error, -3.0, 3.0)
        asked = reference[6:9] + np.clip(6.0 * error + 4.0 * (reference[3:6] - x[3:6]) + self._integral, -6.0, 6.0)
        asked = asked + np.array([0.0, 0.0, GRAVITY_M_S2])
        rotation = Rotation.from_quat(x[6:10], scalar_first=True).as_matrix()
        up = asked / np.linalg.norm(asked)
        left = np.cross(up, [1.0, 0.0, 0.0])
        left /= np.linalg.norm(left)
        wanted = np.stack([np.cross(left, up), left, up], axis=1)
        skew = 0.5 * (wanted.T @ rotation - rotation.T @ wanted)
        return np.array([-8.0 * skew[2, 1], -8.0 * skew[0, 2], -8.0 * skew[1, 0], asked @ rotation[:, 2]])


def fly(flight: TaskFlight, until_s: float = np.inf) -> StepResult:
    """Fly to the end, or to a time [s]; the last tick's result."""
    controller = GeometricController(flight)
    result = flight.step(controller.setpoint())
    while not flight.finished and flight.time_s < until_s - 1e-9:
        result = flight.step(controller.setpoint())
    return result
