"""A serial port that never blocks: everything available in one read, exclusive, reopened after the device vanished."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

import serial

from .errors import LinkError
from .uri import VehicleUri

READ_SIZE = 65536
REOPEN_PERIOD_S = 0.25
WRITE_BACKLOG_LIMIT = 2048
"""Bytes that may wait for the port; beyond, frames are refused instead of sent late (2048 B = 22 ms at 921600)."""

_TIOCGSERIAL = 0x541E
_ASYNC_LOW_LATENCY = 1 << 13


class SerialTransport:
    """One serial device.

    Args:
        uri: Device and speed.
    """

    def __init__(self, uri: VehicleUri) -> None:
        self._uri = uri
        self._port: serial.Serial | None = None
        self._fd = -1
        self._backlog = bytearray()
        self._next_attempt_s = 0.0
        self.low_latency: bool | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.refused_writes = 0
        self.losses = 0
        self.last_error = ""

    @property
    def is_open(self) -> bool:
        """Whether the device is open now."""
        return self._fd >= 0

    def fileno(self) -> int:
        """File descriptor to wait on; -1 while the device is away."""
        return self._fd

    def open(self) -> None:
        """Open the device.

        Raises:
            LinkError: the device is absent, busy, or not ours to open; the text says what to do.
        """
        device = self._uri.device
        try:
            self._port = serial.Serial(device, self._uri.baud, timeout=0, write_timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise LinkError(f"cannot open {device} at {self._uri.baud} baud: {_remedy(device, error)}") from error
        self._fd = self._port.fileno()
        os.set_blocking(self._fd, False)
        self._backlog.clear()
        self.low_latency = self._ask_low_latency()

    def _ask_low_latency(self) -> bool | None:
        """Whether the driver hands bytes on at once: True or False as read back, None where it has no such mode.

        FTDI adapters hold bytes for 16 ms otherwise.
        """
        port = self._port
        if port is None:
            return None
        try:
            port.set_low_latency_mode(True)
            answer = fcntl.ioctl(self._fd, _TIOCGSERIAL, bytes(128))
        except (OSError, ValueError):
            return None
        flags: int = struct.unpack_from("i", answer, 16)[0]
        return bool(flags & _ASYNC_LOW_LATENCY)

    def reopen(self) -> bool:
        """Try to open again, at most every `REOPEN_PERIOD_S`; True if it is open now."""
        if self.is_open:
            return True
        now_s = time.monotonic()
        if now_s < self._next_attempt_s:
            return False
        self._next_attempt_s = now_s + REOPEN_PERIOD_S
        try:
            self.open()
        except LinkError as error:
            self.last_error = str(error)
            return False
        return True

    def read(self) -> bytes:
        """Every byte that is there, without waiting; empty if none or if the device is away."""
        if self._fd < 0:
            return b""
        parts: list[bytes] = []
        while True:
            try:
                data = os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError as error:
                self._lost(error)
                break
            if not data:
                break
            parts.append(data)
            self.bytes_in += len(data)
            if len(data) < READ_SIZE:
                break
        return b"".join(parts)

    def write(self, frame: bytes) -> bool:
        """Send one whole frame without waiting.

        Args:
            frame: The bytes; either all of them go out, in order, or none.

        Returns:
            False if the device is away or so far behind that the frame would be old when sent.
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
        """Close the device; may be called again."""
        port, self._port, self._fd = self._port, None, -1
        self._backlog.clear()
        if port is not None:
            try:
                port.close()
            except OSError as error:
                self.last_error = f"closing {self._uri.device}: {error}"


def _remedy(device: str, error: Exception) -> str:
    """What is wrong with the device and what to do."""
    code = getattr(error, "errno", None)
    text = str(error)
    if code == errno.ENOENT or not os.path.exists(device):
        return "there is no such device; check cable and power, and `ls /dev/serial/by-id/`"
    if code == errno.EACCES:
        return "permission denied; add yourself to the group that owns it (often: sudo usermod -aG dialout $USER)"
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return f"another program has it open; find it with `fuser {device}` and stop it"
    return f"{text}; check the path and the baud rate"
