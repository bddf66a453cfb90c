"""The line between the simulated flight controller and the companion, with faults on request and by seed."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, fields
from typing import Any

from .errors import InputError
from .mavlink import Parser
from .sim_firmware import FrameParser

PROBABILITIES = ("drop", "corrupt", "reorder", "duplicate", "truncate", "stall")
LONGEST_MS = 2000.0
REORDER_MS = 15.0
"""A frame out of order comes this much later: behind the next one at 100 Hz [ms]."""
STALL_MS = 120.0
"""A stall of the line holds everything for this long, then all comes at once [ms]."""


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """Faults put on the line on purpose, in both directions.

    Attributes:
        drop: Probability that a frame is lost.
        corrupt: Probability that one bit of a frame flips.
        delay_ms: Delay of every frame [ms].
        seed: Seed of the faults.
        jitter_ms: Largest further delay of a frame, uniform [ms].
        reorder: Probability that a frame comes `REORDER_MS` later, behind its successors.
        duplicate: Probability that a frame comes twice.
        truncate: Probability that the end of a frame is missing.
        stall: Probability that a frame starts a stall of the whole line of `STALL_MS`.
    """

    drop: float = 0.0
    corrupt: float = 0.0
    delay_ms: float = 0.0
    seed: int = 0
    jitter_ms: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    truncate: float = 0.0
    stall: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in PROBABILITIES and not 0.0 <= value <= 1.0:
                raise InputError(f"{field.name} is {value!r}; it must be a probability, 0..1")
            if field.name.endswith("_ms") and not 0.0 <= value <= LONGEST_MS:
                raise InputError(f"{field.name} is {value!r} ms; it must be 0..{LONGEST_MS:g} ms")


class _Way:
    """One direction: what goes in comes out at its time, or not."""

    def __init__(self, faults: LinkFaults, generator: random.Random) -> None:
        self._faults, self._random = faults, generator
        self._queue: list[tuple[int, int, bytes]] = []
        self._count = 0
        self._last_ns = 0
        self._stalled_until_ns = 0

    def _happens(self, probability: float) -> bool:
        return probability > 0.0 and self._random.random() < probability

    def put(self, data: bytes, now_ns: int) -> None:
        """Send one frame, or what came in one read."""
        faults = self._faults
        if self._happens(faults.drop):
            return
        damaged = bytearray(data)
        if self._happens(faults.corrupt):
            damaged[self._random.randrange(len(damaged))] ^= 1 << self._random.randrange(8)
        if self._happens(faults.truncate):
            del damaged[self._random.randrange(len(damaged)) :]
        if self._happens(faults.stall):
            self._stalled_until_ns = now_ns + round(STALL_MS * 1e6)
        for _ in range(2 if self._happens(faults.duplicate) else 1):
            late_ms = faults.delay_ms + (self._random.uniform(0.0, faults.jitter_ms) if faults.jitter_ms else 0.0)
            due_ns = now_ns + round(late_ms * 1e6)
            if self._happens(faults.reorder):
                due_ns += round(REORDER_MS * 1e6)
            else:
                # Jitter alone never lets one overtake another: a line is a queue.
                self._last_ns = due_ns = max(due_ns, self._last_ns)
            self._count += 1
            heapq.heappush(self._queue, (due_ns, self._count, bytes(damaged)))

    def take(self, now_ns: int) -> bytes:
        """What comes out now."""
        parts: list[bytes] = []
        while now_ns >= self._stalled_until_ns and self._queue and self._queue[0][0] <= now_ns:
            parts.append(heapq.heappop(self._queue)[2])
        return b"".join(parts)


class FaultyLine:
    """Applies `LinkFaults` to frames on their way to the companion, and to bytes on their way from it.

    Args:
        faults: What goes wrong.
        parser: Of what the firmware understands; MAVLink if None.
    """

    def __init__(self, faults: LinkFaults, parser: FrameParser | None = None) -> None:
        generator = random.Random(faults.seed)
        self._there, self._back = _Way(faults, generator), _Way(faults, generator)
        self._parser: FrameParser = Parser() if parser is None else parser

    def outgoing(self, frames: list[bytes], now_ns: int) -> bytes:
        """What goes on the line now, given what the firmware sends now."""
        for frame in frames:
            self._there.put(frame, now_ns)
        return self._there.take(now_ns)

    def incoming(self, data: bytes, now_ns: int) -> list[Any]:
        """Frames that reach the firmware now, given what came off the line now."""
        if data:
            self._back.put(data, now_ns)
        return self._parser.feed(self._back.take(now_ns))
