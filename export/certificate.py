"""The files that `tubepilot certify` writes, checked for agreement before they go into a bundle."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubepilot.firmware_bridge.errors import CertificateError

TOML, ARRAYS, BACKUP, SHIELD = "certificate.toml", "certificate.npz", "backup.onnx", "shield.onnx"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Bytes of a certificate folder.

    Attributes:
        toml, arrays: The certificate.
        backup, shield: The graphs it speaks of; their hashes are in its table [graphs].
        parsed: Content of the TOML file.
    """

    toml: bytes
    arrays: bytes
    backup: bytes
    shield: bytes
    parsed: dict[str, Any]

    def table(self, name: str) -> dict[str, Any]:
        """A table of the certificate, empty if it has none of this name."""
        found = self.parsed.get(name, {})
        return dict(found) if isinstance(found, dict) else {}


def read_certificate(folder: Path) -> CertificateFiles:
    """Read a certificate folder and check that it names the very graphs that lie beside it.

    Raises:
        CertificateError: a file is missing or unreadable, or the hash of a graph is not the certified one.
    """
    contents: dict[str, bytes] = {}
    for name in (TOML, ARRAYS, BACKUP, SHIELD):
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise CertificateError(
                f"{folder / name}: cannot be read: {error.strerror}; run `tubepilot certify` into {folder}"
            ) from error
    try:
        parsed = tomllib.loads(contents[TOML].decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CertificateError(f"{folder / TOML}: not readable TOML: {error}; certify again") from error
    certified = parsed.get("graphs")
    for key, name in (("backup_sha256", BACKUP), ("shield_sha256", SHIELD)):
        wanted = certified.get(key) if isinstance(certified, dict) else None
        digest = hashlib.sha256(contents[name]).hexdigest()
        if digest != wanted:
            raise CertificateError(
                f"{folder / name}: sha256 {digest}, but {TOML} certifies graphs.{key} = {wanted}; certify again"
            )
    return CertificateFiles(contents[TOML], contents[ARRAYS], contents[BACKUP], contents[SHIELD], parsed)
