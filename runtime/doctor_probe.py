"""The doctor's probe: asks for real-time rights and measures wake-up lateness; run as a process of its own.

In its own process, because SCHED_FIFO and locked memory would otherwise stay with the one that asks.
"""

from __future__ import annotations

import json
import time

from .realtime import enter

PERIOD_NS = 5_000_000
TICKS = 200


def lateness_us() -> list[float]:
    """How late clock sleeps of 5 ms end: p50, p99 and the largest [us], over 1 s."""
    late = []
    start_ns = time.monotonic_ns()
    for tick in range(1, TICKS + 1):
        due_ns = start_ns + tick * PERIOD_NS
        remaining_ns = due_ns - time.monotonic_ns()
        if remaining_ns > 0:
            time.sleep(remaining_ns / 1e9)
        late.append((time.monotonic_ns() - due_ns) / 1e3)
    late.sort()
    return [late[TICKS // 2], late[int(TICKS * 0.99) - 1], late[-1]]


def main() -> None:
    """Print one JSON object."""
    rights = [[right.name, right.obtained, right.detail, right.remedy] for right in enter().rights]
    print(json.dumps({"rights": rights, "lateness_us": lateness_us(), "error": ""}))


if __name__ == "__main__":
    main()
