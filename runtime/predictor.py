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


def _quaternion_product(p: Sequence[float], q: Sequence[float]) -> list[float]:
    pw, px, py, pz = p
    qw, qx, qy, qz = q
    return [
        pw * qw - px * qx - py * qy - pz * qz,
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
    ]


def _rotate(q: Sequence[float], vector: Sequence[float]) -> list[float]:
    """Turn a body vector to the world."""
    w, x, y, z = q
    a, b, c = vector
    return [
        (1 - 2 * (y * y + z * z)) * a + 2 * (x * y - w * z) * b + 2 * (x * z + w * y) * c,
        2 * (x * y + w * z) * a + (1 - 2 * (x * x + z * z)) * b + 2 * (y * z - w * x) * c,
        2 * (x * z - w * y) * a + 2 * (y * z + w * x) * b + (1 - 2 * (x * x + y * y)) * c,
    ]


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
    quaternion, rates, thrust = x[6:10], x[10:13], x[13]
    rates_next, half_turn = [], [1.0]
    for axis in range(3):
        lag = physics.rate_lag_s[axis]
        target = physics.rate_gain[axis] * setpoint[axis] + physics.rate_offset_rad_s[axis]
        decay = math.exp(-dt_s / lag)
        rates_next.append(target + (rates[axis] - target) * decay)
        half_turn.append(0.5 * dt_s * (target + (rates[axis] - target) * (1 - decay) * lag / dt_s))
    target = physics.thrust_gain * setpoint[3]
    decay = math.exp(-dt_s / physics.thrust_lag_s)
    thrust_next = target + (thrust - target) * decay
    thrust_mean = target + (thrust - target) * (1 - decay) * physics.thrust_lag_s / dt_s

    turned = _quaternion_product(quaternion, half_turn)
    norm = math.sqrt(sum(value * value for value in turned))
    turned = [value / norm for value in turned]
    up, up_next = _rotate(quaternion, (0.0, 0.0, 1.0)), _rotate(turned, (0.0, 0.0, 1.0))
    w, vx, vy, vz = quaternion
    body_velocity = _rotate((w, -vx, -vy, -vz), x[3:6])
    drag = _rotate(quaternion, [-k * v for k, v in zip(physics.drag_1_s, body_velocity, strict=True)])
    position, velocity = [], []
    for axis in range(3):
        gravity = GRAVITY_M_S2 if axis == 2 else 0.0
        force = thrust_mean * 0.5 * (up[axis] + up_next[axis]) - gravity + drag[axis] + disturbance[axis]
        velocity.append(x[3 + axis] + dt_s * force)
        position.append(x[axis] + 0.5 * dt_s * (x[3 + axis] + velocity[axis]))
    return [*position, *velocity, *turned, *rates_next, thrust_next]


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
