"""The real thing: `sim-fc` in one process, `fly` in another, a pseudo-terminal between, in real time.

On a machine that does not hold real time (sim-fc measures it) these tests are skipped, since nothing can be said then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.flyable import make_certified_bundle
from helpers.notify_listener import NotifyListener

from tubepilot.runtime.bench_track import flown_rmse_m, load_truth
from tubepilot.runtime.flight_log import read_flight

pytest.importorskip("rotorpy")
COMMAND = (sys.executable, "-m", "tubepilot.runtime.cli")
FAILSAFE_S = 0.5
LAND = 4 << 16 | 6 << 24  # PX4 main mode AUTO, sub-mode LAND


class SimFc:
    """A running `sim-fc`."""

    def __init__(self, folder: Path) -> None:
        self.link, self.truth, self.words = folder / "link", folder / "truth.npz", folder / "sim-fc.log"
        options = ["--link", str(self.link), "--truth", str(self.truth), "--failsafe-s", str(FAILSAFE_S)]
        with self.words.open("wb") as words:
            self.process = subprocess.Popen([*COMMAND, "sim-fc", *options, "--wind-m-s", "2"], stdout=words)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(self.process.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(40))
        deadline_s = time.monotonic() + 30.0
        while not self.link.exists():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(self.words.read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; its truth file is complete then."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20.0)

    def require_real_time(self) -> None:
        """Skip the test if sim-fc says that the machine did not hold real time."""
        self.stop()
        text = self.words.read_text()
        if "did not hold real time" in text:
            pytest.skip(f"this machine does not hold real time now: {text.splitlines()[-2]}")


@pytest.fixture
def sim_fc(tmp_path: Path) -> Iterator[SimFc]:
    running = SimFc(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certified_bundle(tmp_path_factory.mktemp("bundle"))


def _fly(bundle: tuple[Path, Path], sim_fc: SimFc, log: Path, *options: str) -> subprocess.Popen[str]:
    arguments = ["fly", str(bundle[0]), "--keys", str(bundle[1]), "--link", f"px4://{sim_fc.link}", "--log", str(log)]
    command = [*COMMAND, *arguments, "--task", "hover", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_hover_flight_over_the_serial_line(
    bundle: tuple[Path, Path], sim_fc: SimFc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "flight.mcap"
    systemd = NotifyListener(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    process = _fly(bundle, sim_fc, log, "--hover-s", "4")
    words = process.communicate(timeout=120.0)[0]
    systemd.close()
    sim_fc.require_real_time()
    assert process.returncode == 0, words
    assert "LAND -> DONE: disarmed, by heartbeat" in words
    assert words.strip().splitlines()[-1].endswith(f"tubepilot report {log}")
    flight, truth = read_flight(log), load_truth(sim_fc.truth)
    assert flight.complete
    assert flown_rmse_m(flight, truth) < 0.15
    assert truth.position_m[-1, 2] < 0.05

    # What systemd hears: ready once the checks passed and the loop runs, alive all the time after, and the end.
    ready, stopping, alive = (systemd.times_of(line) for line in ("READY=1", "STOPPING=1", "WATCHDOG=1"))
    assert len(ready) == len(stopping) == 1
    assert stopping[0] - ready[0] == pytest.approx(1e-9 * float(flight.ticks["t_ns"][-1] - flight.ticks["t_ns"][0]), abs=0.5)
    assert alive[0] >= ready[0]
    assert max(np.diff([*alive, stopping[0]])) < 0.5


def test_killed_in_the_air_the_failsafe_lands_and_a_new_flight_connects(
    bundle: tuple[Path, Path], sim_fc: SimFc, tmp_path: Path
) -> None:
    process = _fly(bundle, sim_fc, tmp_path / "first.mcap", "--hover-s", "60", "--height-m", "2")
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if "-> TRACK" in line:
            break
    process.kill()
    process.communicate()
    again = _fly(bundle, sim_fc, tmp_path / "second.mcap", "--hover-s", "1", "--resume")
    words = again.communicate(timeout=120.0)[0]
    sim_fc.require_real_time()
    assert any("-> TRACK" in line for line in lines), lines
    assert again.returncode == 0, words
    assert len(read_flight(tmp_path / "first.mcap").ticks) > 0
    with np.load(sim_fc.truth) as truth:
        t_s, mode, heard_s = truth["t_sim_s"], truth["mode"], truth["setpoint_t_sim_s"]
    landing = int(np.argmax(mode == LAND))
    assert mode[landing] == LAND
    silence_s = t_s[landing] - heard_s[landing]
    assert silence_s > FAILSAFE_S - 0.02
    assert silence_s < FAILSAFE_S + 0.1


def test_an_altered_bundle_is_refused_by_name(bundle: tuple[Path, Path], sim_fc: SimFc, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    altered.mkdir()
    for path in bundle[0].iterdir():
        (altered / path.name).write_bytes(path.read_bytes())
    content = bytearray((altered / "refine.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (altered / "refine.onnx").write_bytes(bytes(content))
    process = _fly((altered, bundle[1]), sim_fc, tmp_path / "flight.mcap")
    words = process.communicate(timeout=60.0)[0]
    assert process.returncode == 1
    assert "refine.onnx: sha256" in words
    assert not (tmp_path / "flight.mcap").exists()
