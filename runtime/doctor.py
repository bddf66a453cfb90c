"""Checks of the machine: each one line, OK, WARN or FAIL, with what to do about it."""

from __future__ import annotations

import glob
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path

from serial.tools import list_ports

from tubepilot.firmware_bridge.errors import BundleError

from .keys import load_trusted

PYTHON_AT_LEAST = (3, 11)
ONBOARD = ("numpy", "onnxruntime", "pyserial", "mcap", "PyNaCl", "tqdm")
EXTRAS: dict[str, tuple[str, ...]] = {
    "workstation": ("jax", "flax", "optax", "onnx", "scipy", "matplotlib", "python-flint", "pyulog", "tomli-w"),
    "sim": ("rotorpy",),
    "crazyflie": ("cflib",),
    "ardupilot": ("pymavlink",),
    "dev": ("pytest", "hypothesis", "ruff", "mypy", "pymavlink"),
}
SLOW_CLOCKS = {"hpet", "acpi_pm", "jiffies", "refined-jiffies"}
CLOCK_RESOLUTION_S = 1e-6
LATENESS_WARN_US = 500.0
"""A wake-up this late costs 5 % of a 10 ms tick."""
LATENESS_FAIL_US = 5000.0
DISK_WARN_BYTES = 2 << 30
DISK_FAIL_BYTES = 200 << 20
"""One hour of flight log before it is packed: 100 Hz * 3600 s * 1.1 kB = 400 MB; under half an hour is refused."""
PROBE_TIMEOUT_S = 30.0


class Level(Enum):
    """How a check ended."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor.

    Attributes:
        name: What was checked.
        level: OK; WARN: flyable, but worse; FAIL: not flyable.
        found: What was found.
        remedy: What to do; empty if OK.
    """

    name: str
    level: Level
    found: str
    remedy: str = ""


def check_python() -> Check:
    """The interpreter's version."""
    found = f"{platform.python_version()} ({platform.machine()}, {sys.executable})"
    if sys.version_info >= PYTHON_AT_LEAST:
        return Check("Python", Level.OK, found)
    return Check("Python", Level.FAIL, found, "install Python 3.11 or newer and make a new environment with it")


def installed(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Which distributions are there, as `name version`, and which are not."""
    present, absent = [], []
    for name in names:
        try:
            present.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            absent.append(name)
    return present, absent


def check_packages() -> Iterator[Check]:
    """The on-board packages, then each extra."""
    present, absent = installed(ONBOARD)
    if absent:
        yield Check("on-board packages", Level.FAIL, f"missing: {', '.join(absent)}", "pip install tubepilot")
    else:
        yield Check("on-board packages", Level.OK, ", ".join(present))
    for extra, names in EXTRAS.items():
        present, absent = installed(names)
        remedy = f'not needed to fly; where it is wanted: pip install "tubepilot[{extra}]"'
        if absent:
            yield Check(f"extra {extra}", Level.WARN, f"missing: {', '.join(absent)}", remedy)
        else:
            yield Check(f"extra {extra}", Level.OK, ", ".join(present))


def check_serial() -> Check:
    """Serial ports, and whether this user may open them."""
    ports = sorted({port.device for port in list_ports.comports()} | set(glob.glob("/dev/serial/by-id/*")))
    if not ports:
        return Check("serial ports", Level.WARN, "none found",
                     "plug the flight controller in by USB, or enable the UART; sim-fc needs none")  # fmt: skip
    usable = [port for port in ports if os.access(port, os.R_OK | os.W_OK)]
    if usable:
        return Check("serial ports", Level.OK, f"may open {', '.join(usable)}")
    remedy = "sudo usermod -aG dialout $USER, then log in again"
    return Check("serial ports", Level.FAIL, f"no permission for {', '.join(ports)}", remedy)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def probe() -> dict[str, object]:
    """Ask for the real-time rights in a process of its own and measure wake-up lateness there.

    Returns:
        `rights`: list of [name, obtained, detail, remedy]; `lateness_us`: [p50, p99, largest] at 5 ms; `error`.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tubepilot.runtime.doctor_probe"],
            capture_output=True, timeout=PROBE_TIMEOUT_S, check=False, text=True,
        )  # fmt: skip
        answer: dict[str, object] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return {"rights": [], "lateness_us": [], "error": f"{type(error).__name__}: {error}"}
    return answer


def check_realtime(answer: dict[str, object]) -> Iterator[Check]:
    """Real-time rights and wake-up lateness, from `probe`."""
    if answer.get("error"):
        yield Check("real-time probe", Level.WARN, str(answer["error"]), "run it by hand: tubepilot doctor --json -")
        return
    soft = {"SCHED_FIFO": resource.RLIMIT_RTPRIO, "locked memory": resource.RLIMIT_MEMLOCK}
    rights = answer["rights"]
    for name, obtained, detail, remedy in rights if isinstance(rights, list) else []:
        bound = f", limit {_limit(resource.getrlimit(soft[name])[0])}" if name in soft else ""
        yield Check(str(name), Level.OK if obtained else Level.WARN, f"{detail}{bound}", str(remedy))
    lateness = answer["lateness_us"]
    p50, p99, largest = lateness if isinstance(lateness, list) else (0.0, 0.0, 0.0)
    found = f"p50 {p50:.0f} us, p99 {p99:.0f} us, largest {largest:.0f} us over 1 s at 200 Hz"
    level = Level.OK if p99 < LATENESS_WARN_US else Level.WARN if p99 < LATENESS_FAIL_US else Level.FAIL
    remedy = "stop other programs, set the governor to performance, allow SCHED_FIFO; a PREEMPT_RT kernel is best"
    yield Check("wake-up lateness", level, found, "" if level is Level.OK else remedy)


def check_governor(base: Path = Path("/sys/devices/system/cpu")) -> Check:
    """The frequency governor of every core.

    Args:
        base: Where the kernel describes the cores.
    """
    governors = sorted({path.read_text().strip() for path in base.glob("cpu[0-9]*/cpufreq/scaling_governor")})
    if not governors:
        return Check("CPU governor", Level.OK, f"not exposed (virtual machine?), {os.cpu_count()} cores")
    found = f"{', '.join(governors)}, {os.cpu_count()} cores"
    if governors == ["performance"]:
        return Check("CPU governor", Level.OK, found)
    remedy = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    return Check("CPU governor", Level.WARN, found, remedy)


def check_clock(base: Path = Path("/sys/devices/system/clocksource/clocksource0")) -> Check:
    """The kernel's clock source and the resolution of CLOCK_MONOTONIC.

    Args:
        base: Where the kernel describes its clock source.
    """
    current = base / "current_clocksource"
    source = current.read_text().strip() if current.is_file() else "not exposed"
    resolution_s = time.clock_getres(time.CLOCK_MONOTONIC)
    found = f"{source}, resolution {resolution_s * 1e9:.0f} ns"
    if resolution_s > CLOCK_RESOLUTION_S:
        return Check("clock", Level.FAIL, found, "boot a kernel with high-resolution timers (CONFIG_HIGH_RES_TIMERS)")
    if source in SLOW_CLOCKS:
        return Check("clock", Level.WARN, found, "slow to read; boot with clocksource=tsc if it is stable")
    return Check("clock", Level.OK, found)


def check_disk(folder: Path) -> Check:
    """Free disk where the flight logs go.

    Args:
        folder: The folder; its nearest existing parent is asked.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / (1 << 30):.1f} GiB free in {existing}"
    level = Level.OK if free >= DISK_WARN_BYTES else Level.WARN if free >= DISK_FAIL_BYTES else Level.FAIL
    remedy = "free some disk, or choose another --logs folder; a flight log takes 7 MB a minute while flying"
    return Check("disk", level, found, "" if level is Level.OK else remedy)


def check_keys(folder: Path) -> Check:
    """The keys whose bundles this machine trusts.

    Args:
        folder: Folder of *.pub files, 32 bytes of Ed25519 public key each.
    """
    try:
        known = load_trusted(folder)
    except BundleError as error:
        remedy = f"copy the signer's public key to {folder}/NAME.pub, over a channel you trust; or give --keys"
        return Check("trusted keys", Level.FAIL, f"no bundle can be verified: {error}", remedy)
    names = ", ".join(f"{key.name} ({key.fingerprint})" for key in known)
    return Check("trusted keys", Level.OK, f"{len(known)} in {folder}: {names}")


def examine(logs: Path, keys: Path) -> list[Check]:
    """All checks, in the order a reader fixes them.

    Args:
        logs: Folder for flight logs.
        keys: Folder of trusted keys.
    """
    return [
        check_python(),
        *check_packages(),
        check_serial(),
        check_keys(keys),
        check_governor(),
        check_clock(),
        *check_realtime(probe()),
        check_disk(logs),
    ]
