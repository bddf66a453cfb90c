"""Poses from outside: what is read, what is refused and why, and the socket."""

from __future__ import annotations

import math
import random
import socket
from pathlib import Path

import pytest

from tubepilot.firmware_bridge.errors import LinkError
from tubepilot.firmware_bridge.pose import SIZE, Pose, PoseReceiver, decode_pose, encode_pose

LEVEL = (1.0, 0.0, 0.0, 0.0)


def test_round_trip_and_size() -> None:
    pose = Pose(5, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), LEVEL)
    assert decode_pose(encode_pose(pose)) == pose
    assert len(encode_pose(pose)) == SIZE == 96


def test_every_flipped_bit_is_found() -> None:
    data = encode_pose(Pose(5, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), LEVEL))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert isinstance(decode_pose(bytes(damaged)), str)


@pytest.mark.parametrize(
    ("pose", "why"),
    [
        (Pose(5, (math.nan, 0.0, 0.0), (0.0,) * 3, LEVEL), "not finite"),
        (Pose(5, (0.0,) * 3, (0.0, math.inf, 0.0), LEVEL), "not finite"),
        (Pose(5, (0.0,) * 3, (0.0,) * 3, (0.5, 0.0, 0.0, 0.0)), "unit norm"),
    ],
)
def test_what_cannot_be_is_named(pose: Pose, why: str) -> None:
    assert why in str(decode_pose(encode_pose(pose)))


def test_garbage_never_raises() -> None:
    generator = random.Random(2)
    for _ in range(20000):
        decode_pose(generator.randbytes(generator.choice((SIZE, generator.randrange(200)))))


def test_the_socket_keeps_the_newest_and_counts_refusals(tmp_path: Path) -> None:
    path = tmp_path / "pose"
    receiver = PoseReceiver(path)
    receiver.open()
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for t_ns, x in ((10**9, 0.0), (10**9 + 10**7, 0.01), (10**9, 0.0), (10**9 + 2 * 10**7, 9.0)):
        sender.sendto(encode_pose(Pose(t_ns, (x, 0.0, 0.0), (1.0, 0.0, 0.0), LEVEL)), str(path))
    sender.sendto(b"garbage", str(path))
    sender.close()
    receiver.poll()
    assert receiver.newest is not None
    assert receiver.newest.position_m[0] == 0.01
    assert receiver.refused == {"older than a pose already used": 1, "the position jumped": 1, "of another length": 1}
    assert path.stat().st_mode & 0o077 == 0
    receiver.close()
    assert not path.exists()


def test_nothing_but_a_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pose"
    path.write_text("precious")
    with pytest.raises(LinkError, match="not a socket"):
        PoseReceiver(path).open()
    assert path.read_text() == "precious"
