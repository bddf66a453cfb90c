"""MAVLink 2 on the hot path: frames to bytes and back, with its own incremental, resynchronising parser.

Own code because every state message and set-point passes here: about five times less time per message than pymavlink,
which stays the test oracle. MAVLink 1 frames are skipped as noise. Without a key, signed frames are checked by CRC and
skipped: nobody can say whether the signature holds. With a key, only frames that are signed with it are taken.
"""

from __future__ import annotations

import math
import struct
from binascii import crc_hqx
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .errors import InputError
from .mavlink_crc_extra import CRC_EXTRA
from .mavlink_messages import MASK_RATES_AND_THRUST, SPEC_BY_ID, SPEC_BY_KIND, Message, SetAttitudeTarget
from .signing import Signer

STX: Final = 0xFD
HEADER: Final = 10
OVERHEAD: Final = HEADER + 2
SIGNATURE: Final = 13
FLAG_SIGNED: Final = 0x01
RATE_LIMIT_RAD_S: Final = 35.0
"""No set-point beyond this body rate leaves the encoder: 2000 deg/s, the range of the usual gyro [rad/s]."""

_HEAD: Final = struct.Struct("<BBBBBBHB")
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


_EXTRA: Final = {number: _REVERSED[extra : extra + 1] for number, extra in CRC_EXTRA.items()}
"""CRC_EXTRA as `crc` wants it: one byte with its bits reversed."""


def crc(data: bytes | bytearray, reversed_extra: bytes = b"") -> int:
    """MAVLink's checksum (CRC-16/MCRF4XX, called X.25 there).

    The reflected CRC by the unreflected one of the standard library, which runs in C: reverse the bits of each byte
    on the way in and of the two result bytes on the way out.

    Args:
        data: Header and payload, without the start byte.
        reversed_extra: One more byte, its bits already reversed.
    """
    value = crc_hqx(reversed_extra, crc_hqx(data.translate(_REVERSED), 0xFFFF))
    return _REVERSED[value & 0xFF] << 8 | _REVERSED[value >> 8]


def encode(message: Message, sequence: int, system: int, component: int, signer: Signer | None = None) -> bytes:
    """One MAVLink 2 frame.

    Args:
        message: The message; its numbers must fit their fields and be finite.
        sequence: Frame counter of the sender, taken modulo 256.
        system: MAVLink system id of the sender, 1..255.
        component: MAVLink component id of the sender.
        signer: Signs the frame; None leaves it unsigned.

    Returns:
        The bytes of the frame, trailing zeros of the payload truncated as the protocol asks.

    Raises:
        InputError: a field is not finite or does not fit its type.
    """
    spec = SPEC_BY_KIND[type(message)]
    values: tuple[Any, ...] = message
    for index in spec.floats:
        if not math.isfinite(values[index]):
            name = type(message)._fields[index]
            raise InputError(f"{type(message).__name__}.{name} is {values[index]!r}; it must be finite")
    try:
        payload = spec.wire.pack(*values)
    except (struct.error, OverflowError) as error:
        raise InputError(f"{message!r} does not fit its MAVLink fields: {error}") from error
    payload = payload.rstrip(b"\x00") or b"\x00"
    number = spec.message_id
    flags = 0 if signer is None else FLAG_SIGNED
    body = _HEAD.pack(len(payload), flags, 0, sequence & 0xFF, system, component, number & 0xFFFF, number >> 16) + payload
    frame = b"\xfd" + body + crc(body, _EXTRA[number]).to_bytes(2, "little")
    return frame if signer is None else frame + signer.sign(frame)


def rates_and_thrust(
    time_boot_ms: int, rates_frd_rad_s: tuple[float, float, float], throttle: float, system: int, component: int
) -> SetAttitudeTarget:
    """The one set-point message of tubepilot: body rates and thrust, attitude ignored (type mask 128).

    Args:
        time_boot_ms: Time stamp, taken modulo 2^32 [ms].
        rates_frd_rad_s: Body rates, FRD [rad/s].
        throttle: Collective thrust over the greatest possible, 0..1.
        system: Target system id.
        component: Target component id.

    Raises:
        InputError: a rate is not finite or beyond `RATE_LIMIT_RAD_S`, or the throttle is not within 0..1.
    """
    for axis, rate in zip(("roll", "pitch", "yaw"), rates_frd_rad_s, strict=True):
        if not -RATE_LIMIT_RAD_S <= rate <= RATE_LIMIT_RAD_S:
            raise InputError(f"{axis} rate set-point is {rate!r} rad/s; the limit is +-{RATE_LIMIT_RAD_S} rad/s")
    if not 0.0 <= throttle <= 1.0:
        raise InputError(f"throttle is {throttle!r}; it must be 0..1: check the thrust scale of the bundle")
    roll, pitch, yaw = rates_frd_rad_s
    return SetAttitudeTarget(
        time_boot_ms & 0xFFFFFFFF,
        1.0,
        0.0,
        0.0,
        0.0,
        roll,
        pitch,
        yaw,
        throttle,
        system,
        component,
        MASK_RATES_AND_THRUST,
    )


class Frame(NamedTuple):
    """One frame that passed its CRC; `message` is None when its id is not one that tubepilot reads."""

    message_id: int
    sequence: int
    system: int
    component: int
    message: Message | None


@dataclass(slots=True)
class ParserCounts:
    """What a parser has seen since it was made.

    Attributes:
        bytes_in: Bytes fed.
        frames: Frames that passed their CRC and, with a key, their signature.
        crc_errors: Candidates of a listed id whose CRC did not match.
        signed: Frames skipped because they were signed and no key was given.
        unproven: With a key, frames skipped because they were not signed, not with this key, or not newer than one before.
        unlisted: Candidates skipped because their id is in neither dialect.
        noise_bytes: Bytes skipped while looking for the next frame.
    """

    bytes_in: int = 0
    frames: int = 0
    crc_errors: int = 0
    signed: int = 0
    unproven: int = 0
    unlisted: int = 0
    noise_bytes: int = 0


class Parser:
    """Incremental parser: feed bytes as they come, get frames; any garbage only costs the bytes it is made of.

    Args:
        signer: Takes only frames signed with its key; None takes only unsigned ones.
    """

    def __init__(self, signer: Signer | None = None) -> None:
        self.counts = ParserCounts()
        self._signer = signer
        self._buffer = bytearray()

    def reset(self) -> None:
        """Forget a partial frame (after the device was opened again)."""
        self._buffer.clear()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and give every frame that they complete, in order."""
        frames: list[Frame] = []
        buffer = self._buffer
        buffer += data
        self.counts.bytes_in += len(data)
        position = 0
        size = len(buffer)
        while True:
            start = buffer.find(STX, position)
            if start < 0:
                self.counts.noise_bytes += size - position
                position = size
                break
            self.counts.noise_bytes += start - position
            position = start
            if size - position < OVERHEAD:
                break
            taken, frame = self._candidate(position, size)
            if taken == 0:
                break
            if taken == 1:
                self.counts.noise_bytes += 1
            position += taken
            if frame is not None:
                frames.append(frame)
        del buffer[:position]
        return frames

    def _is_proven(self, at: int, end: int, total: int) -> bool:
        """Whether the signature of a frame that passed its CRC holds."""
        if self._signer is None:
            self.counts.signed += 1
            return False
        proven = end < at + total and self._signer.accepts(self._buffer[at:end], self._buffer[end : at + total])
        self.counts.unproven += not proven
        return proven

    def _candidate(self, at: int, size: int) -> tuple[int, Frame | None]:
        """Bytes to take (0: wait for more, 1: not a frame) and the frame, if there is one."""
        buffer = self._buffer
        length, flags = buffer[at + 1], buffer[at + 2]
        number = buffer[at + 7] | buffer[at + 8] << 8 | buffer[at + 9] << 16
        extra = _EXTRA.get(number)
        if flags & ~FLAG_SIGNED or extra is None:
            self.counts.unlisted += extra is None
            return 1, None
        end = at + OVERHEAD + length
        total = OVERHEAD + length + (SIGNATURE if flags & FLAG_SIGNED else 0)
        if size - at < total:
            return 0, None
        checksum = crc(buffer[at + 1 : end - 2], extra)
        if buffer[end - 2] | buffer[end - 1] << 8 != checksum:
            self.counts.crc_errors += 1
            return 1, None
        if (flags or self._signer is not None) and not self._is_proven(at, end, total):
            return total, None
        self.counts.frames += 1
        message: Message | None = None
        spec = SPEC_BY_ID.get(number)
        if spec is not None:
            payload = bytes(buffer[at + HEADER : end - 2]).ljust(spec.wire.size, b"\x00")
            message = spec.kind._make(spec.wire.unpack_from(payload))
        return total, Frame(number, buffer[at + 4], buffer[at + 5], buffer[at + 6], message)
