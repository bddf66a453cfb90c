"""Draw a flight log as one self-contained HTML page and one PNG.

Shows the 3-D path against the reference, the tracking error, the tick-time histogram with the deadline, what plan
refinement gained, the shield's decisions and the margin to the certified invariant set. The page loads nothing from
the network. Positions in world ENU [m], times in seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .flight_log import read_flight
from .report import write
from .report_bundle import bundle_rows
from .report_data import load_truth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("flight", type=Path, metavar="FLIGHT.mcap", help="flight log that `tubepilot fly` wrote")
    truth = "true motion from `tubepilot sim-fc --truth`, world ENU [m]; errors are then true ones"
    parser.add_argument("--truth", type=Path, metavar="FILE.npz", default=None, help=truth)
    parser.add_argument("--bundle", type=Path, metavar="DIR", default=None, help="bundle that flew, for its table")
    out = Path("report")
    parser.add_argument("--out", type=Path, metavar="DIR", default=out, help="folder for report.html and report.png")
    parser.add_argument("--title", default="", help="headline; the airframe and the log's name if empty")


def run(args: argparse.Namespace) -> int:
    """Write the report and print the figures that matter most."""
    flight = read_flight(args.flight)
    truth = load_truth(args.truth) if args.truth is not None else None
    rows = bundle_rows(args.bundle) if args.bundle is not None else []
    title = args.title or f"Flight of {flight.meta.get('airframe', 'the vehicle')}: {args.flight.stem}"
    report, data = write(flight, truth, args.out, title, rows)
    if data.figures is not None:
        print(f"position RMSE {data.figures.rmse_m * 100.0:.1f} cm ({data.figures.source})")
    print(f"tick p50 {data.tick_ms.p50:.2f} ms, p99.9 {data.tick_ms.p999:.2f} ms, deadline {data.deadline_ms:g} ms")
    print(f"report: {report.page} and {report.sheet}; next: open the page in a browser, or fly again")
    return 0
