"""Signing and trusted keys: Ed25519, 32 bytes each, as plain files outside any bundle.

A bundle is trusted if one of the `*.pub` files in the folder of trusted keys verifies its manifest. Nothing in the
bundle itself can add a key. The signing key stays on the workstation, readable by its owner only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tubepilot.firmware_bridge.errors import BundleError, InputError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
MOST_KEYS = 64
SUFFIX = ".pub"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and the file it came from."""

    name: str
    key: VerifyKey

    @property
    def fingerprint(self) -> str:
        """See `fingerprint`."""
        return fingerprint(self.key)


def default_folder() -> Path:
    """Folder of trusted public keys: `$XDG_CONFIG_HOME/tubepilot/trusted`, else `~/.config/tubepilot/trusted`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "tubepilot" / "trusted"


def fingerprint(key: VerifyKey) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a public key, in groups of four."""
    digits = hashlib.sha256(bytes(key)).hexdigest()[:16]
    return ":".join(digits[i : i + 4] for i in range(0, 16, 4))


def create_signing_key(path: Path) -> SigningKey:
    """Make a new signing key file with mode 0600; an existing file is never overwritten.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    key = SigningKey.generate()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(bytes(key))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"signing key {path} cannot be created: {error}; choose another --signing-key") from error
    return key


def load_signing_key(path: Path) -> SigningKey:
    """Read a signing key.

    Raises:
        InputError: no such file, others than the owner may access it, or it is not 32 bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise InputError(f"signing key {path} cannot be read: {error}") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise InputError(f"signing key {path} has mode {stat.S_IMODE(mode):04o}, must be a plain file of 0600")
    if len(content) != KEY_BYTES:
        raise InputError(f"signing key {path} is not {KEY_BYTES} bytes long; restore it or make a new one")
    return SigningKey(content)


def trust(key: VerifyKey, folder: Path) -> Path:
    """Add a public key to a folder of trusted keys; its file is named by its fingerprint.

    Returns:
        The file.

    Raises:
        InputError: the folder cannot be written.
    """
    path = folder / f"{fingerprint(key).replace(':', '')}{SUFFIX}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(bytes(key))
    except OSError as error:
        raise InputError(f"trusted key {path} cannot be written: {error}; choose another --keys") from error
    return path


def is_trusted(key: VerifyKey, folder: Path) -> bool:
    """Whether a folder of trusted keys holds this one."""
    return folder.is_dir() and any(path.read_bytes() == bytes(key) for path in folder.glob(f"*{SUFFIX}"))


def load_trusted(folder: Path) -> tuple[TrustedKey, ...]:
    """All trusted keys, sorted by file name.

    Raises:
        BundleError: there is none, or a file is not a public key.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    if not paths:
        raise BundleError(
            f"no trusted key: {folder} holds no *{SUFFIX} file; copy the signer's public key there, or give --keys"
        )
    if len(paths) > MOST_KEYS:
        raise BundleError(f"{folder} holds {len(paths)} keys, at most {MOST_KEYS} are read; remove old ones")
    result = []
    for path in paths:
        try:
            with path.open("rb") as file:
                content = file.read(KEY_BYTES + 1)
        except OSError as error:
            raise BundleError(f"trusted key {path} cannot be read: {error}") from error
        if len(content) != KEY_BYTES:
            raise BundleError(f"trusted key {path} is not {KEY_BYTES} bytes of Ed25519 public key; replace it")
        result.append(TrustedKey(path.name, VerifyKey(content)))
    return tuple(result)


def verify(message: bytes, signature: bytes, trusted: tuple[TrustedKey, ...]) -> TrustedKey | None:
    """The trusted key that signed the message, or None."""
    if len(signature) != SIGNATURE_BYTES:
        return None
    for candidate in trusted:
        try:
            candidate.key.verify(message, signature)
        except BadSignatureError:
            continue
        return candidate
    return None
