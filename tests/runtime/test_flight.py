"""Whole flights in simulated time: real tick, phases and predictor on rotorpy's physics, a geometric law as planner."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.flight_rig import HEIGHT_M, Geometric, Log, Rig, make_flight
from helpers.flyable import make_certified_bundle

from tubepilot.firmware_bridge.types import FlightMode, Vector
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.flight import Flight, lift_off_share
from tubepilot.runtime.flight_summary import FlightSummary
from tubepilot.runtime.planner import Planner
from tubepilot.runtime.reference import FigureEight, Hover
from tubepilot.runtime.shield import Shield
from tubepilot.runtime.trim import Trim


def _phases(log: Log) -> list[str]:
    changes = [line.split(":")[0].removeprefix("phase ") for line in log.lines if line.startswith("phase ")]
    return [change.split(" -> ")[1] for change in changes]


def _fly(rig: Rig, **kwargs: object) -> tuple[FlightSummary, list[str], Flight]:
    flight, _, _, log = make_flight(rig, **kwargs)  # type: ignore[arg-type]
    return flight.run(found_in_air=False), _phases(log), flight


@pytest.mark.parametrize("yaw_rad", [0.0, 2.5])
def test_a_flight_from_the_ground_and_back_at_any_yaw(yaw_rad: float) -> None:
    rig = Rig(yaw_rad=yaw_rad)
    task = FigureEight.at_speed(np.array([0.0, 0.0, HEIGHT_M]), 1.0, 0.8, 1, 1.0)
    summary, phases, flight = _fly(rig, task=task)
    assert phases == ["READY", "ARMED", "CLIMB", "TRACK", "BRAKE", "LAND", "DONE"]
    assert summary.completed
    assert summary.why == ""
    assert summary.rmse_m < 0.1
    assert summary.overruns == summary.skipped == 0
    assert not rig.armed
    assert rig.quadrotor.on_ground
    assert np.linalg.norm(rig.quadrotor.position_m[:2] - [3.0, -2.0]) < 0.2
    assert flight._tick.failures == dict.fromkeys(flight._tick.failures, 0)


def test_wind_is_found_by_the_observer_and_leaves_no_offset() -> None:
    rig = Rig(wind_m_s=3.0)
    flight, _, _, _ = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 4.0))
    at_end: list[float] = []
    rig.hooks.append((9.0, lambda: at_end.extend(flight._tick.observer.disturbance_m_s2)))
    summary = flight.run(found_in_air=False)
    assert summary.completed
    assert summary.rmse_m < 0.05
    assert at_end[0] == pytest.approx(0.74, abs=0.15)  # drag 0.245 / s times 3 m/s
    assert abs(at_end[1]) < 0.1


def test_stop_brakes_and_lands() -> None:
    rig = Rig()
    flight, stop, _, log = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 60.0))
    rig.hooks.append((6.0, stop.press))
    summary = flight.run(found_in_air=False)
    assert _phases(log)[-3:] == ["BRAKE", "LAND", "DONE"]
    assert summary.why == "stopped on request"
    assert not rig.armed


def test_second_stop_ends_streaming_at_once_and_the_failsafe_lands() -> None:
    rig = Rig()
    flight, stop, _, log = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 60.0))
    rig.hooks += [(6.0, stop.press), (6.1, stop.press)]
    summary = flight.run(found_in_air=False)
    assert "VOID" in _phases(log)
    assert not summary.completed
    last_sent_s = 1e-9 * (rig.sent[-1][0] - rig.start_ns)
    assert last_sent_s == pytest.approx(6.1, abs=0.03)


def test_a_void_shield_ends_streaming() -> None:
    rig = Rig()
    flight, _, shield, log = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 60.0))
    shield.void_after = 100
    summary = flight.run(found_in_air=False)
    assert _phases(log)[-2:] == ["VOID", "DONE"]
    assert "the shield gave up, DISTURBANCE: 1.2 m/s^2" in summary.why
    assert any("VOID: the shield gave up, DISTURBANCE" in line for line in log.lines)
    assert summary.verdicts[2] == 1
    assert rig.quadrotor.on_ground


def test_a_pilot_who_takes_over_is_left_alone() -> None:
    rig = Rig()
    flight, _, _, log = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 60.0))
    rig.hooks += [
        (6.0, lambda: setattr(rig, "mode", FlightMode.MANUAL)),
        (8.0, lambda: setattr(rig, "armed", False)),
    ]
    summary = flight.run(found_in_air=False)
    assert _phases(log)[-2:] == ["MANUAL", "DONE"]
    assert "no longer OFFBOARD" in summary.why
    assert rig.sent[-1][0] < rig.start_ns + 6.05e9


def test_disarmed_in_the_air_is_not_a_completed_flight() -> None:
    rig = Rig()
    flight, _, _, _ = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 60.0))
    rig.hooks.append((6.0, lambda: setattr(rig, "armed", False)))
    summary = flight.run(found_in_air=False)
    assert not summary.completed
    assert summary.why == "in TRACK: disarmed, by heartbeat"


def test_refused_arming_gives_the_firmwares_own_words() -> None:
    rig = Rig()
    rig.refuse_arming = True
    summary, phases, _ = _fly(rig)
    assert phases == ["READY", "DONE"]
    assert "arming was not confirmed by heartbeat within 15 s" in summary.why
    assert "Arming denied: no GPS" in summary.why


def test_without_a_state_nothing_is_armed() -> None:
    rig = Rig()
    flight, _, _, log = make_flight(rig)
    rig.state = lambda: None  # type: ignore[method-assign]
    assert "OFFBOARD was not confirmed" in flight.run(found_in_air=False).why
    assert _phases(log) == ["READY", "DONE"]
    assert not rig.armed


def test_a_vehicle_too_heavy_to_lift_is_disarmed() -> None:
    rig = Rig()
    rig.quadrotor._physics.mass *= 1.8
    rig.quadrotor._physics.weight = rig.quadrotor._physics.weight * 1.8
    summary, phases, _ = _fly(rig)
    assert phases[-2:] == ["LAND", "DONE"]
    assert "no lift-off" in summary.why


@pytest.mark.parametrize("resume", [False, True])
def test_takes_over_in_the_air(resume: bool) -> None:
    rig = Rig(airborne=True)
    flight, _, _, log = make_flight(rig, resume=resume)
    summary = flight.run(found_in_air=True)
    wanted = ["BRAKE", "CLIMB", "TRACK", "BRAKE", "LAND", "DONE"] if resume else ["BRAKE", "LAND", "DONE"]
    assert _phases(log) == wanted
    assert summary.completed == resume
    assert rig.quadrotor.on_ground
    assert not rig.armed


def test_state_lost_at_lift_off_ends_streaming() -> None:
    rig = Rig()
    flight, _, _, log = make_flight(rig)
    rig.hooks.append((2.5, lambda: setattr(rig, "state", lambda: None)))
    summary = flight.run(found_in_air=False)
    assert "VOID" in _phases(log)
    assert not summary.completed


def _blind(rig: Rig, from_s: float, to_s: float) -> None:
    state = type(rig).state.__get__(rig)
    rig.hooks.append((from_s, lambda: setattr(rig, "state", lambda: None)))
    rig.hooks.append((to_s, lambda: setattr(rig, "state", state)))


def test_a_stall_on_the_ground_starts_anew() -> None:
    rig = Rig()
    flight, _, _, log = make_flight(rig)
    _blind(rig, 1.8, 2.3)
    summary = flight.run(found_in_air=False)
    assert _phases(log) == ["READY", "ARMED", "READY", "ARMED", "CLIMB", "TRACK", "BRAKE", "LAND", "DONE"]
    assert summary.completed
    assert not rig.armed


def test_a_machine_that_keeps_stalling_does_not_fly() -> None:
    rig = Rig()
    flight, _, _, log = make_flight(rig)
    for number in range(6):
        _blind(rig, 1.8 + 0.4 * number, 2.1 + 0.4 * number)
    summary = flight.run(found_in_air=False)
    assert _phases(log)[:9] == ["READY", "ARMED", "READY", "ARMED", "READY", "ARMED", "READY", "ARMED", "VOID"]
    assert not summary.completed


def test_the_ramp_waits_until_the_motors_follow() -> None:
    rig = Rig()
    rig.arming_delay_s = 2.0
    flight, _, _, log = make_flight(rig)
    armed_ns: list[int] = []
    arm = rig.request_arm

    def note(on: bool) -> None:
        armed_ns.append(rig.now_ns)
        arm(on)

    rig.request_arm = note  # type: ignore[method-assign]
    assert flight.run(found_in_air=False).completed
    early = [s.thrust_m_s2 for t_ns, s in rig.sent if armed_ns[0] < t_ns < armed_ns[0] + 2_400_000_000]
    assert max(early) < 0.21 * 9.80665
    assert _phases(log)[:3] == ["READY", "ARMED", "CLIMB"]


def test_lift_off_ramp() -> None:
    shares = [lift_off_share(t) for t in np.linspace(0.0, 4.0, 81)]
    assert shares[0] == 0.2
    assert max(shares) == 1.5
    assert all(b >= a for a, b in itertools.pairwise(shares))
    assert math.isclose(lift_off_share(0.5 + 0.8 / 0.9), 1.0)


def test_the_exported_planner_flies_under_the_proven_shield(tmp_path: Path) -> None:
    bundle = read_bundle(*make_certified_bundle(tmp_path))
    rig = Rig(wind_m_s=3.0)
    planner, shield = Planner(bundle, clock_ns=rig.clock_ns), Shield.from_bundle(bundle)
    task = FigureEight.at_speed(np.array([0.0, 0.0, HEIGHT_M]), 1.6, 0.8, 1, 2.0)
    flight, _, _, _ = make_flight(rig, task, planner=planner, real=shield)
    summary = flight.run(found_in_air=False)
    accepted, backup, void, _ = summary.verdicts
    assert summary.completed, summary.why
    assert summary.rmse_m < 0.06
    assert void == 0
    assert backup < 0.02 * accepted
    assert flight._tick.failures == dict.fromkeys(flight._tick.failures, 0)


def test_the_path_waits_while_the_shield_flies_its_backup_and_while_the_companion_stalls() -> None:
    rig = Rig()
    task = FigureEight.at_speed(np.array([0.0, 0.0, HEIGHT_M]), 2.0, 0.8, 1, 1.0)
    flight, _, shield, log = make_flight(rig, task)
    pace: list[tuple[float, float]] = []

    def note(stall_ns: int, hold: bool) -> None:
        pace.append((flight._course.path_s, flight._course.pace))
        rig.now_ns += stall_ns
        shield.hold = hold

    rig.hooks += [
        (7.0, lambda: note(0, True)),
        (8.0, lambda: note(0, False)),
        (11.0, lambda: note(0, False)),
        (11.1, lambda: note(300_000_000, False)),
        (11.5, lambda: note(0, False)),
    ]
    summary = flight.run(found_in_air=False)
    assert summary.completed, (summary.why, log.lines)
    (start_s, full), (held_s, stopped), (_, again), (before_s, _), (after_s, _) = pace
    assert (full, stopped, again) == (1.0, 0.0, 1.0)
    assert held_s - start_s == pytest.approx(0.25, abs=0.02)  # from 1 to 0 at 2 per second
    assert after_s - before_s == pytest.approx(0.1, abs=0.03)  # 0.4 s of which 0.3 s never happened
    assert summary.rmse_m < 0.3


class Biased(Geometric):
    """A planner whose optimum lies beside the reference, as an approximate value function leaves it."""

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Geometric:
        beside = reference.copy()
        beside[:, 0:3] += [0.03, 0.0, -0.06]
        return super().plan(state, beside, disturbance, deadline_ns)


def test_a_planner_that_flies_beside_the_reference_is_trimmed() -> None:
    rig = Rig()
    flight, _, _, _ = make_flight(rig, Hover(np.array([0.0, 0.0, HEIGHT_M]), 8.0), planner=Biased())
    seen: list[np.ndarray] = []
    rig.hooks += [(t, lambda: seen.append(rig.quadrotor.position_m)) for t in np.arange(12.8, 14.3, 0.05)]
    assert flight.run(found_in_air=False).completed
    np.testing.assert_allclose(np.mean(seen, axis=0), [3.0, -2.0, HEIGHT_M], atol=0.015)
    np.testing.assert_allclose(flight._tick.trim.offset_m, [-0.03, 0.0, 0.06], atol=0.02)


def test_the_trim_is_slow_bounded_and_learns_nothing_from_large_errors() -> None:
    trim = Trim()
    for _ in range(100):
        trim.update([0.1, -0.02, 0.0], 0.01)
    np.testing.assert_allclose(trim.offset_m, [-0.04, 0.008, 0.0], atol=1e-9)
    trim.update([0.0, 0.31, 0.0], 0.01)
    trim.update([float("nan"), 0.0, 0.0], 0.01)
    np.testing.assert_allclose(trim.offset_m, [-0.04, 0.008, 0.0], atol=1e-9)
    for _ in range(10_000):
        trim.update([0.1, -0.1, 0.0], 0.01)
    assert trim.offset_m == [-0.15, 0.15, 0.0]
    trim.reset()
    assert trim.offset_m == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("height_m", "climb_m_s", "thrust_m_s2", "expected"),
    [
        (0.45, 0.25, 9.9, True),
        (0.35, 0.25, 9.9, False),  # near the ground
        (0.45, 1.13, 6.9, False),  # as ArduCopter's simulated ground lets go
        (0.45, 0.25, 6.9, False),
        (2.0, 1.13, 6.9, True),  # much higher: in any case
    ],
)
def test_the_shield_is_not_engaged_in_a_leap_off_the_ground(
    height_m: float, climb_m_s: float, thrust_m_s2: float, expected: bool
) -> None:
    predicted = [0.0, 0.0, height_m, 0.0, 0.0, climb_m_s, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, thrust_m_s2]
    settings = SimpleNamespace(engage_m=0.4)
    flight = SimpleNamespace(_is_high=lambda: height_m > 0.4, _last=SimpleNamespace(predicted=predicted), _settings=settings)
    assert Flight._may_engage(flight) is expected
