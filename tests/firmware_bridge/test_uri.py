"""Addresses of vehicles: what is read and what is refused, by name."""

from __future__ import annotations

import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.uri import VehicleUri, parse_uri
from tubepilot.firmware_bridge.vehicle import open_vehicle


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("px4:///dev/ttyACM0", VehicleUri("px4", "/dev/ttyACM0", 921600)),
        ("px4:///dev/ttyUSB0?baud=57600", VehicleUri("px4", "/dev/ttyUSB0", 57600)),
        ("ardupilot:///dev/serial/by-id/a%20b", VehicleUri("ardupilot", "/dev/serial/by-id/a b", 921600)),
        ("betaflight:///dev/ttyACM0?pose=/run/pose&curve=0.7", VehicleUri("betaflight", "/dev/ttyACM0", 921600, "/run/pose", 0.7)),
        ("px4+udp://127.0.0.1:14540", VehicleUri("px4", "127.0.0.1:14540", carrier="udp")),
        ("ardupilot+tcp://sim.local:5760/?curve=0.6", VehicleUri("ardupilot", "sim.local:5760", curve=0.6, carrier="tcp")),
        ("px4+udp://[::1]:14540", VehicleUri("px4", "[::1]:14540", carrier="udp")),
        ("ardupilot:///dev/x?signing=/k&full_v=16.8", VehicleUri("ardupilot", "/dev/x", signing="/k", full_v=16.8)),
        ("betaflight:///dev/x?gyro_deg_s=4000", VehicleUri("betaflight", "/dev/x", gyro_deg_s=4000.0)),
    ],
)
def test_reads(text: str, expected: VehicleUri) -> None:
    assert parse_uri(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/dev/ttyACM0", "no known firmware"),
        ("inav:///dev/ttyACM0", "no known firmware"),
        ("px4:///dev/x?pose=/run/pose", "unknown option 'pose'"),
        ("betaflight:///dev/x?pose=pose", "absolute path of a socket"),
        ("betaflight:///dev/x?curve=2", "0 .linear. to 1"),
        ("px4://ttyACM0", "no absolute device"),
        ("px4:///", "no absolute device"),
        ("px4:///dev/x?speed=1", "unknown option 'speed'"),
        ("px4:///dev/x?baud=", "baud is ''"),
        ("px4:///dev/x?baud=9599", "9600..12000000"),
        ("px4:///dev/x?baud=-1", "9600..12000000"),
        ("px4+quic://localhost:1", "cannot be reached over 'quic'"),
        ("crazyflie+udp://localhost:1", "cannot be reached over 'udp'"),
        ("px4+udp://localhost", "no host and port"),
        ("px4+udp://:14540", "no host and port"),
        ("px4+tcp://localhost:99999", "no host and port"),
        ("px4+tcp://me@localhost:1", "no host and port"),
        ("px4+tcp:///dev/ttyACM0", "no host and port"),
        ("px4:///dev/x?signing=key", "absolute path of a key file"),
        ("betaflight:///dev/x?signing=/key", "unknown option 'signing'"),
        ("betaflight:///dev/x?gyro_deg_s=0", "125 to 4000 deg/s"),
        ("px4:///dev/x?full_v=nan", "0 .no compensation. to 100 V"),
    ],
)
def test_refuses(text: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        parse_uri(text)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 0.99, 501.0])
def test_thrust_scale_must_make_sense(scale: float) -> None:
    with pytest.raises(InputError, match="thrust scale"):
        open_vehicle("px4:///dev/ttyACM0", scale)
