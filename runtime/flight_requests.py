"""What a flight asks of the flight controller, again and again until the heartbeat shows it, and what it hears from there."""

from __future__ import annotations

from collections.abc import Callable

from tubepilot.firmware_bridge.errors import TubepilotError

from .tick_interfaces import EventLog

REQUEST_PERIOD_S = 0.5
"""A request that the heartbeat does not confirm is repeated after this long [s]."""


class Requests:
    """Requests, spaced.

    Args:
        log: Receives events.
        say: Receives lines for the user.
        clock_ns: CLOCK_MONOTONIC [ns].
    """

    def __init__(self, log: EventLog, say: Callable[[str], None], clock_ns: Callable[[], int]) -> None:
        self._log, self._say, self._clock_ns = log, say, clock_ns
        self._made_ns = 0
        self._texts: tuple[str, ...] = ()

    def forget(self) -> None:
        """In a new phase the first request may be made at once."""
        self._made_ns = 0

    def due(self) -> bool:
        """Whether the last request is old enough to repeat it; if so, it counts as made now."""
        now_ns = self._clock_ns()
        if now_ns - self._made_ns < 1e9 * REQUEST_PERIOD_S:
            return False
        self._made_ns = now_ns
        return True

    def ask(self, request: Callable[[], None]) -> None:
        """Send a request; one that the link cannot take now is written to the log and repeated later."""
        try:
            request()
        except (TubepilotError, OSError) as error:
            self._log.event(f"request failed: {error}")

    def report(self, texts: tuple[str, ...]) -> None:
        """Say and log what the flight controller has said since the last call.

        Args:
            texts: All that it said lately, the newest last.
        """
        if texts == self._texts:
            return
        for text in texts[len(self._texts) :] if texts[: len(self._texts)] == self._texts else texts[-1:]:
            self._say(f"          flight controller: {text}")
            self._log.event(f"flight controller: {text}")
        self._texts = texts
