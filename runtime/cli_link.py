"""Show a link to a flight controller, live: rates per message, gaps, CRC errors, ages, round trip, mode, arming state.

Nothing is sent but heartbeats, time sync and requests for streams: no set-point, no mode, no arming. Ctrl-C ends it.
With --setup-signing the flight controller is given a key first: use a cable, it crosses in the clear.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.mavlink_vehicle import MavlinkVehicle
from tubepilot.firmware_bridge.signing import read_key
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle

ANY_SCALE_M_S2 = 20.0
"""No set-point is sent, so the thrust scale does not matter [m/s^2]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot link`."""
    parser.add_argument("uri", help="flight controller, e.g. px4:///dev/ttyACM0?baud=921600")
    parser.add_argument("--rate-hz", type=float, default=100.0, help="rate asked of the state messages [Hz]")
    parser.add_argument("--period-s", type=float, default=1.0, help="time between two reports [s]")
    parser.add_argument("--duration-s", type=float, default=None, help="end by itself after this time [s]")
    parser.add_argument("--timeout-s", type=float, default=10.0, help="how long to wait for the flight controller [s]")
    parser.add_argument("--json", action="store_true", help="one line of JSON per report, for scripts")
    parser.add_argument(
        "--setup-signing", type=Path, default=None, metavar="FILE",
        help="give the flight controller this key for signed MAVLink frames (made by `tubepilot keys signing FILE`), then end",
    )  # fmt: skip


def report(vehicle: Vehicle, before: dict[str, int], period_s: float) -> dict[str, object]:
    """What the link does now.

    Args:
        vehicle: Connected.
        before: Its message counts one period ago.
        period_s: The period [s].
    """
    status = vehicle.status()
    rates = {name: round((count - before.get(name, 0)) / period_s, 1) for name, count in vehicle.message_counts().items()}
    echo = sorted(vehicle.echo_ms())
    link = asdict(status.link)
    return {
        "mode": status.mode.value,
        "armed": status.armed,
        "landed": status.landed,
        "battery_v": status.battery_v,
        "texts": list(status.texts),
        "messages_hz": rates,
        "echo_ms": echo[len(echo) // 2] if echo else None,
        **{name: _plain(value) for name, value in link.items()},
    }


def _plain(value: object) -> object:
    """JSON knows no infinity: what is not there is null."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text(found: dict[str, object]) -> str:
    """A report for people."""
    rates = found["messages_hz"]
    shown = rates.items() if isinstance(rates, dict) else ()
    messages = "  ".join(f"{name} {rate:g}" for name, rate in shown if rate) or "none"
    sync = found["timesync"]
    trip = sync["rtt_ms"] if isinstance(sync, dict) else None
    age = found["state_age_ms"]
    lines = [
        f"mode {found['mode']}, {'ARMED' if found['armed'] else 'disarmed'}, landed {found['landed']}, battery {found['battery_v']} V, "
        f"{'connected' if found['connected'] else 'NOT CONNECTED'}",
        f"  state {found['state_hz']:g} Hz, age {age if age is None else round(float(str(age)), 1)} ms, round trip {trip:.2f} ms, "
        f"lost {found['lost']}, out of order {found['reordered']}, CRC errors {found['crc_errors']}, reconnects {found['reconnects']}",
        f"  messages per second: {messages}",
    ]
    texts = found["texts"]
    if isinstance(texts, list) and texts:
        lines.append(f"  it said: {texts[-1]}")
    return "\n".join(lines)


def setup_signing(vehicle: Vehicle, uri: str, path: Path) -> None:
    """Hand a key over, a few times since nobody acknowledges it.

    Raises:
        InputError: the firmware has no signing, or the key cannot be read.
    """
    if not isinstance(vehicle, MavlinkVehicle):
        raise InputError(f"{uri}: only MAVLink frames can be signed; leave out --setup-signing")
    key = read_key(path)
    for _ in range(3):
        vehicle.setup_signing(key)
        vehicle.wait_until(time.monotonic_ns() + 100_000_000)
    print(f"key sent. next: tubepilot link '{uri}{'&' if '?' in uri else '?'}signing={path.absolute()}'")


def run(arguments: argparse.Namespace) -> int:
    """Report until the time is over; 0 if it was connected at the end.

    Raises:
        InputError: an option is out of range.
        LinkError: nobody answers.
    """
    if not 0.05 <= arguments.period_s <= 60.0:
        raise InputError(f"--period-s is {arguments.period_s!r}; it must be 0.05..60 s")
    vehicle = open_vehicle(arguments.uri, ANY_SCALE_M_S2)
    connected = False
    try:
        vehicle.connect(arguments.timeout_s)
        if arguments.setup_signing is not None:
            setup_signing(vehicle, arguments.uri, arguments.setup_signing)
            return 0
        vehicle.request_streams(arguments.rate_hz)
        end_s = math.inf if arguments.duration_s is None else time.monotonic() + arguments.duration_s
        while time.monotonic() < end_s:
            before = vehicle.message_counts()
            vehicle.wait_until(time.monotonic_ns() + round(1e9 * arguments.period_s))
            vehicle.poll()
            found = report(vehicle, before, arguments.period_s)
            connected = bool(found["connected"])
            print(json.dumps(found) if arguments.json else text(found), flush=True)
    finally:
        vehicle.close()
    if not arguments.json:
        print("next: tubepilot fly BUNDLE --link URI --check-only", file=sys.stderr)
    return 0 if connected else 1
