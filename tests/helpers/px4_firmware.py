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

from .pty_relay import PtyRelay

VARIABLE = "TUBEPILOT_PX4"
AIRFRAME = "10040"
"""PX4's own quadrotor for the SIH simulator."""

PARAMETERS: dict[str, float | int] = {
    "COM_OF_LOSS_T": 0.5,
    "COM_OBL_RC_ACT": 4,
    "COM_RC_OVERRIDE": 3,
    "COM_RC_IN_MODE": 4,  # no remote control at all
    "NAV_DLL_ACT": 0,
    "SDLOG_MODE": 0,
}
START_LIMIT_S = 60.0


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
        self.relay = PtyRelay()
        self.device = self.relay.companion_device
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
            self.shell(f"mavlink start -d {self.relay.firmware_device} -b 921600 -m onboard -r {rate_bytes_s}")
        except BaseException:
            self.stop()
            raise

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
        self.relay.close()
