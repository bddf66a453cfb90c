"""Why no MAVLink flight controller could be connected to, by what came over the line, and what to do."""

from __future__ import annotations

from .mavlink import ParserCounts
from .uri import VehicleUri


def why_silent(
    uri: VehicleUri, counts: ParserCounts, heard: bool, other_autopilot: int | None, autopilot: int, timeout_s: float
) -> str:
    """Text of the error.

    Args:
        uri: The address that was tried.
        counts: What the parser saw.
        heard: Heartbeats of the firmware came.
        other_autopilot: MAV_AUTOPILOT of another firmware whose heartbeats came; None without.
        autopilot: MAV_AUTOPILOT of the firmware that the address names.
        timeout_s: How long was waited [s].
    """
    device = uri.device
    if heard:
        return (
            f"{device}: heartbeats come but TIMESYNC found no round trip below 10 ms within {timeout_s:g} s; "
            "check that nothing else writes to the port, and the baud rate"
        )
    if other_autopilot is not None:
        return (
            f"{device}: the heartbeat says MAV_AUTOPILOT {other_autopilot}, not {uri.firmware} ({autopilot}); "
            "use the address that fits the firmware"
        )
    if counts.signed:
        return f"{device}: all {counts.signed} frames are signed; give the key: ?signing=PATH, or turn signing off on this port"
    if counts.unproven:
        return (
            f"{device}: {counts.unproven} frames are unsigned or signed with another key than {uri.signing}; "
            "give the flight controller this key over a cable: tubepilot link URI --setup-signing PATH"
        )
    if counts.bytes_in:
        return (
            f"{device}: {counts.bytes_in} bytes came within {timeout_s:g} s but no heartbeat; check the baud "
            f"rate ({uri.baud}) and that the port speaks MAVLink 2"
        )
    return (
        f"{device}: not one byte within {timeout_s:g} s; check cable, power, and that the port is set to "
        f"MAVLink at {uri.baud} baud"
    )
