"""What a Betaflight craft is set up to do, read over MSP before flight: receiver, switches, rates, failsafe."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from . import msp_messages as mm
from .betaflight_rates import RateTable
from .errors import InputError, LinkError
from .vehicle import Check

CHANNELS = 8
OFF_US, ON_MARGIN_US = 1000, 25
FAILSAFE_LIMIT_S = 1.0
"""Longest time for which a craft may fly on without us [s]."""

Ask = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Craft:
    """Settings of one craft.

    Attributes:
        name: Firmware and version.
        api: MSP API version, major and minor.
        is_receiver: MSP is its receiver (`feature RX_MSP`); else it must be switched to MSP override by the pilot.
        order: Position on the wire of roll, pitch, throttle, yaw (the receiver map).
        tables: Rate to channel of roll, pitch, yaw.
        least_us: `min_check`, at which the throttle begins [us].
        arm: AUX channel, 0 for AUX1, and its pulse widths for disarmed and armed [us]; None without an ARM switch.
        boxes: Permanent ids of the mode boxes in the order of the status bits.
        failsafe_s: `failsafe_delay` [s].
        procedure: What its failsafe then does.
    """

    name: str
    api: tuple[int, int]
    is_receiver: bool
    order: tuple[int, int, int, int]
    tables: tuple[RateTable, RateTable, RateTable]
    least_us: int
    arm: tuple[int, int, int] | None
    boxes: tuple[int, ...]
    failsafe_s: float
    procedure: str

    def active(self, bits: int) -> frozenset[int]:
        """Permanent ids of the boxes whose status bits are set."""
        return frozenset(box for k, box in enumerate(self.boxes) if bits >> k & 1)


def read_craft(ask: Ask) -> Craft:
    """Ask for everything.

    Args:
        ask: Sends a question and gives the payload of its answer.

    Raises:
        LinkError: it is not Betaflight.
        InputError: its settings cannot be flown with.
    """
    variant = ask(mm.FC_VARIANT)
    if variant[:4] != b"BTFL":
        raise LinkError(f"the flight controller says {variant[:4]!r}, not BTFL; only Betaflight is spoken to over MSP")
    api, version = ask(mm.API_VERSION), ask(mm.FC_VERSION)
    kind, axes = mm.rates(ask(mm.RC_TUNING), ask(mm.RC_DEADBAND))
    feature, receiver, failsafe = ask(mm.FEATURE_CONFIG), ask(mm.RX_CONFIG), ask(mm.FAILSAFE_CONFIG)
    # The receiver map says which channel on the wire each of roll, pitch, yaw, throttle is.
    channel_of = ask(mm.RX_MAP)
    if len(api) < 3 or len(feature) < 4 or len(receiver) < 7 or len(failsafe) < 8 or len(channel_of) < 4:
        raise InputError("the flight controller's settings are shorter than Betaflight 4.3 sends them; update it")
    roll, pitch, yaw, throttle = channel_of[0:4]
    if sorted(channel_of[0:4]) != [0, 1, 2, 3]:
        raise InputError(f"the receiver map is {list(channel_of[0:4])}; the sticks must be the first four channels")
    return Craft(
        name="Betaflight " + ".".join(str(part) for part in version[0:3]),
        api=(api[1], api[2]),
        is_receiver=bool(struct.unpack_from("<I", feature)[0] & mm.FEATURE_RX_MSP),
        order=(roll, pitch, throttle, yaw),
        tables=(RateTable(kind, axes[0]), RateTable(kind, axes[1]), RateTable(kind, axes[2])),
        least_us=struct.unpack_from("<H", receiver, 5)[0],
        arm=_arm_switch(mm.mode_ranges(ask(mm.MODE_RANGES))),
        boxes=tuple(ask(mm.BOXIDS)),
        failsafe_s=0.1 * failsafe[0],
        procedure=mm.PROCEDURES.get(failsafe[7], f"procedure {failsafe[7]}"),
    )


def _arm_switch(ranges: tuple[mm.ModeRange, ...]) -> tuple[int, int, int] | None:
    for row in ranges:
        if row.box == mm.BOX_ARM and row.aux < CHANNELS - 4:
            on_us = min(max((row.low_us + row.high_us) // 2, 1000), 2000)
            off_us = OFF_US if row.low_us - ON_MARGIN_US > OFF_US else 2000
            return row.aux, off_us, on_us
    return None


def checks(craft: Craft, active: frozenset[int], rate_limits_rad_s: tuple[float, float, float]) -> tuple[Check, ...]:
    """What must hold before arming, each with the command of Betaflight's own command line that sets it.

    Args:
        craft: Its settings.
        active: Boxes active now.
        rate_limits_rad_s: Body rates that set-points may ask for, roll, pitch, yaw [rad/s].
    """
    way = "RX_MSP" if craft.is_receiver else "MSP override"
    reach = [table.most_rad_s for table in craft.tables]
    angle = active & {mm.BOX_ANGLE, mm.BOX_HORIZON}
    found = [
        Check(
            "receiver",
            craft.is_receiver or mm.BOX_OVERRIDE in craft.boxes,
            f"{way}: set-points go in as the receiver (feature RX_MSP) or over the pilot's (aux for MSP OVERRIDE, "
            "set msp_override_channels_mask = 15)",
        ),
        Check(
            "arm switch",
            craft.arm is not None or not craft.is_receiver,
            f"{craft.arm}: as the receiver we also arm, with an AUX channel: aux 0 0 0 1700 2100 0 0",
        ),
        Check(
            "failsafe",
            craft.failsafe_s <= FAILSAFE_LIMIT_S or not craft.is_receiver,
            f"{craft.failsafe_s:g} s, then {craft.procedure}: Betaflight flies on for so long without us, at most "
            f"{FAILSAFE_LIMIT_S:g} s: set failsafe_delay = 4",
        ),
        Check("acro", not angle, f"boxes {sorted(angle)} level the craft by themselves; switch ANGLE and HORIZON off"),
        Check(
            "rate profile",
            all(most >= limit for most, limit in zip(reach, rate_limits_rad_s, strict=True)),
            f"reaches {', '.join(f'{most:.1f}' for most in reach)} rad/s of {rate_limits_rad_s} rad/s: raise the rates",
        ),
    ]
    return tuple(found)
