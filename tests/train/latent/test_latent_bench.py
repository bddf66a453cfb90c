"""The bench of latent models: options, a run that goes on from its file, figures and picture."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.latent import bench, checkpoint, evaluation
from tubepilot.train.latent.controllers import GradientPlanner, Mppi, PolicyAlone
from tubepilot.train.latent.dm_control_task import DmControlTask, installed
from tubepilot.train.latent.settings import ModelSettings
from tubepilot.train.latent.training import Plan, begin, folder_of, train

pytestmark = pytest.mark.slow

NAME = "acrobot-swingup"


def options(folder: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--checkpoints", str(folder / "runs"), "--json", str(folder / "latent.json"), *more])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--minutes", "-1"), "--minutes is -1"),
        (("--minutes", "nan"), "--minutes is nan"),
        (("--episodes", "0"), "--episodes is 0"),
        (("--train-episodes", "0"), "--train-episodes is 0"),
        (("--seed", "1", "-2"), "--seed has -2"),
        (("--json", "absent/latent.json"), "a file in a folder that exists"),
        (("--json", "latent.png"), "not ending in .png"),
    ],
)
def test_options_that_cannot_be_used_are_named(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bench.run(options(tmp_path, *more))


@pytest.mark.skipif(not installed(), reason='dm_control is not installed: pip install "tubepilot[dm_control]"')
def test_a_run_is_evaluated_written_and_gone_on_with(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real task, real planners, small networks; episodes are cut to 10 decisions and MPPI to 8 samples for time only."""
    with pytest.raises(InputError, match="does not exist; give --minutes"):
        bench.run(options(tmp_path, "--task", NAME, "--minutes", "0"))
    original = DmControlTask.__init__

    def short(self: DmControlTask, name: str) -> None:
        original(self, name)
        self.decisions = 10

    monkeypatch.setattr(DmControlTask, "__init__", short)
    tasks = [DmControlTask(NAME) for _ in range(plan.collect.together)]
    model = ModelSettings(tasks[0].observation, 1, 0.99, latent=8, simplex=4, hidden=16, bins=21)
    training = begin(tasks[0], replace(plan, model=model, seed=0))
    folder = folder_of(tmp_path / "runs", NAME, 0)
    train(tasks, training, 4, math.inf, lambda run: checkpoint.save(folder, run), lambda _: None)
    few = [PolicyAlone(model), GradientPlanner(model), Mppi(model, samples=8, elites=2, policy_plans=2)]
    monkeypatch.setattr(evaluation, "controllers", lambda _: {controller.name: controller for controller in few})

    assert bench.run(options(tmp_path, "--task", NAME, "--minutes", "0", "--episodes", "2")) == 0
    file = tmp_path / "latent.json"
    (entry,) = json.loads(file.read_text())["runs"]
    assert (entry["task"], entry["updates"], len(entry["curve"])) == (NAME, training.rows[-1].updates, 2)
    assert list(entry["controllers"]) == ["policy", "gradient", "MPPI"]
    for outcome in entry["controllers"].values():
        assert len(outcome["returns"]) == 2
        assert outcome["mean"] == pytest.approx(sum(outcome["returns"]) / 2)
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "gradient" in capsys.readouterr().out

    # Marked figures of two controllers are kept, the third is evaluated again and comes out the same.
    before = entry["controllers"].pop("MPPI")
    entry["controllers"]["policy"]["mean"] = 777.0
    file.write_text(json.dumps({"runs": [entry]}))
    bench.run(options(tmp_path, "--task", NAME, "--minutes", "0", "--episodes", "2"))
    (again,) = json.loads(file.read_text())["runs"]
    assert again["controllers"]["policy"]["mean"] == 777.0
    assert again["controllers"]["MPPI"]["returns"] == before["returns"]

    file.write_text("{}")
    with pytest.raises(InputError, match="not of this bench"):
        bench.run(options(tmp_path, "--task", NAME, "--minutes", "0"))
