"""Flights that `bench prediction` can use, and how it tells them apart."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import InputError

from .flight import ROTORS, Flight
from .prediction import window_starts

STEP_S = 0.01
"""Step of the protocol [s]."""


def fingerprint(flight: Flight) -> str:
    """Hash of what was flown, whatever the file is called."""
    digest = hashlib.sha256(str(flight.dt_s).encode())
    for values in (flight.position_m, flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s, flight.action):
        digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return digest.hexdigest()


def usable_flights(folder: Path, option: str) -> list[Flight]:
    """Flights of a folder: with rotor speeds, at 100 Hz, longer than a window, none twice.

    Args:
        folder: Where they lie.
        option: That named the folder, for messages.

    Raises:
        InputError: the folder or a flight cannot be used.
    """
    from .cli_train import read_flights

    if not folder.is_dir():
        raise InputError(f"{option} {folder} is no folder; give the one that holds the flights (CSV of the NanoDrone benchmark)")
    flights = read_flights(folder)
    for flight in flights:
        if flight.action_level != ROTORS or abs(flight.dt_s - STEP_S) > 1e-9:
            raise InputError(
                f"{option}: flight {flight.name} has action level {flight.action_level!r} at {1 / flight.dt_s:g} Hz, "
                f"{ROTORS!r} at {1 / STEP_S:g} Hz is needed; take it out of {folder}"
            )
        window_starts(flight)
    for what, keys in (("name", [f.name for f in flights]), ("content", [fingerprint(f) for f in flights])):
        twins = [f.name for f, key in zip(flights, keys, strict=True) if Counter(keys)[key] > 1]
        if twins:
            raise InputError(f"{option} {folder}: flights of the same {what}: {', '.join(twins)}; keep one of them")
    return flights
