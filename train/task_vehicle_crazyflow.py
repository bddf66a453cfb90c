"""crazyflow's Crazyflie 2.1 brushless as a vehicle: a simulator that shares no code, no parameters and no rate loop with rotorpy.

Physics are crazyflow's own `first_principles.dynamics` (fitted to the real vehicle: thrust and torque polynomials, asymmetric
rotor dynamics, linear drag, gyroscopic torque of the propellers), the rate loop its own `body_rate2force_torque` with the
attitude terms set to zero, as its documentation says for pure rates. What is ours: Runge-Kutta steps of the fourth order at its
recommended 500 Hz, and the factors.

crazyflow needs the environment variable SCIPY_ARRAY_API=1 before scipy is first imported. Version 0.4.0 of it declares that it
does not go with jax 0.10.2; the functions used here give equal flights with 0.10.1 and 0.10.2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError
from tubepilot.firmware_bridge.simulator import Factors
from tubepilot.firmware_bridge.simulator_wind import GustyWind
from tubepilot.firmware_bridge.types import Vector

from .task_vehicle import Vehicle

DRONE = "cf21B_500"
"""Crazyflie 2.1 brushless: the only Crazyflie of crazyflow with a thrust-to-weight ratio near rotorpy's (1.88 against 1.95)."""

FREQUENCY_HZ = 500
"""Of the rate loop and of the steps, as crazyflow recommends."""


class Body(NamedTuple):
    """State: position [m], quaternion body to world xyzw, velocity [m/s], body rates [rad/s], rotor speeds [rpm]."""

    position: Float[Array, "3"]
    quaternion: Float[Array, "4"]
    velocity: Float[Array, "3"]
    rates: Float[Array, "3"]
    rotors: Float[Array, "4"]


class Loop(NamedTuple):
    """Memory of the rate loop: rates and command of the pass before, shapes (3,) and (4,)."""

    rates: Float[Array, "3"]
    command: Float[Array, "4"]


def _load() -> tuple[Any, Any, Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """crazyflow's three functions and their parameters.

    Raises:
        MissingExtraError: crazyflow is not installed.
        InputError: scipy was imported without the variable that crazyflow needs.
    """
    if find_spec("crazyflow") is None:
        raise MissingExtraError('this simulator needs crazyflow; install it: pip install "tubepilot[crazyflow]"')
    if "scipy" in sys.modules and os.environ.get("SCIPY_ARRAY_API") != "1":
        raise InputError("crazyflow needs the environment variable SCIPY_ARRAY_API=1 from the start; set it and start again")
    from crazyflow.control.core import load_fn_params
    from crazyflow.control.mellinger import control
    from crazyflow.dynamics import load_params
    from crazyflow.dynamics.first_principles import dynamics

    rate_loop, allocate = control.body_rate2force_torque, control.force_torque2rotor_vel
    physics = dict(load_params("first_principles", DRONE))
    limits = {key: float(physics.pop(key)) for key in ("thrust_min", "thrust_max")}
    gains = dict(load_fn_params(rate_loop, DRONE))
    gains |= {"kR": np.zeros(3), "ki_m": np.zeros(3)}
    mixer = dict(load_fn_params(allocate, DRONE)) | limits
    return dynamics, rate_loop, allocate, physics, gains, mixer


def _make_advance(dynamics: Any, rate_loop: Any, allocate: Any, physics: Any, gains: Any, mixer: Any) -> Callable[..., Any]:
    """The compiled tick: `count` passes of the rate loop, each followed by one Runge-Kutta step."""
    h = 1.0 / FREQUENCY_HZ

    def derivative(body: Body, speeds: Array, wind: Array, factors: Array) -> Body:
        mass, thrust, lag, drag = factors
        changed = dict(physics)
        changed["mass"] = physics["mass"] * mass
        changed["drag_matrix"] = physics["drag_matrix"] * drag
        changed["rpm2thrust"] = physics["rpm2thrust"] * thrust
        changed["rpm2torque"] = physics["rpm2torque"] * thrust
        changed["rotor_dyn_coef"] = physics["rotor_dyn_coef"] / lag
        # Drag is relative to the ground in crazyflow: the velocity it is given is that through the air.
        _, turned, acceleration, angular, spun = dynamics(
            body.position, body.quaternion, body.velocity - wind, body.rates, speeds, body.rotors, **changed
        )
        return Body(body.velocity, turned, acceleration, angular, spun)

    def advance(body: Body, loop: Loop, command: Array, wind: Array, factors: Array, count: int) -> tuple[Body, Loop]:
        def one(_: int, state: tuple[Body, Loop]) -> tuple[Body, Loop]:
            body, loop = state
            force, torque, _error = rate_loop(
                body.quaternion, body.rates, command, loop.rates, loop.command, None, FREQUENCY_HZ, **gains
            )
            speeds = allocate(force, torque, **mixer)
            k1 = derivative(body, speeds, wind, factors)
            k2 = derivative(jax.tree.map(lambda x, k: x + 0.5 * h * k, body, k1), speeds, wind, factors)
            k3 = derivative(jax.tree.map(lambda x, k: x + 0.5 * h * k, body, k2), speeds, wind, factors)
            k4 = derivative(jax.tree.map(lambda x, k: x + h * k, body, k3), speeds, wind, factors)
            after = jax.tree.map(lambda x, a, b, c, d: x + h / 6.0 * (a + 2.0 * b + 2.0 * c + d), body, k1, k2, k3, k4)
            unit = after.quaternion / jnp.sqrt(jnp.sum(after.quaternion**2))
            return after._replace(quaternion=unit), Loop(body.rates, command)

        return jax.lax.fori_loop(0, count, one, (body, loop))

    return jax.jit(advance)


class CrazyflowVehicle(Vehicle):
    """crazyflow's Crazyflie 2.1 brushless behind its own rate loop.

    Raises:
        MissingExtraError: crazyflow is not installed.
        InputError: scipy was imported without SCIPY_ARRAY_API=1.
    """

    def __init__(self) -> None:
        functions = _load()
        physics, mixer = functions[3], functions[5]
        self._force_max_n = 4.0 * mixer["thrust_max"]
        self._mass_kg = float(physics["mass"])
        self._polynomial = np.asarray(physics["rpm2thrust"], dtype=np.float64)
        self._gravity_m_s2 = -float(physics["gravity_vec"][2])
        self.thrust_scale_m_s2 = self._force_max_n / self._mass_kg
        self._advance = _make_advance(*functions)
        self.wind = GustyWind(np.zeros(3))
        self._factors = Factors()
        self.reset(np.zeros(3), np.zeros(3))

    @property
    def factors(self) -> Factors:
        """Deviations from nominal."""
        return self._factors

    def set_factors(self, factors: Factors) -> None:
        """Change all deviations from nominal."""
        self._factors = factors

    def reset(self, position_m: Vector, velocity_m_s: Vector) -> None:
        """Put the vehicle into the air, level, facing east, rotors carrying its weight, at time 0; shapes (3,)."""
        start = np.concatenate([position_m, velocity_m_s])
        if start.shape != (6,) or not np.all(np.isfinite(start)):
            raise InputError(f"position and velocity must be 3 finite numbers each, got {position_m!r} m, {velocity_m_s!r} m/s")
        weight_n = self._factors.mass * self._mass_kg * self._gravity_m_s2
        c, b, a = self._polynomial
        rotor_n = weight_n / 4.0 / self._factors.thrust
        hover_rpm = float((-b + np.sqrt(b**2 - 4.0 * a * (c - rotor_n))) / (2.0 * a))
        self._time_s = 0.0
        arrays = (start[0:3], [0.0, 0.0, 0.0, 1.0], start[3:6], np.zeros(3), np.full(4, hover_rpm))
        self._body = Body(*(jnp.asarray(part, dtype=float) for part in arrays))
        self._loop = Loop(jnp.zeros(3), jnp.asarray([0.0, 0.0, 0.0, weight_n]))

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates [rad/s], shape (3,), and throttle 0..1 for a time, a multiple of 2 ms [s].

        Raises:
            InputError: a command is not finite or the time is no multiple of the simulator's step.
        """
        count = round(dt_s * FREQUENCY_HZ)
        if count < 1 or abs(count / FREQUENCY_HZ - dt_s) > 1e-9:
            raise InputError(f"crazyflow advances in steps of {1.0 / FREQUENCY_HZ} s, got {dt_s!r} s; give a multiple")
        command = np.array([*rates_rad_s, min(max(throttle, 0.0), 1.0) * self._force_max_n])
        if command.shape != (4,) or not np.all(np.isfinite(command)):
            raise InputError(f"rates and throttle must be finite, got {rates_rad_s!r} rad/s and {throttle!r}")
        wind = self.wind.velocity_m_s(self._time_s + 0.5 * dt_s, self.position_m)
        factors = self._factors
        numbers = jnp.asarray([factors.mass, factors.thrust, factors.motor_lag, factors.drag])
        self._body, self._loop = self._advance(
            self._body, self._loop, jnp.asarray(command), jnp.asarray(wind), numbers, count
        )
        self._time_s += dt_s

    @property
    def position_m(self) -> Vector:
        """World ENU, shape (3,)."""
        return np.array(self._body.position, dtype=np.float64)

    @property
    def velocity_m_s(self) -> Vector:
        """World ENU, shape (3,)."""
        return np.array(self._body.velocity, dtype=np.float64)

    @property
    def quaternion_wxyz(self) -> Vector:
        """Body FLU to world ENU, shape (4,)."""
        return np.array(self._body.quaternion, dtype=np.float64)[[3, 0, 1, 2]]

    @property
    def rates_rad_s(self) -> Vector:
        """Body FLU, shape (3,)."""
        return np.array(self._body.rates, dtype=np.float64)
