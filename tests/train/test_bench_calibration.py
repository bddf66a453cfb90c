"""`tubepilot bench calibration` on small flights of the model's own equations, and what it refuses."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime import cli
from tubepilot.train import bench_calibration
from tubepilot.train.checkpoint import SETTINGS, Checkpoint, Limits, RegimeBounds, ResidualBounds, Settings, load, save
from tubepilot.train.dynamics import WorldModel
from tubepilot.train.flight import save_flight
from tubepilot.train.policy import default_task, make_network
from tubepilot.train.residual import zero_residual

REGIMES = (
    RegimeBounds((0.0, 0.5), (0.1, 0.1, 0.2), (0.3, 0.4, 0.5), 0.99, 0.985, 500, (0.0, 0.5)),
    RegimeBounds((0.5, float("inf")), (0.1, 0.1, 0.2), (0.3, 0.4, 0.5), 0.9, 0.8, 7, (0.0, float("inf"))),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, synthetic_flight, known_physics) -> tuple[Path, Path, Path]:
    """Three flights in equal wind, one in another, and a checkpoint whose members differ at random."""
    base = tmp_path_factory.mktemp("calibration")
    for k in range(3):
        save_flight(base / "flights" / f"f{k}.npz", synthetic_flight(k, 260, name=f"f{k}"))
    save_flight(base / "gale" / "g.npz", synthetic_flight(7, 260, wind_m_s2=np.array([3.0, 0.0, 0.0]), name="g"))
    generator, blank = np.random.default_rng(0), zero_residual(3, 4)
    w1, w2 = generator.normal(size=blank.w1.shape), 0.02 * generator.normal(size=(3, 4, 6))
    residual = blank._replace(w1=blank.w1 + w1, w2=blank.w2 + w2)
    bounds = ResidualBounds((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.9, 0.9, 9, "made up", REGIMES, ("f1", "f2"))
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    settings = Settings("rates", "test", 19.0, 0.04, 12, 100.0, 3, 0.01, Limits((6.0, 6.0, 3.0), 2.0, 17.0), bounds)
    networks = (make_network(generator, 20, 8, 4, 0.1), make_network(generator, 20, 8, 1, 1.0))
    model = WorldModel(known_physics, residual)
    save(base / "model", Checkpoint(model, task.action_scale, task.observation_scale, task.cost, *networks, settings))
    return base / "flights", base / "model", base / "gale"


def test_the_command_on_a_checkpoint(places: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flights, model, gale = places
    target, picture = tmp_path / "c.json", tmp_path / "c.png"
    options = ["--checkpoint", str(model), "--held-out", "f0", "f1", "f2", "--unseen", str(gale), "--json", str(target)]
    options += ["--plot", str(picture), "--coverage", "0.9", "--window-every", "5"]
    assert cli.main(["bench", "calibration", "--flights", str(flights), *options]) == 0
    content = json.loads(target.read_text())
    assert content["asked"] == 0.9
    for part in content["coverage"].values():
        assert sum(row["ticks"] for row in part["regimes"]) == 3 * 259
        total = sum(row["ticks"] * (row["seen"] or 0.0) for row in part["regimes"])
        assert part["seen"] == pytest.approx(total / (3 * 259))
        assert all(len(row["half_widths"]) == 6 for row in part["regimes"])
        assert set(part["flights"]) == {"f0", "f1", "f2"}
    assert content["coverage"]["flights"]["worst_flight"] >= content["coverage"]["ticks"]["worst_flight"]
    assert set(content["spearman"]) == {"1", "10", "50"}
    assert all(-1 <= row["all"]["value"] <= 1 for row in content["spearman"].values())
    calm, other = content["unseen"]
    assert (calm["condition"], other["condition"]) == ("as in training", "gale")
    assert calm["disagreement"] == 1.0
    assert other["observed_m_s2"] > 3 * calm["observed_m_s2"]
    assert other["observed_alarm"] == 1.0
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "joint coverage" in said
    assert "rank correlation" in said
    assert "next: " in said


def test_flights_that_the_checkpoint_held_out_are_found(places: tuple[Path, Path, Path]) -> None:
    read = bench_calibration.read(places[0], "--flights")
    held, how = bench_calibration._held_out(read, [], places[1], "rates")
    assert [flight.name for flight in held] == ["f1", "f2"]
    assert "held out by the checkpoint" in how


def test_regimes_survive_and_checkpoints_without_them_load(places: tuple[Path, Path, Path], tmp_path: Path) -> None:
    checkpoint = load(places[1])
    assert checkpoint.settings.residual_bounds.regimes == REGIMES
    save(tmp_path / "old", checkpoint)
    table = tomllib.loads((tmp_path / "old" / SETTINGS).read_text())
    del table["residual_bounds"]["regimes"], table["residual_bounds"]["flights"]
    (tmp_path / "old" / SETTINGS).write_text(tomli_w.dumps(table))
    bounds = load(tmp_path / "old").settings.residual_bounds
    assert (bounds.regimes, bounds.flights, bounds.samples) == ((), (), 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leave_one_out": True, "checkpoint": Path("c")}, "exclude each other"),
        ({"held_out": ["f0"]}, "give --checkpoint too"),
        ({"leave_one_out": True, "unseen": [Path("g")]}, "exclude each other"),
        ({"coverage": 1.0}, "--coverage is 1.0"),
        ({"window_every": 0}, "--window-every is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"json": Path("absent/c.json")}, "--json absent/c.json: a file in a folder that exists"),
        ({"json": Path("c.png")}, "must not be the picture"),
        ({"flights": Path("absent")}, "--flights absent is no folder"),
        ({}, "has 3 flights, to fit and to calibrate at least 4"),
    ],
)
def test_options_that_cannot_be_used(places: tuple[Path, Path, Path], tmp_path: Path, change: dict, message: str) -> None:
    given = {
        "flights": places[0], "checkpoint": None, "held_out": [], "leave_one_out": False, "unseen": [], "json": tmp_path / "c.json",
        "plot": None, "coverage": 0.9, "seed": 0, "window_every": 5,
    }
    with pytest.raises(InputError, match=message):
        bench_calibration.run(argparse.Namespace(**{**given, **change}))
