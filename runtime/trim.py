"""Trim: a slow integral of the position error that takes out what is constant in it.

The disturbance estimate makes the model right, not the plan: weights, an approximate value function and a finite
horizon can leave the plan a constant distance from the reference. The trim asks the planner for the mirrored offset.
"""

from __future__ import annotations

from collections.abc import Sequence

RATE_1_S = 0.4
"""Share of the position error taken in per second: five times slower than the position loop itself."""
BOUND_M = 0.15
STILL_M = 0.3
"""With a larger error the vehicle is on its way somewhere, and nothing is learned from it."""


class Trim:
    """Offset of the reference, per world axis, within +- `BOUND_M`."""

    def __init__(self) -> None:
        self.offset_m = [0.0, 0.0, 0.0]

    def reset(self) -> None:
        """No offset."""
        self.offset_m = [0.0, 0.0, 0.0]

    def update(self, error_m: Sequence[float], dt_s: float) -> None:
        """Take in a position error (position minus reference, 3 numbers) [m] that stood for `dt_s` [s]."""
        if not all(abs(error) < STILL_M for error in error_m):
            return
        for axis in range(3):
            wanted = self.offset_m[axis] - RATE_1_S * dt_s * error_m[axis]
            self.offset_m[axis] = min(max(wanted, -BOUND_M), BOUND_M)
