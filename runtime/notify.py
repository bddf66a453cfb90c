"""Telling systemd that we run (sd_notify): a datagram to the socket in NOTIFY_SOCKET; nothing happens without one."""

from __future__ import annotations

import contextlib
import os
import socket


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
