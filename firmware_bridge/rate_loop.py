"""Rate loop and control allocation of the simulated firmware: body rates and throttle to rotor speeds.

The loop is the PID of common multirotor firmware: P on the rate error, D on the measured angular
acceleration (so that a step of the setpoint does not kick), and a small bounded integrator. D is what makes
slow motors usable: with motor lag tau the loop is tau s^2 + (1 + D) s + P = 0, so P and D place both poles,
where the motors alone would allow only slow ones.

Allocation gives priority to roll and pitch, then to collective thrust, then to yaw: when a rotor would leave
its range, yaw torque is scaled down first, then collective thrust is shifted until roll and pitch fit, and only
if they do not fit at any thrust are they scaled down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .types import Vector


@dataclass(frozen=True, slots=True)
class RateGains:
    """Gains of the rate loop, in units of angular acceleration.

    Attributes:
        p_1_s: Angular acceleration per rate error, per axis [1/s].
        i_1_s2: Angular acceleration per integrated rate error, per axis [1/s^2].
        d: Angular acceleration demanded against measured angular acceleration, per axis, dimensionless.
        i_limit_rad_s2: Bound on what the integrator may demand, per axis [rad/s^2].
        filter_s: Time constant of the low-pass filter on the measured angular acceleration [s].
    """

    p_1_s: tuple[float, float, float]
    i_1_s2: tuple[float, float, float]
    d: tuple[float, float, float]
    i_limit_rad_s2: tuple[float, float, float]
    filter_s: float


CRAZYFLIE_GAINS = RateGains(
    p_1_s=(115.0, 115.0, 80.0),
    i_1_s2=(60.0, 60.0, 40.0),
    d=(4.2, 4.2, 3.0),
    i_limit_rad_s2=(30.0, 30.0, 30.0),
    filter_s=0.004,
)
"""For 72 ms motors: damping 0.9 and a lag of (1 + d) / p = 45 ms in roll and pitch, 50 ms in yaw."""


class RateLoop:
    """Body rates and collective force to commanded rotor speeds.

    Args:
        gains: Gains of the loop.
        inertia_kg_m2: Inertia tensor in the body frame, shape (3, 3).
        wrench_to_forces: Rotor forces = matrix @ (thrust [N], torques [N m]), shape (4, 4).
        force_max_n: Greatest force of one rotor [N].
        thrust_coefficient: Force over squared rotor speed [N s^2].
    """

    def __init__(
        self,
        gains: RateGains,
        inertia_kg_m2: Vector,
        wrench_to_forces: Vector,
        force_max_n: float,
        thrust_coefficient: float,
    ) -> None:
        self._inertia = np.asarray(inertia_kg_m2, dtype=np.float64)
        self._mix = np.asarray(wrench_to_forces, dtype=np.float64)
        self._force_max_n = force_max_n
        self._thrust_coefficient = thrust_coefficient
        self._p = np.array(gains.p_1_s)
        self._i = np.array(gains.i_1_s2)
        self._d = np.array(gains.d)
        self._i_limit = np.array(gains.i_limit_rad_s2)
        self._filter_s = gains.filter_s
        self.reset()

    def reset(self) -> None:
        """Forget the integrator and the derivative filter (on the ground, and before take-off)."""
        self._integral = np.zeros(3)
        self._acceleration = np.zeros(3)
        self._previous_rates: Vector | None = None

    def rotor_speeds(
        self, setpoint_rad_s: Vector, force_n: float, rates_rad_s: Vector, dt_s: float
    ) -> Vector:
        """One pass of the loop.

        Args:
            setpoint_rad_s: Commanded body rates, FLU, shape (3,) [rad/s].
            force_n: Commanded collective force [N].
            rates_rad_s: Measured body rates, FLU, shape (3,) [rad/s].
            dt_s: Time since the last pass [s].

        Returns:
            Commanded rotor speeds, shape (4,) [rad/s].
        """
        if self._previous_rates is not None:
            measured = (rates_rad_s - self._previous_rates) / dt_s
            self._acceleration += (measured - self._acceleration) * (dt_s / (self._filter_s + dt_s))
        self._previous_rates = np.array(rates_rad_s)
        error = setpoint_rad_s - rates_rad_s
        integral = self._integral + self._i * error * dt_s
        self._integral = np.maximum(np.minimum(integral, self._i_limit), -self._i_limit)
        demand = self._p * error + self._integral - self._d * self._acceleration
        (x, y, z), (hx, hy, hz) = rates_rad_s.tolist(), (self._inertia @ rates_rad_s).tolist()
        torque = self._inertia @ demand
        torque += (y * hz - z * hy, z * hx - x * hz, x * hy - y * hx)
        forces = self.allocate(force_n, torque)
        speeds: Vector = np.sqrt(forces / self._thrust_coefficient)
        return speeds

    def allocate(self, force_n: float, torque_n_m: Vector) -> Vector:
        """Rotor forces within [0, maximum], shape (4,) [N]; roll and pitch before collective before yaw.

        Args:
            force_n: Collective force [N].
            torque_n_m: Body torques, shape (3,) [N m].
        """
        limit = self._force_max_n
        asked: Vector = self._mix @ np.array((force_n, *torque_n_m))
        if asked.min() >= 0.0 and asked.max() <= limit:
            return asked
        lean = self._mix[:, 1] * torque_n_m[0] + self._mix[:, 2] * torque_n_m[1]
        low, high = float(lean.min()), float(lean.max())
        if high - low > limit:
            lean *= limit / (high - low)
            low, high = float(lean.min()), float(lean.max())
        collective = min(max(force_n / 4.0, -low), limit - high)
        forces = lean + collective
        yaw = self._mix[:, 3] * torque_n_m[2]
        scale = 1.0
        for force, part in zip(forces.tolist(), yaw.tolist(), strict=True):
            if part > 0.0:
                scale = min(scale, (limit - force) / part)
            elif part < 0.0:
                scale = min(scale, force / -part)
        given: Vector = np.minimum(np.maximum(forces + max(scale, 0.0) * yaw, 0.0), limit)
        return given
