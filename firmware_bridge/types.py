"""What crosses between the bridge and the rest: vehicle state, set-point and limits.

World frame ENU (z up), body frame FLU. NED and FRD exist only inside `tubepilot.firmware_bridge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

GRAVITY_M_S2 = 9.80665
"""Standard gravity [m/s^2] (CGPM 1901)."""


@dataclass(frozen=True, slots=True)
class VehicleState:
    """State estimate of the vehicle at one instant.

    Attributes:
        t_ns: Instant at which the state holds, companion's CLOCK_MONOTONIC [ns].
        position_m: Position in world ENU, shape (3,) [m].
        velocity_m_s: Velocity in world ENU, shape (3,) [m/s].
        quaternion_wxyz: Attitude, body FLU to world ENU, scalar first, unit norm, shape (4,).
        rates_rad_s: Body rates, FLU, shape (3,) [rad/s].
    """

    t_ns: int
    position_m: Vector
    velocity_m_s: Vector
    quaternion_wxyz: Vector
    rates_rad_s: Vector


@dataclass(frozen=True, slots=True)
class Setpoint:
    """What goes to the flight controller, which closes the rate loop.

    Attributes:
        rates_rad_s: Commanded body rates, FLU, shape (3,) [rad/s].
        thrust_m_s2: Commanded collective thrust divided by mass [m/s^2].
    """

    rates_rad_s: Vector
    thrust_m_s2: float


class FlightMode(Enum):
    """Flight-controller modes, reduced to what the companion must tell apart."""

    UNKNOWN = "unknown"
    MANUAL = "manual"
    HOLD = "hold"
    OFFBOARD = "offboard"
    LAND = "land"
    RETURN = "return"
    TERMINATE = "terminate"
