"""What every command asks of its options before it starts, and what it says when the file system refuses."""

from __future__ import annotations

import argparse
import errno
import math

from tubepilot.firmware_bridge.errors import InputError

REMEDIES = {
    errno.ENOSPC: "the disk is full: make room and run it again",
    errno.EDQUOT: "the quota is used up: make room and run it again",
    errno.EROFS: "it is read-only: choose a folder that can be written",
    errno.EACCES: "no permission: choose a folder that this user may read and write",
    errno.EPERM: "no permission: choose a folder that this user may read and write",
    errno.ENOENT: "there is no such file or folder: check the path",
    errno.ENOTDIR: "a part of the path is a file: choose another one",
    errno.EISDIR: "it is a folder: give a file",
    errno.EEXIST: "it is there and is a file: choose another one",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


class UsageError(InputError):
    """An option has a value that no command can use: wrong usage, like an option that does not exist."""


def checked(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """The options, if every number among them is finite and no whole number is negative (a default may be what it is).

    Raises:
        UsageError: one is not; the text names option and value.
    """
    for name, value in vars(arguments).items():
        if value is parser.get_default(name):
            continue
        option = "--" + name.replace("_", "-")
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise UsageError(f"{option} is {number}; it must be a finite number")
            if isinstance(number, int) and not isinstance(number, bool) and number < 0:
                raise UsageError(f"{option} is {number}; it must be 0 or above")
    return arguments


def refused(error: OSError) -> str:
    """What the file system refused, where, and what to do."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = f"{' -> '.join(names)}: " if names else ""
    return f"{what}{error.strerror or error}; {REMEDIES.get(error.errno or 0, 'check path, rights and room')}"
