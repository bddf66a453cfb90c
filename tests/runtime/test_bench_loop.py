"""The periodic tick against sim-fc, and the bare loop beside it, in a process of its own: the rights stay with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.flyable import make_certified_bundle

from tubepilot.runtime.bench_floor import floor_us


@pytest.mark.realtime
def test_a_rate_is_run_and_measured_beside_a_bare_loop(tmp_path: Path) -> None:
    bundle, trusted = make_certified_bundle(tmp_path)
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tubepilot.runtime.cli", "bench", "tick", str(bundle), "--keys", str(trusted)]
    done = subprocess.run(
        [*command, "--hz", "100", "--seconds", "1", "--loads", "alone", "--json", str(figures)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entry = json.loads(figures.read_text())["hz"]["100"]
    alone = entry["alone"]
    assert alone["ticks"] == 100
    assert 0.0 < alone["solve_us"]["p50"] <= alone["tick_us"]["p50"] <= alone["tick_us"]["max"]
    assert 0.0 < alone["floor"]["work_us"]["p50"] <= alone["floor"]["work_us"]["max"]
    assert alone["steps_mean"] > 0.0
    assert abs(alone["allocated_blocks_growth"]) < 5000
    assert "bare loop beside it" in done.stdout


def test_the_bare_loop_ticks_as_often_as_asked() -> None:
    late_us, work_us = floor_us(200.0, 0.1)
    assert late_us.shape == work_us.shape == (20,)
    assert np.all(work_us > 0.0)
    assert np.all(late_us >= 0.0)
