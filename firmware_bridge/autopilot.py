"""The simulated firmware's own modes: hold, take-off, landing and return, flown by rotorpy's SE3 controller.

The controller follows a reference that moves with limited speed and acceleration; its attitude demand becomes body
rates, so that these modes use the same rate loop as set-points from outside.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
from rotorpy.controllers.quadrotor_control import SE3Control

from .simulator import SimulatedQuadrotor
from .types import Vector

SPEED_M_S = 1.5
CLIMB_M_S = 0.8
DESCENT_M_S = 0.6
TOUCHDOWN_M_S = 0.3
TOUCHDOWN_BELOW_M = 0.5
RETURN_HEIGHT_M = 1.5
ACCELERATION_M_S2 = 2.5
LEASH_M = 0.8
ARRIVED_M = 0.1
ATTITUDE_GAIN_1_S = np.array([8.0, 8.0, 3.0])
RATE_LIMIT_RAD_S = 4.0


class Goal(Enum):
    """What the autopilot is asked to do."""

    HOLD = "hold"
    TAKEOFF = "takeoff"
    LAND = "land"
    RETURN = "return"


class Autopilot:
    """Flies one goal at a time.

    Args:
        vehicle: The quadrotor; its true state is what the autopilot sees.
    """

    def __init__(self, vehicle: SimulatedQuadrotor) -> None:
        self._vehicle = vehicle
        self._controller = SE3Control(vehicle.parameters)
        self._home: Vector = vehicle.position_m
        self.start(Goal.HOLD)

    def start(self, goal: Goal, height_m: float = 1.0) -> None:
        """Begin a goal from where the vehicle is.

        Args:
            goal: What to do.
            height_m: Height to take off to [m].
        """
        vehicle = self._vehicle
        self.goal = goal
        self._height_m = max(height_m, RETURN_HEIGHT_M) if goal is Goal.RETURN else height_m
        self._position = vehicle.position_m
        self._velocity = vehicle.velocity_m_s
        w, x, y, z = vehicle.quaternion_wxyz
        self._yaw_rad = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))

    def set_home(self) -> None:
        """Return will fly to where the vehicle is now."""
        self._home = self._vehicle.position_m

    def _wanted_velocity(self) -> Vector:
        velocity = np.zeros(3)
        height_m = float(self._position[2])
        if self.goal is Goal.TAKEOFF:
            velocity[2] = min(max(1.5 * (self._height_m - height_m), -DESCENT_M_S), CLIMB_M_S)
        elif self.goal is Goal.LAND:
            velocity[2] = -DESCENT_M_S if height_m > TOUCHDOWN_BELOW_M else -TOUCHDOWN_M_S
        elif self.goal is Goal.RETURN:
            away = self._home[:2] - self._position[:2]
            distance_m = math.hypot(*away)
            if distance_m < ARRIVED_M:
                self.goal = Goal.LAND
            elif height_m < self._height_m - ARRIVED_M:
                velocity[2] = CLIMB_M_S
            else:
                velocity[:2] = away * min(1.0, SPEED_M_S / distance_m)
        return velocity

    def update(self, dt_s: float) -> tuple[Vector, float]:
        """Advance the reference and give the command for the rate loop.

        Args:
            dt_s: Time since the last call [s].

        Returns:
            Body rates, FLU, shape (3,) [rad/s], and throttle 0..1.
        """
        vehicle = self._vehicle
        if vehicle.on_ground and self.goal is not Goal.TAKEOFF:
            self._position, self._velocity = vehicle.position_m, np.zeros(3)
            return np.zeros(3), 0.0
        change = self._wanted_velocity() - self._velocity
        limit = ACCELERATION_M_S2 * dt_s
        change *= min(1.0, limit / max(float(np.linalg.norm(change)), limit))
        self._velocity = self._velocity + change
        self._position = self._position + self._velocity * dt_s
        leash = self._position - vehicle.position_m
        length_m = float(np.linalg.norm(leash))
        if length_m > LEASH_M:
            self._position = vehicle.position_m + leash * (LEASH_M / length_m)
        flat = {
            "x": self._position,
            "x_dot": self._velocity,
            "x_ddot": change / dt_s,
            "x_dddot": np.zeros(3),
            "x_ddddot": np.zeros(3),
            "yaw": self._yaw_rad,
            "yaw_dot": 0.0,
        }
        command = self._controller.update(vehicle.time_s, vehicle.rotorpy_state(), flat)
        throttle = float(command["cmd_thrust"]) / vehicle.force_max_n
        return self._rates(command["cmd_q"]), min(max(throttle, 0.1), 1.0)

    def _rates(self, wanted_xyzw: Vector) -> Vector:
        """Body rates that turn the vehicle towards an attitude (scalar last, as rotorpy has it)."""
        w, v = self._vehicle.quaternion_wxyz[0], self._vehicle.quaternion_wxyz[1:]
        wanted_v, wanted_w = wanted_xyzw[:3], wanted_xyzw[3]
        error = w * wanted_v - wanted_w * v - np.cross(v, wanted_v)
        sign = 1.0 if w * wanted_w + float(v @ wanted_v) >= 0.0 else -1.0
        rates: Vector = np.clip(2.0 * sign * ATTITUDE_GAIN_1_S * error, -RATE_LIMIT_RAD_S, RATE_LIMIT_RAD_S)
        return rates
