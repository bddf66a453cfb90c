"""Importers of real flight logs: each turns one file of one format into a `Flight`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.train.flight import Flight, load_flight

from .nanobench import read_nanobench
from .nanodrone import read_nanodrone
from .ulog import read_ulog


def read_log(path: Path) -> Flight:
    """Read one flight of any known format; CSV formats are told apart by their header.

    Args:
        path: .npz (dataset flight), .csv (nano-drone or NanoBench) or .ulg (PX4).

    Returns:
        The flight, uniformly sampled.

    Raises:
        LogFormatError: the format is not known, or a channel that is needed is absent.
    """
    readers: dict[str, Callable[[Path], Flight]] = {".npz": load_flight, ".ulg": read_ulog}
    reader = readers.get(path.suffix.lower())
    if reader is not None:
        return reader(path)
    if path.suffix.lower() != ".csv":
        raise LogFormatError(f"{path}: unknown kind of log {path.suffix!r}; known are .npz, .csv and .ulg")
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise LogFormatError(f"{path}: cannot be read: {error}") from error
    return read_nanobench(path) if "px" in header else read_nanodrone(path)
