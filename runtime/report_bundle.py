"""What a flight report says about the bundle that flew: its manifest as table rows.

The manifest is only shown here, never acted on; its signature and hashes are checked by `tubepilot verify` and before
every flight.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError

_SKIPPED = {"file", "physics", "observation", "cost"}
"""Tables that are long and say nothing to a reader of a flight report."""


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    return str(value)


def bundle_rows(bundle: Path) -> list[tuple[str, str, str]]:
    """Rows (name, value, note) for the report's table.

    Args:
        bundle: Bundle directory.

    Raises:
        BundleError: there is no readable manifest.
    """
    path = bundle / "manifest.toml"
    try:
        data = path.read_bytes()
        manifest = tomllib.loads(data.decode())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}; give the bundle directory that flew") from error
    rows = [("manifest", hashlib.sha256(data).hexdigest()[:16], "first 16 digits of its SHA-256")]
    for name, value in manifest.items():
        if name in _SKIPPED or (isinstance(value, list) and value and isinstance(value[0], dict)):
            continue
        if isinstance(value, dict):
            plain = {key: entry for key, entry in value.items() if not isinstance(entry, dict)}
            rows += [(f"{name}: {key}", _text(entry), "") for key, entry in plain.items()]
        else:
            rows.append((name, _text(value), ""))
    return rows
