"""Scores, intervals and the file of `bench control`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.control_picture import score_picture
from tubepilot.train.control_record import FlightRow, document, finished, summary, tables
from tubepilot.train.control_score import difference, estimate, gain, interquartile_mean


def row(task: str, controller: str, seed: int, score: float, reason: str | None = None, calls: int = 10) -> FlightRow:
    return FlightRow(task, controller, seed, score, reason, 0.1, None, calls, 1.0, 2.0)


def test_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert interquartile_mean(np.array([-100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 900.0])) == pytest.approx(3.5)
    assert interquartile_mean(np.array([0.7])) == pytest.approx(0.7)


def test_intervals_hold_the_value_and_shrink_with_more_seeds() -> None:
    generator = np.random.default_rng(3)
    few = {t: generator.normal(0.5, 0.1, 4) for t in "abc"}
    many = {t: generator.normal(0.5, 0.1, 100) for t in "abc"}
    for scores in (few, many):
        e = estimate(scores)
        assert e.low < e.value < e.high
    assert estimate(many).high - estimate(many).low < 0.5 * (estimate(few).high - estimate(few).low)


def test_intervals_cover_what_they_claim() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for k in range(200):
        e = estimate({t: generator.normal(0.5, 0.1, 12) for t in "abcd"}, seed=k)
        hits += e.low <= 0.5 <= e.high
    assert 0.85 <= hits / 200 <= 0.99


def test_gain_is_relative_and_paired() -> None:
    other = {"a": np.array([0.2, 0.4, 0.6]), "b": np.array([0.5, 0.5, 0.5])}
    e = gain({t: 1.25 * v for t, v in other.items()}, other)
    assert (e.value, e.low, e.high) == pytest.approx((0.25, 0.25, 0.25))
    d = difference(np.array([0.3, 0.9]), np.array([0.2, 0.8]))
    assert (d.value, d.low, d.high) == pytest.approx((0.1, 0.1, 0.1))


def test_summary_compares_common_tasks_only_and_says_where_it_is_worse() -> None:
    rows = [row("a", "ours", s, 0.8) for s in range(3)] + [row("a", "other", s, 0.5, calls=200) for s in range(3)]
    rows += [row("b", "ours", s, 0.3, "crash" if s == 0 else None) for s in range(3)]
    rows += [row("b", "other", s, 0.4, calls=200) for s in range(3)] + [row("c", "ours", 0, 1.0)]
    made = summary(rows)
    assert made["not_compared"] == ["c"]
    found = made["comparison"]["ours against other"]
    assert found["worse_on"] == ["b"]
    assert found["iqm_gain_wide"] is None  # of flights of which nobody kept it
    assert found["evaluations_ratio"] == pytest.approx(1 / 20)
    assert found["iqm_gain"]["value"] == pytest.approx(interquartile_mean([0.8] * 3 + [0.3] * 3) / 0.45 - 1)
    assert made["controllers"]["ours"]["crashes"] == 1
    text = tables(rows)
    assert "0.300!" in text
    assert "worse on b" in text
    assert score_picture(made, "title").startswith(b"\x89PNG")


def test_file_resumes_and_refuses_other_settings(tmp_path: Path) -> None:
    path, settings = tmp_path / "control.json", {"seeds": 3, "simulator": "rotorpy"}
    rows = [row("a", "ours", s, 0.5 + s / 10) for s in range(3)]
    assert finished(path, settings) == ([], settings)
    path.write_bytes(document(rows, settings))
    assert finished(path, {**settings, "task b": "new"}) == (rows, {**settings, "task b": "new"})
    with pytest.raises(InputError, match="seeds: 3 there, 4 now"):
        finished(path, {**settings, "seeds": 4})
    path.write_text(json.dumps({"flights": [{}]}))
    with pytest.raises(InputError, match="not written by this bench"):
        finished(path, settings)


def test_the_gain_is_reported_for_the_wide_margin_too() -> None:
    kinds = (("x", 0.6, 0.9), ("y", 0.4, 0.8))
    rows = [replace(row("a", name, s, score), wide_score=wide) for name, score, wide in kinds for s in (0, 1)]
    found = summary(rows)["comparison"]["x against y"]
    assert found["iqm_gain"]["value"] == pytest.approx(0.5)
    assert found["iqm_gain_wide"]["value"] == pytest.approx(0.125)
    assert "2.5 times the reward's margin: +12.5 %" in tables(rows)
