"""Flight report: figures against closed forms, and a page that refers to nothing outside itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.runtime.cli import main
from tubepilot.runtime.flight_log import SHIELD_OFF, TICK_DTYPE, Event, Flight
from tubepilot.runtime.phases import Phase
from tubepilot.runtime.recorder import Recorder
from tubepilot.runtime.report_data import Truth, load_truth, prepare, spread
from tubepilot.runtime.report_html import Page, render
from tubepilot.runtime.report_plot import binned
from tubepilot.runtime.shield import Reason, Verdict

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TICK_S = 0.01


def figure_eight(t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, velocity and acceleration of a level figure-eight of 2 m by 1 m, 6 s a turn, at 1 m height."""
    turn = 2.0 * np.pi / 6.0
    wave = turn * t_s
    zero = np.zeros_like(t_s)
    position = np.stack([2.0 * np.sin(wave), np.sin(2.0 * wave), 1.0 + zero], axis=1)
    velocity = np.stack([2.0 * turn * np.cos(wave), 2.0 * turn * np.cos(2.0 * wave), zero], axis=1)
    acceleration = np.stack([-2.0 * turn**2 * np.sin(wave), -4.0 * turn**2 * np.sin(2.0 * wave), zero], axis=1)
    return position, velocity, acceleration


def synthetic_flight(seconds: float = 24.0, seed: int = 3) -> Flight:
    """A flight with plausible magnitudes: climb, figure-eight with filtered gust error, brake, land."""
    rng = np.random.default_rng(seed)
    count = round(seconds / TICK_S)
    t_s = np.arange(count) * TICK_S
    edges = np.array([0.0, 0.4, 0.8, 1.6, 4.0, seconds - 4.0, seconds - 2.8, seconds - 0.4])
    phases = [Phase.INIT, Phase.READY, Phase.ARMED, Phase.CLIMB, Phase.TRACK, Phase.BRAKE, Phase.LAND, Phase.DONE]
    phase = np.array([int(p) for p in phases])[np.searchsorted(edges, t_s, side="right") - 1]
    position, velocity, acceleration = figure_eight(np.clip(t_s - edges[4], 0.0, edges[5] - edges[4]))
    height = np.interp(t_s, [edges[3], edges[4], edges[6], edges[7]], [0.0, 1.0, 1.0, 0.0])
    position[:, 2] = height
    moving = phase == Phase.TRACK
    velocity[~moving] = 0.0
    acceleration[~moving] = 0.0
    noise = rng.standard_normal((count, 3))
    error = np.zeros((count, 3))
    for k in range(1, count):
        error[k] = 0.985 * error[k - 1] + 0.0035 * noise[k]
    ticks = np.zeros(count, TICK_DTYPE)
    flying = np.isin(phase, [Phase.CLIMB, Phase.TRACK, Phase.BRAKE, Phase.LAND])
    error[~flying] = 0.0
    ticks["t_ns"] = 5_000_000_000 + np.round(t_s * 1e9).astype(np.int64)
    ticks["late_us"] = rng.gamma(2.0, 30.0, count)
    solve = 1500.0 + rng.gamma(3.0, 180.0, count)
    ticks["solve_us"] = np.where(flying, solve, 0.0)
    ticks["tick_us"] = solve + 400.0 + rng.gamma(2.0, 60.0, count) + 4000.0 * (rng.random(count) > 0.999)
    ticks["state_age_ms"] = 4.0 + 8.0 * rng.random(count)
    ticks["reference"] = np.concatenate([position, velocity, acceleration], axis=1)
    ticks["state"][:, :3] = position + error
    ticks["state"][:, 3:6] = velocity
    ticks["state"][:, 6] = 1.0
    ticks["measured"][:, :3] = position + error + 0.005 * rng.standard_normal((count, 3))
    ticks["measured"][:, 6] = 1.0
    ticks["disturbance"] = [1.1, 0.2, -0.1]
    ticks["steps"] = np.where(flying, 3, 0)
    ticks["return_before"] = -2.0 - 0.3 * rng.random(count)
    ticks["return_after"] = ticks["return_before"] + 0.05 + 0.08 * rng.random(count) * np.linalg.norm(velocity, axis=1)
    ticks["verdict"] = np.where(flying, Verdict.ACCEPT, SHIELD_OFF)
    stopped = flying & ((np.abs(t_s - 9.3) < 0.06) | (np.abs(t_s - 15.1) < 0.1))
    ticks["verdict"][stopped] = Verdict.BACKUP
    ticks["reason"][stopped] = Reason.WOULD_LEAVE_SET
    ticks["margin"] = 0.55 - 0.25 * np.linalg.norm(velocity, axis=1) / 3.0 - 1.2 * np.linalg.norm(error, axis=1)
    ticks["phase"] = phase
    ticks["armed"] = phase >= Phase.ARMED
    events = (Event(5_400_000_000, "checks passed"), Event(5_800_000_000, "armed"), Event(9_000_000_000, "<task>"))
    meta: dict[str, str | float | int] = {"tick_hz": 100, "airframe": "test quadrotor", "format": 1}
    return Flight(ticks, events, meta, complete=True, dropped=0)


@pytest.fixture(scope="module")
def flight() -> Flight:
    return synthetic_flight()


def constant_error_flight(error_m: tuple[float, float, float]) -> Flight:
    flight = synthetic_flight(10.0)
    flight.ticks["state"][:, :3] = flight.ticks["reference"][:, :3] + np.array(error_m)
    return flight


def test_rmse_of_a_constant_error_is_its_length() -> None:
    figures = prepare(constant_error_flight((0.3, -0.4, 1.2))).figures
    assert figures is not None
    assert figures.rmse_m == pytest.approx(1.3)
    assert figures.horizontal_rmse_m == pytest.approx(0.5)
    assert figures.vertical_rmse_m == pytest.approx(1.2)
    assert figures.largest_m == pytest.approx(1.3)
    assert figures.source == "estimate"


def test_truth_replaces_the_estimate_and_is_interpolated_to_the_tick() -> None:
    flight = constant_error_flight((5.0, 5.0, 5.0))
    t_s = np.arange(-1.0, 11.0, 0.003)
    t_ns = flight.ticks["t_ns"][0] + np.round(t_s * 1e9).astype(np.int64)
    at = (flight.ticks["t_ns"] - flight.ticks["t_ns"][0]) / 1e9
    path = [np.interp(t_s, at, flight.ticks["reference"][:, axis]) for axis in range(3)]
    figures = prepare(flight, Truth(t_ns, np.stack(path, axis=1) + np.array([0.03, 0.0, 0.04]))).figures
    assert figures is not None
    assert figures.rmse_m == pytest.approx(0.05, abs=2e-4)  # linear interpolation of a 3 ms grid
    assert figures.source == "truth"


def test_only_the_tracking_phase_counts(flight: Flight) -> None:
    data = prepare(flight)
    ticks = flight.ticks.copy()
    ticks["state"][~data.tracking, :3] += 10.0
    again = prepare(Flight(ticks, (), flight.meta, complete=True, dropped=0))
    assert data.figures is not None
    assert again.figures == data.figures


def test_a_flight_that_never_tracked_has_no_figures_but_a_report(tmp_path: Path) -> None:
    flight = synthetic_flight(6.0)
    flight.ticks["phase"] = Phase.READY
    flight.ticks["verdict"] = SHIELD_OFF
    flight.ticks["steps"] = 0
    data = prepare(flight)
    assert data.figures is None
    assert data.reasons() == ()
    assert data.phase_spans() == (("ready", 0.0, pytest.approx(5.99)),)
    write_log(flight, tmp_path / "ground.mcap")
    assert main(["report", str(tmp_path / "ground.mcap"), "--out", str(tmp_path / "out")]) == 0


def test_shield_counts_reasons_and_gain(flight: Flight) -> None:
    data = prepare(flight)
    counts = [data.verdict_count(verdict) for verdict in Verdict]
    assert sum(counts) == np.count_nonzero(data.engaged)
    assert counts[Verdict.VOID] == 0
    assert data.reasons() == (("would leave set", counts[Verdict.BACKUP]),)
    assert counts[Verdict.BACKUP] > 0
    assert (data.gain > 0.0).all()
    assert [name for name, _, _ in data.phase_spans()][3:5] == ["climb", "track"]


def test_percentiles_ignore_what_is_not_finite() -> None:
    values = np.concatenate([np.arange(1001.0), [np.nan, np.inf]])
    assert spread(values).p50 == 500.0
    assert spread(values).largest == 1000.0
    assert np.isnan(spread(np.array([np.nan])).p50)


def test_bins_hold_the_quantiles() -> None:
    rows = binned(np.arange(100) / 10.0, np.arange(100.0) % 10, 1.0)
    assert rows[:, 0].tolist() == (np.arange(10) + 0.5).tolist()
    np.testing.assert_allclose(rows[:, 2], 4.5)
    assert binned(np.zeros(0), np.zeros(0), 1.0).shape == (0, 4)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(LogFormatError, match="holds no tick"):
        prepare(Flight(np.zeros(0, TICK_DTYPE), (), {}, complete=False, dropped=-1))


def test_truth_file_is_checked(tmp_path: Path) -> None:
    with pytest.raises(LogFormatError, match="cannot be read as truth"):
        load_truth(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", t_mono_ns=np.arange(3))
    with pytest.raises(LogFormatError, match="lacks position"):
        load_truth(tmp_path / "half.npz")
    np.savez(tmp_path / "whole.npz", t_mono_ns=np.arange(3), position_m=np.ones((3, 3)))
    assert load_truth(tmp_path / "whole.npz").position_m.shape == (3, 3)


def write_log(flight: Flight, path: Path) -> None:
    meta = {key: value for key, value in flight.meta.items() if key != "format"}
    with Recorder(path, meta) as recorder:
        for event in flight.events:
            recorder.event(event.text)
        for tick in flight.ticks:
            record = recorder.tick()
            for name in TICK_DTYPE.names:
                record[name] = tick[name]
            recorder.commit()
            while recorder._ticks.waiting > 1000:
                pass


def test_command_writes_a_page_that_needs_nothing_else(
    flight: Flight, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "flight.mcap"
    write_log(flight, log)
    out = tmp_path / "report"
    assert main(["report", str(log), "--out", str(out)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert str(out / "report.html") in last
    assert "next:" in last
    assert (out / "report.png").read_bytes().startswith(PNG_MAGIC)
    page = (out / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,30})', page)
    assert len(sources) == 12
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"<script|https?://|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page
    assert "&lt;task&gt;" in page
    assert "<task>" not in page


def test_page_escapes_everything_from_the_log() -> None:
    evil = '<img src="x" onerror="y">'
    page = Page(evil, evil, [(evil, evil)], {}, [(evil, [(evil, evil, evil)])], [(evil, evil)], evil)
    assert "<img" not in render(page)
    assert render(page).count("&lt;img") == 12
