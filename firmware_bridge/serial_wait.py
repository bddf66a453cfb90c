"""Waiting for bytes of a device that may be away."""

from __future__ import annotations

import select
import time


def wait_readable(descriptor: int, seconds: float) -> None:
    """Until bytes are there or the time is over; a plain sleep while the device is away (`descriptor` below 0)."""
    if descriptor < 0:
        time.sleep(max(seconds, 0.0))
    else:
        select.select([descriptor], [], [], max(seconds, 0.0))
