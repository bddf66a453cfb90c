"""A bundle is refused for any single altered, missing, added, linked or oversized file, and the message names it."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from helpers.small_bundle import SIGNING_KEY, make_bundle
from nacl.signing import SigningKey

from tubepilot.export.bundle import pack
from tubepilot.firmware_bridge.errors import BundleError, InputError
from tubepilot.runtime import bundle as bundle_module
from tubepilot.runtime import cli, keys, manifest, self_test
from tubepilot.runtime.bundle import SIGNATURE, read_arrays, read_bundle
from tubepilot.runtime.manifest import FILES, NAME, require_newer

EVERY = (*FILES, NAME, SIGNATURE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def bundle(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "bundle"))


@pytest.fixture
def trusted(made: tuple[Path, Path]) -> Path:
    return made[1]


def sign(folder: Path, table: dict[str, object] | bytes) -> None:
    """Replace the manifest and sign it with the trusted key."""
    content = table if isinstance(table, bytes) else tomli_w.dumps(table).encode()
    (folder / NAME).write_bytes(content)
    (folder / SIGNATURE).write_bytes(SIGNING_KEY.sign(content).signature)


def table_of(folder: Path) -> dict[str, object]:
    return dict(bundle_module.manifest_module.tomllib.loads((folder / NAME).read_text()))


def test_a_good_bundle_is_read_whole(bundle: Path, trusted: Path) -> None:
    read = read_bundle(bundle, trusted)
    assert set(read.files) == set(FILES)
    assert read.manifest.version == 7
    assert read.manifest.planner.horizon == 4
    assert read.manifest.assumptions == tomllib.loads(read.files["certificate.toml"].decode())["assumptions"]
    assert read.manifest.assumptions["thrust_scale_m_s2"] == 20.0
    assert read.manifest.certified_limits == {"speed_m_s": 3.0}
    assert read.manifest.physics.rate_lag_s == pytest.approx((0.05, 0.055, 0.12))
    assert read.fingerprint == keys.fingerprint(SIGNING_KEY.verify_key)
    for name in FILES:
        assert read.files[name] == (bundle / name).read_bytes()


def test_the_folder_itself_may_be_a_link(bundle: Path, trusted: Path, tmp_path: Path) -> None:
    (tmp_path / "active").symlink_to(bundle)
    assert read_bundle(tmp_path / "active", trusted).manifest.version == 7


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_flipped_bit_is_refused(bundle: Path, trusted: Path, name: str, where: float) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[round(where * (len(content) - 1))] ^= 1
    (bundle / name).write_bytes(content)
    blamed = SIGNATURE if name == NAME else name
    with pytest.raises(BundleError, match=f"^{blamed}: "):
        read_bundle(bundle, trusted)


def test_every_byte_of_the_manifest_is_under_the_signature(bundle: Path, trusted: Path) -> None:
    content = (bundle / NAME).read_bytes()
    known = keys.load_trusted(trusted)
    signature = (bundle / SIGNATURE).read_bytes()
    for index in range(len(content)):
        altered = bytearray(content)
        altered[index] ^= 0x20
        assert keys.verify(bytes(altered), signature, known) is None
    assert keys.verify(content, signature, known) is not None


@pytest.mark.parametrize("name", EVERY)
def test_a_file_cut_short_or_empty_or_longer_is_refused(bundle: Path, trusted: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    for wrong in (content[:-1], b"", content + b"\0"):
        (bundle / name).write_bytes(wrong)
        with pytest.raises(BundleError, match=f"^{SIGNATURE if wrong and name == NAME else name}: "):
            read_bundle(bundle, trusted)


@pytest.mark.parametrize("name", EVERY)
def test_a_missing_file_is_refused(bundle: Path, trusted: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"^{name}: "):
        read_bundle(bundle, trusted)


@pytest.mark.parametrize("name", ["extra.onnx", ".hidden", "key.pub"])
def test_an_extra_file_is_refused(bundle: Path, trusted: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    with pytest.raises(BundleError, match=f"^'{name}': not named"):
        read_bundle(bundle, trusted)


@pytest.mark.parametrize("name", EVERY)
def test_a_link_a_folder_and_a_pipe_are_refused(bundle: Path, trusted: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "same"
    shutil.move(bundle / name, target)
    makers: list[Callable[[Path], object]] = [lambda p: p.symlink_to(target), Path.mkdir, os.mkfifo]
    for make in makers:
        make(bundle / name)
        with pytest.raises(BundleError, match=f"^{name}: "):
            read_bundle(bundle, trusted)
        if (bundle / name).is_dir():
            (bundle / name).rmdir()
        else:
            (bundle / name).unlink()


def test_oversized_files_are_refused_unread(bundle: Path, trusted: Path) -> None:
    for name, most in (("refine.onnx", manifest.MOST_BYTES), (NAME, bundle_module.MOST_MANIFEST_BYTES)):
        content = (bundle / name).read_bytes()
        with (bundle / name).open("ab") as file:
            file.truncate(most + 1)
        with pytest.raises(BundleError, match=f"^{name}: {most + 1} bytes, must be 1 to {most}"):
            read_bundle(bundle, trusted)
        (bundle / name).write_bytes(content)


def test_another_key_is_not_trusted(bundle: Path, tmp_path: Path) -> None:
    keys.trust(SigningKey.generate().verify_key, tmp_path / "others")
    with pytest.raises(BundleError, match=rf"^manifest\.sig: no key in {tmp_path / 'others'}.*tried [0-9a-f]{{4}}:[0-9a-f:]{{14}}"):
        read_bundle(bundle, tmp_path / "others")
    with pytest.raises(BundleError, match=r"no trusted key: .* holds no \*\.pub"):
        read_bundle(bundle, tmp_path / "nothing")


def test_one_of_several_trusted_keys_is_enough(bundle: Path, tmp_path: Path) -> None:
    for key in (SigningKey.generate(), SIGNING_KEY, SigningKey.generate()):
        keys.trust(key.verify_key, tmp_path / "several")
    assert read_bundle(bundle, tmp_path / "several").manifest.version == 7


@pytest.mark.parametrize("name", ["../refine.onnx", "/etc/passwd", "sub/refine.onnx", "refine.onnx\0", ""])
def test_names_outside_the_folder_are_refused(bundle: Path, trusted: Path, name: str) -> None:
    table = table_of(bundle)
    table["file"][1]["name"] = name  # type: ignore[index]
    sign(bundle, table)
    with pytest.raises(BundleError, match=r"^manifest\.toml: file\.name"):
        read_bundle(bundle, trusted)


ALTERATIONS: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
    "unknown key": (lambda t: t.update(surprise=1), "unknown keys: surprise"),
    "unknown planner key": (lambda t: t["planner"].update(extra=1), r"unknown keys: planner\.extra"),  # type: ignore[attr-defined]
    "newer format": (lambda t: t.update(format=2), "format is 2, this version reads 1"),
    "missing entry": (lambda t: t.pop("tick_hz"), "tick_hz is missing"),
    "wrong type": (lambda t: t.update(version="7"), "version is '7', must be an integer"),
    "boolean for a number": (lambda t: t.update(tick_hz=True), "tick_hz is 'True', must be a number"),
    "not a number": (lambda t: t["physics"].update(thrust_gain=float("nan")), "thrust_gain is 'nan'"),  # type: ignore[attr-defined]
    "zero lag": (lambda t: t["physics"].update(rate_lag_s=[0.05, 0.0, 0.1]), "rate_lag_s"),  # type: ignore[attr-defined]
    "short vector": (lambda t: t["action_scale"].update(half=[1.0] * 3), "4 numbers"),  # type: ignore[attr-defined]
    "infinite assumption": (lambda t: t.update(assumptions={"x": float("inf")}), "assumptions"),
    "thrust limits reversed": (lambda t: t["limits"].update(thrust_min_m_s2=99.0), "must be below"),  # type: ignore[attr-defined]
    "file listed twice": (lambda t: t["file"].append(t["file"][0]), "every file once"),  # type: ignore[attr-defined, index]
    "file not listed": (lambda t: t["file"].pop(0), r"missing: rollout\.onnx"),  # type: ignore[attr-defined]
    "files no list": (lambda t: t.update(file=3), "array of tables"),
    "planner no table": (lambda t: t.update(planner=3), r"\[planner\] must be a table"),
}


@pytest.mark.parametrize("case", ALTERATIONS)
def test_a_signed_manifest_is_still_checked(bundle: Path, trusted: Path, case: str) -> None:
    alter, text = ALTERATIONS[case]
    table = table_of(bundle)
    alter(table)
    sign(bundle, table)
    with pytest.raises(BundleError, match=rf"^manifest\.toml: .*{text}"):
        read_bundle(bundle, trusted)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"= 1", b"format = 1\nformat = 1", b"a = " + b"[" * 5000])
def test_a_signed_manifest_that_is_no_toml_is_refused(bundle: Path, trusted: Path, content: bytes) -> None:
    sign(bundle, content)
    with pytest.raises(BundleError, match=r"^manifest\.toml: not readable TOML"):
        read_bundle(bundle, trusted)


def test_versions_only_go_up(bundle: Path, trusted: Path) -> None:
    old = read_bundle(bundle, trusted).manifest
    for version, accepted in ((6, False), (7, False), (8, True)):
        table = table_of(bundle)
        table["version"] = version
        sign(bundle, table)
        new = read_bundle(bundle, trusted).manifest
        if accepted:
            require_newer(old, new)
        else:
            with pytest.raises(BundleError, match=f"version {version} is not above the installed version 7"):
                require_newer(old, new)


def test_arrays_are_read_without_pickle_and_with_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    good = pack({"a": np.arange(3.0)})
    np.testing.assert_array_equal(read_arrays(good, "x.npz")["a"], np.arange(3.0))
    objects = np.empty(1, object)
    import io

    buffer = io.BytesIO()
    np.savez(buffer, a=objects)
    for wrong in (buffer.getvalue(), b"no zip", good[:-30]):
        with pytest.raises(BundleError, match=r"^x\.npz: not readable arrays"):
            read_arrays(wrong, "x.npz")
    monkeypatch.setattr(bundle_module, "MOST_ARRAY_BYTES", 100)
    with pytest.raises(BundleError, match=r"^x\.npz: unpacks to"):
        read_arrays(good, "x.npz")


def test_self_test_passes_here_and_fails_for_another_graph(bundle: Path, trusted: Path) -> None:
    read = read_bundle(bundle, trusted)
    results = self_test.self_test(read)
    self_test.require(results)
    assert {r.graph for r in results} == set(manifest.GRAPHS)
    arrays = read.arrays(self_test.FILE)
    arrays["rank/out/returns"] = arrays["rank/out/returns"] * np.float32(1.01)
    altered = {**read.files, self_test.FILE: pack(arrays)}
    from dataclasses import replace

    results = self_test.self_test(replace(read, files=altered))
    assert [(r.graph, r.output) for r in results if not r.ok] == [("rank", "returns")]
    with pytest.raises(BundleError, match=r"^rank\.onnx: self-test output returns differs by"):
        self_test.require(results)
    del arrays["rank/out/plan"]
    with pytest.raises(BundleError, match=r"^selftest\.npz: rank/out/plan is missing"):
        self_test.self_test(replace(read, files={**read.files, self_test.FILE: pack(arrays)}))


def test_verify_prints_what_it_checked_and_names_a_wrong_file(
    bundle: Path, trusted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify", str(bundle), "--keys", str(trusted), "--no-certificate"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    for text in ("signature  ok", "files      ok: 10 files", "metadata   ok", "self-test  ok: shield.result", "next: "):
        assert text in printed
    content = bytearray((bundle / "refine.onnx").read_bytes())
    content[100] ^= 4
    (bundle / "refine.onnx").write_bytes(content)
    assert cli.main(arguments) == 1
    assert "refine.onnx: sha256" in capsys.readouterr().err


def test_signing_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config" / "signing.key"
    key = keys.create_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert bytes(keys.load_signing_key(path)) == bytes(key)
    with pytest.raises(InputError, match="cannot be created"):
        keys.create_signing_key(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="mode 0640"):
        keys.load_signing_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="not 32 bytes"):
        keys.load_signing_key(path)
    with pytest.raises(InputError, match="cannot be read"):
        keys.load_signing_key(tmp_path / "none")


def test_trusted_keys_must_be_keys(tmp_path: Path) -> None:
    assert not keys.is_trusted(SIGNING_KEY.verify_key, tmp_path)
    path = keys.trust(SIGNING_KEY.verify_key, tmp_path)
    assert keys.is_trusted(SIGNING_KEY.verify_key, tmp_path)
    assert [k.name for k in keys.load_trusted(tmp_path)] == [path.name]
    path.write_bytes(b"x" * 33)
    with pytest.raises(BundleError, match="is not 32 bytes"):
        keys.load_trusted(tmp_path)


@pytest.mark.slow
def test_every_bit_of_manifest_and_signature_and_ten_thousand_elsewhere(bundle: Path, trusted: Path) -> None:
    """Each flip alone is refused with the name of the file; the counts are printed (`pytest -s`)."""
    generator = np.random.default_rng(12)
    flips = {name: range(8 * (bundle / name).stat().st_size) for name in (NAME, SIGNATURE)}
    sizes = np.array([(bundle / name).stat().st_size for name in FILES], dtype=float)
    elsewhere = generator.choice(len(FILES), 10_000, p=sizes / sizes.sum())
    for index, name in enumerate(FILES):
        flips[name] = generator.integers(0, 8 * (bundle / name).stat().st_size, int(np.sum(elsewhere == index))).tolist()
    for name, bits in flips.items():
        content = (bundle / name).read_bytes()
        for bit in bits:
            altered = bytearray(content)
            altered[bit // 8] ^= 1 << bit % 8
            (bundle / name).write_bytes(altered)
            with pytest.raises(BundleError, match=f"^{SIGNATURE if name == NAME else name}: "):
                read_bundle(bundle, trusted)
        (bundle / name).write_bytes(content)
    print({name: len(bits) for name, bits in flips.items()}, "flips, all refused by name")
    assert read_bundle(bundle, trusted).manifest.version == 7
