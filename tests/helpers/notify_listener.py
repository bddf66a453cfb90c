"""In place of systemd: the socket of sd_notify, and what was said to it when."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path


class NotifyListener:
    """Listens from its making until `close`.

    Args:
        path: Of the socket, for the variable NOTIFY_SOCKET.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[tuple[float, str]] = []
        """Time on CLOCK_MONOTONIC [s] and text of every datagram."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                self.said.append((time.monotonic(), self._socket.recv(4096).decode()))

    def close(self) -> None:
        """Stop listening."""
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def times_of(self, line: str) -> list[float]:
        """When a line was said [s]."""
        return [time_s for time_s, text in self.said if line in text.split("\n")]
