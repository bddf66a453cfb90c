"""MAVLink 2 message signing: who does not have the key can neither command the vehicle nor feed us states.

A signed frame carries a link id, a time in units of 10 us since 2015, and the first 48 bits of SHA-256 over the key, the frame
and these two. A time not above the last of its stream is a replay. Signing does not encrypt. ArduPilot has it (its USB port
takes unsigned frames always); PX4 has it from 1.18 on. Source: mavlink.io, guide/message_signing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Final

from .errors import InputError

KEY_SIZE: Final = 32
SIZE: Final = 13
LINK_ID: Final = 0
EPOCH_S: Final = 1_420_070_400
"""2015-01-01 00:00 GMT, Unix time [s]."""

TICKS_PER_S: Final = 100_000
OLD_TICKS: Final = 60 * TICKS_PER_S
"""A stream heard for the first time may be so far behind the newest time seen."""


def read_key(path: Path) -> bytes:
    """The key in a file: 32 bytes, or 64 hexadecimal digits.

    Raises:
        InputError: it cannot be read, is readable by others, or is no such key.
    """
    try:
        shared, data = path.stat().st_mode & 0o077, path.read_bytes()
    except OSError as error:
        text = f"signing key {path} cannot be read: {error.strerror}; make one with: tubepilot keys signing {path}"
        raise InputError(text) from error
    if shared:
        raise InputError(f"signing key {path} can be used by others on this machine; chmod 600 {path}")
    if len(data) != KEY_SIZE:
        try:
            data = bytes.fromhex(data.decode("ascii").strip())
        except ValueError:
            data = b""
    if len(data) != KEY_SIZE:
        raise InputError(f"signing key {path} must be {KEY_SIZE} bytes or {2 * KEY_SIZE} hexadecimal digits")
    return data


def unix_time_s() -> float:
    """Wall clock [s]."""
    return time.time()


class Signer:
    """Signs our frames and checks the others'.

    Args:
        key: 32 bytes.
        unix_s: Wall clock; time stamps go forward even when it does not [s].
    """

    def __init__(self, key: bytes, unix_s: Callable[[], float] = unix_time_s) -> None:
        if len(key) != KEY_SIZE:
            raise InputError(f"signing key has {len(key)} bytes; it must have {KEY_SIZE}")
        self._state = hashlib.sha256(key)
        self._unix_s = unix_s
        self._last = 0
        self._heard: dict[tuple[int, int, int], int] = {}

    def _wall(self) -> int:
        return round((self._unix_s() - EPOCH_S) * TICKS_PER_S)

    def now(self) -> int:
        """Time stamp for one more frame, above all before it and all that were heard [10 us since 2015]."""
        self._last = max(self._last + 1, self._wall())
        return self._last

    def _digest(self, frame: bytes | bytearray | memoryview, tail: bytes) -> bytes:
        state = self._state.copy()
        state.update(frame)
        state.update(tail)
        return state.digest()[:6]

    def sign(self, frame: bytes) -> bytes:
        """The 13 bytes to append to a frame whose header says that it is signed.

        Args:
            frame: From the start byte to the CRC.
        """
        tail = bytes((LINK_ID,)) + self.now().to_bytes(6, "little")
        return tail + self._digest(frame, tail)

    def accepts(self, frame: bytes | bytearray, signature: bytes | bytearray) -> bool:
        """Whether a frame was signed with our key and is newer than all before it.

        Args:
            frame: From the start byte to the CRC.
            signature: The 13 bytes behind it.
        """
        tail = bytes(signature[:7])
        if not compare_digest(self._digest(frame, tail), bytes(signature[7:])):
            return False
        stream, stamp = (frame[5], frame[6], tail[0]), int.from_bytes(tail[1:], "little")
        last = self._heard.get(stream)
        if stamp <= last if last is not None else stamp + OLD_TICKS < max(self._last, self._wall()):
            return False
        self._heard[stream] = stamp
        self._last = max(self._last, stamp)
        return True
