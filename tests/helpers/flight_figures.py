"""Flights of `tubepilot fly` on real firmware, and what they are told by: rates, ages, tracking, counted over the task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tubepilot.runtime.flight_log import Flight, read_flight
from tubepilot.runtime.phases import Phase

from .flyable import make_certified_bundle

COMMAND = (sys.executable, "-m", "tubepilot.runtime.cli")


Bundle = tuple[Path, Path]
"""A bundle and its folder of trusted keys."""


def named_bundle(folder: Path) -> Bundle:
    """What `TUBEPILOT_BUNDLE` and `TUBEPILOT_KEYS` name; the hand-made one, written to a folder, if they name nothing."""
    if "TUBEPILOT_BUNDLE" in os.environ:
        return Path(os.environ["TUBEPILOT_BUNDLE"]), Path(os.environ["TUBEPILOT_KEYS"])
    return make_certified_bundle(folder)


def fast_bundle() -> Bundle:
    """What `TUBEPILOT_BUNDLE_250` and `TUBEPILOT_KEYS_250` name; the test is skipped if they name nothing."""
    if "TUBEPILOT_BUNDLE_250" not in os.environ:
        pytest.skip("TUBEPILOT_BUNDLE_250 names no bundle that ticks at 250 Hz (`tick_hz` of the checkpoint, then certify and export)")
    return Path(os.environ["TUBEPILOT_BUNDLE_250"]), Path(os.environ["TUBEPILOT_KEYS_250"])


def fly_figure_eight(bundle: Bundle, uri: str, log: Path, setpoints_hz: float, states_hz: float) -> None:
    """Connect, read parameters back, arm, take off, more than a minute of figure-eight, land, disarm.

    Args:
        bundle: What flies.
        uri: Of the flight controller.
        log: Flight log to write.
        setpoints_hz, states_hz: What must come at least [Hz].
    """
    process = fly(bundle, uri, log, "--task", "figure-eight", "--laps", "5")
    words = process.communicate(timeout=200.0)[0]
    print(words)
    flight = read_flight(log)
    found = figures(flight)
    print(json.dumps(found), *(event.text for event in flight.events if event.text.startswith("link:")))
    if found["state_age_p99_ms"] > 50.0:
        pytest.skip(f"this machine does not let the firmware run in real time now: {found}")
    assert process.returncode == 0, words
    assert "LAND -> DONE: disarmed, by heartbeat" in words
    assert found["task_s"] > 60.0
    assert found["setpoints_hz"] > setpoints_hz
    assert found["new_states_hz"] > states_hz
    assert found["tracking_rmse_m"] < 0.25


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
