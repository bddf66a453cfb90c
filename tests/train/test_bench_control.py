"""The command `bench control`: flights in processes, resumed, refused."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from helpers.flyable import flyable_checkpoint

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train import bench_control
from tubepilot.train.bench_control import add_arguments, run
from tubepilot.train.checkpoint import save
from tubepilot.train.control_controllers import CONTROLLERS, EXTRA, VARIANTS, build, settings_of
from tubepilot.train.task_definition import TASKS


def parse(*options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(option) for option in options])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and a hover of half a second."""
    folder = tmp_path_factory.mktemp("control")
    save(folder / "checkpoint", flyable_checkpoint())
    shipped = Path(bench_control.__file__).parent / "tasks" / "hover_in_wind.toml"
    text = shipped.read_text(encoding="utf-8").replace("duration_s = 8.0", "duration_s = 0.5")
    assert "duration_s = 0.5" in text
    (folder / "short_hover.toml").write_text(text, encoding="utf-8")
    return folder


def test_flights_are_written_and_a_second_run_adds_to_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "control.json"
    common = ("--json", path, "--checkpoint", place / "checkpoint", "--task", place / "short_hover.toml", "--processes", 1)
    assert run(parse(*common, "--controller", "policy", "--seeds", 1, "--simulator", "model")) == 0
    first = json.loads(path.read_text())
    assert run(parse(*common, "--controller", "policy", "geometric", "--seeds", 2, "--simulator", "model")) == 0
    assert "1 flights are finished, 3 to go" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert [row for row in found["flights"] if (row["controller"], row["seed"]) == ("policy", 0)] == first["flights"]
    assert len(found["flights"]) == 4
    for row in found["flights"]:
        assert 0.0 < row["score"] <= 1.0
        assert row["reason"] is None
    assert set(found["comparison"]) == {"policy against geometric"}
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="simulator: model there, rotorpy now"):
        run(parse(*common, "--controller", "policy"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", 0), "--seeds is 0"),
        (("--processes", 0), "--processes is 0"),
        (("--controller", "magic"), "'magic' is unknown; there are: gradient, policy"),
        (("--controller", "mppi", "--ablation"), "'mppi' is unknown; there are: gradient, no reuse"),
        (("--task", "picnic"), "picnic"),
        (("--checkpoint", "/nowhere"), "is no folder"),
        (("--json", "/nowhere/x.json"), "a file in a folder that exists"),
    ],
)
def test_options_that_cannot_be_flown(tmp_path: Path, options: tuple, message: str) -> None:
    given = parse("--json", tmp_path / "control.json", *options)
    with pytest.raises(InputError, match=message):
        run(given)
    assert not (tmp_path / "control.learned").exists()


def test_settings_of_every_task_are_the_same_when_they_are_read_again(place: Path) -> None:
    arguments = parse("--json", place / "again.json", "--checkpoint", place / "checkpoint")
    first, second = (bench_control._settings(arguments, {task: task for task in TASKS}, ["policy"]) for _ in range(2))
    assert first == second
    assert len({first[f"task {task}"] for task in TASKS}) == len(TASKS)


def test_every_controller_and_variant_states_its_cost() -> None:
    checkpoint = flyable_checkpoint()
    cost = {
        name: settings.model_evaluations
        for name in (*CONTROLLERS, *EXTRA, *VARIANTS)
        if (settings := settings_of(name, checkpoint)) is not None
    }
    assert {*CONTROLLERS, *EXTRA, *VARIANTS} - set(cost) == {"policy", "geometric"}
    assert cost["gradient"] * 20 <= cost["mppi"] == cost["cem"]
    assert cost["K=0"] == 2 * 2 * 20  # candidates rolled out, then ranked
    assert cost["H=5"] * 4 == cost["gradient"]
    assert len(TASKS) == 9


@pytest.mark.parametrize("name", ["policy", "geometric", "mppi"])
def test_controllers_bear_the_name_they_were_asked_for(name: str) -> None:
    assert build(name, flyable_checkpoint()).name == name
