"""Importers of real flight logs: each turns one file of one format into a `Flight`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.train.flight import Flight, load_flight

from .dataflash import read_dataflash
from .flight_log import read_flight_log
from .nanobench import read_nanobench
from .nanodrone import read_nanodrone
from .ulog import read_ulog

_READERS: dict[str, Callable[[Path], Flight]] = {
    ".npz": load_flight,
    ".ulg": read_ulog,
    ".bin": read_dataflash,
    ".mcap": read_flight_log,
}
SUFFIXES = frozenset({".csv", *_READERS})
"""How the names of readable logs end, in lower case."""


def read_log(path: Path) -> Flight:
    """Read one flight of any known format; CSV formats are told apart by their header.

    Args:
        path: .npz (dataset flight), .csv (nano-drone or NanoBench), .ulg (PX4), .bin (ArduPilot) or .mcap (tubepilot
            fly).

    Returns:
        The flight, uniformly sampled.

    Raises:
        LogFormatError: the format is not known, or a channel that is needed is absent.
        MissingExtraError: the package that reads the format is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is not None:
        return reader(path)
    if path.suffix.lower() != ".csv":
        raise LogFormatError(f"{path}: unknown kind of log {path.suffix!r}; known are {', '.join(sorted(SUFFIXES))}")
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise LogFormatError(f"{path}: cannot be read: {error}") from error
    return read_nanobench(path) if "px" in header else read_nanodrone(path)
