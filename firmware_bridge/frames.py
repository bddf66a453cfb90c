"""NED and FRD of the flight controllers to ENU and FLU of tubepilot, and back.

Both world changes and both body changes are half turns, so every function here is its own inverse.
Plain floats: these run for every message, where numpy's overhead would exceed the arithmetic.
"""

from __future__ import annotations

import math
from typing import TypeAlias

Three: TypeAlias = tuple[float, float, float]
Four: TypeAlias = tuple[float, float, float, float]

_ROOT_HALF = math.sqrt(0.5)


def swap_world(x: float, y: float, z: float) -> Three:
    """Vector from NED to ENU, or from ENU to NED."""
    return y, x, -z


def swap_body(x: float, y: float, z: float) -> Three:
    """Vector from FRD to FLU, or from FLU to FRD."""
    return x, -y, -z


def swap_attitude(w: float, x: float, y: float, z: float) -> Four:
    """Attitude from (FRD to NED) to (FLU to ENU), or back; unit quaternions, scalar first.

    The product a q b with a the half turn about the world's (1, 1, 0) and b the half turn about body x.
    """
    return _ROOT_HALF * (w + z), _ROOT_HALF * (x + y), _ROOT_HALF * (x - y), _ROOT_HALF * (w - z)


def rotate(q: Four, v: Three) -> Three:
    """Vector turned by a unit quaternion (body to world), scalar first."""
    w, x, y, z = q
    vx, vy, vz = v
    tx, ty, tz = 2 * (y * vz - z * vy), 2 * (z * vx - x * vz), 2 * (x * vy - y * vx)
    return (
        vx + w * tx + y * tz - z * ty,
        vy + w * ty + z * tx - x * tz,
        vz + w * tz + x * ty - y * tx,
    )


def turned(q: Four, rates_rad_s: Three, dt_s: float) -> Four:
    """Attitude after turning at constant body rates, exact, normalised.

    Args:
        q: Unit quaternion body to world, scalar first.
        rates_rad_s: Body rates in the same body frame [rad/s].
        dt_s: Time, of either sign [s].
    """
    wx, wy, wz = rates_rad_s
    speed = math.sqrt(wx * wx + wy * wy + wz * wz)
    half = 0.5 * speed * dt_s
    s = math.sin(half) / speed if speed > 0.0 else 0.0
    c, x, y, z = math.cos(half), s * wx, s * wy, s * wz
    qw, qx, qy, qz = q
    out = (
        qw * c - qx * x - qy * y - qz * z,
        qw * x + qx * c + qy * z - qz * y,
        qw * y - qx * z + qy * c + qz * x,
        qw * z + qx * y - qy * x + qz * c,
    )
    norm = math.sqrt(sum(value * value for value in out))
    return out[0] / norm, out[1] / norm, out[2] / norm, out[3] / norm
