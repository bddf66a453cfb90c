"""MSP v2: frames against values worked out from Betaflight's source, resynchronisation, garbage, rate profiles."""

from __future__ import annotations

import math
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepilot.firmware_bridge import msp_messages as mm
from tubepilot.firmware_bridge.betaflight import enu_of_nwu, flag_names
from tubepilot.firmware_bridge.betaflight_rates import AxisRates, RatesType, RateTable, rate_deg_s
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.msp import FROM_FC, MAX_PAYLOAD, MspParser, crc8, encode


def dvb_s2(data: bytes) -> int:
    """The polynomial division bit by bit, as in Betaflight's common/crc.c `crc8_calc` with 0xD5."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ 0xD5 if crc & 0x80 else crc << 1
            crc &= 0xFF
    return crc


def test_crc_is_dvb_s2() -> None:
    assert crc8(b"123456789") == 0xBC  # the check value of CRC-8/DVB-S2
    data = random.Random(1).randbytes(500)
    assert crc8(data) == dvb_s2(data)


def test_frame_layout() -> None:
    assert encode(100) == b"$X<\x00\x64\x00\x00\x00" + bytes([dvb_s2(b"\x00\x64\x00\x00\x00")])
    frame = encode(mm.SET_RAW_RC, mm.raw_rc((1500, 1500, 1000, 1500)))
    assert frame[3:8] == b"\x00\xc8\x00\x08\x00"
    assert struct.unpack("<4H", frame[8:16]) == (1500, 1500, 1000, 1500)


@given(st.integers(0, 0xFFFF), st.binary(max_size=200), st.lists(st.integers(1, 30), max_size=20))
def test_any_cut_gives_the_same_frames(function: int, payload: bytes, cuts: list[int]) -> None:
    stream = b"$X" + b"noise$" + encode(function, payload, FROM_FC) * 2 + b"$X"
    parser, frames, at = MspParser(), [], 0
    for size in [*cuts, len(stream)]:
        frames += parser.feed(stream[at : at + size])
        at += size
    assert [(frame.function, frame.payload) for frame in frames] == [(function, payload)] * 2


def test_one_wrong_bit_is_never_accepted() -> None:
    frame = encode(mm.ATTITUDE_QUATERNION, struct.pack("<4h", 32767, 1, 2, 3), FROM_FC)
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        # A wrong direction is not covered by the CRC (msp_serial.c); every other bit is.
        found = MspParser().feed(bytes(damaged) + bytes(MAX_PAYLOAD))
        assert not found or bit // 8 == 2


def test_too_long_and_outside_are_refused() -> None:
    for function, payload, direction in ((0, bytes(MAX_PAYLOAD + 1), 0x3C), (-1, b"", 0x3C), (1, b"", 0)):
        with pytest.raises(InputError):
            encode(function, payload, direction)
    with pytest.raises(InputError, match=r"1000\.\.2000"):
        mm.raw_rc((1500, 999))


def test_payloads_by_the_firmware_s_writers() -> None:
    assert mm.attitude(struct.pack("<4h", 32767, 0, -32767, 0)) == (1.0, 0.0, -1.0, 0.0)
    # gyro_init.c gyroRateDps: lrintf(rate in deg/s / scale), scale 2000 / 32768 (accgyro.h) or, on the LSM6DSO, 0.07
    steps = struct.pack("<9h", 1, 2, 256, -164, 328, -16384, 0, 0, 0)
    assert mm.gyro_deg_s(steps) == pytest.approx((-10.0, 20.0, -1000.0), abs=0.02)
    assert mm.gyro_deg_s(steps, 32768 * 0.07) == pytest.approx((-11.48, 22.96, -1146.88))
    # msp.c MSP_STATUS_EX: u16 cycle, u16 i2c, u16 sensors, u32 boxes, u8 profile, u16 load, u8, u8, u8 more, u8.., u8 count, u32 flags
    payload = struct.pack("<HHHIBHBBB", 125, 0, 33, 0x41, 0, 10, 3, 0, 2) + b"\x01\x00" + struct.pack("<BIB", 30, 1 << 7 | 1 << 29, 0)
    found = mm.status(payload)
    assert (found.cycle_us, found.boxes, flag_names(found.arming_disabled)) == (125, 0x100000041, ["THROTTLE", "ARM_SWITCH"])
    ranges = mm.mode_ranges(bytes((0, 0, 32, 48, 1, 1, 0, 0)))
    assert ranges == (mm.ModeRange(0, 0, 1700, 2100),)
    for short in (mm.attitude, mm.gyro_deg_s, mm.status):
        with pytest.raises(InputError, match="bytes"):
            short(b"\x00")


def test_actual_rates_are_the_formula_of_the_source() -> None:
    """applyActualRates by hand: centre 70, most 670 deg/s, no expo."""
    axis = AxisRates(rc_rate=7, rate=67, expo=0)
    assert rate_deg_s(RatesType.ACTUAL, axis, 2000) == 670.0
    assert rate_deg_s(RatesType.ACTUAL, axis, 1750) == pytest.approx(0.5 * 70.0 + 600.0 * 0.5 * 0.5)
    assert rate_deg_s(RatesType.ACTUAL, axis, 1250) == -rate_deg_s(RatesType.ACTUAL, axis, 1750)


def test_other_profiles_by_hand() -> None:
    half = 1750
    assert rate_deg_s(RatesType.BETAFLIGHT, AxisRates(100, 70, 0), half) == pytest.approx(200.0 * 0.5 / (1.0 - 0.5 * 0.7))
    assert rate_deg_s(RatesType.BETAFLIGHT, AxisRates(250, 0, 0), half) == pytest.approx(200.0 * (2.5 + 14.54 * 0.5) * 0.5)
    assert rate_deg_s(RatesType.RACEFLIGHT, AxisRates(37, 80, 50), half) == pytest.approx(
        370.0 * (1.0 + 0.5 * (0.25 - 1.0)) * 0.5 * (1.0 + 0.5 * 0.8)
    )
    assert rate_deg_s(RatesType.KISS, AxisRates(100, 70, 0), half) == pytest.approx(2000.0 / 0.65 * 0.5 * 0.1)
    assert rate_deg_s(RatesType.QUICK, AxisRates(100, 67, 0), half) == pytest.approx(100.0 / (1.0 - 0.5 * (3.35 - 1.0) / 3.35))


@pytest.mark.parametrize("kind", list(RatesType))
@settings(max_examples=15, deadline=None)
@given(st.integers(10, 200), st.integers(20, 90), st.integers(0, 60), st.floats(-1.0, 1.0), st.integers(0, 20))
def test_the_inverse_finds_the_nearest_channel(
    kind: RatesType, rc_rate: int, rate: int, expo: int, share: float, deadband: int
) -> None:
    axis = AxisRates(rc_rate, rate, expo, 1998, deadband)
    table = RateTable(kind, axis)
    wanted = share * table.most_rad_s
    channel = table.channel_us(wanted)
    assert 1000 <= channel <= 2000
    got = math.radians(rate_deg_s(kind, axis, channel))
    assert abs(got - wanted) <= 0.5 * table.least_step_rad_s + 1e-9
    assert table.channel_us(0.0) == 1500


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf, 11.8, -11.8])
def test_a_rate_beyond_the_profile_is_refused(rate: float) -> None:
    table = RateTable(RatesType.ACTUAL, AxisRates(7, 67, 0))
    with pytest.raises(InputError, match="reaches"):
        table.channel_us(rate)


def test_world_frame() -> None:
    # Nose to the north, level: heading 90 degrees in ENU.
    w, x, y, z = enu_of_nwu(1.0, 0.0, 0.0, 0.0)
    assert math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)) == pytest.approx(math.pi / 2)
