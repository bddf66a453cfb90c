"""Benches: error measures in closed form, the baseline flies, the dispatcher, and figures as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.small_bundle import make_bundle

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.runtime import bench_tick, bench_track, cli
from tubepilot.runtime.bench_track import (
    TrackBench,
    Truth,
    flown_rmse_m,
    fly_baseline,
    load_truth,
    position_rmse_m,
)
from tubepilot.runtime.flight_log import TICK_DTYPE, Flight
from tubepilot.runtime.local_frame import LocalFrame
from tubepilot.runtime.phases import Phase
from tubepilot.runtime.reference import FigureEight, Hover

FRAME = LocalFrame(np.array([3.0, -1.0, 0.2]), 0.8)
EIGHT = FigureEight.at_speed(np.array([0.0, 0.0, 1.0]), 3.0, 2.0, 1)


def test_error_of_a_path_flown_beside() -> None:
    t = np.arange(-2.0, EIGHT.duration_s + 2.0, 0.01)
    true = FRAME.positions_to_world(EIGHT.derivatives(t)[:, 0])
    assert position_rmse_m(t, true, EIGHT, FRAME) < 1e-12
    assert position_rmse_m(t, true + np.array([0.03, 0.0, -0.04]), EIGHT, FRAME) == pytest.approx(0.05)
    # outside of the path's time nothing counts
    true[t < 0.0] = true[t > EIGHT.duration_s] = 100.0
    assert position_rmse_m(t, true, EIGHT, FRAME) < 1e-12
    with pytest.raises(LogFormatError, match="clocks"):
        position_rmse_m(t + 1000.0, true, EIGHT, FRAME)


def test_error_of_a_path_flown_late_is_speed_times_delay() -> None:
    t = np.arange(0.0, EIGHT.duration_s, 0.002)
    true = FRAME.positions_to_world(EIGHT.derivatives(t - 0.01)[:, 0])
    speed = np.linalg.norm(EIGHT.derivatives(t)[:, 1], axis=1)
    assert position_rmse_m(t, true, EIGHT, FRAME) == pytest.approx(0.01 * np.sqrt(np.mean(speed**2)), rel=0.01)


def test_error_of_a_flight_that_stalled_is_measured_against_its_own_reference() -> None:
    ticks = np.zeros(300, TICK_DTYPE)
    path_s = np.arange(300) * 0.01
    stalled_s = path_s + np.where(np.arange(300) >= 150, 0.4, 0.0)  # the companion paused, and the path with it
    ticks["t_ns"] = 10**12 + np.round(1e9 * stalled_s)
    ticks["phase"], ticks["reference"][:, :3] = Phase.TRACK, EIGHT.derivatives(path_s)[:, 0]
    ticks["phase"][:10], ticks["reference"][290:] = Phase.CLIMB, np.nan
    true = EIGHT.derivatives(path_s)[:, 0] + [[0.03, 0.0, -0.04]]
    truth = Truth(ticks["t_ns"].copy(), path_s, true)
    flight = Flight(ticks, (), {}, True, 0)
    assert flown_rmse_m(flight, truth) == pytest.approx(0.05)
    with pytest.raises(LogFormatError, match="clocks"):
        flown_rmse_m(flight, Truth(ticks["t_ns"] + 10**11, path_s, true))
    with pytest.raises(LogFormatError, match="never reached"):
        flown_rmse_m(Flight(ticks[:10], (), {}, True, 0), truth)


def test_the_baseline_holds_a_hover_and_wind_pushes_it_off() -> None:
    pytest.importorskip("rotorpy")
    hover = Hover(np.array([0.0, 0.0, 1.0]), 0.2)
    assert fly_baseline(hover, FRAME, 0.0, 0.0, 0, 0.0, settle_s=0.2) < 0.01
    pushed = fly_baseline(hover, FRAME, 3.0, 0.0, 0, 0.0, settle_s=1.5)
    assert 0.05 < pushed < 0.2  # its position law has no integral: drag 0.74 m/s^2 over a gain of 6.5 / s^2


def test_truth_files_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    np.savez(path, t_mono_ns=np.arange(3), t_sim_s=np.arange(3.0), position=np.ones((3, 3)))
    assert load_truth(path).position_m.shape == (3, 3)
    np.savez(path, t_mono_ns=np.arange(3))
    with pytest.raises(LogFormatError, match="not a truth file"):
        load_truth(path)
    with pytest.raises(LogFormatError, match="not a truth file"):
        load_truth(tmp_path / "absent.npz")


def test_the_json_has_its_keys() -> None:
    bench = TrackBench(0.05, 0.1, 0.5, 3.0, 0.5, 2.0, 7, 1000, 2, {"p50": 1.0, "p99": 2.0, "p999": 3.0}, 1.0, {})
    keys = {"position_rmse_m", "baseline_rmse_m", "ratio", "wind_m_s", "speed_m_s", "seed", "ticks", "overruns"}
    assert keys | {"tick_us"} <= set(json.loads(bench.text()))


def test_tick_timing_of_a_flight() -> None:
    ticks = np.zeros(1100, TICK_DTYPE)
    ticks["phase"][:100] = Phase.READY
    ticks["phase"][100:] = Phase.TRACK
    ticks["tick_us"] = np.concatenate([np.full(100, 9e9), np.arange(1000)])
    ticks["overrun"][-3:] = 1
    result = bench_tick.summarise(ticks)
    assert result["ticks"] == 1000
    assert result["overruns"] == 3
    assert isinstance(result["tick_us"], dict)
    assert result["tick_us"]["p50"] == pytest.approx(499.5)
    assert result["tick_us"]["max"] == 999.0
    with pytest.raises(LogFormatError, match="no planned tick"):
        bench_tick.summarise(ticks[:100])


def test_a_bundle_is_timed_live(tmp_path: Path) -> None:
    bundle, trusted = make_bundle(tmp_path)
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tubepilot.runtime.cli", "bench", "tick", str(bundle), "--keys", str(trusted)]
    done = subprocess.run(
        [*command, "--duration-s", "0.3", "--json", str(figures)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(figures.read_text())
    assert result["ticks"] == 30
    assert result["solve_us"]["p50"] > 0.0
    assert "state_age_ms" not in result


def test_every_bench_is_dispatched_to_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    for name, module in (("track", bench_track), ("tick", bench_tick)):
        with pytest.raises(SystemExit, match="0"):
            cli.main(["bench", name, "--help"])
        assert (module.__doc__ or "").split(".")[0].split()[-1] in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "nothing"])
