"""Real Betaflight, built for the host (SITL), around the simulator's physics, on a serial line.

`TUBEPILOT_BETAFLIGHT` names the program. It runs in a network namespace of its own together with the physics and the
carrying of bytes between its UART (a TCP port) and a pseudo-terminal; poses come out on a Unix socket, as of motion capture.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import tty
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.pose import Pose, encode_pose
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_wind import GustyWind

VARIABLE = "TUBEPILOT_BETAFLIGHT"
UART_PORT, MOTOR_PORT, STATE_PORT = 5761, 9002, 9003
STEP_NS, LONGEST_STEP_NS, POSE_NS = 1_000_000, 20_000_000, 10_000_000
STANDING_TIME_S = 0.0
"""Betaflight scales its own time by the spacing of our stamps and its thread's wake-ups; equal stamps leave it alone (sitl.c) [s]."""

NO_SATELLITES = 999.0
"""No latitude: Betaflight then takes satellites as lost (sitl.c)."""

START_LIMIT_S = 30.0
PRIORITY = 45
"""Real-time priority of firmware and physics; granted to the privileged only."""

# Gains by the physics of rotorpy's craft, so that the rate loop is that of `CRAZYFLIE_GAINS`: near hover a motor signal s turns it
# with 1748 s rad/s^2 in roll and pitch and 965 s in yaw; pid.c makes 3.2e-5 P of an error of 1 deg/s and 5.3e-7 D of 1 deg/s^2.
# What acts on top of these (throttle boost, TPA, anti-gravity, feed-forward) is off: the plan knows the vehicle.
SETTINGS = """
feature -RX_UDP
feature RX_MSP
aux 0 0 0 1700 2100 0 0
set failsafe_delay = 4
set serial_update_rate_hz = 1000
set rc_smoothing = OFF
set acc_calibration = 0,0,0,1
set runaway_takeoff_prevention = OFF
set simplified_pids_mode = OFF
set p_roll = 36
set i_roll = 2
set d_roll = 79
set f_roll = 0
set p_pitch = 36
set i_pitch = 2
set d_pitch = 79
set f_pitch = 0
set p_yaw = 45
set i_yaw = 2
set d_yaw = 100
set f_yaw = 0
set d_max_roll = 0
set d_max_pitch = 0
set tpa_rate = 0
set throttle_boost = 0
set anti_gravity_gain = 0
save
"""
ROTOR_OF_MOTOR = (2, 1, 3, 0)
"""rotorpy's rotors, front left, front right, rear right, rear left, by Betaflight's motors: rear right first (mixer QUADX)."""

WIND_M_S = (1.0, -0.6, 0.0)
"""So that a wrong sign anywhere cannot go unseen [m/s]."""


def missing() -> str | None:
    """Why no Betaflight can be run here; None if one can."""
    program = os.environ.get(VARIABLE)
    if not program:
        return f"{VARIABLE} names no Betaflight built for the host"
    if not Path(program).is_file():
        return f"{VARIABLE}={program} is no file"
    return None if shutil.which("unshare") else "the program unshare is not installed"


class BetaflightFirmware:
    """A running Betaflight in its world.

    Args:
        folder: Gets the firmware's files and its output.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.words, self.pose = folder / "betaflight.log", folder / "pose"
        mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
        program = ["unshare", "--net", *mapped, "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, __file__]
        self._process = subprocess.Popen(
            [*program, os.environ[VARIABLE], str(folder), str(self.pose)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        words = self._process.stdout.readline().split() if self._process.stdout else []
        if len(words) != 1:
            self.stop()
            raise RuntimeError(f"Betaflight did not start; it said:\n{self.words.read_text(errors='replace')[-2000:]}")
        self.device = Path(words[0])

    def stop(self) -> str:
        """End it; what the world saw, as one line of JSON."""
        self._process.send_signal(signal.SIGTERM)
        said = self._process.stdout.read() if self._process.stdout else ""
        self._process.wait(5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return said


class World:
    """Physics, firmware and lines, stepped by the clock."""

    def __init__(self, program: str, folder: Path, pose: str) -> None:
        self._log = (folder / "betaflight.log").open("wb")
        settings = folder / "settings.txt"
        settings.write_text(SETTINGS)
        self._run(program, folder, "--config", str(settings)).wait(20.0)
        self._firmware = self._run(program, folder)
        self._motors = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._motors.bind(("127.0.0.1", MOTOR_PORT))
        self._motors.setblocking(False)
        self._states = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._poses, self._pose = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), pose
        self._poses.setblocking(False)
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self._uart = self._connect()
        self._vehicle = SimulatedQuadrotor(GustyWind(np.array(WIND_M_S), 0.3, 0))
        self._vehicle.reset()
        self._speeds = np.zeros(4)
        print(os.ttyname(slave), flush=True)

    def _run(self, program: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [program, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )

    def _connect(self) -> socket.socket:
        deadline_s = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(ConnectionRefusedError):
                line = socket.create_connection(("127.0.0.1", UART_PORT), 1.0)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line.setblocking(False)
                return line
            time.sleep(0.1)
        raise RuntimeError("Betaflight's UART did not open")

    def run(self) -> None:
        """For ever, with steps as long as the clock says."""
        last_ns = time.monotonic_ns()
        pose_ns = last_ns
        while True:
            now_ns = time.monotonic_ns()
            if now_ns - last_ns >= STEP_NS:
                self._step(min(now_ns - last_ns, LONGEST_STEP_NS))
                last_ns = now_ns
                if now_ns >= pose_ns:
                    pose_ns = now_ns + POSE_NS
                    self._send_pose(now_ns)
            wait_s = max(last_ns + STEP_NS - time.monotonic_ns(), 0) * 1e-9
            readable = select.select([self._uart, self.master], [], [], wait_s)[0]
            with contextlib.suppress(BlockingIOError):
                if self._uart in readable:
                    os.write(self.master, self._uart.recv(65536))
                if self.master in readable:
                    self._uart.send(os.read(self.master, 65536))

    def _step(self, dt_ns: int) -> None:
        vehicle = self._vehicle
        with contextlib.suppress(BlockingIOError):
            while True:
                signals = struct.unpack("<4f", self._motors.recv(64)[:16])
                self._speeds[list(ROTOR_OF_MOTOR)] = np.clip(signals, 0.0, 1.0) * vehicle.rotor_max_rad_s
        vehicle.step_motors(self._speeds, 1e-9 * dt_ns)
        w, x, y, z = vehicle.quaternion_wxyz.tolist()
        p, q, r = vehicle.rates_rad_s.tolist()
        force = [0.0, 0.0, vehicle.gravity_m_s2] if vehicle.on_ground else vehicle.accelerometer_m_s2.tolist()
        # Signs are those of sitl.c: it negates the specific force, the pitch rate and two parts of the attitude again.
        motion = (p, -q, r, -force[0], -force[1], -force[2], w, x, -y, -z)
        place = (0.0, 0.0, 0.0, NO_SATELLITES, NO_SATELLITES, float(vehicle.position_m[2]), 101325.0)
        packet = struct.pack("<18d", STANDING_TIME_S, *motion, *place)
        self._states.sendto(packet, ("127.0.0.1", STATE_PORT))

    def _send_pose(self, now_ns: int) -> None:
        vehicle = self._vehicle
        place, speed, q = (tuple(part.tolist()) for part in (vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz))
        with contextlib.suppress(OSError):
            self._poses.sendto(encode_pose(Pose(now_ns, place, speed, q)), self._pose)

    def end(self) -> None:
        """Stop the firmware."""
        self._firmware.terminate()
        self._firmware.wait(5.0)


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))  # the firmware inherits it
    world = World(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        world.run()
    finally:
        world.end()
