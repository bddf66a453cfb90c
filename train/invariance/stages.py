"""Limits that shrink from stage to stage, found by following the loop from the states that the set should hold (floats; a proposal).

From given starts the largest output that the loop can reach is summed up stage by stage, with the disturbances bounded over the
limits of that very stage: large at the start, small once the vehicle has slowed down. After the last stage its own bounds are held
for ever. Nothing here is trusted: `disturbance` bounds w and r again over the result, `maximal_set` proposes sets, `proof` judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm

from tubepilot.firmware_bridge.errors import CertificateError

from .assumptions import Assumptions, Pair
from .disturbance import Limits, bound
from .interval import Numbers
from .loop import ROWS, AxisLoop
from .maximal_set import influence

SETTLE_S = 20.0
"""How long the last stage is followed to find its limits [s]."""
ROOM = 1.01
"""Surplus of the limits over what was summed up, for what the proof bounds more coarsely."""
BETWEEN = np.array([1.006, 1.006, 1.007, 1.022, 1.025, 1.022])
BETWEEN_LAG_S = 0.045
"""Room of each output between two steps of the proof, for vehicles of this rate lag or a longer one; faster ones need more [1]."""
PIECES = 8
"""Cells of the thrust vector, coarse: only to propose limits."""
ROUNDING_M_S3 = 0.01


def between(rate_lag_s: float) -> Numbers:
    """Room of each output between two sub-steps of the proof, shape (6,) [1]."""
    result: Numbers = 1.0 + (BETWEEN - 1.0) * max(1.0, BETWEEN_LAG_S / rate_lag_s)
    return result


@dataclass(frozen=True, slots=True)
class Start:
    """States that the first stage should hold, each pair (in every horizontal direction, vertical); any signs, at once.

    Attributes:
        velocity_m_s, acceleration_m_s2, jerk_m_s3: Velocity, thrust vector minus hover plus held disturbance, its derivative.
        ahead_m: How far ahead of the vehicle the anchor is put along the velocity, and along the acceleration [m].
    """

    velocity_m_s: Pair
    acceleration_m_s2: Pair
    jerk_m_s3: Pair
    ahead_m: tuple[Pair, Pair]

    def largest(self, rows: Numbers, axis: int) -> Numbers:
        """Bound of rows . z over these states, shape of `rows` without its last axis."""
        (v, a, j), (along_v, along_a) = (
            (pair[axis] for pair in (self.velocity_m_s, self.acceleration_m_s2, self.jerk_m_s3)),
            (pair[axis] for pair in self.ahead_m),
        )
        result: Numbers = (
            np.abs(rows[..., 1] * v - rows[..., 0] * along_v)
            + np.abs(rows[..., 2] * a - rows[..., 0] * along_a)
            + np.abs(rows[..., 3]) * j
        )
        return result


class _Axis:
    """Outputs of one axis at every step, and what the disturbances add to them."""

    def __init__(self, loop: AxisLoop, starts: Sequence[Start], axis: int, steps: int, step_s: float) -> None:
        dynamics, inputs, outputs = (0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs(), loop.outputs()))
        flow = expm(dynamics * step_s)
        rows = [outputs]
        for _ in range(steps):
            rows.append(rows[-1] @ flow)
        self.rows = np.array(rows)
        self.added = influence(self.rows.reshape(-1, 4), inputs, dynamics, step_s).reshape(steps + 1, len(ROWS), 2)
        self.nominal = np.max([start.largest(self.rows, axis) for start in starts], axis=0)

    def reached(self, time: int, bounds: Numbers) -> Numbers:
        """Bound of the outputs after `time` steps whose disturbances were `bounds`, shape (time, 2); later ones like the last."""
        counted = np.minimum(np.arange(time), bounds.shape[0] - 1)
        result: Numbers = self.nominal[time] + np.einsum("tor,tr->o", self.added[:time][::-1], bounds[counted])
        return result


def limits_of(
    assumptions: Assumptions, gain: Numbers, loops: Sequence[AxisLoop], starts: Sequence[Start], count: int, step_s: float
) -> Numbers:
    """Limits of every stage.

    Args:
        assumptions: E, W, timing and lags.
        gain: Feedback gains, shape (2, 3).
        loops: Horizontal and vertical.
        starts: What the first stage should hold.
        count: Stages before the last one.
        step_s: Length of a stage [s].

    Returns:
        Shape (count + 1, 6, 2): rows as `loop.ROWS`, horizontal and vertical.

    Raises:
        CertificateError: the disturbances grow faster than the loop settles.
    """
    settle = int(np.ceil(SETTLE_S / step_s))
    axes = [_Axis(loop, starts, n, count + settle, step_s) for n, loop in enumerate(loops)]
    room = ROOM * between(assumptions.rate_lag_s)[:, None]
    limits = np.zeros((count + 1, len(ROWS), 2))
    bounds = np.zeros((count + 1, 2, 2))  # stage, axis, (w, r)

    def bounded(stage: int) -> Numbers:
        """Disturbances over the limits of this stage and of its neighbours, as far as they are known, shape (2, 2)."""
        wide = limits[max(stage - 1, 0) : stage + 3].max(axis=0)
        found = bound(assumptions, as_limits(np.maximum(wide, 1e-2)), gain, PIECES, ROUNDING_M_S3)
        return np.array([found.acceleration_m_s2, found.jerk_m_s3]).T

    def grown(value: list[Numbers]) -> Numbers:
        result: Numbers = np.stack(value, axis=1) * room
        return result

    def follow(stage: int) -> None:
        """Limits of a stage before the last one, at both of its ends."""
        limits[stage] = grown([
            np.maximum(axis.reached(stage, bounds[:, n]), axis.reached(stage + 1, bounds[: stage + 1, n]))
            for n, axis in enumerate(axes)
        ])  # fmt: skip

    limits[0] = np.maximum(grown([axis.nominal[:2].max(axis=0) for axis in axes]), 0.3)
    bounds[0] = bounded(0)
    for stage in [*range(count), *range(count)]:  # the second time with the limits of the next stages known
        bounds[stage] = bounds[stage] if bounds[stage].any() else bounds[stage - 1]
        for _ in range(2):
            follow(stage)
            bounds[stage] = bounded(stage)
    ending = range(max(0, count - 2), count)  # stages whose bounds depend on the limits of the last one
    for _ in range(60):
        bounds[count] = np.maximum(bounds[count], bounds[count - 1]) if count else bounds[0]
        for stage in ending:
            follow(stage)
        limits[count] = grown([
            np.max([axis.reached(count + t, bounds[:, n]) for t in range(0, settle + 1, 3)], axis=0) for n, axis in enumerate(axes)
        ])  # fmt: skip
        found = np.array([bounded(stage) for stage in (*ending, count)])
        if np.all(found <= bounds[-found.shape[0] :] * 1.001):
            return limits
        bounds[-found.shape[0] :] = np.maximum(bounds[-found.shape[0] :], found * 1.002)
    raise CertificateError("the disturbances of the last stage grow with its limits: no set; tighten an assumption")


def bounded_over(own: Numbers) -> Numbers:
    """Limits over which the disturbances of each stage of a chain are bounded; shapes as `limits_of`.

    What acts in a stage was computed in the one before, in it or in the next one; and in each of these the state moves from the
    limits of a stage to those of the next.
    """
    last = own.shape[0] - 1
    result: Numbers = np.max([own[np.clip(np.arange(last + 1) + shift, 0, last)] for shift in (-1, 0, 1, 2)], axis=0)
    return result


def as_limits(rows: Numbers) -> Limits:
    """Limits from an array of shape (6, 2)."""
    return Limits(*((float(h), float(v)) for h, v in rows))
