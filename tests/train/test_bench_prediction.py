"""`tubepilot bench prediction` on small flights of a rigid body that is made here, and on real ones where they are."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.runtime import cli
from tubepilot.train import bench_prediction
from tubepilot.train.identify import rotation_matrices
from tubepilot.train.logs import read_log
from tubepilot.train.prediction import HORIZON, QUANTITIES, Errors, integrate_attitude
from tubepilot.train.prediction_record import NAMES, finished, not_lowest
from tubepilot.train.rotor_model import RotorSettings

HEADER = "t,x,y,z,vx,vy,vz,qx,qy,qz,qw,wx,wy,wz,m1_rads,m2_rads,m3_rads,m4_rads"
MIXER = np.array([[-1, -1, 1, 1], [-1, 1, 1, -1], [-1, 1, -1, 1]])  # of the squared rotor speeds, to angular acceleration
THRUST = 1.2  # [m/s^2 per (1000 rad/s)^2]
DRAG_1_S = 0.3
SMALL = RotorSettings(history=2, rich=True, members=1, ridge=1e-4, every=2)
DT_S = 0.01


def write_csv(path: Path, seed: int, count: int = 160) -> None:
    """A flight along smooth random rates, with the rotor speeds that the rigid body needs for them."""
    generator = np.random.default_rng(seed)
    t = np.arange(count) * DT_S
    pulse, phase = generator.uniform(3, 12, (3, 4)), generator.uniform(0, 6.28, (3, 4))
    rates = np.sin(t[:, None, None] * pulse + phase).sum(axis=2) * 0.4
    turning = (np.cos(t[:, None, None] * pulse + phase) * pulse).sum(axis=2) * 0.4
    total = (GRAVITY_M_S2 + np.sin(7 * t + seed)) / THRUST
    rotors = 1000 * np.sqrt(total[:, None] / 4 + turning @ MIXER / 400)
    attitude = np.concatenate([[[1.0, 0, 0, 0]], integrate_attitude(np.array([[1.0, 0, 0, 0]]), rates[None, :-1], DT_S)[0]])
    up = rotation_matrices(attitude)[:, :, 2]
    velocity, position = np.zeros((count, 3)), np.zeros((count, 3))
    for k in range(count - 1):
        acceleration = THRUST * total[k] * up[k] - [0, 0, GRAVITY_M_S2] - DRAG_1_S * velocity[k]
        velocity[k + 1] = velocity[k] + DT_S * acceleration
        position[k + 1] = position[k] + DT_S * velocity[k]
    table = np.column_stack([t, position, velocity, attitude[:, [1, 2, 3, 0]], rates, rotors])
    np.savetxt(path, table, fmt="%.9g", delimiter=",", header=HEADER, comments="")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three flights to learn from, one of another name and content to predict."""
    base = tmp_path_factory.mktemp("flights")
    for name in ("train", "test"):
        (base / name).mkdir()
    for seed, name in enumerate(("a", "b", "c")):
        write_csv(base / "train" / f"{name}.csv", seed)
    write_csv(base / "test" / "d.csv", 9, 130)
    return base / "train", base / "test"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with a small model."""
    monkeypatch.setattr(bench_prediction, "model_settings", lambda: SMALL)


@pytest.mark.usefixtures("quick")
def test_flights_of_another_folder(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = folders
    target = tmp_path / "p.json"
    assert cli.main(["bench", "prediction", "--train", str(train), "--test", str(test), "--json", str(target), "--seed", "4"]) == 0
    content = json.loads(target.read_text())
    assert content["seed"] == 4
    assert content["flights"] == {"train": 3, "test": 1}
    assert set(content["models"]) == {"tubepilot", "physics", "naive", "ridge"}
    for figures in content["models"].values():
        for q in QUANTITIES:
            assert len(figures[q]) == HORIZON
            assert figures[f"{q}_sum"] == pytest.approx(sum(figures[q]))
    # The naive row again, by a loop over windows.
    flight = read_log(test / "d.csv")
    moved = [np.linalg.norm(flight.position_m[k + 1 : k + 51] - flight.position_m[k], axis=1) for k in range(len(flight) - HORIZON)]
    np.testing.assert_allclose(content["models"]["naive"]["position"], np.mean(moved, axis=0), rtol=1e-12)
    # The flights follow the equations of the physics: knowing the thrust has to be far better than naive.
    for name in ("physics", "tubepilot", "ridge"):
        assert content["models"][name]["velocity_sum"] < 0.7 * content["models"]["naive"]["velocity_sum"]
    assert target.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "\nridge  " in said
    assert "next: " in said


def constant_row(size: float, rates: float) -> Errors:
    """Errors of one size at every step."""
    return Errors(*(np.full(HORIZON, s) for s in (size, size, size, rates)), windows=7)


def leave_out(path: Path, folder: Path, seed: int = 0) -> dict:
    flights = [read_log(file) for file in sorted(folder.glob("*.csv"))]
    return bench_prediction.leave_one_out(flights, SMALL, seed, 3, path)


def test_leave_one_out_goes_on_where_it_was_cut_short(folders: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    done: list[str] = []

    def counted(fit, test, *_):
        assert test[0].name not in [flight.name for flight in fit]
        if len(done) == 1 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        done.append(test[0].name)
        return {name: constant_row(len(done) + 0.1 * k, len(done) / 3) for k, name in enumerate(NAMES)}

    monkeypatch.setattr(bench_prediction, "compare", counted)
    target = tmp_path / "p.json"
    with pytest.raises(KeyboardInterrupt):
        leave_out(target, folders[0])
    first = json.loads(target.read_text())
    assert [part["flight"] for part in first["left_out"]] == ["a"]
    (tmp_path / "again").touch()
    rows = leave_out(target, folders[0])
    assert done == ["a", "b", "c"] == list(rows)
    content = json.loads(target.read_text())
    assert content["left_out"][0] == first["left_out"][0]
    assert content["flights"] == {"train": 2, "test": 3}
    for name in NAMES:
        expected = np.mean([part["models"][name]["rates"] for part in content["left_out"]], axis=0)
        np.testing.assert_allclose(content["models"][name]["rates"], expected, rtol=1e-12)
    assert finished(target, content["settings"])["b"]["ridge"].windows == rows["b"]["ridge"].windows
    # Whole again: nothing is left to do, and the same is given back.
    again = leave_out(target, folders[0])
    assert len(done) == 3
    np.testing.assert_array_equal(again["c"]["tubepilot"].attitude, rows["c"]["tubepilot"].attitude)
    with pytest.raises(InputError, match=r"other settings \(seed: 0 there, 1 now\); delete"):
        leave_out(target, folders[0], seed=1)


def test_the_command_says_where_it_is_not_lowest(folders: tuple[Path, Path], tmp_path: Path, capsys, monkeypatch) -> None:
    def constant(fit, test, *_):
        ridge = constant_row(2, 0.5 if test[0].name == "b" else 4)
        return {"tubepilot": constant_row(1, 1), "physics": constant_row(2, 2), "naive": constant_row(3, 3), "ridge": ridge}

    monkeypatch.setattr(bench_prediction, "compare", constant)
    target = tmp_path / "p.json"
    assert cli.main(["bench", "prediction", "--train", str(folders[0]), "--leave-one-out", "--json", str(target)]) == 0
    said = capsys.readouterr().out
    assert "tubepilot is lowest in all four quantities on 2 of 3 flights" in said
    assert "not on b: rates (ridge)\n" in said
    assert re.search(r"mean of 3 +ridge +100.000 +100.000 +100.000 +141.667", said)
    assert re.search(r"next: add flights to .* that are like b,", said)
    assert target.with_suffix(".png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": None}, "neither was given"),
        ({"leave_one_out": True}, "both was given"),
        ({"window_every": 0}, "--window-every is 0, it must be at least 1"),
        ({"seed": -1}, "--seed is -1"),
        ({"train": Path("absent")}, "--train absent is no folder"),
        ({"json": Path("absent/p.json")}, "--json absent/p.json: a file in a folder that exists"),
        ({"json": Path("p.png")}, "not ending in .png"),
    ],
)
def test_options_that_cannot_be_used(folders: tuple[Path, Path], tmp_path: Path, change: dict, message: str) -> None:
    given = {"train": folders[0], "test": folders[1], "leave_one_out": False, "json": tmp_path / "p.json", "seed": 0, "window_every": 1}
    with pytest.raises(InputError, match=message):
        bench_prediction.run(argparse.Namespace(**{**given, **change}))


def command_on(train: Path, test: Path, target: Path) -> argparse.Namespace:
    return argparse.Namespace(train=train, test=test, leave_one_out=False, json=target, seed=0, window_every=1)


def test_flights_that_cannot_be_used(folders: tuple[Path, Path], tmp_path: Path) -> None:
    train, test = folders
    other = tmp_path / "other"
    other.mkdir()
    (other / "renamed.csv").write_bytes((train / "a.csv").read_bytes())
    with pytest.raises(InputError, match=r"flight renamed of --test is flight a of --train"):
        bench_prediction.run(command_on(train, other, tmp_path / "p.json"))
    (other / "twin.csv").write_bytes((train / "a.csv").read_bytes())
    with pytest.raises(InputError, match="same content: renamed, twin; keep one"):
        bench_prediction.run(command_on(other, test, tmp_path / "p.json"))
    (other / "twin.csv").unlink()
    leaving = command_on(other, test, tmp_path / "p.json")
    leaving.leave_one_out, leaving.test = True, None
    with pytest.raises(InputError, match="has 1 flight, --leave-one-out needs at least 2"):
        bench_prediction.run(leaving)
    write_csv(other / "short.csv", 5, 40)
    with pytest.raises(InputError, match="flight short has 40 samples"):
        bench_prediction.run(command_on(other, test, tmp_path / "p.json"))


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}, "left_out": [{"flight": "a"}]}', '{"models": {}}'])
def test_a_file_of_something_else_is_not_resumed(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError, match="not written by a leave-one-out"):
        finished(tmp_path / "p.json", {})


def test_real_flights_better_than_the_others_in_position_velocity_and_attitude(nanodrone: Path) -> None:
    one, two, test = (read_log(nanodrone / f"random1_20251017_run{k}.csv") for k in (1, 3, 2))
    settings = RotorSettings(history=6, members=1, ridge=1e-3, ridge_correction=1e-2, every=4)
    rows = bench_prediction.compare([one, two], [test], settings, 0, 9, lambda _: None)
    assert not [text for text in not_lowest(rows) if not text.startswith("rates")]
    assert rows["naive"].rates.sum() == pytest.approx(rows["physics"].rates.sum())
