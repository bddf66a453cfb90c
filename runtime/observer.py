"""Disturbance observer: the world acceleration that the model lacks (wind, trim, payload), from the measured velocity.

A second-order (Luenberger) filter: it carries an own velocity with the model's acceleration and its disturbance
estimate, and corrects both by the difference from the measured velocity. Velocity noise is thus never differentiated,
and a constant disturbance is found without offset. Reference: Astrom, Wittenmark, Computer-Controlled Systems, 4.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MAX_GAP_S = 0.045
"""After a longer gap between measurements (four missing at 100 Hz) the velocity starts afresh; the disturbance is kept,
since the model's error over the gap would be taken for one [s]."""


class DisturbanceObserver:
    """Estimate of a slowly changing acceleration, per world axis.

    Args:
        bandwidth_rad_s: Natural frequency of the estimate's response; damping is critical [rad/s].
        bound_m_s2: Each component stays within +- this [m/s^2].
    """

    def __init__(self, bandwidth_rad_s: float = 6.0, bound_m_s2: float = 4.0) -> None:
        self._bandwidth_rad_s = bandwidth_rad_s
        self._bound_m_s2 = bound_m_s2
        self._velocity_m_s: list[float] | None = None
        self._disturbance_m_s2 = [0.0, 0.0, 0.0]

    @property
    def disturbance_m_s2(self) -> list[float]:
        """The estimate, 3 numbers [m/s^2]."""
        return self._disturbance_m_s2

    def reset(self) -> None:
        """Forget everything: no disturbance."""
        self._velocity_m_s = None
        self._disturbance_m_s2 = [0.0, 0.0, 0.0]

    def update(self, measured_m_s: Sequence[float], modelled_change_m_s: Sequence[float], dt_s: float) -> list[float]:
        """Take in one measurement.

        Args:
            measured_m_s: Measured velocity, 3 numbers [m/s].
            modelled_change_m_s: Change of velocity since the last measurement by the undisturbed model [m/s].
            dt_s: Time since the last measurement [s].

        Returns:
            The new estimate [m/s^2]. It stays as it was if the input is not finite or there is no time between.
        """
        if not all(map(math.isfinite, (*measured_m_s, *modelled_change_m_s))) or not dt_s > 0.0:
            return self._disturbance_m_s2
        if self._velocity_m_s is None or dt_s > MAX_GAP_S:
            self._velocity_m_s = list(measured_m_s)
            return self._disturbance_m_s2
        # Exact double real pole at -bandwidth of the sampled error dynamics, for any dt.
        pole = math.exp(-self._bandwidth_rad_s * dt_s)
        velocity_gain, disturbance_gain = 1.0 - pole * pole, (1.0 - pole) ** 2 / dt_s
        for axis in range(3):
            carried = self._velocity_m_s[axis] + modelled_change_m_s[axis] + dt_s * self._disturbance_m_s2[axis]
            error = measured_m_s[axis] - carried
            self._velocity_m_s[axis] = carried + velocity_gain * error
            estimate = self._disturbance_m_s2[axis] + disturbance_gain * error
            self._disturbance_m_s2[axis] = min(max(estimate, -self._bound_m_s2), self._bound_m_s2)
        return self._disturbance_m_s2
