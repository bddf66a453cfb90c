"""The frame in which a flight is planned: origin and yaw of the vehicle at take-off, z up.

Tasks, planner and shield see the vehicle there, so that a flight looks the same whatever its initial position and yaw.
Body rates and thrust are body quantities: a set-point is the same in both frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.types import Vector, VehicleState


def yaw_of(quaternion_wxyz: Vector) -> float:
    """Yaw of an attitude, rotation about world z, (-pi, pi] [rad]."""
    w, x, y, z = (float(value) for value in quaternion_wxyz)
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


@dataclass(frozen=True, slots=True)
class LocalFrame:
    """Take-off frame: ENU moved to the take-off point and turned about z.

    Attributes:
        origin_m: Its origin in world ENU, shape (3,) [m].
        yaw_rad: Angle from world x to its x axis, counter-clockwise seen from above [rad].
    """

    origin_m: Vector
    yaw_rad: float

    @classmethod
    def at(cls, state: VehicleState) -> LocalFrame:
        """Frame at the vehicle's present position and yaw."""
        return cls(state.position_m.copy(), yaw_of(state.quaternion_wxyz))

    def rotation(self) -> Vector:
        """Matrix from local to world, shape (3, 3)."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def to_local(self, state: VehicleState) -> VehicleState:
        """The same state seen from the local frame."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        half_c, half_s = math.cos(0.5 * self.yaw_rad), math.sin(0.5 * self.yaw_rad)
        px, py, pz = (state.position_m - self.origin_m).tolist()
        vx, vy, vz = state.velocity_m_s.tolist()
        w, x, y, z = state.quaternion_wxyz.tolist()
        turned = (half_c * w + half_s * z, half_c * x + half_s * y, half_c * y - half_s * x, half_c * z - half_s * w)
        return VehicleState(
            t_ns=state.t_ns,
            position_m=np.array([c * px + s * py, c * py - s * px, pz]),
            velocity_m_s=np.array([c * vx + s * vy, c * vy - s * vx, vz]),
            quaternion_wxyz=np.array(turned),
            rates_rad_s=state.rates_rad_s,
        )

    def state_to_world(self, x: list[float]) -> list[float]:
        """Position, velocity and attitude of a 14-number state turned to world ENU; rates and thrust stay."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        half_c, half_s = math.cos(0.5 * self.yaw_rad), math.sin(0.5 * self.yaw_rad)
        ox, oy, oz = self.origin_m.tolist()
        px, py, pz, vx, vy, vz, qw, qx, qy, qz = x[:10]
        turned_w, turned_x = half_c * qw - half_s * qz, half_c * qx - half_s * qy
        turned_y, turned_z = half_c * qy + half_s * qx, half_c * qz + half_s * qw
        return [
            *(ox + c * px - s * py, oy + s * px + c * py, oz + pz),
            *(c * vx - s * vy, s * vx + c * vy, vz),
            *(turned_w, turned_x, turned_y, turned_z),
            *x[10:],
        ]

    def vectors_to_world(self, vectors: Vector) -> Vector:
        """Turn velocities, accelerations, ... to world ENU, shape (..., 3)."""
        turned: Vector = vectors @ self.rotation().T
        return turned

    def positions_to_world(self, positions_m: Vector) -> Vector:
        """Positions in world ENU [m], shape (..., 3)."""
        return self.vectors_to_world(positions_m) + self.origin_m
