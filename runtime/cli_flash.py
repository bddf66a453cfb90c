"""Put a bundle into the inactive slot of a companion, check it there, and activate it with one rename.

TARGET is a local directory, or user@host:path over the system's ssh and rsync; the companion needs the on-board install
only. Checked there: signature, lengths, hashes, self-test vectors, and that the version does not go back. A new
bundle is on trial until --mark-good; --fall-back returns to the last good slot. Fly with `tubepilot fly TARGET/active`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError

from . import slots
from .engine_choice import make_ready
from .slots_remote import RemoteTarget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", type=Path, nargs="?", default=None, metavar="BUNDLE",
                        help="bundle directory from `tubepilot export`; only to flash")  # fmt: skip
    parser.add_argument("target", metavar="TARGET", help="directory of the slots, or user@host:path")
    keys = "folder of trusted public keys on the machine of TARGET; ~/.config/tubepilot/trusted if absent"
    parser.add_argument("--keys", type=Path, metavar="DIR", default=None, help=keys)
    parser.add_argument("--allow-rollback", action="store_true", help="accept a version that is not above the last one")
    parser.add_argument("--remote-python", default="python3", metavar="PROGRAM",
                        help="Python of the on-board install, on the machine of TARGET")  # fmt: skip
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--mark-good", action="store_true", help="end the trial of the active slot")
    steps.add_argument("--fall-back", action="store_true", help="return to the last good slot")
    steps.add_argument("--status", action="store_true", help="print what TARGET holds")


def _local(args: argparse.Namespace, target: Path) -> slots.Status:
    keys = args.keys.expanduser() if args.keys is not None else None
    if args.mark_good:
        slots.mark_good(target, keys)
    elif args.fall_back:
        slots.fall_back(target)
    elif not args.status:
        slots.flash(args.bundle, target, keys, args.allow_rollback)
        said = make_ready(target / str(slots.status(target).active), keys)
        if said:
            print(said)
    return slots.status(target)


def _remote(args: argparse.Namespace, remote: RemoteTarget) -> slots.Status:
    if args.mark_good:
        return remote.step("mark-good", args.keys)
    if args.fall_back:
        return remote.step("fall-back", args.keys)
    if args.status:
        return remote.step("status", args.keys)
    return remote.flash(args.bundle, args.keys, args.allow_rollback)


def run(args: argparse.Namespace) -> int:
    """Do what was asked and print what the target holds then."""
    only_target = args.mark_good or args.fall_back or args.status
    if only_target == (args.bundle is not None):
        raise InputError("give BUNDLE and TARGET to flash; TARGET alone with --mark-good, --fall-back or --status")
    remote = RemoteTarget.parse(args.target, args.remote_python)
    after = _local(args, Path(args.target).expanduser()) if remote is None else _remote(args, remote)
    trial = f"on trial, last good: {after.previous or 'none'}" if after.trial else "marked good"
    print(f"{args.target}: active {after.active or 'none'} ({trial})")
    if after.active is None:
        print(f"next: tubepilot flash BUNDLE {args.target}")
        return 0
    where, path = ("next", args.target) if remote is None else (f"next, on {remote.host}", remote.path)
    good = f"; after a good flight: tubepilot flash --mark-good {args.target}" if after.trial else ""
    print(f"{where}: tubepilot fly {path}/active --link ...{good}")
    return 0
