"""Flight recorder, the tick's side: fills a record in shared memory and goes on; another process writes the file.

The tick never waits for a disk: `tick()` and `commit()` touch only shared memory, and when the writer cannot keep up
the record is dropped, counted, and the count is written into the log.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from tubepilot.firmware_bridge.errors import InputError

from .decision_log import decision_dtype
from .flight_log import FORMAT, TICK_DTYPE
from .ring import RingProducer

TICK_CAPACITY = 2048
"""Slots for ticks: 20 s at 100 Hz, longer than any stall of an SD card that its makers specify [records]."""
EVENT_CAPACITY = 256
EVENT_TEXT_BYTES = 240
EVENT_DTYPE: np.dtype[Any] = np.dtype([("t_ns", "<i8"), ("length", "<u2"), ("text", "u1", (EVENT_TEXT_BYTES,))])
CLOSE_TIMEOUT_S = 60.0


class Recorder:
    """Writes one flight log; create it before the loop turns real-time, close it after.

    `tick`, `commit` and `event` belong to one thread (the ring has one producer).
    """

    def __init__(self, path: Path, meta: Mapping[str, str | float | int], horizon: int | None = None) -> None:
        """Start the writer process and wait until the file is open.

        Args:
            path: MCAP file to create; its folder is made if absent, an existing file is refused.
            meta: Configuration to keep with the flight; numbers in SI units, named with their unit.
            horizon: Steps of a plan, to record decisions for `tubepilot replay`; None records none.

        Raises:
            InputError: the file exists or cannot be created.
        """
        if path.exists():
            raise InputError(f"{path} exists and a flight log is never overwritten; give another --log name")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder of the flight log {path} cannot be made: {error}") from error
        self.path = path
        self._ticks = RingProducer(TICK_DTYPE, TICK_CAPACITY)
        self._events = RingProducer(EVENT_DTYPE, EVENT_CAPACITY)
        self._decisions = None if horizon is None else RingProducer(decision_dtype(horizon), TICK_CAPACITY)
        rings = [self._ticks, self._events, *([] if self._decisions is None else [self._decisions])]
        self._closed = False
        now = time.clock_gettime_ns
        settings = {
            "path": str(path),
            "ticks": [self._ticks.address.fd, TICK_CAPACITY],
            "events": [self._events.address.fd, EVENT_CAPACITY],
            "realtime_offset_ns": now(time.CLOCK_REALTIME) - now(time.CLOCK_MONOTONIC),
            "meta": {**meta, "format": FORMAT, **({} if horizon is None else {"horizon": horizon})},
        }
        if self._decisions is not None:
            settings["decisions"] = [self._decisions.address.fd, TICK_CAPACITY, horizon]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tubepilot.runtime.recorder_writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(ring.address.fd for ring in rings),
            start_new_session=True,
        )
        # The writer takes the end of this pipe for our death or our `close`; nothing else is ever written to it.
        self._pipe(self._process.stdin).write(json.dumps(settings).encode() + b"\n")
        self._pipe(self._process.stdin).flush()
        answer = self._pipe(self._process.stdout).readline().decode().strip()
        if answer != "ready":
            self._release()
            raise InputError(f"the flight log {path} could not be opened: {answer or 'the writer process ended'}")

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise InputError("the writer process was started without its pipes")
        return pipe

    def tick(self) -> Any:
        """The next record (one element of `TICK_DTYPE`, zeroed), to be filled in place and then committed."""
        return self._ticks.begin()

    def commit(self) -> None:
        """Hand the record of the last `tick()` to the writer; counted as dropped if the ring is full."""
        self._ticks.commit()

    def decision(self) -> Any:
        """The next record of a decision, zeroed, to be filled in place and then committed.

        Raises:
            InputError: the recorder was made without a horizon.
        """
        if self._decisions is None:
            raise InputError("this recorder was made without a horizon, so that it records no decisions")
        return self._decisions.begin()

    def commit_decision(self) -> None:
        """Hand the record of the last `decision()` to the writer."""
        if self._decisions is not None:
            self._decisions.commit()

    def event(self, text: str) -> None:
        """Record a line of text now; cut to 240 bytes of UTF-8."""
        data = text.encode()[:EVENT_TEXT_BYTES]
        record = self._events.begin()
        record["t_ns"] = time.monotonic_ns()
        record["length"] = len(data)
        record["text"][: len(data)] = np.frombuffer(data, np.uint8)
        self._events.commit()

    @property
    def dropped(self) -> int:
        """Ticks dropped so far because the writer did not keep up."""
        return self._ticks.dropped

    @property
    def alive(self) -> bool:
        """Whether the writer process still runs; the flight may go on without it."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let the writer drain the rings and finish the file; returns when the log is complete.

        Raises:
            InputError: the writer failed; the log is readable up to where it got.
        """
        if self._closed:
            return
        self._release()
        if self._process.returncode != 0:
            raise InputError(
                f"the writer of {self.path} ended with status {self._process.returncode} (disk full or killed?); "
                f"the log can be read up to there"
            )

    def _release(self) -> None:
        self._closed = True
        self._pipe(self._process.stdin).close()
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe(self._process.stdout).close()
        self._ticks.close()
        self._events.close()
        if self._decisions is not None:
            self._decisions.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
