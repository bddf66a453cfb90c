"""`fly` with the planner against `sim-fc` as ArduCopter and as Betaflight, two processes and a pseudo-terminal, in real time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.flyable import make_certified_bundle

from tubepilot.runtime.bench_track import flown_rmse_m, load_truth
from tubepilot.runtime.flight_log import read_flight

pytestmark = [pytest.mark.slow, pytest.mark.realtime]
pytest.importorskip("rotorpy")
COMMAND = (sys.executable, "-m", "tubepilot.runtime.cli")


@pytest.mark.parametrize("firmware", ["ardupilot", "betaflight"])
def test_a_hover_flight(firmware: str, tmp_path: Path) -> None:
    bundle, keys = make_certified_bundle(tmp_path / "made")
    link, truth, words, log = (tmp_path / name for name in ("link", "truth.npz", "sim-fc.log", "flight.mcap"))
    pose = tmp_path / "pose"
    options = ["--link", str(link), "--truth", str(truth), "--firmware", firmware, "--wind-m-s", "2"]
    uri = f"{firmware}://{link}"
    if firmware == "betaflight":
        options, uri = [*options, "--pose", str(pose)], f"{uri}?pose={pose}"
    with words.open("wb") as said:
        sim = subprocess.Popen([*COMMAND, "sim-fc", *options], stdout=said)
    try:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(sim.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(40))
        deadline_s = time.monotonic() + 30.0
        while not link.exists():
            assert sim.poll() is None, words.read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        time.sleep(6.0)  # ArduCopter's own checks pass, Betaflight's grace time is over
        arguments = ["fly", str(bundle), "--keys", str(keys), "--link", uri, "--log", str(log), "--task", "hover", "--hover-s", "4"]
        flown = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120.0, check=False)
    finally:
        sim.send_signal(signal.SIGTERM)
        sim.wait(20.0)
    print(flown.stdout, flown.stderr, words.read_text())
    if "did not hold real time" in words.read_text():
        pytest.skip("this machine does not hold real time now")
    assert flown.returncode == 0, flown.stdout
    assert "LAND -> DONE: disarmed, by heartbeat" in flown.stdout
    assert flown_rmse_m(read_flight(log), load_truth(truth)) < 0.15
