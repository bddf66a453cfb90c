"""What a flight on real firmware is told by: rates, ages, tracking, counted over the task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tubepilot.runtime.flight_log import Flight
from tubepilot.runtime.phases import Phase

COMMAND = (sys.executable, "-m", "tubepilot.runtime.cli")


def fly(bundle: tuple[Path, Path], uri: str, log: Path, *options: str) -> subprocess.Popen[str]:
    """Start `tubepilot fly` with a bundle and its folder of keys; its words come over stdout."""
    link = ("--link", uri, "--keys", str(bundle[1]), "--log", str(log))
    return subprocess.Popen(
        [*COMMAND, "fly", str(bundle[0]), *link, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def figures(flight: Flight) -> dict[str, float]:
    """State rate, set-point rate, age and tracking error over the task."""
    ticks = flight.ticks[flight.ticks["phase"] == int(Phase.TRACK)]
    duration_s = 1e-9 * float(ticks["t_ns"][-1] - ticks["t_ns"][0])
    fresh = np.any(np.diff(ticks["measured"], axis=0) != 0.0, axis=1)
    error_m = np.linalg.norm(ticks["state"][:, 0:3] - ticks["reference"][:, 0:3], axis=1)
    return {
        "task_s": round(duration_s, 2),
        "new_states_hz": round(float(fresh.sum()) / duration_s, 1),
        "setpoints_hz": round(float(np.isfinite(ticks["sent"][:, 3]).sum()) / duration_s, 1),
        "state_age_p50_ms": round(float(np.nanmedian(ticks["state_age_ms"])), 2),
        "state_age_p99_ms": round(float(np.nanpercentile(ticks["state_age_ms"], 99.0)), 2),
        "tracking_rmse_m": round(float(np.sqrt(np.nanmean(error_m**2))), 4),
        "overruns": int(ticks["overrun"].sum()),
    }
