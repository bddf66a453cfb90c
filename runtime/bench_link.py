"""The hot path of the link: parse and encode per tick, the link's share of one core, round trip and gaps, over a pseudo-terminal.

A peer process streams attitude and position at the tick rate. This process does at every tick what `fly` does with the link and
nothing else: take in what came, read the state, send one set-point.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.codec_exercise import CodecExercise
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle

from . import realtime
from .pre_warm import LINK_WARM_NS

SCALE_M_S2 = 20.0
LEAD_S = 1.0
"""Left out at the start: streams and clocks settle [s]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench link`."""
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures there")
    parser.add_argument("--rate-hz", type=float, default=250.0, help="ticks and states per second [Hz]")
    parser.add_argument("--duration-s", type=float, default=10.0, help="how long to measure [s]")


@contextmanager
def peer(rate_hz: float) -> Iterator[str]:
    """A peer on a pseudo-terminal; gives the path of the device."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    words = [sys.executable, "-m", "tubepilot.firmware_bridge.link_peer", str(master), str(rate_hz)]
    process = subprocess.Popen(words, pass_fds=(master,))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(process.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(49))
    try:
        yield os.ttyname(slave)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def codec_us(rate_hz: float, ticks: int, pre_warm: bool) -> list[float]:
    """Time to parse one tick's states and to encode one set-point, tick by tick at the tick rate [us].

    Args:
        rate_hz: Ticks per second [Hz].
        ticks: How many.
        pre_warm: Whether the codec is exercised right before every tick, on other messages and buffers, as `fly` does.
    """
    measured, other, taken = CodecExercise(), CodecExercise(), []
    ticker = realtime.Ticker(round(1e9 / rate_hz), warm=_warming(other) if pre_warm else None, warm_ns=LINK_WARM_NS)
    for _ in range(ticks):
        measured.prepare()
        ticker.wait()
        start_ns = time.perf_counter_ns()
        measured.once()
        taken.append(1e-3 * (time.perf_counter_ns() - start_ns))
    if measured.merged != 2 * ticks:
        raise InputError(f"only {measured.merged} of {2 * ticks} messages were parsed: this is a bug, report it")
    return taken


def _warming(exercise: CodecExercise) -> Callable[[int], None]:
    def warm(_until_ns: int) -> None:
        exercise.prepare()
        exercise.once()

    return warm


def ticks(vehicle: Vehicle, rate_hz: float, duration_s: float) -> int:
    """Tick for a time as `fly` does; ticks at which no newer state had come."""
    gaps, last_ns = 0, 0
    setpoint = Setpoint(np.array([0.1, -0.2, 0.05]), 9.8)

    def listen(seconds: float) -> None:
        vehicle.wait_until(time.monotonic_ns() + round(1e9 * seconds))

    ticker = realtime.Ticker(round(1e9 / rate_hz), sleep=listen, warm=lambda _: vehicle.pre_warm(), warm_ns=LINK_WARM_NS)
    for _ in range(round(rate_hz * duration_s)):
        ticker.wait()
        vehicle.poll()
        state = vehicle.state()
        fresh = state is not None and state.t_ns != last_ns
        gaps += not fresh
        last_ns = state.t_ns if state is not None else last_ns
        vehicle.send(setpoint)
    return gaps


def measure(rate_hz: float, duration_s: float) -> dict[str, object]:
    """The figures.

    Args:
        rate_hz: Ticks and states per second [Hz].
        duration_s: How long [s].

    Returns:
        `codec_us` (p50, p99 of parse + encode per tick), `codec_cold_us` (the same without pre-warming), `cpu_percent` of one
        core taken by this process, `round_trip_ms` (least of the last trips), `gaps` (ticks without a newer state), and besides
        `ticks`, `lost_frames`, `rate_hz`, `realtime` (all rights were granted), `load`.
    """
    with peer(rate_hz) as device:
        vehicle = open_vehicle(f"px4://{device}", SCALE_M_S2)
        try:
            vehicle.connect(10.0)
            rights = realtime.enter()  # as `fly` does; what was refused is in the figures
            ticks(vehicle, rate_hz, LEAD_S)
            lost, cpu_s, start_s = vehicle.status().link.lost, time.process_time(), time.monotonic()
            gaps = ticks(vehicle, rate_hz, duration_s)
            share = (time.process_time() - cpu_s) / (time.monotonic() - start_s)
            link = vehicle.status().link
        finally:
            vehicle.close()
    count = min(round(rate_hz * duration_s), 2500)
    warm, cold = (_percentiles(codec_us(rate_hz, count, pre_warm)) for pre_warm in (True, False))
    realtime.leave()
    return {
        "codec_us": warm,
        "codec_cold_us": cold,
        "cpu_percent": round(100.0 * share, 1),
        "round_trip_ms": round(link.timesync.rtt_ms, 3),
        "gaps": gaps,
        "ticks": round(rate_hz * duration_s),
        "lost_frames": link.lost - lost,
        "rate_hz": rate_hz,
        "realtime": all(right.obtained for right in rights.rights),
        "load": round(os.getloadavg()[0], 1),
    }


def _percentiles(taken_us: list[float]) -> dict[str, float]:
    p50, p99 = (round(float(value), 1) for value in np.percentile(taken_us, [50.0, 99.0]))
    return {"p50": p50, "p99": p99}


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write.

    Raises:
        InputError: an option is out of range.
        LinkError: the peer did not answer.
    """
    if not 10.0 <= arguments.rate_hz <= 1000.0 or not 1.0 <= arguments.duration_s <= 600.0:
        raise InputError(f"--rate-hz must be 10..1000 Hz and --duration-s 1..600 s, got {arguments.rate_hz} and {arguments.duration_s}")
    found = measure(arguments.rate_hz, arguments.duration_s)
    line = json.dumps(found)
    print(line)
    if arguments.json is not None:
        arguments.json.write_text(line + "\n", encoding="utf-8")
    return 0
