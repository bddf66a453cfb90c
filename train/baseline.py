"""The independent simulator's own tracking controller, turned into body-rate and throttle set-points.

rotorpy's `SE3Control` computes a collective force and an angular acceleration
`cmd_w = -kp_att * e_R - kd_att * (w - w_des)` (its name says rates; its unit is rad/s^2). A vehicle whose rate loop
closes `w_dot ~ (w_setpoint - w) / lag` is given the rates at which that demand vanishes: `w_des - kp_att / kd_att *
e_R`, which is `w + cmd_w / kd_att`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from rotorpy.controllers.quadrotor_control import SE3Control
from rotorpy.vehicles.crazyflie_params import quad_params

from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.types import Vector

from .task_vehicle import Vehicle


class Trajectory(Protocol):
    """A rotorpy trajectory."""

    def update(self, t: float) -> Mapping[str, Vector]:
        """Flat outputs and their derivatives at time t [s]."""


class BaselineController:
    """rotorpy's SE3 controller behind a rate loop.

    Args:
        vehicle: The simulated vehicle whose parameters the controller is given.
    """

    def __init__(self, vehicle: SimulatedQuadrotor) -> None:
        self._control = SE3Control(vehicle.parameters)
        self._force_max_n = vehicle.force_max_n

    def setpoint(self, vehicle: SimulatedQuadrotor, t_s: float, trajectory: Trajectory) -> tuple[Vector, float]:
        """Body rates [rad/s] and throttle 0..1 for the vehicle's present state."""
        state = vehicle.rotorpy_state()
        command = self._control.update(t_s, state, trajectory.update(t_s))
        rates = state["w"] + command["cmd_w"] / self._control.kd_att
        return rates, float(np.clip(command["cmd_thrust"] / self._force_max_n, 0.0, 1.0))


class NominalController:
    """The same controller with the parameters of rotorpy's Crazyflie, for a vehicle of another simulator.

    Args:
        vehicle: The vehicle; its thrust scale turns the controller's acceleration into throttle.
    """

    def __init__(self, vehicle: Vehicle) -> None:
        self._control = SE3Control(quad_params)
        self._scale_m_s2 = vehicle.thrust_scale_m_s2

    def setpoint(self, vehicle: Vehicle, t_s: float, trajectory: Trajectory) -> tuple[Vector, float]:
        """Body rates [rad/s] and throttle 0..1 for the vehicle's present state."""
        w, x, y, z = vehicle.quaternion_wxyz
        state = {"x": vehicle.position_m, "v": vehicle.velocity_m_s, "q": np.array([x, y, z, w]), "w": vehicle.rates_rad_s}
        command = self._control.update(t_s, state, trajectory.update(t_s))
        rates = state["w"] + command["cmd_w"] / self._control.kd_att
        return rates, float(np.clip(command["cmd_thrust"] / self._control.mass / self._scale_m_s2, 0.0, 1.0))
