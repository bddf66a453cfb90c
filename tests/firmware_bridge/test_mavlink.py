"""The codec against pymavlink byte for byte, both ways, and the parser against noise and mutation."""

from __future__ import annotations

import math
import os
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ["MAVLINK20"] = "1"
from pymavlink.dialects.v20 import ardupilotmega, common, development

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.mavlink import RATE_LIMIT_RAD_S, Parser, crc, encode, rates_and_thrust
from tubepilot.firmware_bridge.mavlink_crc_extra import CRC_EXTRA

BOUNDS = {"b": (-128, 127), "B": (0, 255), "h": (-32768, 32767), "H": (0, 65535)}
BOUNDS |= {"i": (-(2**31), 2**31 - 1), "I": (0, 2**32 - 1), "q": (-(2**63), 2**63 - 1), "Q": (0, 2**64 - 1)}
SIGNED_KEY = bytes(range(32))


def wire_types(spec: m.Spec) -> list[str]:
    """Format character of each field, repeats expanded, texts as '<n>s'."""
    types, count = [], ""
    for character in spec.wire.format[1:]:
        if character.isdigit():
            count += character
        else:
            types += [count + "s"] if character == "s" else [character] * int(count or "1")
            count = ""
    return types


def random_message(spec: m.Spec, generator: random.Random, zeros: float) -> m.Message:
    values: list[object] = []
    for kind in wire_types(spec):
        if kind == "f":
            value: object = struct.unpack("<f", struct.pack("<f", generator.uniform(-1e4, 1e4)))[0]
        elif kind.endswith("s"):
            size = int(kind[:-1])
            value = bytes(generator.randrange(1, 128) for _ in range(generator.randrange(size + 1)))
            value = value.ljust(size, b"\x00")
        else:
            value = generator.randint(*BOUNDS[kind])
        if generator.random() < zeros:
            value = type(value)() if not isinstance(value, bytes) else bytes(len(value))
        values.append(value)
    return spec.kind._make(values)


def oracle_class(spec: m.Spec) -> type:
    return common.mavlink_map[spec.message_id]


def by_pymavlink(spec: m.Spec, message: m.Message, sequence: int, signed: bool = False) -> bytes | None:
    """The frame as pymavlink packs it; None if pymavlink's dialect lacks an extension that is not zero."""
    kind = oracle_class(spec)
    flat = list(message)
    ordered: dict[str, object] = {}
    bits = {"value_bits"} & set(spec.kind._fields)
    for name, size in zip(kind.ordered_fieldnames, kind.array_lengths, strict=True):
        if name == "param_value" and bits:
            ordered[name] = struct.unpack("<f", struct.pack("<I", flat.pop(0)))[0]
        elif size and isinstance(flat[0], bytes):
            ordered[name] = flat.pop(0)
        elif size:
            ordered[name] = [flat.pop(0) for _ in range(size)]
        else:
            ordered[name] = flat.pop(0)
    if any(flat):
        return None
    link = common.MAVLink(None, srcSystem=7, srcComponent=191)
    link.seq = sequence
    if signed:
        link.signing.secret_key, link.signing.sign_outgoing, link.signing.timestamp = SIGNED_KEY, True, 1
    return bytes(kind(*[ordered[name] for name in kind.fieldnames]).pack(link))


@pytest.mark.parametrize("spec", m.SPECS, ids=lambda s: s.kind.__name__)
@pytest.mark.parametrize("zeros", [0.0, 0.5, 1.0])
def test_frames_equal_pymavlinks_and_come_back(spec: m.Spec, zeros: float) -> None:
    generator = random.Random(spec.message_id + int(10 * zeros))
    compared = 0
    for sequence in range(150):
        message = random_message(spec, generator, zeros)
        if spec.kind in (m.SetAttitudeTarget, m.Timesync) and sequence % 2:
            extensions = 3 if spec.kind is m.SetAttitudeTarget else 2
            message = spec.kind._make([*message[:-extensions], *([0] * extensions)])
        if "value_bits" in spec.kind._fields:  # pymavlink may not keep the payload of a NaN
            message = message._replace(value_bits=message.value_bits & 0x7F7FFFFF)
        frame = encode(message, sequence, 7, 191)
        theirs = by_pymavlink(spec, message, sequence)
        if theirs is not None:
            compared += 1
            assert frame == theirs
        frames = Parser().feed(frame)
        assert len(frames) == 1
        assert frames[0].message == message
        assert frames[0][:4] == (spec.message_id, sequence, 7, 191)
    assert compared >= 50


@pytest.mark.slow
def test_a_million_random_messages_equal_pymavlinks() -> None:
    """Every message, random field values; the number compared is printed (`pytest -s`)."""
    generator, compared, sequence = random.Random(5), 0, 0
    while compared < 1_000_000:
        spec = m.SPECS[sequence % len(m.SPECS)]
        message = random_message(spec, generator, (0.0, 0.3, 0.9)[sequence % 3])
        if "value_bits" in spec.kind._fields:  # pymavlink may not keep the payload of a NaN
            message = message._replace(value_bits=message.value_bits & 0x7F7FFFFF)
        sequence += 1
        theirs = by_pymavlink(spec, message, sequence & 0xFF)
        if theirs is None:
            continue
        compared += 1
        assert encode(message, sequence, 7, 191) == theirs
        assert Parser().feed(theirs)[0].message == message
    print(f"{compared} messages of {len(m.SPECS)} kinds: equal bytes, equal values")


def test_crc_equals_the_table_driven_definition() -> None:
    def by_bits(data: bytes) -> int:
        value = 0xFFFF
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = value >> 1 ^ (0x8408 if value & 1 else 0)
        return value

    assert crc(b"123456789") == 0x6F91  # CRC-16/MCRF4XX check value
    generator = random.Random(1)
    for size in range(1, 64):
        data = generator.randbytes(size)
        assert crc(data) == by_bits(data)


def test_crc_extra_table_is_that_of_the_dialects() -> None:
    theirs = {i: kind.crc_extra for d in (common, development, ardupilotmega) for i, kind in d.mavlink_map.items()}
    assert theirs == CRC_EXTRA


def test_a_message_with_newer_extension_fields_is_read_up_to_what_is_known() -> None:
    frame = encode(m.LocalPositionNed(5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0), 0, 1, 1)
    payload = frame[10:-2].ljust(28, b"\x00") + b"\x01\x02\x03"
    head = bytes([len(payload)]) + frame[2:10]
    value = crc(head + payload + bytes([CRC_EXTRA[32]]))
    frames = Parser().feed(b"\xfd" + head + payload + value.to_bytes(2, "little"))
    assert frames[0].message == m.LocalPositionNed(5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


@pytest.fixture(scope="module")
def stream() -> tuple[bytes, list[m.Message]]:
    generator = random.Random(11)
    messages = [random_message(generator.choice(m.SPECS), generator, 0.2) for _ in range(300)]
    return b"".join(encode(x, k, 1, 1) for k, x in enumerate(messages)), messages


def test_any_cut_of_the_stream_gives_the_same_frames(stream: tuple[bytes, list[m.Message]]) -> None:
    data, messages = stream
    for seed in range(10):
        generator, parser, got, position = random.Random(seed), Parser(), [], 0
        while position < len(data):
            size = generator.randrange(1, 90)
            got += [frame.message for frame in parser.feed(data[position : position + size])]
            position += size
        assert got == messages
        assert parser.counts.crc_errors == 0
        assert parser.counts.noise_bytes == 0


def test_noise_between_frames_costs_no_frame(stream: tuple[bytes, list[m.Message]]) -> None:
    messages = stream[1]
    generator = random.Random(5)
    parser, got = Parser(), []
    for k, message in enumerate(messages):
        noise = bytes(b for b in generator.randbytes(generator.randrange(30)) if b != 0xFD)
        got += parser.feed(noise + encode(message, k, 1, 1))
    assert [frame.message for frame in got] == messages
    assert parser.counts.noise_bytes > 0


def test_mutated_streams_never_give_a_frame_that_was_not_sent(stream: tuple[bytes, list[m.Message]]) -> None:
    data, messages = stream
    sent = set(map(repr, messages))
    for seed in range(40):
        generator = random.Random(seed)
        mutated = bytearray(data)
        for _ in range(60):
            at = generator.randrange(len(mutated))
            action = generator.randrange(3)
            if action == 0:
                mutated[at] ^= 1 << generator.randrange(8)
            elif action == 1:
                del mutated[at : at + generator.randrange(1, 5)]
            else:
                mutated[at:at] = generator.randbytes(generator.randrange(1, 5))
        parser = Parser()
        got = [repr(frame.message) for frame in parser.feed(bytes(mutated))]
        assert all(message in sent for message in got)
        assert len(got) > 200
        assert parser.counts.crc_errors > 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=8), st.integers(0, 300))
def test_random_bytes_neither_raise_nor_hide_what_follows(chunks: list[bytes], fill: int) -> None:
    parser = Parser()
    for chunk in chunks:
        parser.feed(b"\xfd" + chunk)
    # A false start may claim up to 280 bytes: after as many the parser has found its feet again.
    frame = encode(m.Heartbeat(0, 2, 12, 0, 3, 3), 9, 1, 1)
    got = parser.feed(bytes(280 + fill) + frame)
    assert got[-1].message == m.Heartbeat(0, 2, 12, 0, 3, 3)


def test_signed_frames_are_counted_and_skipped_and_the_next_one_is_read() -> None:
    heartbeat = m.Heartbeat(0, 2, 12, 0, 3, 3)
    signed = by_pymavlink(m.SPEC_BY_KIND[m.Heartbeat], heartbeat, 3, signed=True)
    assert signed is not None
    assert signed[2] == 1
    parser = Parser()
    frames = parser.feed(signed + encode(heartbeat, 4, 1, 1))
    assert [frame.sequence for frame in frames] == [4]
    assert parser.counts.signed == 1
    assert parser.counts.noise_bytes == 0
    broken = bytearray(signed)
    broken[12] ^= 1
    parser = Parser()
    assert parser.feed(bytes(broken) + encode(heartbeat, 4, 1, 1))[-1].sequence == 4
    assert parser.counts.crc_errors >= 1


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(), min_size=3, max_size=3), st.floats())
def test_no_setpoint_beyond_its_limits_leaves_the_encoder(rates: list[float], throttle: float) -> None:
    allowed = all(abs(rate) <= RATE_LIMIT_RAD_S for rate in rates) and 0.0 <= throttle <= 1.0
    try:
        frame = encode(rates_and_thrust(5, (rates[0], rates[1], rates[2]), throttle, 1, 1), 0, 245, 191)
    except InputError:
        assert not allowed
        return
    assert allowed
    message = Parser().feed(frame)[0].message
    assert isinstance(message, m.SetAttitudeTarget)
    assert message.type_mask == 128
    sent = [message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate, message.thrust]
    assert sent == pytest.approx([*rates, throttle], rel=1e-6, abs=1e-37)
    assert (message.q1, message.q2, message.q3, message.q4) == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("throttle", [0.0, 1.0])
@pytest.mark.parametrize("rate", [-RATE_LIMIT_RAD_S, RATE_LIMIT_RAD_S])
def test_limits_themselves_are_allowed_and_the_next_number_is_not(throttle: float, rate: float) -> None:
    rates_and_thrust(0, (rate, rate, rate), throttle, 1, 1)
    with pytest.raises(InputError, match="yaw rate"):
        rates_and_thrust(0, (0.0, 0.0, math.nextafter(rate, 2.0 * rate)), throttle, 1, 1)
    with pytest.raises(InputError, match="throttle"):
        rates_and_thrust(0, (0.0, 0.0, 0.0), math.nextafter(throttle, 3.0 * throttle - 1.0), 1, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_fields_are_refused_by_name(value: float) -> None:
    with pytest.raises(InputError, match=r"LocalPositionNed\.vx"):
        encode(m.LocalPositionNed(0, 0.0, 0.0, 0.0, value, 0.0, 0.0), 0, 1, 1)


@pytest.mark.parametrize(
    "message", [m.Heartbeat(-1, 0, 0, 0, 0, 0), m.Heartbeat(0, 256, 0, 0, 0, 0), m.Timesync(2**63, 0)]
)
def test_fields_out_of_range_are_refused(message: m.Message) -> None:
    with pytest.raises(InputError, match="does not fit"):
        encode(message, 0, 1, 1)
