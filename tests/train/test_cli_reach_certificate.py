"""`tubepilot reach` on the folder of a certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.proven import certificate_files

from tubepilot.runtime.cli import main


def test_tube_of_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "certificate"
    folder.mkdir()
    for name, content in certificate_files().items():
        (folder / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main(["reach", str(folder), "--horizon-s", "0.5", "--json", "tube.json", "--samples", "20"]) == 0
    said = capsys.readouterr().out
    assert "horizontal: verified" in said
    assert said.count("0 of 20 sampled trajectories leave the tube") == 2
    assert (tmp_path / "reach.png").read_bytes().startswith(b"\x89PNG")
    table = json.loads((tmp_path / "tube.json").read_text("utf-8"))
    assert set(table) == {"horizontal", "vertical"}
    assert set(table["vertical"]) == {"t_s", "lo", "hi", "verified"}
    assert main(["reach", str(folder), "--horizon-s", "0"]) == 1
    assert "--horizon-s is 0.0 s" in capsys.readouterr().err
