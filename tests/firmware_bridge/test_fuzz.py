"""Every parser under random bytes and under mutations of recorded streams; counts are printed (`pytest -s`).

Nothing may raise, and what a mutated stream gives must have been in it. Only the 16 bits of MAVLink's CRC and the 8 of MSP's stand
against random bytes, so a false frame now and then is arithmetic, not a bug: its share is held against that of the CRC.
"""

from __future__ import annotations

import json
import random

import pytest

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge import msp, msp_messages
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.mavlink import Parser, encode
from tubepilot.firmware_bridge.pose import SIZE, Pose, decode_pose
from tubepilot.firmware_bridge.signing import Signer

CHUNK = 4096
KEY = bytes(range(32))
SHORT, LONG = 300_000, 10_000_000
LENGTHS = pytest.mark.parametrize("size", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
PAYLOADS = (
    msp_messages.attitude, msp_messages.gyro_deg_s, msp_messages.status, msp_messages.mode_ranges,
)  # fmt: skip


def state_stream(count: int) -> tuple[list[bytes], set[str]]:
    """A recorded-like stream: states, heartbeats, answers, texts, each frame different."""
    frames, known = [], set()
    for k in range(count):
        messages: tuple[m.Message, ...] = (
            m.AttitudeQuaternion(k, 1.0, 0.0, 0.0, 0.0, 0.5, -0.25, k % 7 / 8),
            m.LocalPositionNed(k, k % 100 / 4, 2.0, -1.0, 0.5, 0.25, 0.0),
            m.Heartbeat(k, 2, 12, 0x81, 4, 3),
            m.Timesync(k * 10**6, k),
            m.Statustext(6, b"text %d" % k + bytes(40 - len(str(k)))),
        )
        for message in messages[: 2 if k % 10 else 5]:
            frame = encode(message, len(frames), 1, 1)
            frames.append(frame)
            known.update(repr(got.message) for got in Parser().feed(frame))
    return frames, known


def mutated(frames: list[bytes], generator: random.Random) -> bytes:
    """Flips, cuts, repeats, swaps and inserted noise, about one frame in three damaged."""
    out = []
    for frame in frames:
        data = bytearray(frame)
        kind = generator.randrange(18)
        if kind == 0:
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[generator.randrange(len(data)) :]
        elif kind == 2:
            data += bytes(data)
        elif kind == 3:
            data[generator.randrange(len(data))] = generator.randrange(256)
        elif kind == 4:
            data[0:0] = generator.randbytes(generator.randrange(30))
        elif kind == 5:
            at = generator.randrange(len(data))
            data[at:at] = b"\xfd"
        out.append(bytes(data))
    if len(out) > 1:
        at = generator.randrange(len(out) - 1)
        out[at], out[at + 1] = out[at + 1], out[at]
    return b"".join(out)


@LENGTHS
def test_mavlink_random_bytes(size: int) -> None:
    generator, parser, frames = random.Random(1), Parser(), 0
    for _ in range(size // CHUNK):
        data = bytearray(generator.randbytes(CHUNK))
        for at in range(0, CHUNK - 12, generator.randrange(20, 60)):  # many starts, of ids that are known
            data[at], data[at + 2], data[at + 7], data[at + 8], data[at + 9] = 0xFD, 0, generator.randrange(150), 0, 0
        frames += len(parser.feed(bytes(data)))
    candidates = frames + parser.counts.crc_errors + parser.counts.signed
    print(json.dumps({"bytes": size, "candidates": candidates, "false_frames": frames}))
    assert frames <= 4 * candidates / 65536 + 2


@LENGTHS
def test_mavlink_mutated_stream(size: int) -> None:
    generator, parser = random.Random(2), Parser()
    frames, known = state_stream(400)
    fed = good = false = 0
    while fed < size:
        data = mutated(frames, generator)
        fed += len(data)
        for start in range(0, len(data), 777):
            for frame in parser.feed(data[start : start + 777]):
                if frame.message is not None and repr(frame.message) not in known:
                    false += 1
                good += 1
    print(json.dumps({"bytes": fed, "frames": good, "crc_errors": parser.counts.crc_errors, "false_frames": false}))
    assert good > 0.5 * fed / 50
    assert parser.counts.crc_errors > 0
    assert false <= 4 * parser.counts.crc_errors / 65536 + 1


@LENGTHS
def test_signed_mutated_stream(size: int) -> None:
    """Repeats are replays and refused; what is taken was signed, and is taken once: 48 bits stand against chance here."""
    generator, sender, parser = random.Random(5), Signer(KEY, lambda: 1.7e9), Parser(Signer(KEY, lambda: 1.7e9))
    fed = good = number = 0
    taken: set[int] = set()
    while fed < size:
        frames = []
        for _ in range(200):
            number += 1
            frames.append(encode(m.Timesync(number, 7 * number), number, 1, 1, sender))
        data = mutated(frames, generator)
        fed += len(data)
        for start in range(0, len(data), 777):
            for frame in parser.feed(data[start : start + 777]):
                message = frame.message
                assert isinstance(message, m.Timesync)
                assert message.ts1 == 7 * message.tc1
                assert message.tc1 not in taken
                taken.add(message.tc1)
                good += 1
    counts = {"bytes": fed, "frames": good, "sent": number, "crc_errors": parser.counts.crc_errors, "unproven": parser.counts.unproven}
    print(json.dumps(counts))
    assert good > 0.6 * number
    assert parser.counts.unproven > 0


@LENGTHS
def test_msp_random_bytes_and_mutations(size: int) -> None:
    generator, parser = random.Random(3), msp.MspParser()
    frames = [msp.encode(n % 300, generator.randbytes(n % 60), msp.FROM_FC) for n in range(500)]
    known = {frame for raw in frames for frame in msp.MspParser().feed(raw)}
    fed = good = false = 0
    while fed < size:
        data = mutated(frames, generator) + generator.randbytes(2000)
        fed += len(data)
        for start in range(0, len(data), 333):
            for frame in parser.feed(data[start : start + 333]):
                good += 1
                false += frame not in known and frame.direction == msp.FROM_FC
                for read in PAYLOADS:
                    try:
                        read(frame.payload)
                    except InputError:
                        continue
    print(json.dumps({"bytes": fed, "frames": good, "crc_errors": parser.counts.crc_errors, "false_frames": false}))
    assert good > 0.3 * fed / 50
    assert false <= 4 * parser.counts.crc_errors / 256 + 1


@LENGTHS
def test_poses_of_random_bytes(size: int) -> None:
    generator, found = random.Random(4), 0
    for _ in range(size // SIZE):
        data = bytearray(generator.randbytes(SIZE))
        data[0:4] = b"TPP1"
        found += isinstance(decode_pose(bytes(data)), Pose)
    print(json.dumps({"bytes": size, "false_poses": found}))
    assert found == 0
