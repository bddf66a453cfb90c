"""Signed frames against pymavlink both ways; forged, unsigned and replayed ones are not taken."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

os.environ["MAVLINK20"] = "1"
from pymavlink.dialects.v20 import common

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge import signing
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.mavlink import Parser, encode
from tubepilot.firmware_bridge.signing import OLD_TICKS, Signer, read_key

KEY = bytes(range(1, 33))
NOW_S = 1.76e9
BEAT = m.Heartbeat(0, 2, 12, 0x81, 4, 3)


def signer(key: bytes = KEY, unix_s: float = NOW_S) -> Signer:
    return Signer(key, lambda: unix_s)


def pymavlink(key: bytes = KEY, unix_s: float = NOW_S) -> common.MAVLink:
    link = common.MAVLink(None, srcSystem=1, srcComponent=1)
    link.signing.secret_key, link.signing.sign_outgoing, link.signing.link_id = key, True, 3
    link.signing.timestamp = round((unix_s - signing.EPOCH_S) * 1e5)
    link.robust_parsing = True
    return link


def test_pymavlink_takes_ours() -> None:
    theirs, ours, generator = pymavlink(), signer(), random.Random(0)
    theirs.signing.timestamp -= 1
    for sequence in range(300):
        message = m.AttitudeQuaternion(sequence, *[generator.uniform(-1, 1) for _ in range(7)])
        parsed = theirs.parse_buffer(encode(message, sequence, 245, 191, ours))
        assert [x.get_type() for x in parsed] == ["ATTITUDE_QUATERNION"]
        assert parsed[0].get_signed()
    assert theirs.signing.sig_count == 300
    assert theirs.signing.badsig_count == 0
    assert theirs.parse_buffer(encode(BEAT, 0, 245, 191, signer(bytes(32))))[0].get_type() == "BAD_DATA"


def test_ours_takes_pymavlinks_in_any_pieces() -> None:
    theirs, generator = pymavlink(), random.Random(1)
    data = b"".join(
        bytes(common.MAVLink_timesync_message(generator.randrange(2**60), k).pack(theirs)) for k in range(200)
    )
    parser, found = Parser(signer()), []
    while data:
        size = generator.randrange(1, 60)
        found += parser.feed(data[:size])
        data = data[size:]
    assert [frame.message.ts1 for frame in found if isinstance(frame.message, m.Timesync)] == list(range(200))
    assert (parser.counts.frames, parser.counts.unproven, parser.counts.noise_bytes) == (200, 0, 0)


def test_forged_unsigned_and_replayed_frames_are_not_taken() -> None:
    parser, ours = Parser(signer()), signer()
    good = encode(BEAT, 0, 1, 1, ours)
    assert len(parser.feed(good)) == 1
    assert parser.feed(good) == []  # the same again
    assert parser.feed(encode(BEAT, 1, 1, 1)) == []
    assert parser.feed(encode(BEAT, 1, 1, 1, signer(bytes(32)))) == []
    old = Signer(KEY, lambda: NOW_S - 2e-5 * OLD_TICKS)
    assert parser.feed(encode(BEAT, 1, 9, 9, old)) == []  # a stream unheard of, but from minutes ago
    assert parser.counts.unproven == 4
    assert len(parser.feed(encode(BEAT, 1, 1, 1, ours))) == 1
    assert parser.counts.frames == 2


def test_every_bit_of_a_signed_frame_counts() -> None:
    good = encode(BEAT, 7, 1, 1, signer())
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        assert Parser(signer()).feed(bytes(damaged)) == []


def test_without_a_key_signed_frames_are_counted_and_skipped() -> None:
    parser = Parser()
    assert parser.feed(encode(BEAT, 0, 1, 1, signer()) + encode(BEAT, 1, 1, 1))[0].sequence == 1
    assert parser.counts.signed == 1


def test_time_stamps_go_forward_when_the_wall_clock_does_not() -> None:
    times = iter([NOW_S, NOW_S - 3600.0, NOW_S, NOW_S + 1.0])
    one = Signer(KEY, lambda: next(times))
    stamps = [one.now() for _ in range(4)]
    assert stamps == sorted(set(stamps))
    assert stamps[3] == round((NOW_S + 1.0 - signing.EPOCH_S) * 1e5)


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(InputError, match="cannot be read"):
        read_key(path)
    path.write_bytes(KEY)
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == KEY
    path.write_text(KEY.hex() + "\n")
    assert read_key(path) == KEY
    for wrong in (b"", KEY[:31], b"xy" * 32, KEY.hex().encode()[:62]):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match="32 bytes or 64"):
            read_key(path)
    with pytest.raises(InputError, match="must have 32"):
        Signer(KEY[:31])
