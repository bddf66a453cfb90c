"""What a training run's result depends on, as names and values: a resumed run must have the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from .flight import Flight
from .stages import digest

_SHOWN = 16
"""Hexadecimal digits of a flight's digest."""
_META = ("action_level", "rate_hz", "airframe", "thrust_scale_m_s2")


def flatten(name: str, value: object) -> dict[str, str]:
    """Nested mappings as dotted names and texts."""
    if isinstance(value, Mapping):
        return {key: text for part, inner in value.items() for key, text in flatten(f"{name}.{part}", inner).items()}
    return {name: repr(value)}


def run_identity(
    settings: Mapping[str, object], flights: Sequence[Flight], held_out: Sequence[Flight]
) -> dict[str, str]:
    """Names and values.

    Args:
        settings: Choices: scalars, tuples, frozen dataclasses' `asdict`.
        flights: Flights that the run works on.
        held_out: Those of them that it does not fit on.
    """
    result: dict[str, str] = {}
    for name, value in settings.items():
        result |= flatten(name, value)
    for flight in flights:
        arrays = [
            np.asarray(v)
            for v in (
                flight.t_s, flight.position_m, flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s, flight.action
            )
        ]
        meta = {key: repr(flight.meta.get(key)) for key in _META}
        result[f"flight {flight.name}"] = digest((arrays, np.frombuffer(repr(meta).encode(), np.uint8)))[:_SHOWN]
    result["held out"] = " ".join(flight.name for flight in held_out)
    return result


def choices(settings: object, left_out: Sequence[str] = ()) -> dict[str, object]:
    """Fields of a frozen dataclass, nested ones as mappings, without those that change no result.

    Args:
        settings: The dataclass.
        left_out: Names of fields that change no result.
    """
    table: dict[str, object] = asdict(settings)  # type: ignore[call-overload]
    return {name: value for name, value in table.items() if name not in left_out}
