"""One flight of the dataset: uniformly sampled states with the action held after each, stored as one NPZ file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector

from .atomic import write_file

MetaValue = str | int | float | bool | list[float] | None
"""What a meta entry may be: JSON scalars and lists of numbers."""

RATES = "rates"
ROTORS = "rotors"
_ACTION_KEY = {RATES: "setpoint", ROTORS: "rotor_rad_s"}
_STATE_COLUMNS = {"position_m": 3, "velocity_m_s": 3, "quaternion_wxyz": 4, "rates_rad_s": 3}
_JITTER_SHARE = 0.05
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Flight:
    """A flight at a uniform rate. Row k: state at `t_s[k]`; its action is held over [t_s[k], t_s[k+1]).

    Attributes:
        name: Short name, the stem of the file.
        t_s: Time since the first sample [s], shape (T,).
        position_m: World ENU, shape (T, 3).
        velocity_m_s: World ENU, shape (T, 3).
        quaternion_wxyz: Body FLU to world ENU, scalar first, without sign jumps, shape (T, 4).
        rates_rad_s: Body FLU, shape (T, 3).
        action: Action level "rates": body rate set-points [rad/s] and throttle 0..1; level "rotors": rotor speeds
            [rad/s]; shape (T, 4).
        meta: source, action_level, rate_hz, airframe and what else the importer or the simulator knows.
    """

    name: str
    t_s: Vector
    position_m: Vector
    velocity_m_s: Vector
    quaternion_wxyz: Vector
    rates_rad_s: Vector
    action: Vector
    meta: Mapping[str, MetaValue]

    @property
    def action_level(self) -> str:
        """"rates" or "rotors"."""
        return str(self.meta["action_level"])

    @property
    def dt_s(self) -> float:
        """Sample period [s]."""
        return 1.0 / float(str(self.meta["rate_hz"]))

    def __len__(self) -> int:
        return len(self.t_s)


def make_flight(
    name: str,
    t_s: Vector,
    position_m: Vector,
    velocity_m_s: Vector,
    quaternion_wxyz: Vector,
    rates_rad_s: Vector,
    action: Vector,
    meta: Mapping[str, MetaValue],
) -> Flight:
    """Check the arrays of a flight and put the quaternion's sign in order.

    Args:
        name: Short name of the flight, used in messages.
        t_s, position_m, velocity_m_s, quaternion_wxyz, rates_rad_s, action: See `Flight`.
        meta: Must hold `source`, `action_level` ("rates" or "rotors"), `rate_hz` and `airframe`.

    Returns:
        The flight; time starts at zero and the quaternion is of unit norm.

    Raises:
        LogFormatError: an array has a wrong shape, a value is not finite, or the sampling is not uniform.
    """
    for key in ("source", "action_level", "rate_hz", "airframe"):
        if key not in meta:
            raise LogFormatError(f"flight {name}: meta lacks {key!r}; import the log again")
    if meta["action_level"] not in _ACTION_KEY:
        raise LogFormatError(
            f"flight {name}: action_level is {meta['action_level']!r}, it must be one of {sorted(_ACTION_KEY)}"
        )
    arrays = {
        "position_m": position_m,
        "velocity_m_s": velocity_m_s,
        "quaternion_wxyz": quaternion_wxyz,
        "rates_rad_s": rates_rad_s,
        "action": action,
    }
    count = len(t_s)
    if t_s.ndim != 1 or count < 2:
        raise LogFormatError(f"flight {name}: t_s has shape {t_s.shape}, it must be (T,) with T >= 2")
    for key, value in arrays.items():
        width = _STATE_COLUMNS.get(key, 4)
        if value.shape != (count, width):
            raise LogFormatError(f"flight {name}: {key} has shape {value.shape}, it must be ({count}, {width})")
        bad = ~np.isfinite(value).all(axis=1)
        if bad.any():
            raise LogFormatError(
                f"flight {name}: {key} is not finite in {int(bad.sum())} rows, the first is {int(bad.argmax())}"
            )
    period = 1.0 / float(str(meta["rate_hz"]))
    step = np.diff(t_s)
    if not np.isfinite(t_s).all() or np.abs(step - period).max() > _JITTER_SHARE * period:
        raise LogFormatError(
            f"flight {name}: samples are not uniform at {meta['rate_hz']} Hz (steps {step.min():.6f} to "
            f"{step.max():.6f} s); resample it first"
        )
    norm = np.linalg.norm(quaternion_wxyz, axis=1)
    if np.abs(norm - 1).max() > _UNIT_TOLERANCE:
        raise LogFormatError(
            f"flight {name}: quaternion_wxyz has norms {norm.min():.4f} to {norm.max():.4f}, they must be 1 "
            f"within {_UNIT_TOLERANCE}"
        )
    quaternion = continuous(quaternion_wxyz / norm[:, None])
    return Flight(name, t_s - t_s[0], position_m, velocity_m_s, quaternion, rates_rad_s, action, dict(meta))


def continuous(quaternion_wxyz: Vector) -> Vector:
    """Same attitudes without sign jumps: neighbouring rows have a positive scalar product."""
    jumps = np.sum(quaternion_wxyz[1:] * quaternion_wxyz[:-1], axis=1) < 0
    sign = np.concatenate([[1.0], np.where(np.cumsum(jumps) % 2 == 1, -1.0, 1.0)])
    result: Vector = quaternion_wxyz * sign[:, None]
    return result


def save_flight(path: Path, flight: Flight) -> None:
    """Write a flight as one NPZ file, atomically.

    Args:
        path: File to write, ending in .npz; its folder is created.
        flight: What to store.
    """
    buffer = io.BytesIO()
    columns = {key: getattr(flight, key) for key in _STATE_COLUMNS}
    columns[_ACTION_KEY[flight.action_level]] = flight.action
    np.savez(
        buffer, allow_pickle=False, t_s=flight.t_s, meta=np.array(json.dumps(dict(flight.meta))), **columns
    )
    write_file(path, buffer.getvalue())


def load_flight(path: Path) -> Flight:
    """Read a flight written by `save_flight`.

    Args:
        path: The NPZ file.

    Returns:
        The checked flight.

    Raises:
        LogFormatError: the file is missing, cut short, or lacks an array.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise LogFormatError(f"{path}: no such flight file") from error
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise LogFormatError(
            f"{path}: cannot be read as a flight (cut short or of another format): {error}; collect or import it again"
        ) from error
    missing = [key for key in ("t_s", "meta", *_STATE_COLUMNS) if key not in arrays]
    if missing:
        raise LogFormatError(f"{path}: lacks {', '.join(missing)}; it was not written by `tubepilot collect`")
    try:
        meta = json.loads(str(arrays["meta"]))
    except json.JSONDecodeError as error:
        raise LogFormatError(f"{path}: meta is not JSON: {error}") from error
    key = _ACTION_KEY.get(str(meta.get("action_level")))
    if key is None or key not in arrays:
        raise LogFormatError(
            f"{path}: action level {meta.get('action_level')!r} needs the array {key or 'setpoint or rotor_rad_s'}, "
            f"which is absent"
        )
    columns = [np.asarray(arrays[name], dtype=np.float64) for name in ("t_s", *_STATE_COLUMNS, key)]
    return make_flight(path.stem, *columns, meta)
