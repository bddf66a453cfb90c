"""The simulated quadrotor: rotorpy's multirotor physics behind the rate loop of a flight controller.

Physics are rotorpy's own (`Multirotor._s_dot_fn` with the parameters of an `Airframe`: motor lag, rotor drag, induced
inflow, wind), which no one of this project wrote; gravity is rotorpy's 9.81 m/s^2. What is ours: the explicit
midpoint steps that replace `solve_ivp` (an order cheaper; the tests bound the difference), the rate loop, and
when ground contact ends (rotorpy holds a vehicle down until one step lifts it by 1 mm, which depends on the step).

Throttle is linear in collective force, as in firmware with a compensated thrust curve.
World frame ENU with the ground at z = 0, body frame FLU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from rotorpy.vehicles.multirotor import Multirotor

from .errors import InputError
from .rate_loop import RateLoop
from .simulator_airframes import CRAZYFLIE, Airframe
from .simulator_wind import GustyWind
from .types import Vector

SUBSTEP_S = 1.0 / 300.0
"""Longest physics step and period of the rate loop [s]; three to a tick of 10 ms."""

SKID_HOLD_M_S = 0.05
"""Below this horizontal speed the skids hold on the ground [m/s]."""

STANDING_RAD_S = 1.0
"""Below this speed of every rotor, and without a command, a vehicle at rest on the ground is not integrated."""

IDLE_THROTTLE = 0.02
"""Below this throttle on the ground the rate loop is off and all rotors get the same speed, dimensionless."""


FACTOR_RANGE = (0.2, 5.0)
"""Factors outside of this are no longer the same kind of vehicle; the rate loop, tuned for 1, would not hold it."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a vehicle really is over what everyone takes it for (the parameters, the rate loop); 1 is nominal.

    Attributes:
        mass: Mass; a payload at the centre of mass, so the inertia stays.
        thrust: Force and drag torque of a rotor at equal command: its speed changes by the square root, as with the
            voltage of a battery.
        motor_lag: Time constant of the motors.
        drag: Rotor drag and induced inflow, the aerodynamic forces linear in airspeed.

    Raises:
        InputError: a factor is outside `FACTOR_RANGE`.
    """

    mass: float = 1.0
    thrust: float = 1.0
    motor_lag: float = 1.0
    drag: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not FACTOR_RANGE[0] <= value <= FACTOR_RANGE[1]:
                raise InputError(
                    f"the vehicle's {field.name} factor must be {FACTOR_RANGE[0]} to {FACTOR_RANGE[1]}, got {value!r}"
                )


class SimulatedQuadrotor:
    """A quadrotor that takes body rates and throttle, or rotor speeds. Deterministic for equal inputs.

    Args:
        wind: The wind; still air if None.
        substep_s: Longest physics step [s].
        factors: Deviations from the nominal vehicle; the attribute of that name changes them in flight.
        airframe: Which vehicle.
    """

    def __init__(
        self, wind: GustyWind | None = None, substep_s: float = SUBSTEP_S, factors: Factors | None = None,
        airframe: Airframe = CRAZYFLIE,
    ) -> None:  # fmt: skip
        if not 1e-4 <= substep_s <= 0.01:
            raise InputError(f"the physics step must be 0.0001 to 0.01 s, got {substep_s!r}")
        self.wind = GustyWind(np.zeros(3)) if wind is None else wind
        self.airframe = airframe
        self.parameters = airframe.parameters
        self._physics = Multirotor(airframe.parameters, aero=True, enable_ground=False)
        self._substep_s = substep_s
        self.mass_kg = float(self._physics.mass)
        self.gravity_m_s2 = float(self._physics.g)
        self.rotor_max_rad_s = float(self._physics.rotor_speed_max)
        self._thrust_coefficient = float(self._physics.k_eta)
        self.force_max_n = 4.0 * self._thrust_coefficient * self.rotor_max_rad_s**2
        self._loop = RateLoop(
            airframe.gains,
            self._physics.inertia,
            self._physics.TM_to_f,
            self.force_max_n / 4.0,
            self._thrust_coefficient,
        )
        self._nominal_mass_kg, self._nominal_lag_s = self.mass_kg, float(self._physics.tau_m)
        self._nominal_drag = self._physics.rotor_drag_matrix.copy()
        self.factors = Factors() if factors is None else factors
        self.reset()

    @property
    def factors(self) -> Factors:
        """Deviations from the nominal vehicle; may be set at any time and hold from the next step on."""
        return self._factors

    @factors.setter
    def factors(self, factors: Factors) -> None:
        self._factors = factors
        self.mass_kg = factors.mass * self._nominal_mass_kg
        self._physics.mass = self.mass_kg
        self._physics.weight = np.array([0.0, 0.0, -self.mass_kg * self.gravity_m_s2])
        self._physics.tau_m = factors.motor_lag * self._nominal_lag_s
        self._physics.rotor_drag_matrix = factors.drag * self._nominal_drag
        self._speed_gain = math.sqrt(factors.thrust)

    @property
    def thrust_scale_m_s2(self) -> float:
        """Collective acceleration at throttle 1 with the present factors [m/s^2]."""
        return self._factors.thrust * self.force_max_n / self.mass_kg

    @property
    def hover_throttle(self) -> float:
        """Throttle that carries the weight in still air, dimensionless."""
        return self.gravity_m_s2 / self.thrust_scale_m_s2

    def reset(
        self,
        position_m: Vector | None = None,
        yaw_rad: float = 0.0,
        velocity_m_s: Vector | None = None,
        hovering: bool | None = None,
    ) -> None:
        """Put the vehicle somewhere, level, at time 0.

        Args:
            position_m: Position, world ENU, shape (3,) [m]; the origin if None.
            yaw_rad: Heading, anticlockwise from east [rad].
            velocity_m_s: Velocity, world ENU, shape (3,) [m/s]; zero if None.
            hovering: Rotors at hover speed if True, standing if False; True if None and above the ground.

        Raises:
            InputError: the position is below the ground or a value is not finite.
        """
        position = np.zeros(3) if position_m is None else np.asarray(position_m, dtype=np.float64)
        velocity = np.zeros(3) if velocity_m_s is None else np.asarray(velocity_m_s, dtype=np.float64)
        finite = np.all(np.isfinite(position)) and np.all(np.isfinite(velocity)) and math.isfinite(yaw_rad)
        if position.shape != (3,) or velocity.shape != (3,) or not finite or position[2] < 0.0:
            raise InputError(
                f"the start must be finite and at or above the ground (z >= 0 m): position {position_m!r} m, "
                f"velocity {velocity_m_s!r} m/s, yaw {yaw_rad!r} rad"
            )
        spinning = bool(position[2] > 0.0) if hovering is None else hovering
        hover_rad_s = math.sqrt(self.mass_kg * self.gravity_m_s2 / 4.0 / self._thrust_coefficient)
        self.time_s = 0.0
        self._s: Vector = np.zeros(20)
        self._s[0:3] = position
        self._s[3:6] = velocity
        self._s[8:10] = math.sin(yaw_rad / 2.0), math.cos(yaw_rad / 2.0)
        self._s[13:16] = self.wind.velocity_m_s(0.0, position)
        self._s[16:20] = hover_rad_s if spinning else 0.0
        self._commanded: Vector = self._s[16:20].copy()
        self.on_ground = bool(position[2] <= 0.0)
        self._loop.reset()

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates and throttle, the rate loop running at each physics step.

        Args:
            rates_rad_s: Commanded body rates, FLU, shape (3,) [rad/s].
            throttle: Collective force over the greatest possible, clipped to [0, 1].
            dt_s: Time to advance [s].

        Raises:
            InputError: a command is not finite, or the time is not positive.
        """
        setpoint = np.asarray(rates_rad_s, dtype=np.float64)
        if setpoint.shape != (3,) or not np.all(np.isfinite(setpoint)) or not math.isfinite(throttle):
            raise InputError(f"rates and throttle must be finite, got {rates_rad_s!r} rad/s and {throttle!r}")
        throttle = min(max(float(throttle), 0.0), 1.0)
        force_n = throttle * self.force_max_n
        count, step_s = self._substeps(dt_s)
        for _ in range(count):
            if self.on_ground and throttle < IDLE_THROTTLE:
                self._loop.reset()
                command = np.full(4, math.sqrt(force_n / 4.0 / self._thrust_coefficient))
            else:
                command = self._loop.rotor_speeds(setpoint, force_n, self._s[10:13], step_s)
            self._advance(command, step_s)
            if self.on_ground:
                self._loop.reset()

    def step_motors(self, rotor_rad_s: Vector, dt_s: float) -> None:
        """Advance under commanded rotor speeds, as rotorpy's own controllers give them; the rate loop is off.

        Args:
            rotor_rad_s: Commanded rotor speeds, shape (4,), clipped to what the motors can do [rad/s].
            dt_s: Time to advance [s].

        Raises:
            InputError: a command is not finite, or the time is not positive.
        """
        command = np.asarray(rotor_rad_s, dtype=np.float64)
        if command.shape != (4,) or not np.all(np.isfinite(command)):
            raise InputError(f"rotor speeds must be 4 finite numbers [rad/s], got {rotor_rad_s!r}")
        command = np.clip(command, self._physics.rotor_speed_min, self._physics.rotor_speed_max)
        self._loop.reset()
        count, step_s = self._substeps(dt_s)
        for _ in range(count):
            self._advance(command, step_s)

    def _substeps(self, dt_s: float) -> tuple[int, float]:
        if not (math.isfinite(dt_s) and 0.0 < dt_s <= 1.0):
            raise InputError(f"one step must advance by more than 0 and at most 1 s, got {dt_s!r}")
        count = max(1, math.ceil(dt_s / self._substep_s - 1e-9))
        return count, dt_s / count

    def _advance(self, command: Vector, dt_s: float) -> None:
        """One explicit midpoint step, then ground contact."""
        s = self._s
        self._commanded = command
        s[13:16] = self.wind.velocity_m_s(self.time_s + 0.5 * dt_s, s[0:3])
        if self.on_ground and not command.any() and s[16:20].max() < STANDING_RAD_S and not s[3:6].any():
            s[16:20] = 0.0
            self.time_s += dt_s
            return
        derivative = self._physics._s_dot_fn
        command = self._speed_gain * command
        middle = s + 0.5 * dt_s * derivative(0.0, s, command)
        s = s + dt_s * derivative(0.0, middle, command)
        s[6:10] /= math.sqrt(float(s[6:10] @ s[6:10]))
        s[16:20] = np.maximum(s[16:20], self._physics.rotor_speed_min)
        self.time_s += dt_s
        self.on_ground = bool(s[2] <= 0.0 and s[5] <= 0.0)
        if self.on_ground:
            held = self._physics._handle_vehicle_on_ground(Multirotor._unpack_state(s))
            s[0:3], s[3:6], s[6:10], s[10:13] = held["x"], held["v"], held["q"], held["w"]
            if math.hypot(s[3], s[4]) < SKID_HOLD_M_S:
                s[0:2], s[3:5] = self._s[0:2], 0.0
        self._s = s

    @property
    def position_m(self) -> Vector:
        """Position, world ENU, shape (3,) [m]."""
        return self._s[0:3].copy()

    @property
    def velocity_m_s(self) -> Vector:
        """Velocity, world ENU, shape (3,) [m/s]."""
        return self._s[3:6].copy()

    @property
    def quaternion_wxyz(self) -> Vector:
        """Attitude, body FLU to world ENU, scalar first, unit norm, shape (4,)."""
        return self._s[[9, 6, 7, 8]]

    @property
    def rates_rad_s(self) -> Vector:
        """Body rates, FLU, shape (3,) [rad/s]."""
        return self._s[10:13].copy()

    @property
    def rotor_rad_s(self) -> Vector:
        """Rotor speeds, shape (4,) [rad/s]."""
        return self._s[16:20].copy()

    @property
    def commanded_rotor_rad_s(self) -> Vector:
        """Rotor speeds commanded in the last physics step, shape (4,) [rad/s]."""
        return self._commanded.copy()

    @property
    def wind_m_s(self) -> Vector:
        """Velocity of the air of the last physics step, world ENU, shape (3,) [m/s]."""
        return self._s[13:16].copy()

    @property
    def accelerometer_m_s2(self) -> Vector:
        """Specific force at the centre of mass, body FLU, shape (3,) [m/s^2]: an ideal accelerometer in flight.

        On the ground the normal force is not in it.
        """
        derivative = self._physics._s_dot_fn(0.0, self._s, self._commanded)
        x, y, z, w = self._s[6:10]
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        force: Vector = rotation.T @ (derivative[3:6] + np.array([0.0, 0.0, self.gravity_m_s2]))
        return force

    def rotorpy_state(self) -> dict[str, Vector]:
        """State as rotorpy's controllers read it: x, v, q (scalar last), w, wind, rotor_speeds; a copy."""
        return {key: np.array(value) for key, value in Multirotor._unpack_state(self._s).items()}
