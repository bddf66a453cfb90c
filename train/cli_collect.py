"""Make flight logs in an independent simulator, or import real ones.

Without --import, rotorpy's physics (or crazyflow's, --simulator) is flown by rotorpy's own controller along rotorpy's own
trajectories in wind of 0 to 4 m/s, one NPZ file per flight. With --import, CSV files of the nano-drone and NanoBench
sets, PX4 logs (.ulg), ArduPilot logs (.bin), tubepilot's own flight logs (.mcap) and NPZ flights are converted: uniform
rate, ENU/FLU, SI, delay between command and response measured.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError, LogFormatError

from .atomic import require_writable
from .flight import save_flight


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=Path("flights"), help="folder that gets one NPZ file per flight")
    parser.add_argument("--flights", type=int, default=8, help="number of simulated flights")
    parser.add_argument("--duration-s", type=float, default=26.0, help="length of each simulated flight [s]")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="flights made at a time")
    parser.add_argument("--seed", type=int, default=0, help="seed of trajectories, wind and excitation")
    parser.add_argument(
        "--wind-m-s", type=float, nargs="+", metavar="SPEED", help="mean wind of the flights in turn; 0 to 4 m/s if not given [m/s]"
    )
    parser.add_argument("--mass-factor", type=float, default=1.0, help="mass over nominal [1], a payload that nobody is told of")
    parser.add_argument(
        "--simulator", choices=("rotorpy", "crazyflow"), default="rotorpy", help="whose vehicle is flown; crazyflow is an extra"
    )
    parser.add_argument(
        "--airframe", choices=("crazyflie", "five-inch"), default="crazyflie",
        help="vehicle that rotorpy flies; crazyflow has its own",
    )
    parser.add_argument("--import", dest="logs", type=Path, nargs="+", metavar="FILE", help="real logs to import")


def run(args: argparse.Namespace) -> int:
    """Make or import the flights.

    Raises:
        InputError: an option is outside its range.
        LogFormatError: no log could be imported.
    """
    folder: Path = args.out
    require_writable(folder)
    if args.logs:
        written = import_logs(args.logs, folder)
    else:
        if not 1 <= args.flights <= 1000 or not 2.0 <= args.duration_s <= 600.0 or args.processes < 1:
            raise InputError(
                f"--flights is 1 to 1000, --duration-s 2 to 600 s, --processes at least 1; "
                f"got {args.flights}, {args.duration_s}, {args.processes}"
            )
        if args.simulator == "crazyflow" and args.airframe != "crazyflie":
            raise InputError(f"--airframe {args.airframe}: crazyflow flies its own Crazyflie; leave --simulator crazyflow out")
        wind = args.wind_m_s or None
        if not all(0.0 <= speed <= 15.0 for speed in wind or ()) or not 0.5 <= args.mass_factor <= 1.6:
            raise InputError(
                f"--wind-m-s is 0 to 15 m/s, --mass-factor 0.5 to 1.6 (heavier, the vehicle has no force left to steer); got "
                f"{wind}, {args.mass_factor}"
            )
        from .collect import WIND_M_S, collect, missions  # rotorpy takes two seconds to import; real logs do not need it

        plan = missions(args.flights, args.duration_s, args.seed, wind or WIND_M_S, args.mass_factor, args.simulator, args.airframe)
        written = collect(folder, plan, args.processes)
    print(f"{len(written)} flights in {folder}\nnext: tubepilot train {folder} --out checkpoint")
    return 0


def import_logs(logs: list[Path], folder: Path) -> list[Path]:
    """Convert logs to NPZ flights; says what was found in each.

    Args:
        logs: Files of any known format.
        folder: Where the NPZ files go.

    Returns:
        The files written.

    Raises:
        LogFormatError: a log cannot be used; those before it are written.
    """
    from .logs import read_log

    written = []
    for path in tqdm(logs, desc="import", unit="log", disable=len(logs) < 2):
        flight = read_log(path)
        target = folder / f"{flight.name}.npz"
        if target.resolve() == path.resolve():
            raise LogFormatError(f"{path}: the imported flight would overwrite its source; choose another --out")
        save_flight(target, flight)
        written.append(target)
        meta = flight.meta
        notes = [str(meta["lost"])] if "lost" in meta else []
        if "thrust_scale_estimate_m_s2" in meta:
            notes.append(f"thrust scale about {meta['thrust_scale_estimate_m_s2']} m/s^2 by the accelerometer")
        tqdm.write(
            f"{flight.name}: {len(flight)} samples at {meta['rate_hz']:g} Hz, {meta['action_level']}, lag "
            f"{meta.get('lag_s')} s, {meta.get('dropped_samples')} samples dropped"
            + "".join(f"; {note}" for note in notes)
        )
    return written
