"""Addresses of flight controllers: `px4:///dev/ttyACM0?baud=921600`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import InputError

FIRMWARES = ("px4", "ardupilot", "betaflight")
DEFAULT_BAUD = 921600
EXAMPLE = "px4:///dev/ttyACM0?baud=921600"


@dataclass(frozen=True, slots=True)
class VehicleUri:
    """Where a flight controller is and what it speaks.

    Attributes:
        firmware: One of `FIRMWARES`.
        device: Path of the serial device.
        baud: Speed of the serial line [bit/s]; USB and pseudo-terminals ignore it.
        pose: Path of the socket on which positions come (Betaflight, which knows none); empty: none.
        curve: Share of the square in the thrust over the throttle, 0 linear to 1 square (Betaflight).
    """

    firmware: str
    device: str
    baud: int
    pose: str = ""
    curve: float = 0.0


def parse_uri(text: str) -> VehicleUri:
    """Read a vehicle address.

    Args:
        text: `FIRMWARE:///dev/PATH[?baud=NUMBER]`; for Betaflight also `&pose=PATH` and `&curve=NUMBER`.

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
    known_options = {"baud", "pose", "curve"} if parts.scheme == "betaflight" else {"baud"}
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known_options:
            only = "the only option is baud" if known_options == {"baud"} else f"the options are {', '.join(sorted(known_options))}"
            raise InputError(f"{text!r} has the unknown option {name!r}; {only}")
        options[name] = value
    pose = options.get("pose", "")
    if "pose" in options and not pose.startswith("/"):
        raise InputError(f"{text!r}: pose is {pose!r}; it must be the absolute path of a socket")
    return VehicleUri(parts.scheme, unquote(parts.path), _baud(text, options), pose, _curve(text, options))


def _baud(text: str, options: dict[str, str]) -> int:
    value = options.get("baud", str(DEFAULT_BAUD))
    if not value.isdecimal() or not 9600 <= int(value) <= 12_000_000:
        raise InputError(f"{text!r}: baud is {value!r}; it must be 9600..12000000 bit/s")
    return int(value)


def _curve(text: str, options: dict[str, str]) -> float:
    value = options.get("curve", "0")
    try:
        curve = float(value)
    except ValueError:
        curve = -1.0
    if not 0.0 <= curve <= 1.0:
        raise InputError(f"{text!r}: curve is {value!r}; it must be 0 (linear) to 1 (square)")
    return curve
