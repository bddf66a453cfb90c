"""The checkpoint directory: round trip, damage, and death at every write."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import CheckpointError
from tubepilot.train import atomic, checkpoint
from tubepilot.train.checkpoint import Checkpoint, Limits, ResidualBounds, Settings, load, save
from tubepilot.train.dynamics import Physics, WorldModel
from tubepilot.train.policy import default_task, make_network
from tubepilot.train.residual import zero_residual


@pytest.fixture
def sample(known_physics: Physics) -> Checkpoint:
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    generator = np.random.default_rng(0)
    settings = Settings(
        "rates", "test", 19.0, 0.04, 12, 100.0, 3, 0.01, Limits((6.0, 6.0, 3.0), 2.0, 17.0),
        ResidualBounds((0.5, 0.5, 0.2), (0.1, 0.1, 0.1), 0.999, 0.998, 1234, "made up"),
    )
    return Checkpoint(
        WorldModel(known_physics, zero_residual(2, 4)), task.action_scale, task.observation_scale, task.cost,
        make_network(generator, 20, 8, 4, 0.1), make_network(generator, 20, 8, 1, 1.0), settings,
    )


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    def arrays(c: Checkpoint) -> list[jax.Array]:
        return jax.tree.leaves((c.model, c.action_scale, c.observation_scale, c.cost, c.policy, c.value))

    leaves = [arrays(a), arrays(b)]
    return a.settings == b.settings and all(np.array_equal(x, y) for x, y in zip(*leaves, strict=True))


def test_round_trip(sample: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / "c", sample, {"picture.png": b"x"})
    assert equal(load(tmp_path / "c"), sample)
    assert (tmp_path / "c" / "picture.png").read_bytes() == b"x"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_every_truncation_and_flip_is_refused(sample: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c"
    save(path, sample)
    for name in (checkpoint.ARRAYS, checkpoint.SETTINGS):
        content = (path / name).read_bytes()
        for size in (0, 1, len(content) // 2, len(content) - 40):
            (path / name).write_bytes(content[:size])
            with pytest.raises(CheckpointError):
                load(path)
        (path / name).write_bytes(content)
    content = bytearray((path / checkpoint.ARRAYS).read_bytes())
    content[len(content) // 2] ^= 1
    (path / checkpoint.ARRAYS).write_bytes(content)
    with pytest.raises(CheckpointError, match="hash"):
        load(path)


def test_unknown_format_and_missing_directory_say_what_to_do(sample: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tubepilot train"):
        load(tmp_path / "absent")
    save(tmp_path / "c", sample)
    file = tmp_path / "c" / checkpoint.SETTINGS
    file.write_text(file.read_text().replace("format = 2", "format = 99"))
    with pytest.raises(CheckpointError, match="99"):
        load(tmp_path / "c")


class _DiedError(Exception):
    """Stands for the end of the process."""


def test_death_at_any_call_leaves_the_old_or_the_new(
    sample: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, newer = tmp_path / "c", replace(sample, settings=replace(sample.settings, seed=99))
    calls = {"count": 0, "last": 10**9}

    def mortal(function):
        def wrapped(*args, **kwargs):
            calls["count"] += 1
            if calls["count"] > calls["last"]:
                raise _DiedError
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(os, "replace", mortal(os.replace))
    monkeypatch.setattr(os, "fsync", mortal(os.fsync))
    monkeypatch.setattr(Path, "write_bytes", mortal(Path.write_bytes))
    # A dead process cleans nothing up.
    monkeypatch.setattr(atomic.shutil, "rmtree", mortal(atomic.shutil.rmtree))
    save(path, sample)
    needed = calls["count"]
    assert needed >= 5
    outcomes = set()
    for last in range(needed + 2):
        calls.update(count=0, last=10**9)
        save(path, sample)
        calls.update(count=0, last=last)
        with contextlib.suppress(_DiedError):
            save(path, newer)
        calls.update(count=0, last=10**9)
        survivor = load(path)
        assert equal(survivor, sample) or equal(survivor, newer)
        outcomes.add(survivor.settings.seed)
    assert outcomes == {3, 99}
