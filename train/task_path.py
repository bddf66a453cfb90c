"""Reference paths of tasks: position, velocity and acceleration over time, twice continuously differentiable.

World frame ENU [m]. Every path begins at rest, because every flight does; the goal point alone is a step by intent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from tubepilot.firmware_bridge.toml_table import TomlTable
from tubepilot.firmware_bridge.types import Vector

SPAN_M = 100.0
"""Greatest coordinate of a task [m]: float32 positions are still exact to 8 micrometres there."""

SPEED_MAX_M_S = 30.0
"""Greatest speed that a task may ask for [m/s]."""

SPEED_SAMPLES = 2001
"""Samples of a spline's flight among which the greatest speed is looked for; it is flat there, so the error is of
second order in the spacing."""


class TaskPath(Protocol):
    """A reference."""

    @property
    def start_m(self) -> Vector:
        """Where the vehicle is put (plus its drawn offset), shape (3,) [m]."""

    @property
    def end_s(self) -> float:
        """Time from which the reference rests; infinite if it never does [s]."""

    def at(self, t_s: Vector) -> Vector:
        """Position [m], velocity [m/s] and acceleration [m/s^2] at times since the start, shape (n, 9)."""


def _ramp(t_s: Vector, ramp_s: float) -> tuple[Vector, Vector, Vector]:
    """Integral [s], value and slope [1/s] of the smoothstep 3 r^2 - 2 r^3 from 0 to 1 over `ramp_s`."""
    r = np.clip(t_s / ramp_s, 0.0, 1.0)
    integral = ramp_s * (r**3 - 0.5 * r**4) + np.maximum(t_s - ramp_s, 0.0)
    return integral, r**2 * (3.0 - 2.0 * r), 6.0 * r * (1.0 - r) / ramp_s


@dataclass(frozen=True, slots=True, eq=False)
class GoalPath:
    """Rest at one point: hover if the vehicle starts there, a sprint if it starts elsewhere.

    Attributes:
        start_m: Start, shape (3,) [m].
        goal_m: Reference, shape (3,) [m].
    """

    start_m: Vector
    goal_m: Vector
    end_s: float = 0.0

    def at(self, t_s: Vector) -> Vector:
        """The goal at rest, shape (n, 9)."""
        return np.tile(np.concatenate([self.goal_m, np.zeros(6)]), (len(t_s), 1))


@dataclass(frozen=True, slots=True, eq=False)
class FigureEightPath:
    """A lying eight (Gerono's lemniscate): x = A sin(phase), y = A / 2 sin(2 phase); fastest in the crossing, where it begins.

    The rate of the phase rises over `ramp_s` from 0 to what gives `speed_m_s` in the crossing, A * rate * sqrt(2).

    Attributes:
        centre_m: The crossing, shape (3,) [m].
        half_length_m: A, the amplitude along x [m].
        speed_m_s: Greatest speed [m/s].
        ramp_s: Time of getting there [s].
    """

    centre_m: Vector
    half_length_m: float
    speed_m_s: float
    ramp_s: float
    end_s: float = np.inf

    @property
    def start_m(self) -> Vector:
        """The crossing, shape (3,) [m]."""
        return self.centre_m

    def at(self, t_s: Vector) -> Vector:
        """Position [m], velocity [m/s] and acceleration [m/s^2], shape (n, 9)."""
        rate = self.speed_m_s / (self.half_length_m * np.sqrt(2.0))
        phase, phase_1, phase_2 = (rate * part for part in _ramp(np.asarray(t_s, dtype=np.float64), self.ramp_s))
        out = np.zeros((len(phase), 9))
        out[:, 0:3] = self.centre_m
        for axis, amplitude, multiple in ((0, self.half_length_m, 1.0), (1, 0.5 * self.half_length_m, 2.0)):
            sine, cosine = np.sin(multiple * phase), np.cos(multiple * phase)
            out[:, axis] += amplitude * sine
            out[:, 3 + axis] = amplitude * multiple * cosine * phase_1
            out[:, 6 + axis] = amplitude * multiple * (cosine * phase_2 - multiple * sine * phase_1**2)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class SplinePath:
    """A cubic spline through waypoints, over chord length, flown from rest to rest.

    The parameter's rate rises over `ramp_s`, stays, and falls over `ramp_s`; it is chosen so that the greatest speed is
    `speed_m_s`. The spline is natural (no curvature at the ends, where the vehicle rests).

    Attributes:
        waypoints_m: Shape (n, 3), n >= 2 [m].
        speed_m_s: Greatest speed [m/s].
        ramp_s: Time of speeding up, and of braking [s].
    """

    waypoints_m: Vector
    speed_m_s: float
    ramp_s: float
    end_s: float = field(init=False)
    _rate: float = field(init=False)
    _spline: CubicSpline = field(init=False)

    def __post_init__(self) -> None:
        chords = np.linalg.norm(np.diff(self.waypoints_m, axis=0), axis=1)
        knots = np.concatenate([[0.0], np.cumsum(chords)])
        object.__setattr__(self, "_spline", CubicSpline(knots, self.waypoints_m, bc_type="natural"))

        def fastest(rate: float) -> float:
            self._set_rate(rate)
            return float(np.linalg.norm(self.at(np.linspace(0.0, self.end_s, SPEED_SAMPLES))[:, 3:6], axis=1).max())

        # |d spline / d chord| is 1 on a line and of that order elsewhere. On a path too short to reach the speed, the two
        # ramps meet; the rate is bounded there, and so is the speed.
        highest = float(knots[-1]) / self.ramp_s
        reached = fastest(highest) > self.speed_m_s
        self._set_rate(brentq(lambda r: fastest(r) - self.speed_m_s, 1e-3 * highest, highest) if reached else highest)

    def _set_rate(self, rate: float) -> None:
        object.__setattr__(self, "_rate", rate)
        object.__setattr__(self, "end_s", float(self._spline.x[-1]) / rate + self.ramp_s)

    @property
    def start_m(self) -> Vector:
        """The first waypoint, shape (3,) [m]."""
        return np.asarray(self.waypoints_m[0])

    def at(self, t_s: Vector) -> Vector:
        """Position [m], velocity [m/s] and acceleration [m/s^2], shape (n, 9)."""
        t = np.asarray(t_s, dtype=np.float64)
        rise, fall = _ramp(t, self.ramp_s), _ramp(t - (self.end_s - self.ramp_s), self.ramp_s)
        u, u_1, u_2 = (self._rate * (a - b) for a, b in zip(rise, fall, strict=True))
        u = np.clip(u, 0.0, self._spline.x[-1])
        first, second = self._spline(u, 1), self._spline(u, 2)
        return np.concatenate([self._spline(u), first * u_1[:, None], second * u_1[:, None] ** 2 + first * u_2[:, None]], axis=1)


PATH_KINDS = ("hover", "goal", "figure-eight", "spline")


def read_path(table: TomlTable) -> TaskPath:
    """The path of a task file's `[path]` table.

    Raises:
        InputError: a key is unknown, missing or out of range.
    """
    kind = table.text("kind", PATH_KINDS)
    path: TaskPath
    if kind == "hover":
        point = table.numbers("point_m", 3, -SPAN_M, SPAN_M)
        path = GoalPath(point, point)
    elif kind == "goal":
        path = GoalPath(table.numbers("start_m", 3, -SPAN_M, SPAN_M), table.numbers("goal_m", 3, -SPAN_M, SPAN_M))
    elif kind == "figure-eight":
        path = FigureEightPath(
            table.numbers("centre_m", 3, -SPAN_M, SPAN_M),
            table.number("half_length_m", 0.1, SPAN_M),
            table.number("speed_m_s", 0.05, SPEED_MAX_M_S),
            table.number("ramp_s", 0.1, 60.0),
        )
    else:
        waypoints = table.points("waypoints_m", 2, -SPAN_M, SPAN_M)
        if np.linalg.norm(np.diff(waypoints, axis=0), axis=1).min() < 1e-3:
            raise table.error("waypoints_m", waypoints.tolist(), "points of which neighbours are at least 0.001 m apart")
        path = SplinePath(waypoints, table.number("speed_m_s", 0.05, SPEED_MAX_M_S), table.number("ramp_s", 0.1, 60.0))
    table.finish()
    return path
