"""Vehicles that tasks are flown with: one interface, and two of its three makers (the third: `task_vehicle_crazyflow`).

All take body rates and throttle, as a flight controller does; throttle 1 is the *nominal* `thrust_scale_m_s2`. What a task
changes (mass, thrust, motor lag, drag, wind) changes the physics and not what the vehicle says of itself.
World frame ENU, body frame FLU.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.simulator import Factors, SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_wind import GustyWind
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .dynamics import WorldModel, rotation_matrix, step


class Vehicle(Protocol):
    """What a task is flown with. Set factors and wind before `reset`; both may also change in flight."""

    wind: GustyWind
    """Wind; its velocity is in world ENU."""

    thrust_scale_m_s2: float
    """Collective acceleration at throttle 1 of the nominal vehicle [m/s^2]."""

    @property
    def factors(self) -> Factors:
        """Deviations from nominal."""

    def set_factors(self, factors: Factors) -> None:
        """Change all deviations from nominal."""

    def set_mass_factor(self, factor: float) -> None:
        """Change the mass to a multiple of nominal."""
        self.set_factors(dataclasses.replace(self.factors, mass=factor))

    def set_thrust_factor(self, factor: float) -> None:
        """Change the force at equal throttle to a multiple of nominal."""
        self.set_factors(dataclasses.replace(self.factors, thrust=factor))

    def reset(self, position_m: Vector, velocity_m_s: Vector) -> None:
        """Put the vehicle into the air, level, facing east, carrying its weight, at time 0; shapes (3,)."""

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates [rad/s], shape (3,), and throttle 0..1 for a time [s]."""

    @property
    def position_m(self) -> Vector:
        """World ENU, shape (3,)."""

    @property
    def velocity_m_s(self) -> Vector:
        """World ENU, shape (3,)."""

    @property
    def quaternion_wxyz(self) -> Vector:
        """Body FLU to world ENU, shape (4,)."""

    @property
    def rates_rad_s(self) -> Vector:
        """Body FLU, shape (3,)."""


class RotorpyVehicle(Vehicle):
    """rotorpy's Crazyflie behind the simulated flight controller's rate loop."""

    def __init__(self) -> None:
        self.simulator = SimulatedQuadrotor()
        self.thrust_scale_m_s2 = self.simulator.thrust_scale_m_s2

    @property
    def wind(self) -> GustyWind:
        """Wind."""
        return self.simulator.wind

    @wind.setter
    def wind(self, wind: GustyWind) -> None:
        self.simulator.wind = wind

    @property
    def factors(self) -> Factors:
        """Deviations from nominal."""
        return self.simulator.factors

    def set_factors(self, factors: Factors) -> None:
        """Change all deviations from nominal."""
        self.simulator.factors = factors

    def reset(self, position_m: Vector, velocity_m_s: Vector) -> None:
        """Put the vehicle into the air, level, facing east, rotors at hover speed, at time 0; shapes (3,)."""
        self.simulator.reset(position_m, velocity_m_s=velocity_m_s, hovering=True)

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates [rad/s], shape (3,), and throttle 0..1 for a time [s]."""
        self.simulator.step(rates_rad_s, throttle, dt_s)

    @property
    def position_m(self) -> Vector:
        """World ENU, shape (3,)."""
        return self.simulator.position_m

    @property
    def velocity_m_s(self) -> Vector:
        """World ENU, shape (3,)."""
        return self.simulator.velocity_m_s

    @property
    def quaternion_wxyz(self) -> Vector:
        """Body FLU to world ENU, shape (4,)."""
        return self.simulator.quaternion_wxyz

    @property
    def rates_rad_s(self) -> Vector:
        """Body FLU, shape (3,)."""
        return self.simulator.rates_rad_s


@jax.jit
def _advance(
    model: WorldModel, x: Float[Array, "14"], s: Float[Array, "4"], wind: Float[Array, "3"], dt_s: float
) -> Float[Array, "14"]:
    # Drag in `step` is relative to the ground; that of the air's own velocity is what the wind adds.
    rotation = rotation_matrix(x[6:10])
    pushed = rotation @ (model.physics.drag_1_s * (rotation.T @ wind))
    return step(model, x, s, pushed, dt_s)[0]


class LearnedVehicle(Vehicle):
    """A learned model as the vehicle; with all factors at 1 and no wind it is `dynamics.step` and nothing else.

    Thrust at equal throttle scales with thrust over mass, drag with drag over mass, the thrust's lag with the motors' (the
    rates' lag is that of a closed loop around them and stays).

    Args:
        model: World model.
        thrust_scale_m_s2: Collective acceleration at throttle 1 [m/s^2], as in the checkpoint's settings.
    """

    def __init__(self, model: WorldModel, thrust_scale_m_s2: float) -> None:
        self._nominal, self.thrust_scale_m_s2 = model, thrust_scale_m_s2
        self.wind = GustyWind(np.zeros(3))
        self._factors = Factors()
        self._x: Vector = np.zeros(14)
        self.set_factors(self._factors)
        self.reset(np.zeros(3), np.zeros(3))

    @property
    def factors(self) -> Factors:
        """Deviations from nominal."""
        return self._factors

    def set_factors(self, factors: Factors) -> None:
        """Change all deviations from nominal; the force stays for the moment, so the acceleration follows the mass."""
        self._x[13] *= self._factors.mass / factors.mass
        self._factors = factors
        physics = self._nominal.physics
        self._model = self._nominal._replace(
            physics=physics._replace(
                thrust_gain=physics.thrust_gain * (factors.thrust / factors.mass),
                thrust_lag_s=physics.thrust_lag_s * factors.motor_lag,
                drag_1_s=physics.drag_1_s * (factors.drag / factors.mass),
            )
        )

    def reset(self, position_m: Vector, velocity_m_s: Vector) -> None:
        """Put the vehicle into the air, level, facing east, carrying its weight, at time 0; shapes (3,)."""
        start = np.concatenate([position_m, velocity_m_s, [1.0], np.zeros(6), [GRAVITY_M_S2]])
        if start.shape != (14,) or not np.all(np.isfinite(start)):
            raise InputError(f"position and velocity must be 3 finite numbers each, got {position_m!r} m, {velocity_m_s!r} m/s")
        self._x, self._time_s = start, 0.0

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates [rad/s], shape (3,), and throttle 0..1 for a time [s]."""
        setpoint = np.array([*rates_rad_s, min(max(throttle, 0.0), 1.0) * self.thrust_scale_m_s2])
        wind = self.wind.velocity_m_s(self._time_s + 0.5 * dt_s, self._x[0:3])
        self._x = np.array(_advance(self._model, jnp.asarray(self._x), setpoint, wind, dt_s), dtype=np.float64)
        self._time_s += dt_s

    @property
    def position_m(self) -> Vector:
        """World ENU, shape (3,)."""
        return self._x[0:3].copy()

    @property
    def velocity_m_s(self) -> Vector:
        """World ENU, shape (3,)."""
        return self._x[3:6].copy()

    @property
    def quaternion_wxyz(self) -> Vector:
        """Body FLU to world ENU, shape (4,)."""
        return self._x[6:10].copy()

    @property
    def rates_rad_s(self) -> Vector:
        """Body FLU, shape (3,)."""
        return self._x[10:13].copy()
