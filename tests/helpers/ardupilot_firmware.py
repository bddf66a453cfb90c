"""Real ArduCopter, built for the host (SITL) with its own simulation of a quadrotor, as a process on a serial line.

`TUBEPILOT_ARDUCOPTER` names the program (`build/sitl/bin/arducopter`). It runs in a network namespace of its own, so that its TCP
ports reach nobody; only two serial lines lead out: one for the companion, one on which a test watches.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from .pty_relay import PtyRelay

VARIABLE = "TUBEPILOT_ARDUCOPTER"
THRUST_SCALE_M_S2 = 19.1667
"""Collective acceleration of the four motors, that of the simulated vehicle whose bundle flies [m/s^2]."""

GRAVITY_M_S2 = 9.80665
HOME = "47.397742,8.545594,20,0"
START_LIMIT_S = 30.0
PRIORITY = -20
"""Of its threads [nice]."""

# A 1 kg quadrotor whose motors lift 1.95 times its weight at full throttle, with the curve that MOT_THST_EXPO undoes.
MODEL = {
    "mass": 1.0,
    "diagonal_size": 0.35,
    "refSpd": 15.0,
    "refAngle": 20.0,
    "refVoltage": 12.6,
    "refCurrent": 10.0,
    "refAlt": 20.0,
    "refTempC": 15.0,
    "refBatRes": 0.0,
    "maxVoltage": 12.6,
    "battCapacityAh": 0.0,
    "propExpo": 0.65,
    "refRotRate": 120.0,
    "hoverThrOut": GRAVITY_M_S2 / THRUST_SCALE_M_S2,
    "pwmMin": 1000,
    "pwmMax": 2000,
    "spin_min": 0.15,
    "spin_max": 0.95,
    "disc_area": 0.1,
    "mdrag_coef": 0.05,
    "num_motors": 4,
}

PARAMETERS: dict[str, float | int] = {
    "FRAME_CLASS": 1,
    "FRAME_TYPE": 1,
    "GUID_OPTIONS": 8,
    "GUID_TIMEOUT": 0.5,
    "ATC_ANGLE_BOOST": 0,
    "FS_THR_ENABLE": 0,
    "BATT_MONITOR": 4,
    "SERIAL1_PROTOCOL": 2,
    "SERIAL1_BAUD": 921,
    "SERIAL2_PROTOCOL": 2,
    "SERIAL2_BAUD": 921,
    "ADSB_TYPE": 0,
    "SIM_ADSB_COUNT": -1,
    # The thrust follows in 70 ms, as the vehicle's of the bundle does; ArduPilot's simulated motors follow at once.
    "PILOT_THR_FILT": 2.26,
    "MOT_THST_EXPO": 0.65,
    "MOT_SPIN_MIN": 0.15,
    "MOT_SPIN_MAX": 0.95,
    "MOT_PWM_MIN": 1000,
    "MOT_PWM_MAX": 2000,
    "MOT_HOVER_LEARN": 0,
    "MOT_BAT_VOLT_MAX": 0,
    "MOT_BAT_VOLT_MIN": 0,
    "ATC_RAT_YAW_P": 0.3,
    "ATC_RAT_YAW_I": 0.02,
    "ATC_ACCEL_R_MAX": 150000,
    "ATC_ACCEL_P_MAX": 150000,
    "SIM_BARO_RND": 0,
    "COMPASS_OFS_X": 5,
    "COMPASS_OFS_Y": 13,
    "COMPASS_OFS_Z": -18,
    "COMPASS_OFS2_X": 5,
    "COMPASS_OFS2_Y": 13,
    "COMPASS_OFS2_Z": -18,
    "COMPASS_OFS3_X": 5,
    "COMPASS_OFS3_Y": 13,
    "COMPASS_OFS3_Z": -18,
    # Small offsets, by which it recognises that the accelerometers are calibrated.
    **{f"INS_ACC{n}OFFS_{axis}": 0.001 for n in ("", "2") for axis in "XYZ"},
    **{f"INS_ACC{n}SCAL_{axis}": 1.001 for n in ("", "2") for axis in "XYZ"},
    **{f"RC{n}_{end}": value for n in range(1, 9) for end, value in (("MIN", 1000), ("MAX", 2000), ("TRIM", 1000 if n == 3 else 1500))},
}


def missing() -> str | None:
    """Why no ArduCopter can be run here; None if one can."""
    program = os.environ.get(VARIABLE)
    if not program:
        return f"{VARIABLE} names no ArduCopter built for the host"
    if not Path(program).is_file():
        return f"{VARIABLE}={program} is no file"
    return None if shutil.which("unshare") else "the program unshare is not installed"


class ArduCopterFirmware:
    """A running ArduCopter on a serial line.

    Args:
        folder: Gets the firmware's files and its output.
        parameters: On top of `PARAMETERS`.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, float | int] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.words = folder / "arducopter.log"
        (folder / "model.json").write_text(json.dumps(MODEL))
        wanted = {**PARAMETERS, **(parameters or {})}
        (folder / "ours.parm").write_text("".join(f"{name} {value}\n" for name, value in wanted.items()))
        self.relay, self._watch_line = PtyRelay(), PtyRelay()
        self.device, self.watch_device = self.relay.companion_device, self._watch_line.companion_device
        mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
        program = ["unshare", "--net", *mapped, "sh", "-c", 'ip link set lo up; exec "$@"', "sh", os.environ[VARIABLE]]
        options = ["--model", "x:model.json", "--defaults", "ours.parm", "--home", HOME, "--wipe", "--speedup", "1"]
        lines = ["--serial0", "none:", "--serial1", f"uart:{self.relay.firmware_device}:921600"]
        lines += ["--serial2", f"uart:{self._watch_line.firmware_device}:921600"]
        with self.words.open("wb") as words:
            self.process = subprocess.Popen(
                [*program, *options, *lines], stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT, cwd=folder
            )
        try:
            self._await("UART connection")
            time.sleep(1.0)
            self._hurry()
        except BaseException:
            self.stop()
            raise

    def _hurry(self) -> None:
        """Before other programs for all its threads, as its own processor would give it; granted to the privileged only."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), PRIORITY)

    def _await(self, phrase: str) -> None:
        deadline_s = time.monotonic() + START_LIMIT_S
        while phrase not in self.words.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                said = self.words.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"ArduCopter did not say {phrase!r}; it said:\n{said}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for line in (self.relay, self._watch_line):
            line.close()
