"""The checkpoint directory of a latent training run: weights, optimisers, random key, replay buffer and learning curve.

It is replaced as a whole, so that a process that dies at any moment leaves the old one or the new one.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import tomli_w

from tubepilot.firmware_bridge.errors import CheckpointError, InputError
from tubepilot.train.atomic import recover_directory, replace_directory

from .learner import Learner, initial_learner
from .replay import Replay
from .settings import CollectSettings, LearnSettings, ModelSettings
from .training import Plan, Row, Training

FORMAT = 1
ARRAYS = "latent.npz"
SETTINGS = "latent.toml"

Arrays = dict[str, npt.NDArray[Any]]


def exists(path: Path) -> bool:
    """Whether a checkpoint lies there; a replacement that was cut short is undone first."""
    recover_directory(path)
    return path.is_dir()


def save(path: Path, training: Training) -> None:
    """Write a checkpoint directory.

    Args:
        path: Directory to write or replace.
        training: A run between two rounds.
    """
    stored = training.replay.stored
    arrays: Arrays = {
        "replay/observations": training.replay.observations[:stored],
        "replay/actions": training.replay.actions[:stored],
        "replay/rewards": training.replay.rewards[:stored],
        "rows": np.array([astuple(row) for row in training.rows], np.float64).reshape(-1, len(fields(Row))),
    }
    arrays |= {name: np.asarray(leaf) for name, leaf in _leaves(training.learner)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    table = {
        "format": FORMAT,
        "arrays_sha256": hashlib.sha256(content).hexdigest(),
        "task": training.task,
        "repeat": training.repeat,
        "seed": training.plan.seed,
        "episodes_added": training.replay.count,
        "decisions": training.replay.rewards.shape[1],
        "model": asdict(training.plan.model),
        "learn": asdict(training.plan.learn),
        "collect": asdict(training.plan.collect),
    }

    def fill(folder: Path) -> None:
        (folder / ARRAYS).write_bytes(content)
        (folder / SETTINGS).write_text(tomli_w.dumps(table), encoding="utf-8")

    replace_directory(path, fill)


def load(path: Path) -> Training:
    """Read a checkpoint directory.

    Args:
        path: Directory written by `save`.

    Returns:
        The run; going on with it gives what the uncut run gives.

    Raises:
        CheckpointError: a file is missing, cut short, altered, of another format, or holds unknown or missing entries.
    """
    recover_directory(path)
    try:
        content = (path / ARRAYS).read_bytes()
        table = tomllib.loads((path / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; remove it and train again") from error
    if table.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {table.get('format')}, this version reads {FORMAT}; train again")
    if hashlib.sha256(content).hexdigest() != table.get("arrays_sha256"):
        raise CheckpointError(f"{path / ARRAYS}: does not match its hash in {SETTINGS}; remove {path} and train again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        plan = Plan(
            ModelSettings(**table["model"]), LearnSettings(**table["learn"]), CollectSettings(**table["collect"]), int(table["seed"])
        )
        return Training(
            plan, str(table["task"]), int(table["repeat"]), _learner(plan, arrays), _replay(plan, table, arrays), _rows(arrays["rows"])
        )
    except (KeyError, TypeError, ValueError, InputError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: entry {error} is missing or malformed; remove it and train again") from error


def _leaves(learner: Learner) -> list[tuple[str, Any]]:
    return [(f"learner{jax.tree_util.keystr(place)}", leaf) for place, leaf in jax.tree_util.tree_leaves_with_path(learner)]


def _learner(plan: Plan, arrays: Arrays) -> Learner:
    blank = jax.eval_shape(lambda: initial_learner(plan.model, plan.learn, 0))
    leaves = []
    for name, leaf in _leaves(blank):
        value = arrays[name]
        if value.shape != leaf.shape or value.dtype != leaf.dtype:
            raise ValueError(name)
        leaves.append(jnp.asarray(value))
    return jax.tree.unflatten(jax.tree.structure(blank), leaves)


def _replay(plan: Plan, table: dict[str, Any], arrays: Arrays) -> Replay:
    replay = Replay(plan.collect.capacity, int(table["decisions"]), plan.model.observation, plan.model.action)
    replay.count = int(table["episodes_added"])
    for name in ("observations", "actions", "rewards"):
        getattr(replay, name)[: replay.stored] = arrays[f"replay/{name}"]
    return replay


def _rows(values: npt.NDArray[np.float64]) -> list[Row]:
    kinds = [int if field.type == "int" else float for field in fields(Row)]
    return [Row(*(kind(entry) for kind, entry in zip(kinds, row, strict=True))) for row in values]
