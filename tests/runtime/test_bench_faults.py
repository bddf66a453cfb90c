"""`bench faults` in pieces: cut off and begun again it comes to the counts of a run in one go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.flyable import make_certified_bundle

from tubepilot.runtime import bench_faults
from tubepilot.runtime.cli import main


def test_pieces_add_up_and_go_on_where_they_were_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, keys = make_certified_bundle(tmp_path)
    monkeypatch.setattr(bench_faults, "PIECE_TICKS", 100)
    figures = tmp_path / "faults.json"
    command = ["bench", "faults", str(bundle), "--keys", str(keys), "--ticks", "250", "--seed", "5", "--json", str(figures)]
    assert main(command) == 0
    whole = json.loads(figures.read_text())
    assert [piece["ticks"] for piece in whole["pieces"]] == [100, 100, 50]
    assert [piece["seed"] for piece in whole["pieces"]] == [5, 6, 7]
    assert whole["total"]["ticks"] == 250
    assert whole["total"]["failsafes"] == sum(piece["failsafes"] for piece in whole["pieces"])
    assert sum(whole["total"]["verdicts"].values()) == 250

    figures.write_text(json.dumps({**whole, "pieces": whole["pieces"][:1]}))
    assert main(command) == 0
    again = json.loads(figures.read_text())
    for piece, other in zip(again["pieces"], whole["pieces"], strict=True):
        assert {**piece, "memory_growth_kb": 0} == {**other, "memory_growth_kb": 0}

    capsys.readouterr()
    assert main([*command[:-4], "--seed", "6", "--json", str(figures)]) == 1
    assert "give another --json" in capsys.readouterr().err
