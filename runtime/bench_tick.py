"""Timing of ticks: of a recorded flight, or of a bundle's planner run live at its tick rate, without a vehicle."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from . import realtime
from .bundle import Bundle, read_bundle
from .engine_choice import add_argument, choose
from .flight_log import TICK_DTYPE, read_flight
from .phases import PLANNED, Phase
from .reference import FigureEight, rows
from .tick_types import PLAN_SHARE, SEND_SHARE

QUANTITIES = {
    "late_us": "wake-up lateness [us]",
    "solve_us": "planner [us]",
    "tick_us": "state read to set-point sent [us]",
    "state_age_ms": "age of the state [ms]",
}
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}


def summarise(ticks: npt.NDArray[np.void]) -> dict[str, dict[str, float] | int]:
    """Percentiles over the planned ticks, number of ticks and of overruns; quantities never measured are left out.

    Raises:
        LogFormatError: no tick was planned.
    """
    ticks = ticks[np.isin(ticks["phase"], [int(phase) for phase in PLANNED])]
    ticks = ticks[np.isfinite(ticks["reference"][:, 0])]
    if len(ticks) == 0:
        raise LogFormatError("the flight has no planned tick; give the log of a flight that left the ground")
    result: dict[str, dict[str, float] | int] = {"ticks": len(ticks), "overruns": int(ticks["overrun"].sum())}
    for name in QUANTITIES:
        values = ticks[name][np.isfinite(ticks[name])]
        if len(values) == 0:
            continue
        result[name] = {label: float(np.percentile(values, share)) for label, share in PERCENTILES.items()}
    return result


def run_live(bundle: Bundle, duration_s: float, core: int | None, engine: str = "auto") -> npt.NDArray[np.void]:
    """Plan at the bundle's tick rate along a figure-eight, as fast as the deadlines of a flight allow.

    The vehicle is imagined on its reference; only time is measured.

    Args:
        bundle: Verified.
        duration_s: How long [s].
        core: Processor core to stay on; any if None.
        engine: What runs the planner; see `engine_choice.choose`.

    Returns:
        One record per tick with `late_us`, `solve_us`, `tick_us` (wake-up to plan), and `overrun`.
    """
    choice = choose(bundle, engine)
    print(choice.text)
    planner, tick_hz = choice.planner(bundle), bundle.manifest.tick_hz
    period_ns = round(1e9 / tick_hz)
    planner.warm_up()
    path = FigureEight.at_speed(np.array([0.0, 0.0, 1.0]), 3.0, 2.0, 1000)
    ticks = np.zeros(max(1, round(duration_s * tick_hz)), TICK_DTYPE)
    ticks["phase"], ticks["state_age_ms"] = Phase.TRACK, np.nan
    state, disturbance = np.zeros(14), np.zeros(3)
    state[6], state[13] = 1.0, GRAVITY_M_S2
    horizon_s: Vector = np.arange(planner.horizon + 1, dtype=np.float64) * planner.dt_plan_s
    for right in realtime.enter(core).rights:
        print(f"{right.name}: {right.detail}" + ("" if right.obtained else f"; {right.remedy}"))
    ticker = realtime.Ticker(period_ns)
    for number, record in enumerate(tqdm(ticks, desc="ticks", unit="tick", leave=False)):
        nominal_ns, late_ns, skipped = ticker.wait()
        reference = rows(path, horizon_s + number / tick_hz)
        state[0:6] = reference[0, 0:6]
        start_ns = time.monotonic_ns()
        plan = planner.plan(state, reference, disturbance, nominal_ns + round(PLAN_SHARE * period_ns))
        end_ns = time.monotonic_ns()
        record["late_us"], record["solve_us"] = 1e-3 * late_ns, 1e-3 * (end_ns - start_ns)
        record["tick_us"], record["steps"] = 1e-3 * (end_ns - nominal_ns), plan.steps
        record["overrun"] = skipped > 0 or end_ns - nominal_ns > SEND_SHARE * period_ns
    realtime.leave()
    return ticks


DEMO = Path("demo")
"""Where `make demo` leaves its bundle and keys; the default source with --hz."""


def _rates(text: str) -> list[float]:
    """Rates [Hz] from a text like 100,250,500."""
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of rates like 100,250,500") from error
    if not rates or not all(1.0 <= rate <= 2000.0 for rate in rates):
        raise argparse.ArgumentTypeError(f"{text!r}: every rate must be within [1, 2000] Hz")
    return rates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench tick`."""
    parser.add_argument(
        "source", type=Path, nargs="?", default=None,
        help="flight log (MCAP), or a bundle directory to run live; demo/bundle if not given",
    )  # fmt: skip
    parser.add_argument("--keys", type=Path, default=None, help="directory of trusted public keys, for a bundle")
    parser.add_argument(
        "--hz", type=_rates, default=None, help="rates at which the whole tick runs against sim-fc, like 100,250,500 [Hz]"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long every rate is run [s]")
    parser.add_argument(
        "--loads", nargs="+", choices=("alone", "loaded"), default=["alone", "loaded"], help="with the other core idle, and kept busy"
    )
    parser.add_argument("--no-pre-warm", action="store_true", help="sleep until the tick instead of running the planner right before")
    parser.add_argument("--duration-s", type=float, default=10.0, help="how long a bundle is run without --hz [s]")
    parser.add_argument("--core", type=int, default=None, help="processor core to stay on, for a bundle")
    add_argument(parser)
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")


def _run_rates(arguments: argparse.Namespace) -> int:
    from .bench_loop import run_rates

    if not arguments.seconds > 0.0:
        raise InputError(f"--seconds is {arguments.seconds:g}, must be above 0")
    figures = run_rates(
        arguments.source,
        arguments.keys,
        arguments.hz,
        arguments.seconds,
        arguments.core,
        not arguments.no_pre_warm,
        tuple(arguments.loads),
        arguments.planner_engine,
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print("next: `tubepilot fly` with this bundle, then `tubepilot bench tick` on its flight log")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Print the timing of a flight, or of a bundle run live."""
    if arguments.source is None:
        if not (DEMO / "bundle").is_dir():
            raise InputError("no source is given and demo/bundle is not there: name a flight log or a bundle, or `make demo`")
        arguments.source, arguments.keys = DEMO / "bundle", arguments.keys or DEMO / "keys"
    if arguments.hz is not None:
        if not arguments.source.is_dir():
            raise InputError(f"--hz runs a bundle; {arguments.source} is not a bundle directory")
        return _run_rates(arguments)
    if arguments.source.is_dir():
        ticks = run_live(read_bundle(arguments.source, arguments.keys), arguments.duration_s, arguments.core, arguments.planner_engine)
        print(f"refinement steps per tick: mean {ticks['steps'].mean():.2f}")
        result = summarise(ticks)
    else:
        result = summarise(read_flight(arguments.source).ticks)
    print(f"{'':36}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}")
    for name, label in QUANTITIES.items():
        values = result.get(name)
        if isinstance(values, dict):
            print(f"{label:36}" + "".join(f"{value:9.1f}" for value in values.values()))
    print(f"{result['ticks']} planned ticks, {result['overruns']} overruns")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.source.is_dir():
        print("next: `tubepilot fly` with this bundle, then `tubepilot bench tick` on its flight log")
    else:
        print(f"next: `tubepilot report {arguments.source}` draws the histogram")
    return 0
