"""Which messages of an ArduCopter log give attitude, place and throttle, and what to switch on where they are absent.

Units and frames are those of the log: NED, FRD, [m], [m/s]; angles [deg] become unit quaternions. Source: ArduPilot
libraries/AP_AHRS, AP_NavEKF3 and AC_AttitudeControl LogStructure.h; ArduCopter/Log.cpp and Parameters.cpp (LOG_BITMASK).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector

from .dataflash_messages import Messages
from .table import resample

_NORM_TOLERANCE = 0.05
_QUATERNION = ("Q1", "Q2", "Q3", "Q4")
_EULER = ("Roll", "Pitch", "Yaw")
_PLACE = ("PN", "PE", "PD", "VN", "VE", "VD")
WANTED = {
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
REMEDY = {
    "RATE": "set LOG_BITMASK bit 0 (Fast Attitude, add 1)",
    "attitude": "set LOG_BITMASK bit 0 (Fast Attitude, add 1) and EK3_LOG_LEVEL = 0",
    "place": "set EK3_LOG_LEVEL = 0 for XKF1, or LOG_BITMASK bit 5 (Navigation Tuning, add 32) for PSCN, PSCE and PSCD",
    "throttle": "set LOG_BITMASK bit 4 (Control Tuning, add 16)",
}


def lacks(log: Messages, channel: str, remedy: str) -> LogFormatError:
    """The error that names an absent channel and how to have it logged; `remedy` is a key of `REMEDY`."""
    mask = log.params.get("LOG_BITMASK")
    now = "" if mask is None else f"; in this log LOG_BITMASK is {mask:.0f}"
    return LogFormatError(f"{log.path}: lacks the channel {channel}; {REMEDY[remedy]} and fly again{now}")


def attitude_of(log: Messages) -> tuple[str, Vector, Vector, int]:
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
        raise lacks(log, "ATT.Roll, ATT.Pitch, ATT.Yaw (or XKQ.Q1 to Q4)", "attitude")
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


def place_of(log: Messages) -> tuple[str, Vector, Vector, int]:
    """Message, time [s], position [m] and velocity [m/s] in NED about the filter's origin, shape (T, 6), rows dropped."""
    for name in ("XKF1", "NKF1"):
        if log.has(name, *_PLACE):
            t_s, values, dropped = log.read(name, _PLACE, C=_primary(log, name))
            if len(t_s) >= 2:
                return name, t_s, values, dropped
    axes = {f"PSC{axis}": (f"P{axis}", f"V{axis}") for axis in "NED"}
    if not all(log.has(name, *fields) for name, fields in axes.items()):
        raise lacks(log, "XKF1.PN, XKF1.VN, ... (or PSCN, PSCE and PSCD)", "place")
    samples = [log.read(name, fields) for name, fields in axes.items()]
    if min(len(sample[0]) for sample in samples) < 2:
        raise lacks(log, "PSCN, PSCE or PSCD with two usable rows", "place")
    # The three axes are written one after the other, microseconds apart.
    t_s = samples[0][0]
    values = np.stack([resample(s, v, t_s) for s, v, _ in samples], axis=2)
    return "PSCN", t_s, np.hstack([values[:, 0], values[:, 1]]), sum(sample[2] for sample in samples)


def throttle_of(log: Messages) -> tuple[str, Vector, Vector, int]:
    """Message, time [s], motors' throttle 0..1 before the thrust curve (shape (T, 1)), rows dropped."""
    for name, field in (("RATE", "AOut"), ("CTUN", "ThO")):
        if log.has(name, field):
            t_s, values, dropped = log.read(name, (field,))
            if len(t_s) >= 2:
                return f"{name}.{field}", t_s, np.clip(values, 0.0, 1.0), dropped
    raise lacks(log, "RATE.AOut or CTUN.ThO", "throttle")
