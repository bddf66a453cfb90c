"""Ticks by the hundred thousand with seeded faults, on a clock that does not wait: the real tick, planner and shield.

The vehicle is the bundle's own physics. Faults come at random and overlap: no state, a state that stays the same, not a number,
late, out of order, a clock that steps; a planner that fails; a disk so slow that the recorder's ring stays full. Whatever
happens, a set-point that is sent is within its limits, and set-points end only when the tick says so (then the flight
controller's failsafe acts, and the vehicle starts anew).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import BundleError, InputError, LinkError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector, VehicleState

from .decision_log import decision_dtype
from .flight_log import TICK_DTYPE
from .local_frame import LocalFrame
from .observer import DisturbanceObserver
from .on_board import STATE_AGE_S, OnBoard, load_on_board
from .phases import Phase
from .planner import Plan
from .predictor import Predictor, advance
from .reference import FigureEight
from .ring import RingProducer
from .state_check import StateLimits
from .tick import Tick
from .tick_types import PLAN_SHARE, SEND_SHARE, Guidance, Instant, SetpointLimits, TickSettings

FAULTS = ("missing", "frozen", "not a number", "late", "reordered", "clock step", "link error", "planner failure", "slow disk")
RATE = 0.004
"""Probability per tick and fault that one begins: some fault is on in about every third tick."""
LONGEST_TICKS = 40
FAILSAFE_S = 0.5
"""Set-points missing for this long make the flight controller's failsafe act [s]."""
RECORD_TICKS = 4096
PIECE_TICKS = 20_000
"""Ticks of a piece; each has its own seed, and its counts are kept when a later one is cut off."""
WIND_M_S2 = 0.4


class Clock:
    """CLOCK_MONOTONIC as the tick sees it: every reading takes 2 us."""

    def __init__(self) -> None:
        self.now_ns = 10**9

    def __call__(self) -> int:
        self.now_ns += 2_000
        return self.now_ns


class Status:
    """What the flight controller says of itself: flying under our set-points."""

    mode, armed, landed, texts = FlightMode.OFFBOARD, True, False, ()


class World:
    """The vehicle and its link, with the faults of the moment.

    Args:
        on_board: For the physics.
        clock: Shared with the tick.
        rng: Of noise and faults.
    """

    def __init__(self, on_board: OnBoard, clock: Clock, rng: np.random.Generator) -> None:
        self._physics, self._clock, self._rng = on_board.physics, clock, rng
        self._limits = on_board.setpoint
        self.active: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.outside: list[str] = []
        self.restart()

    def restart(self) -> None:
        """Hover where the path begins."""
        self._x = [0.0] * 14
        self._x[2], self._x[6], self._x[13] = 1.5, 1.0, GRAVITY_M_S2
        self._held = (0.0, 0.0, 0.0, GRAVITY_M_S2 / self._physics.thrust_gain)
        self._seen: VehicleState | None = None
        self._older: VehicleState | None = None
        self.sent_ns = self._clock.now_ns

    def pass_time(self, dt_s: float) -> None:
        """Fly for a tick, and begin and end faults."""
        self._x = advance(self._physics, self._x, self._held, (WIND_M_S2, 0.0, 0.0), dt_s)
        for fault in FAULTS:
            left = self.active.get(fault, 0)
            if left > 0:
                self.active[fault] = left - 1
            elif self._rng.random() < RATE:
                self.active[fault] = int(self._rng.integers(1, LONGEST_TICKS))
                self.counts[fault] += 1

    def is_on(self, fault: str) -> bool:
        """Whether a fault is on."""
        return self.active.get(fault, 0) > 0

    def poll(self) -> None:
        """Receive; may fail as a serial line does."""
        if self.is_on("link error") and self._rng.random() < 0.5:
            raise LinkError("the serial line is gone")

    def state(self) -> VehicleState | None:
        """The newest state, as wrong as the faults make it."""
        if self.is_on("missing"):
            return None
        if self.is_on("frozen") and self._seen is not None:
            return self._seen
        x = np.array(self._x)
        x[0:6] += 0.005 * self._rng.normal(size=6)
        x[10:13] += 0.02 * self._rng.normal(size=3)
        t_ns = self._clock.now_ns - int(self._rng.integers(1_000_000, 4_000_000))
        if self.is_on("late"):
            t_ns -= int(self._rng.integers(20_000_000, 400_000_000))
        if self.is_on("clock step"):
            t_ns += int(self._rng.choice([-1, 1])) * 10**9
        if self.is_on("not a number"):
            x[int(self._rng.integers(0, 13))] = self._rng.choice([math.nan, math.inf, -math.inf, 1e30])
        state = VehicleState(t_ns, x[0:3], x[3:6], x[6:10], x[10:13])
        if self.is_on("reordered") and self._older is not None and self._rng.random() < 0.5:
            return self._older
        self._older, self._seen = self._seen, state
        return state

    def send(self, setpoint: Setpoint) -> None:
        """Take a set-point, and note one that is outside its limits."""
        flat: Vector = np.append(setpoint.rates_rad_s, setpoint.thrust_m_s2)
        if not _within(flat, self._limits):
            self.outside.append(f"{flat.tolist()}")
        self._held = (float(flat[0]), float(flat[1]), float(flat[2]), float(flat[3]))
        self.sent_ns = self._clock.now_ns

    def status(self) -> Status:
        """The flight controller's word."""
        return Status()


def _within(flat: Vector, limits: SetpointLimits) -> bool:
    rates = np.array(limits.rate_rad_s) * (1.0 + 1e-6)
    thrust = limits.thrust_min_m_s2 * (1.0 - 1e-6) <= flat[3] <= limits.thrust_max_m_s2 * (1.0 + 1e-6)
    return bool(np.isfinite(flat).all() and np.all(np.abs(flat[:3]) <= rates) and thrust)


class FailingPlanner:
    """The bundle's planner, which raises, returns nothing or takes too long while that fault is on."""

    def __init__(self, on_board: OnBoard, world: World, clock: Clock) -> None:
        self._planner, self._world, self._clock = on_board.planner, world, clock
        self._rng = np.random.default_rng(1)
        self.horizon, self.dt_plan_s = self._planner.horizon, self._planner.dt_plan_s
        self.note, self.applied, self.reset = self._planner.note, self._planner.applied, self._planner.reset

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Plan:
        """Plan, or fail."""
        if self._world.is_on("planner failure"):
            kind = self._rng.random()
            if kind < 0.4:
                raise BundleError("onnxruntime: the session failed")
            if kind < 0.7:
                self._clock.now_ns += 20_000_000
            else:
                state = state * math.nan
        return self._planner.plan(state, reference, disturbance, deadline_ns)


class FullRing:
    """A recorder whose rings nobody empties while the disk is slow."""

    def __init__(self, horizon: int, world: World) -> None:
        self._ticks, self._decisions = (RingProducer(dtype, RECORD_TICKS) for dtype in (TICK_DTYPE, decision_dtype(horizon)))
        self._world = world

    def _empty(self) -> None:
        if not self._world.is_on("slow disk"):
            for ring in (self._ticks, self._decisions):
                ring._counters[1] = ring._counters[0]  # what the writer process does

    def tick(self) -> np.void:
        """See `Recorder`."""
        self._empty()
        record: np.void = self._ticks.begin()
        return record

    def commit(self) -> None:
        """See `Recorder`."""
        self._ticks.commit()

    def decision(self) -> np.void:
        """See `Recorder`."""
        record: np.void = self._decisions.begin()
        return record

    def commit_decision(self) -> None:
        """See `Recorder`."""
        self._decisions.commit()


def run_faults(on_board: OnBoard, count: int, seed: int, *, progress: bool = True) -> dict[str, Any]:
    """Run ticks with faults.

    Args:
        on_board: The bundle, loaded.
        count: Number of ticks.
        seed: Of faults and noise; the same one gives the same ticks.
        progress: Show a bar on stderr.

    Returns:
        Counts for JSON. `outside` and `silent` must be 0: set-points beyond their limits, and gaps of `FAILSAFE_S` between
        set-points of which the tick did not say that streaming must end.
    """
    clock, rng = Clock(), np.random.default_rng(seed)
    on_board.planner._clock_ns = clock  # its deadlines are of this clock
    world = World(on_board, clock, rng)
    planner = FailingPlanner(on_board, world, clock)
    period_s = 1.0 / on_board.tick_hz
    settings = TickSettings(
        PLAN_SHARE * period_s, SEND_SHARE * period_s, period_s, state=StateLimits(STATE_AGE_S), setpoint=on_board.setpoint
    )
    predictor = Predictor(on_board.physics, on_board.delay_s)
    frame = LocalFrame(np.zeros(3), 0.0)
    governor = on_board.governor()
    tick = Tick(world, planner, on_board.shield, predictor, DisturbanceObserver(), settings, frame, clock, governor)
    recorder = FullRing(planner.horizon, world)
    tick.recorder, tick.decisions = recorder, (recorder, planner)
    path = FigureEight.at_speed(np.array([0.0, 0.0, 1.5]), 3.0, 1.0, 10**6)
    predictor.reset(GRAVITY_M_S2)
    verdicts: Counter[str] = Counter()
    voids = silent = missed = 0
    flown_s, nominal_ns = 0.0, clock.now_ns
    before_kb = 0
    for number in tqdm(range(count), desc="ticks", unit="tick", mininterval=1.0, disable=not progress, leave=False):
        nominal_ns += round(1e9 * period_s)
        skipped = 0
        while clock.now_ns > nominal_ns + round(1e9 * period_s):
            nominal_ns += round(1e9 * period_s)
            skipped += 1
        clock.now_ns = max(clock.now_ns, nominal_ns)
        world.pass_time(period_s)
        flown_s += period_s
        outcome = tick.run(
            Instant(nominal_ns, clock.now_ns - nominal_ns, skipped), Guidance(Phase.TRACK, path, flown_s, shielded=True)
        )
        missed += outcome.overrun
        verdicts[str(outcome.verdict)] += 1
        if outcome.give_up:
            voids += 1
            flown_s = 0.0
            world.restart()
            tick.engaged = False
            planner.reset()
            predictor.reset(GRAVITY_M_S2)
        elif clock.now_ns - world.sent_ns > 1e9 * FAILSAFE_S:
            silent += 1
        if number == min(count // 2, 20_000):
            before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    growth_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    return {
        "ticks": count, "seed": seed, "faults": dict(world.counts), "outside": len(world.outside), "first_outside": world.outside[:3],
        "silent": silent, "failsafes": voids, "overruns": missed, "verdicts": dict(verdicts),
        "failures": {stage.name: n for stage, n in tick.failures.items() if n}, "memory_growth_kb": growth_kb,
    }  # fmt: skip


def add_up(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several pieces as of one run; memory's growth is the largest of a piece."""
    total: dict[str, Any] = {"ticks": 0, "outside": 0, "first_outside": [], "silent": 0, "failsafes": 0, "overruns": 0}
    tables = {name: Counter[str]() for name in ("faults", "verdicts", "failures")}
    for piece in pieces:
        for name in total:
            total[name] += piece[name]
        for name, counts in tables.items():
            counts.update(piece[name])
    growth = max((piece["memory_growth_kb"] for piece in pieces), default=0)
    return {**total, **{name: dict(counts) for name, counts in tables.items()}, "memory_growth_kb": growth}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench faults`."""
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"), help="bundle directory")
    parser.add_argument("--keys", type=Path, default=Path("demo/keys"), help="directory of trusted public keys")
    parser.add_argument("--ticks", type=int, default=1_000_000, help="number of ticks")
    parser.add_argument("--seed", type=int, default=0, help="of faults and noise in the first piece; each further piece has the next")
    parser.add_argument(
        "--json", type=Path, default=None,
        help="write the counts to this file after every piece, and go on after the pieces that it holds already",
    )  # fmt: skip


def _held(path: Path | None, settings: dict[str, object]) -> list[dict[str, Any]]:
    """Pieces of an earlier run with the same settings.

    Raises:
        InputError: the file is of something else.
    """
    if path is None or not path.exists():
        return []
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["settings"] == settings:
            return list(known["pieces"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a file of `bench faults`: {error}; give another --json") from error
    raise InputError(f"{path} holds {known['settings']}, this run is {settings}; give another --json")


def run(arguments: argparse.Namespace) -> int:
    """Run, print the counts; status 1 if a set-point was outside its limits, or none was sent in silence."""
    if arguments.ticks < 1:
        raise InputError(f"--ticks is {arguments.ticks}, must be at least 1")
    digest = load_on_board(arguments.bundle, arguments.keys).meta["bundle_sha256"]
    settings = {"bundle_sha256": digest, "ticks": arguments.ticks, "seed": arguments.seed}
    pieces = _held(arguments.json, settings)
    wanted = [min(PIECE_TICKS, arguments.ticks - start) for start in range(0, arguments.ticks, PIECE_TICKS)]
    for number in range(len(pieces), len(wanted)):
        fresh = load_on_board(arguments.bundle, arguments.keys)  # so that a piece is the same whether or not one ran before it
        pieces.append(run_faults(fresh, wanted[number], arguments.seed + number))
        print(f"piece {number + 1} of {len(wanted)}: outside {pieces[-1]['outside']}, silent {pieces[-1]['silent']}", flush=True)
        if arguments.json is not None:
            content = {"settings": settings, "total": add_up(pieces), "pieces": pieces}
            beside = arguments.json.with_name(arguments.json.name + ".part")
            beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            beside.replace(arguments.json)
    found = add_up(pieces)
    for name, value in found.items():
        print(f"{name:<18} {value}")
    held = found["outside"] == 0 and found["silent"] == 0
    print("held" if held else "NOT held: a set-point was outside its limits, or none was sent and the tick did not say so")
    print("next: `tubepilot bench tick --hz 100` for the same tick in real time")
    return 0 if held else 1
