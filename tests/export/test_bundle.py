"""What goes into a bundle: certified graphs only, two quiet candidates, keys made once, nothing foreign replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.small_bundle import make_bundle, random_checkpoint, write_certificate

from tubepilot.export.bundle import noise_table
from tubepilot.export.certificate import read_certificate
from tubepilot.export.cli_export import planner_settings, signing_key
from tubepilot.firmware_bridge.errors import CertificateError, InputError
from tubepilot.runtime import cli, keys
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.check_claims import check_vehicle
from tubepilot.runtime.manifest import PhysicsEntry
from tubepilot.train.checkpoint import save
from tubepilot.train.planner_settings import preset


def test_a_graph_that_was_not_certified_is_refused(tmp_path: Path) -> None:
    write_certificate(tmp_path)
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


def test_export_refuses_a_certificate_of_another_vehicle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = random_checkpoint()
    save(tmp_path / "c", checkpoint)
    write_certificate(tmp_path / "d")
    arguments = ["export", "--checkpoint", str(tmp_path / "c"), "--certificate", str(tmp_path / "d"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "bundle")]) == 1
    error = capsys.readouterr().err
    assert "certif" in error
    assert not (tmp_path / "bundle").exists()
    physics = PhysicsEntry(**{k: np.asarray(v, np.float64).tolist() for k, v in checkpoint.model.physics._asdict().items()})
    law = {"thrust_gain": physics.thrust_gain, "rate_gain": physics.rate_gain, "rate_offset_rad_s": physics.rate_offset_rad_s}
    assumed = {
        "tick_s": 1.0 / checkpoint.settings.tick_hz,
        "thrust_lag_s": physics.thrust_lag_s,
        "rate_lag_s": 0.5 * (physics.rate_lag_s[0] + physics.rate_lag_s[1]),
        "drag_1_s": [0.5 * (physics.drag_1_s[0] + physics.drag_1_s[1]), physics.drag_1_s[2]],
    }
    check_vehicle(checkpoint.settings.tick_hz, physics, {"assumptions": assumed, "backup": law}, "here")
    for changed in ("tick_s", "thrust_lag_s", "rate_lag_s"):
        other = {"assumptions": {**assumed, changed: 1.01 * assumed[changed]}, "backup": law}
        with pytest.raises(CertificateError, match=r"here: .* certify this checkpoint"):
            check_vehicle(checkpoint.settings.tick_hz, physics, other, "here")


def test_export_refuses_what_is_missing_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--checkpoint", str(tmp_path / "c"), "--certificate", str(tmp_path / "d"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "bundle")]) == 1
    assert "checkpoint.npz is missing" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path / "bundle"), "--samples", "1"]) == 1
    assert "--samples is 1" in capsys.readouterr().err
