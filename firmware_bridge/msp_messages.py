"""MSP messages that tubepilot speaks with Betaflight: numbers, formats, and their payloads as data.

Source: betaflight src/main/msp/msp.c (API 1.44 and newer; written against 2026.12), msp_box.c, fc/runtime_config.h.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from .betaflight_rates import AxisRates, RatesType
from .errors import InputError

API_VERSION: Final = 1
FC_VARIANT: Final = 2
FC_VERSION: Final = 3
MODE_RANGES: Final = 34
FEATURE_CONFIG: Final = 36
RX_CONFIG: Final = 44
RX_MAP: Final = 64
FAILSAFE_CONFIG: Final = 75
RAW_IMU: Final = 102
RC_TUNING: Final = 111
BOXIDS: Final = 119
RC_DEADBAND: Final = 125
BATTERY_STATE: Final = 130
STATUS_EX: Final = 150
ATTITUDE_QUATERNION: Final = 167
SET_RAW_RC: Final = 200

NAMES: Final[dict[int, str]] = {
    RAW_IMU: "RAW_IMU",
    ATTITUDE_QUATERNION: "ATTITUDE_QUATERNION",
    STATUS_EX: "STATUS_EX",
    BATTERY_STATE: "BATTERY_STATE",
    SET_RAW_RC: "SET_RAW_RC",
}
"""Of what keeps coming; the settings are asked for once."""

GYRO_FULL_SCALE_DEG_S: Final = 2000.0
FEATURE_RX_MSP: Final = 1 << 14
BOX_ARM: Final = 0
BOX_ANGLE: Final = 1
BOX_HORIZON: Final = 2
BOX_FAILSAFE: Final = 27
BOX_OVERRIDE: Final = 50
"""Permanent ids of mode boxes (msp_box.c)."""

PROCEDURES: Final = {0: "AUTO-LAND", 1: "DROP", 2: "GPS-RESCUE"}

ARMING_FLAGS: Final = (
    "NO_GYRO", "FAILSAFE", "RX_FAILSAFE", "NOT_DISARMED", "BOXFAILSAFE", "RUNAWAY_TAKEOFF", "CRASH_DETECTED", "THROTTLE",
    "ANGLE", "BOOT_GRACE_TIME", "NOPREARM", "LOAD", "CALIBRATING", "CLI", "CMS_MENU", "BST", "MSP", "PARALYZE", "GPS",
    "RESC", "DSHOT_TELEM", "REBOOT_REQUIRED", "DSHOT_BITBANG", "ACC_CALIBRATION", "MOTOR_PROTOCOL", "CRASHFLIP", "ALTHOLD",
    "POSHOLD", "AUTOPILOT", "ARM_SWITCH",
)  # fmt: skip
"""Arming-disable flags by bit (fc/runtime_config.h, 2026.12; older versions differ from bit 19 on)."""


class StatusEx(NamedTuple):
    """MSP_STATUS_EX: time of one loop [us], active boxes as bits in the order of MSP_BOXIDS, reasons against arming as bits."""

    cycle_us: int
    boxes: int
    arming_disabled: int


class ModeRange(NamedTuple):
    """One row of MSP_MODE_RANGES: a box is active while an AUX channel lies in [low_us, high_us)."""

    box: int
    aux: int
    low_us: int
    high_us: int


def _at_least(payload: bytes, size: int, name: str) -> None:
    if len(payload) < size:
        raise InputError(f"{name} has {len(payload)} bytes, {size} are needed; Betaflight 4.3 or newer is needed")


def attitude(payload: bytes) -> tuple[float, float, float, float]:
    """MSP_ATTITUDE_QUATERNION: FLU body to north-west-up world, scalar first."""
    _at_least(payload, 8, "MSP_ATTITUDE_QUATERNION")
    w, x, y, z = struct.unpack_from("<4h", payload)
    return w / 32767.0, x / 32767.0, y / 32767.0, z / 32767.0


def gyro_deg_s(payload: bytes, full_scale_deg_s: float = GYRO_FULL_SCALE_DEG_S) -> tuple[float, float, float]:
    """Body rates of MSP_RAW_IMU in Betaflight's body axes [deg/s].

    The message carries steps of the gyro, 32768 to its full scale, and no deg/s: `gyroRateDps` (sensors/gyro_init.c) divides the
    rate by the sensor's scale, whatever its name says. Every version since 3.1 does.

    Args:
        payload: Of the message.
        full_scale_deg_s: Rate of 32768 steps [deg/s]; the message does not say it (accgyro.h: 2000 but for a few sensors).
    """
    _at_least(payload, 18, "MSP_RAW_IMU")
    x, y, z = struct.unpack_from("<3h", payload, 6)
    step_deg_s = full_scale_deg_s / 32768.0
    return step_deg_s * x, step_deg_s * y, step_deg_s * z


def status(payload: bytes) -> StatusEx:
    """MSP_STATUS_EX."""
    _at_least(payload, 16, "MSP_STATUS_EX")
    cycle_us = struct.unpack_from("<H", payload)[0]
    boxes = struct.unpack_from("<I", payload, 6)[0]
    more = payload[15] & 0x0F
    _at_least(payload, 16 + more + 5, "MSP_STATUS_EX")
    boxes |= int.from_bytes(payload[16 : 16 + more], "little") << 32
    return StatusEx(cycle_us, boxes, struct.unpack_from("<I", payload, 17 + more)[0])


def rates(tuning: bytes, deadband: bytes) -> tuple[RatesType, tuple[AxisRates, AxisRates, AxisRates]]:
    """Rate profile of MSP_RC_TUNING and deadbands of MSP_RC_DEADBAND; roll, pitch, yaw."""
    _at_least(tuning, 23, "MSP_RC_TUNING")
    _at_least(deadband, 2, "MSP_RC_DEADBAND")
    limits = struct.unpack_from("<3H", tuning, 16)
    if tuning[22] not in set(RatesType):
        raise InputError(f"rate profile has the unknown type {tuning[22]}; known are {[x.name for x in RatesType]}")
    roll = AxisRates(tuning[0], tuning[2], tuning[1], limits[0], deadband[0])
    pitch = AxisRates(tuning[12], tuning[3], tuning[13], limits[1], deadband[0])
    yaw = AxisRates(tuning[11], tuning[4], tuning[10], limits[2], deadband[1])
    return RatesType(tuning[22]), (roll, pitch, yaw)


def mode_ranges(payload: bytes) -> tuple[ModeRange, ...]:
    """Rows of MSP_MODE_RANGES that are in use."""
    if len(payload) % 4:
        raise InputError(f"MSP_MODE_RANGES has {len(payload)} bytes, which is no number of rows of 4 bytes")
    rows = (ModeRange(box, aux, 900 + 25 * low, 900 + 25 * high) for box, aux, low, high in struct.iter_unpack("<4B", payload))
    return tuple(row for row in rows if row.high_us > row.low_us)


def raw_rc(channels_us: tuple[int, ...]) -> bytes:
    """Payload of MSP_SET_RAW_RC.

    Raises:
        InputError: a channel is not within 1000..2000 us.
    """
    if any(not 1000 <= channel <= 2000 for channel in channels_us):
        raise InputError(f"channels {channels_us} us: every one must be 1000..2000 us")
    return struct.pack(f"<{len(channels_us)}H", *channels_us)
