"""Addresses of flight controllers: `px4:///dev/ttyACM0?baud=921600`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import InputError

FIRMWARES = ("px4", "ardupilot")
DEFAULT_BAUD = 921600
EXAMPLE = "px4:///dev/ttyACM0?baud=921600"


@dataclass(frozen=True, slots=True)
class VehicleUri:
    """Where a flight controller is and what it speaks.

    Attributes:
        firmware: One of `FIRMWARES`.
        device: Path of the serial device.
        baud: Speed of the serial line [bit/s]; USB and pseudo-terminals ignore it.
    """

    firmware: str
    device: str
    baud: int


def parse_uri(text: str) -> VehicleUri:
    """Read a vehicle address.

    Args:
        text: `FIRMWARE:///dev/PATH[?baud=NUMBER]`.

    Returns:
        The parts.

    Raises:
        InputError: unknown firmware, no absolute device path, or an unknown or impossible option.
    """
    parts = urlsplit(text)
    if parts.scheme not in FIRMWARES:
        known = ", ".join(FIRMWARES)
        raise InputError(f"{text!r} names no known firmware ({known}); an address reads {EXAMPLE}")
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        raise InputError(f"{text!r} has no absolute device path; an address reads {EXAMPLE} (three slashes)")
    baud = DEFAULT_BAUD
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "baud":
            raise InputError(f"{text!r} has the unknown option {name!r}; the only option is baud")
        if not value.isdecimal() or not 9600 <= int(value) <= 12_000_000:
            raise InputError(f"{text!r}: baud is {value!r}; it must be 9600..12000000 bit/s")
        baud = int(value)
    return VehicleUri(parts.scheme, unquote(parts.path), baud)
