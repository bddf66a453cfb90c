"""The adversary's bench: what is counted, what a stopped run leaves behind, what is drawn, and one real flight."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.flyable import make_certified_bundle

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.runtime import bench_shield
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.keep_clear import KeepClear, Obstacle

pytest.importorskip("rotorpy", reason="rotorpy is not installed: nothing to fly")
scene = importlib.import_module("tubepilot.runtime.bench_shield_scene")
flight = importlib.import_module("tubepilot.runtime.bench_shield_flight")

MARK = {"bundle": "abc", "seconds": 7.0}


def row(seed: int, *, held: bool, breach: float | None = None, void: float | None = None, fault: str = "none") -> dict[str, Any]:
    return {
        **MARK, "seed": seed, "fault": fault, "held": held, "broken": {} if held else {"vertical W": 2.5}, "worst": {},
        "breach_s": breach, "breach": "", "void_s": void, "reason": "" if void is None else "DISTURBANCE", "duration_s": 7.0,
        "alarms": 0 if held else 3, "alarm_s": None if held else 2.0,
        "verdicts": {"ACCEPT": 5, "BACKUP": 1, "VOID": 0}, "closest_m": 1.0 if breach is None else -0.1, "speed_m_s": 2.0,
        "path": [[0.0, 0.0, 1.0]] * 30,
    }  # fmt: skip


def test_counts() -> None:
    rows = [row(n, held=True) for n in range(3)] + [row(n, held=False, void=3.0, fault="gust") for n in range(3, 103)]
    found = bench_shield.counts(rows)
    assert found["holds"]
    assert (found["held"]["flights"], found["broken"]["flights"], found["broken"]["void"]) == (3, 100, 100)
    assert found["verdicts"] == {"ACCEPT": 515, "BACKUP": 103, "VOID": 0}
    late = row(200, held=False, breach=4.0, fault="gust")
    assert bench_shield.counts([*rows, late])["holds"]  # one in 101
    found = bench_shield.counts([*rows, late, row(201, held=False, breach=4.0, fault="delay")])
    assert not found["holds"]
    assert found["late_seeds"] == [200, 201]
    assert found["broken"]["by_fault"]["gust"] == {"flights": 101, "void": 100, "breach_before_void": 1}
    found = bench_shield.counts([*rows, row(202, held=True, breach=1.0)])
    assert (found["holds"], found["breach_seeds"]) == (False, [202])
    assert bench_shield.counts([])["flights"] == 0
    assert (found["held"]["alarms"], found["held"]["seconds"]) == (0, 28.0)
    false_alarm = {**row(203, held=True), "alarms": 1}
    assert not bench_shield.counts([*rows, false_alarm])["holds"]


def test_rows_of_a_stopped_run(tmp_path: Path) -> None:
    path = tmp_path / "shield.rows"
    assert bench_shield.read_rows(path, MARK) == {}
    lines = [json.dumps(row(n, held=True)) for n in range(3)]
    path.write_text("\n".join(lines) + "\n" + lines[0][:40], encoding="utf-8")
    assert sorted(bench_shield.read_rows(path, MARK)) == [0, 1, 2]
    path.write_text("\n".join([lines[0][:40], lines[1]]), encoding="utf-8")
    with pytest.raises(LogFormatError, match="line 1: damaged"):
        bench_shield.read_rows(path, MARK)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(LogFormatError, match="another bundle or length"):
        bench_shield.read_rows(path, {**MARK, "seconds": 8.0})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"part": "3/2"}, "--part"), ({"part": "0/2"}, "--part"), ({"part": "one"}, "--part"), ({"flights": 0}, "--flights"),
        ({"seconds": 1.0}, "--seconds"), ({"json": Path("/nowhere/x.json")}, "--json"), ({"json": Path("x.png")}, "--json"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(changes: dict[str, Any], said: str) -> None:
    given = {"part": "2/3", "flights": 10, "seconds": 7.0, "json": Path("x.json")}
    assert bench_shield._part(argparse.Namespace(**given)) == (1, 3)
    with pytest.raises(InputError, match=said):
        bench_shield._part(argparse.Namespace(**{**given, **changes}))


def test_distances() -> None:
    clear = KeepClear(10.0, 0.0, obstacles=(Obstacle((4.0, 0.0, 5.0), (0.0, 0.0, math.inf), 1.0),), home=(1.0, 0.0))
    assert flight.distance(clear, np.array([1.0, 0.0, 5.0])) == (2.0, "obstacle")
    assert flight.distance(clear, np.array([3.5, 0.0, 500.0])) == (-0.5, "obstacle")
    assert flight.distance(clear, np.array([-9.5, 0.0, 5.0])) == (-0.5, "fence")
    assert flight.distance(clear, np.array([-3.0, 0.0, 0.5])) == (0.5, "floor")
    moved = flight.placed(clear, np.array([0.0, 2.0, 1.0]))
    assert (moved.home, moved.floor_m, moved.obstacles[0].centre_m) == ((0.0, 2.0), 1.0, (4.0, 2.0, 6.0))


def test_scenes_leave_room_and_break_something_in_every_third() -> None:
    scenes = [scene.draw_scene(seed, (5.0, 2.0)) for seed in range(150)]
    assert scenes[7] == scene.draw_scene(7, (5.0, 2.0))
    assert [each.fault != "none" for each in scenes] == [seed % 3 == 2 for seed in range(150)]
    assert {each.fault for each in scenes} == set(scene.FAULTS)
    for each in scenes:
        assert each.clear.blocked((0.0, 0.0, 0.0), 5.0, 2.0) == 0
        assert flight.distance(each.clear, np.zeros(3))[0] > 2.0


def test_an_adversary_flies_and_assumptions_are_measured(tmp_path: Path) -> None:
    from tubepilot.runtime.on_board import load_on_board

    bundle, keys = make_certified_bundle(tmp_path)
    on_board = load_on_board(bundle, keys)
    certificate = tomllib.loads(read_bundle(bundle, keys).files["certificate.toml"].decode())
    calm = flight.fly(0, on_board, certificate, 3.0)
    assert calm.breach_s is None
    assert sum(calm.verdicts.values()) > 200
    assert calm.verdicts["ACCEPT"] > 150
    assert calm.worst["delay"] <= 1.0
    assert calm.row()["seed"] == 0
    again = flight.fly(0, on_board, certificate, 3.0)
    assert again == calm  # to the last bit
