"""ArduCopter flight logs (DataFlash .bin): NED/FRD messages at their own rates become one uniform ENU/FLU flight.

Messages: RATE (rates and their set-points [deg/s], throttle), an attitude (XKQ, NKQ, ANG, ATT or AHR2), XKF1, NKF1 or
PSCN/PSCE/PSCD (position [m] and velocity [m/s]); CTUN where RATE has no throttle; IMU and BAT for what the meta data
says besides. Written against ArduCopter 4.1 and newer. Source: ArduPilot libraries/AP_AHRS, AP_NavEKF3 and
AC_AttitudeControl LogStructure.h; ArduCopter/Log.cpp and Parameters.cpp (LOG_BITMASK).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.flight import RATES, Flight, MetaValue, make_flight

from .alignment import lag_samples
from .dataflash_channels import REMEDY, WANTED, attitude_of, lacks, place_of, throttle_of
from .dataflash_messages import Messages
from .gaps import longest_gap_s, longest_stretch
from .table import grid, hold, resample, resample_attitude
from .ulog import attitude_enu_flu, vector_enu

RATE_HZ = 100.0
GAP_S = 0.5
"""A pause of this length ends the usable stretch [s]: five periods of the slowest channels, which come at 10 Hz."""
SLOW_HZ = 50.0
"""Rate of RATE below which a log is for replay only [Hz]: a guess, half of the 45 ms rate lag of a small vehicle per sample."""
_LONGEST_LAG_S = 0.3
_FLIP = np.array([1.0, -1.0, -1.0])


def _besides(log: Messages, at_s: Vector, rates: Vector, throttle: Vector) -> dict[str, MetaValue]:
    """What IMU, battery and parameters say, where they are logged; rates FLU [rad/s], throttle 0..1, on the grid."""
    result: dict[str, MetaValue] = {}
    if log.has("IMU", *WANTED["IMU"]):
        t_s, imu, _ = log.read("IMU", WANTED["IMU"], I=0)
        if len(t_s) >= 2:
            imu = resample(t_s, imu, at_s)
            difference = imu[:, 0:3] * _FLIP - rates
            result["gyro_rms_difference_rad_s"] = round(float(np.sqrt(np.mean(np.sum(difference**2, axis=1)))), 4)
            # The specific force along the body's up axis is the collective thrust, less drag. On the ground it is gravity
            # whatever the throttle, so that only the upper half of the throttles used counts.
            flying = throttle > 0.5 * np.quantile(throttle, 0.9)
            if flying.any():
                result["thrust_scale_estimate_m_s2"] = round(float(np.median(-imu[flying, 3] / throttle[flying])), 2)
    if log.has("BAT", "Volt"):
        _, volt, _ = log.read("BAT", ("Volt",), Inst=0, I=0)
        if len(volt):
            result["battery_min_v"] = float(volt.min())
    if "MOT_THST_HOVER" in log.params:
        result["hover_throttle"] = log.params["MOT_THST_HOVER"]
    return result


def read_dataflash(path: Path) -> Flight:
    """Read the longest stretch of a log in which all needed messages keep coming.

    Args:
        path: .bin file.

    Returns:
        Flight of action level "rates" at 100 Hz. `meta.lag_s` is the delay of the body rates behind their set-points,
        `meta.boot_s` the time since boot of the first sample, `meta.longest_gap_s` the longest pause of the slowest
        state message, `meta.lost` what of the file was not used. `meta.thrust_scale_estimate_m_s2` comes from the
        accelerometer, for `tubepilot train --thrust-scale-m-s2`; train does not take it by itself.

    Raises:
        LogFormatError: not a DataFlash log, or a channel is absent; the message names it and the parameter that logs it.
        MissingExtraError: pymavlink is not installed.
    """
    log = Messages(path, WANTED, ("C", "I", "Inst"))
    names = ("RDes", "PDes", "YDes", "R", "P", "Y")
    if not log.has("RATE", *names):
        raise lacks(log, "RATE.R, RATE.RDes, ...", "RATE")
    rate_s, both, dropped_a = log.read("RATE", names)
    if len(rate_s) < 2:
        raise lacks(log, "RATE with two usable rows", "RATE")
    attitude_name, attitude_s, attitude, dropped_b = attitude_of(log)
    place_name, place_s, place, dropped_c = place_of(log)
    throttle_name, throttle_s, thrust, dropped_d = throttle_of(log)
    channels = (rate_s, attitude_s, place_s, throttle_s)
    start, stop = longest_stretch(channels, GAP_S)
    if stop - start < 2 / RATE_HZ:
        raise LogFormatError(
            f"{path}: the needed channels overlap for {max(stop - start, 0.0):.3f} s only without a pause above {GAP_S} s"
        )
    at_s = grid(start, stop, RATE_HZ)
    position_enu, velocity_enu = vector_enu(place[:, 0:3]), vector_enu(place[:, 3:6])
    both = np.radians(both) * np.tile(_FLIP, 2)
    body_rates = resample(rate_s, both[:, 3:6], at_s)
    setpoint = np.hstack([hold(rate_s, both[:, 0:3], at_s), hold(throttle_s, thrust, at_s)])
    lag, correlation = lag_samples(setpoint[:, 0:3], body_rates, int(_LONGEST_LAG_S * RATE_HZ))
    unused_s = max(c[-1] for c in channels) - min(c[0] for c in channels) - (stop - start)
    rate_hz = 1 / float(np.median(np.diff(rate_s)))
    slow = f"; RATE comes at {rate_hz:.0f} Hz, for replay only: {REMEDY['RATE']}" if rate_hz < SLOW_HZ else ""
    dropped = dropped_a + dropped_b + dropped_c + (dropped_d if throttle_name.startswith("CTUN") else 0)
    meta: dict[str, MetaValue] = {
        "source": f"dataflash:{path.name}",
        "action_level": RATES,
        "rate_hz": RATE_HZ,
        "airframe": "ardupilot",
        "lag_s": lag / RATE_HZ,
        "lag_correlation": round(correlation, 3),
        "dropped_samples": dropped,
        "longest_gap_s": round(longest_gap_s((rate_s, attitude_s, place_s), start, stop), 3),
        "boot_s": round(start, 6),
        "channels": f"RATE, {attitude_name}, {place_name}, {throttle_name}",
        "unread_bytes": log.unread_bytes,
        "lost": f"{log.unread_bytes} bytes unreadable, {unused_s:.2f} s outside the longest stretch without pause{slow}",
        **_besides(log, at_s, body_rates, setpoint[:, 3]),
    }
    return make_flight(
        path.stem,
        at_s,
        CubicHermiteSpline(place_s, position_enu, velocity_enu)(at_s),
        resample(place_s, velocity_enu, at_s),
        attitude_enu_flu(resample_attitude(attitude_s, attitude, at_s)),
        body_rates,
        setpoint,
        meta,
    )
