"""What goes into a bundle: certified graphs only, two quiet candidates, keys made once, nothing foreign replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.small_bundle import make_bundle, random_checkpoint, vehicle_tables, write_certificate

from tubepilot.export.bundle import noise_table, self_test_arrays
from tubepilot.export.certificate import read_certificate
from tubepilot.export.cli_export import planner_settings, signing_key
from tubepilot.export.samples import draw
from tubepilot.firmware_bridge.errors import CertificateError, InputError
from tubepilot.runtime import cli, keys
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.check_claims import Identified, check_vehicle
from tubepilot.runtime.manifest import PhysicsEntry
from tubepilot.train.checkpoint import save
from tubepilot.train.planner_settings import preset


def test_a_graph_that_was_not_certified_is_refused(tmp_path: Path) -> None:
    write_certificate(tmp_path, random_checkpoint())
    read_certificate(tmp_path)
    for name in ("backup.onnx", "shield.onnx"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b"\0")
        with pytest.raises(CertificateError, match=f"{name}: sha256 .* certifies"):
            read_certificate(tmp_path)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "certificate.toml").write_text("x = 1")
    with pytest.raises(CertificateError, match="backup_sha256 = None"):
        read_certificate(tmp_path)
    (tmp_path / "certificate.toml").write_text("= 1")
    with pytest.raises(CertificateError, match="not readable TOML"):
        read_certificate(tmp_path)
    (tmp_path / "certificate.npz").unlink()
    with pytest.raises(CertificateError, match=r"certificate\.npz: cannot be read"):
        read_certificate(tmp_path)


def test_exporting_twice_replaces_the_bundle_and_is_reproducible(tmp_path: Path) -> None:
    bundle, trusted = make_bundle(tmp_path, version=7)
    first = read_bundle(bundle, trusted)
    make_bundle(tmp_path, version=7)
    again = read_bundle(bundle, trusted)
    assert again.manifest_sha256 == first.manifest_sha256
    make_bundle(tmp_path, version=8)
    assert read_bundle(bundle, trusted).manifest.version == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "certificate", "checkpoint", "trusted"]


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists and is not a bundle"):
        make_bundle(tmp_path)
    assert (tmp_path / "bundle" / "thesis.tex").read_text() == "years of work"


def test_noise_is_the_same_for_the_same_seed_and_spares_two_candidates() -> None:
    settings = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0)
    table = noise_table(settings, 3)
    np.testing.assert_array_equal(table, noise_table(settings, 3))
    assert not np.array_equal(table, noise_table(settings, 4))
    assert table.dtype == np.float32
    assert not table[:, :2].any()
    assert np.std(table[:, 2:]) == pytest.approx(settings.noise, rel=0.1)
    assert not noise_table(replace(settings, noise=0.0), 3).any()


def test_the_first_export_makes_a_key_and_trusts_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, trusted = tmp_path / "signing.key", tmp_path / "trusted"
    key = signing_key(path, trusted)
    assert "created signing key" in capsys.readouterr().out
    assert keys.is_trusted(key.verify_key, trusted)
    assert bytes(signing_key(path, trusted)) == bytes(key)
    assert capsys.readouterr().out == ""
    signing_key(path, tmp_path / "other")
    assert "does not trust" in capsys.readouterr().out


def test_settings_come_from_preset_and_checkpoint() -> None:
    checkpoint = random_checkpoint(horizon=9)
    assert planner_settings(checkpoint, "quadrotor", None, None).horizon == 9
    assert planner_settings(checkpoint, "paper", None, None).horizon == 3
    assert planner_settings(checkpoint, "quadrotor", 2, 0).candidates == 2
    assert planner_settings(checkpoint, "quadrotor", 2, 0).steps == 0
    with pytest.raises(InputError, match="candidates"):
        planner_settings(checkpoint, "quadrotor", 1000, None)
    with pytest.raises(InputError, match="--candidates is 0; it must be at least 1"):
        planner_settings(checkpoint, "quadrotor", 0, None)
    with pytest.raises(InputError, match="--horizon is 0"):
        planner_settings(checkpoint, "quadrotor", None, None, 0)


def test_export_refuses_a_certificate_of_another_vehicle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = random_checkpoint()
    save(tmp_path / "c", checkpoint)
    other = replace(checkpoint, settings=replace(checkpoint.settings, command_delay_s=0.02))
    write_certificate(tmp_path / "d", other)
    arguments = ["export", "--checkpoint", str(tmp_path / "c"), "--certificate", str(tmp_path / "d"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "bundle")]) == 1
    error = capsys.readouterr().err
    assert "command_delay_s is 0.01, the certificate holds for 0.02; certify this checkpoint" in error
    assert not (tmp_path / "bundle").exists()
    physics = PhysicsEntry(**{k: np.asarray(v, np.float64).tolist() for k, v in checkpoint.model.physics._asdict().items()})
    own = checkpoint.settings
    found = Identified(own.tick_hz, own.command_delay_s, own.thrust_scale_m_s2, physics)
    table = vehicle_tables(checkpoint)
    check_vehicle(found, table, "here")
    for part, values in table.items():
        for key, value in values.items():
            wrong = [1.01 * number for number in value] if isinstance(value, list) else 1.01 * value
            with pytest.raises(CertificateError, match=r"here: .* certify this checkpoint"):
                check_vehicle(found, {**table, part: {**values, key: wrong}}, "here")
            with pytest.raises(CertificateError, match="is not in assumptions or backup; its format is None"):
                check_vehicle(found, {**table, part: {k: v for k, v in values.items() if k != key}}, "here")


def test_export_refuses_what_is_missing_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--checkpoint", str(tmp_path / "c"), "--certificate", str(tmp_path / "d"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "bundle")]) == 1
    assert "checkpoint.npz is missing" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path / "bundle"), "--samples", "1"]) == 1
    assert "--samples is 1" in capsys.readouterr().err


def test_the_self_test_notices_a_shield_that_computes_in_float32() -> None:
    """Its margins count to 1e-9; an onnxruntime that takes a detour over float32 must not pass as one that rounds otherwise."""
    content = (Path(__file__).parents[2] / "bundles" / "demo" / "shield.onnx").read_bytes()
    arrays = self_test_arrays({"shield": content}, draw(preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0), 8, 0), 0)
    for name in ("margin", "radii"):
        out, bound = arrays[f"shield/out/{name}"], float(arrays[f"shield/bound/{name}"])
        assert out.dtype == np.float64
        assert bound == 1e-10 * max(1.0, np.abs(out).max())
        assert np.abs(out - out.astype(np.float32)).max() > 10.0 * bound
