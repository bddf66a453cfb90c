"""How a flight goes to its task and back, and how the operator stops it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType


class StopSwitch:
    """Counts requests to stop: the first asks to land, the second to stop streaming at once."""

    def __init__(self) -> None:
        self.count = 0

    def press(self) -> None:
        """Ask once (more)."""
        self.count += 1

    def on_signals(self) -> None:
        """Let Ctrl-C and SIGTERM press the switch."""

        def handler(number: int, frame: FrameType | None) -> None:
            self.press()

        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, handler)


@dataclass(frozen=True, slots=True)
class FlightSettings:
    """How the vehicle gets to the task and back.

    Attributes:
        height_m: Height of the task above the take-off point [m].
        climb_m_s: Peak speed of the climb [m/s].
        descent_m_s: Peak speed of the descent [m/s].
        brake_m_s2: Mean deceleration when stopping [m/s^2].
        engage_m: Height above which the shield is engaged [m].
        far_m: Distance from the reference beyond which the path waits [m].
        land_mode_m: Height at which the flight controller's own landing takes over [m].
        resume: Fly the task after a take-over in the air instead of landing.
    """

    height_m: float
    climb_m_s: float = 0.6
    descent_m_s: float = 0.4
    brake_m_s2: float = 2.0
    engage_m: float = 0.4
    far_m: float = 0.5
    land_mode_m: float = 0.25
    resume: bool = False
