"""Carries the measured state forward to the instant at which the coming set-point will act.

A measurement is old when it arrives, and what is sent now acts later still. Between the two the vehicle follows
set-points already sent, which are known: the model with these bridges the gap, and carries the lagged thrust, which
nothing measures. The model is the physics of the bundle's manifest (no residual: over some 20 ms it is worth less than
the sensor noise), integrated as `train/dynamics.py` does it. Plain floats: at this size numpy costs ten times more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector, VehicleState

MAX_STEP_S = 0.005
"""Longest integration step [s]: a tenth of the fastest lag identified so far."""

HISTORY = 128
"""Set-points remembered: more than one second at 100 Hz, far beyond any admitted state age plus delay."""


@dataclass(frozen=True, slots=True)
class PhysicsParameters:
    """Identified parameters of the rate-and-thrust quadrotor; `train.dynamics.Physics` in plain floats.

    Attributes:
        thrust_gain: Actual over commanded collective acceleration in steady state, dimensionless.
        thrust_lag_s: Time constant of the collective thrust [s].
        rate_gain: Actual over commanded body rate in steady state, per axis.
        rate_offset_rad_s: Body rate at zero command, per axis [rad/s].
        rate_lag_s: Time constant of the body rates, per axis [s].
        drag_1_s: Linear body drag over mass, per axis [1/s].
    """

    thrust_gain: float
    thrust_lag_s: float
    rate_gain: tuple[float, float, float]
    rate_offset_rad_s: tuple[float, float, float]
    rate_lag_s: tuple[float, float, float]
    drag_1_s: tuple[float, float, float]

    def __post_init__(self) -> None:
        for lag_s in (self.thrust_lag_s, *self.rate_lag_s):
            if not (math.isfinite(lag_s) and lag_s > 0.0):
                raise InputError(f"an actuator lag of the bundle is {lag_s} s; it must be above 0: train again")


def advance(
    physics: PhysicsParameters, x: list[float], setpoint: Sequence[float], disturbance: Sequence[float], dt_s: float
) -> list[float]:
    """Advance the state by one step with the set-point held.

    Args:
        physics: Identified parameters.
        x: Position (3), velocity (3), quaternion wxyz (4), rates (3), collective thrust (1); SI, any frame with z up.
        setpoint: Body rates (3) [rad/s] and collective thrust [m/s^2].
        disturbance: Constant acceleration in that frame [m/s^2], 3 numbers.
        dt_s: Step [s], positive.

    Returns:
        The next state, 14 numbers.
    """
    px, py, pz, vx, vy, vz, w, i, j, k, *rates, thrust = x
    rates_next, turns = [], []
    for lag, gain, offset, asked, rate in zip(
        physics.rate_lag_s, physics.rate_gain, physics.rate_offset_rad_s, setpoint, rates, strict=False
    ):
        target = gain * asked + offset
        decay = math.exp(-dt_s / lag)
        rates_next.append(target + (rate - target) * decay)
        turns.append(0.5 * dt_s * (target + (rate - target) * (1 - decay) * lag / dt_s))
    target = physics.thrust_gain * setpoint[3]
    decay = math.exp(-dt_s / physics.thrust_lag_s)
    thrust_next = target + (thrust - target) * decay
    thrust_mean = target + (thrust - target) * (1 - decay) * physics.thrust_lag_s / dt_s

    # The attitude times (1, half the turn), normalised.
    a, b, c = turns
    w2, i2, j2, k2 = w - i * a - j * b - k * c, w * a + i + j * c - k * b, w * b - i * c + j + k * a, w * c + i * b - j * a + k
    norm = math.sqrt(w2 * w2 + i2 * i2 + j2 * j2 + k2 * k2)
    w2, i2, j2, k2 = w2 / norm, i2 / norm, j2 / norm, k2 / norm

    # Rotation body to world at the start, row by row; its last column, and that at the end, point along the thrust.
    xx, xy, xz = 1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j)
    yx, yy, yz = 2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i)
    zx, zy, zz = 2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)
    drag_x, drag_y, drag_z = physics.drag_1_s
    fx = -drag_x * (xx * vx + yx * vy + zx * vz)
    fy = -drag_y * (xy * vx + yy * vy + zy * vz)
    fz = -drag_z * (xz * vx + yz * vy + zz * vz)
    half = thrust_mean * 0.5
    up_x, up_y, up_z = xz + 2 * (i2 * k2 + w2 * j2), yz + 2 * (j2 * k2 - w2 * i2), zz + (1 - 2 * (i2 * i2 + j2 * j2))
    ux = vx + dt_s * (half * up_x + (xx * fx + xy * fy + xz * fz) + disturbance[0])
    uy = vy + dt_s * (half * up_y + (yx * fx + yy * fy + yz * fz) + disturbance[1])
    uz = vz + dt_s * (half * up_z - GRAVITY_M_S2 + (zx * fx + zy * fy + zz * fz) + disturbance[2])
    position = (px + 0.5 * dt_s * (vx + ux), py + 0.5 * dt_s * (vy + uy), pz + 0.5 * dt_s * (vz + uz))
    return [*position, ux, uy, uz, w2, i2, j2, k2, *rates_next, thrust_next]


class Predictor:
    """The model, the set-points already sent, and the lagged thrust.

    Args:
        physics: Identified parameters.
        delay_s: Time from sending a set-point until it acts: link, and half a period of the rate loop [s].
    """

    def __init__(self, physics: PhysicsParameters, delay_s: float) -> None:
        self.physics = physics
        self.delay_s = delay_s
        self._sent_ns: npt.NDArray[np.int64] = np.zeros(HISTORY, np.int64)
        self._setpoints: Vector = np.zeros((HISTORY, 4))
        self._count = 0
        self._thrust_m_s2 = 0.0
        self._thrust_t_ns: int | None = None

    def reset(self, thrust_m_s2: float) -> None:
        """Forget the history; the collective thrust is now `thrust_m_s2` (0 on the ground, gravity in the air)."""
        self._count = 0
        self._thrust_m_s2 = thrust_m_s2
        self._thrust_t_ns = None

    def sent(self, t_ns: int, setpoint: Setpoint) -> None:
        """Remember a set-point sent at `t_ns` (CLOCK_MONOTONIC)."""
        slot = self._count % HISTORY
        self._sent_ns[slot] = t_ns
        self._setpoints[slot, :3] = setpoint.rates_rad_s
        self._setpoints[slot, 3] = setpoint.thrust_m_s2
        self._count += 1

    def _acting(self, from_ns: int, until_ns: int) -> list[tuple[int, list[float]]]:
        """Set-points acting in [from, until) as (end of action, set-point), oldest first."""
        pieces: list[tuple[int, list[float]]] = []
        end_ns, delay_ns = until_ns, round(1e9 * self.delay_s)
        for back in range(min(self._count, HISTORY)):
            slot = (self._count - 1 - back) % HISTORY
            start_ns = int(self._sent_ns[slot]) + delay_ns
            if start_ns >= end_ns:
                continue
            pieces.append((end_ns, self._setpoints[slot].tolist()))
            end_ns = start_ns
            if start_ns <= from_ns:
                break
        else:
            # Older than the first set-point: nothing is known, so the thrust stays what it is.
            pieces.append((end_ns, [0.0, 0.0, 0.0, self._thrust_m_s2 / self.physics.thrust_gain]))
        return pieces[::-1]

    def carry(self, x: list[float], from_ns: int, until_ns: int, disturbance: Sequence[float]) -> list[float]:
        """Move a state along the set-points already sent.

        Args:
            x: State at `from_ns`, 14 numbers.
            from_ns: Its instant, CLOCK_MONOTONIC [ns].
            until_ns: The instant wanted; nothing happens if it is not later [ns].
            disturbance: World acceleration not in the model [m/s^2].

        Returns:
            State at `until_ns`, 14 numbers.
        """
        if until_ns <= from_ns:
            return x
        now_ns = from_ns
        for end_ns, setpoint in self._acting(from_ns, until_ns):
            duration_s = 1e-9 * (end_ns - now_ns)
            steps = math.ceil(duration_s / MAX_STEP_S)
            for _ in range(steps):
                x = advance(self.physics, x, setpoint, disturbance, duration_s / steps)
            now_ns = end_ns
        return x

    def complete(self, state: VehicleState) -> list[float]:
        """The measured state with the modelled thrust at its instant, 14 numbers.

        The thrust filter runs along with the measurements; a measurement older than the last one leaves it alone.
        """
        if self._thrust_t_ns is None:
            self._thrust_t_ns = state.t_ns
        for end_ns, setpoint in self._acting(self._thrust_t_ns, state.t_ns) if state.t_ns > self._thrust_t_ns else ():
            target = self.physics.thrust_gain * setpoint[3]
            decay = math.exp(-1e-9 * (end_ns - self._thrust_t_ns) / self.physics.thrust_lag_s)
            self._thrust_m_s2 = target + (self._thrust_m_s2 - target) * decay
            self._thrust_t_ns = end_ns
        return [
            *state.position_m.tolist(),
            *state.velocity_m_s.tolist(),
            *state.quaternion_wxyz.tolist(),
            *state.rates_rad_s.tolist(),
            self._thrust_m_s2,
        ]

    def predict(self, state: VehicleState, act_ns: int, disturbance: Sequence[float]) -> list[float]:
        """State at the instant at which the coming set-point acts.

        Args:
            state: Newest measurement.
            act_ns: That instant, CLOCK_MONOTONIC [ns].
            disturbance: World acceleration not in the model, same frame as `state` [m/s^2].

        Returns:
            Position, velocity, quaternion, rates and collective thrust, 14 numbers.
        """
        return self.carry(self.complete(state), state.t_ns, act_ns, disturbance)
