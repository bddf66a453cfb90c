"""The simulated flight controller as a process: a pseudo-terminal, real time, faults of the link, the truth on file.

Physics run in steps of `STEP_S` paced by CLOCK_MONOTONIC. When the machine falls behind by more than `SLIP_NS`,
the physics pause for that long, while the flight controller's clock runs on (a real one has its own processor; the
vehicle just seems to stand still), and the process says so at its end.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import select
import signal
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from .errors import LinkError
from .sim_firmware import SimulatedFirmware
from .sim_line import FaultyLine, LinkFaults

STEP_S = 1.0 / 300.0
STEP_NS = 1e9 / 300.0
SLIP_NS = 50_000_000
TRUTH_EVERY = 3
"""Physics steps per truth record: 100 Hz."""

TRUTH_COLUMNS = 24
PRIORITY = -10
"""Asked of the operating system, which grants it to the privileged only [nice]."""


class PseudoTerminal:
    """The device that the companion opens, kept alive while nobody has it open.

    Args:
        link: Path of the symbolic link to make; one left by an earlier run is replaced, nothing else is.

    Raises:
        LinkError: the path holds something that is not a symbolic link, or cannot be written.
    """

    def __init__(self, link: Path) -> None:
        if link.exists() and not link.is_symlink():
            raise LinkError(f"{link} exists and is not a symbolic link; choose another --link")
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.device = os.ttyname(self._slave)
        self.link = link
        self.overruns = 0
        temporary = link.with_name(f".{link.name}.{os.getpid()}")
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            temporary.symlink_to(self.device)
            temporary.replace(link)
        except OSError as error:
            self.close()
            raise LinkError(f"cannot make the link {link}: {error.strerror}; choose another --link") from error

    def read(self) -> bytes:
        """Everything that has arrived, without waiting."""
        try:
            return os.read(self.master, 65536)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Send; what a reader did not take in time is lost, as in a UART."""
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.master, data) :]
            if not data:
                return
            self.overruns += 1
            termios.tcflush(self._slave, termios.TCIFLUSH)

    def close(self) -> None:
        """Close both ends and remove the link if it is still ours."""
        if self.link.is_symlink() and os.readlink(self.link) == self.device:
            self.link.unlink()
        os.close(self.master)
        os.close(self._slave)


class Truth:
    """True states over a run, written as one NPZ file.

    Arrays: `t_mono_ns` (CLOCK_MONOTONIC), `t_sim_s` (its own time), `position`, `velocity`, `quaternion` (wxyz),
    `rates`, `wind` (all SI, ENU and FLU), `setpoint` (body rates and throttle that the rate loop follows), `mode`
    (as the firmware numbers it), `armed`, `landed`, and `setpoint_t_sim_s` (when the newest set-point from outside came).
    """

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, tuple[float, ...]]] = []

    def add(self, t_mono_ns: int, firmware: SimulatedFirmware) -> None:
        """Take the state that holds at `t_mono_ns` (CLOCK_MONOTONIC) [ns]."""
        vehicle = firmware.vehicle
        parts = (vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz, vehicle.rates_rad_s)
        rates, throttle = firmware.command
        flat = np.concatenate([*parts, vehicle.wind_m_s, rates]).tolist()
        row = (*flat, throttle, float(firmware.mode_number), float(firmware.armed), float(firmware.landed), firmware.setpoint_time_s)
        self._rows.append((t_mono_ns, vehicle.time_s, row))

    def write(self, path: Path) -> None:
        """Write everything atomically: the file is complete or not there.

        Raises:
            LinkError: the file cannot be written.
        """
        times = np.array([row[0] for row in self._rows], dtype=np.int64)
        values = np.array([row[2] for row in self._rows], dtype=np.float64).reshape(len(self._rows), TRUTH_COLUMNS)
        memory = io.BytesIO()
        np.savez_compressed(
            memory,
            t_mono_ns=times,
            t_sim_s=np.array([row[1] for row in self._rows]),
            position=values[:, 0:3],
            velocity=values[:, 3:6],
            quaternion=values[:, 6:10],
            rates=values[:, 10:13],
            wind=values[:, 13:16],
            setpoint=values[:, 16:20],
            mode=values[:, 20].astype(np.int64),
            armed=values[:, 21].astype(bool),
            landed=values[:, 22].astype(bool),
            setpoint_t_sim_s=values[:, 23],
        )
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(memory.getvalue())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise LinkError(f"cannot write the truth to {path}: {error.strerror}; choose another --truth") from error


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run kept real time.

    Attributes:
        wall_s: Real time that passed [s].
        simulated_s: Simulated time that passed [s].
        worst_lag_ms: Greatest lateness of a physics step [ms].
        slipped_ms: Real time given up because the machine was too slow [ms].
        busy: Share of one core that physics and protocol took.
        overruns: Times that bytes were lost because nobody read them.
        failsafes: Times that the failsafe took over.
    """

    wall_s: float
    simulated_s: float
    worst_lag_ms: float
    slipped_ms: float
    busy: float
    overruns: int
    failsafes: int

    @property
    def real_time_factor(self) -> float:
        """Simulated over real time."""
        return self.simulated_s / self.wall_s if self.wall_s > 0.0 else 1.0


class Stop:
    """Set by SIGTERM and SIGINT; the run then ends in order."""

    def __init__(self) -> None:
        self.asked = False

    def install(self) -> None:
        """Take over both signals."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def fly(
    firmware: SimulatedFirmware,
    terminal: PseudoTerminal,
    faults: LinkFaults,
    stop: Stop,
    duration_s: float | None = None,
    truth: Truth | None = None,
    after_step: Callable[[int], None] | None = None,
) -> RunReport:
    """Fly in real time until stopped.

    Args:
        firmware: The firmware, at simulated time 0.
        terminal: Where the companion is.
        faults: Faults of the line.
        stop: Looked at between steps.
        duration_s: Ends the run by itself; None for no end [s].
        truth: Takes the true states.
        after_step: Called after every physics step with its time on CLOCK_MONOTONIC [ns].

    Returns:
        How real time was kept.
    """
    line = FaultyLine(faults, firmware.parser())
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    gc.collect()
    gc.freeze()
    start_ns, cpu_s = time.monotonic_ns(), time.process_time()
    slip_ns, worst_ns, steps = 0, 0, 0
    while not stop.asked and (duration_s is None or steps * STEP_S < duration_s):
        due_ns = start_ns + slip_ns + round((steps + 1) * STEP_NS)
        now_ns = time.monotonic_ns()
        worst_ns = max(worst_ns, now_ns - due_ns)
        if now_ns - due_ns > SLIP_NS:
            slip_ns += now_ns - due_ns
            firmware.paused_ns, due_ns = slip_ns, now_ns
        time_s = (now_ns - start_ns - slip_ns) * 1e-9
        for frame in line.incoming(terminal.read(), now_ns):
            firmware.receive(frame, time_s)
        if now_ns >= due_ns:
            firmware.step(STEP_S)
            steps += 1
            if after_step is not None:
                after_step(time.monotonic_ns())
            if truth is not None and steps % TRUTH_EVERY == 0:
                truth.add(start_ns + slip_ns + round(steps * STEP_NS), firmware)
        data = line.outgoing(firmware.outgoing, now_ns)
        firmware.outgoing.clear()
        if data:
            terminal.write(data)
        for event in firmware.events:
            print(f"[{firmware.vehicle.time_s:8.2f} s] {event}", flush=True)
        firmware.events.clear()
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            select.select([terminal.master], [], [], wait_ns * 1e-9)
    wall_s = (time.monotonic_ns() - start_ns) * 1e-9
    return RunReport(
        wall_s=wall_s,
        simulated_s=steps * STEP_S,
        worst_lag_ms=worst_ns * 1e-6,
        slipped_ms=slip_ns * 1e-6,
        busy=(time.process_time() - cpu_s) / max(wall_s, 1e-9),
        overruns=terminal.overruns,
        failsafes=firmware.failsafes,
    )
