"""MSP v2, the protocol of Betaflight: frames to bytes and back, with an incremental, resynchronising parser.

Frame: `$X`, direction (`<` to the flight controller, `>` its answer, `!` its refusal), flag u8, function u16, length
u16, payload, CRC-8/DVB-S2 (polynomial 0xD5, start 0) over flag to payload; little-endian throughout. MSP carries no
sequence numbers and no time: an answer belongs to the oldest question of the same function.

Source: betaflight src/main/msp/msp_serial.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from .errors import InputError

HEADER: Final = 8
OVERHEAD: Final = HEADER + 1
MAX_PAYLOAD: Final = 1024
"""Longer than any answer that tubepilot asks for; a length beyond is a damaged header, not a frame to wait for [bytes]."""

TO_FC: Final = 0x3C
FROM_FC: Final = 0x3E
REFUSED: Final = 0x21
DIRECTIONS: Final = (TO_FC, FROM_FC, REFUSED)

_HEAD: Final = struct.Struct("<BBBBHH")


def _table() -> bytes:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ 0xD5 if value & 0x80 else value << 1) & 0xFF
        rows.append(value)
    return bytes(rows)


_CRC8: Final = _table()


def crc8(data: bytes | bytearray) -> int:
    """CRC-8/DVB-S2 of bytes."""
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


class MspFrame(NamedTuple):
    """One frame that passed its CRC."""

    direction: int
    function: int
    payload: bytes


def encode(function: int, payload: bytes = b"", direction: int = TO_FC) -> bytes:
    """One MSP v2 frame.

    Args:
        function: What is asked or told, 0..65535.
        payload: Its content, at most `MAX_PAYLOAD` bytes.
        direction: `TO_FC`, `FROM_FC` or `REFUSED`.

    Raises:
        InputError: a number does not fit its field.
    """
    if direction not in DIRECTIONS or not 0 <= function <= 0xFFFF or len(payload) > MAX_PAYLOAD:
        raise InputError(
            f"MSP frame with direction {direction}, function {function} and {len(payload)} bytes: directions are "
            f"{DIRECTIONS}, functions 0..65535, payloads at most {MAX_PAYLOAD} bytes"
        )
    frame = _HEAD.pack(0x24, 0x58, direction, 0, function, len(payload)) + payload
    return frame + bytes((crc8(frame[3:]),))


@dataclass(slots=True)
class MspCounts:
    """What a parser has seen since it was made.

    Attributes:
        bytes_in: Bytes fed.
        frames: Frames that passed their CRC.
        crc_errors: Candidates whose CRC did not match.
        noise_bytes: Bytes skipped while looking for the next frame.
    """

    bytes_in: int = 0
    frames: int = 0
    crc_errors: int = 0
    noise_bytes: int = 0


class MspParser:
    """Incremental parser: feed bytes as they come, get frames; garbage only costs the bytes it is made of."""

    def __init__(self) -> None:
        self.counts = MspCounts()
        self._buffer = bytearray()

    def reset(self) -> None:
        """Forget a partial frame (after the device was opened again)."""
        self._buffer.clear()

    def feed(self, data: bytes) -> list[MspFrame]:
        """Take bytes and give every frame that they complete, in order."""
        self.counts.bytes_in += len(data)
        self._buffer += data
        frames: list[MspFrame] = []
        position, size = 0, len(self._buffer)
        while True:
            start = self._buffer.find(b"$X", position)
            if start < 0:
                # A lone "$" at the end may be the start of a frame.
                kept = 1 if size > position and self._buffer[size - 1] == 0x24 else 0
                self.counts.noise_bytes += size - kept - position
                position = size - kept
                break
            self.counts.noise_bytes += start - position
            position = start
            taken, frame = self._candidate(position, size)
            if taken == 0:
                break
            position += taken
            if frame is None:
                self.counts.noise_bytes += taken
            else:
                frames.append(frame)
        del self._buffer[:position]
        return frames

    def _candidate(self, at: int, size: int) -> tuple[int, MspFrame | None]:
        """Bytes to take (0: wait for more) and the frame, if there is one."""
        buffer = self._buffer
        if size - at < HEADER:
            bad = size - at > 2 and buffer[at + 2] not in DIRECTIONS
            return (1, None) if bad else (0, None)
        _, _, direction, flag, function, length = _HEAD.unpack_from(buffer, at)
        if direction not in DIRECTIONS or flag != 0 or length > MAX_PAYLOAD:
            return 1, None
        end = at + HEADER + length
        if size <= end:
            return 0, None
        if crc8(buffer[at + 3 : end]) != buffer[end]:
            self.counts.crc_errors += 1
            return 1, None
        self.counts.frames += 1
        return OVERHEAD + length, MspFrame(direction, function, bytes(buffer[at + HEADER : end]))
