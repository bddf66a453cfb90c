"""Run a flight again: planner and shield decide once more from what the log holds, and every set-point is compared bit for bit.

Give the bundle that flew; the log names it and its hash, and what ran the planner's graphs (the same does now, if it can). Status 0 if
everything came out again to the last bit, or, if something else runs now (another build of onnxruntime, another compiled planner,
another kind of machine), every verdict did and set-points and margins within the stated bounds.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from tubepilot.firmware_bridge.errors import InputError, LogFormatError

from . import decision_log
from .bundle import Bundle, read_bundle
from .engine_choice import WISHES, Choice, choose
from .flight_log import read_flight
from .replay import BOUND_M_S2, BOUND_MARGIN, BOUND_RAD_S, replay
from .shield import Shield
from .surroundings import from_meta


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot replay`."""
    parser.add_argument("log", type=Path, help="flight log (MCAP) that `tubepilot fly` wrote")
    parser.add_argument("--bundle", type=Path, default=None, help="bundle that flew; the one that the log names if not given")
    parser.add_argument("--keys", type=Path, default=None, help="directory of trusted public keys")
    parser.add_argument(
        "--planner-engine", choices=WISHES, default="auto", help="what runs the planner's graphs; what flew, if it can, with auto"
    )
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")


def _chosen(bundle: Bundle, wish: str, meta: Mapping[str, Any]) -> Choice:
    """The engine of the flight, unless another one is asked for; older logs name none: onnxruntime."""
    flown = str(meta.get("planner_engine", "onnxruntime"))
    return choose(bundle, wish if wish != "auto" or flown == "compiled" else "onnxruntime")


def _ran(version: str, machine: str, meta: Mapping[str, Any]) -> str:
    """What decides about the last bit, as text."""
    library = str(meta.get("planner_library_sha256", ""))
    return f"onnxruntime {version} on {machine}, planner by {f'library {library[:16]}' if library else 'onnxruntime'}"


def run(arguments: argparse.Namespace) -> int:
    """Replay and compare; status 1 if a set-point differs."""
    flight = read_flight(arguments.log)
    if not flight.decisions:
        raise LogFormatError(f"{arguments.log} holds no decisions: an older version wrote it, or the flight never planned")
    decisions = decision_log.decode(list(flight.decisions), int(flight.meta.get("horizon", 0)))
    bundle = read_bundle(arguments.bundle or Path(str(flight.meta.get("bundle", ""))), arguments.keys)
    wanted = str(flight.meta.get("bundle_sha256", ""))
    if bundle.manifest_sha256 != wanted:
        raise InputError(
            f"the log was flown with the bundle {wanted[:16]}, this one is {bundle.manifest_sha256[:16]}: give --bundle of the flight"
        )
    choice = _chosen(bundle, arguments.planner_engine, flight.meta)
    planner, shield = choice.planner(bundle), Shield.from_bundle(bundle)
    around = from_meta(flight.meta)
    if around is not None:
        shield.keep_clear(around.for_shield())
        planner.keep_clear(*around.for_planner(), around.speed_m_s)
    found = replay(planner, shield, decisions)
    then = _ran(str(flight.meta.get("onnxruntime", "?")), str(flight.meta.get("machine", "?")), flight.meta)
    now = _ran(onnxruntime.__version__, platform.machine(), choice.meta)
    cut = "" if flight.complete else "; the log was cut off, this is all of it"
    print(f"{found.ticks} ticks, {found.plans} plans and {found.verdicts} verdicts of the shield replayed{cut}")
    if found.skipped:
        print(f"{found.skipped} ticks before the planner's first reset in the log cannot be replayed")
    print(choice.text)
    print(f"then: {then}\nnow:  {now}")
    print(f"differ: {found.differ['plan']} of {found.plans} planned set-points; of {found.verdicts} decisions of the shield:")
    what = {"verdict": "accept, backup or void", "reason": "the reason", "sent": "the set-point sent", "margin": "the margin"}
    print("  " + ", ".join(f"{text} {found.differ[kind]}" for kind, text in what.items()))
    print(f"largest difference: {found.rate_rad_s:.3g} rad/s, {found.thrust_m_s2:.3g} m/s^2, {found.margin:.3g} of a margin")
    if arguments.json is not None:
        fields = {name: getattr(found, name) for name in found.__slots__}
        arguments.json.write_text(json.dumps({**fields, "then": then, "now": now}, indent=2) + "\n", encoding="utf-8")
    if found.exact:
        print("every set-point came out again, bit for bit")
        return 0
    if then != now and found.within_bound:
        print(
            f"not bit for bit, but every verdict and reason, set-points within {BOUND_RAD_S:g} rad/s and {BOUND_M_S2:g} m/s^2, margins "
            f"within {BOUND_MARGIN:g}, as another build or engine may be"
        )
        return 0
    if found.margin > BOUND_MARGIN:
        print(f"a margin differs by more than {BOUND_MARGIN:g}, which is taken off for rounding: do not fly with this onnxruntime")
    print(f"first difference at t_ns {found.first}; next: `tubepilot verify` the bundle on this machine")
    return 1
