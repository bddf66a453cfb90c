"""SIGKILL at random moments, of the flight, of the recorder's writer and of both: the log opens, and what it holds replays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_bundle import make_bundle

from tubepilot.runtime import decision_log
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.flight_log import read_flight
from tubepilot.runtime.planner import Planner
from tubepilot.runtime.replay import replay

LOST_NS = 100_000_000
"""Most of a flight that a crash may take from its log [ns]."""
FLIGHT = """
import sys, time
from pathlib import Path
import numpy as np
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.planner import Planner
from tubepilot.runtime.recorder import Recorder
planner = Planner(read_bundle(Path(sys.argv[1]), Path(sys.argv[2])))
planner.warm_up()
rng = np.random.default_rng(int(sys.argv[4]))
done = np.memmap(sys.argv[3] + ".done", dtype="<i8", mode="w+", shape=(1,))  # instant of the last tick handed to the recorder
recorder = Recorder(Path(sys.argv[3]), {"tick_hz": 100}, planner.horizon)
print(recorder._process.pid, flush=True)
state = np.zeros(14)
state[6], state[13] = 1.0, 9.81
while True:
    state[0:6] = 0.2 * rng.normal(size=6)
    plan = planner.plan(state, np.zeros((planner.horizon + 1, 9)), np.zeros(3), time.monotonic_ns() + 5_000_000)
    for record, commit in ((recorder.tick(), recorder.commit), (recorder.decision(), recorder.commit_decision)):
        if "planned_setpoint" in record.dtype.names:
            planner.note(record, plan)
        record["t_ns"] = now_ns = time.monotonic_ns()
        commit()
    done[0] = now_ns
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def crash(made: tuple[Path, Path], folder: Path, seed: int) -> None:
    """Let it fly, kill at a random moment, read and replay."""
    rng = np.random.default_rng(seed)
    log = folder / f"{seed}.mcap"
    process = subprocess.Popen(
        [sys.executable, "-c", FLIGHT, *map(str, made), str(log), str(seed)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    writer = int(process.stdout.readline())
    time.sleep(float(rng.uniform(0.15, 0.8)))
    # The writer first: alone it would finish the log if this test were held up between the two.
    victims = ([process.pid], [writer], [writer, process.pid])[seed % 3]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    if victims == [writer]:
        process.kill()
    process.wait()
    process.stdout.close()
    if victims == [process.pid]:  # the writer lives and finishes the log
        limit_s = time.monotonic() + 30.0
        while not read_flight(log).complete and time.monotonic() < limit_s:
            time.sleep(0.05)
    flight = read_flight(log)
    assert flight.complete == (victims == [process.pid])
    flown_ns = int(np.fromfile(f"{log}.done", dtype="<i8")[0])
    assert flown_ns - int(flight.ticks["t_ns"][-1]) <= LOST_NS
    bundle = read_bundle(*made)
    decisions = decision_log.decode(list(flight.decisions), bundle.manifest.planner.horizon)
    assert flown_ns - int(decisions["t_ns"][-1]) <= LOST_NS
    unjudged: Any = None
    found = replay(Planner(bundle), unjudged, decisions)
    assert found.exact
    assert found.plans == len(decisions)


@pytest.mark.realtime
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_log_survives_a_crash(made: tuple[Path, Path], tmp_path: Path, seed: int) -> None:
    crash(made, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.realtime
def test_a_log_survives_two_hundred_crashes(made: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in range(200):
        crash(made, tmp_path, seed)
