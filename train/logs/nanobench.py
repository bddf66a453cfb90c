"""NanoBench (arXiv:2603.09908): Crazyflie 2.1 under Vicon, CSV at 100 Hz with PWM commands.

Units of the file: [s], [m], attitude as quaternion scalar last, Vicon rates [rad/s] in the *world* frame,
accelerometer [g], estimator angles and set-point yaw [deg], PWM 0..65535. World frame z up. Only SI and body-frame
rates leave this module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.flight import ROTORS, Flight, MetaValue, make_flight

from .alignment import lag_samples
from .csv_rows import usable_rows
from .table import grid, hold, read_columns, resample, resample_attitude

RATE_HZ = 100.0
AIRFRAME = "crazyflie-2.1"
RPM_PER_PWM = 0.2685
RPM_AT_ZERO_PWM = 4070.3
"""Rotor speed of a PWM command [rpm], Crazyflie 2.x: Luis & Le Ny 2016 (arXiv:1608.05786), fitted on a full battery.
On a
sagging battery true speeds are lower by an unknown factor, so an identified thrust coefficient absorbs it."""
_RAD_S_PER_RPM = 2 * np.pi / 60
_QUATERNION = ("qw", "qx", "qy", "qz")
_POSITION = ("px", "py", "pz")
_VELOCITY = ("vx", "vy", "vz")
_RATES_WORLD = ("wx_vicon", "wy_vicon", "wz_vicon")
_GYRO = ("imu_gyro_x", "imu_gyro_y", "imu_gyro_z")
_PWM = ("motor_motor_m1", "motor_motor_m2", "motor_motor_m3", "motor_motor_m4")
_TARGET = ("sp_ctrltarget_x", "sp_ctrltarget_y", "sp_ctrltarget_z")
_BATTERY = "pwr_pm_vbat"
_LONGEST_LAG = 100


def rotor_speed(pwm: Vector) -> Vector:
    """Nominal rotor speed [rad/s] of a PWM command 0..65535; zero where the motor is off."""
    result: Vector = np.where(pwm > 0, (RPM_PER_PWM * pwm + RPM_AT_ZERO_PWM) * _RAD_S_PER_RPM, 0.0)
    return result


def read_nanobench(path: Path) -> Flight:
    """Read one flight.

    Args:
        path: CSV file of the benchmark.

    Returns:
        Flight of action level "rotors" at 100 Hz. `meta.lag_s` is the delay of the position behind the logged
        set-point while flying, `meta.rmse_to_target_m` the tracking error against it,
        `meta.gyro_rms_difference_rad_s` the agreement of the converted Vicon rates with the gyro.

    Raises:
        LogFormatError: a channel is absent or never there together with the others.
    """
    names = ("t", *_POSITION, *_QUATERNION, *_VELOCITY, *_RATES_WORLD, *_GYRO, *_PWM, *_TARGET, _BATTERY)
    columns, noted = usable_rows(path, read_columns(path, names))
    t_s = columns["t"] - columns["t"][0]

    def stack(group: tuple[str, ...]) -> Vector:
        return np.stack([columns[name] for name in group], axis=1)

    quaternion = stack(_QUATERNION)
    attitude = Rotation.from_quat(quaternion, scalar_first=True)
    rates = attitude.inv().apply(stack(_RATES_WORLD))
    at_s = grid(0.0, float(t_s[-1]), RATE_HZ)
    position, velocity, rates, gyro = (
        resample(t_s, value, at_s) for value in (stack(_POSITION), stack(_VELOCITY), rates, stack(_GYRO))
    )
    target = hold(t_s, stack(_TARGET), at_s)
    pwm = hold(t_s, stack(_PWM), at_s)
    flying = (target[:, 2] > 0.5) & (pwm.sum(axis=1) > 0)
    lag, correlation = (0, 0.0)
    rmse: float | None = None
    if np.sum(flying) > _LONGEST_LAG:
        lag, correlation = lag_samples(target[flying], position[flying], _LONGEST_LAG)
        rmse = float(np.sqrt(np.mean(np.sum((target - position)[flying] ** 2, axis=1))))
    meta: dict[str, MetaValue] = {
        "source": f"nanobench:{path.name}",
        "action_level": ROTORS,
        "rate_hz": RATE_HZ,
        "airframe": AIRFRAME,
        "lag_s": lag / RATE_HZ,
        "lag_correlation": round(correlation, 3),
        "rmse_to_target_m": rmse,
        "gyro_rms_difference_rad_s": float(np.sqrt(np.mean(np.sum((rates - gyro)[flying] ** 2, axis=1)))) if flying.any() else None,
        "battery_min_v": float(columns[_BATTERY].min()),
    } | noted
    return make_flight(
        path.stem,
        at_s,
        position,
        velocity,
        resample_attitude(t_s, quaternion, at_s),
        rates,
        rotor_speed(pwm),
        meta,
    )
