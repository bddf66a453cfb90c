"""What the machine itself allows: a bare loop with the tick's rights and load that wakes up and does a fixed piece of arithmetic.

It talks to nobody and allocates nothing. What is late or slow here is so by the kernel, the hypervisor and the other core, and no
tick on this machine can do better.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tubepilot.firmware_bridge.types import Vector

from . import realtime

SIDE = 64
"""Side of the matrices that are multiplied: they stay in the first-level caches."""
WORK_S = 1e-3
"""Time that the arithmetic takes undisturbed [s]: about that of a tick."""
FLOOR_S = 20.0
"""Longest time for which the loop runs [s]."""


def floor_us(hz: float, seconds: float) -> tuple[Vector, Vector]:
    """Lateness of the wake-ups and time of the same arithmetic, one entry per tick [us].

    Args:
        hz: Ticks per second.
        seconds: How long, at most `FLOOR_S`.
    """
    a, b = np.full((SIDE, SIDE), 0.5, np.float32), np.eye(SIDE, dtype=np.float32)

    def work(count: int) -> None:
        for _ in range(count):
            np.matmul(a, b, out=a)

    usual_ns = min(_timed_ns(lambda: work(100)) for _ in range(20))
    count = max(1, round(100 * min(WORK_S, 0.4 / hz) * 1e9 / usual_ns))
    ticks = max(1, round(hz * min(seconds, FLOOR_S)))
    late_us, work_us = np.zeros(ticks), np.zeros(ticks)
    ticker = realtime.Ticker(round(1e9 / hz))
    for tick in range(ticks):
        _, late_ns, _ = ticker.wait()
        start_ns = time.monotonic_ns()
        work(count)
        late_us[tick], work_us[tick] = 1e-3 * late_ns, 1e-3 * (time.monotonic_ns() - start_ns)
    return late_us, work_us


def _timed_ns(function: Callable[[], None]) -> int:
    start_ns = time.monotonic_ns()
    function()
    return time.monotonic_ns() - start_ns
