"""The byte carrier below every protocol: everything available in one read, whole frames out, reopened after it vanished.

Nothing here ever waits, except `open`. What carries the bytes is a serial port (`transport_serial`) or, for simulators, a
socket (`transport_socket`).
"""

from __future__ import annotations

import errno
import os
import time
from abc import ABC, abstractmethod

from .errors import LinkError
from .serial_wait import wait_readable
from .uri import VehicleUri

READ_SIZE = 65536
REOPEN_PERIOD_S = 0.25
OPEN_WAIT_S, REOPEN_WAIT_S = 3.0, 0.002
"""How long a carrier that has to be reached may take: at the start, and in flight, where a tick waits for it [s]."""
WRITE_BACKLOG_LIMIT = 2048
"""Bytes that may wait for the carrier; beyond, frames are refused instead of sent late (2048 B = 22 ms at 921600)."""


class Transport(ABC):
    """One carrier of bytes to one flight controller.

    Args:
        uri: Where it is.
    """

    datagrams = False
    """Whether one read gives one datagram, so that there may be more however short it was."""

    streams = False
    """Whether a read of nothing means that the other side has ended."""

    def __init__(self, uri: VehicleUri) -> None:
        self._uri = uri
        self._fd = -1
        self._backlog = bytearray()
        self._next_attempt_s = 0.0
        self.low_latency: bool | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.refused_writes = 0
        self.losses = 0
        self.last_error = ""

    @abstractmethod
    def _connect(self, wait_s: float) -> int:
        """Reach the other side within `wait_s` [s]; a descriptor that never blocks.

        Raises:
            LinkError: it cannot be reached; the text says what to do.
        """

    @abstractmethod
    def _release(self) -> None:
        """Give back what `_connect` took; never raises."""

    @property
    def is_open(self) -> bool:
        """Whether the carrier is open now."""
        return self._fd >= 0

    def fileno(self) -> int:
        """File descriptor to wait on; -1 while the carrier is away."""
        return self._fd

    def open(self, wait_s: float = OPEN_WAIT_S) -> None:
        """Open the carrier.

        Raises:
            LinkError: it is absent, busy, or not ours to open; the text says what to do.
        """
        self._fd = self._connect(wait_s)
        self._backlog.clear()

    def reopen(self) -> bool:
        """Try to open again, at most every `REOPEN_PERIOD_S`; True if it is open now."""
        if self.is_open:
            return True
        now_s = time.monotonic()
        if now_s < self._next_attempt_s:
            return False
        self._next_attempt_s = now_s + REOPEN_PERIOD_S
        try:
            self.open(REOPEN_WAIT_S)
        except LinkError as error:
            self.last_error = str(error)
            return False
        return True

    def read(self) -> bytes:
        """Every byte that is there, without waiting; empty if none or if the carrier is away."""
        if self._fd < 0:
            return b""
        parts: list[bytes] = []
        while True:
            try:
                data = self._receive()
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError as error:
                self._lost(error)
                break
            if not data:
                if self.streams:
                    self._lost(OSError(errno.ECONNRESET, "the other side closed the connection"))
                break
            parts.append(data)
            self.bytes_in += len(data)
            if len(data) < READ_SIZE and not self.datagrams:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def wait(self, seconds: float) -> None:
        """Until bytes are there or the time is over [s]; a plain sleep while the carrier is away."""
        wait_readable(self._fd, seconds)

    def _receive(self) -> bytes:
        return os.read(self._fd, READ_SIZE)

    def write(self, frame: bytes) -> bool:
        """Send one whole frame without waiting.

        Args:
            frame: The bytes; either all of them go out, in order, or none.

        Returns:
            False if the carrier is away or so far behind that the frame would be old when sent.
        """
        if self._fd < 0 or len(self._backlog) > WRITE_BACKLOG_LIMIT:
            self.flush()
            self.refused_writes += 1
            return False
        self._backlog += frame
        self.flush()
        return self._fd >= 0

    def flush(self) -> None:
        """Hand waiting bytes to the driver, as many as it takes now."""
        while self._backlog and self._fd >= 0:
            try:
                sent = os.write(self._fd, self._backlog)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            self.bytes_out += sent
            del self._backlog[:sent]

    def _lost(self, error: OSError) -> None:
        self.losses += 1
        self.last_error = f"{self._uri.device} vanished ({error.strerror or error}); trying to open it again"
        self.close()

    def close(self) -> None:
        """Close the carrier; may be called again."""
        self._fd = -1
        self._backlog.clear()
        self._release()


def make_transport(uri: VehicleUri) -> Transport:
    """The carrier that an address names."""
    from .transport_serial import SerialTransport
    from .transport_socket import TcpTransport, UdpTransport

    kinds: dict[str, type[Transport]] = {"serial": SerialTransport, "tcp": TcpTransport, "udp": UdpTransport}
    return kinds[uri.carrier](uri)
