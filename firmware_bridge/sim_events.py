"""Things that go wrong inside the simulated flight controller, at a given time: `reboot@12`, `clock@12:0.3` and so on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from .errors import InputError


class Mishap(Enum):
    """What happens."""

    REBOOT = "reboot"
    """The firmware starts anew: disarmed, motors off, its clock from zero, streams at their defaults; silent for a while."""

    CLOCK = "clock"
    """Its clock jumps by so many seconds."""

    FREEZE = "freeze"
    """Its estimate stands still for so many seconds while time stamps go on."""

    RESET = "reset"
    """Its estimate of the position jumps by so many metres east, and stays there."""

    NAN = "nan"
    """Its estimate is not a number for so many seconds."""


DEFAULTS = {Mishap.REBOOT: 1.5, Mishap.CLOCK: 0.3, Mishap.FREEZE: 0.5, Mishap.RESET: 1.0, Mishap.NAN: 0.2}
LIMIT = 3600.0


@dataclass(frozen=True, slots=True)
class TimedMishap:
    """One mishap.

    Attributes:
        kind: What.
        time_s: Simulated time at which it happens [s].
        value: Silence, jump, duration or distance; the unit is that of the kind [s or m].
    """

    kind: Mishap
    time_s: float
    value: float


def parse_mishap(text: str) -> TimedMishap:
    """Read `KIND@SECONDS[:VALUE]`.

    Raises:
        InputError: unknown kind, or a number is missing or out of range.
    """
    kind_text, _, rest = text.partition("@")
    time_text, _, value_text = rest.partition(":")
    kinds = {kind.value: kind for kind in Mishap}
    if kind_text not in kinds:
        raise InputError(f"{text!r} is no mishap; write KIND@SECONDS[:VALUE] with KIND one of {', '.join(kinds)}")
    kind = kinds[kind_text]
    try:
        time_s, value = float(time_text), float(value_text) if value_text else DEFAULTS[kind]
    except ValueError as error:
        raise InputError(f"{text!r}: {error}; write {kind_text}@12 or {kind_text}@12:{DEFAULTS[kind]:g}") from error
    least = -LIMIT if kind in (Mishap.CLOCK, Mishap.RESET) else 0.0
    if not 0.0 <= time_s <= LIMIT or not least <= value <= LIMIT or math.isnan(value):
        raise InputError(f"{text!r}: the time must be 0..{LIMIT:g} s and the value {least:g}..{LIMIT:g}")
    return TimedMishap(kind, time_s, value)
