"""Flashing real, signed bundles: a wrong byte of any file is refused by name, a killed flash leaves a whole slot."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.small_bundle import make_bundle

from tubepilot.firmware_bridge.errors import BundleError, InputError
from tubepilot.runtime import cli_fly, slots
from tubepilot.runtime.cli import main
from tubepilot.runtime.slot_check import examine
from tubepilot.runtime.slots_pointer import ACTIVE
from tubepilot.runtime.slots_remote import RemoteTarget


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two bundles, versions 7 and 8, and the folder of trusted keys."""
    first, keys = make_bundle(tmp_path_factory.mktemp("first"), version=7)
    second, _ = make_bundle(tmp_path_factory.mktemp("second"), version=8)
    return first, second, keys


def run(*arguments: object) -> int:
    return main(["flash", *map(str, arguments)])


def test_flash_mark_good_and_fall_back_by_command(
    signed: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, keys = signed
    target = tmp_path / "companion"
    assert run("--status", target) == 0
    assert "next: tubepilot flash BUNDLE" in capsys.readouterr().out
    assert run(first, target, "--keys", keys) == 0
    assert f"next: tubepilot fly {target}/active" in capsys.readouterr().out
    assert run("--mark-good", target, "--keys", keys) == 0
    assert run(second, target, "--keys", keys) == 0
    assert examine(target / ACTIVE, keys).version == 8
    assert run("--fall-back", target, "--keys", keys) == 0
    assert examine(target / ACTIVE, keys).version == 7
    assert run(target) == 1
    assert run(first, target, "--mark-good") == 1
    assert "give BUNDLE and TARGET" in capsys.readouterr().err


def names(bundle: Path) -> list[str]:
    return sorted(path.name for path in bundle.iterdir())


def test_one_wrong_byte_of_any_file_is_refused_by_name(
    signed: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, keys = signed
    target = tmp_path / "companion"
    assert run(first, target, "--keys", keys) == 0
    rng = np.random.default_rng(5)
    for name in names(second):
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(second, broken)
        content = bytearray((broken / name).read_bytes())
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        (broken / name).write_bytes(content)
        capsys.readouterr()
        assert run(broken, target, "--keys", keys) == 1, name
        assert name in capsys.readouterr().err
        assert examine(target / ACTIVE, keys).version == 7


def test_a_bundle_signed_by_another_key_is_refused(signed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, _, _ = signed
    other = tmp_path / "keys"
    other.mkdir()
    (other / "other.pub").write_bytes(bytes(range(32)))
    with pytest.raises(BundleError, match=r"manifest\.sig"):
        slots.flash(first, tmp_path / "companion", other)
    assert slots.status(tmp_path / "companion").active is None


KILLED = """
import os, signal, sys
from pathlib import Path
from tubepilot.runtime import cli_fly, slots
step, bundle, target, keys = sys.argv[1], *map(Path, sys.argv[2:])
original = getattr(slots, step)
def die(*arguments, **options):
    original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(slots, step, die)
slots.flash(bundle, target, keys)
"""


@pytest.mark.parametrize("step", ["prepare", "copy", "sync", "admit", "place", "_write", "activate"])
def test_a_flash_killed_at_any_step_leaves_a_bundle_that_loads(
    step: str, signed: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, second, keys = signed
    target = tmp_path / "companion"
    slots.flash(first, target, keys)
    command = [sys.executable, "-c", KILLED, step, str(second), str(target), str(keys)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert examine(target / ACTIVE, keys).version == (8 if step == "activate" else 7)
    assert slots.flash(second, target, keys) == 8


def test_a_flash_killed_at_a_random_time_leaves_a_bundle_that_loads(
    signed: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, second, keys = signed
    target = tmp_path / "companion"
    slots.flash(first, target, keys)
    command = [sys.executable, "-m", "tubepilot.runtime.cli", "flash", str(second), str(target), "--keys", str(keys)]
    for wait_s in np.random.default_rng(2).uniform(0.2, 1.2, 3).tolist():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait_s)
        process.kill()
        process.wait()
        assert examine(target / ACTIVE, keys).version in (7, 8)


def test_a_full_disk_is_said_and_leaves_what_was_active(
    signed: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, keys = signed
    target = tmp_path / "companion"
    slots.flash(first, target, keys)

    def full(source: Path, to: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(to))

    monkeypatch.setattr(slots.shutil, "copyfile", full)
    with pytest.raises(InputError, match=r"incoming/.* cannot be written: No space left on device; what was active still is"):
        slots.flash(second, target, keys)
    assert not (target / slots.INCOMING).exists()
    assert examine(target / ACTIVE, keys).version == 7


def test_a_drive_that_loses_files_on_rename_is_noticed(
    signed: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, keys = signed
    target = tmp_path / "companion"
    slots.flash(first, target, keys)
    rename = os.rename

    def losing(source: Path, to: Path) -> None:
        rename(source, to)
        (Path(to) / "planner.npz").unlink()

    monkeypatch.setattr(slots.os, "rename", losing)
    with pytest.raises(BundleError, match="loses them, use another drive"):
        slots.flash(second, target, keys)
    assert examine(target / ACTIVE, keys).version == 7


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_over_ssh_and_rsync(
    signed: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The network is replaced by an `ssh` that runs the command on this machine; all else is real."""
    first, second, keys = signed
    program = tmp_path / "programs" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile [ "$1" = -o ] || [ "$1" = -l ]; do shift 2; done\nshift\nexec sh -c "$*"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    target = tmp_path / "companion"
    options = ["--keys", keys, "--remote-python", sys.executable]
    assert run(first, f"pilot@drone:{target}", *options) == 0
    assert examine(target / ACTIVE, keys).version == 7
    assert f"next, on pilot@drone: tubepilot fly {target}/active" in capsys.readouterr().out
    remote = RemoteTarget("drone", str(target), sys.executable)
    assert remote.flash(second, keys, allow_rollback=False).active == "slot-b"
    assert run(first, f"drone:{target}", *options) == 1
    assert "version 7, the target had 8" in capsys.readouterr().err
    for step in ("--status", "--mark-good"):
        assert run(step, f"drone:{target}", *options) == 0
    assert run("--fall-back", f"drone:{target}", *options) == 1


def test_fly_goes_back_when_the_first_start_fails(
    signed: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged on trial: refused, and the good one is active; then once more with a start that dies without a word."""
    first, second, keys = signed
    target = tmp_path / "companion"
    assert run(first, target, "--keys", keys) == 0
    assert run("--mark-good", target, "--keys", keys) == 0
    assert run(second, target, "--keys", keys) == 0
    damaged = target / "slot-b" / "rollout.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(BundleError, match="rollout"):
        cli_fly.load(target / ACTIVE, keys)
    assert "back at slot-a, the last good slot" in capsys.readouterr().out
    assert slots.status(target).active == "slot-a"

    assert run(second, target, "--keys", keys) == 0
    dies = "import os, sys; from pathlib import Path; from tubepilot.runtime import cli_fly; " \
        "cli_fly.load_on_board = lambda *_: os.abort(); cli_fly.load(Path(sys.argv[1]), None)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", dies, str(target / ACTIVE)], check=False, capture_output=True).returncode < 0
    assert slots.status(target).active == "slot-b"

    def stop(slot: Path, *_: object) -> None:
        assert examine(slot, keys).version == 7
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_fly, "load_on_board", stop)
    with pytest.raises(KeyboardInterrupt):
        cli_fly.load(target, keys)
    assert "never came up; back to slot-a" in capsys.readouterr().out
    assert slots.status(target).active == "slot-a"
