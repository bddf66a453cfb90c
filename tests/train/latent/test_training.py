"""Training: deterministic for a seed, and the same when cut and resumed."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import jax
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import CheckpointError
from tubepilot.train import atomic
from tubepilot.train.latent import checkpoint
from tubepilot.train.latent.task import Task
from tubepilot.train.latent.training import Plan, Training, begin, train

pytestmark = pytest.mark.slow


def nothing(_: object) -> None:
    """Neither save nor report."""


def assert_equal(one: Training, other: Training) -> None:
    """Bit for bit, but for the wall time."""
    assert one.plan == other.plan
    assert (one.task, one.repeat, one.replay.count) == (other.task, other.repeat, other.replay.count)
    for name in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(one.replay, name), getattr(other.replay, name))
    for a, b in zip(jax.tree.leaves(one.learner), jax.tree.leaves(other.learner), strict=True):
        np.testing.assert_array_equal(a, b)
    for field in fields(one.rows[0]):
        if field.name != "seconds":
            columns = ([getattr(row, field.name) for row in training.rows] for training in (one, other))
            np.testing.assert_array_equal(*columns)


@pytest.fixture
def uncut(pendulums: list[Task], plan: Plan) -> Training:
    """Four rounds without a stop; the replay buffer of five episodes has gone round."""
    training = begin(pendulums[0], plan)
    train(pendulums, training, 8, math.inf, nothing, nothing)
    return training


class _DiedError(Exception):
    """Stands for the end of the process."""


def test_a_run_killed_after_a_checkpoint_ends_as_the_uncut_one(
    pendulums: list[Task], plan: Plan, uncut: Training, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for last_save in (1, 3):

        def dying(training: Training, last: int = last_save) -> None:
            checkpoint.save(folder, training)
            if len(training.rows) >= last:
                raise _DiedError

        training = checkpoint.load(folder) if checkpoint.exists(folder) else begin(pendulums[0], plan)
        with pytest.raises(_DiedError):
            train(pendulums, training, 8, math.inf, dying, nothing)
    resumed = checkpoint.load(folder)
    assert len(resumed.rows) == 3
    train([type(task)() for task in pendulums], resumed, 8, math.inf, nothing, nothing)
    assert_equal(resumed, uncut)


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(pendulums: list[Task], plan: Plan, uncut: Training) -> None:
    again, other = begin(pendulums[0], plan), begin(pendulums[0], replace(plan, seed=6))
    for training in (again, other):
        train(pendulums, training, 8, math.inf, nothing, nothing)
    assert_equal(again, uncut)
    assert not np.array_equal(other.replay.actions, uncut.replay.actions)


def test_no_round_starts_without_time_and_what_is_there_is_saved(pendulums: list[Task], plan: Plan) -> None:
    saved: list[int] = []
    train(pendulums, begin(pendulums[0], plan), 8, 0.0, lambda training: saved.append(len(training.rows)), nothing)
    assert saved == [0]


def test_rows_count_steps_and_updates(uncut: Training) -> None:
    assert [row.episodes for row in uncut.rows] == [2, 4, 6, 8]
    assert [row.steps for row in uncut.rows] == [40, 80, 120, 160]
    assert [row.updates for row in uncut.rows] == [8, 16, 24, 32]
    assert [math.isfinite(row.policy) for row in uncut.rows] == [False, True, False, True]


def test_round_trip(uncut: Training, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", uncut)
    loaded = checkpoint.load(tmp_path / "c")
    assert_equal(loaded, uncut)
    assert [row.seconds for row in loaded.rows] == [row.seconds for row in uncut.rows]


def test_every_truncation_and_flip_is_refused(pendulums: list[Task], plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, begin(pendulums[0], plan))
    for name in (checkpoint.ARRAYS, checkpoint.SETTINGS):
        content = (path / name).read_bytes()
        for size in (0, 1, len(content) // 2):
            (path / name).write_bytes(content[:size])
            with pytest.raises(CheckpointError):
                checkpoint.load(path)
        (path / name).write_bytes(content)
    content = bytearray((path / checkpoint.ARRAYS).read_bytes())
    content[len(content) // 2] ^= 1
    (path / checkpoint.ARRAYS).write_bytes(content)
    with pytest.raises(CheckpointError, match="hash"):
        checkpoint.load(path)


def test_unknown_settings_and_formats_are_refused(pendulums: list[Task], plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, begin(pendulums[0], plan))
    file = path / checkpoint.SETTINGS
    text = file.read_text()
    for old, new, named in (
        ("format = 1", "format = 9", "format is 9"),
        ("heads = 2", "heads = 3", "learner"),
        ("heads = 2", "heads = 1", "heads is 1"),
        ("batch = 8", "batches = 8", "batches"),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(CheckpointError, match=named):
            checkpoint.load(path)


def test_death_at_any_call_leaves_the_old_or_the_new(
    pendulums: list[Task], plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sample = tmp_path / "c", begin(pendulums[0], plan)
    newer = replace(sample, plan=replace(plan, seed=99))
    calls = {"count": 0, "last": 10**9}

    def mortal(function: Callable) -> Callable:
        def wrapped(*args: object, **kwargs: object) -> object:
            calls["count"] += 1
            if calls["count"] > calls["last"]:
                raise _DiedError
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(os, "replace", mortal(os.replace))
    monkeypatch.setattr(os, "fsync", mortal(os.fsync))
    monkeypatch.setattr(Path, "write_bytes", mortal(Path.write_bytes))
    monkeypatch.setattr(Path, "write_text", mortal(Path.write_text))
    # A dead process cleans nothing up.
    monkeypatch.setattr(atomic.shutil, "rmtree", mortal(atomic.shutil.rmtree))
    checkpoint.save(path, sample)
    needed = calls["count"]
    assert needed >= 5
    outcomes = set()
    for last in range(needed + 2):
        calls.update(count=0, last=10**9)
        checkpoint.save(path, sample)
        calls.update(count=0, last=last)
        with contextlib.suppress(_DiedError):
            checkpoint.save(path, newer)
        calls.update(count=0, last=10**9)
        outcomes.add(checkpoint.load(path).plan.seed)
    assert outcomes == {plan.seed, 99}
