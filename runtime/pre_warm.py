"""What is run right before a tick, so that the tick finds its code and data in the caches: planner, then the link's codec."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

PRE_WARM_SHARE = 0.3
"""Largest share of the tick period that is spent on it."""
LINK_WARM_NS = 200_000
"""Time of the link's codec when cold [ns]."""


class _Planner(Protocol):
    def pre_warm(self, until_ns: int) -> None: ...
    @property
    def pre_warm_ns(self) -> int: ...


class _Vehicle(Protocol):
    def pre_warm(self) -> None: ...


def pre_warm_ns(planner: _Planner, period_s: float) -> int:
    """How long before a tick `pre_warm` begins [ns]."""
    return min(planner.pre_warm_ns + LINK_WARM_NS, round(1e9 * period_s * PRE_WARM_SHARE))


def pre_warm(planner: _Planner, vehicle: _Vehicle) -> Callable[[int], None]:
    """For `realtime.Ticker`: planner first, the codec is what the tick begins with; nothing is begun that may end too late."""

    def run(until_ns: int) -> None:
        planner.pre_warm(until_ns - LINK_WARM_NS)
        if time.monotonic_ns() + LINK_WARM_NS <= until_ns:
            vehicle.pre_warm()

    return run
