"""Shared test set-up: float64 JAX, strict rank promotion, and the one place that knows where real flights and networks lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as tubepilot.runtime does, for tests that import onnxruntime before it
os.environ["XDG_CACHE_HOME"] = str(ROOT / "build" / "test-cache")  # compiled planners; never the user's own
os.environ.pop("CACHE_DIRECTORY", None)
DATA = Path(os.environ.get("TUBEPILOT_DATA", ROOT.parent / "shared" / "data"))
BENCH = Path(os.environ.get("TUBEPILOT_BENCH", ROOT.parent / "shared" / "bench"))


# Files whose tests fly in real time or depend on deadlines; they run alone (see the Makefile).
REALTIME = (
    "test_fly_link.py",
    "test_tick.py",
    "test_realtime.py",
    "test_recorder.py",
    "test_flight.py",
    "test_bench.py",
    "test_timesync.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must not share the machine."""
    for item in items:
        if item.path.name in REALTIME:
            item.add_marker(pytest.mark.realtime)


def _folder(base: Path, name: str, variable: str) -> Path:
    path = base / name
    if not path.is_dir():
        pytest.skip(f"{path} is absent; set {variable} to the folder that holds {name}/")
    return path


@pytest.fixture(scope="session")
def nanodrone() -> Path:
    """Folder of the real nano-drone flights (CSV, 100 Hz)."""
    return _folder(DATA, "nanodrone", "TUBEPILOT_DATA")


@pytest.fixture(scope="session")
def nanobench() -> Path:
    """Folder of the real NanoBench flights (CSV, 100 Hz)."""
    return _folder(DATA, "nanobench", "TUBEPILOT_DATA")


@pytest.fixture(scope="session")
def px4_ulog() -> Path:
    """Folder of two real PX4 logs (ULog)."""
    return _folder(DATA, "px4_ulog", "TUBEPILOT_DATA")


@pytest.fixture(scope="session")
def archcomp() -> Path:
    """Folder of the networks of the ARCH-COMP closed-loop benchmarks."""
    return _folder(BENCH, "archcomp", "TUBEPILOT_BENCH")
