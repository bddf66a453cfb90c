"""The command `bench unseen` and flights of `collect` with a payload."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.flyable import flyable_checkpoint

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train import bench_unseen, cli_collect
from tubepilot.train.bench_unseen import AS_TRAINED, PAYLOAD, WIND, conditions
from tubepilot.train.checkpoint import save
from tubepilot.train.collect import fly, missions
from tubepilot.train.control_flight import Flown
from tubepilot.train.control_record import FlightRow
from tubepilot.train.task_definition import load_task
from tubepilot.train.unseen_record import figures


def parse(module: object, *options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args([str(option) for option in options])


def flown(levels: list[float]) -> list[Flown]:
    time = np.arange(0.0, 3.0, 0.01)
    path = np.column_stack([time, np.zeros((len(time), 6))])
    flights = []
    for seed, level in enumerate(levels):
        row = FlightRow("t", "gradient", seed, 0.5, None, 0.03, level, 400, 1.0, 2.0)
        flights.append(Flown(row, path, np.where(time < 1.0, 1e3, level)))
    return flights


def test_the_rise_is_a_ratio_by_seed_and_leaves_out_the_start() -> None:
    made = figures({AS_TRAINED: flown([1.0, 4.0]), WIND: flown([3.0, 12.0])}, AS_TRAINED, 1.0)
    assert made["rise"][WIND] == pytest.approx({"value": 3.0, "low": 3.0, "high": 3.0})
    assert made["conditions"][WIND]["disagreement"] == [3.0, 12.0]
    assert AS_TRAINED not in made["rise"]


def test_conditions_differ_in_one_thing_each() -> None:
    ways = conditions(load_task("hover_in_wind"), 1.3, 4.0)
    calm, heavy, windy = (ways[name] for name in (AS_TRAINED, PAYLOAD, WIND))
    assert (calm.wind.speed_m_s, windy.wind.speed_m_s, heavy.wind) == (0.5, 4.0, calm.wind)
    assert (heavy.randomisation.mass, calm.randomisation.mass, calm.randomisation.thrust) == ((1.3, 1.3), (1.0, 1.0), (1.0, 1.0))
    assert windy.randomisation == calm.randomisation == replace(heavy.randomisation, mass=calm.randomisation.mass)


def test_one_command_makes_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "checkpoint", flyable_checkpoint())
    shipped = Path(bench_unseen.__file__).parent / "tasks" / "hover_in_wind.toml"
    text = shipped.read_text(encoding="utf-8").replace("duration_s = 8.0", "duration_s = 0.3")
    (tmp_path / "short.toml").write_text(text, encoding="utf-8")
    # Two members of no weight never disagree; give them some.
    checkpoint = flyable_checkpoint()
    residual = checkpoint.model.residual._replace(b2=np.array([[0.1] * 6, [-0.1] * 6]))
    save(tmp_path / "checkpoint", replace(checkpoint, model=checkpoint.model._replace(residual=residual)))
    options = ("--json", tmp_path / "unseen.json", "--checkpoint", tmp_path / "checkpoint", "--task", tmp_path / "short.toml")
    assert bench_unseen.run(parse(bench_unseen, *options, "--seeds", 1)) == 0
    found = json.loads((tmp_path / "unseen.json").read_text())
    assert set(found["conditions"]) == {AS_TRAINED, PAYLOAD, WIND}
    assert found["rise"][WIND]["value"] == pytest.approx(1.0, rel=1e-3)  # these members see nothing
    assert (tmp_path / "unseen.png").read_bytes().startswith(b"\x89PNG")
    assert "next: tubepilot collect --mass-factor 1.3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", 0), "--seeds is 0"),
        (("--mass-factor", 1.0), "--mass-factor is 1;"),
        (("--wind-m-s", 9), "--wind-m-s is 9;"),
        (("--checkpoint", "/nowhere"), "is no folder"),
        (("--json", "/nowhere/x.json"), "a file in a folder that exists"),
        (("--task", "picnic"), "picnic"),
    ],
)
def test_options_that_cannot_be_flown(tmp_path: Path, options: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bench_unseen.run(parse(bench_unseen, "--json", tmp_path / "unseen.json", *options))


def test_a_payload_is_flown_and_nobody_is_told() -> None:
    light, heavy = (fly(missions(1, 2.0, 0, [0.0], mass)[0]) for mass in (1.0, 1.3))
    assert heavy.meta["thrust_scale_m_s2"] == light.meta["thrust_scale_m_s2"]
    assert (light.meta["mass_factor"], heavy.meta["mass_factor"]) == (1.0, 1.3)
    assert heavy.meta["wind_m_s"] == 0.0
    assert np.mean(heavy.action[:, 3]) > 1.2 * np.mean(light.action[:, 3])


@pytest.mark.parametrize("options", [("--mass-factor", 2), ("--wind-m-s", 1, 20)])
def test_flights_that_cannot_be_made_are_refused(tmp_path: Path, options: tuple) -> None:
    with pytest.raises(InputError, match="--wind-m-s is 0 to 15 m/s"):
        cli_collect.run(parse(cli_collect, "--out", tmp_path, *options))
