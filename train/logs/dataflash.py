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
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.flight import RATES, Flight, MetaValue, make_flight

from .alignment import lag_samples
from .dataflash_messages import Messages
from .gaps import longest_gap_s, longest_stretch
from .table import grid, hold, resample, resample_attitude
from .ulog import attitude_enu_flu, vector_enu

RATE_HZ = 100.0
GAP_S = 0.5
"""A pause of this length ends the usable stretch [s]: five periods of the slowest channels, which come at 10 Hz."""
SLOW_HZ = 50.0
"""Rate of RATE below which set-points change unseen between its samples [Hz]; ten times a rate lag of 0.2 s, a guess."""
_LONGEST_LAG_S = 0.3
_NORM_TOLERANCE = 0.05
_FLIP = np.array([1.0, -1.0, -1.0])
_QUATERNION = ("Q1", "Q2", "Q3", "Q4")
_EULER = ("Roll", "Pitch", "Yaw")
_PLACE = ("PN", "PE", "PD", "VN", "VE", "VD")
_WANTED = {
    "RATE": ("RDes", "R", "PDes", "P", "YDes", "Y", "AOut"),
    "CTUN": ("ThO",),
    "XKQ": _QUATERNION,
    "NKQ": _QUATERNION,
    "AHR2": _QUATERNION,
    "ANG": _EULER,
    "ATT": _EULER,
    "XKF1": _PLACE,
    "NKF1": _PLACE,
    "PSCN": ("PN", "VN"),
    "PSCE": ("PE", "VE"),
    "PSCD": ("PD", "VD"),
    "XKF4": ("PI",),
    "NKF4": ("PI",),
    "IMU": ("GyrX", "GyrY", "GyrZ", "AccZ"),
    "BAT": ("Volt",),
}
_REMEDY = {
    "RATE": "set LOG_BITMASK bit 0 (Fast Attitude, add 1)",
    "attitude": "set LOG_BITMASK bit 0 (Fast Attitude, add 1) and EK3_LOG_LEVEL = 0",
    "place": "set EK3_LOG_LEVEL = 0 for XKF1, or LOG_BITMASK bit 5 (Navigation Tuning, add 32) for PSCN, PSCE and PSCD",
    "throttle": "set LOG_BITMASK bit 4 (Control Tuning, add 16)",
}


def _lacks(log: Messages, channel: str, remedy: str) -> LogFormatError:
    mask = log.params.get("LOG_BITMASK")
    now = "" if mask is None else f"; in this log LOG_BITMASK is {mask:.0f}"
    return LogFormatError(f"{log.path}: lacks the channel {channel}; {_REMEDY[remedy]} and fly again{now}")


def _attitude(log: Messages) -> tuple[str, Vector, Vector, int]:
    """Message, time [s], attitude FRD to NED (scalar first, unit norm), rows dropped.

    Of those of the navigation filter the most frequent one; the backup filter's (AHR2) only if there is no other.
    """
    fields = {"XKQ": _QUATERNION, "NKQ": _QUATERNION, "ANG": _EULER, "ATT": _EULER}
    there = [name for name in fields if log.has(name, *fields[name])]
    if not there and log.has("AHR2", *_QUATERNION):
        there, fields = ["AHR2"], {"AHR2": _QUATERNION}
    samples = {name: log.read(name, fields[name], C=_primary(log, name)) for name in there}
    samples = {name: sample for name, sample in samples.items() if len(sample[0]) >= 2}
    if not samples:
        raise _lacks(log, "ATT.Roll, ATT.Pitch, ATT.Yaw (or XKQ.Q1 to Q4)", "attitude")
    name = max(samples, key=lambda key: len(samples[key][0]))
    t_s, values, dropped = samples[name]
    if fields[name] is _EULER:
        values = Rotation.from_euler("ZYX", values[:, ::-1], degrees=True).as_quat(scalar_first=True)
    norm = np.linalg.norm(values, axis=1)
    unit = np.abs(norm - 1.0) < _NORM_TOLERANCE
    if np.sum(unit) < 2:
        raise LogFormatError(f"{log.path}: {name} holds no two quaternions of unit norm; use another log")
    return name, t_s[unit], values[unit] / norm[unit, None], dropped + int(np.sum(~unit))


def _primary(log: Messages, name: str) -> float:
    """Core of the navigation filter that flew the vehicle for most of the log; 0 if the log does not say."""
    return log.most_frequent(f"{name[0]}KF4", "PI") or 0.0


def _place(log: Messages) -> tuple[str, Vector, Vector, int]:
    """Message, time [s], position [m] and velocity [m/s] in NED about the filter's origin, shape (T, 6), rows dropped."""
    for name in ("XKF1", "NKF1"):
        if log.has(name, *_PLACE):
            t_s, values, dropped = log.read(name, _PLACE, C=_primary(log, name))
            if len(t_s) >= 2:
                return name, t_s, values, dropped
    axes = {f"PSC{axis}": (f"P{axis}", f"V{axis}") for axis in "NED"}
    if not all(log.has(name, *fields) for name, fields in axes.items()):
        raise _lacks(log, "XKF1.PN, XKF1.VN, ... (or PSCN, PSCE and PSCD)", "place")
    samples = [log.read(name, fields) for name, fields in axes.items()]
    if min(len(sample[0]) for sample in samples) < 2:
        raise _lacks(log, "PSCN, PSCE or PSCD with two usable rows", "place")
    # The three axes are written one after the other, microseconds apart.
    t_s = samples[0][0]
    values = np.stack([resample(s, v, t_s) for s, v, _ in samples], axis=2)
    return "PSCN", t_s, np.hstack([values[:, 0], values[:, 1]]), sum(sample[2] for sample in samples)


def _throttle(log: Messages) -> tuple[str, Vector, Vector, int]:
    """Message, time [s], motors' throttle 0..1 before the thrust curve (shape (T, 1)), rows dropped."""
    for name, field in (("RATE", "AOut"), ("CTUN", "ThO")):
        if log.has(name, field):
            t_s, values, dropped = log.read(name, (field,))
            if len(t_s) >= 2:
                return f"{name}.{field}", t_s, np.clip(values, 0.0, 1.0), dropped
    raise _lacks(log, "RATE.AOut or CTUN.ThO", "throttle")


def _besides(log: Messages, at_s: Vector, rates: Vector, throttle: Vector) -> dict[str, MetaValue]:
    """What IMU, battery and parameters say, where they are logged; rates FLU [rad/s], throttle 0..1, on the grid."""
    result: dict[str, MetaValue] = {}
    if log.has("IMU", *_WANTED["IMU"]):
        t_s, imu, _ = log.read("IMU", _WANTED["IMU"], I=0)
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
    log = Messages(path, _WANTED, ("C", "I", "Inst"))
    names = ("RDes", "PDes", "YDes", "R", "P", "Y")
    if not log.has("RATE", *names):
        raise _lacks(log, "RATE.R, RATE.RDes, ...", "RATE")
    rate_s, both, dropped_a = log.read("RATE", names)
    if len(rate_s) < 2:
        raise _lacks(log, "RATE with two usable rows", "RATE")
    attitude_name, attitude_s, attitude, dropped_b = _attitude(log)
    place_name, place_s, place, dropped_c = _place(log)
    throttle_name, throttle_s, thrust, dropped_d = _throttle(log)
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
    slow = f"; RATE comes at {rate_hz:.0f} Hz, for replay only: {_REMEDY['RATE']}" if rate_hz < SLOW_HZ else ""
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
