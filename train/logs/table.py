"""CSV files as named columns, with errors that name the channel; resampling to a uniform rate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector


def _number(cell: str) -> float:
    """A cell as a number; an empty one is not a number, as loggers leave out what they do not know."""
    return float(cell) if cell.strip() else float("nan")


def read_columns(path: Path, needed: Iterable[str]) -> dict[str, Vector]:
    """Read the named columns of a CSV file with one header line.

    Args:
        path: CSV file, comma separated.
        needed: Column names that must be present.

    Returns:
        Name to values, float64, all of one length; NaN where a cell is empty.

    Raises:
        LogFormatError: the file cannot be read, or a column is absent; the message names it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            header = [name.strip() for name in file.readline().strip().split(",")]
        missing = [name for name in needed if name not in header]
        if missing:
            raise LogFormatError(f"{path}: lacks the channel {', '.join(missing)}; it has {', '.join(header)}")
        used = [header.index(name) for name in needed]
        body = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, usecols=used, converters=_number)
    except (OSError, ValueError) as error:
        if isinstance(error, LogFormatError):
            raise
        raise LogFormatError(f"{path}: cannot be read as a table of numbers: {error}") from error
    if len(body) < 2:
        raise LogFormatError(f"{path}: has {len(body)} rows, at least 2 are needed")
    return {name: body[:, k] for k, name in enumerate(needed)}


def grid(start_s: float, stop_s: float, rate_hz: float) -> Vector:
    """Uniform instants from start to at most stop [s]."""
    count = int(np.floor((stop_s - start_s) * rate_hz + 1e-6)) + 1
    result: Vector = start_s + np.arange(count) / rate_hz
    return result


def increasing(t_s: Vector) -> npt.NDArray[np.bool_]:
    """Mask of the samples that lie later than all before them: repeated and backward stamps are dropped."""
    highest = np.maximum.accumulate(t_s)
    keep: npt.NDArray[np.bool_] = np.concatenate([[True], t_s[1:] > highest[:-1]])
    return keep


def resample(t_s: Vector, values: Vector, at_s: Vector) -> Vector:
    """Shape-preserving cubic interpolation of smooth signals, column by column."""
    result: Vector = PchipInterpolator(t_s, values, axis=0)(np.clip(at_s, t_s[0], t_s[-1]))
    return result


def hold(t_s: Vector, values: Vector, at_s: Vector) -> Vector:
    """Zero-order hold: the newest value at or before each instant, as a set-point acts."""
    index = np.clip(np.searchsorted(t_s, at_s, side="right") - 1, 0, len(t_s) - 1)
    result: Vector = values[index]
    return result


def resample_attitude(t_s: Vector, quaternion_wxyz: Vector, at_s: Vector) -> Vector:
    """Spherical linear interpolation of attitudes, scalar first."""
    rotation = Rotation.from_quat(quaternion_wxyz, scalar_first=True)
    result: Vector = Slerp(t_s, rotation)(np.clip(at_s, t_s[0], t_s[-1])).as_quat(scalar_first=True)
    return result
