"""The tick: what it sends in order, its two deadlines, and that nothing escapes from it under seeded faults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from helpers import mutants
from helpers.shield_checks import roomy

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector, VehicleState
from tubepilot.runtime.flight_log import TICK_DTYPE
from tubepilot.runtime.governor import Governor
from tubepilot.runtime.governor_motion import Bounds
from tubepilot.runtime.local_frame import LocalFrame
from tubepilot.runtime.observer import DisturbanceObserver
from tubepilot.runtime.phases import Phase
from tubepilot.runtime.predictor import PhysicsParameters, Predictor
from tubepilot.runtime.reference import FigureEight, Hover
from tubepilot.runtime.shield_monitor import Monitor
from tubepilot.runtime.state_check import Fault, StateLimits, check
from tubepilot.runtime.tick import Tick, level
from tubepilot.runtime.tick_types import SHIELD_OFF, Guidance, Instant, Outcome, SetpointLimits, Stage, TickSettings

PHYSICS = PhysicsParameters(1.0, 0.05, (1.0,) * 3, (0.0,) * 3, (0.05,) * 3, (0.2,) * 3)
PERIOD_NS = 10_000_000
BACKUP = Setpoint(np.zeros(3), 9.0)


@dataclass
class World:
    """A clock and a hovering vehicle whose link, planner, shield and recorder can be told to fail."""

    now_ns: int = 10**9
    state_now: VehicleState | None = None
    send_fails: bool = False
    poll_fails: bool = False
    plan_takes_ns: int = 1_000_000
    plan: Setpoint | Exception = field(default_factory=lambda: Setpoint(np.array([0.1, 0.2, 0.3]), 10.0))
    decide_fails: bool = False
    void: bool = False
    record_fails: bool = False
    sent: list[Setpoint] = field(default_factory=list)
    seen: list[tuple[Sequence[float] | None, Setpoint | None]] = field(default_factory=list)
    told_ns: list[int] = field(default_factory=list)
    deadlines: list[int] = field(default_factory=list)
    inputs: list[tuple[Vector, Vector, Vector]] = field(default_factory=list)
    records: list[np.ndarray] = field(default_factory=list)
    engaged: int = 0
    settled: list[int] = field(default_factory=list)

    mode = FlightMode.OFFBOARD
    armed = True
    steps, return_before, return_after, disagreement = 3, -2.0, -1.0, 0.1
    horizon, dt_plan_s = 12, 0.04
    margin = 0.7

    def clock_ns(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def poll(self) -> None:
        if self.poll_fails:
            raise OSError("device gone")

    def state(self) -> VehicleState | None:
        return self.state_now

    def status(self) -> World:
        return self

    def send(self, setpoint: Setpoint) -> None:
        if self.send_fails:
            raise OSError("device gone")
        self.sent.append(setpoint)


class Planner:
    horizon, dt_plan_s = 12, 0.04

    def __init__(self, world: World) -> None:
        self.world = world
        self.given: list[Setpoint] = []

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Planner:
        self.world.now_ns += self.world.plan_takes_ns
        self.world.deadlines.append(deadline_ns)
        self.world.inputs.append((state, reference.copy(), disturbance))
        if isinstance(self.world.plan, Exception):
            raise self.world.plan
        self.setpoint = self.world.plan
        return self

    steps, return_before, return_after, disagreement = 3, -2.0, -1.0, 0.1

    def applied(self, setpoint: Setpoint) -> None:
        self.given.append(setpoint)

    def reset(self) -> None:
        self.given.clear()


@dataclass(frozen=True)
class Decision:
    setpoint: Setpoint | None
    verdict: int
    reason: int
    margin: float

    def text(self) -> str:
        return "GUST: too much"


class Shield:
    """Accepts any finite candidate, backs up without one, voids when told to."""

    def __init__(self, world: World) -> None:
        self.world = world

    lead_s = 0.0075

    def engage(self, predicted: Sequence[float]) -> None:
        self.world.engaged += 1

    def decide(
        self, predicted: Sequence[float] | None, disturbance: Sequence[float], candidate: Setpoint | None, now_ns: int
    ) -> Decision:
        self.world.seen.append((predicted, candidate))
        self.world.told_ns.append(now_ns)
        if self.world.decide_fails:
            raise RuntimeError("graph failed")
        if self.world.void:
            return Decision(None, 2, 1, -1.0)
        return Decision(BACKUP, 1, 6, 0.2) if candidate is None else Decision(candidate, 0, 0, 0.7)

    def settle(self) -> None:
        self.world.settled.append(len(self.world.sent))


class Recorder:
    def __init__(self, world: World) -> None:
        self.world = world
        self.buffer = np.zeros(1, TICK_DTYPE)

    def tick(self) -> np.void:
        if self.world.record_fails:
            raise BufferError("ring gone")
        self.buffer[:] = 0
        return self.buffer[0]

    def commit(self) -> None:
        self.world.records.append(self.buffer[0].copy())


def _hovering(t_ns: int) -> VehicleState:
    position = np.array([5.0, -3.0, 1.0])
    return VehicleState(t_ns, position, np.zeros(3), np.array([1.0, 0, 0, 0]), np.zeros(3))


def _tick(world: World) -> Tick:
    predictor = Predictor(PHYSICS, 0.008)
    predictor.reset(GRAVITY_M_S2)
    frame = LocalFrame(np.array([5.0, -3.0, 0.0]), 0.0)
    settings = TickSettings(plan_by_s=0.004, send_by_s=0.008)
    tick = Tick(
        world, Planner(world), Shield(world), predictor, DisturbanceObserver(), settings, frame, world.clock_ns
    )
    tick.recorder = Recorder(world)
    return tick


def _go(world: World, tick: Tick, guidance: Guidance, skipped: int = 0) -> Outcome:
    nominal_ns = world.now_ns
    world.state_now = world.state_now and _hovering(nominal_ns - 4_000_000)
    outcome = tick.run(Instant(nominal_ns, 50_000, skipped), guidance)
    world.now_ns = nominal_ns + PERIOD_NS
    return outcome


HOVER = Guidance(Phase.TRACK, Hover(np.array([0.0, 0.0, 1.0]), 9.0), shielded=True)


def test_an_ordinary_tick_plans_shields_sends_and_records() -> None:
    world = World(state_now=_hovering(0))
    tick, nominal = _tick(world), world.now_ns
    outcome = _go(world, tick, HOVER)
    assert outcome.sent is world.plan is world.sent[0]
    assert (outcome.fault, outcome.verdict, outcome.give_up, outcome.overrun) == (Fault.NONE, 0, False, False)
    assert world.engaged == 1
    assert world.deadlines == [nominal + 4_000_000]
    state, reference, _ = world.inputs[0]
    np.testing.assert_allclose(state[:3], [0.0, 0.0, 1.0], atol=1e-9)
    assert reference.shape == (13, 9)
    record = world.records[0]
    assert (record["t_ns"], record["phase"], record["verdict"], record["steps"]) == (nominal, Phase.TRACK, 0, 3)
    assert record["late_us"] == pytest.approx(50.0)
    assert record["state_age_ms"] == pytest.approx(4.05)
    np.testing.assert_allclose(record["sent"], [0.1, 0.2, 0.3, 10.0], rtol=1e-6)
    np.testing.assert_array_equal(record["measured"][:3], [5.0, -3.0, 1.0])
    np.testing.assert_allclose(record["state"][:3], [5.0, -3.0, 1.0], atol=1e-4)
    np.testing.assert_allclose(record["reference"][:3], [5.0, -3.0, 1.0])
    assert sum(tick.failures.values()) == 0


def test_the_shield_is_engaged_once_and_not_before_it_is_asked_for() -> None:
    world = World(state_now=_hovering(0))
    tick = _tick(world)
    low = Guidance(Phase.CLIMB, HOVER.reference)
    assert _go(world, tick, low).verdict == SHIELD_OFF
    for _ in range(3):
        assert _go(world, tick, HOVER).verdict == 0
    assert world.engaged == 1
    assert len(world.seen) == 3


@pytest.mark.parametrize(
    ("takes_ns", "accepted", "overrun"),
    [(1_000_000, True, False), (7_900_000, True, False), (8_100_000, False, True), (30_000_000, False, True)],
)
def test_a_plan_after_the_second_deadline_gives_way_to_the_backup(
    takes_ns: int, accepted: bool, overrun: bool
) -> None:
    world = World(state_now=_hovering(0), plan_takes_ns=takes_ns)
    tick = _tick(world)
    outcome = _go(world, tick, HOVER)
    assert (outcome.sent is world.plan) == accepted
    assert (outcome.sent is BACKUP) == (not accepted)
    assert outcome.overrun == overrun
    assert tick.overruns == overrun
    assert world.records[0]["overrun"] == overrun


def test_skipped_ticks_count_as_an_overrun() -> None:
    world = World(state_now=_hovering(0))
    assert _go(world, _tick(world), HOVER, skipped=1).overrun


def test_a_late_tick_is_no_skipped_one_for_the_shield() -> None:
    """Set-points late by up to most of a period, and one tick that is skipped: the watch counts the one alone."""
    world = World(state_now=_hovering(0))
    tick, start_ns = _tick(world), world.now_ns
    for number, late in ((0, 0.0), (1, 0.6), (2, 0.0), (3, 0.9), (5, 0.6), (6, 0.0)):
        nominal_ns = start_ns + number * PERIOD_NS
        world.now_ns = nominal_ns + round(late * PERIOD_NS)
        world.state_now = _hovering(nominal_ns - 4_000_000)
        tick.run(Instant(nominal_ns, world.now_ns - nominal_ns, int(number == 5)), HOVER)
    assumed = roomy(mutants.real()).assumed
    watch = Monitor(assumed)
    counted = []
    for told_ns in world.told_ns:
        assert not watch.is_late(told_ns)
        counted.append(watch.skipped)
    assert assumed.tick_s == pytest.approx(1e-9 * PERIOD_NS)
    assert counted == [0, 0, 0, 0, 1, 0]


FAULTS = {
    "no state": {"state_now": None},
    "planner raises": {"plan": RuntimeError("session failed")},
    "planner raises oddly": {"plan": ZeroDivisionError()},
    "plan is nan": {"plan": Setpoint(np.array([math.nan, 0, 0]), 10.0)},
    "thrust is infinite": {"plan": Setpoint(np.zeros(3), math.inf)},
    "plan is late": {"plan_takes_ns": 9_000_000},
}


@pytest.mark.parametrize("name", FAULTS)
def test_without_a_plan_the_backup_is_sent(name: str) -> None:
    world = World(**{"state_now": _hovering(0), **FAULTS[name]})
    tick = _tick(world)
    outcome = _go(world, tick, HOVER)
    if name == "no state":  # the shield was never engaged: nothing known, nothing sent
        assert outcome.sent is None
    else:
        assert outcome.sent is BACKUP
        assert world.seen[0][1] is None
        assert tick.planner.given == [BACKUP]
    assert tick.failures[Stage.PLAN] == (1 if "raises" in name else 0)


def test_state_lost_in_flight_is_left_to_the_shield() -> None:
    world = World(state_now=_hovering(0))
    tick = _tick(world)
    _go(world, tick, HOVER)
    world.state_now = None
    outcome = _go(world, tick, HOVER)
    assert world.seen[-1] == (None, None)
    assert outcome.sent is BACKUP
    assert outcome.fault is Fault.MISSING


@pytest.mark.parametrize("fault", ["decide_fails", "void"])
def test_a_void_or_failed_shield_ends_streaming(fault: str) -> None:
    world = World(state_now=_hovering(0), **{fault: True})
    outcome = _go(world, _tick(world), HOVER)
    assert outcome.give_up
    assert world.sent == []


def test_unshielded_and_unplanned_flight_is_levelled_and_ends_when_blind() -> None:
    world = World(state_now=_hovering(0), plan=RuntimeError("no"))
    tick = _tick(world)
    low = Guidance(Phase.CLIMB, HOVER.reference)
    sent = _go(world, tick, low).sent
    assert sent is not None
    assert sent.thrust_m_s2 == pytest.approx(GRAVITY_M_S2)
    world.state_now = None
    outcomes = [_go(world, tick, low) for _ in range(20)]
    assert [outcome.give_up for outcome in outcomes] == [False] * 19 + [True]
    assert all(outcome.sent is None for outcome in outcomes)


def test_failures_of_link_and_recorder_are_counted_and_nothing_else() -> None:
    world = World(state_now=_hovering(0), send_fails=True, record_fails=True)
    tick = _tick(world)
    assert _go(world, tick, HOVER).sent is None
    world.send_fails, world.poll_fails = False, True
    assert _go(world, tick, HOVER).sent is BACKUP
    counts = {stage: count for stage, count in tick.failures.items() if count}
    assert counts == {Stage.SEND: 1, Stage.RECORD: 2, Stage.STATE: 1}
    assert "ring gone" in tick.last_failure


def test_a_plan_is_clipped_to_what_the_shield_admits() -> None:
    limits = SetpointLimits((1.0, 2.0, 0.3), 2.0, 12.0)
    inside = Setpoint(np.array([1.0, -2.0, 0.3]), 12.0)
    assert limits.clip(inside) is inside
    clipped = limits.clip(Setpoint(np.array([1.1, -9.0, -0.4]), 12.1))
    np.testing.assert_array_equal(clipped.rates_rad_s, [1.0, -2.0, -0.3])
    assert clipped.thrust_m_s2 == 12.0
    assert limits.clip(Setpoint(np.zeros(3), 1.9)).thrust_m_s2 == 2.0
    assert SetpointLimits().clip(inside) is inside


@pytest.mark.parametrize(("pace", "change"), [(1.0, 0.0), (0.6, -2.0), (0.0, 0.4)])
def test_the_reference_runs_at_the_pace_of_the_path(pace: float, change: float) -> None:
    world = World(state_now=_hovering(0))
    tick = _tick(world)
    path = FigureEight.at_speed(np.array([0.0, 0.0, 1.0]), 3.0, 2.0, 1)
    _go(world, tick, Guidance(Phase.TRACK, path, 3.0, pace, change, shielded=True))
    reference, h = world.inputs[0][1], 1e-5
    t = 0.04 * np.arange(13) + (tick._times_s[1] - 3.0) / max(pace, 1e-9)

    def place(at: np.ndarray) -> np.ndarray:  # path(3 + pace t + change (t - t0)^2 / 2), whose slopes at t0 are wanted
        return path.derivatives(3.0 + pace * t + pace * (at - t) + 0.5 * change * (at - t) ** 2, 3)[:, 0]

    np.testing.assert_allclose(reference[:, 0:3], place(t), atol=1e-9)
    np.testing.assert_allclose(reference[:, 3:6], (place(t + h) - place(t - h)) / (2 * h), atol=1e-6)
    second = (place(t + 1e-3) - 2 * place(t) + place(t - 1e-3)) / 1e-6
    np.testing.assert_allclose(reference[:, 6:9], second, atol=1e-3)


def test_a_state_that_is_too_old_is_waited_for_but_not_for_long() -> None:
    world = World(state_now=_hovering(0))
    tick = _tick(world)
    tick.settings = replace(tick.settings, wait_s=0.002)
    polls = []

    def poll() -> None:
        polls.append(world.now_ns)
        if len(polls) == 5:
            world.state_now = _hovering(world.now_ns)

    world.poll = poll  # type: ignore[method-assign]
    world.state_now = _hovering(world.now_ns - 80_000_000)
    outcome = tick.run(Instant(world.now_ns), HOVER)
    assert len(polls) == 5
    assert outcome.fault is Fault.NONE
    polls.clear()
    world.now_ns += PERIOD_NS
    nominal = world.now_ns
    world.state_now = _hovering(nominal - 80_000_000)
    polls += [0] * 5
    assert tick.run(Instant(nominal), HOVER).fault is Fault.STALE
    assert max(polls) <= nominal + 2_010_000


@pytest.mark.parametrize("seed", range(5))
def test_never_raises_whatever_fails(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = World(state_now=_hovering(0))
    tick = _tick(world)
    silent = 0
    for _ in range(300):
        world.send_fails, world.poll_fails, world.record_fails, world.decide_fails, world.void = rng.random(5) < 0.1
        world.plan_takes_ns = int(rng.exponential(3e6))
        odd = rng.choice([math.nan, math.inf, -math.inf, 1e300, 10.0], size=4)
        world.plan = RuntimeError("x") if rng.random() < 0.2 else Setpoint(odd[:3], float(odd[3]))
        kind = rng.random()
        state = _hovering(world.now_ns - int(rng.exponential(2e7)))
        if kind < 0.1:
            state = None
        elif kind < 0.3:
            bad = rng.choice([math.nan, math.inf, 1e200, 0.0], size=4)
            state = VehicleState(state.t_ns, bad[:3], bad[1:], bad, np.full(3, bad[0]))
        nominal, world.state_now = world.now_ns, state
        guidance = HOVER if rng.random() < 0.8 else Guidance(Phase.READY, fixed=BACKUP)
        outcome = tick.run(Instant(nominal, int(rng.exponential(1e5)), int(rng.random() < 0.05)), guidance)
        world.now_ns = max(world.now_ns, nominal + PERIOD_NS)
        silent += outcome.sent is None
        for setpoint in world.sent:
            assert np.isfinite(setpoint.rates_rad_s).all()
            assert math.isfinite(setpoint.thrust_m_s2)
    assert 0 < silent < 300
    assert all(tick.failures[stage] > 0 for stage in (Stage.STATE, Stage.PLAN, Stage.SHIELD, Stage.SEND, Stage.RECORD))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, Fault.NONE),
        ({"t_ns": 10**9 - 50_000_000}, Fault.NONE),
        ({"t_ns": 10**9 - 50_000_001}, Fault.STALE),
        ({"t_ns": 10**9 + 5_000_000}, Fault.NONE),
        ({"t_ns": 10**9 + 5_000_001}, Fault.FROM_FUTURE),
        ({"position_m": np.array([0, 0, math.nan])}, Fault.NOT_FINITE),
        ({"velocity_m_s": np.array([math.inf, 0, 0])}, Fault.NOT_FINITE),
        ({"rates_rad_s": np.array([0, math.nan, 0])}, Fault.NOT_FINITE),
        ({"quaternion_wxyz": np.array([1.0, 0, 0, math.nan])}, Fault.NOT_FINITE),
        ({"quaternion_wxyz": np.array([1.02, 0, 0, 0])}, Fault.NOT_AN_ATTITUDE),
        ({"quaternion_wxyz": np.zeros(4)}, Fault.NOT_AN_ATTITUDE),
        ({"position_m": np.array([5.49, -3.0, 1.0])}, Fault.NONE),
        ({"position_m": np.array([5.6, -3.0, 1.0])}, Fault.JUMPED),
    ],
)
def test_state_check_at_every_limit(change: dict[str, object], fault: Fault) -> None:
    good = _hovering(10**9)
    names = ("t_ns", "position_m", "velocity_m_s", "quaternion_wxyz", "rates_rad_s")
    state = VehicleState(**{name: change.get(name, getattr(good, name)) for name in names})
    assert check(state, _hovering(10**9 - 10_000_000), 10**9, StateLimits()) is fault
    assert check(None, None, 10**9, StateLimits()) is Fault.MISSING


def test_level_turns_the_vehicle_upright() -> None:
    tilt = 0.3
    x = [0.0, 0, 1, 0, 0, 0, math.cos(tilt / 2), 0.6 * math.sin(tilt / 2), 0.8 * math.sin(tilt / 2), 0.0, 0, 0, 0, 9.8]
    predictor = Predictor(PHYSICS, 0.0)
    for _ in range(400):
        state = VehicleState(0, np.array(x[:3]), np.array(x[3:6]), np.array(x[6:10]), np.array(x[10:13]))
        setpoint = level(state, GRAVITY_M_S2)
        predictor.reset(x[13])
        predictor.sent(-1, setpoint)
        x = predictor.carry(x, 0, PERIOD_NS, (0.0, 0.0, 0.0))
    assert abs(x[7]) + abs(x[8]) < 1e-3


def _governed(world: World) -> tuple[Tick, Governor]:
    tick = _tick(world)
    governor = Governor(Bounds((4.0, 2.0), (7.0, 2.0), (15.0, 10.0)), Bounds((3.0, 1.0), (5.0, 1.0), (9.0, 3.0)), Planner.dt_plan_s)
    tick._governor = governor
    return tick, governor


def test_the_governor_bounds_what_the_planner_is_asked_for_and_nothing_else() -> None:
    world = World(state_now=_hovering(0))
    (tick, governor), far = _governed(world), Hover(np.array([6.0, 0.0, 1.0]), 9.0)
    for _ in range(5):
        _go(world, tick, HOVER)
    assert not governor.active
    np.testing.assert_allclose(world.inputs[-1][1][:, 0], 0.0, atol=1e-9)
    offset = list(tick.trim.offset_m)
    for _ in range(5):
        outcome = _go(world, tick, Guidance(Phase.TRACK, far, shielded=True))
    asked = world.inputs[-1][1]
    assert governor.active
    assert 0.0 < asked[-1, 0] < 1.0
    assert np.all(np.linalg.norm(asked[:, 6:8], axis=1) <= 5.0)
    assert (outcome.reference[0], outcome.error_m is not None and outcome.error_m[0]) == pytest.approx((6.0, -6.0), abs=1e-6)
    assert tick.trim.offset_m == offset  # on its way, nothing is learned


def test_after_the_backup_has_carried_the_vehicle_off_the_reference_starts_from_it() -> None:
    """One tick without a plan, and the vehicle half a metre away: no jump of half a metre is asked for."""
    world = World(state_now=_hovering(0))
    tick, governor = _governed(world)
    _go(world, tick, HOVER)
    plan, world.plan = world.plan, ValueError("none")
    elsewhere = Guidance(Phase.TRACK, Hover(np.array([0.5, 0.0, 1.0]), 9.0), shielded=True)
    tick._governor = None
    assert _go(world, tick, elsewhere).sent is BACKUP
    tick._governor, world.plan = governor, plan
    _go(world, tick, elsewhere)
    assert governor.active
    assert world.inputs[-1][1][0, 0] == pytest.approx(0.0, abs=0.02)
    assert _go(world, tick, elsewhere).sent is plan
