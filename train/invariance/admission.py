"""The one-tick admission box as a table: by how much the state that a set-point leads to can be off, term by term.

Docs: docs/certificate.md, section 6. Three instants are judged: the present (0), and the first (1) and the last (2) at which the
backup policy can have taken over. At each, the radius of position, velocity, acceleration and jerk is a sum of

    1,   c,   |j|,   spread,   change,   late

times a constant: c the nominal thrust, j the nominal jerk, `spread` by how much set-points that act too long or too early differ,
`change` by how much the backup's rates can move the jerk, `late` by how much its thrust slope can. The constants are rounded up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .certificate import Certificate
from .interval import Numbers

TERMS = ("one", "thrust", "jerk", "spread", "change", "late")
PRESENT, FIRST, LAST = 0, 1, 2
UPWARD = 1.0 + 1e-12
"""The few dozen roundings behind an entry, and those of the graph that multiplies with it, stay far below."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the box depends on; pairs are (horizontal, vertical); units as in the certificate.

    Attributes:
        errors: E: position, velocity, attitude, rates.
        acceleration: W [m/s^2].
        jerk: Bound of r [m/s^3].
        tick, window, missed: Control period, half the span in which a set-point may act [s], ticks that may be missed.
        rate_lag, thrust_lag: Lags [s].
    """

    errors: tuple[float, float, float, float]
    acceleration: tuple[float, float]
    jerk: tuple[float, float]
    tick: float
    window: float
    missed: int
    rate_lag: float
    thrust_lag: float

    @classmethod
    def of(cls, certificate: Certificate) -> Admission:
        """Of a certificate."""
        a = certificate.assumptions
        errors = (a.position_error_m, a.velocity_error_m_s, a.attitude_error_rad, a.rate_error_rad_s)
        return cls(
            errors, a.acceleration_m_s2, certificate.disturbance.jerk_m_s3, a.tick_s, a.window_s, a.missed_ticks, a.rate_lag_s,
            a.thrust_lag_s,
        )  # fmt: skip

    @property
    def last(self) -> float:
        """From the instant of the tick to the last judged one [s]."""
        return max((1 + self.missed) * self.tick, self.window)

    @property
    def lead(self) -> float:
        """How long before the next tick's instant the backup's rates can begin to act [s]."""
        return max(self.window - self.tick, 0.0)

    def instants(self) -> tuple[tuple[float, float, float], ...]:
        """Of the first and the last instant: when it is, how long the backup's thrust and its rates can have acted [s]."""
        lead = self.lead
        return (self.tick, 0.0, self.tick + lead), (self.last, lead, self.tick + lead + lead)


def shares(numbers: Admission) -> Numbers:
    """How far the backup's rate set-point can have drawn the jerk at each instant, shape (3,)."""
    drawn = [1.0 - math.exp(-early / numbers.rate_lag) for _, _, early in numbers.instants()]
    return np.array([0.0, *drawn]) * UPWARD


def slower(numbers: Admission) -> float:
    """Factor of the slope of the modelled thrust in `late`."""
    return 1.0 - numbers.rate_lag / numbers.thrust_lag


def box(numbers: Admission) -> Numbers:
    """Coefficients of `TERMS`, shape (3 instants, 6 terms, 8 radii): of the radii, the first four are horizontal."""
    position, velocity, attitude, rates = numbers.errors
    one, thrust, turn, spread, change, late = np.eye(6)
    lag, root = numbers.rate_lag, math.sqrt(2.0)
    start = root * rates * thrust
    table = np.zeros((3, 6, 8))
    still = np.stack([position * one, velocity * one, attitude * thrust, start + attitude * turn], axis=1)
    table[PRESENT] = np.concatenate([still, still], axis=1)
    # straight lines between the instants: gap^2 / 8 times the largest second derivative
    bend = (numbers.last - numbers.tick) ** 2 / 8.0 / lag**2
    for n, (t, late_s, early_s) in zip((FIRST, LAST), numbers.instants(), strict=True):
        share = 1.0 - math.exp(-t / lag)
        old = max(share, (1.0 - math.exp(-numbers.window / lag)) * math.exp(-t / lag))
        known = attitude * turn + old * spread + (1.0 - math.exp(-late_s / lag)) * late
        for axis in (0, 1):
            other = numbers.jerk[axis] * one
            moved = known + share * other + bend * (turn + spread + change + late + other)
            acceleration = attitude * thrust + t * (start + moved) + early_s * change
            speed = velocity * one + t * (numbers.acceleration[axis] * one + acceleration)
            rows = (position * one + t * speed, speed, acceleration, start * (1.0 - share) + moved)
            table[n, :, 4 * axis : 4 * axis + 4] = np.stack(rows, axis=1)
    return table * UPWARD
