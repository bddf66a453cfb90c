"""Ticker on a simulated clock (no drift, skipping, short spin), and rights that are read back, granted or not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tubepilot.runtime import realtime
from tubepilot.runtime.realtime import SPIN_NS, Ticker

PERIOD_NS = 10_000_000


class Clock:
    """CLOCK_MONOTONIC that moves when it is read (100 ns) and when it sleeps (with a seeded oversleep)."""

    def __init__(self, seed: int, oversleep_ns: int = 60_000) -> None:
        self.now_ns = 1_000_003
        self.reads = 0
        self.slept_ns = 0
        self._rng = np.random.default_rng(seed)
        self._oversleep_ns = oversleep_ns

    def read(self) -> int:
        self.reads += 1
        self.now_ns += 100
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.slept_ns += round(1e9 * seconds)
        self.now_ns += round(1e9 * seconds) + int(self._rng.integers(0, self._oversleep_ns))


@pytest.mark.parametrize("seed", range(3))
def test_ticks_do_not_drift(seed: int) -> None:
    clock = Clock(seed)
    ticker = Ticker(PERIOD_NS, clock.read, clock.sleep)
    rng = np.random.default_rng(seed)
    nominal = []
    for _ in range(1000):
        at, late, skipped = ticker.wait()
        nominal.append(at)
        assert skipped == 0
        assert 0 <= late <= 200
        clock.now_ns += int(rng.integers(0, 9_000_000))
    assert np.all(np.diff(nominal) == PERIOD_NS)
    assert ticker.missed == 0


def test_lateness_beyond_the_spin_is_reported_not_passed_on() -> None:
    clock = Clock(1, oversleep_ns=2_000_000)
    ticker = Ticker(PERIOD_NS, clock.read, clock.sleep)
    waits = [ticker.wait() for _ in range(200)]
    assert np.all(np.diff([at for at, _, _ in waits]) == PERIOD_NS)
    assert max(late for _, late, _ in waits) > 1_000_000


@pytest.mark.parametrize(
    ("busy_ns", "skipped"), [(9_999_000, 0), (19_000_000, 0), (20_100_000, 1), (35_000_000, 2), (1_000_000_000, 99)]
)
def test_whole_periods_that_passed_are_skipped_and_counted(busy_ns: int, skipped: int) -> None:
    clock = Clock(0, oversleep_ns=1)
    ticker = Ticker(PERIOD_NS, clock.read, clock.sleep)
    first, _, _ = ticker.wait()
    clock.now_ns = first + busy_ns
    second, late, counted = ticker.wait()
    assert counted == skipped == ticker.missed
    assert second == first + (skipped + 1) * PERIOD_NS
    assert late < PERIOD_NS
    third, _, counted = ticker.wait()
    assert (third - second, counted) == (PERIOD_NS, 0)


def test_spins_only_the_last_bit() -> None:
    clock = Clock(0, oversleep_ns=1)
    ticker = Ticker(PERIOD_NS, clock.read, clock.sleep)
    ticker.wait()
    clock.reads = clock.slept_ns = 0
    ticker.wait()
    assert SPIN_NS <= 200_000
    assert clock.reads <= SPIN_NS // 100 + 5
    assert clock.slept_ns >= PERIOD_NS - SPIN_NS - 1000


def test_restart_forgives_what_passed() -> None:
    clock = Clock(0)
    ticker = Ticker(PERIOD_NS, clock.read, clock.sleep)
    clock.now_ns += 10**9
    ticker.restart()
    assert ticker.wait()[2] == 0
    assert ticker.missed == 0


def test_real_clock_keeps_the_grid() -> None:
    ticker = Ticker(2_000_000)
    instants = [ticker.wait()[0] for _ in range(50)]
    assert all((instant - instants[0]) % 2_000_000 == 0 for instant in instants)
    assert instants[-1] <= time.monotonic_ns()


def _in_subprocess(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_rights_are_true_to_the_system() -> None:
    """In an own process, since rights stay with it."""
    out = _in_subprocess(
        "import gc, os\nfrom tubepilot.runtime import realtime\n"
        "core = sorted(os.sched_getaffinity(0))[0]\nr = realtime.enter(core)\n"
        "names = {x.name: x for x in r.rights}\n"
        "assert names['SCHED_FIFO'].obtained == ((os.sched_getscheduler(0) & 0xff) == os.SCHED_FIFO)\n"
        "assert names['core'].obtained == (os.sched_getaffinity(0) == {core})\n"
        "assert names['garbage collector off'].obtained and not gc.isenabled() and gc.get_freeze_count() > 0\n"
        "assert all(x.obtained or x.remedy for x in r.rights)\nassert r.complete == all(x.obtained for x in r.rights)\n"
        "print(r.text())"
    )
    assert "SCHED_FIFO" in out
    assert "locked memory" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights here")
def test_works_without_any_right_and_says_so() -> None:
    out = _in_subprocess(
        "import os, resource\nfrom tubepilot.runtime import realtime\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "os.setuid(65534)\nr = realtime.enter(4096)\n"
        "print([x.name for x in r.rights if not x.obtained])\nprint(r.text())\nprint(realtime.Ticker(1000000).wait())"
    )
    assert "['SCHED_FIFO', 'core', 'cores kept awake', 'locked memory']" in out
    assert "SCHED_FIFO: NO, refused" in out


def test_leaving_lets_the_collector_run_again() -> None:
    right = realtime._frozen_collector()
    try:
        assert right.obtained
    finally:
        realtime.leave()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_planner_is_warmed_once_before_every_tick_and_never_makes_it_late() -> None:
    clock = Clock(2)
    warmed: list[int] = []

    def warm(until_ns: int) -> None:
        assert until_ns - clock.now_ns > 0
        warmed.append(clock.now_ns)
        clock.now_ns += 300_000

    ticker = Ticker(PERIOD_NS, clock.read, clock.sleep, warm=warm, warm_ns=1_000_000)
    for number in range(100):
        nominal, late, skipped = ticker.wait()
        assert len(warmed) == number + 1
        assert 500_000 < nominal - warmed[-1] <= 1_000_000
        assert (skipped, late <= 200) == (0, True)
        clock.now_ns += 2_000_000
    clock.now_ns += 2 * PERIOD_NS  # the next instant has passed already
    ticker.wait()
    assert len(warmed) == 100


def test_onnxruntime_starts_no_thread_and_reports_nothing() -> None:
    """Since 1.29 it would: three threads, 8 MiB of locked stack each, every few seconds, and a database under the home directory."""
    out = _in_subprocess(
        "import os, time\nimport numpy\nbefore = len(os.listdir('/proc/self/task'))\n"
        "from tubepilot.runtime.doctor_probe import onnxruntime_threads, telemetry_off\n"
        "print(onnxruntime_threads().obtained, telemetry_off().obtained, len(os.listdir('/proc/self/task')) - before)"
    )
    assert out.split() == ["True", "True", "0"]


@pytest.mark.parametrize("reserved", [True, False])
def test_small_objects_come_from_the_reserve(reserved: bool) -> None:
    """In an own process: three quarters of the reserve are used up without the process growing."""
    program = (
        "import resource\nfrom tubepilot.runtime import realtime as r\n"
        "def kb(): return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() // 1024\n"
        f"right = r._reserve() if {reserved} else None\n"
        "assert right is None or right.obtained, right\n"
        "kept = [None] * (r.RESERVE_BYTES * 3 // 4 // 128)\nbefore = kb()\n"
        "for k in range(len(kept)): kept[k] = bytes(80)\n"
        "print(kb() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 512) is reserved, done.stdout


def test_keeping_cores_awake_is_read_back_or_refused_with_a_remedy(tmp_path: Path) -> None:
    refused = realtime._awake(str(tmp_path / "absent"))
    assert not refused.obtained
    assert "udev" in refused.remedy
    right = realtime._awake()
    try:
        assert right.obtained == ("latency 0 us" in right.detail)
    finally:
        realtime.leave()
    assert realtime._latency == []
