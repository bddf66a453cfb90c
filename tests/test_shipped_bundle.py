"""The bundle that comes with the repository: trusted by its own key alone, current, small, proven, flyable; no private key anywhere."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from pathlib import Path

import pytest

from tubepilot.firmware_bridge.errors import BundleError, CertificateError
from tubepilot.runtime import certificate_check, check_claims, manifest
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.keys import KEY_BYTES
from tubepilot.runtime.on_board import load_on_board
from tubepilot.train.invariance.certificate import FORMAT
from tubepilot.train.invariance.shield_graph import graphs_of
from tubepilot.train.invariance.stored import read

ROOT = Path(__file__).resolve().parent.parent
BUNDLE, KEYS, RECIPE = (ROOT / "bundles" / name for name in ("demo", "demo-keys", "demo.toml"))
AGAIN = "the formats moved on: run `make bundle` on a commit and commit bundles/"


def test_it_loads_as_for_a_flight() -> None:
    on_board = load_on_board(BUNDLE, KEYS)
    assert on_board.tick_hz == 100.0, AGAIN
    assert on_board.meta["signer"].endswith(".pub")


def test_its_formats_are_those_of_this_version() -> None:
    bundle = read_bundle(BUNDLE, KEYS)
    table = tomllib.loads(bundle.files["certificate.toml"].decode())
    assert (table["format"], check_claims.FORMAT) == (FORMAT, FORMAT), AGAIN
    own = read(bundle.files)
    assert graphs_of(own)["shield"] == bundle.files["shield.onnx"], AGAIN


def test_its_certificate_is_proven_again() -> None:
    pytest.importorskip("flint", reason="python-flint is not installed: the check cannot run")
    lines = certificate_check.recheck(read_bundle(BUNDLE, KEYS))
    assert any("facet pairs lead" in line for line in lines)


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(BUNDLE, KEYS)
    monkeypatch.setattr(check_claims, "FORMAT", FORMAT + 1)
    with pytest.raises(CertificateError, match=f"format other than {FORMAT + 1}"):
        certificate_check.recheck(bundle)
    monkeypatch.setattr(manifest, "FORMAT", manifest.FORMAT + 1)
    with pytest.raises(BundleError, match="this version reads"):
        read_bundle(BUNDLE, KEYS)


def test_an_altered_file_or_another_key_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(BUNDLE, copy)
    content = bytearray((copy / "shield.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "shield.onnx").write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"shield\.onnx"):
        read_bundle(copy, KEYS)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "other.pub").write_bytes(bytes(range(KEY_BYTES)))
    with pytest.raises(BundleError, match="no key in"):
        read_bundle(BUNDLE, tmp_path / "keys")


def test_the_recipe_names_its_very_bytes() -> None:
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    files = list(BUNDLE.iterdir())
    assert recipe["manifest_sha256"] == hashlib.sha256((BUNDLE / "manifest.toml").read_bytes()).hexdigest()
    assert recipe["bytes"] == sum(path.stat().st_size for path in files) < 5_000_000
    assert len(recipe["commit"]) == 40
    assert recipe["command"] == "make bundle"
    assert recipe["seed"] == 0


def test_no_private_key_comes_along() -> None:
    short = [path for path in (ROOT / "bundles").rglob("*") if path.is_file() and path.stat().st_size == KEY_BYTES]
    assert short == list(KEYS.glob("*.pub"))
    assert len(short) == 1
