"""What a slot must pass before it becomes active, and again when it is marked good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .bundle import read_bundle
from .check_claims import check_agreement
from .self_test import require, self_test


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """What a slot that passed holds.

    Attributes:
        version: The manifest's version, for the protection against going back.
        manifest_sha256: Identity of the bundle.
    """

    version: int
    manifest_sha256: str


def examine(slot: Path, keys: Path | None, run_self_test: bool = True) -> SlotFacts:
    """Check a slot where it lies: signature, lengths, hashes, that manifest and certificate agree, and the self-test vectors here.

    Args:
        slot: Folder of the slot.
        keys: Folder of trusted public keys; the default one if None.
        run_self_test: Run the vectors too.

    Raises:
        BundleError: a check failed; the text begins with the file that is wrong.
        CertificateError: manifest and certificate do not agree.
    """
    bundle = read_bundle(slot, keys)
    check_agreement(bundle)
    if run_self_test:
        require(self_test(bundle))
    return SlotFacts(bundle.manifest.version, bundle.manifest_sha256)
