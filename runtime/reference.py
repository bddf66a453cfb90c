"""Reference paths as data: each gives position and its derivatives at any times, in the take-off frame.

Hover, straight moves (climb, land, brake) and the figure-eight. Every path starts and ends where its neighbours do and
stands still outside of [0, duration]; heading is always that of the take-off frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

DERIVATIVES = 5
"""Position, velocity, acceleration, jerk, snap."""


class Reference(Protocol):
    """A path over time."""

    @property
    def duration_s(self) -> float:
        """Time after which it stands still [s]."""
        ...

    def derivatives(self, t_s: Vector, count: int = DERIVATIVES) -> Vector:
        """Position and its derivatives at each time, shape (n, count, 3) [m, m/s, m/s^2, m/s^3, m/s^4].

        `count` is 3 (on board) or 5.
        """
        ...


def rows(reference: Reference, t_s: Vector) -> Vector:
    """Position, velocity and acceleration side by side, as the planner reads them.

    Args:
        reference: The path.
        t_s: Times since its start, shape (n,) [s].

    Returns:
        Shape (n, 9) [m, m/s, m/s^2].
    """
    return reference.derivatives(t_s, 3).reshape(-1, 9)


@dataclass(frozen=True, slots=True)
class Hover:
    """Stand still at one point.

    Attributes:
        position_m: The point, shape (3,) [m].
        duration_s: How long the task wants it [s].
    """

    position_m: Vector
    duration_s: float

    def derivatives(self, t_s: Vector, count: int = DERIVATIVES) -> Vector:
        """See `Reference`."""
        result = np.zeros((len(t_s), count, 3))
        result[:, 0] = self.position_m
        return result


@dataclass(frozen=True, slots=True)
class Move:
    """Fifth-order polynomial from a moving start to a standing end.

    Attributes:
        coefficients: Of ascending powers of t, shape (6, 3) [m/s^k].
        duration_s: Time to the end [s].
    """

    coefficients: Vector
    duration_s: float

    @classmethod
    def to_rest(
        cls, position_m: Vector, velocity_m_s: Vector, acceleration_m_s2: Vector, end_m: Vector, duration_s: float
    ) -> Move:
        """Move from the given start to rest at `end_m` within `duration_s` [s].

        Raises:
            InputError: the duration is not positive.
        """
        if not duration_s > 0.0:
            raise InputError(f"a move lasts {duration_s} s; it must last longer than 0 s")
        t = duration_s
        start = np.stack([position_m, velocity_m_s, 0.5 * acceleration_m_s2])
        at_end = np.array([[1.0, t, t**2], [0.0, 1.0, 2.0 * t], [0.0, 0.0, 2.0]])
        wanted = np.stack([end_m, np.zeros(3), np.zeros(3)]) - at_end @ start
        powers = np.array([[t**3, t**4, t**5], [3 * t**2, 4 * t**3, 5 * t**4], [6 * t, 12 * t**2, 20 * t**3]])
        return cls(np.concatenate([start, np.linalg.solve(powers, wanted)]), duration_s)

    def derivatives(self, t_s: Vector, count: int = DERIVATIVES) -> Vector:
        """See `Reference`."""
        inside = np.clip(t_s, 0.0, self.duration_s)
        result = np.empty((len(t_s), count, 3))
        powers = inside[:, None] ** np.arange(6)
        coefficients = self.coefficients
        for order in range(count):
            result[:, order] = powers[:, : 6 - order] @ coefficients
            coefficients = coefficients[1:] * np.arange(1, 6 - order)[:, None]
        result[(t_s < 0.0) | (t_s > self.duration_s), 1:] = 0.0
        return result


def straight(start_m: Vector, end_m: Vector, peak_speed_m_s: float) -> Move:
    """Rest-to-rest straight line whose fastest instant has the given speed [m/s]: climb, descent, transfer."""
    distance_m = float(np.linalg.norm(end_m - start_m))
    duration_s = max(1.875 * distance_m / peak_speed_m_s, 0.5)
    return Move.to_rest(start_m, np.zeros(3), np.zeros(3), end_m, duration_s)


def brake(position_m: Vector, velocity_m_s: Vector, deceleration_m_s2: float) -> Move:
    """Come to rest straight ahead.

    Args:
        position_m: Where braking starts, shape (3,) [m].
        velocity_m_s: Velocity there, shape (3,) [m/s].
        deceleration_m_s2: Mean deceleration asked [m/s^2].

    Returns:
        The path; it ends half a braking time times the initial velocity further on.
    """
    speed_m_s = float(np.linalg.norm(velocity_m_s))
    duration_s = max(speed_m_s / deceleration_m_s2, 0.5)
    end_m = position_m + 0.5 * duration_s * velocity_m_s
    return Move.to_rest(position_m, velocity_m_s, np.zeros(3), end_m, duration_s)


@dataclass(frozen=True, slots=True)
class FigureEight:
    """Lemniscate (Lissajous 1:2): x = a sin(phase), y = a/2 sin(2 phase), with smooth start and stop of the phase.

    Attributes:
        centre_m: Crossing point, where it starts and ends, shape (3,) [m].
        half_length_m: a, half its extent along x [m].
        phase_rate_rad_s: Rate of the phase between the ramps [rad/s].
        laps: Number of rounds.
        ramp_s: Time of each ramp of the phase rate, from rest and to rest [s].
    """

    centre_m: Vector
    half_length_m: float
    phase_rate_rad_s: float
    laps: int
    ramp_s: float

    @classmethod
    def at_speed(cls, centre_m: Vector, size_m: float, speed_m_s: float, laps: int, ramp_s: float = 2.0) -> FigureEight:
        """The figure-eight of length `size_m` along x [m] whose fastest instant has `speed_m_s` [m/s].

        Raises:
            InputError: size, speed, laps or ramp is not positive.
        """
        if not (size_m > 0.0 and speed_m_s > 0.0 and laps >= 1 and ramp_s > 0.0):
            raise InputError(
                f"a figure-eight of size {size_m} m, speed {speed_m_s} m/s, {laps} laps and ramp {ramp_s} s cannot "
                "be flown; give size, speed and ramp above 0 and at least 1 lap"
            )
        rate = speed_m_s / (math.sqrt(2.0) * 0.5 * size_m)
        return cls(centre_m, 0.5 * size_m, rate, laps, min(ramp_s, 2.0 * math.pi * laps / rate))

    @property
    def duration_s(self) -> float:
        """Both ramps and the time between them [s]."""
        return 2.0 * math.pi * self.laps / self.phase_rate_rad_s + self.ramp_s

    def _phase(self, t_s: Vector, count: int) -> list[Vector]:
        """Phase and its derivatives, `count` arrays of shape (n,) [rad/s^k]."""
        total, ramp, rate = self.duration_s, self.ramp_s, self.phase_rate_rad_s
        t = np.minimum(np.maximum(t_s, 0.0), total)
        leaving = t > 0.5 * total
        since = np.where(leaving, total - t, t)
        sign = np.where(leaving, -1.0, 1.0)
        x = np.minimum(since / ramp, 1.0)
        x2 = x * x
        x3 = x2 * x
        beyond = np.maximum(since - ramp, 0.0)
        travelled = rate * (ramp * x2 * x2 * (2.5 - 3.0 * x + x2) + beyond)
        result = [np.where(leaving, 2.0 * math.pi * self.laps - travelled, travelled)]
        result.append(rate * x3 * (10.0 - 15.0 * x + 6.0 * x2))
        rest = x * (1.0 - x)
        result.append(sign * (rate / ramp * 30.0) * rest * rest)
        if count > 3:
            result.append(rate / ramp**2 * 60.0 * rest * (1.0 - 2.0 * x))
            inside = (beyond == 0.0) & (t_s >= 0.0) & (t_s <= total)
            result.append(sign * rate / ramp**3 * 60.0 * (1.0 - 6.0 * rest) * inside)
        return result

    def derivatives(self, t_s: Vector, count: int = DERIVATIVES) -> Vector:
        """See `Reference`; the chain rule of x(phase(t)) and y(phase(t))."""
        phase, p1, p2, *higher = self._phase(t_s, count)
        s, c, s2, c2 = np.sin(phase), np.cos(phase), np.sin(2.0 * phase), np.cos(2.0 * phase)
        a = self.half_length_m
        result = np.zeros((len(t_s), count, 3))
        for axis, f in enumerate(
            ((a * s, a * c, -a * s, -a * c, a * s), (0.5 * a * s2, a * c2, -2.0 * a * s2, -4.0 * a * c2, 8.0 * a * s2))
        ):
            result[:, 0, axis] = f[0] + self.centre_m[axis]
            result[:, 1, axis] = f[1] * p1
            result[:, 2, axis] = f[2] * p1 * p1 + f[1] * p2
            if higher:
                p3, p4 = higher
                result[:, 3, axis] = f[3] * p1**3 + 3.0 * f[2] * p1 * p2 + f[1] * p3
                result[:, 4, axis] = f[4] * p1**4 + 6.0 * f[3] * p1**2 * p2 + f[2] * (3.0 * p2**2 + 4.0 * p1 * p3)
                result[:, 4, axis] += f[1] * p4
        result[:, 0, 2] = self.centre_m[2]
        return result


Pair = tuple[float, float]
"""A horizontal (Euclidean) and a vertical magnitude."""


def peaks(reference: Reference) -> tuple[Pair, Pair]:
    """Highest speeds [m/s] and accelerations [m/s^2] of a path, each (horizontal, vertical), sampled every 5 ms."""
    samples = reference.derivatives(np.arange(0.0, reference.duration_s + 0.005, 0.005), 3)[:, 1:]
    horizontal = np.linalg.norm(samples[..., :2], axis=2).max(axis=0)
    vertical = np.abs(samples[..., 2]).max(axis=0)
    return (float(horizontal[0]), float(vertical[0])), (float(horizontal[1]), float(vertical[1]))


def check_limits(reference: Reference, speed_m_s: Pair, acceleration_m_s2: Pair) -> None:
    """Refuse a path that asks more than the bundle was proven for.

    Args:
        reference: The path.
        speed_m_s: Largest admitted speeds, horizontal and vertical [m/s].
        acceleration_m_s2: Largest admitted accelerations, likewise [m/s^2].

    Raises:
        InputError: a speed or acceleration exceeds its limit.
    """
    speed, acceleration = peaks(reference)
    for name, seen, limit in zip(("horizontal", "vertical"), speed, speed_m_s, strict=True):
        if seen > limit * 1.001:
            raise InputError(
                f"the path reaches {seen:.2f} m/s {name} speed; the bundle allows {limit:.2f} m/s: "
                "lower --speed-m-s or certify a larger set"
            )
    for name, seen, limit in zip(("horizontal", "vertical"), acceleration, acceleration_m_s2, strict=True):
        if seen > limit * 1.001:
            raise InputError(
                f"the path asks {seen:.2f} m/s^2 {name} acceleration; the bundle allows {limit:.2f} m/s^2: "
                "raise --size-m, lower --speed-m-s or certify a larger set"
            )
