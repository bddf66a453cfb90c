"""Nano-drone system-identification benchmark (arXiv:2512.14450): CSV at 100 Hz with measured rotor speeds.

Columns `t,x,y,z,vx,vy,vz,qx,qy,qz,qw,wx,wy,wz,m1_rads..m4_rads`: SI, world z up, quaternion scalar last, body rates
in the body frame FLU. The publisher smoothed all signals with zero-phase filters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tubepilot.train.flight import ROTORS, Flight, MetaValue, make_flight

from .alignment import lag_samples
from .csv_rows import usable_rows
from .table import grid, read_columns, resample, resample_attitude

RATE_HZ = 100.0
AIRFRAME = "crazyflie-2.1-brushless"
_POSITION = ("x", "y", "z")
_VELOCITY = ("vx", "vy", "vz")
_QUATERNION = ("qw", "qx", "qy", "qz")
_RATES = ("wx", "wy", "wz")
_ROTORS = ("m1_rads", "m2_rads", "m3_rads", "m4_rads")
_LONGEST_LAG = 20


def read_nanodrone(path: Path) -> Flight:
    """Read one flight.

    Args:
        path: CSV file of the benchmark.

    Returns:
        Flight of action level "rotors" at 100 Hz. `meta.lag_s` is the delay of the vertical acceleration behind the
        summed squared rotor speeds.

    Raises:
        LogFormatError: a channel is absent or never there together with the others.
    """
    names = ("t", *_POSITION, *_VELOCITY, *_QUATERNION, *_RATES, *_ROTORS)
    columns, noted = usable_rows(path, read_columns(path, names))
    t_s = columns["t"]

    def stack(names: tuple[str, ...]) -> np.ndarray:
        return np.stack([columns[name] for name in names], axis=1)

    at_s = grid(t_s[0], t_s[-1], RATE_HZ)
    uniform = len(at_s) == len(t_s) and bool(np.abs(at_s - t_s).max() < 1e-4)
    smooth = [stack(names) for names in (_POSITION, _VELOCITY, _RATES, _ROTORS)]
    quaternion = stack(_QUATERNION)
    if not uniform:
        smooth = [resample(t_s, value, at_s) for value in smooth]
        quaternion = resample_attitude(t_s, quaternion, at_s)
    position, velocity, rates, rotors = smooth
    vertical = np.gradient(velocity[:, 2:], 1 / RATE_HZ, axis=0)
    lag, correlation = lag_samples(np.sum(rotors**2, axis=1, keepdims=True), vertical, _LONGEST_LAG)
    meta: dict[str, MetaValue] = {
        "source": f"nanodrone:{path.name}",
        "action_level": ROTORS,
        "rate_hz": RATE_HZ,
        "airframe": AIRFRAME,
        "lag_s": lag / RATE_HZ,
        "lag_correlation": round(correlation, 3),
        "resampled": not uniform,
    } | noted
    return make_flight(path.stem, at_s, position, velocity, quaternion, rates, rotors, meta)
