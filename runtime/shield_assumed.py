"""The numbers of a certificate that the shield works with, read from certificate.toml."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import Any

from tubepilot.firmware_bridge.errors import BundleError

Pair = tuple[float, float]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Assumed:
    """Numbers of the certificate that the shield needs; pairs are (horizontal, vertical)."""

    rate_error_rad_s: float
    acceleration_m_s2: Pair
    disturbance_estimate_m_s2: Pair
    rate_residual_rad_s: float
    yaw_rate_rad_s: float
    tick_s: float
    window_s: float
    missed_ticks: int
    rate_lag_s: float
    thrust_lag_s: float
    drag_1_s: Pair
    thrust_gain: float
    gravity_m_s2: float
    rate_gain: Triple
    rate_offset_rad_s: Triple
    rate_limit_rad_s: Triple
    thrust_min_m_s2: float
    thrust_max_m_s2: float
    anchors: tuple[tuple[Triple, Triple], tuple[Triple, Triple]]

    @property
    def admitted_rates_rad_s(self) -> Triple:
        """Largest set-point of each body rate: the backup's limits; of yaw also what keeps the vehicle to its assumption [rad/s]."""
        roll, pitch, yaw = self.rate_limit_rad_s
        most = (self.yaw_rate_rad_s - abs(self.rate_offset_rad_s[2])) / abs(self.rate_gain[2])
        return roll, pitch, min(yaw, max(most, 0.0))

    @property
    def estimate_limit_m_s2(self) -> Triple:
        """Largest disturbance estimate along world x, y and z, within the circle that is assumed [m/s^2]."""
        horizontal, vertical = self.disturbance_estimate_m_s2
        return horizontal / math.sqrt(2.0), horizontal / math.sqrt(2.0), vertical


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _pair(value: Any) -> Pair:
    first, second = map(_number, value)
    return first, second


def _triple(value: Any) -> Triple:
    first, second, third = map(_number, value)
    return first, second, third


def _pair_of_triples(value: Any) -> tuple[Triple, Triple]:
    horizontal, vertical = map(_triple, value)
    return horizontal, vertical


def assumed_from(certificate: bytes) -> Assumed:
    """Take the shield's numbers out of certificate.toml.

    Args:
        certificate: Bytes of the file, hash checked.

    Raises:
        BundleError: a number is missing or is none, or there are too many or too few of them.
    """
    table = tomllib.loads(certificate.decode())
    try:
        e, backup = table["assumptions"], table["backup"]
        swift, calm = (_pair_of_triples(value) for value in table["set"]["anchor"])
        return Assumed(
            rate_error_rad_s=_number(e["rate_error_rad_s"]),
            acceleration_m_s2=_pair(e["acceleration_m_s2"]),
            disturbance_estimate_m_s2=_pair(e["disturbance_estimate_m_s2"]),
            rate_residual_rad_s=_number(e["rate_residual_rad_s"]),
            yaw_rate_rad_s=_number(e["yaw_rate_rad_s"]),
            tick_s=_number(e["tick_s"]),
            window_s=0.5 * ((1 + e["missed_ticks"]) * _number(e["tick_s"]) + _number(e["delay_max_s"])),
            missed_ticks=int(_number(e["missed_ticks"])),
            rate_lag_s=_number(e["rate_lag_s"]),
            thrust_lag_s=_number(e["thrust_lag_s"]),
            drag_1_s=_pair(e["drag_1_s"]),
            thrust_gain=_number(backup["thrust_gain"]),
            gravity_m_s2=_number(e["gravity_m_s2"]),
            rate_gain=_triple(backup["rate_gain"]),
            rate_offset_rad_s=_triple(backup["rate_offset_rad_s"]),
            rate_limit_rad_s=_triple(backup["rate_limit_rad_s"]),
            thrust_min_m_s2=_number(backup["thrust_min_m_s2"]),
            thrust_max_m_s2=_number(backup["thrust_max_m_s2"]),
            anchors=(swift, calm),
        )
    except KeyError as error:
        raise BundleError(f"certificate.toml lacks {error}; run `tubepilot certify` again") from error
    except (TypeError, ValueError) as error:
        raise BundleError(f"certificate.toml cannot be used: {error}; run `tubepilot certify` again") from error
