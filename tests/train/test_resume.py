"""Training that is killed at any moment and resumed ends in the bytes of a run that was left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tubepilot.firmware_bridge.errors import CheckpointError, InputError
from tubepilot.train.flight import RATES, Flight, make_flight, save_flight
from tubepilot.train.run_identity import run_identity
from tubepilot.train.stages import Run, descend, digest
from tubepilot.train.training_state import StateFile, TrainingState, decode, encode

ITERATIONS = 3
START = {"w": jnp.zeros((3, 2), jnp.float32), "b": jnp.ones(2, jnp.float32)}


def regression(run: Run | None, iterations: int = ITERATIONS, stop_at: int | None = None) -> dict[str, jax.Array]:
    """A small regression by Adam with a schedule and random batches: every part of the state matters."""

    def loss(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.mean((jnp.tanh(x @ p["w"] + p["b"][None]) - x[:, :2]) ** 2)

    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, ITERATIONS, 0.02))
    stage = None if run is None else run.stage("regression", START)
    monitor = None if stop_at is None else lambda iteration, _: iteration < stop_at
    generator = np.random.default_rng(7)
    return descend(
        loss, lambda g: jnp.asarray(g.normal(size=(8, 3)), jnp.float32), START, optimiser, generator, iterations, monitor, stage
    )


def in_bytes(tree: object) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


class _DiedError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Without compilation, which would take most of the time of the many short runs."""
    with jax.disable_jit():
        yield


@pytest.mark.usefixtures("uncompiled")
def test_death_at_any_file_operation_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = in_bytes(regression(None))
    calls = {"count": 0, "last": 10**9}

    def mortal(function):
        def wrapped(*args, **kwargs):
            calls["count"] += 1
            if calls["count"] > calls["last"]:
                raise _DiedError
            return function(*args, **kwargs)

        return wrapped

    for holder, name in ((os, "replace"), (os, "fsync"), (os, "fdopen"), (os, "chmod"), (Path, "unlink")):
        monkeypatch.setattr(holder, name, mortal(getattr(holder, name)))
    assert in_bytes(regression(Run(tmp_path / "whole", {}, False, 0.0))) == expected
    needed = calls["count"]
    assert needed >= 5 * ITERATIONS
    begun = set()
    for last in range(needed):
        folder = tmp_path / str(last)
        calls.update(count=0, last=last)
        with contextlib.suppress(_DiedError):
            regression(Run(folder, {}, False, 0.0))
        calls.update(count=0, last=10**9)
        state = StateFile(folder, "regression").read()
        begun.add(0 if state is None else state.iteration)
        assert in_bytes(regression(Run(folder, {}, True, 0.0))) == expected, f"died at file operation {last}"
    assert begun == set(range(ITERATIONS + 1))


def test_a_ctrl_c_in_between_changes_nothing(tmp_path: Path) -> None:
    whole = in_bytes(regression(None))
    assert in_bytes(regression(Run(tmp_path, {}, False), stop_at=0)) != whole
    assert in_bytes(regression(Run(tmp_path, {}, True))) == whole


def test_a_finished_stage_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = regression(Run(tmp_path, {}, False))
    assert in_bytes(regression(Run(tmp_path, {}, True))) == in_bytes(first)
    assert f"resumed after {ITERATIONS} iterations" in capsys.readouterr().out


def damaged(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[-60] ^= 4
    return {
        "empty": b"", "half": content[: len(content) // 2], "last byte": content[:-1], "bit": bytes(flipped), "longer": content + b"x"
    }


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("kind", sorted(damaged(bytes(100))))
def test_of_a_damaged_state_the_one_before_is_used(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = in_bytes(regression(Run(tmp_path, {}, False, 0.0)))
    files = StateFile(tmp_path, "regression")
    newest = files.newest.read_bytes()
    files.newest.write_bytes(damaged(newest)[kind])
    capsys.readouterr()
    assert in_bytes(regression(Run(tmp_path, {}, True, 0.0))) == expected
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert "regression.state" in said[0]
    assert "state before it is used" in said[0]
    assert f"resumed after {ITERATIONS - 1} iterations" in said[1]
    assert files.newest.read_bytes() == newest
    for path in (files.newest, files.previous):
        path.write_bytes(b"nothing")
    assert in_bytes(regression(Run(tmp_path, {}, True, 0.0))) == expected


def still(name: str, height_m: float) -> Flight:
    """A second of hovering."""
    t_s, zeros = np.arange(100) * 0.01, np.zeros((100, 3))
    attitude = np.tile([1.0, 0.0, 0.0, 0.0], (100, 1))
    meta = {"source": "made", "action_level": RATES, "rate_hz": 100.0, "airframe": "made"}
    return make_flight(name, t_s, zeros + height_m, zeros, attitude, zeros, np.tile([0.0, 0.0, 0.0, 0.5], (100, 1)), meta)


@pytest.mark.usefixtures("uncompiled")
def test_other_settings_or_flights_are_refused_by_name(tmp_path: Path) -> None:
    a, b, other = still("a", 1.0), still("b", 2.0), still("b", 2.5)
    begun = run_identity({"seed": 1, "policy": {"width": 8}}, [a, b], [b])
    regression(Run(tmp_path, begun, False))
    for changed, words in (
        (run_identity({"seed": 2, "policy": {"width": 8}}, [a, b], [b]), ["seed was 1, is 2"]),
        (run_identity({"seed": 1, "policy": {"width": 9}}, [a, b], [b]), ["policy.width was 8, is 9"]),
        (run_identity({"seed": 1, "policy": {"width": 8}}, [a, other], [other]), ["flight b was", ", is "]),
        (run_identity({"seed": 1, "policy": {"width": 8}}, [a], [a]), ["flight b was", "is absent", "held out was b, is a"]),
    ):
        with pytest.raises(InputError) as refusal:
            regression(Run(tmp_path, changed, True))
        assert all(word in str(refusal.value) for word in words), str(refusal.value)
    regression(Run(tmp_path, begun, True))


def test_a_stage_begun_on_other_results_starts_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, {}, False)
    run.stage("value", {"policy": np.zeros(3)}).save([np.ones(2)], 4)
    assert run.stage("value", {"policy": np.zeros(3)}).load([np.zeros(2)]) is not None
    assert run.stage("value", {"policy": np.ones(3)}).load([np.zeros(2)]) is None
    assert "has changed" in capsys.readouterr().out


def test_other_arrays_and_a_full_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, {}, False)
    stage = run.stage("s", 0.0)
    stage.save([np.ones(2, np.float32)], 1)
    for like in ([np.ones(3, np.float32)], [np.ones(2)], (np.ones(2, np.float32),), [np.ones(2, np.float32)] * 2):
        with pytest.raises(CheckpointError, match="without --resume"):
            stage.load(like)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        stage.save([np.zeros(2, np.float32)], 2)
    monkeypatch.undo()
    kept = stage.load([np.zeros(2, np.float32)])
    assert kept is not None
    assert kept[1] == 1


def test_without_resume_the_states_are_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regression(Run(tmp_path / "p", {}, False))
    Run(tmp_path / "p", {}, False)
    assert "dropped" in capsys.readouterr().out
    Run(tmp_path / "p", {}, True)
    assert "starts at the beginning" in capsys.readouterr().out


def test_state_files_hold_every_type_of_array_exactly() -> None:
    leaves = [np.array([np.nan, np.inf, -0.0, 1e-45], np.float32), np.array(3, np.int32), np.zeros((0, 4)), np.array([True])]
    generator = np.random.default_rng(0)
    generator.normal(size=3)
    state = TrainingState("s", 3, dict(generator.bit_generator.state), "tree", leaves, {"a": "b"}, digest(leaves), "here")
    back = decode(encode(state))
    assert digest(back.leaves) == state.inputs
    assert (back.generator, back.run, back.iteration) == (state.generator, state.run, 3)


PROGRAM = """
import os, signal, sys
from pathlib import Path
folder, target, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
replace = os.replace
def mortal(source, destination):
    global count
    if Path(destination).name == target:
        count -= 1
        if count == 0:  # the new state lies in a temporary file, the one before has been put aside
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, destination)
os.replace = mortal
from tubepilot.train.cli_train import read_flights
from tubepilot.train.learn import LearnSettings, learn
from tubepilot.train.monitor import Interrupt
from tubepilot.train.policy import PolicySettings
from tubepilot.train.residual import ResidualSettings
settings = LearnSettings(
    3, (1.5, 1.5, 0.3), (0.3757, 0.72), None, ResidualSettings(members=2, width=4, window=3, batch=4, iterations=6),
    PolicySettings(width=4, steps=4, batch=4, iterations=6, value_iterations=6, value_rollouts=8), 50, 0.0,
)
learn(read_flights(folder), ["f1", "f2"], folder.parent / sys.argv[4], "resume" in sys.argv, settings, Interrupt())
"""


@pytest.mark.slow
def test_sigkill_in_every_stage_of_training_changes_no_byte_of_the_checkpoint(tmp_path: Path, synthetic_flight) -> None:
    winds = [np.array([0.5, -0.3, 0.1]), np.array([-0.2, 0.4, 0.0]), np.array([0.1, 0.2, 0.0])]
    for k, wind in enumerate(winds):
        save_flight(tmp_path / "flights" / f"f{k}.npz", synthetic_flight(k, 320, wind, f"f{k}"))
    # What is compiled once serves the other processes, but not the one that shows that two processes agree.
    kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def train(*options: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"JAX_PLATFORMS": "cpu"} | (kept if options[2] != "again" else {})
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "flights"), *options]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    assert train("never", "0", "whole").returncode == 0
    assert train("never", "0", "again").returncode == 0
    for k, target in enumerate(("physics.state", "ensemble.state", "policy.state", "value.state")):
        done = train(target, "3" if k else "1", "killed", *["resume"] * (k > 0))
        assert done.returncode == -signal.SIGKILL, done.stderr
        if target == "policy.state":  # beside a kill in the middle of a write: a file that the disk has cut short
            cut = tmp_path / "killed.partial" / "policy.previous"
            os.replace(cut, cut.with_suffix(".state"))
            cut.with_suffix(".state").write_bytes(cut.with_suffix(".state").read_bytes()[:-9])
    last = train("never", "0", "killed", "resume")
    assert last.returncode == 0, last.stderr
    assert not (tmp_path / "killed.partial").exists()
    arrays = {name: (tmp_path / name / "checkpoint.npz") for name in ("whole", "again", "killed")}
    read = {name: dict(np.load(path)) for name, path in arrays.items()}
    for name in ("again", "killed"):
        assert read[name].keys() == read["whole"].keys()
        assert all(read[name][key].tobytes() == read["whole"][key].tobytes() for key in read["whole"]), name
        settings = [(tmp_path / n / "checkpoint.toml").read_text().splitlines() for n in (name, "whole")]
        assert [line for line in settings[0] if "sha256" not in line] == [line for line in settings[1] if "sha256" not in line]
