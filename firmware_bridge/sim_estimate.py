"""What the simulated firmware believes of its vehicle: the truth with bounded noise, shifted, frozen or broken on request."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .frames import Four, Three, turned
from .simulator import SimulatedQuadrotor
from .types import Vector

POSITION_BOUND_M = 0.01
VELOCITY_BOUND_M_S = 0.02
ATTITUDE_BOUND_RAD = 0.002
RATES_BOUND_RAD_S = 0.02
SIGMAS = 3.0
"""Estimator noise is normal with a standard deviation of bound / SIGMAS, redrawn beyond the bound."""


class Attitude(NamedTuple):
    """Attitude, body FLU to world ENU, scalar first, and body rates FLU [rad/s]."""

    quaternion_wxyz: Four
    rates_rad_s: Three


class Place(NamedTuple):
    """Position [m] and velocity [m/s], world ENU."""

    position_m: Three
    velocity_m_s: Three


class Estimator:
    """Estimates of one vehicle.

    Args:
        vehicle: Its true state.
        seed: Of the noise; None: there is none.
    """

    def __init__(self, vehicle: SimulatedQuadrotor, seed: int | None) -> None:
        self._vehicle = vehicle
        self._noise = None if seed is None else np.random.default_rng(seed)
        self._shift_m = np.zeros(3)
        self._frozen_until_s = self._broken_until_s = -math.inf
        self._frozen: dict[type, Attitude | Place] = {}

    def freeze(self, seconds: float) -> None:
        """Stand still for so long from now [s]."""
        self._frozen_until_s, self._frozen = self._vehicle.time_s + seconds, {}

    def break_down(self, seconds: float) -> None:
        """Be no number for so long from now [s]."""
        self._broken_until_s = self._vehicle.time_s + seconds

    def shift_east(self, distance_m: float) -> None:
        """Jump by so much from now on [m]."""
        self._shift_m = self._shift_m + np.array([distance_m, 0.0, 0.0])

    @property
    def is_broken(self) -> bool:
        """Whether what it gives now should be no number; the protocol says how it sends that."""
        return self._vehicle.time_s < self._broken_until_s

    def _bounded(self, bound: float) -> Vector:
        if self._noise is None:
            return np.zeros(3)
        draw: Vector = self._noise.normal(scale=bound / SIGMAS, size=3)
        while np.abs(draw).max() > bound:
            draw = self._noise.normal(scale=bound / SIGMAS, size=3)
        return draw

    def attitude(self) -> Attitude:
        """Attitude and rates now."""
        vehicle = self._vehicle
        w, x, y, z = vehicle.quaternion_wxyz.tolist()
        tilt = self._bounded(ATTITUDE_BOUND_RAD).tolist()
        quaternion = turned((w, x, y, z), (tilt[0], tilt[1], tilt[2]), 1.0)
        p, q, r = (vehicle.rates_rad_s + self._bounded(RATES_BOUND_RAD_S)).tolist()
        made = Attitude(quaternion, (p, q, r))
        frozen = self._frozen.setdefault(Attitude, made) if vehicle.time_s < self._frozen_until_s else made
        return frozen if isinstance(frozen, Attitude) else made

    def place(self) -> Place:
        """Position and velocity now."""
        vehicle = self._vehicle
        x, y, z = (vehicle.position_m + self._shift_m + self._bounded(POSITION_BOUND_M)).tolist()
        vx, vy, vz = (vehicle.velocity_m_s + self._bounded(VELOCITY_BOUND_M_S)).tolist()
        made = Place((x, y, z), (vx, vy, vz))
        frozen = self._frozen.setdefault(Place, made) if vehicle.time_s < self._frozen_until_s else made
        return frozen if isinstance(frozen, Place) else made
