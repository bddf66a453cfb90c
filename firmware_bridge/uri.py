"""Addresses of flight controllers: `px4:///dev/ttyACM0?baud=921600`, for simulations `ardupilot+tcp://127.0.0.1:5760`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .errors import InputError
from .msp_messages import GYRO_FULL_SCALE_DEG_S

FIRMWARES = ("px4", "ardupilot", "betaflight", "crazyflie")
CARRIERS = ("serial", "tcp", "udp")
DEFAULT_BAUD = 921600
EXAMPLE = "px4:///dev/ttyACM0?baud=921600"
SOCKET_EXAMPLE = "px4+udp://127.0.0.1:14540"
OPTIONS = {
    "px4": ("baud", "curve", "full_v", "signing"),
    "ardupilot": ("baud", "curve", "full_v", "signing"),
    "betaflight": ("baud", "curve", "full_v", "pose", "gyro_deg_s"),
    "crazyflie": ("baud",),
}


@dataclass(frozen=True, slots=True)
class VehicleUri:
    """Where a flight controller is and what it speaks.

    Attributes:
        firmware: One of `FIRMWARES`.
        device: Path of the serial device; host and port with the carriers tcp and udp.
        baud: Speed of the serial line [bit/s]; USB and pseudo-terminals ignore it.
        pose: Path of the socket on which positions come (Betaflight, which knows none); empty: none.
        curve: Share of the square in the thrust over the throttle, 0 linear to 1 square.
        carrier: One of `CARRIERS`.
        signing: Path of the key with which MAVLink frames are signed; empty: they are not.
        full_v: Battery voltage at which the bundle's thrust scale holds [V]; 0: the thrust is not compensated for the battery.
        gyro_deg_s: Full scale of the gyro (Betaflight, which sends its steps and not their size) [deg/s].
    """

    firmware: str
    device: str
    baud: int = DEFAULT_BAUD
    pose: str = ""
    curve: float = 0.0
    carrier: str = "serial"
    signing: str = ""
    full_v: float = 0.0
    gyro_deg_s: float = GYRO_FULL_SCALE_DEG_S


def parse_uri(text: str) -> VehicleUri:
    """Read a vehicle address.

    Args:
        text: `FIRMWARE:///dev/PATH` or `FIRMWARE+tcp://HOST:PORT` (`+udp`: our own address), then maybe `?`, and joined by `&`:
            `baud=NUMBER`, `curve=NUMBER`, `full_v=NUMBER`, `signing=PATH` (PX4, ArduPilot), `pose=PATH` and
            `gyro_deg_s=NUMBER` (Betaflight).

    Returns:
        The parts.

    Raises:
        InputError: unknown firmware, no absolute device path, or an unknown or impossible option.
    """
    parts = urlsplit(text)
    firmware, _, carrier = parts.scheme.partition("+")
    if firmware not in FIRMWARES:
        known = ", ".join(FIRMWARES)
        raise InputError(f"{text!r} names no known firmware ({known}); an address reads {EXAMPLE}")
    carrier = carrier or "serial"
    if carrier not in CARRIERS or (firmware == "crazyflie" and carrier != "serial"):
        raise InputError(f"{text!r}: {firmware} cannot be reached over {carrier!r}; an address reads {EXAMPLE} or {SOCKET_EXAMPLE}")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS[firmware]:
            raise InputError(f"{text!r} has the unknown option {name!r}; the options of {firmware} are {', '.join(OPTIONS[firmware])}")
        options[name] = value
    for name in {"pose", "signing"} & options.keys():
        if not options[name].startswith("/"):
            raise InputError(f"{text!r}: {name} is {options[name]!r}; it must be the absolute path of a {_IS[name]}")
    return VehicleUri(
        firmware,
        _device(text, parts) if carrier == "serial" else _host_and_port(text, parts),
        _baud(text, options),
        options.get("pose", ""),
        _number(text, options, "curve", 0.0, 1.0, "0 (linear) to 1 (square)"),
        carrier,
        options.get("signing", ""),
        _number(text, options, "full_v", 0.0, 100.0, "0 (no compensation) to 100 V"),
        _number(text, options, "gyro_deg_s", 125.0, 4000.0, "125 to 4000 deg/s", GYRO_FULL_SCALE_DEG_S),
    )


_IS = {"pose": "socket", "signing": "key file"}


def _device(text: str, parts: SplitResult) -> str:
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        raise InputError(f"{text!r} has no absolute device path; an address reads {EXAMPLE} (three slashes)")
    return unquote(parts.path)


def _host_and_port(text: str, parts: SplitResult) -> str:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path not in ("", "/") or parts.username is not None:
        raise InputError(f"{text!r} has no host and port; an address reads {SOCKET_EXAMPLE}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _baud(text: str, options: dict[str, str]) -> int:
    value = options.get("baud", str(DEFAULT_BAUD))
    if not value.isdecimal() or not 9600 <= int(value) <= 12_000_000:
        raise InputError(f"{text!r}: baud is {value!r}; it must be 9600..12000000 bit/s")
    return int(value)


def _number(text: str, options: dict[str, str], name: str, least: float, most: float, limits: str, default: float = 0.0) -> float:
    value = options.get(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = least - 1.0
    if not least <= number <= most:
        raise InputError(f"{text!r}: {name} is {value!r}; it must be {limits}")
    return number
