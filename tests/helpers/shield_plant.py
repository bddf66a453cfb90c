"""The plant of docs/certificate.md, section 2, flown through one take-over, with every error and every instant at will.

For the attack on the admission box: rates and thrust are exact, the attitude turns in steps of 0.1 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tubepilot.firmware_bridge.types import Vector
from tubepilot.runtime.shield import Assumed

STEP_S = 1e-4
Rates = tuple[float, float]


@dataclass
class Body:
    """Position, velocity, rotation body to world, roll and pitch rate, modelled thrust and its slope."""

    position: Vector
    velocity: Vector
    rotation: Vector
    rates: Vector
    thrust: float
    slope: float = 0.0

    def copy(self) -> Body:
        """Another one."""
        return Body(
            self.position.copy(), self.velocity.copy(), self.rotation.copy(), self.rates.copy(), self.thrust, self.slope
        )


@dataclass
class Errors:
    """What acts from s_k on: acceleration besides the estimate (3), roll-pitch residual (2), yaw rate."""

    wind: Vector = field(default_factory=lambda: np.zeros(3))
    residual: Vector = field(default_factory=lambda: np.zeros(2))
    yaw: float = 0.0


def rotated(rotation: Vector, angle: Vector) -> Vector:
    """A rotation, turned by a rotation vector of the body."""
    size = float(np.linalg.norm(angle))
    if size == 0.0:
        return rotation
    x, y, z = angle / size
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    result: Vector = rotation @ (np.eye(3) + math.sin(size) * cross + (1.0 - math.cos(size)) * cross @ cross)
    return result


def flat(body: Body, gravity: float) -> Vector:
    """Rows position, velocity, acceleration, jerk; columns world axes."""
    forward, left, up = body.rotation.T
    jerk = body.slope * up + body.thrust * (body.rates[1] * forward - body.rates[0] * left)
    return np.stack([body.position, body.velocity, body.thrust * up - np.array([0.0, 0.0, gravity]), jerk])


def fly(
    body: Body, a: Assumed, start_s: float, end_s: float, rates: Callable[[float], Vector], disturbance: Vector, errors: Errors,
    thrust: Callable[[float], tuple[str, float]],
) -> Body:  # fmt: skip
    """From one instant to another.

    Args:
        body: At the start; not changed.
        a: Lags, drag, gravity.
        rates: Roll and pitch rate that the set-point in force at an instant leads to [rad/s].
        disturbance: Estimate [m/s^2].
        errors: Zero before s_k = 0.
        thrust: At an instant "to" and what the modelled thrust goes to [m/s^2], or "law" and the feedback along the thrust [m/s^3].
    """
    now = body.copy()
    count = max(round((end_s - start_s) / STEP_S), 0)
    drag = np.array([a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1]])
    weight = np.array([0.0, 0.0, a.gravity_m_s2])
    decay, decay_c = math.exp(-STEP_S / a.rate_lag_s), math.exp(-STEP_S / a.thrust_lag_s)
    for n in range(count):
        middle = start_s + (n + 0.5) * STEP_S
        acting = middle > 0.0
        target = rates(middle) + (errors.residual if acting else 0.0)
        turned = target * STEP_S + (now.rates - target) * (1.0 - decay) * a.rate_lag_s
        before = now.thrust * now.rotation[:, 2]
        now.rotation = rotated(now.rotation, np.array([*turned, errors.yaw * STEP_S if acting else 0.0]))
        now.rates = target + (now.rates - target) * decay
        kind, value = thrust(middle)
        if kind == "to":
            now.thrust = value + (now.thrust - value) * decay_c
            now.slope = (value - now.thrust) / a.thrust_lag_s
        else:
            now.thrust += value * STEP_S + (now.slope - value) * a.rate_lag_s * (1.0 - decay)
            now.slope = value + (now.slope - value) * decay
        push = 0.5 * (before + now.thrust * now.rotation[:, 2]) - weight + disturbance + (errors.wind if acting else 0.0)
        velocity = now.velocity + STEP_S * (push - drag * (now.velocity + 0.5 * STEP_S * (push - drag * now.velocity)))
        now.position = now.position + 0.5 * STEP_S * (now.velocity + velocity)
        now.velocity = velocity
    return now


def schedule(starts: Sequence[tuple[float, Vector]]) -> Callable[[float], Vector]:
    """Rates in force at an instant: those of the newest set-point that has begun to act; (start, rates), oldest first."""

    def at(t: float) -> Vector:
        value = starts[0][1]
        for start, rates in starts:
            if start <= t:
                value = rates
        return value

    return at
