"""Position from outside for flight controllers that know none: datagrams on a Unix socket, newest wins.

One datagram is one pose, 96 bytes little-endian: `TPP1`, time on CLOCK_MONOTONIC of this machine u64 [ns], position [m],
velocity [m/s] in world ENU, attitude body FLU to world, scalar first, as ten doubles, then the CRC-32 of all before, u32.
Whoever has a motion capture system writes these; a socket file keeps other users and machines out.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from .errors import LinkError
from .frames import Four, Three

MAGIC: Final = b"TPP1"
_FRAME: Final = struct.Struct("<4sQ10dI")
SIZE: Final = _FRAME.size
NORM_TOLERANCE: Final = 0.01
JUMP_M: Final = 0.5
JUMP_ACCELERATION_M_S2: Final = 60.0
FORGET_NS: Final = 500_000_000
"""After a pause this long the next pose is believed wherever it is [ns]."""


class Pose(NamedTuple):
    """Where the vehicle is, world ENU and body FLU."""

    t_ns: int
    position_m: Three
    velocity_m_s: Three
    quaternion_wxyz: Four


def encode_pose(pose: Pose) -> bytes:
    """One datagram."""
    numbers = (*pose.position_m, *pose.velocity_m_s, *pose.quaternion_wxyz)
    body = struct.pack("<4sQ10d", MAGIC, pose.t_ns, *numbers)
    return body + struct.pack("<I", zlib.crc32(body))


def decode_pose(data: bytes) -> Pose | str:
    """The pose in a datagram, or why there is none."""
    if len(data) != SIZE:
        return "of another length"
    magic, t_ns, *numbers, checksum = _FRAME.unpack(data)
    if magic != MAGIC:
        return "not a pose"
    if zlib.crc32(data[:-4]) != checksum:
        return "wrong checksum"
    if not all(map(math.isfinite, numbers)):
        return "a field is not finite"
    x, y, z, vx, vy, vz, qw, qx, qy, qz = numbers
    norm = math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
    if abs(norm - 1.0) > NORM_TOLERANCE:
        return "the attitude quaternion is not of unit norm"
    return Pose(t_ns, (x, y, z), (vx, vy, vz), (qw / norm, qx / norm, qy / norm, qz / norm))


class PoseReceiver:
    """Listens on a Unix datagram socket.

    Args:
        path: Path of the socket; one left by an earlier run is replaced, nothing else is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self.newest: Pose | None = None
        self.refused: dict[str, int] = {}

    def open(self) -> None:
        """Bind the socket, readable and writable for this user only.

        Raises:
            LinkError: the path cannot be bound.
        """
        if self._socket is not None:
            return
        if self._path.exists() and not self._path.is_socket():
            raise LinkError(f"{self._path} exists and is not a socket; choose another ?pose=PATH")
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        mask = os.umask(0o077)
        try:
            self._path.unlink(missing_ok=True)
            made.bind(str(self._path))
        except OSError as error:
            made.close()
            raise LinkError(f"cannot listen for poses at {self._path}: {error.strerror}; choose another ?pose=PATH") from error
        finally:
            os.umask(mask)
        self._socket = made

    def poll(self) -> None:
        """Take in every pose that has arrived."""
        if self._socket is None:
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                self._take(self._socket.recv(2 * SIZE))

    def _take(self, data: bytes) -> None:
        pose = decode_pose(data)
        if isinstance(pose, Pose):
            reason = self._doubt(pose)
            if reason is None:
                self.newest = pose
                return
            pose = reason
        self.refused[pose] = self.refused.get(pose, 0) + 1

    def _doubt(self, pose: Pose) -> str | None:
        last = self.newest
        if last is None or pose.t_ns - last.t_ns > FORGET_NS:
            return None
        if pose.t_ns <= last.t_ns:
            return "older than a pose already used"
        dt_s = 1e-9 * (pose.t_ns - last.t_ns)
        away = [
            b - a - 0.5 * dt_s * (va + vb)
            for a, b, va, vb in zip(last.position_m, pose.position_m, last.velocity_m_s, pose.velocity_m_s, strict=True)
        ]
        return "the position jumped" if math.hypot(*away) > JUMP_M + 0.5 * JUMP_ACCELERATION_M_S2 * dt_s * dt_s else None

    def close(self) -> None:
        """Close and remove the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)
