"""The whole tick against `sim-fc` over a pseudo-terminal at several rates, alone and with the other core busy.

The vehicle stands on the ground; everything else is as in a flight: states arrive over the serial line, the planner plans at
hover, the shield judges (it is engaged anew now and then, since a vehicle on the ground is outside its set), the set-point
goes out, the recorder writes. Beside it: the same decision back to back, which is what a loop that sleeps is measured by.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import LinkError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle

from . import realtime
from .bench_floor import floor_us
from .local_frame import LocalFrame
from .observer import DisturbanceObserver
from .on_board import STATE_AGE_S, OnBoard, load_on_board
from .phases import Phase
from .pre_warm import pre_warm as warming
from .pre_warm import pre_warm_ns
from .predictor import Predictor
from .recorder import Recorder
from .reference import straight
from .state_check import StateLimits
from .tick import Tick
from .tick_types import PLAN_SHARE, SEND_SHARE, WAIT_SHARE, Guidance, Instant, TickSettings

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
ENGAGE_EVERY = 40
"""Ticks after which the shield is engaged anew: before it would give the vehicle on the ground up. If it gives up all the same, that
tick counts as missed and the next one engages it."""
SETTLE_TICKS = 100
MEMORY_FROM_S = 10.0
"""Resident memory counts from here, or from half of a shorter run: buffers of bounded length are full by then."""
LINK_TIMEOUT_S = 30.0
MOST_STREAM_HZ = 400.0
"""States come at most this often over MAVLink; a faster loop plans twice from some of them."""
SIM_FC_PRIORITY = 40
BACK_TO_BACK_RUNS = 400
BUSY = "x = 1.0\nwhile True:\n    x = x * 1.0000001 % 3.0\n"


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """One run of the loop, one entry per tick: lateness of the wake-up, planner, state read to set-point sent, nominal instant
    to set-point sent, all [us]; refinement steps; whether the deadline was missed. And resident memory's growth [kB]."""

    late_us: Vector
    solve_us: Vector
    tick_us: Vector
    sent_us: Vector
    steps: Vector
    missed: npt.NDArray[np.bool_]
    skipped: int
    growth_kb: int
    growth_blocks: int

    def figures(self) -> dict[str, object]:
        """For JSON."""
        result: dict[str, object] = {
            name: {label: float(np.percentile(getattr(self, name), share)) for label, share in PERCENTILES.items()}
            for name in ("late_us", "solve_us", "tick_us", "sent_us")
        }
        share = float(self.missed.sum() + self.skipped) / len(self.missed)
        return {
            **result, "ticks": len(self.missed), "missed": int(self.missed.sum()) + self.skipped, "missed_share": share,
            "steps_mean": float(self.steps.mean()), "memory_growth_kb": self.growth_kb,
            "allocated_blocks_growth": self.growth_blocks,
        }  # fmt: skip


@contextlib.contextmanager
def simulator(folder: Path, core: int | None) -> Iterator[str]:
    """A `sim-fc` of its own; gives its link.

    Raises:
        LinkError: it did not open its serial line.
    """
    device = folder / "fc"
    command = [sys.executable, "-m", "tubepilot.runtime.cli", "sim-fc", "--link", str(device)]
    with open(folder / "sim-fc.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            with contextlib.suppress(PermissionError):  # a flight controller does not wait for other programs
                os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(SIM_FC_PRIORITY))
            until_s = time.monotonic() + LINK_TIMEOUT_S
            while not device.exists():
                if process.poll() is not None or time.monotonic() > until_s:
                    said = (folder / "sim-fc.log").read_text(errors="replace").strip()
                    raise LinkError(f"sim-fc did not open {device} within {LINK_TIMEOUT_S:.0f} s: {said or 'it said nothing'}")
                time.sleep(0.05)
            yield f"px4://{device}?baud=921600"
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def busy(core: int | None) -> Iterator[None]:
    """A process that keeps a core busy; none if there is no other core."""
    if core is None:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    os.sched_setaffinity(process.pid, {core})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def back_to_back_us(on_board: OnBoard, steps_budget_s: float) -> Vector:
    """Times of decisions one right after the other [us], with the time for refinement that the loop gives."""
    planner = on_board.planner
    state, rows, disturbance = np.zeros(14), np.zeros((planner.horizon + 1, 9)), np.zeros(3)
    state[6], state[13] = 1.0, GRAVITY_M_S2
    times = []
    for _ in range(BACK_TO_BACK_RUNS):
        start_ns = time.monotonic_ns()
        planner.plan(state, rows, disturbance, start_ns + round(1e9 * steps_budget_s))
        times.append(1e-3 * (time.monotonic_ns() - start_ns))
    return np.array(times[BACK_TO_BACK_RUNS // 4 :])


def run_loop(on_board: OnBoard, link: str, hz: float, seconds: float, log: Path, pre_warm: bool) -> LoopTimes:
    """Run the tick at a rate against a link.

    Args:
        on_board: The bundle, loaded.
        link: Of `sim-fc`.
        hz: Ticks per second.
        seconds: How long.
        log: Flight log to write.
        pre_warm: Whether the planner is run once right before every tick.
    """
    period_s = 1.0 / hz
    vehicle = open_vehicle(link, on_board.thrust_scale_m_s2)
    try:
        vehicle.connect(10.0)
        vehicle.request_streams(min(hz, MOST_STREAM_HZ))
        settings = TickSettings(
            PLAN_SHARE * period_s, SEND_SHARE * period_s, period_s,
            state=StateLimits(STATE_AGE_S), wait_s=WAIT_SHARE * period_s, setpoint=on_board.setpoint,
        )  # fmt: skip
        predictor = Predictor(on_board.physics, on_board.delay_s)
        frame = LocalFrame(np.zeros(3), 0.0)
        governor = on_board.governor()
        tick = Tick(
            vehicle, on_board.planner, on_board.shield, predictor, DisturbanceObserver(), settings, frame, governor=governor
        )
        on_board.planner.warm_up()
        predictor.reset(GRAVITY_M_S2)
        with Recorder(log, {"tick_hz": hz}, on_board.planner.horizon) as recorder:
            tick.recorder, tick.decisions = recorder, (recorder, on_board.planner)
            return _ticks(tick, vehicle, on_board, hz, seconds, pre_warm)
    finally:
        vehicle.close()


def _ticks(tick: Tick, vehicle: Vehicle, on_board: OnBoard, hz: float, seconds: float, pre_warm: bool) -> LoopTimes:
    def sleep(duration_s: float) -> None:
        try:
            vehicle.wait_until(time.monotonic_ns() + round(1e9 * duration_s))
        except (LinkError, OSError):
            time.sleep(duration_s)

    count = max(1, round(seconds * hz)) + SETTLE_TICKS
    times, missed = np.full((count, 5), np.nan), np.full(count, True)  # written now, so that their pages are no growth later
    path = straight(np.zeros(3), np.array([0.0, 0.0, 0.01]), 0.1)
    ticker = realtime.Ticker(
        round(1e9 / hz), sleep=sleep, warm=warming(on_board.planner, vehicle) if pre_warm else None,
        warm_ns=pre_warm_ns(on_board.planner, 1.0 / hz),
    )  # fmt: skip
    skipped, before_kb, before_blocks, gave_up = 0, 0, 0, False
    memory_from = SETTLE_TICKS + round(min(MEMORY_FROM_S * hz, 0.5 * (count - SETTLE_TICKS)))
    for number in tqdm(range(count), desc=f"{hz:g} Hz", unit="tick", leave=False, mininterval=1.0):
        nominal_ns, late_ns, lost = ticker.wait()
        if number % ENGAGE_EVERY == 0 or gave_up:
            tick.engaged = False
        outcome = tick.run(Instant(nominal_ns, late_ns, lost), Guidance(Phase.TRACK, path, 0.0, 0.0, shielded=True))
        gave_up = outcome.give_up
        if number == memory_from:
            before_kb, before_blocks = _resident_kb(), sys.getallocatedblocks()
        if number >= SETTLE_TICKS:
            skipped += lost
        sent_us = 1e-3 * late_ns + outcome.tick_us
        times[number] = 1e-3 * late_ns, outcome.solve_us, outcome.tick_us, sent_us, outcome.steps
        missed[number] = sent_us > 1e6 * tick.settings.send_by_s or outcome.sent is None
    times, missed = times[SETTLE_TICKS:], missed[SETTLE_TICKS:]
    growth_kb, growth_blocks = _resident_kb() - before_kb, sys.getallocatedblocks() - before_blocks
    return LoopTimes(times[:, 0], times[:, 1], times[:, 2], times[:, 3], times[:, 4], missed, skipped, growth_kb, growth_blocks)


def _row(values: Vector) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _resident_kb() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


def run_rates(
    bundle: Path,
    keys: Path | None,
    rates_hz: list[float],
    seconds: float,
    core: int | None,
    pre_warm: bool,
    loads: tuple[str, ...] = ("alone", "loaded"),
    engine: str = "auto",
) -> dict[str, object]:
    """All rates with each of `loads`, alone and loaded; prints a table and returns the figures for JSON."""
    on_board = load_on_board(bundle, keys, engine)
    print(on_board.engine_text)
    cores = sorted(os.sched_getaffinity(0))
    own = cores[-1] if core is None else core
    other = next((c for c in cores if c != own), None)
    on_board.planner.warm_up()
    rights = realtime.enter(own)
    print("; ".join(f"{r.name}: {'' if r.obtained else 'NO, '}{r.detail}" for r in rights.rights))
    result: dict[str, object] = {}
    heads = (("tick p50", 9), ("p99.9", 9), ("plan p50", 9), ("p99.9", 9), ("b2b p50", 9), ("ratio", 7), ("steps", 7))
    print(" " * 16 + "".join(f"{head:>{width}}" for head, width in (*heads, ("missed", 8), ("memory", 9))) + "   [us]")
    for hz in rates_hz:
        alone_us = back_to_back_us(on_board, PLAN_SHARE / hz)
        entry: dict[str, object] = {"back_to_back_us": {k: float(np.percentile(alone_us, v)) for k, v in PERCENTILES.items()}}
        for label in loads:
            load = other if label == "loaded" else None
            with tempfile.TemporaryDirectory() as folder, busy(load), simulator(Path(folder), other) as link:
                floor = dict(zip(("late_us", "work_us"), floor_us(hz, seconds), strict=True))
                times = run_loop(on_board, link, hz, seconds, Path(folder) / "log.mcap", pre_warm)
            figures = times.figures()
            usual = float(np.median(alone_us))
            figures["p999_over_back_to_back"] = float(np.percentile(times.solve_us, 99.9)) / usual
            figures["floor"] = {name: {k: float(np.percentile(us, v)) for k, v in PERCENTILES.items()} for name, us in floor.items()}
            entry[label] = figures
            print(
                f"{hz:5g} Hz {label:<7}{np.median(times.tick_us):9.0f}{np.percentile(times.tick_us, 99.9):9.0f}"
                f"{np.median(times.solve_us):9.0f}{np.percentile(times.solve_us, 99.9):9.0f}{usual:9.0f}"
                f"{figures['p999_over_back_to_back']:7.2f}{times.steps.mean():7.2f}{100 * float(str(figures['missed_share'])):7.3f}%"
                f"{times.growth_kb:6d} kB {times.growth_blocks:+d} blocks"
            )
            late, work = (np.percentile(floor[name], (50.0, 99.0, 99.9, 100.0)) for name in ("late_us", "work_us"))
            print(f"{'':9}bare loop beside it, p50, p99, p99.9, max: awake {_row(late)} late; the same arithmetic {_row(work)}")
        result[f"{hz:g}"] = entry
    realtime.leave()
    flown = on_board.planner.engine.name
    return {"planner_engine": flown, "load_average": os.getloadavg()[0], "rights": rights.text(), "pre_warm": pre_warm, "hz": result}
