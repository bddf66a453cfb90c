"""Run a simulated flight controller on a pseudo-terminal, in real time, with wind: like PX4, ArduCopter or Betaflight.

It makes a serial device and a symbolic link to it. Fly it with `tubepilot fly BUNDLE --link px4://LINK` (ardupilot://LINK,
betaflight://LINK?pose=PATH) or any other program that speaks its protocol. It runs until Ctrl-C, SIGTERM or --duration-s, and then
writes the true flight to --truth.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import socket
from pathlib import Path

import numpy as np

from .errors import InputError
from .pose import encode_pose
from .sim_ardupilot import SimulatedArduPilot
from .sim_betaflight import SimulatedBetaflight
from .sim_events import parse_mishap
from .sim_fc import PseudoTerminal, RunReport, Stop, Truth, fly
from .sim_firmware import FirmwareSettings, SimulatedFirmware
from .sim_line import LinkFaults
from .sim_mavlink import MavlinkFirmware
from .sim_px4 import SimulatedPx4
from .simulator import SimulatedQuadrotor
from .simulator_airframes import AIRFRAMES
from .simulator_wind import GustyWind, wind_vector

REAL_TIME_FLOOR = 0.995
POSE_HZ = 100.0
FIRMWARES: dict[str, type[SimulatedFirmware]] = {
    "px4": SimulatedPx4,
    "ardupilot": SimulatedArduPilot,
    "betaflight": SimulatedBetaflight,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot sim-fc`."""
    parser.add_argument("--link", type=Path, required=True, help="path of the symbolic link to the serial device")
    parser.add_argument("--firmware", choices=tuple(FIRMWARES), default="px4", help="which one it behaves like")
    parser.add_argument("--airframe", choices=tuple(AIRFRAMES), default="crazyflie", help="which vehicle")
    parser.add_argument("--pose", type=Path, default=None, help="socket to which positions go, as of motion capture (betaflight)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter, e.g. GUID_OPTIONS=0; may be given again"
    )
    parser.add_argument("--wind-m-s", type=float, default=0.0, help="mean wind speed [m/s]")
    parser.add_argument("--wind-from-deg", type=float, default=270.0, help="where the wind comes from [deg]; 270: west")
    parser.add_argument("--gust-m-s", type=float, default=0.0, help="bound on the gust on top of the wind [m/s]")
    parser.add_argument("--seed", type=int, default=0, help="seed of gust, estimator noise, clock and link faults")
    parser.add_argument("--truth", type=Path, default=None, help="NPZ file for the true flight, written at the end")
    parser.add_argument(
        "--failsafe-s", type=float, default=0.5,
        help="silence after which its failsafe acts (COM_OF_LOSS_T, GUID_TIMEOUT, failsafe_delay) [s]",
    )  # fmt: skip
    parser.add_argument("--yaw-deg", type=float, default=0.0, help="first heading, anticlockwise from east [deg]")
    parser.add_argument("--position-m", type=float, nargs=2, default=(0.0, 0.0), help="start, east and north [m]")
    parser.add_argument("--duration-s", type=float, default=None, help="end by itself after this time [s]")
    parser.add_argument("--clock-skew", type=float, default=2e-5, help="rate of its clock over ours, minus 1")
    parser.add_argument("--no-noise", action="store_true", help="stream the true state, without estimator noise")
    parser.add_argument("--drop", type=float, default=0.0, help="probability that a frame is lost, 0..1")
    parser.add_argument("--corrupt", type=float, default=0.0, help="probability that a frame gets one wrong bit, 0..1")
    parser.add_argument("--reorder", type=float, default=0.0, help="probability that a frame comes behind its successors, 0..1")
    parser.add_argument("--duplicate", type=float, default=0.0, help="probability that a frame comes twice, 0..1")
    parser.add_argument("--truncate", type=float, default=0.0, help="probability that the end of a frame is missing, 0..1")
    parser.add_argument("--stall", type=float, default=0.0, help="probability that a frame stalls the line for 120 ms, 0..1")
    parser.add_argument("--jitter-ms", type=float, default=0.0, help="largest further delay of a frame, each way [ms]")
    parser.add_argument(
        "--mishap", action="append", default=[], metavar="KIND@SECONDS[:VALUE]",
        help="reboot, clock, freeze, reset or nan at a simulated time [s]; the value in s or m; may be given again",
    )  # fmt: skip
    parser.add_argument("--delay-ms", type=float, default=0.0, help="delay of every frame, each way [ms]")


def firmware_from(arguments: argparse.Namespace) -> SimulatedFirmware:
    """The firmware that the options describe.

    Raises:
        InputError: an option is out of range.
    """
    for name in ("wind_m_s", "wind_from_deg", "gust_m_s", "yaw_deg"):
        value = getattr(arguments, name)
        if not math.isfinite(value) or abs(value) > 1e4:
            raise InputError(f"--{name.replace('_', '-')} is {value!r}; it must be a finite number")
    for name in ("wind_m_s", "gust_m_s"):
        if getattr(arguments, name) < 0.0:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(arguments, name)!r}; it must be 0 m/s or above")
    if arguments.duration_s is not None and not arguments.duration_s > 0.0:
        raise InputError(f"--duration-s is {arguments.duration_s!r}; it must be above 0 s")
    mean = wind_vector(arguments.wind_m_s, arguments.wind_from_deg)
    vehicle = SimulatedQuadrotor(GustyWind(mean, arguments.gust_m_s, arguments.seed), airframe=AIRFRAMES[arguments.airframe])
    vehicle.reset(np.array([*arguments.position_m, 0.0]), math.radians(arguments.yaw_deg))
    boot_offset_ns = int(np.random.default_rng(arguments.seed).integers(5 * 10**9, 500 * 10**9))
    settings = FirmwareSettings(
        failsafe_s=arguments.failsafe_s,
        seed=arguments.seed,
        boot_offset_ns=boot_offset_ns,
        skew=arguments.clock_skew,
        noise=not arguments.no_noise,
        mishaps=tuple(parse_mishap(text) for text in arguments.mishap),
    )
    made = FIRMWARES[arguments.firmware](vehicle, settings)
    for text in arguments.set:
        _set(made, text)
    if (arguments.pose is not None) != isinstance(made, SimulatedBetaflight):
        raise InputError("--pose is for --firmware betaflight, which knows no position; it must be given there and only there")
    return made


def _set(firmware: SimulatedFirmware, text: str) -> None:
    name, _, value = text.partition("=")
    known = firmware.parameters if isinstance(firmware, MavlinkFirmware) else {}
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if name not in known or not math.isfinite(number):
        raise InputError(f"--set {text!r}: write NAME=VALUE with NAME one of {', '.join(known) or 'none for this firmware'}")
    known[name].value = number


class PoseSender:
    """Sends positions to a socket that may not be there, `POSE_HZ` times a second.

    Args:
        firmware: Knows them.
        path: The socket.
    """

    def __init__(self, firmware: SimulatedBetaflight, path: Path) -> None:
        self._firmware, self._path, self._next_ns = firmware, str(path), 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def __call__(self, now_ns: int) -> None:
        """Send if it is time (CLOCK_MONOTONIC) [ns]."""
        if now_ns < self._next_ns:
            return
        self._next_ns = max(self._next_ns + round(1e9 / POSE_HZ), now_ns)
        pose = self._firmware.pose(now_ns)
        if pose is not None:
            with contextlib.suppress(OSError):  # nobody listens yet, or not fast enough
                self._socket.sendto(encode_pose(pose), self._path)


def report_text(report: RunReport) -> str:
    """What to tell the user about real time."""
    text = (
        f"sim-fc: {report.simulated_s:.1f} s simulated in {report.wall_s:.1f} s "
        f"(real-time factor {report.real_time_factor:.4f}, {100 * report.busy:.0f} % of one core), "
        f"worst lag {report.worst_lag_ms:.1f} ms, time slipped {report.slipped_ms:.0f} ms, "
        f"failsafes {report.failsafes}, reader overruns {report.overruns}"
    )
    if report.real_time_factor < REAL_TIME_FLOOR:
        text += (
            "\nsim-fc: WARNING: this machine did not hold real time; timing figures of this flight say nothing. "
            "Stop other programs or give sim-fc a core: taskset -c 1 tubepilot sim-fc ..."
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run the simulated flight controller; the exit status is 0 when it ended in order.

    Raises:
        InputError: an option is out of range.
        LinkError: the device or the truth file cannot be made.
    """
    firmware = firmware_from(arguments)
    faults = LinkFaults(
        drop=arguments.drop, corrupt=arguments.corrupt, delay_ms=arguments.delay_ms, seed=arguments.seed,
        jitter_ms=arguments.jitter_ms, reorder=arguments.reorder, duplicate=arguments.duplicate,
        truncate=arguments.truncate, stall=arguments.stall,
    )  # fmt: skip
    stop = Stop()
    stop.install()
    terminal = PseudoTerminal(arguments.link)
    truth = None if arguments.truth is None else Truth()
    print(
        f"sim-fc: {firmware.title}, {arguments.link} -> {terminal.device}, failsafe after {arguments.failsafe_s:g} s, "
        f"thrust scale {firmware.vehicle.thrust_scale_m_s2:.4f} m/s^2, "
        f"hover throttle {firmware.vehicle.hover_throttle:.4f}",
        flush=True,
    )
    try:
        poses = PoseSender(firmware, arguments.pose) if isinstance(firmware, SimulatedBetaflight) else None
        report = fly(firmware, terminal, faults, stop, arguments.duration_s, truth, poses)
    finally:
        terminal.close()
        if truth is not None:
            truth.write(arguments.truth)
    print(report_text(report))
    if truth is not None:
        print(f"sim-fc: the true flight is in {arguments.truth}; draw it with: tubepilot report --help")
    else:
        print("sim-fc: next time add --truth FILE.npz to keep the true flight")
    return 0
