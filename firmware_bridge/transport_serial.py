"""A serial port that never blocks: exclusive, in low-latency mode where the driver has one.

Linux: `read` and `select` on a terminal whose queue is empty wait for the kernel's worker that hands bytes on, whatever O_NONBLOCK
says (n_tty_read and n_tty_poll in drivers/tty/n_tty.c call tty_buffer_flush_work). That worker has ordinary priority: on a loaded
core it took up to 3 ms. So the queue is asked for its length first, which never waits, and waiting is short sleeps.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios
import time

import serial

from .errors import LinkError
from .transport import Transport
from .uri import VehicleUri

_TIOCGSERIAL = 0x541E
_ASYNC_LOW_LATENCY = 1 << 13
_LOOK_PERIOD_S = 0.0005
"""While waiting, the queue is looked at this often [s]."""


class SerialTransport(Transport):
    """One serial device.

    Args:
        uri: Device and speed.
    """

    def __init__(self, uri: VehicleUri) -> None:
        super().__init__(uri)
        self._port: serial.Serial | None = None

    def _connect(self, wait_s: float) -> int:
        device = self._uri.device
        try:
            self._port = serial.Serial(device, self._uri.baud, timeout=0, write_timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise LinkError(f"cannot open {device} at {self._uri.baud} baud: {_remedy(device, error)}") from error
        descriptor: int = self._port.fileno()
        os.set_blocking(descriptor, False)
        self.low_latency = self._ask_low_latency(descriptor)
        return descriptor

    def _ask_low_latency(self, descriptor: int) -> bool | None:
        """Whether the driver hands bytes on at once: True or False as read back, None where it has no such mode.

        FTDI adapters hold bytes for 16 ms otherwise.
        """
        port = self._port
        if port is None:
            return None
        try:
            port.set_low_latency_mode(True)
            answer = fcntl.ioctl(descriptor, _TIOCGSERIAL, bytes(128))
        except (OSError, ValueError):
            return None
        flags: int = struct.unpack_from("i", answer, 16)[0]
        return bool(flags & _ASYNC_LOW_LATENCY)

    def _receive(self) -> bytes:
        if self._queued() == 0:
            raise BlockingIOError
        return super()._receive()

    def _queued(self) -> int:
        """Bytes that a read gives at once; raises OSError if the device is gone."""
        count: int = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        return count

    def wait(self, seconds: float) -> None:
        """Until bytes are there or the time is over [s]; see the module's text."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0.0:
            try:
                if self._fd >= 0 and self._queued() > 0:
                    return
            except OSError:
                return  # the next read meets it too, and says so
            time.sleep(min(left_s, _LOOK_PERIOD_S))

    def _release(self) -> None:
        port, self._port = self._port, None
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
    if "Inappropriate ioctl" in text or not stat.S_ISCHR(os.stat(device).st_mode):
        return "it is no serial device; give one of `ls /dev/serial/by-id/`"
    return f"{text}; check the path and the baud rate"
