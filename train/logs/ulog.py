"""PX4 flight logs (ULog): NED/FRD topics at their own rates become one uniform ENU/FLU flight.

Topics: `vehicle_attitude`, `vehicle_angular_velocity` (before PX4 1.10: the rates inside `vehicle_attitude`),
`vehicle_local_position`, `vehicle_rates_setpoint`; with `vehicle_land_detected` only the longest time in the air is kept,
since a vehicle that stands there obeys no set-point. Message definitions: PX4-Autopilot msg/*.msg.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.flight import RATES, Flight, MetaValue, make_flight

from .alignment import lag_samples
from .table import grid, hold, increasing, resample, resample_attitude

RATE_HZ = 100.0
_LONGEST_LAG_S = 0.3
_SETTLED_S = 0.5
"""Left out after leaving the ground and before reaching it, where the ground still acts [s]."""
_HALF = np.sqrt(0.5)
_NED_TO_ENU = np.array([0.0, _HALF, _HALF, 0.0])
_FLU_TO_FRD = np.array([0.0, 1.0, 0.0, 0.0])
_FLIP = np.array([1.0, -1.0, -1.0])


def _product(p: Vector, q: Vector) -> Vector:
    """Hamilton product of broadcast rows, scalar first."""
    pw, px, py, pz = np.moveaxis(p, -1, 0)
    qw, qx, qy, qz = np.moveaxis(q, -1, 0)
    parts = [
        pw * qw - px * qx - py * qy - pz * qz,
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
    ]
    return np.stack(parts, axis=-1)


def attitude_enu_flu(quaternion_ned_frd: Vector) -> Vector:
    """Attitude FLU to ENU of an attitude FRD to NED, scalar first, shape (T, 4); world then body are turned."""
    return _product(_product(_NED_TO_ENU, quaternion_ned_frd), _FLU_TO_FRD)


def vector_enu(vector_ned: Vector) -> Vector:
    """ENU components of NED rows."""
    result: Vector = vector_ned[:, [1, 0, 2]] * np.array([1.0, 1.0, -1.0])
    return result


class _Topics:
    """Topics of one log; a missing one is an error that names it."""

    def __init__(self, path: Path) -> None:
        from pyulog import ULog  # half a second of import that CSV logs need not pay
        from pyulog.exceptions import ULogException

        try:
            with path.open("rb") as file:
                self._data = {d.name: d.data for d in ULog(file).data_list if d.multi_id == 0}
        except (OSError, ValueError, TypeError, IndexError, KeyError, struct.error, ULogException) as error:
            raise LogFormatError(f"{path}: cannot be read as ULog: {error}") from error
        self._path = path

    def has(self, topic: str, field: str) -> bool:
        return topic in self._data and field in self._data[topic]

    def read(self, topic: str, fields: tuple[str, ...]) -> tuple[Vector, Vector, int]:
        """Time [s], values (T, n) and the number of samples dropped for repeated stamps."""
        for field in fields:
            if not self.has(topic, field):
                raise LogFormatError(
                    f"{self._path}: lacks the channel {topic}.{field}; log it (SDLOG_PROFILE) or use another log. "
                    f"It has the topics {', '.join(sorted(self._data))}"
                )
        stamp = np.asarray(self._data[topic]["timestamp"], dtype=np.float64) * 1e-6
        values = np.stack([np.asarray(self._data[topic][f], dtype=np.float64) for f in fields], axis=1)
        keep = increasing(stamp) & np.isfinite(values).all(axis=1)
        if np.sum(keep) < 2:
            raise LogFormatError(f"{self._path}: {topic} has {int(np.sum(keep))} usable samples, 2 are needed")
        return stamp[keep], values[keep], int(np.sum(~keep))


def _airborne(topics: _Topics, start_s: float, stop_s: float) -> tuple[float, float]:
    """The longest time in the air within a span [s]; the span itself if the log does not tell."""
    if not topics.has("vehicle_land_detected", "landed"):
        return start_s, stop_s
    t_s, landed, _ = topics.read("vehicle_land_detected", ("landed",))
    edges = np.clip(np.concatenate([t_s, [stop_s]]), start_s, stop_s)
    best, begin = (start_s, start_s), edges[0]
    for k, on_ground in enumerate(landed[:, 0] != 0.0):
        if on_ground:
            begin = edges[k + 1]
        elif edges[k + 1] - begin > best[1] - best[0]:
            best = (begin, edges[k + 1])
    best = (best[0] + _SETTLED_S, best[1] - _SETTLED_S)
    return best if best[1] - best[0] >= _SETTLED_S else (start_s, stop_s)


def read_ulog(path: Path) -> Flight:
    """Read the part of a log in which all needed topics are present.

    Args:
        path: .ulg file.

    Returns:
        Flight of action level "rates" at 100 Hz. `meta.lag_s` is the delay of the body rates behind their set-points,
        `meta.longest_gap_s` the longest pause of the slowest state topic: above some tens of milliseconds the states in
        between are interpolation, and the flight is for replay, not for identification.

    Raises:
        LogFormatError: not a ULog, or a channel is absent.
    """
    if not path.is_file():
        raise LogFormatError(f"{path}: no such file")
    topics = _Topics(path)
    quaternion_names = ("q[0]", "q[1]", "q[2]", "q[3]")
    rate_source = ("vehicle_attitude", ("rollspeed", "pitchspeed", "yawspeed"))
    if not topics.has(*("vehicle_attitude", "rollspeed")):
        rate_source = ("vehicle_angular_velocity", ("xyz[0]", "xyz[1]", "xyz[2]"))
    thrust = "thrust" if topics.has("vehicle_rates_setpoint", "thrust") else "thrust_body[2]"
    attitude_s, attitude, dropped_a = topics.read("vehicle_attitude", quaternion_names)
    rates_s, rates, dropped_b = topics.read(*rate_source)
    place_s, place, dropped_c = topics.read("vehicle_local_position", ("x", "y", "z", "vx", "vy", "vz"))
    command_s, command, dropped_d = topics.read("vehicle_rates_setpoint", ("roll", "pitch", "yaw", thrust))
    channels = (attitude_s, rates_s, place_s, command_s)
    start, stop = max(c[0] for c in channels), min(c[-1] for c in channels)
    if stop - start < 2 / RATE_HZ:
        raise LogFormatError(f"{path}: the needed channels overlap for {stop - start:.3f} s only")
    start, stop = _airborne(topics, start, stop)
    at_s = grid(start, stop, RATE_HZ)
    norm = np.linalg.norm(attitude, axis=1, keepdims=True)
    position_enu, velocity_enu = vector_enu(place[:, 0:3]), vector_enu(place[:, 3:6])
    body_rates = resample(rates_s, rates, at_s) * _FLIP
    throttle = command[:, 3:] * (1.0 if thrust == "thrust" else -1.0)
    setpoint = hold(command_s, np.hstack([command[:, 0:3] * _FLIP, np.clip(throttle, 0.0, 1.0)]), at_s)
    lag, correlation = lag_samples(setpoint[:, 0:3], body_rates, int(_LONGEST_LAG_S * RATE_HZ))
    gap = max(float(np.diff(c).max()) for c in (attitude_s, rates_s, place_s))
    meta: dict[str, MetaValue] = {
        "source": f"ulog:{path.name}",
        "action_level": RATES,
        "rate_hz": RATE_HZ,
        "airframe": "px4",
        "lag_s": lag / RATE_HZ,
        "lag_correlation": round(correlation, 3),
        "dropped_samples": dropped_a + dropped_b + dropped_c + dropped_d,
        "longest_gap_s": round(gap, 3),
    }
    return make_flight(
        path.stem,
        at_s,
        CubicHermiteSpline(place_s, position_enu, velocity_enu)(at_s),
        resample(place_s, velocity_enu, at_s),
        attitude_enu_flu(resample_attitude(attitude_s, attitude / norm, at_s)),
        body_rates,
        setpoint,
        meta,
    )
