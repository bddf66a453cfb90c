"""One flight of one task: conditions drawn by a seed, set-points in, states, rewards and a score out.

World frame ENU, body frame FLU. The set-point is that of the nominal vehicle: throttle = thrust / nominal thrust scale, so that
a payload, a tired battery or drawn deviations make it wrong, and whoever flies has to notice.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import NamedTuple

import numpy as np

from tubepilot.firmware_bridge.errors import InputError, ShapeError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .task_conditions import clearance, constraints_of, draw_conditions
from .task_definition import Gate, TaskDefinition
from .task_estimator import NoisyEstimator
from .task_vehicle import Vehicle

DT_S = 0.01
"""Tick [s]: 100 Hz, the rate of the flight logs that models are learnt from."""

RATE_LIMIT_RAD_S = (6.0, 6.0, 3.0)
"""Greatest commanded body rates [rad/s]: half a turn of roll in 0.5 s, about what a small quadrotor's rate loop follows
without saturating its rotors; yaw has far less torque."""

THRUST_SHARES = (0.1, 0.95)
"""Range of the commanded thrust over the thrust scale: rotors keep turning below, and above there is some force left to steer."""

VALUE_AT_MARGIN = 0.1
"""dm_control's default value of `tolerance` at the margin."""

WIDE = 2.5
"""Margin of the wide score over the task's: how large a gain looks depends on the margin, so both are reported."""

TILT_MAX_COSINE = float(np.cos(np.radians(120.0)))
"""A vehicle tilted by more than 120 deg pushes itself down by half its thrust or more; no task asks for that."""

FENCE_CRASH_M = 0.5
"""A tick outside of the geofence earns nothing; this far outside the flight is over [m]."""

GROUND_M = 0.02
"""Height of the centre of a vehicle that stands on its legs [m]."""


class StepResult(NamedTuple):
    """Outcome of one tick.

    Attributes:
        reward: In [0, 1].
        terminated: The flight ended before its time.
        reason: Why, if terminated.
        info: position_error_m, speed_m_s, gates_passed and violated (names of the limits violated in this tick).
    """

    reward: float
    terminated: bool
    reason: str | None
    info: dict[str, object]


def tolerance(error_m: float, margin_m: float) -> float:
    """dm_control's `tolerance` with the gaussian sigmoid and bounds (0, 0): 1 at no error, 0.1 at the margin.

    Source: dm_control/utils/rewards.py, `_sigmoids`: exp(-0.5 (x scale)^2), scale = sqrt(-2 ln(value_at_margin)).
    """
    return float(VALUE_AT_MARGIN ** ((error_m / margin_m) ** 2))


def gate_passed(gate: Gate, radius_m: float, before_m: Vector, after_m: Vector) -> bool | None:
    """Whether a movement went through a gate: True, False (through its plane beside the opening), None (not through its plane).

    Args:
        gate: The gate; its plane is passed in its direction only.
        radius_m: Radius of the vehicle, by which the opening is smaller [m].
        before_m, after_m: Positions, shape (3,) [m].
    """
    cosine, sine = np.cos(gate.heading_rad), np.sin(gate.heading_rad)
    first, last = before_m - gate.centre_m, after_m - gate.centre_m
    behind, ahead = (float(cosine * p[0] + sine * p[1]) for p in (first, last))
    if not behind < 0.0 <= ahead:
        return None
    crossing = first + (last - first) * (behind / (behind - ahead))
    sideways = abs(float(cosine * crossing[1] - sine * crossing[0]))
    return sideways <= 0.5 * gate.width_m - radius_m and abs(float(crossing[2])) <= 0.5 * gate.height_m - radius_m


class TaskFlight:
    """One flight of one task with one seed.

    Args:
        task: What to fly.
        seed: Draws the conditions; whole, >= 0.
        vehicle: What flies; its wind, factors and state are set.

    Raises:
        InputError: the seed is negative, or the task's forest cannot be drawn.

    Attributes:
        dt_s: Tick [s].
        time_s: Time since the start [s].
        constraints: Obstacles, geofence and speed limit, inflated for planning.
        obstacles: True cylinders, rows of x, y and radius, shape (n, 3) [m].
        action_low, action_high: Set-point limits, shape (4,): body rates [rad/s], collective thrust [m/s^2].
        gates_passed: Number of gates behind the vehicle.
        finished: Whether the flight is over.
    """

    def __init__(self, task: TaskDefinition, seed: int, vehicle: Vehicle) -> None:
        conditions = draw_conditions(task, seed)
        self.task, self._vehicle, self._factors = task, vehicle, conditions.factors
        self.obstacles = conditions.obstacles
        self.constraints = constraints_of(task, conditions.obstacles)
        scale = vehicle.thrust_scale_m_s2
        self.action_high = np.array([*RATE_LIMIT_RAD_S, THRUST_SHARES[1] * scale])
        self.action_low = np.array([*(-rate for rate in RATE_LIMIT_RAD_S), THRUST_SHARES[0] * scale])
        self.dt_s, self._tick = DT_S, 0
        self._ticks = max(1, round(task.duration_s / DT_S))
        self.finished, self.gates_passed, self._total, self._wide_total = False, 0, 0.0, 0.0
        self._pending = deque([np.array([0.0, 0.0, 0.0, GRAVITY_M_S2])] * task.delay_ticks)
        vehicle.wind = conditions.wind
        self._apply_changes()
        vehicle.reset(conditions.start_m, np.zeros(3))
        self._estimator = NoisyEstimator(task.estimator, conditions.noise, DT_S)
        goal = task.path.at(np.zeros(1))[0, 0:3]
        distance = float(np.linalg.norm(conditions.start_m - goal))
        self._margin_m = distance if task.reward_margin_m is None else task.reward_margin_m

    @property
    def time_s(self) -> float:
        """Time since the start [s]."""
        return self._tick * self.dt_s

    @property
    def score(self) -> float:
        """Mean reward over the nominal duration; ticks that were not flown count 0. In [0, 1]."""
        return self._total / self._ticks

    @property
    def wide_score(self) -> float:
        """`score` as it would be with `WIDE` times the margin."""
        return self._wide_total / self._ticks

    def reference(self, t_s: Vector) -> Vector:
        """Position [m], velocity [m/s] and acceleration [m/s^2] at times since the start, shape (n, 9)."""
        return self.task.path.at(np.atleast_1d(np.asarray(t_s, dtype=np.float64)))

    def true_state(self) -> Vector:
        """Position [m], velocity [m/s], quaternion wxyz, body rates [rad/s], shape (13,)."""
        vehicle = self._vehicle
        return np.concatenate([vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz, vehicle.rates_rad_s])

    def state(self) -> Vector:
        """The estimate of `true_state`, shape (13,); the same within a tick."""
        return self._estimator.estimate(self.true_state())

    def step(self, setpoint: Vector) -> StepResult:
        """Hold a set-point for one tick.

        Args:
            setpoint: Body rates [rad/s] and mass-normalised collective thrust of the nominal vehicle [m/s^2], shape (4,);
                clipped to the limits. One that is not finite ends the flight.

        Raises:
            ShapeError: the set-point has another shape.
            InputError: the flight is over.
        """
        asked = np.asarray(setpoint, dtype=np.float64)
        if asked.shape != (4,):
            raise ShapeError(f"a set-point has shape (4,): three body rates and a thrust; got shape {asked.shape}")
        if self.finished:
            raise InputError(f"the flight of {self.task.name} ended at {self.time_s:.2f} s; make a new TaskFlight")
        before = self.true_state()
        reason: str | None = "set-point not finite"
        if np.all(np.isfinite(asked)):
            self._pending.append(np.clip(asked, self.action_low, self.action_high))
            command = self._pending.popleft()
            self._apply_changes()
            throttle = min(max(float(command[3]) / self._vehicle.thrust_scale_m_s2, 0.0), 1.0)
            self._vehicle.step(command[0:3], throttle, self.dt_s)
            reason = self._crash(before[0:3])
        self._tick += 1
        self._estimator.advance()
        result = self._judge(reason)
        self._total += result.reward
        # VALUE_AT_MARGIN ** ((error / margin) ** 2): a wider margin is a root of the reward.
        self._wide_total += result.reward ** (1.0 / WIDE**2)
        self.finished = result.terminated or self._tick >= self._ticks
        return result

    def _apply_changes(self) -> None:
        """Payload and battery at the present time."""
        mass = thrust = 1.0
        if self.task.payload is not None and self.time_s >= self.task.payload.from_s - 1e-9:
            mass = self.task.payload.mass_factor
        if self.task.battery is not None:
            share = min(self.time_s / self.task.duration_s, 1.0)
            thrust = self.task.battery.first + (self.task.battery.last - self.task.battery.first) * share
        factors = dataclasses.replace(self._factors, mass=mass * self._factors.mass, thrust=thrust * self._factors.thrust)
        if factors != self._vehicle.factors:
            self._vehicle.set_factors(factors)

    def _crash(self, before_m: Vector) -> str | None:
        """Why the flight ends here, or None; counts gates."""
        x = self.true_state()
        if not np.all(np.isfinite(x)):
            return "state not finite"
        if x[2] <= GROUND_M:
            return "ground"
        if clearance(x[None, 0:2], self.obstacles)[0] < self.task.vehicle_radius_m:
            return "obstacle"
        if float(np.max(self._outside_m(x[0:3]))) > FENCE_CRASH_M:
            return "geofence"
        if 1.0 - 2.0 * (x[7] ** 2 + x[8] ** 2) < TILT_MAX_COSINE:
            return "tilt"
        if self.gates_passed < len(self.task.gates):
            passed = gate_passed(self.task.gates[self.gates_passed], self.task.vehicle_radius_m, before_m, x[0:3])
            if passed is False:
                return f"gate {self.gates_passed + 1} missed"
            self.gates_passed += bool(passed)
        return None

    def _outside_m(self, position_m: Vector) -> Vector:
        """How far outside of each face of the geofence, negative inside, shape (6,) [m]."""
        fence = np.asarray(self.constraints.fence)
        return np.asarray(fence[:, 0:3] @ position_m - fence[:, 3])

    def _judge(self, reason: str | None) -> StepResult:
        x = self.true_state()
        error_m = float(np.linalg.norm(x[0:3] - self.reference(np.array([self.time_s]))[0, 0:3]))
        speed = float(np.linalg.norm(x[3:6]))
        limits = {"geofence": bool(self._outside_m(x[0:3]).max() > 0.0), "speed limit": speed > self.task.speed_limit_m_s}
        violated = tuple(name for name, broken in limits.items() if broken)
        reward = 0.0 if reason is not None or violated else tolerance(error_m, self._margin_m)
        info: dict[str, object] = {"position_error_m": error_m, "speed_m_s": speed}
        info |= {"gates_passed": self.gates_passed, "violated": violated}
        return StepResult(reward, reason is not None, reason, info)
