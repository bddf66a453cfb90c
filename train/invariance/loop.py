"""The closed loop under the backup policy in thrust-vector coordinates, axis by axis.

With c the modelled collective thrust and b the up direction of the body, let a = c b - g e3 and j = da/dt. Then along
each world axis, whatever the yaw and the tilt,

    p' = v,   v' = a - d v + w,   a' = j,   j' = (nu - j + r) / tau,   nu = k . (p - p_ref, v, a)

where tau is the rate lag; the backup policy lets the modelled thrust slope lag by the same tau. w and r collect wind,
model residual, estimate error, sampling, delay and missed ticks; `disturbance` bounds them. Source: docs/certificate.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .interval import Interval, Numbers, interval

STATES = ("position", "velocity", "acceleration", "jerk")
ROWS = (*STATES, "feedback", "slope")
"""Outputs that a set limits: the four states, the feedback nu [m/s^3] and its time derivative [m/s^4]."""


@dataclass(frozen=True, slots=True)
class AxisLoop:
    """Linear part of one axis.

    Attributes:
        gain: Feedback gains (position [1/s^3], velocity [1/s^2], acceleration [1/s]), float32 values, shape (3,).
        drag_1_s: Linear drag [1/s].
        lag_s: Time constant tau of the jerk [s].
    """

    gain: Numbers
    drag_1_s: float
    lag_s: float

    def dynamics(self) -> Interval:
        """Enclosure of the closed-loop matrix, shape (4, 4): 1/tau and k/tau are rounded outward."""
        lag = interval(self.lag_s)
        open_rows = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, -self.drag_1_s, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
        feedback = interval(np.append(self.gain, -1.0)) / lag
        return Interval(np.vstack([open_rows, feedback.lo]), np.vstack([open_rows, feedback.hi]))

    def inputs(self) -> Interval:
        """Enclosure of the disturbance inputs (w, r), shape (4, 2)."""
        inverse = 1.0 / interval(self.lag_s)
        columns = np.zeros((4, 2))
        columns[1, 0] = 1.0
        lo, hi = columns.copy(), columns.copy()
        lo[3, 1], hi[3, 1] = float(inverse.lo), float(inverse.hi)
        return Interval(lo, hi)

    def outputs(self) -> Interval:
        """Rows that turn a state into the limited outputs `ROWS`, shape (6, 4); the slope row leaves out w."""
        k_p, k_v, k_a = (interval(float(g)) for g in self.gain)
        zero = interval(0.0)
        slope = [zero, k_p - k_v * self.drag_1_s, k_v, k_a]
        feedback = [k_p, k_v, k_a, zero]
        identity = np.eye(4)
        lo = np.vstack([identity, [float(x.lo) for x in feedback], [float(x.lo) for x in slope]])
        hi = np.vstack([identity, [float(x.hi) for x in feedback], [float(x.hi) for x in slope]])
        return Interval(lo, hi)
