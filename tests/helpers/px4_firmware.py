"""Real PX4, built for the host, with its own simulation (SIH), as a process on a serial line.

`TUBEPILOT_PX4` names the build folder of a PX4 whose board has the SIH simulator (it holds `bin/px4` and `etc/`). The
firmware runs in a network namespace of its own, so that its UDP links reach nobody; only the serial line leads out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from .motion_capture import MotionCapture
from .pty_relay import PtyRelay

VARIABLE = "TUBEPILOT_PX4"
AIRFRAME = "10040"
"""PX4's own quadrotor for the SIH simulator."""

THRUST_SCALE_M_S2 = 19.1667
"""Collective acceleration of the four motors on 1 kg, that of the simulated vehicle whose bundle flies [m/s^2]."""

PARAMETERS: dict[str, float | int] = {
    "COM_OF_LOSS_T": 0.5,
    "COM_OBL_RC_ACT": 4,
    "COM_RC_OVERRIDE": 3,
    "COM_RC_IN_MODE": 4,  # no remote control at all
    "NAV_DLL_ACT": 0,
    "SDLOG_MODE": -1,
    # A small, quick vehicle: motors of 20 ms, rates that follow in 46 ms, drag of 0.3 1/s. SIH's own defaults are a slow one.
    "SIH_T_MAX": THRUST_SCALE_M_S2 / 4.0,
    "SIH_T_TAU": 0.02,
    "SIH_KDV": 0.3,
    "SIH_Q_MAX": 0.2,
    "MC_ROLLRATE_K": 2.0,
    "MC_PITCHRATE_K": 2.0,
    "MC_YAWRATE_K": 3.0,
    "MC_ROLLRATE_I": 0.1,
    "MC_PITCHRATE_I": 0.1,
    # Position, height, velocity and heading from motion capture; SIH's satellites and barometer wander by decimetres.
    "EKF2_EV_CTRL": 15,
    "EKF2_EV_DELAY": 0,
    "EKF2_EV_NOISE_MD": 1,
    "EKF2_EVP_NOISE": 0.01,
    "EKF2_EVV_NOISE": 0.01,
    "EKF2_EVA_NOISE": 0.05,
    "EKF2_HGT_REF": 3,
    "EKF2_GPS_CTRL": 0,
    "EKF2_BARO_CTRL": 0,
    "EKF2_RNG_CTRL": 0,
    "EKF2_MAG_TYPE": 5,
    # SIH's accelerometer has a noise of 1.7 m/s^2 a sample; the estimator must lean on the capture instead.
    "EKF2_ACC_NOISE": 1.0,
    "EKF2_TAU_VEL": 0.1,
    "EKF2_TAU_POS": 0.1,
}
CAPTURE_HZ = 100
WATCH_HZ = 50
"""Heartbeats on a line of their own, where a test sees when the mode changes."""

START_LIMIT_S = 60.0
PRIORITY = -20
"""Of its threads [nice]."""


def missing() -> str | None:
    """Why no PX4 can be run here; None if one can."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return f"{VARIABLE} names no build folder of PX4"
    if not (Path(folder) / "bin" / "px4").is_file():
        return f"{VARIABLE}={folder} holds no bin/px4"
    if shutil.which("unshare") is None:
        return "the program unshare is not installed"
    return None


class Px4Firmware:
    """A running PX4 on a serial line.

    Args:
        folder: Gets the firmware's files and its output.
        parameters: Set before the line is opened, on top of `PARAMETERS`.
        rate_bytes_s: Limit on what it streams; 46,080 is PX4's own at 921600 baud [bytes/s].
    """

    def __init__(self, folder: Path, parameters: Mapping[str, float | int] | None = None, rate_bytes_s: int = 90_000) -> None:
        build = Path(os.environ[VARIABLE]).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.words = folder, folder / "px4.log"
        self.relay, self._capture_line, self._watch_line = PtyRelay(), PtyRelay(), PtyRelay()
        self.device, self.watch_device = self.relay.companion_device, self._watch_line.companion_device
        self._capture: MotionCapture | None = None
        environment = {**os.environ, "PX4_SYS_AUTOSTART": AIRFRAME, "PX4_SIM_MODEL": "sihsim_quadx", "PX4_SIMULATOR": "sihsim"}
        # A user without rights gets the namespace too, but then PX4's threads get no real-time priority.
        mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
        program = ["unshare", "--net", *mapped, "sh", "-c", 'ip link set lo up; exec "$@"', "sh", str(build / "bin" / "px4")]
        with self.words.open("wb") as words:
            self.process = subprocess.Popen(
                [*program, "-w", str(folder), str(build / "etc")],
                stdin=subprocess.PIPE, stdout=words, stderr=subprocess.STDOUT, env=environment, cwd=folder,
            )  # fmt: skip
        try:
            self._await("Startup script returned successfully")
            for name, value in {**PARAMETERS, **(parameters or {})}.items():
                self.shell(f"param set {name} {value}")
            self.shell("mavlink stop-all")  # its own UDP links take the places that ours need
            capture = self._capture_line.firmware_device
            self.shell(f"mavlink start -d {capture} -b 921600 -m custom -r 90000")
            self.shell(f"mavlink stream -d {capture} -s HIL_STATE_QUATERNION -r {CAPTURE_HZ}")
            watch = self._watch_line.firmware_device
            self.shell(f"mavlink start -d {watch} -b 921600 -m custom -r 20000")
            self.shell(f"mavlink stream -d {watch} -s HEARTBEAT -r {WATCH_HZ}")
            self._capture = MotionCapture(self._capture_line.companion_device)
            self.shell(f"mavlink start -d {self.relay.firmware_device} -b 921600 -m onboard -r {rate_bytes_s}")
            time.sleep(1.0)
            self._hurry()
        except BaseException:
            self.stop()
            raise

    def _hurry(self) -> None:
        """Before other programs for all its threads, as its own processor would give it; granted to the privileged only.

        Not real-time priority: its threads wait for each other in lockstep, and one that logs would then hold up the rest.
        """
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), PRIORITY)

    def _await(self, phrase: str, limit_s: float = START_LIMIT_S) -> None:
        deadline_s = time.monotonic() + limit_s
        while phrase not in self.words.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"PX4 did not say {phrase!r}; it said:\n{self.words.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def shell(self, line: str) -> None:
        """Type one line into PX4's own shell."""
        if self.process.stdin is not None:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """End it; its log is complete then."""
        if self.process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.shell("shutdown")
            try:
                self.process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        if self._capture is not None:
            self._capture.stop()
        for line in (self.relay, self._capture_line, self._watch_line):
            line.close()
