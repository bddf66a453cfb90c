"""What passes between us and systemd: that we run (sd_notify, a datagram to NOTIFY_SOCKET), and whether it started us again.

Without systemd nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

MARK = "started"


def started_again() -> bool:
    """Whether systemd started us again after an abnormal end; leaves the mark by which the next start sees this one.

    The mark lies in RUNTIME_DIRECTORY, which the unit keeps over restarts (RuntimeDirectoryPreserve=restart) and systemd removes when
    the service has ended. A directory that cannot be written is taken for a restart: then nothing takes off.
    """
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if not folder:
        return False
    try:
        (Path(folder) / MARK).touch(exist_ok=False)
    except OSError:
        return True
    return False


class Notifier:
    """Keeps the socket; never raises and never blocks."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if path:
            with contextlib.suppress(OSError):
                made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                made.connect("\0" + path[1:] if path.startswith("@") else path)
                self._socket = made

    def _say(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(text.encode())

    def ready(self, status: str) -> None:
        """The service runs."""
        self._say(f"READY=1\nSTATUS={status}\nWATCHDOG=1")

    def alive(self) -> None:
        """The loop turns: feeds the watchdog."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The service ends on purpose; nothing is said after that."""
        self._say("STOPPING=1")
        if self._socket is not None:
            self._socket.close()
            self._socket = None
