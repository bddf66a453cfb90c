"""Fly a figure-eight in wind through the serial line, and with the simulator's own controller: who is closer?

(a) `sim-fc` in its own process and `fly` in another, over a pseudo-terminal, as on a vehicle. (b) rotorpy's SE3Control
in the same physics with the true state, commanding rotor speeds directly, no link, no delay. Both are measured against
the true position of the simulator over the same window of the same path, in the same wind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError, LogFormatError, MissingExtraError
from tubepilot.firmware_bridge.types import Vector

from .flight_log import Flight, read_flight
from .local_frame import LocalFrame
from .phases import PLANNED, Phase
from .reference import Reference
from .tasks import from_meta

BASELINE_HZ = 400.0
"""Rate of the baseline's control loop: one command per physics step of the simulator [Hz]."""
SETTLE_S = 3.0
"""The baseline hovers at the start of the path this long before it goes [s]."""
LINK_TIMEOUT_S = 30.0
SIM_FC_PRIORITY = 40


@dataclass(frozen=True, slots=True)
class Truth:
    """True motion from `sim-fc --truth`: CLOCK_MONOTONIC [ns] and its own time [s] (T,), position in ENU [m] (T, 3)."""

    t_ns: npt.NDArray[np.int64]
    t_sim_s: Vector
    position_m: Vector


@dataclass(frozen=True, slots=True)
class TrackBench:
    """The comparison, as written to JSON.

    Attributes:
        position_rmse_m: Of `fly`, against the true position [m].
        baseline_rmse_m: Of the simulator's own controller [m].
        ratio: The first over the second.
        wind_m_s, gust_m_s: Mean wind and bound of its gusts [m/s].
        speed_m_s: Peak speed of the path [m/s].
        seed: Seed of gusts and estimator noise.
        ticks: Planned ticks.
        overruns: Ticks whose set-point was late.
        tick_us: Percentiles of the time from state read to set-point sent [us].
        pace: Duration of the path over the time that it took: 1 if the path never had to wait for the vehicle.
        shield: Ticks in which the shield accepted, backed up, was void, was not engaged.
    """

    position_rmse_m: float
    baseline_rmse_m: float
    ratio: float
    wind_m_s: float
    gust_m_s: float
    speed_m_s: float
    seed: int
    ticks: int
    overruns: int
    tick_us: dict[str, float]
    pace: float
    shield: dict[str, int]

    def text(self) -> str:
        """JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, indent=2) + "\n"


def task_ticks(flight: Flight) -> npt.NDArray[np.void]:
    """Records of the ticks in which the task was flown.

    Raises:
        LogFormatError: the task never began.
    """
    ticks: npt.NDArray[np.void] = flight.ticks[flight.ticks["phase"] == Phase.TRACK]
    ticks = ticks[np.isfinite(ticks["reference"][:, 0])]
    if len(ticks) < 2:
        raise LogFormatError("the flight never reached its task; see the events with `tubepilot report`")
    return ticks


def load_truth(path: Path) -> Truth:
    """Read the file that `sim-fc --truth` wrote.

    Raises:
        LogFormatError: it is absent or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Truth(arrays["t_mono_ns"], arrays["t_sim_s"], arrays["position"])
    except (OSError, KeyError, ValueError) as error:
        raise LogFormatError(f"{path} is not a truth file of `tubepilot sim-fc --truth`: {error}") from error


def flown_rmse_m(flight: Flight, truth: Truth) -> float:
    """Root mean square distance of the true position from the reference in the log, over the whole task [m].

    The reference is taken from the log, linear between ticks (wrong by a * dt^2 / 8, some 0.05 mm), because the path
    waits for a companion that stalled.

    Raises:
        LogFormatError: the task was not flown while the truth was recorded.
    """
    ticks = task_ticks(flight)
    start_ns = int(ticks["t_ns"][0])
    t_s: Vector = (truth.t_ns - start_ns).astype(np.float64) * 1e-9
    tick_s: Vector = (ticks["t_ns"] - start_ns).astype(np.float64) * 1e-9
    during = (t_s >= tick_s[0]) & (t_s <= tick_s[-1])
    if not during.any():
        raise LogFormatError("no true position falls into the time of the task: the clocks do not match")
    wanted = np.stack([np.interp(t_s[during], tick_s, ticks["reference"][:, axis]) for axis in range(3)], axis=1)
    return float(np.sqrt(np.mean(np.sum((truth.position_m[during] - wanted) ** 2, axis=1))))


def position_rmse_m(t_s: Vector, position_m: Vector, path: Reference, frame: LocalFrame) -> float:
    """Root mean square distance from a path over its whole duration.

    Args:
        t_s: Times since the start of the path, any range [s].
        position_m: True positions at these times, world ENU, shape (T, 3) [m].
        path: The path, in `frame`.
        frame: Take-off frame.
    """
    during = (t_s >= 0.0) & (t_s <= path.duration_s)
    if not during.any():
        raise LogFormatError("no true position falls into the time of the path: the clocks do not match")
    wanted = frame.positions_to_world(path.derivatives(t_s[during])[:, 0])
    return float(np.sqrt(np.mean(np.sum((position_m[during] - wanted) ** 2, axis=1))))


def fly_baseline(
    path: Reference,
    frame: LocalFrame,
    wind_m_s: float,
    gust_m_s: float,
    seed: int,
    start_time_s: float,
    settle_s: float = SETTLE_S,
) -> float:
    """Position RMSE of rotorpy's SE3Control on a path [m].

    Args:
        path: The path, in `frame`, with all derivatives.
        frame: Take-off frame.
        wind_m_s: Mean wind from the west [m/s].
        gust_m_s: Bound of the gusts [m/s].
        seed: Seed of the gusts.
        start_time_s: Time of the simulated wind at which the path starts: the gusts are those of the flight [s].
        settle_s: Hover at the start of the path before it goes [s].

    Returns:
        RMSE over the whole path, against the true position [m].
    """
    try:
        from rotorpy.controllers.quadrotor_control import SE3Control

        from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
        from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector
    except ModuleNotFoundError as error:
        raise MissingExtraError('the baseline needs rotorpy; install it: pip install "tubepilot[sim]"') from error
    vehicle = SimulatedQuadrotor(GustyWind(wind_vector(wind_m_s, 270.0), gust_m_s, seed))
    control = SE3Control(vehicle.parameters)
    count = round((settle_s + path.duration_s) * BASELINE_HZ)
    t_s = np.arange(count, dtype=np.float64) / BASELINE_HZ - settle_s
    wanted = path.derivatives(t_s)
    places, turned = frame.positions_to_world(wanted[:, 0]), frame.vectors_to_world(wanted)
    vehicle.reset(places[0], frame.yaw_rad)
    vehicle.time_s = start_time_s - settle_s
    flown = np.empty((count, 3))
    for k in tqdm(range(count), desc="baseline", unit="step", leave=False):
        flown[k] = vehicle.position_m
        output = {
            "x": places[k],
            "x_dot": turned[k, 1],
            "x_ddot": turned[k, 2],
            "x_dddot": turned[k, 3],
            "x_ddddot": turned[k, 4],
            "yaw": frame.yaw_rad,
            "yaw_dot": 0.0,
        }
        command = control.update(t_s[k], vehicle.rotorpy_state(), output)
        vehicle.step_motors(command["cmd_motor_speeds"], 1.0 / BASELINE_HZ)
    return position_rmse_m(t_s, flown, path, frame)


def _start_sim_fc(folder: Path, wind_m_s: float, gust_m_s: float, seed: int) -> subprocess.Popen[bytes]:
    """Start the simulated flight controller, on real-time priority where allowed: a real one has its own processor."""
    link, truth = folder / "link", folder / "truth.npz"
    command = [sys.executable, "-m", "tubepilot.runtime.cli", "sim-fc", "--link", str(link), "--truth", str(truth)]
    command += ["--wind-m-s", str(wind_m_s), "--wind-from-deg", "270", "--gust-m-s", str(gust_m_s), "--seed", str(seed)]
    with (folder / "sim-fc.log").open("wb") as words:
        process = subprocess.Popen(command, stdout=words)
    try:
        os.sched_setscheduler(process.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(SIM_FC_PRIORITY))
    except OSError as error:
        print(f"sim-fc runs without real-time priority ({error.strerror}): a busy machine will show in the figures")
    deadline_s = time.monotonic() + LINK_TIMEOUT_S
    while not link.exists():
        if process.poll() is not None or time.monotonic() > deadline_s:
            process.kill()
            raise InputError("sim-fc did not open its link; run `tubepilot sim-fc --link /tmp/link` to see why")
        time.sleep(0.05)
    return process


def fly_through_link(folder: Path, arguments: argparse.Namespace) -> tuple[Flight, Truth]:
    """Run `sim-fc` and `fly` against each other.

    Args:
        folder: Where link, truth and log go.
        arguments: Of `tubepilot bench track`.

    Returns:
        The flight log and the truth.

    Raises:
        InputError: one of the two processes failed.
    """
    simulator = _start_sim_fc(folder, arguments.wind_m_s, arguments.gust_m_s, arguments.seed)
    log = folder / "flight.mcap"
    command = [sys.executable, "-m", "tubepilot.runtime.cli", "fly", str(arguments.bundle)]
    command += ["--link", f"px4://{folder / 'link'}?baud=921600", "--log", str(log), "--task", "figure-eight"]
    for name in ("speed_m_s", "size_m", "laps", "ramp_s", "height_m"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    if arguments.keys is not None:
        command += ["--keys", str(arguments.keys)]
    try:
        status = subprocess.run(command, check=False).returncode
    finally:
        simulator.send_signal(signal.SIGTERM)
        try:
            simulator.wait(20.0)
        except subprocess.TimeoutExpired:
            simulator.kill()
            simulator.wait()
        for line in (folder / "sim-fc.log").read_text(encoding="utf-8").splitlines():
            if "real" in line:
                print(line)
    if status != 0:
        raise InputError(f"`tubepilot fly` ended with status {status}; its own words stand above")
    return read_flight(log), load_truth(folder / "truth.npz")


def compare(flight: Flight, truth: Truth, arguments: argparse.Namespace) -> TrackBench:
    """Measure the flight against the truth, and fly the baseline in the same wind."""
    settings, frame = from_meta(flight.meta)
    path, track = settings.reference(), task_ticks(flight)
    start_ns = int(track["t_ns"][0])
    rmse_m = flown_rmse_m(flight, truth)
    start_time_s = float(np.interp(start_ns, truth.t_ns, truth.t_sim_s))
    baseline_m = fly_baseline(path, frame, arguments.wind_m_s, arguments.gust_m_s, arguments.seed, start_time_s)
    planned = flight.ticks[np.isin(flight.ticks["phase"], [int(phase) for phase in PLANNED])]
    flown = planned[np.isfinite(planned["reference"][:, 0])]
    p50, p99, p999 = (float(value) for value in np.percentile(flown["tick_us"], [50.0, 99.0, 99.9]))
    names = {"accepted": 0, "backup": 1, "void": 2, "not_engaged": 255}
    return TrackBench(
        position_rmse_m=rmse_m,
        baseline_rmse_m=baseline_m,
        ratio=rmse_m / baseline_m,
        wind_m_s=arguments.wind_m_s,
        gust_m_s=arguments.gust_m_s,
        speed_m_s=arguments.speed_m_s,
        seed=arguments.seed,
        ticks=len(flown),
        overruns=int(flown["overrun"].sum()),
        tick_us={"p50": p50, "p99": p99, "p999": p999},
        pace=path.duration_s / (1e-9 * float(track["t_ns"][-1] - start_ns)),
        shield={name: int(np.count_nonzero(flown["verdict"] == value)) for name, value in names.items()},
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench track`."""
    parser.add_argument("bundle", type=Path, help="bundle directory")
    parser.add_argument("--keys", type=Path, default=None, help="directory of trusted public keys")
    parser.add_argument("--wind-m-s", type=float, default=3.0, help="mean wind, from the west [m/s]")
    parser.add_argument("--gust-m-s", type=float, default=0.5, help="bound of the gusts [m/s]")
    parser.add_argument("--speed-m-s", type=float, default=2.0, help="peak speed of the figure-eight [m/s]")
    parser.add_argument("--size-m", type=float, default=6.0, help="length of the figure-eight [m]")
    parser.add_argument("--laps", type=int, default=1, help="rounds of the figure-eight")
    parser.add_argument("--ramp-s", type=float, default=4.0, help="time to get up to speed, and to rest again [s]")
    parser.add_argument("--height-m", type=float, default=1.5, help="height of the figure-eight [m]")
    parser.add_argument("--seed", type=int, default=0, help="seed of gusts and estimator noise")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    parser.add_argument("--keep", type=Path, default=None, help="keep flight log and truth in this new directory")


def run(arguments: argparse.Namespace) -> int:
    """Run the bench; status 1 if `fly` was further off than the baseline."""
    with tempfile.TemporaryDirectory(prefix="tubepilot-bench-") as scratch:
        folder = Path(scratch) if arguments.keep is None else arguments.keep.absolute()
        folder.mkdir(parents=True, exist_ok=arguments.keep is None)
        flight, truth = fly_through_link(folder, arguments)
        result = compare(flight, truth, arguments)
    print(f"position RMSE of fly        {result.position_rmse_m:.4f} m (true position, over the whole path)")
    print(
        f"position RMSE of baseline   {result.baseline_rmse_m:.4f} m "
        f"(rotorpy SE3Control, {BASELINE_HZ:.0f} Hz, true state)"
    )
    print(f"ratio                       {result.ratio:.3f}")
    print(
        f"wind {result.wind_m_s} m/s, gusts {result.gust_m_s} m/s, "
        f"peak speed {result.speed_m_s} m/s, seed {result.seed}"
    )
    print(
        f"ticks {result.ticks}, overruns {result.overruns}, tick p50 {result.tick_us['p50']:.0f} us, "
        f"p99 {result.tick_us['p99']:.0f} us, p99.9 {result.tick_us['p999']:.0f} us; pace {result.pace:.3f}; "
        f"shield {result.shield}"
    )
    if arguments.json is not None:
        arguments.json.write_text(result.text(), encoding="utf-8")
        print(f"figures written to {os.fspath(arguments.json)}")
    better = result.ratio <= 1.0
    print(
        "fly is no worse than the baseline; next: `tubepilot report` on a kept log (--keep DIR) shows the rest"
        if better
        else "fly is worse than the baseline; next: --keep DIR and `tubepilot report DIR/flight.mcap` show where"
    )
    return 0 if better else 1
