"""Odd options and file systems end with one line that says what, the value and what to do: before the work, never in a traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
import types
from pathlib import Path

import pytest
from helpers.small_bundle import random_checkpoint

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.runtime import cli
from tubepilot.runtime.cli_options import REMEDIES
from tubepilot.runtime.report_data import load_truth
from tubepilot.train.checkpoint import save


@pytest.mark.parametrize(
    "options",
    [
        ["certify", "nowhere", "--seed", "-5"], ["certify", "nowhere", "--rollouts", "-1"], ["certify", "nowhere", "--wind-m-s", "nan"],
        ["certify", "nowhere", "--backup-rate-limit-rad-s", "inf"], ["train", "nowhere", "--out", "x", "--seed", "-1"],
        ["certify", "nowhere", "--acceleration-m-s2", "nan", "1"], ["train", "nowhere", "--out", "x", "--thrust-scale-m-s2", "nan"],
        ["bench", "tick", "nowhere", "--seconds", "nan"], ["bench", "certificate", "nowhere", "--json", "x", "--rollouts", "-3"],
        ["train", "nowhere", "--out", "x", "--thrust-scale-m-s2", "0"], ["sim-fc", "--link", "x", "--gust-m-s", "nan"],
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_refused_before_any_work(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(options) == (1 if options[-1] == "0" else 2)  # 0 is a number: the command itself refuses it
    error = capsys.readouterr().err
    option = next(word for word in reversed(options) if word.startswith("--"))
    assert f"{option} is " in error
    assert list(tmp_path.iterdir()) == []


def test_a_simulated_wind_blows_forwards(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sim-fc", "--link", "x", "--wind-m-s", "-3"]) == 1
    assert "--wind-m-s is -3.0; it must be 0 m/s or above" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EIO])
def test_what_the_file_system_refuses_is_said_in_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("refusing")
    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]

    def run(arguments: object) -> int:
        raise OSError(number, "the words of the system", "/some/file")

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "refusing", module)
    monkeypatch.setitem(cli.COMMANDS, "refuse", cli.Command("refusing", None, "refuses"))
    assert cli.main(["refuse"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tubepilot refuse: /some/file: the words of the system; ")
    assert REMEDIES.get(number, "check path, rights and room") in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("command", ["certify", "train", "collect", "export"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    save(tmp_path / "c", random_checkpoint())
    before = {"certify": [str(tmp_path / "c")], "train": [str(tmp_path / "c")], "collect": [],
              "export": ["--checkpoint", str(tmp_path / "c"), "--certificate", str(tmp_path / "c")]}  # fmt: skip
    for place in ("file", "file/below"):
        assert cli.main([command, *before[command], "--out", str(tmp_path / place)]) == 1
        assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_file_is_no_truth(tmp_path: Path) -> None:
    (tmp_path / "truth.npz").touch()
    with pytest.raises(LogFormatError, match="cannot be read as truth"):
        load_truth(tmp_path / "truth.npz")


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    folder = Path(__file__).parents[2] / "bundles" / "demo-keys"
    command = ["keys", "list", "--keys", str(folder)]
    code = f"import sys; from tubepilot.runtime import cli; sys.stdin.read(); sys.exit(cli.main({command!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1
