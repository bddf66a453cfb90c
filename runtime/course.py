"""Where the vehicle is along the path of the present phase, and at which pace it goes on."""

from __future__ import annotations

from .phases import Phase
from .reference import Reference
from .tick_types import Guidance

PACE_DOWN_1_S, PACE_UP_1_S = 2.0, 0.4
"""How fast the path slows down when the vehicle cannot follow, and gets back on pace [1/s]."""


class Course:
    """A path and the time along it.

    Args:
        path: In the take-off frame.

    Attributes:
        path: As given, or replaced by the phase.
        path_s: Time along it [s].
        pace: Share of the path's own speed, within [0, 1].
        pace_change_1_s: Its change [1/s].
    """

    def __init__(self, path: Reference) -> None:
        self.path = path
        self.begin_again()

    def begin_again(self) -> None:
        """From the start of the path, at full pace."""
        self.path_s, self.pace, self.pace_change_1_s = 0.0, 1.0, 0.0

    @property
    def left_s(self) -> float:
        """Time until the end of the path at full pace, negative beyond it [s]."""
        return self.path.duration_s - self.path_s

    def advance(self, held_up: bool, period_s: float) -> None:
        """Time along the path goes on by one tick at the present pace; ticks that never happened do not count.

        Args:
            held_up: The vehicle cannot follow: the path slows down and waits for it.
            period_s: Of a tick [s].
        """
        wanted = self.pace + period_s * (-PACE_DOWN_1_S if held_up else PACE_UP_1_S)
        pace = min(max(wanted, 0.0), 1.0)
        self.pace_change_1_s = (pace - self.pace) / period_s
        self.path_s += 0.5 * (self.pace + pace) * period_s
        self.pace = pace

    def guidance(self, phase: Phase, shielded: bool) -> Guidance:
        """What the tick shall do to follow it."""
        return Guidance(phase, self.path, self.path_s, self.pace, self.pace_change_1_s, shielded=shielded)
