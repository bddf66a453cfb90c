"""Which slot is active: a symbolic link, or on file systems without them (FAT on removable drives) a file that names the slot.

Either is replaced in one step (rename(2)). FAT keeps no journal: there, a power cut within that very step can lose the name;
both slots stay whole, and the bundle is flashed again.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError

SLOTS = ("slot-a", "slot-b")
ACTIVE = "active"
WITHOUT_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What symlink(2) says on file systems that have none."""

LONGEST = 64
"""Bytes read of a file that should name a slot."""


def sync_directory(folder: Path) -> None:
    """Bring a folder's entries onto the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_active(target: Path) -> str | None:
    """Name of the active slot; None before the first bundle.

    Args:
        target: Directory of the slots; an absent one reads as empty.

    Raises:
        InputError: what should name it does not.
    """
    pointer = target / ACTIVE
    if pointer.is_symlink():
        name = os.readlink(pointer)
    elif pointer.is_file():
        with pointer.open("rb") as stream:
            name = stream.read(LONGEST).decode("ascii", "replace").strip()
    elif pointer.exists():
        name = ""
    else:
        return None
    if name not in SLOTS:
        raise InputError(f"{pointer} must name {' or '.join(SLOTS)}; move what is there and flash again")
    return name


def write_active(target: Path, slot: str) -> None:
    """Let a slot be the active one, in one step."""
    temporary = target / f".{ACTIVE}.new"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(slot)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        with temporary.open("w", encoding="ascii") as stream:
            stream.write(slot + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    os.replace(temporary, target / ACTIVE)
    sync_directory(target)


def target_of(path: Path) -> Path | None:
    """Directory of the slots that a path means: itself, or the one whose `active` it is; None if it is no such thing."""
    if path.name == ACTIVE and (path.is_symlink() or path.is_file()):
        return path.parent
    pointer = path / ACTIVE
    return path if pointer.is_symlink() or pointer.is_file() else None
