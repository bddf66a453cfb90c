"""Two pseudo-terminals joined to one line: the firmware opens one end by its path, the companion the other.

A firmware built for the host can open a serial device, but nobody can open the far end of a pseudo-terminal by a path
except through a second one. The relay is a process of its own, so that neither end waits for the other's interpreter.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tty
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from types import TracebackType

READ_SIZE = 65536
BACKLOG = 16384
"""Bytes that may wait for a reader; 0.2 s at 921600 baud."""


class PtyRelay:
    """A line between `firmware_device` and `companion_device`, alive until closed."""

    def __init__(self) -> None:
        self._process = Popen([sys.executable, __file__], stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, text=True)
        words = (self._process.stdout.readline() if self._process.stdout else "").split()
        if len(words) != 2:
            raise RuntimeError("the relay between two pseudo-terminals did not start")
        self.firmware_device, self.companion_device = Path(words[0]), Path(words[1])
        with contextlib.suppress(OSError):
            os.sched_setscheduler(self._process.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(41))

    def close(self) -> None:
        """End the relay; both devices vanish."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> PtyRelay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _relay() -> None:
    """Carry bytes both ways for ever; only what nobody takes for a long time is dropped."""
    ends = [os.openpty() for _ in range(2)]
    for master, slave in ends:
        tty.setraw(slave)
        os.set_blocking(master, False)
    print(*(os.ttyname(slave) for _, slave in ends), flush=True)
    masters = [master for master, _ in ends]
    waiting = {master: bytearray() for master in masters}
    while True:
        readable, writable, _ = select.select(masters, [master for master in masters if waiting[master]], [])
        for master in readable:
            far = waiting[masters[1 - masters.index(master)]]
            far += os.read(master, READ_SIZE)
            if len(far) > BACKLOG:
                far.clear()
        for master in {*writable, *(master for master in masters if waiting[master])}:
            with contextlib.suppress(BlockingIOError):
                del waiting[master][: os.write(master, waiting[master])]


if __name__ == "__main__":
    _relay()
