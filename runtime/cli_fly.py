"""Fly a task: load and verify a bundle, check vehicle and machine, arm, climb, track, brake, land, disarm.

Ctrl-C lands; a second Ctrl-C stops streaming at once, so that the flight controller's own failsafe takes over. If the
vehicle is found armed in the air (a flight was interrupted), it is taken over where it is.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import onnxruntime

from tubepilot.firmware_bridge.errors import BundleError, InputError, LinkError, VehicleRefusedError
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle

from . import engine_choice, realtime, tasks
from .flight import Flight
from .flight_settings import FlightSettings, StopSwitch
from .flight_summary import FlightSummary
from .keep_clear_file import read_keep_clear
from .local_frame import LocalFrame
from .notify import Notifier, started_again
from .observer import DisturbanceObserver
from .on_board import STATE_AGE_S, OnBoard, load_on_board
from .pre_warm import pre_warm, pre_warm_ns
from .predictor import Predictor
from .preflight import (
    Finding,
    Level,
    StateSample,
    check_attitude,
    check_link,
    check_rights,
    check_stream,
    mean_frame,
    sample_states,
    warm_up,
)
from .recorder import Recorder
from .reference import check_limits
from .slots import begin_start, end_start
from .slots_pointer import target_of
from .state_check import StateLimits
from .surroundings import Surroundings
from .tick import Tick
from .tick_types import PLAN_SHARE, SEND_SHARE, WAIT_SHARE, TickSettings

SAMPLE_S = 1.5
HURRIED_SAMPLE_S = 0.2
"""How long the state stream is watched on the ground, and when a flying vehicle waits to be taken over [s]."""
STREAM_ATTEMPTS = 10
"""A stream that is too slow or too old is watched again so often: streams start up, and busy machines calm down."""
CONNECT_S = 10.0
PATH_POINTS = 1000
"""Points of a task's path that are compared with the obstacles before take-off."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot fly`."""
    parser.add_argument("bundle", type=Path, help="bundle directory, or the directory of slots that `tubepilot flash` filled")
    parser.add_argument("--link", required=True, help="flight controller, e.g. px4:///dev/ttyACM0?baud=921600")
    tasks.add_arguments(parser)
    parser.add_argument("--keys", type=Path, default=None, help="directory of trusted public keys")
    parser.add_argument("--log", type=Path, default=None, help="flight log to write (MCAP); named by time if absent")
    parser.add_argument(
        "--keep-clear",
        type=Path,
        default=None,
        metavar="FILE",
        help="TOML file of obstacles, geofence, walls and greatest speed [m, m/s] for planner and shield, keys as in the task files; a "
        "fence of 30 m around the start if not given",
    )
    engine_choice.add_argument(parser)
    parser.add_argument("--core", type=int, default=None, help="processor core to stay on")
    parser.add_argument("--resume", action="store_true", help="after a take-over in the air, fly the task, then land")
    parser.add_argument("--check-only", action="store_true", help="do the pre-flight checks and end")


def preflight(vehicle: Vehicle, on_board: OnBoard, settings: TickSettings, core: int | None) -> tuple[list[Finding], StateSample, bool]:
    """Check everything that can be checked on the ground.

    Returns:
        The findings, the states seen, and whether the vehicle is armed in the air already.
    """
    machine = [warm_up(on_board.planner, settings.plan_by_s, settings.send_by_s)]
    machine += check_rights(realtime.enter(core))
    vehicle.request_streams(on_board.tick_hz)
    sample_states(vehicle, 0.5)  # let the streams start
    status = vehicle.status()
    in_air = status.armed and status.landed is False
    sample = sample_states(vehicle, HURRIED_SAMPLE_S if in_air else SAMPLE_S)
    stream = check_stream(sample, on_board.tick_hz, settings.state.age_s, vehicle.stream_remedy)
    for _ in range(0 if in_air else STREAM_ATTEMPTS - 1):
        if all(finding.level is not Level.FAIL for finding in stream):
            break
        print(f"  waiting for a steady state stream: {stream[0].text.partition(';')[0]}", flush=True)
        sample = sample_states(vehicle, SAMPLE_S)
        stream = check_stream(sample, on_board.tick_hz, settings.state.age_s, vehicle.stream_remedy)
    findings = [*check_link(vehicle), *stream]
    if not in_air:
        findings.append(check_attitude(sample))
        findings += [Finding(check.name, Level.PASS if check.ok else Level.FAIL, check.text) for check in vehicle.preflight()]
    return [*findings, *machine], sample, in_air


def _frame(sample: StateSample, in_air: bool) -> LocalFrame:
    """Take-off frame: where the vehicle stands; in the air, below it at the flight controller's own zero height."""
    if not in_air:
        return mean_frame(sample)
    frame = LocalFrame.at(sample.states[-1])
    frame.origin_m[2] = 0.0
    return frame


def _keep_clear(path: Path | None, on_board: OnBoard, frame: LocalFrame, task: tasks.TaskSettings) -> Surroundings | None:
    """Tell shield and planner what to keep clear of; says what the task's own path comes too near to.

    Raises:
        InputError: the file is not usable, or the bundle's planner has too few rows for it.
        VehicleRefusedError: the task would begin or end within an obstacle or outside the fence.
    """
    if path is None:
        return None
    around = read_keep_clear(path).seen_from(frame)
    obstacles, faces = around.for_planner()
    on_board.shield.keep_clear(around.for_shield())
    on_board.planner.keep_clear(obstacles, faces, around.speed_m_s)
    reference = task.reference()
    points = reference.derivatives(np.linspace(0.0, reference.duration_s, PATH_POINTS), 3)[:, 0, :]
    inside, beyond = around.depth(points)
    bad = (inside > 0.0) | (beyond > 0.0)
    if bad[0] or bad[-1]:
        raise VehicleRefusedError(
            f"not flown: {task.height_m:g} m above the take-off point lies within an obstacle of {path} or outside its fence; "
            f"move the vehicle, or give another --height-m"
        )
    print(f"keeps clear of {len(obstacles)} obstacles and {len(faces)} faces, at most {around.speed_m_s:g} m/s")
    if bad.any():
        print(f"note: {100.0 * bad.mean():.0f} % of the path leads through them; plans leave the path there")
    return around


def _meta(link: str, on_board: OnBoard, settings: TickSettings) -> dict[str, str | float | int]:
    return {
        **on_board.meta,
        "link": link,
        "tick_hz": on_board.tick_hz,
        "plan_by_s": settings.plan_by_s,
        "send_by_s": settings.send_by_s,
        "delay_s": on_board.delay_s,
        "thrust_scale_m_s2": on_board.thrust_scale_m_s2,
        "onnxruntime": onnxruntime.__version__,
        "machine": platform.machine(),
    }


def fly(
    arguments: argparse.Namespace, on_board: OnBoard, vehicle: Vehicle, task: tasks.TaskSettings, stop: StopSwitch, again: bool = False
) -> FlightSummary | None:
    """Check and fly with a connected vehicle.

    Args:
        arguments: Of `tubepilot fly`.
        on_board: What the bundle holds, loaded.
        vehicle: Connected.
        task: What to fly.
        stop: Requests to stop.
        again: systemd started this again after an abnormal end.

    Returns:
        The summary of the flight; None if only the checks were asked for.

    Raises:
        VehicleRefusedError: a check failed, so the vehicle stays on the ground.
    """
    period_s = 1.0 / on_board.tick_hz
    settings = TickSettings(
        PLAN_SHARE * period_s,
        SEND_SHARE * period_s,
        period_s,
        state=StateLimits(STATE_AGE_S),
        wait_s=WAIT_SHARE * period_s,
        setpoint=on_board.setpoint,
    )
    print("pre-flight checks")
    findings, sample, in_air = preflight(vehicle, on_board, settings, arguments.core)
    for finding in findings:
        print(finding.line())
    failed = [finding.name for finding in findings if finding.level is Level.FAIL]
    if not sample.states or (failed and not in_air):
        raise VehicleRefusedError(f"not flown, {len(failed)} checks failed: {', '.join(failed)}; remedies stand above")
    if arguments.check_only:
        return None
    if again and not in_air:
        raise VehicleRefusedError(
            "not flown: systemd started this again after an abnormal end, and the vehicle is not in the air; nothing takes off by "
            "itself then: look at the vehicle, then systemctl start tubepilot"
        )
    frame = _frame(sample, in_air)
    around = _keep_clear(arguments.keep_clear, on_board, frame, task)
    link_s = 0.5e-3 * vehicle.status().link.timesync.rtt_ms
    predictor = Predictor(on_board.physics, on_board.delay_s + link_s)
    governor = on_board.governor()
    tick = Tick(vehicle, on_board.planner, on_board.shield, predictor, DisturbanceObserver(), settings, frame, governor=governor)
    flight_settings = FlightSettings(task.height_m, resume=arguments.resume)
    notifier = Notifier()
    ticker = realtime.Ticker(
        round(1e9 * period_s),
        sleep=lambda seconds: _listen(vehicle, seconds, notifier),
        warm=pre_warm(on_board.planner, vehicle),
        warm_ns=pre_warm_ns(on_board.planner, period_s),
    )
    meta = {**task.meta(frame), **_meta(arguments.link, on_board, settings), **({} if around is None else around.meta())}
    with Recorder(arguments.log, meta, on_board.planner.horizon) as recorder:
        for finding in findings:
            recorder.event(finding.line().strip())
        tick.recorder, tick.decisions = recorder, (recorder, on_board.planner)
        flight = Flight(vehicle, tick, task.reference(), flight_settings, ticker, stop, recorder, _say)
        notifier.ready("flying")
        summary = flight.run(in_air)
        notifier.stopping()
        recorder.event(f"link: {link_text(vehicle)}")
        if recorder.dropped:
            print(f"the log lost {recorder.dropped} ticks: its disk did not keep up")
    realtime.leave()
    return summary


def link_text(vehicle: Vehicle) -> str:
    """What the link went through, in one line."""
    link = vehicle.status().link
    echo = sorted(vehicle.echo_ms())
    echoed = f"; set-point to echo {echo[len(echo) // 2]:.1f} ms median of {len(echo)}" if echo else ""
    refused = ", ".join(f"{count} {reason}" for reason, count in link.refused_states) or "none"
    return (
        f"{link.frames} frames, {link.lost} lost, {link.reordered} out of order, {link.crc_errors} CRC errors, "
        f"{link.reconnects} reconnects; {link.setpoints} set-points, {link.refused_writes} refused writes; states refused: "
        f"{refused}; clock anchored anew {link.timesync.resets} times{echoed}"
    )


def _listen(vehicle: Vehicle, seconds: float, notifier: Notifier) -> None:
    """Sleep between ticks, answering time sync at once; a link that fails meanwhile is the next tick's business."""
    notifier.alive()
    try:
        vehicle.wait_until(time.monotonic_ns() + round(1e9 * seconds))
    except (LinkError, OSError):
        time.sleep(seconds)


def _say(line: str) -> None:
    print(line, flush=True)


def load(path: Path, keys: Path | None, engine: str = "auto", may_compile: bool = True) -> OnBoard:
    """Load the bundle to fly; in slots, one on trial that does not come up gives way to the last good one.

    Args:
        path: Bundle directory, or a directory of slots or its `active`.
        keys: Directory of trusted public keys; the default one if None.
        engine, may_compile: See `load_on_board`.

    Raises:
        BundleError: it does not pass its checks or does not plan in time; the text says what is active then.
        InputError: a directory of slots holds nothing, or cannot be written; or the engine asked for does not work here.
    """
    target = target_of(path)
    if target is None:
        return load_on_board(path, keys, engine, may_compile)
    try:
        slot, said = begin_start(target)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}; fly as the user who flashes") from error
    if said:
        print(said, flush=True)
    came_up = False
    try:
        on_board = load_on_board(slot, keys, engine, may_compile)
        period_s = 1.0 / on_board.tick_hz
        finding = warm_up(on_board.planner, PLAN_SHARE * period_s, SEND_SHARE * period_s)
        if finding.level is Level.FAIL:
            raise BundleError(f"{slot}: the planner does not fit its tick, {finding.text}")
        came_up = True
    except KeyboardInterrupt:
        came_up = True  # the user's wish says nothing about the bundle
        raise
    finally:
        said = end_start(target, came_up)
        if said:
            print(said, flush=True)
    return on_board


def run(arguments: argparse.Namespace) -> int:
    """Fly; status 0 if the task was flown to its end and the vehicle is disarmed."""
    task = tasks.from_arguments(arguments)
    if arguments.log is None:
        arguments.log = Path(time.strftime("flight-%Y%m%d-%H%M%S.mcap"))
    if arguments.log.exists():
        raise InputError(f"{arguments.log} exists and a flight log is never overwritten; give another --log name")
    again = not arguments.check_only and started_again()
    on_board = load(arguments.bundle, arguments.keys, arguments.planner_engine, may_compile=not again)
    print(on_board.engine_text, flush=True)
    check_limits(task.reference(), on_board.speed_m_s, on_board.acceleration_m_s2)
    stop = StopSwitch()
    vehicle = open_vehicle(arguments.link, on_board.thrust_scale_m_s2)
    try:
        vehicle.connect(CONNECT_S)
        stop.on_signals()
        summary = fly(arguments, on_board, vehicle, task, stop, again)
    finally:
        vehicle.close()
    if summary is None:
        print("checks done, not flown; next: the same command without --check-only")
        return 0
    for line in summary.lines():
        print(line)
    if not summary.completed:
        print(f"not completed: {summary.why}")
    print(f"flight log {arguments.log}; next: tubepilot report {arguments.log}")
    return 0 if summary.completed else 1
