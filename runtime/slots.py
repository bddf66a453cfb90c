"""A/B slots for bundles on a companion: check a bundle aside, put it into the inactive slot, switch with one rename(2).

A target directory holds `slot-a/`, `slot-b/`, the link `active` to one of them, and two small files: `trial.json`
(the active slot was never marked good, and which slot is the last good one) and `floor.json` (the highest version that
was ever active). A bundle arrives in `incoming/`; only when it has passed every check there does it take the inactive
slot's place. At every instant, also after a power cut, `active` points to a slot that passed every check: the slot is
complete and on disk before the link moves, and the link moves in one step. A new bundle is on trial until `mark-good`;
the last good slot is never overwritten while another is on trial.

Runs on the companion with the on-board install only: `python3 -m tubepilot.runtime.slots --help`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError, InputError, TubepilotError

from .engine_choice import make_ready
from .slot_check import SlotFacts, examine
from .slots_pointer import SLOTS, read_active, sync_directory, write_active

TRIAL, FLOOR = "trial.json", "floor.json"
INCOMING = "incoming"


@dataclass(frozen=True, slots=True)
class Status:
    """What a target holds.

    Attributes:
        active: Name of the active slot; None before the first bundle.
        inactive: The other slot.
        trial: Whether the active slot was never marked good.
        previous: The slot to fall back to; None if there is none.
        floor: Highest version that was ever active; 0 if none was.
    """

    active: str | None
    inactive: str
    trial: bool
    previous: str | None
    floor: int


def _write(path: Path, value: dict[str, object]) -> None:
    """Write a small JSON file so that its name always stands for a whole one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; it is written by `tubepilot flash` only") from error
    return value if isinstance(value, dict) else {}


def status(target: Path) -> Status:
    """What the target holds now.

    Args:
        target: Target directory; an absent one reads as empty.

    Raises:
        InputError: `active` is not a link to one of the slots.
    """
    active = read_active(target)
    inactive = SLOTS[1] if active == SLOTS[0] else SLOTS[0]
    trial = _read(target / TRIAL)
    on_trial = active is not None and trial.get("slot") == active
    previous = trial.get("previous") if on_trial else None
    floor = _read(target / FLOOR).get("version", 0)
    return Status(
        active,
        inactive,
        on_trial,
        str(previous) if previous in SLOTS else None,
        floor if isinstance(floor, int) else 0,
    )


def prepare(target: Path) -> Status:
    """Make an empty `incoming` folder; the slots stay as they are.

    Args:
        target: Target directory, made if absent.

    Raises:
        InputError: `active` is not a link to one of the slots.
    """
    target.mkdir(parents=True, exist_ok=True)
    now = status(target)
    clear(target / INCOMING)
    (target / INCOMING).mkdir()
    return now


def clear(slot: Path) -> None:
    """Remove a folder of the target that is not active."""
    if slot.is_symlink() or slot.is_file():
        slot.unlink()
    elif slot.exists():
        shutil.rmtree(slot)


def copy(bundle: Path, target: Path) -> None:
    """Copy a bundle's files into `incoming`.

    Args:
        bundle: Bundle directory: plain files only.
        target: Prepared target directory.

    Raises:
        BundleError: the bundle is no directory, or holds something that is not a plain file.
    """
    if not bundle.is_dir():
        raise BundleError(f"{bundle} is not a bundle directory; give what `tubepilot export` wrote")
    for entry in sorted(bundle.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            raise BundleError(f"{entry} is not a plain file; a bundle holds nothing else, export it again")
        shutil.copyfile(entry, target / INCOMING / entry.name)


def sync(folder: Path) -> None:
    """Bring a folder's files, the folder and its parent onto the disk."""
    for entry in folder.iterdir():
        if entry.is_file() and not entry.is_symlink():
            with entry.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_directory(folder)
    sync_directory(folder.parent)


def admit(target: Path, keys: Path | None, allow_rollback: bool = False) -> SlotFacts:
    """Check what lies in `incoming`: signature, lengths, hashes, self-test vectors, version.

    Args:
        target: Target directory.
        keys: Folder of trusted public keys; the default one if None.
        allow_rollback: Accept a version that is not above the highest that was ever active.

    Returns:
        What the bundle is. The very bundle of the highest version may come again.

    Raises:
        BundleError: a check failed; the text names the file.
        InputError: the version would go back.
    """
    facts = examine(target / INCOMING, keys)
    floor = _read(target / FLOOR)
    highest = status(target).floor
    same = facts.version == highest and facts.manifest_sha256 == floor.get("manifest_sha256")
    if facts.version <= highest and not same and not allow_rollback:
        raise InputError(
            f"the bundle has version {facts.version}, the target had {highest}; export it with a higher --version, "
            f"or go back on purpose with --allow-rollback"
        )
    return facts


def place(target: Path) -> str:
    """Let what lies in `incoming` take the inactive slot's place.

    A slot on trial gives way: its last good neighbour becomes active again, so that it is not the one overwritten.

    Args:
        target: Target directory; `incoming` was admitted.

    Returns:
        Name of the slot.

    Raises:
        BundleError: the slot does not hold afterwards what `incoming` held (drivers of removable drives were seen to lose a folder's
            files when it is renamed); the active slot is as it was.
    """
    before, held = status(target), _lengths(target / INCOMING)
    if before.trial and before.previous is not None:
        fall_back(target)
    slot = status(target).inactive
    clear(target / slot)
    os.rename(target / INCOMING, target / slot)
    sync_directory(target)
    if _lengths(target / slot) != held:
        raise BundleError(
            f"{target / slot} does not hold the files that were put there; its drive or driver loses them, use another drive"
        )
    return slot


def _lengths(folder: Path) -> dict[str, int]:
    """Names and lengths of a folder's files [bytes]."""
    return {entry.name: entry.stat().st_size for entry in folder.iterdir()}


def activate(target: Path, slot: str, facts: SlotFacts) -> None:
    """Switch to a slot that was admitted; it is on trial from then on.

    Args:
        target: Target directory.
        slot: Name of the slot.
        facts: What it holds.
    """
    # The notes go first: if power fails before the link moves, the trial names a slot that is not active and says
    # nothing, and the floor names this very bundle, which may come again.
    now = status(target)
    if facts.version >= now.floor:
        _write(target / FLOOR, {"version": facts.version, "manifest_sha256": facts.manifest_sha256})
    _write(target / TRIAL, {"slot": slot, "previous": now.active})
    write_active(target, slot)


def install(target: Path, keys: Path | None, allow_rollback: bool = False) -> int:
    """Everything after the copy: onto the disk, check, place, activate. What fails a check is removed again.

    Args:
        target: Target directory.
        keys: Folder of trusted public keys; the default one if None.
        allow_rollback: Accept a version that is not above the highest that was ever active.

    Returns:
        The bundle's version.

    Raises:
        BundleError: a check failed; both slots are as they were.
        InputError: nothing is in `incoming`, or the version would go back.
    """
    incoming = target / INCOMING
    if not incoming.is_dir():
        raise InputError(f"{incoming} is not there; call prepare and copy a bundle into it first")
    try:
        sync(incoming)
        facts = admit(target, keys, allow_rollback)
    except TubepilotError:
        clear(incoming)
        raise
    activate(target, place(target), facts)
    return facts.version


def flash(bundle: Path, target: Path, keys: Path | None, allow_rollback: bool = False) -> int:
    """Put a bundle into the inactive slot of a local target and activate it.

    Args:
        bundle: Bundle directory.
        target: Target directory.
        keys: Folder of trusted public keys; the default one if None.
        allow_rollback: Accept a version that is not above the highest that was ever active.

    Returns:
        The bundle's version.

    Raises:
        BundleError: a check failed; both slots are as they were.
        InputError: the version would go back, or the target cannot be written (full, not ours).
    """
    try:
        prepare(target)
        copy(bundle, target)
        return install(target, keys, allow_rollback)
    except OSError as error:
        with contextlib.suppress(OSError):
            clear(target / INCOMING)
        what = error.filename2 or error.filename or target
        raise InputError(
            f"{what} cannot be written: {error.strerror}; what was active still is: make room or give yourself the right to write to "
            f"{target}, then flash again"
        ) from error


def mark_good(target: Path, keys: Path | None) -> int:
    """End the trial of the active slot: the other slot may be overwritten from now on.

    Args:
        target: Target directory.
        keys: Folder of trusted public keys; the default one if None.

    Returns:
        The version marked good.

    Raises:
        InputError: the target holds no bundle.
        BundleError: the active slot does not pass its checks.
    """
    now = status(target)
    if now.active is None:
        raise InputError(f"{target} holds no bundle; flash one first")
    version = examine(target / now.active, keys).version
    (target / TRIAL).unlink(missing_ok=True)
    sync_directory(target)
    return version


def fall_back(target: Path) -> str:
    """Give up the slot on trial and make the last good one active again.

    Args:
        target: Target directory.

    Returns:
        Name of the slot that is active now.

    Raises:
        InputError: nothing is on trial, or there is nothing to fall back to.
    """
    now = status(target)
    if not now.trial or now.previous is None:
        raise InputError(f"{target} has no slot on trial with another to fall back to; flash the bundle you want")
    write_active(target, now.previous)
    (target / TRIAL).unlink(missing_ok=True)
    sync_directory(target)
    return now.previous


def begin_start(target: Path) -> tuple[Path, str]:
    """Choose the slot to start, and note that a slot on trial is being started.

    The note stays if the start dies with it; the next start then goes back to the last good slot.

    Args:
        target: Target directory.

    Returns:
        The slot's directory, and what the user must know; empty if nothing.

    Raises:
        InputError: the target holds no bundle.
    """
    now, said = status(target), ""
    if now.active is None:
        raise InputError(f"{target} holds no bundle; flash one first")
    if now.trial and now.previous is not None and _read(target / TRIAL).get("starting") is True:
        said = f"{now.active} was started on trial and never came up; back to {now.previous}, the last good slot"
        fall_back(target)
        now = status(target)
    elif now.trial:
        _write(target / TRIAL, {"slot": now.active, "previous": now.previous, "starting": True})
    return target / str(now.active), said


def end_start(target: Path, came_up: bool) -> str:
    """Take the note of `begin_start` back; a slot on trial that did not come up gives way to the last good one.

    Args:
        target: Target directory.
        came_up: The bundle was loaded, passed its self-test, and plans in time.

    Returns:
        What the user must know; empty if nothing.
    """
    now = status(target)
    if not now.trial:
        return ""
    if not came_up and now.previous is not None:
        return f"{now.active} was on trial and does not come up: {target} is back at {fall_back(target)}, the last good slot"
    _write(target / TRIAL, {"slot": now.active, "previous": now.previous})
    return ""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tubepilot.runtime.slots", description=__doc__)
    parser.add_argument("step", choices=("status", "prepare", "install", "mark-good", "fall-back"))
    parser.add_argument("target", type=lambda text: Path(text).expanduser(), help="target directory")
    parser.add_argument("--keys", type=Path, default=None, help="folder of trusted keys; the default one if absent")
    parser.add_argument("--allow-rollback", action="store_true", help="accept a version that is not higher")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one step on this machine and print its outcome as one line of JSON.

    Args:
        argv: Arguments without the program name; the process's own if None.

    Returns:
        Exit status: 0 done, 1 refused with a message on stderr.
    """
    args = _arguments().parse_args(argv)
    keys = args.keys.expanduser() if args.keys is not None else None
    answer: dict[str, object] = {}
    try:
        if args.step == "prepare":
            prepare(args.target)
        elif args.step == "install":
            answer["version"] = install(args.target, keys, args.allow_rollback)
            answer["engine"] = make_ready(args.target / str(read_active(args.target)), keys)
        elif args.step == "mark-good":
            answer["version"] = mark_good(args.target, keys)
        elif args.step == "fall-back":
            fall_back(args.target)
        answer.update(asdict(status(args.target)))
    except TubepilotError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
