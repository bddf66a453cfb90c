"""Betaflight's map from stick to body rate, and its inverse over the whole microseconds that a channel can carry.

The five rate types of src/main/fc/rc.c (`applyBetaflightRates` and its neighbours), with its limits of +-1998 deg/s and
the profile's own. Channels are whole microseconds, so the inverse is exact: the nearest of the 1001 rates that exist.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from .errors import InputError

MIDDLE_US: Final = 1500
HALF_US: Final = 500
HARD_LIMIT_DEG_S: Final = 1998.0
_INCREMENT: Final = 14.54
"""RC_RATE_INCREMENTAL of fc/rc.c: what each 1.0 of RC rate above 2.0 counts."""


class RatesType(IntEnum):
    """`rates_type` of a rate profile."""

    BETAFLIGHT = 0
    RACEFLIGHT = 1
    KISS = 2
    ACTUAL = 3
    QUICK = 4


@dataclass(frozen=True, slots=True)
class AxisRates:
    """One axis of a rate profile, as bytes of MSP_RC_TUNING; what they mean depends on the type.

    Attributes:
        rc_rate: `rcRates`, 0..255.
        rate: `rates`, 0..255.
        expo: `rcExpo` [%].
        limit_deg_s: `rate_limit` [deg/s].
        deadband_us: `deadband` or `yaw_deadband` [us].
    """

    rc_rate: int
    rate: int
    expo: int
    limit_deg_s: int = 1998
    deadband_us: int = 0


def _held(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _betaflight(axis: AxisRates, x: float) -> float:
    size, expo = abs(x), axis.expo / 100.0
    if axis.expo:
        x = x * size**3 * expo + x * (1.0 - expo)
    rate = axis.rc_rate / 100.0
    rate += _INCREMENT * (rate - 2.0) if rate > 2.0 else 0.0
    speed = 200.0 * rate * x
    return speed / _held(1.0 - size * axis.rate / 100.0, 0.01, 1.0) if axis.rate else speed


def _raceflight(axis: AxisRates, x: float) -> float:
    size = abs(x)
    x = (1.0 + 0.01 * axis.expo * (x * x - 1.0)) * x
    return 10.0 * axis.rc_rate * x * (1.0 + size * axis.rate * 0.01)


def _kiss(axis: AxisRates, x: float) -> float:
    expo = axis.expo / 100.0
    gain = 1.0 / _held(1.0 - abs(x) * axis.rate / 100.0, 0.01, 1.0)
    return 2000.0 * gain * (x**3 * expo + x * (1.0 - expo)) * axis.rc_rate / 1000.0


def _actual(axis: AxisRates, x: float) -> float:
    expo, centre = axis.expo / 100.0, axis.rc_rate * 10.0
    curved = abs(x) * (x**5 * expo + x * (1.0 - expo))
    return x * centre + max(0.0, axis.rate * 10.0 - centre) * curved


def _quick(axis: AxisRates, x: float) -> float:
    size, expo, rate = abs(x), axis.expo / 100.0, float(axis.rc_rate * 2)
    if rate == 0.0:
        return 0.0
    ratio = max(axis.rate * 10.0, rate) / rate
    curve = size**3 * expo + size * (1.0 - expo)
    return x * rate / _held(1.0 - curve * (ratio - 1.0) / ratio, 0.01, 1.0)


_FORMULAS: Final[dict[RatesType, Callable[[AxisRates, float], float]]] = {
    RatesType.BETAFLIGHT: _betaflight,
    RatesType.RACEFLIGHT: _raceflight,
    RatesType.KISS: _kiss,
    RatesType.ACTUAL: _actual,
    RatesType.QUICK: _quick,
}


def rate_deg_s(kind: RatesType, axis: AxisRates, channel_us: int) -> float:
    """Body rate that a channel asks for in acro mode, positive with the stick [deg/s].

    Args:
        kind: Formula of the profile.
        axis: Its numbers for this axis.
        channel_us: Pulse width [us], limited to 1000..2000.
    """
    stick_us = _held(float(channel_us - MIDDLE_US), -HALF_US, HALF_US)
    dead = float(axis.deadband_us)
    stick_us = 0.0 if abs(stick_us) < dead else math.copysign(abs(stick_us) - dead, stick_us)
    limit = min(HARD_LIMIT_DEG_S, float(axis.limit_deg_s))
    return _held(_FORMULAS[kind](axis, stick_us / (HALF_US - dead)), -limit, limit)


class RateTable:
    """Inverse of one axis: body rate to channel.

    Args:
        kind: Formula of the profile.
        axis: Its numbers for this axis.

    Raises:
        InputError: the profile does not rise with the stick, so that a rate has no one channel.
    """

    def __init__(self, kind: RatesType, axis: AxisRates) -> None:
        rates = [rate_deg_s(kind, axis, channel) for channel in range(1000, 2001)]
        if any(b < a for a, b in itertools.pairwise(rates)) or rates[-1] <= 0.0:
            raise InputError(f"rate profile {kind.name} {axis} does not rise with the stick; choose other rates in Betaflight")
        self._rates = rates
        self.most_rad_s = math.radians(rates[-1])
        self.least_step_rad_s = math.radians(max(b - a for a, b in itertools.pairwise(rates)))

    def channel_us(self, rate_rad_s: float) -> int:
        """Channel whose rate is nearest [us].

        Args:
            rate_rad_s: Body rate, positive with the stick [rad/s].

        Raises:
            InputError: not finite, or beyond what the profile can ask for.
        """
        wanted = math.degrees(rate_rad_s)
        rates = self._rates
        if not rates[0] - 1e-9 <= wanted <= rates[-1] + 1e-9:
            raise InputError(
                f"rate set-point is {rate_rad_s!r} rad/s; the craft's rate profile reaches +-{self.most_rad_s:.2f} rad/s: "
                "raise the rates in Betaflight or lower the limits of the bundle"
            )
        index = min(bisect_left(rates, wanted), len(rates) - 1)
        if index > 0 and wanted - rates[index - 1] < rates[index] - wanted:
            index -= 1
        # Several channels may ask for the same rate (deadband, limits): the middle one, so that zero is 1500.
        if rates[index] == 0.0:
            return MIDDLE_US
        return 1000 + index
