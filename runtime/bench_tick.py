"""Timing of the ticks of a recorded flight: wake-up, planner, whole tick, age of the state."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import LogFormatError

from .flight_log import Flight, read_flight
from .phases import PLANNED

QUANTITIES = {
    "late_us": "wake-up lateness [us]",
    "solve_us": "planner [us]",
    "tick_us": "state read to set-point sent [us]",
    "state_age_ms": "age of the state [ms]",
}
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}


def summarise(flight: Flight) -> dict[str, dict[str, float] | int]:
    """Percentiles over the planned ticks, number of ticks and of overruns.

    Raises:
        LogFormatError: no tick was planned.
    """
    ticks = flight.ticks[np.isin(flight.ticks["phase"], [int(phase) for phase in PLANNED])]
    ticks = ticks[np.isfinite(ticks["reference"][:, 0])]
    if len(ticks) == 0:
        raise LogFormatError("the flight has no planned tick; give the log of a flight that left the ground")
    result: dict[str, dict[str, float] | int] = {"ticks": len(ticks), "overruns": int(ticks["overrun"].sum())}
    for name in QUANTITIES:
        values = ticks[name][np.isfinite(ticks[name])]
        result[name] = {label: float(np.percentile(values, share)) for label, share in PERCENTILES.items()}
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench tick`."""
    parser.add_argument("log", type=Path, help="flight log (MCAP)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")


def run(arguments: argparse.Namespace) -> int:
    """Print the timing of a flight."""
    result = summarise(read_flight(arguments.log))
    print(f"{'':36}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}")
    for name, label in QUANTITIES.items():
        values = result[name]
        if isinstance(values, dict):
            print(f"{label:36}" + "".join(f"{value:9.1f}" for value in values.values()))
    print(f"{result['ticks']} planned ticks, {result['overruns']} overruns")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"next: `tubepilot report {arguments.log}` draws the histogram")
    return 0
