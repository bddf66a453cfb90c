"""What throttle gives an acceleration: the bundle's thrust scale, the craft's thrust curve, the battery's voltage.

The scale holds at full throttle and at the voltage `full_v`. Thrust over throttle u is (1 - c) u + c u^2 of the greatest thrust
with the curve c, as PX4's THR_MDL_FAC and ArduPilot's MOT_THST_EXPO have it. A sagging battery takes the greatest thrust down
with the square of its voltage (speed of a motor at given throttle goes with voltage, thrust with speed squared); the voltage is
smoothed over `SMOOTHING_S`, because it sags and recovers with every throttle change, and that would go round in a loop.
Where the firmware does either by itself, both stay off here: doing it twice is as wrong as not at all.
"""

from __future__ import annotations

import math

from .errors import InputError

SMOOTHING_S = 2.0
LEAST_SHARE, MOST_SHARE = 0.6, 1.1
"""Of the voltage over `full_v`: beyond, the reading is taken for wrong and the nearer bound is used."""


def throttle_of(share: float, curve: float) -> float:
    """Throttle 0..1 that gives a share of the greatest thrust, which is (1 - curve) u + curve u^2 of the throttle u."""
    linear = 1.0 - curve
    root = linear + math.sqrt(linear * linear + 4.0 * curve * share)  # the form without a difference: no digits are lost
    return min(2.0 * share / root, 1.0) if share > 0.0 else 0.0


class ThrustMap:
    """Acceleration to throttle for one craft.

    Args:
        scale_m_s2: Collective acceleration at full throttle [m/s^2].
        curve: Share of the square in the thrust over the throttle, 0..1.
        full_v: Voltage at which the scale holds; 0 leaves the battery out [V].
    """

    def __init__(self, scale_m_s2: float, curve: float = 0.0, full_v: float = 0.0) -> None:
        self._scale_m_s2, self._curve, self._full_v = scale_m_s2, curve, full_v
        self._voltage: float | None = None
        self._seen_ns = 0

    def see_battery(self, voltage: float, now_ns: int) -> None:
        """Take a reading of the battery [V] at a time on CLOCK_MONOTONIC [ns]; one that is not finite or not positive is left out."""
        if not 0.0 < voltage < math.inf:
            return
        if self._voltage is None:
            self._voltage = voltage
        else:
            passed_s = max(now_ns - self._seen_ns, 0) * 1e-9
            self._voltage += (voltage - self._voltage) * -math.expm1(-passed_s / SMOOTHING_S)
        self._seen_ns = now_ns

    @property
    def most_m_s2(self) -> float:
        """Collective acceleration at full throttle with the battery as it is [m/s^2]."""
        if self._full_v == 0.0 or self._voltage is None:
            return self._scale_m_s2
        share = min(max(self._voltage / self._full_v, LEAST_SHARE), MOST_SHARE)
        return self._scale_m_s2 * share * share

    def throttle(self, thrust_m_s2: float) -> float:
        """Throttle 0..1 for a collective acceleration.

        A tired battery may not reach what the full one would: then it is full throttle, and not a refusal.

        Args:
            thrust_m_s2: Wanted [m/s^2].

        Raises:
            InputError: not finite, negative, or more than full throttle gives with a full battery.
        """
        share = thrust_m_s2 / self._scale_m_s2
        if not 0.0 <= share <= 1.0:
            raise InputError(f"throttle is {share!r}; it must be 0..1: check the thrust scale of the bundle")
        return throttle_of(min(thrust_m_s2 / self.most_m_s2, 1.0), self._curve)
