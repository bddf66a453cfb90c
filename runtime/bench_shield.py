"""Fly an adversary that always asks for the worst admissible set-point, through tick and shield, on the independent simulator.

Every flight has its own fence, floor, obstacles, wind, gusts, payload, delays, missed ticks and errors; every third one something
that breaks an assumption of the certificate. Counted: flights that leave the fence, or touch floor or obstacle, although every
assumption held, and alarms of the shield's watch in them (both must be 0); and of the flights in which one was broken, how many
did so before the certificate was declared void (must be 1 % at most). What was broken is measured from the simulator's states.
Rows are kept in FILE.rows as they come: the same command goes on where it was stopped, and `--part 1/2` and `--part 2/2` share the
work of two processes. The picture lies beside the JSON file. Exit status: 0 both hold, 1 one does not or not all flights are flown yet.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError, LogFormatError, MissingExtraError

from .bundle import read_bundle
from .on_board import load_on_board

VOID_SHARE = 0.99
"""Of the flights with a broken assumption so many must not end beyond fence, floor or obstacle with the certificate still standing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench shield`."""
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"), help="bundle directory")
    parser.add_argument("--keys", type=Path, default=Path("demo/keys"), help="directory of trusted public keys")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures; the picture lies beside it")
    parser.add_argument("--flights", type=int, default=1000, help="number of flights")
    parser.add_argument("--seconds", type=float, default=7.0, help="longest flight [s]; the first 2 s it hovers in the open")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first flight; the others follow")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="fly only every N-th of them, from the I-th on")


def run(arguments: argparse.Namespace) -> int:
    """Fly what is not flown yet, count, print, draw.

    Raises:
        InputError: an option cannot be used, or the rows are of another bundle.
        MissingExtraError: the simulator is missing.
    """
    part, parts = _part(arguments)
    try:
        from .bench_shield_flight import fly
    except ModuleNotFoundError as error:
        raise MissingExtraError('bench shield needs rotorpy; install it: pip install "tubepilot[sim]"') from error
    on_board = load_on_board(arguments.bundle, arguments.keys)
    certificate = tomllib.loads(read_bundle(arguments.bundle, arguments.keys).files["certificate.toml"].decode())
    mark = {"bundle": str(on_board.meta["bundle_sha256"]), "seconds": arguments.seconds}
    rows = arguments.json.with_suffix(".rows")
    flown = read_rows(rows, mark)
    wanted = range(arguments.seed, arguments.seed + arguments.flights)
    own = [seed for number, seed in enumerate(wanted) if number % parts == part and seed not in flown]
    with rows.open("a", encoding="utf-8") as file, tqdm(total=len(own), desc="flights", unit="flight") as bar:
        for seed in own:
            row = {**mark, **fly(seed, on_board, certificate, arguments.seconds).row()}
            file.write(json.dumps(row) + "\n")
            file.flush()
            bar.update()
    flown = read_rows(rows, mark)
    done = [flown[seed] for seed in wanted if seed in flown]
    figures = {**counts(done), **mark, "seed": arguments.seed, "asked": arguments.flights}
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print_counts(figures)
    picture = arguments.json.with_suffix(".png")
    _draw(done, figures, picture)
    print(f"written: {arguments.json}, {rows}, {picture}")
    if len(done) < arguments.flights:
        print(f"{len(done)} of {arguments.flights} flights are flown; next: the same command goes on (other parts: --part)")
        return 1
    print("next: `tubepilot fly --keep-clear FILE` keeps clear of your own fence, floor and obstacles")
    return 0 if figures["holds"] else 1


def _part(arguments: argparse.Namespace) -> tuple[int, int]:
    numbers = arguments.part.split("/")
    if len(numbers) != 2 or not all(text.isdecimal() for text in numbers) or not 1 <= int(numbers[0]) <= int(numbers[1]):
        raise InputError(f"--part is {arguments.part!r}: it must be I/N with I from 1 to N, such as 1/2")
    if arguments.flights < 1 or not 3.0 <= arguments.seconds <= 60.0:
        raise InputError(f"--flights is {arguments.flights}, --seconds is {arguments.seconds:g}: at least 1, and 3 to 60 s")
    if not arguments.json.absolute().parent.is_dir() or arguments.json.suffix in (".png", ".rows"):
        raise InputError(f"--json {arguments.json}: a file in a folder that exists is expected, not ending in .png or .rows")
    return int(numbers[0]) - 1, int(numbers[1])


def read_rows(path: Path, mark: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Flights by seed; a last line that was cut off is left out.

    Raises:
        LogFormatError: a line in the middle is damaged, or the flights are of another bundle or length.
    """
    result: dict[int, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            same, seed = all(row[name] == value for name, value in mark.items()), int(row["seed"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise LogFormatError(f"{path}, line {number}: damaged ({error}); move the file away and fly again") from error
        if not same:
            raise LogFormatError(f"{path}, line {number}: flown with another bundle or length; move the file away and fly again")
        result[seed] = row
    return result


def counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is counted; see the module's text."""
    held, broken = [r for r in rows if r["held"]], [r for r in rows if not r["held"]]
    late = [r for r in broken if r["breach_s"] is not None]
    kept = 1.0 - len(late) / len(broken) if broken else 1.0
    breaches = sum(r["breach_s"] is not None for r in held)
    verdicts: Counter[str] = Counter()
    for row in rows:
        verdicts.update(row["verdicts"])
    return {
        "flights": len(rows),
        "held": {
            "flights": len(held), "breaches": breaches, "void": sum(r["void_s"] is not None for r in held),
            "alarms": sum(r["alarms"] for r in held), "seconds": sum(r["duration_s"] for r in held),
            "closest_m": min((r["closest_m"] for r in held), default=None),
        },
        "broken": {
            "flights": len(broken), "void": sum(r["void_s"] is not None for r in broken),
            "neither": sum(r["void_s"] is None and r["breach_s"] is None for r in broken), "breach_before_void": len(late),
            "share_kept": kept, "closest_m": min((r["closest_m"] for r in broken), default=None),
            "by_fault": {
                fault: {
                    "flights": sum(r["fault"] == fault for r in broken),
                    "void": sum(r["fault"] == fault and r["void_s"] is not None for r in broken),
                    "breach_before_void": sum(r["fault"] == fault for r in late),
                }
                for fault in sorted({r["fault"] for r in broken})
            },
            "broken_assumptions": dict(Counter(name for r in broken for name in r["broken"])),
            "reasons": dict(Counter(r["reason"] for r in broken if r["reason"])),
        },
        "late_seeds": [r["seed"] for r in late],
        "breach_seeds": [r["seed"] for r in held if r["breach_s"] is not None],
        "verdicts": dict(verdicts),
        "largest_speed_m_s": max((r["speed_m_s"] for r in rows), default=None),
        "holds": breaches == 0 and kept >= VOID_SHARE and not any(r["alarms"] for r in held),
    }  # fmt: skip


def print_counts(figures: Mapping[str, Any]) -> None:
    """The counts, for people."""
    held, broken = figures["held"], figures["broken"]
    print(f"{figures['flights']} flights of {figures['asked']}; largest speed {figures['largest_speed_m_s'] or 0.0:.1f} m/s; ticks: "
          + ", ".join(f"{name} {count}" for name, count in figures["verdicts"].items()))  # fmt: skip
    print(f"assumptions held      {held['flights']:5d} flights: {held['breaches']} breaches (must be 0), {held['void']} void "
          f"without need, {held['alarms']} false alarms in {held['seconds']:.0f} s; closest {_metres(held['closest_m'])}")  # fmt: skip
    print(f"an assumption broken  {broken['flights']:5d} flights: {broken['void']} void, {broken['neither']} flew on without a "
          f"breach, {broken['breach_before_void']} breached before (at most 1 %: {100 * broken['share_kept']:.1f} % did not); closest "
          f"{_metres(broken['closest_m'])}")  # fmt: skip
    for fault, found in broken["by_fault"].items():
        print(f"  {fault:<14} {found['flights']:5d} flights, {found['void']} void, {found['breach_before_void']} breached before")
    print(f"  reasons: {broken['reasons']}")
    print("holds" if figures["holds"] else f"does NOT hold: seeds {figures['breach_seeds']} (held), {figures['late_seeds']} (broken)")


def _metres(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} m"


def _draw(rows: list[dict[str, Any]], figures: Mapping[str, Any], path: Path) -> None:
    """Paths from above, how close they came, and how long it took to void."""
    try:
        from .bench_shield_picture import draw
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed")
        return
    draw(rows, figures, path)
