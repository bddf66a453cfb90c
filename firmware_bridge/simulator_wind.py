"""Wind of the simulator: rotorpy's constant wind plus a bounded smooth gust made of rotorpy's sinusoids."""

from __future__ import annotations

import numpy as np
from rotorpy.wind.default_winds import ConstantWind, SinusoidWind

from .errors import InputError
from .types import Vector

GUST_SHARE = np.array([0.66, 0.66, 0.33])
"""Share of the gust bound on each axis; their norm is below 1, so the bound holds for the vector."""

GUST_TONES = 4
GUST_LOWEST_HZ = 0.05
GUST_HIGHEST_HZ = 0.8


def wind_vector(speed_m_s: float, from_deg: float) -> Vector:
    """Velocity of the air for a meteorological wind.

    Args:
        speed_m_s: Speed [m/s].
        from_deg: Direction that the wind comes from, clockwise from north [deg]; 270 blows towards east.

    Returns:
        Velocity of the air in world ENU, shape (3,) [m/s].
    """
    angle = np.radians(from_deg)
    return -speed_m_s * np.array([np.sin(angle), np.cos(angle), 0.0])


class GustyWind:
    """Constant wind plus `GUST_TONES` sinusoids per axis with seeded frequencies, phases and amplitudes.

    Args:
        mean_m_s: Mean velocity of the air, world ENU, shape (3,) [m/s].
        gust_m_s: Bound on the norm of the gust, at every instant [m/s].
        seed: Seed of frequencies, phases and amplitudes.

    Raises:
        InputError: a value is not finite or the gust bound is negative.
    """

    def __init__(self, mean_m_s: Vector, gust_m_s: float = 0.0, seed: int = 0) -> None:
        mean = np.asarray(mean_m_s, dtype=np.float64)
        if mean.shape != (3,) or not np.all(np.isfinite(mean)):
            raise InputError(f"the mean wind must be 3 finite numbers [m/s], got {mean_m_s!r}")
        if not (np.isfinite(gust_m_s) and gust_m_s >= 0.0):
            raise InputError(f"the gust bound must be a finite number >= 0 m/s, got {gust_m_s!r}")
        self.mean_m_s: Vector = mean
        self.gust_m_s = float(gust_m_s)
        self._constant = ConstantWind(*mean)
        self._tones: list[SinusoidWind] = []
        if gust_m_s > 0.0:
            generator = np.random.default_rng(seed)
            shares = generator.dirichlet(np.ones(GUST_TONES), size=3)
            ratio = GUST_HIGHEST_HZ / GUST_LOWEST_HZ
            for k in range(GUST_TONES):
                frequency_hz = GUST_LOWEST_HZ * ratio ** ((k + generator.uniform(size=3)) / GUST_TONES)
                self._tones.append(
                    SinusoidWind(
                        amplitudes=gust_m_s * GUST_SHARE * shares[:, k],
                        frequencies=frequency_hz,
                        phase=generator.uniform(size=3) / frequency_hz,
                    )
                )

    def velocity_m_s(self, t_s: float, position_m: Vector) -> Vector:
        """Velocity of the air at a time and place, world ENU, shape (3,) [m/s]."""
        wind: Vector = np.array(self._constant.update(t_s, position_m), dtype=np.float64)
        for tone in self._tones:
            wind += tone.update(t_s, position_m)
        return wind
