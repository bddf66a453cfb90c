"""ArduCopter: GUIDED_NOGPS body rates and thrust, and the parameters without which thrust means climb rate.

Facts from ArduCopter 4.7-dev: after `GUID_TIMEOUT` without a valid set-point it levels and holds zero climb rate in
the same mode and drifts; it does not land by itself.
"""

from __future__ import annotations

from typing import Final

from . import mavlink_messages as m
from .echo import EchoOf
from .errors import InputError
from .mavlink_messages import MAV_AUTOPILOT_ARDUPILOT, MODE_FLAG_CUSTOM
from .mavlink_vehicle import MavlinkVehicle, clock_ns
from .types import FlightMode
from .vehicle import Check

STABILIZE: Final = 0
ALT_HOLD: Final = 2
GUIDED: Final = 4
LOITER: Final = 5
RTL: Final = 6
LAND: Final = 9
BRAKE: Final = 17
GUIDED_NOGPS: Final = 20

MODE_NUMBERS: Final[dict[FlightMode, int]] = {
    FlightMode.MANUAL: STABILIZE,
    FlightMode.HOLD: LOITER,
    FlightMode.OFFBOARD: GUIDED_NOGPS,
    FlightMode.LAND: LAND,
    FlightMode.RETURN: RTL,
}

THRUST_AS_THRUST = 8
"""GUID_OPTIONS bit 3."""

TIMEOUT_LIMIT_S = 1.0
STREAM_EXCESS, STREAM_LIMIT_HZ = 1.4, 320.0
"""It sends in whole milliseconds and slots of its loop, so always late: 250 Hz asked gave 177, and 100 Hz left a tenth of our ticks
without a new state. So more is asked, up to four fifths of its loop rate of 400 Hz, beyond which newer versions refuse."""


class ArduPilotVehicle(MavlinkVehicle):
    """An ArduCopter flight controller (4.1 or newer: before, thrust could only mean climb rate)."""

    autopilot = MAV_AUTOPILOT_ARDUPILOT
    echo_of = EchoOf.THRUST
    stream_remedy = (
        "raise the baud rate; it sends in slots of its loop, whose rate should be twice that of the states: "
        "param set SCHED_LOOP_RATE 500 for 250 Hz, then reboot"
    )
    arming_delay_s = 2.0  # ARMING_DELAY_SEC, ArduCopter/config.h: a ramp begun earlier would end in a leap

    def _mode_of(self, custom_mode: int) -> FlightMode:
        if custom_mode in (GUIDED, GUIDED_NOGPS):
            return FlightMode.OFFBOARD
        if custom_mode in (LOITER, BRAKE):
            return FlightMode.HOLD
        by_number = {LAND: FlightMode.LAND, RTL: FlightMode.RETURN}
        by_number |= dict.fromkeys((STABILIZE, 1, ALT_HOLD), FlightMode.MANUAL)
        return by_number.get(custom_mode, FlightMode.UNKNOWN)

    def _mode_command(self, mode: FlightMode) -> tuple[float, float, float]:
        if mode not in MODE_NUMBERS:
            raise InputError(f"ArduCopter has no mode for {mode.value!r}; it has {[x.value for x in MODE_NUMBERS]}")
        return float(MODE_FLAG_CUSTOM), float(MODE_NUMBERS[mode]), 0.0

    def _asked_hz(self, rate_hz: float) -> float:
        return min(STREAM_EXCESS * rate_hz, STREAM_LIMIT_HZ)

    def _prearm(self, timeout_s: float) -> Check:
        """Its own checks, run now; what fails it says as text, a second later at most."""
        before = tuple(self._texts.kept)
        self._command(m.CMD_RUN_PREARM_CHECKS)
        deadline_ns = clock_ns() + round(1e9 * timeout_s)
        while clock_ns() < deadline_ns and not (self._health is not None and self._health & m.HEALTH_PREARM):
            self.wait_until(min(clock_ns() + 100_000_000, deadline_ns))
        passed = self._health is not None and bool(self._health & m.HEALTH_PREARM)
        said = "; ".join(text for text in self._texts.kept if text not in before) or "nothing yet"
        return Check("pre-arm checks", passed, "its own pass" if passed else f"its own do not pass, it says: {said}; wait or mend it")

    def preflight(self, timeout_s: float = 3.0) -> tuple[Check, ...]:
        share_s = timeout_s / 4.0
        options = self.read_parameter("GUID_OPTIONS", share_s)
        boost = self.read_parameter("ATC_ANGLE_BOOST", share_s)
        wait_s = self.read_parameter("GUID_TIMEOUT", share_s)
        wanted = THRUST_AS_THRUST if options is None else int(options) | THRUST_AS_THRUST
        return (
            Check(
                "GUID_OPTIONS",
                options is not None and bool(int(options) & THRUST_AS_THRUST),
                f"{_shown(options)}: without bit 3 our thrust means climb rate: param set GUID_OPTIONS {wanted}",
            ),
            Check(
                "ATC_ANGLE_BOOST",
                boost is not None and int(boost) == 0,
                f"{_shown(boost)}: 1 multiplies our thrust by 1 / cos(tilt): param set ATC_ANGLE_BOOST 0",
            ),
            Check(
                "GUID_TIMEOUT",
                wait_s is not None and wait_s <= TIMEOUT_LIMIT_S,
                f"{_shown(wait_s)} s: ArduCopter keeps the last set-point so long after ours stop, at most "
                f"{TIMEOUT_LIMIT_S:g} s: param set GUID_TIMEOUT 0.5; it then levels and drifts, it does not land",
            ),
            self._prearm(share_s),
        )


def _shown(value: float | None) -> str:
    return "no answer" if value is None else f"{value:g}"
