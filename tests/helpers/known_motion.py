"""A smooth flight in closed form, ENU/FLU, and the same in NED/FRD by matrices, to check what importers convert."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

ENU_OF_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FLIP = np.diag([1.0, -1.0, -1.0])
LAG_S = 0.03
"""By how much the body rates come after their set-points [s]."""


def position_m(t_s: np.ndarray) -> np.ndarray:
    """World ENU, shape (T, 3)."""
    return np.stack([1.5 * np.sin(0.9 * t_s), 2.0 * np.cos(0.7 * t_s), 3.0 + 0.5 * np.sin(1.1 * t_s)], axis=1)


def velocity_m_s(t_s: np.ndarray) -> np.ndarray:
    """World ENU, shape (T, 3)."""
    return np.stack([1.35 * np.cos(0.9 * t_s), -1.4 * np.sin(0.7 * t_s), 0.55 * np.cos(1.1 * t_s)], axis=1)


def attitude(t_s: np.ndarray) -> Rotation:
    """FLU to ENU; yaw passes through the whole circle."""
    angles = np.stack([0.8 * t_s, 0.3 * np.sin(2.0 * t_s), 0.25 * np.sin(2.6 * t_s + 0.4)], axis=1)
    return Rotation.from_euler("ZYX", angles)


def rates_rad_s(t_s: np.ndarray) -> np.ndarray:
    """Body FLU, by central differences of the attitude, shape (T, 3)."""
    h = 1e-5
    turned: np.ndarray = (attitude(t_s - h).inv() * attitude(t_s + h)).as_rotvec() / (2 * h)
    return turned


def rate_setpoint_rad_s(t_s: np.ndarray) -> np.ndarray:
    """Body FLU: what the body does `LAG_S` later, shape (T, 3)."""
    return rates_rad_s(t_s + LAG_S)


def throttle(t_s: np.ndarray) -> np.ndarray:
    """0..1, shape (T,)."""
    return 0.5 + 0.1 * np.sin(1.7 * t_s)


def attitude_ned(t_s: np.ndarray) -> Rotation:
    """FRD to NED."""
    return Rotation.from_matrix(ENU_OF_NED.T @ attitude(t_s).as_matrix() @ FLIP)
