"""What the assumption W has to cover: the backup policy flown in the independent simulator, compared with the certified plant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_airframes import CRAZYFLIE, Airframe
from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector

from .assumptions import Assumptions
from .backup import BackupLaw
from .interval import Numbers

COVERAGE = 0.999
HOLD_S = 4.0
"""The backup holds one disturbance estimate and one anchor for this long in these flights [s]."""
HEIGHT_M = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Residuals of backup flights.

    Attributes:
        acceleration_m_s2: Quantile of |residual - held estimate|, (horizontal norm, vertical) [m/s^2].
        rate_residual_rad_s: Quantile of the norm of the roll-pitch rate residual [rad/s].
        samples: Ticks behind them.
        coverage: The quantile.
    """

    acceleration_m_s2: tuple[float, float]
    rate_residual_rad_s: float
    samples: int
    coverage: float


def _rotation(quaternion_wxyz: Numbers) -> Numbers:
    matrix: Numbers = Rotation.from_quat(quaternion_wxyz, scalar_first=True).as_matrix()
    return matrix


def fly_backup(
    assumptions: Assumptions, law: BackupLaw, scale_m_s2: float, delay_ticks: int, seed: int, duration_s: float,
    wind_m_s: float, gust_m_s: float, airframe: Airframe = CRAZYFLIE,
) -> tuple[Numbers, Numbers]:
    """One flight between random anchors.

    Args:
        assumptions: For estimate errors, lags and drag.
        law: The backup policy.
        scale_m_s2: Collective acceleration at throttle 1 [m/s^2].
        delay_ticks: Identified delay of the response, in ticks.
        seed: Seed of wind direction, anchors and estimate errors.
        duration_s, wind_m_s, gust_m_s: Length, mean wind, largest gust.
        airframe: What is flown.

    Returns:
        Per tick: |acceleration residual - held estimate| (horizontal, vertical), shape (T, 2) [m/s^2], and the norm of the
        roll-pitch rate residual, shape (T,) [rad/s].
    """
    random = np.random.default_rng(seed)
    wind = GustyWind(wind_vector(wind_m_s, float(random.uniform(0.0, 360.0))), gust_m_s, seed)
    vehicle = SimulatedQuadrotor(wind, airframe=airframe)
    vehicle.reset(np.array([0.0, 0.0, HEIGHT_M]), hovering=True)
    weight = np.array([0.0, 0.0, assumptions.gravity_m_s2])
    drag = np.array([assumptions.drag_1_s[0], assumptions.drag_1_s[0], assumptions.drag_1_s[1]])
    tick, lag = assumptions.tick_s, assumptions.rate_lag_s
    decay = float(np.exp(-tick / lag))
    response = 1.0 - float(np.exp(-tick / assumptions.thrust_lag_s))
    thrust, slope = assumptions.gravity_m_s2, 0.0
    estimate, held = np.zeros(3), np.zeros(3)
    anchor = np.array([0.0, 0.0, HEIGHT_M])
    queue = [(np.zeros(3), thrust / law.thrust_gain)] * (delay_ticks + 1)
    accelerations, rates = [], []

    def error(size: float) -> Numbers:
        return np.clip(random.normal(0.0, size / 3.0, 3), -size, size)

    per_axis = 1.0 / np.sqrt(2.0)
    for k in range(int(duration_s / tick)):
        if k % int(HOLD_S / tick) == 0:
            anchor = np.array([*random.uniform(-2.0, 2.0, 2), HEIGHT_M + random.uniform(-0.6, 0.6)])
            held = estimate.copy()
        rotation = _rotation(vehicle.quaternion_wxyz)
        velocity, body_rates = vehicle.velocity_m_s.copy(), vehicle.rates_rad_s.copy()
        twist = error(assumptions.attitude_error_rad * per_axis)
        cross = np.array([[0, -twist[2], twist[1]], [twist[2], 0, -twist[0]], [-twist[1], twist[0], 0]])
        setpoint, command, slope = law.evaluate(
            vehicle.position_m + error(assumptions.position_error_m * per_axis) - anchor,
            velocity + error(assumptions.velocity_error_m_s * per_axis),
            rotation @ (np.eye(3) + cross),
            thrust,
            slope,
            held,
        )
        queue = [*queue[1:], (setpoint, command)]
        acting_rates, acting_thrust = queue[0]
        vehicle.step(setpoint, command / scale_m_s2, tick)
        thrust_next = thrust + response * (law.thrust_gain * acting_thrust - thrust)
        up = 0.5 * (rotation[:, 2] + _rotation(vehicle.quaternion_wxyz)[:, 2])
        modelled = 0.5 * (thrust + thrust_next) * up - weight - drag * 0.5 * (velocity + vehicle.velocity_m_s)
        residual = (vehicle.velocity_m_s - velocity) / tick - modelled
        wanted = law.rate_gain * acting_rates + law.rate_offset_rad_s
        off = (vehicle.rates_rad_s - decay * body_rates) / (1.0 - decay) - wanted
        if k * tick >= HOLD_S and k % int(HOLD_S / tick) > delay_ticks + 3:
            difference = residual - held
            accelerations.append([np.hypot(difference[0], difference[1]), abs(difference[2])])
            rates.append(np.hypot(off[0], off[1]))
        estimate = estimate + tick / 0.3 * (residual - estimate)
        thrust = thrust_next
    return np.array(accelerations), np.array(rates)


def measure(
    assumptions: Assumptions, law: BackupLaw, scale_m_s2: float, delay_ticks: int, seed: int, flights: int = 2,
    duration_s: float = 14.0, wind_m_s: float = 3.0, gust_m_s: float = 0.5, airframe: Airframe = CRAZYFLIE,
    progress: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Split-conformal quantiles over several backup flights, each in wind from another side.

    Args:
        assumptions, law, scale_m_s2, delay_ticks, seed, duration_s, wind_m_s, gust_m_s, airframe: See `fly_backup`.
        flights: Number of flights.
        progress: Called with what is being done.

    Returns:
        Quantiles at `COVERAGE`; ticks are dependent, so the coverage is empirical.
    """
    parts = []
    for n in range(flights):
        progress(f"backup flight {n + 1} of {flights} in the simulator, {wind_m_s:g} m/s wind")
        parts.append(fly_backup(assumptions, law, scale_m_s2, delay_ticks, seed + n, duration_s, wind_m_s, gust_m_s, airframe))
    acceleration = np.concatenate([p[0] for p in parts])
    rates = np.concatenate([p[1] for p in parts])
    rank = min(int(np.ceil((len(rates) + 1) * COVERAGE)), len(rates)) - 1
    quantile = np.sort(acceleration, axis=0)[rank]
    return Measured(
        (float(quantile[0]), float(quantile[1])), float(np.sort(rates)[rank]), len(rates), COVERAGE
    )
