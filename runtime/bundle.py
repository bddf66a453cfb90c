"""Read a bundle: signature over the manifest first, then length and hash of every file, and only then its content.

A bundle is a folder of plain files. Nothing is opened through a symbolic link, nothing outside the folder is touched,
nothing larger than its stated length is read, and a file that the manifest does not name is refused.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import BundleError

from . import keys as keys_module
from . import manifest as manifest_module
from .manifest import Manifest

SIGNATURE = "manifest.sig"
MOST_MANIFEST_BYTES = 1024 * 1024
MOST_ARRAY_BYTES = 256 * 1024 * 1024
"""Largest total of the arrays in one .npz file after unpacking."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: Folder it was read from.
        manifest: Parsed manifest.
        manifest_sha256: Hash of its exact bytes: the identity of the bundle in flight logs.
        signer: Name of the trusted key file that verified it.
        fingerprint: Of that key.
        files: Content of every file by name; these bytes are the ones that were hashed.
    """

    path: Path
    manifest: Manifest
    manifest_sha256: str
    signer: str
    fingerprint: str
    files: Mapping[str, bytes]

    def arrays(self, name: str) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays of a .npz file of the bundle.

        Raises:
            BundleError: it is not one, holds objects, or unpacks to more than the limit.
        """
        return read_arrays(self.files[name], name)


def read_bundle(path: Path, trusted: Path | None = None) -> Bundle:
    """Verify and read a bundle.

    Args:
        path: The bundle's folder (may itself be reached through a link, as an active slot is).
        trusted: Folder of trusted public keys; `keys.default_folder()` if None.

    Returns:
        Manifest and content of every file.

    Raises:
        BundleError: anything is missing, added, altered, too large, linked, or signed by no trusted key. The message
            begins with the name of the file that is wrong.
    """
    folder = keys_module.default_folder() if trusted is None else trusted
    known = keys_module.load_trusted(folder)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BundleError(f"{path}: not a bundle folder: {error.strerror}; give the folder of an export") from error
    try:
        content = _read(directory, manifest_module.NAME, MOST_MANIFEST_BYTES)
        signature = _read(directory, SIGNATURE, keys_module.SIGNATURE_BYTES)
        signer = keys_module.verify(content, signature, known)
        if signer is None:
            tried = ", ".join(key.fingerprint for key in known)
            raise BundleError(
                f"{SIGNATURE}: no key in {folder} verifies {manifest_module.NAME}: it was altered, or signed by a key "
                f"that is not trusted here; tried {tried}: compare with the fingerprint that the export printed, then on this "
                "machine: tubepilot keys trust FILE.pub"
            )
        manifest = manifest_module.parse(content)
        _check_listing(directory, manifest)
        files = {entry.name: _read_entry(directory, entry) for entry in manifest.files}
    finally:
        os.close(directory)
    digest = hashlib.sha256(content).hexdigest()
    return Bundle(path, manifest, digest, signer.name, signer.fingerprint, files)


def _check_listing(directory: int, manifest: Manifest) -> None:
    """The folder holds exactly the files that the manifest names.

    Raises:
        BundleError: one is missing, or there is another.
    """
    wanted = {entry.name for entry in manifest.files} | {manifest_module.NAME, SIGNATURE}
    present = set(os.listdir(directory))
    for name in sorted(wanted - present):
        raise BundleError(f"{name}: missing from the bundle; copy or export it again")
    for name in sorted(present - wanted):
        raise BundleError(f"{name[:80]!r}: not named in {manifest_module.NAME}; remove it or export again")


def _read(directory: int, name: str, most: int) -> bytes:
    """Content of a plain file of the folder, never following a link.

    Raises:
        BundleError: no such file, not a plain file, empty, or larger than `most` bytes.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        raise BundleError(f"{name}: cannot be opened as a plain file: {error.strerror}; export it again") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BundleError(f"{name}: is not a plain file; export the bundle again")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(most + 1) if status.st_size <= most else b""
    if not 0 < len(content) <= most:
        raise BundleError(f"{name}: {status.st_size} bytes, must be 1 to {most}; export the bundle again")
    return content


def _read_entry(directory: int, entry: manifest_module.FileEntry) -> bytes:
    content = _read(directory, entry.name, manifest_module.MOST_BYTES)
    if len(content) != entry.bytes:
        raise BundleError(f"{entry.name}: {len(content)} bytes, expected {entry.bytes}; copy or export it again")
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise BundleError(f"{entry.name}: sha256 {digest}, expected {entry.sha256}; copy or export it again")
    return content


def read_arrays(content: bytes, name: str) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of a .npz file from memory, without pickle and with a bound on what it unpacks to.

    Args:
        content: Bytes of the file.
        name: File name, for the message.

    Raises:
        BundleError: see `Bundle.arrays`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > MOST_ARRAY_BYTES:
            raise BundleError(f"{name}: unpacks to {total} bytes, the limit is {MOST_ARRAY_BYTES}; export again")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        raise BundleError(f"{name}: not readable arrays: {error}; export the bundle again") from error
