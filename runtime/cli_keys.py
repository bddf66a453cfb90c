"""Keys: make a signing key for bundles, trust a public key, list what is trusted; make a key for signed MAVLink frames.

`new` makes a signing key and prints its fingerprint; its public half lies beside it and is trusted on this machine. `trust` adds a
public key file, of which the fingerprint is shown: compare it with the signer's over a channel you trust. `list` shows
the keys whose bundles `verify`, `flash` and `fly` accept. `signing` makes the secret that companion and flight controller share
to sign their MAVLink frames; it has nothing to do with bundles.
"""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path

from nacl.signing import VerifyKey

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.signing import KEY_SIZE

from . import keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot keys`."""
    parser.add_argument("action", choices=("new", "trust", "list", "signing"), help="what to do")
    parser.add_argument("file", type=Path, nargs="?", default=None, help="key to make, or public key to trust")
    parser.add_argument("--keys", type=Path, default=keys.default_folder(), metavar="DIR", help="folder of trusted public keys")


def _file(arguments: argparse.Namespace) -> Path:
    if arguments.file is None:
        raise InputError(f"`tubepilot keys {arguments.action}` needs a file; see `tubepilot keys --help`")
    path: Path = arguments.file.expanduser()
    return path


def _new(path: Path, folder: Path) -> None:
    key = keys.create_signing_key(path)
    public = path.with_name(path.name + keys.SUFFIX)
    public.write_bytes(bytes(key.verify_key))
    trusted = keys.trust(key.verify_key, folder)
    print(f"signing key  {path}   keep it on this machine, and a copy where nobody else can read it")
    print(f"public key   {public}   fingerprint {keys.fingerprint(key.verify_key)}, trusted here as {trusted}")
    print(f"next: copy {public.name} to the companion and run there: tubepilot keys trust {public.name}")


def _trust(path: Path, folder: Path) -> None:
    if path.suffix != keys.SUFFIX:  # a signing key is as long: nothing but its name tells it from a public one
        raise InputError(f"{path} is not named *{keys.SUFFIX}; give the public key, the file that was made beside the signing key")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"public key {path} cannot be read: {error.strerror}") from error
    if len(content) != keys.KEY_BYTES:
        raise InputError(f"{path} is {len(content)} bytes long; a public key has {keys.KEY_BYTES}")
    key = VerifyKey(content)
    if keys.is_trusted(key, folder):
        print(f"{keys.fingerprint(key)} is trusted already in {folder}")
        return
    print(f"{keys.fingerprint(key)} is trusted now: {keys.trust(key, folder)}")
    print("compare the fingerprint with the signer's; to take it back, remove that file")


def _signing(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"{path} cannot be made: {error.strerror}; a key is never overwritten, give another name") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(KEY_SIZE) + "\n")
    print(f"key for MAVLink signing  {path}   whoever has it can fly the vehicle")
    print(f"next, over a cable: tubepilot link URI --setup-signing {path}; then add ?signing={path.absolute()} to the URI")


def run(arguments: argparse.Namespace) -> int:
    """Do it.

    Raises:
        InputError: a file is missing, exists already, or is no key.
    """
    folder: Path = arguments.keys.expanduser()
    if arguments.action == "new":
        _new(_file(arguments), folder)
    elif arguments.action == "trust":
        _trust(_file(arguments), folder)
    elif arguments.action == "signing":
        _signing(_file(arguments))
    else:
        paths = sorted(folder.glob(f"*{keys.SUFFIX}")) if folder.is_dir() else []
        for key in keys.load_trusted(folder) if paths else ():
            print(f"{key.fingerprint}  {folder / key.name}")
        print(f"{len(paths)} trusted keys in {folder}")
    return 0
