"""Check this machine: each line OK, WARN or FAIL, with its remedy.

Exit status 0 if it can fly (no FAIL), 1 otherwise. Takes about two seconds, of which one measures how late the
machine wakes up [us].
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError

from . import engine_choice
from .doctor import Check, Level, examine
from .doctor_planner import check_planner
from .keys import default_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--logs", type=Path, metavar="DIR", default=Path(), help="folder the flight logs go to")
    keys = default_folder()
    parser.add_argument("--keys", type=Path, metavar="DIR", default=keys, help="folder of trusted public keys (*.pub)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", default=None, help="bundle whose planner is timed and predicted here")
    parser.add_argument(
        "--calibrate", type=Path, metavar="FILE", default=None, help="write this machine's speed for `tubepilot export --device FILE`"
    )
    engine_choice.add_argument(parser)
    parser.add_argument("--json", metavar="FILE", default=None, help="write the checks as JSON too; - is stdout")


def _as_json(checks: list[Check]) -> str:
    return json.dumps([{**asdict(check), "level": check.level.value} for check in checks], indent=2) + "\n"


def run(args: argparse.Namespace) -> int:
    """Print the checks and say whether this machine can fly."""
    checks = examine(args.logs, args.keys.expanduser())
    if args.bundle is not None:
        checks += check_planner(args.bundle, args.keys.expanduser(), args.calibrate, args.planner_engine)
    elif args.calibrate is not None:
        raise InputError("--calibrate times the planner of a bundle: give --bundle too")
    failed = [check.name for check in checks if check.level is Level.FAIL]
    if args.json == "-":
        sys.stdout.write(_as_json(checks))
        return 1 if failed else 0
    if args.json is not None:
        Path(args.json).write_text(_as_json(checks), encoding="utf-8")
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.level.value:<4}  {check.name:<{width}}  {check.found}")
        if check.remedy:
            print(f"{'':<6}{'':<{width}}  -> {check.remedy}")
    warned = sum(check.level is Level.WARN for check in checks)
    if failed:
        print(f"not ready to fly: {', '.join(failed)}; next: do what the arrows say, then run `tubepilot doctor` again")
        return 1
    print(f"ready to fly, {warned} warnings; next: `tubepilot verify BUNDLE`, then `tubepilot flash BUNDLE TARGET`")
    return 0
