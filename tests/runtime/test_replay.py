"""Replay of planner and shield from the decisions of ticks with faults: bit for bit, and a changed bit is found."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from helpers.flyable import make_certified_bundle

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.runtime import bench_faults, cli_replay, decision_log
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.cli import main
from tubepilot.runtime.on_board import OnBoard, load_on_board
from tubepilot.runtime.planner import Planner
from tubepilot.runtime.recorder_writer import LogFile
from tubepilot.runtime.replay import BOUND_RAD_S, KINDS, Replay, replay
from tubepilot.runtime.shield import Shield

TICKS = 600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certified_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def flown(made: tuple[Path, Path]) -> tuple[dict[str, Any], Any]:
    """Counts of `bench faults`, and the decisions of its ticks."""
    return fly(load_on_board(*made), TICKS)


def fly(on_board: OnBoard, ticks: int) -> tuple[dict[str, Any], Any]:
    kept: list[Any] = []
    commit = bench_faults.FullRing.commit_decision

    def keep(self: bench_faults.FullRing) -> None:
        ring = self._decisions
        kept.append((ring._spare[0] if ring._full else ring._records[ring._next % ring.capacity]).copy())
        commit(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_faults.FullRing, "commit_decision", keep)
        counts = bench_faults.run_faults(on_board, ticks, 2, progress=False)
    return counts, np.array(kept)


def judged(made: tuple[Path, Path], decisions: Any) -> Replay:
    bundle = read_bundle(*made)
    return replay(Planner(bundle), Shield.from_bundle(bundle), decisions)


def test_faults_never_get_through(flown: tuple[dict[str, Any], Any]) -> None:
    counts, _ = flown
    assert (counts["ticks"], counts["outside"], counts["silent"]) == (TICKS, 0, 0)
    assert len(counts["faults"]) >= 6
    assert {"0", "1"} <= set(counts["verdicts"])


def test_every_decision_comes_out_again_bit_for_bit(made: tuple[Path, Path], flown: tuple[dict[str, Any], Any]) -> None:
    found = judged(made, flown[1])
    assert found.exact
    assert found.within_bound
    assert (found.first, found.rate_rad_s, found.thrust_m_s2) == (0, 0.0, 0.0)
    assert found.plans > TICKS // 2
    assert found.verdicts > TICKS // 2


@pytest.mark.parametrize(
    ("field", "change", "within"),
    [
        ("margin", 1e-12, True), ("margin", 1e-6, False), ("margin", np.nan, False), ("sent", 1e-6, True), ("sent", 1e-2, False),
        ("planned_setpoint", 1e-6, True), ("verdict", 1, False), ("reason", 1, False),
    ],
)  # fmt: skip
def test_a_difference_is_named_and_held_against_the_bounds_of_another_build(
    made: tuple[Path, Path], flown: tuple[dict[str, Any], Any], log: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, field: str, change: float, within: bool,
) -> None:  # fmt: skip
    decisions = flown[1].copy()
    index = int(np.flatnonzero(np.isfinite(decisions["sent"][:, 0]) & (decisions["judged"] == 1) & (decisions["margin"] > 0.0))[20])
    decisions[field][index] += np.array(change).astype(decisions[field].dtype)
    found = judged(made, decisions)
    kind = "plan" if field == "planned_setpoint" else field
    assert found.differ == {name: int(name == kind) for name in KINDS}
    assert found.within_bound == within
    assert not found.exact
    monkeypatch.setattr(cli_replay, "replay", lambda planner, shield, records: found)
    assert main(["replay", str(log), "--keys", str(made[1])]) == 1  # the same build: to the last bit
    monkeypatch.setattr("onnxruntime.__version__", "1.0.0")
    assert main(["replay", str(log), "--keys", str(made[1])]) == int(not within)
    assert ("do not fly with this onnxruntime" in capsys.readouterr().out) == (field == "margin" and not within)


@pytest.mark.parametrize("field", ["planned_setpoint", "sent"])
def test_the_last_bit_of_a_set_point_is_noticed(
    made: tuple[Path, Path], flown: tuple[dict[str, Any], Any], field: str
) -> None:
    decisions = flown[1].copy()
    index = int(np.flatnonzero(np.isfinite(decisions[field][:, 0]) & (decisions["judged"] == 1))[20])
    decisions[field][index, 0] = np.nextafter(decisions[field][index, 0], np.inf)
    found = judged(made, decisions)
    assert not found.exact
    assert found.plans_differ + found.verdicts_differ == 1
    assert found.first == decisions["t_ns"][index]
    assert 0.0 < found.rate_rad_s < 1e-12


def write_log(path: Path, made: tuple[Path, Path], decisions: Any, meta: Mapping[str, Any]) -> Path:
    """A flight log with the decisions, closed."""
    bundle = read_bundle(*made)
    known = {
        "format": 1, "horizon": bundle.manifest.planner.horizon, "bundle_sha256": bundle.manifest_sha256, "bundle": str(made[0]),
        "onnxruntime": onnxruntime.__version__, "machine": platform.machine(),
    }  # fmt: skip
    file = LogFile(path, {**meta, **known}, 0)
    for record in decisions:
        file.add_decision(record)
    file.finish(0, 0)
    return path


@pytest.fixture
def log(made: tuple[Path, Path], flown: tuple[dict[str, Any], Any], tmp_path: Path) -> Path:
    return write_log(tmp_path / "flight.mcap", made, flown[1], {})


def test_the_compiled_planner_flies_and_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What flew replays bit for bit, the other engine within the bound; both say which they are."""
    made = make_certified_bundle(tmp_path, compiled=True)
    on_board = load_on_board(*made)
    assert "compiled by" in on_board.engine_text
    counts, decisions = fly(on_board, 200)
    assert (counts["outside"], counts["silent"]) == (0, 0)
    arguments = ["--keys", str(made[1]), "--json", str(tmp_path / "figures.json")]
    log = write_log(tmp_path / "compiled.mcap", made, decisions, on_board.meta)
    assert main(["replay", str(log), *arguments]) == 0
    assert "every set-point came out again, bit for bit" in capsys.readouterr().out
    assert main(["replay", str(log), *arguments, "--planner-engine", "onnxruntime"]) == 0
    assert "not bit for bit, but every verdict" in capsys.readouterr().out
    assert 0.0 < json.loads((tmp_path / "figures.json").read_text())["rate_rad_s"] <= BOUND_RAD_S

    reference = load_on_board(*made, "onnxruntime")
    assert reference.meta["planner_engine"] == reference.planner.engine.name == "onnxruntime"
    older = write_log(tmp_path / "older.mcap", made, fly(reference, 200)[1], {})
    assert main(["replay", str(older), *arguments]) == 0
    assert "bit for bit" in capsys.readouterr().out
    assert main(["replay", str(older), *arguments, "--planner-engine", "compiled"]) == 0
    assert "not bit for bit, but every verdict" in capsys.readouterr().out


def test_the_command_replays_a_log(made: tuple[Path, Path], log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = log.with_suffix(".json")
    assert main(["replay", str(log), "--keys", str(made[1]), "--json", str(figures)]) == 0
    assert "every set-point came out again, bit for bit" in capsys.readouterr().out
    assert json.loads(figures.read_text())["plans_differ"] == 0


def test_another_bundle_or_a_log_without_decisions_is_refused(made: tuple[Path, Path], log: Path, tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "other")
    manifest = tmp_path / "other" / "manifest.toml"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    arguments = ["replay", str(log), "--keys", str(made[1]), "--bundle", str(tmp_path / "other")]
    assert main(arguments) == 1
    empty = tmp_path / "empty.mcap"
    LogFile(empty, {"format": 1}, 0).finish(0, 0)
    assert main(["replay", str(empty)]) == 1
    with pytest.raises(LogFormatError, match="horizon of 0"):
        decision_log.decode([b"{}"], 0)
    with pytest.raises(LogFormatError, match="another version"):
        decision_log.decode([b'{"data": "AAAA"}'], 3)
    with pytest.raises(InputError):
        cli_replay.run(_parsed(log, made))


def _parsed(log: Path, made: tuple[Path, Path]) -> Any:
    import argparse

    parser = argparse.ArgumentParser()
    cli_replay.add_arguments(parser)
    bundle = make_other(made)
    return parser.parse_args([str(log), "--keys", str(made[1]), "--bundle", str(bundle)])


def make_other(made: tuple[Path, Path]) -> Path:
    """A valid bundle that did not fly: the same with another version, signed anew."""
    from nacl.signing import SigningKey

    from tubepilot.runtime import keys

    folder = made[0].parent / "another"
    if not folder.exists():
        shutil.copytree(made[0], folder)
        text = (folder / "manifest.toml").read_text()
        first = next(line for line in text.splitlines() if line.startswith("version = "))
        (folder / "manifest.toml").write_text(text.replace(first, "version = 2", 1))
        key = SigningKey(bytes(range(32)))
        (folder / "manifest.sig").write_bytes(key.sign((folder / "manifest.toml").read_bytes()).signature)
        keys.trust(key.verify_key, made[1])
    return folder
