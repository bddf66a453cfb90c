"""The doctor's probe: asks for real-time rights and measures wake-up lateness; run as a process of its own.

In its own process, because SCHED_FIFO and locked memory would otherwise stay with the one that asks.
"""

from __future__ import annotations

import base64
import json
import os
import time

from .realtime import Right, enter
from .session import bind, buffers, open_session

PERIOD_NS = 5_000_000
TICKS = 200


SMALLEST_GRAPH = base64.b64decode("CAk6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBI=")
"""An ONNX graph with one Identity node."""


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def onnxruntime_threads() -> Right:
    """Whether a session, opened as the vehicle opens it, runs in the calling thread alone."""
    before = _threads()
    session = open_session(SMALLEST_GRAPH, "smallest")
    given, made = buffers(session, "smallest")
    binding = bind(session, given, made)
    for _ in range(10):
        session.run_with_iobinding(binding)
    more = _threads() - before
    remedy = "" if more == 0 else "install the onnxruntime of requirements.lock; this one starts threads that it was told not to"
    return Right("onnxruntime threads", more == 0, f"{more} beside the tick's own", remedy)


def telemetry_off() -> Right:
    """Whether onnxruntime was told before it was imported to report nothing to its maker (1.29 and later do on Linux)."""
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    return Right("onnxruntime telemetry off", off, "switched off" if off else "on", "" if off else "export ORT_DISABLE_TELEMETRY=1")


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
    core = max(os.sched_getaffinity(0))
    asked = (onnxruntime_threads(), telemetry_off(), *enter(core).rights)
    rights = [[right.name, right.obtained, right.detail, right.remedy] for right in asked]
    print(json.dumps({"rights": rights, "lateness_us": lateness_us(), "error": ""}))


if __name__ == "__main__":
    main()
