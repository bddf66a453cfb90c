"""Files and directories that are either the old ones or the new ones, whatever moment the process dies at."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(folder: Path) -> None:
    """Refuse a place for results before the work that they take, rather than after it.

    Args:
        folder: Folder that will be written into, or made; what is made here to try it is taken away again.

    Raises:
        InputError: it is a file, or cannot be made or written.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file")
        with tempfile.NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}; choose another --out") from error


def write_file(path: Path, content: bytes) -> None:
    """Replace a file by new content: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: File to write; its folder is created.
        content: Complete new content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace a directory by a newly filled one.

    POSIX has no atomic swap of two full directories in Python's library; the old one is renamed aside first. A
    process that dies between the two renames leaves the old one under `<name>.previous`, which `recover_directory`
    puts back.

    Args:
        path: Directory to replace or create.
        fill: Writes the files of the new directory into the empty folder that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_directory(path)
    new = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        fill(new)
        for file in new.iterdir():
            _sync(file)
        _sync(new)
        new.chmod(0o755)
        if path.exists():
            os.replace(path, _previous(path))
        os.replace(new, path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        recover_directory(path)
        raise
    _sync(path.parent)
    shutil.rmtree(_previous(path), ignore_errors=True)


def recover_directory(path: Path) -> None:
    """Undo a replacement that was cut short: put the previous directory back if the new one is not in place."""
    previous = _previous(path)
    if previous.is_dir():
        if path.exists():
            shutil.rmtree(previous)
        else:
            os.replace(previous, path)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")
