"""A/B slots: whatever step is the last one before power fails, the active slot is whole; versions do not go back.

The state machine is tested here with small slots whose check reads two files; `test_flash.py` does the same with real,
signed bundles.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tubepilot.firmware_bridge.errors import BundleError, InputError, LinkError
from tubepilot.runtime import slots
from tubepilot.runtime.slots_pointer import ACTIVE, target_of
from tubepilot.runtime.slots_remote import RemoteTarget

KEYS = Path("keys")


@dataclass(frozen=True)
class Facts:
    version: int
    manifest_sha256: str


def small_check(slot: Path, keys: Path, run_self_test: bool = True) -> Facts:
    """A slot is whole if both files carry the same number."""
    try:
        first, second = ((slot / name).read_text() for name in ("first", "second"))
    except OSError as error:
        raise BundleError(f"{error.filename} is missing") from error
    if first != second:
        raise BundleError(f"{slot / 'second'} differs")
    if run_self_test and first.startswith("-"):
        raise BundleError(f"{slot} fails its self-test")
    return Facts(abs(int(first)), first)


@pytest.fixture(autouse=True)
def _small_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "examine", small_check)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "companion"


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[int], Path]:
    def make(number: int) -> Path:
        folder = tmp_path / f"bundle{number}"
        folder.mkdir(exist_ok=True)
        for name in ("first", "second"):
            (folder / name).write_text(str(number))
        return folder

    return make


def active_version(target: Path) -> int:
    return small_check(target / ACTIVE, KEYS).version


def test_first_flash_and_the_next_one_alternate(target: Path, bundle: Callable[[int], Path]) -> None:
    assert slots.flash(bundle(1), target, KEYS) == 1
    assert slots.status(target) == slots.Status("slot-a", "slot-b", trial=True, previous=None, floor=1)
    slots.mark_good(target, KEYS)
    assert slots.status(target) == slots.Status("slot-a", "slot-b", trial=False, previous=None, floor=1)
    slots.flash(bundle(2), target, KEYS)
    assert slots.status(target) == slots.Status("slot-b", "slot-a", trial=True, previous="slot-a", floor=2)
    assert small_check(target / "slot-a", KEYS).version == 1


class PowerCutError(Exception):
    """Raised in place of the step at which power fails."""


STEPS = ("prepare", "clear", "copy", "sync", "admit", "place", "activate", "_write", "write_active", "sync_directory")
CUTS = [*((step, marked) for step in STEPS for marked in (True, False)), ("fall_back", False)]
"""Where power fails, and whether the active slot was marked good before; a good one never falls back."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "marked"), CUTS)
def test_a_power_cut_at_any_step_leaves_a_whole_active_slot(
    step: str, when: str, marked: bool, target: Path, bundle: Callable[[int], Path]
) -> None:
    slots.flash(bundle(1), target, KEYS)
    slots.mark_good(target, KEYS)
    slots.flash(bundle(2), target, KEYS)
    if marked:
        slots.mark_good(target, KEYS)
    original = getattr(slots, step)

    def cut(*arguments: object, **options: object) -> object:
        if when == "after":
            original(*arguments, **options)
        raise PowerCutError(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, step, cut)
        with pytest.raises(PowerCutError):
            slots.flash(bundle(3), target, KEYS)
    assert active_version(target) in ({2, 3} if marked else {1, 2, 3})
    now = slots.status(target)
    if now.trial and now.previous is not None:
        small_check(target / now.previous, KEYS)
    slots.flash(bundle(4), target, KEYS)
    assert active_version(target) == 4


def test_a_half_copied_bundle_is_not_placed(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(1), target, KEYS)
    slots.prepare(target)
    (target / slots.INCOMING / "first").write_text("2")
    with pytest.raises(BundleError, match="second"):
        slots.install(target, KEYS)
    assert active_version(target) == 1
    assert not (target / slots.INCOMING).exists()
    with pytest.raises(InputError, match="is not there"):
        slots.install(target, KEYS)


def test_a_refused_bundle_changes_neither_slot(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(1), target, KEYS)
    slots.mark_good(target, KEYS)
    slots.flash(bundle(2), target, KEYS)
    before = slots.status(target)
    for number, error in ((1, InputError), (-3, BundleError)):
        with pytest.raises(error):
            slots.flash(bundle(number), target, KEYS)
        assert slots.status(target) == before
        assert [small_check(target / name, KEYS).version for name in slots.SLOTS] == [1, 2]


def test_a_failed_self_test_keeps_the_active_slot(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(1), target, KEYS)
    with pytest.raises(BundleError, match="self-test"):
        slots.flash(bundle(-2), target, KEYS)
    assert active_version(target) == 1


def test_a_slot_on_trial_gives_way_and_the_last_good_one_stays(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(1), target, KEYS)
    slots.mark_good(target, KEYS)
    slots.flash(bundle(2), target, KEYS)
    slots.flash(bundle(3), target, KEYS)
    now = slots.status(target)
    assert active_version(target) == 3
    assert now.previous is not None
    assert small_check(target / now.previous, KEYS).version == 1


def test_versions_do_not_go_back_unless_asked(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(2), target, KEYS)
    with pytest.raises(InputError, match=r"version 1, the target had 2.*--allow-rollback"):
        slots.flash(bundle(1), target, KEYS)
    assert active_version(target) == 2
    assert slots.flash(bundle(1), target, KEYS, allow_rollback=True) == 1


def test_only_the_very_same_bundle_may_come_again(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(2), target, KEYS)
    assert slots.flash(bundle(2), target, KEYS) == 2
    other = bundle(2)
    for name in ("first", "second"):
        (other / name).write_text("02")
    with pytest.raises(InputError, match="version 2, the target had 2"):
        slots.flash(other, target, KEYS)


def test_the_floor_outlives_a_fall_back_and_a_rollback(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(1), target, KEYS)
    slots.mark_good(target, KEYS)
    slots.flash(bundle(5), target, KEYS)
    slots.fall_back(target)
    slots.flash(bundle(3), target, KEYS, allow_rollback=True)
    slots.mark_good(target, KEYS)
    with pytest.raises(InputError, match="the target had 5"):
        slots.flash(bundle(4), target, KEYS)


def test_fall_back_and_its_limits(target: Path, bundle: Callable[[int], Path]) -> None:
    with pytest.raises(InputError, match="no slot on trial"):
        slots.fall_back(target)
    slots.flash(bundle(1), target, KEYS)
    with pytest.raises(InputError, match="no slot on trial"):
        slots.fall_back(target)
    slots.flash(bundle(2), target, KEYS)
    assert slots.fall_back(target) == "slot-a"
    assert active_version(target) == 1
    assert not slots.status(target).trial


def test_a_start_on_trial_that_dies_goes_back_the_next_time(target: Path, bundle: Callable[[int], Path]) -> None:
    with pytest.raises(InputError, match="flash one first"):
        slots.begin_start(target)
    slots.flash(bundle(1), target, KEYS)
    assert slots.begin_start(target) == (target / "slot-a", "")
    assert slots.begin_start(target) == (target / "slot-a", "")  # nothing to go back to
    assert slots.end_start(target, True) == ""
    slots.mark_good(target, KEYS)
    slots.flash(bundle(2), target, KEYS)
    assert slots.begin_start(target) == (target / "slot-b", "")
    slot, said = slots.begin_start(target)  # nobody took the note back
    assert slot == target / "slot-a"
    assert "slot-b was started on trial and never came up" in said
    assert slots.status(target) == slots.Status("slot-a", "slot-b", trial=False, previous=None, floor=2)
    assert slots.begin_start(target) == (target / "slot-a", "")  # a good slot is not watched
    assert slots.begin_start(target) == (target / "slot-a", "")


def test_a_start_on_trial_that_fails_goes_back_at_once(target: Path, bundle: Callable[[int], Path]) -> None:
    slots.flash(bundle(1), target, KEYS)
    slots.mark_good(target, KEYS)
    slots.flash(bundle(2), target, KEYS)
    slots.begin_start(target)
    assert slots.end_start(target, True) == ""
    assert slots.begin_start(target) == (target / "slot-b", "")  # it came up, so it may be started again
    assert "back at slot-a, the last good slot" in slots.end_start(target, False)
    assert slots.status(target).active == "slot-a"
    assert slots.end_start(target, False) == ""


def test_a_drive_without_links_gets_a_file_that_names_the_slot(
    target: Path, bundle: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as symlink(2) answers on FAT

    monkeypatch.setattr(os, "symlink", refuse)
    slots.flash(bundle(1), target, KEYS)
    assert (target / ACTIVE).read_text() == "slot-a\n"
    slots.mark_good(target, KEYS)
    slots.flash(bundle(2), target, KEYS)
    assert slots.status(target) == slots.Status("slot-b", "slot-a", trial=True, previous="slot-a", floor=2)
    assert target_of(target) == target_of(target / ACTIVE) == target
    assert slots.begin_start(target) == (target / "slot-b", "")
    assert slots.fall_back(target) == "slot-a"
    (target / ACTIVE).write_text("../../etc")
    with pytest.raises(InputError, match="must name slot-a or slot-b"):
        slots.status(target)


def test_only_plain_files_are_copied(target: Path, bundle: Callable[[int], Path], tmp_path: Path) -> None:
    folder = bundle(1)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="not a plain file"):
        slots.flash(folder, target, KEYS)
    with pytest.raises(BundleError, match="not a bundle directory"):
        slots.flash(tmp_path / "nothing", target, KEYS)


def test_a_foreign_active_is_refused(target: Path, tmp_path: Path) -> None:
    target.mkdir()
    (target / ACTIVE).symlink_to(tmp_path)
    with pytest.raises(InputError, match="must name slot-a or slot-b"):
        slots.status(target)
    (target / ACTIVE).unlink()
    (target / ACTIVE).mkdir()
    with pytest.raises(InputError, match="must name slot-a"):
        slots.prepare(target)


def test_steps_answer_in_json(
    target: Path, bundle: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert slots.main(["prepare", str(target)]) == 0
    assert json.loads(capsys.readouterr().out)["inactive"] == "slot-a"
    slots.copy(bundle(1), target)
    assert slots.main(["install", str(target)]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert slots.main(["mark-good", str(target)]) == 0
    assert slots.main(["fall-back", str(target)]) == 1
    assert "no slot on trial" in capsys.readouterr().err
    assert slots.main(["status", str(target)]) == 0
    assert json.loads(capsys.readouterr().out)["floor"] == 1


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("pilot@drone:slots", "pilot@drone", "slots"),
        ("drone:/var/lib/tubepilot", "drone", "/var/lib/tubepilot"),
        ("./a:b", None, None),
        ("/data/slots", None, None),
        ("slots", None, None),
        ("-oProxyCommand=x:y", None, None),
    ],
)
def test_remote_targets_are_told_from_paths(text: str, host: str | None, path: str | None) -> None:
    remote = RemoteTarget.parse(text, "python3")
    assert (remote.host if remote else None, remote.path if remote else None) == (host, path)


SSH_TO_THIS_MACHINE = """#!/bin/sh
while [ "$1" = -o ] || [ "$1" = -l ]; do shift 2; done
shift
exec sh -c "$*"
"""


@pytest.fixture
def ssh_to_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `ssh` that runs the command here: all of the remote path is real but the network."""
    program = tmp_path / "programs" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH_TO_THIS_MACHINE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("ssh_to_this_machine")
def test_remote_steps_run_there_and_report_back(target: Path, tmp_path: Path) -> None:
    remote = RemoteTarget("pilot@drone", str(target), sys.executable)
    assert remote.step("prepare", tmp_path) == slots.Status(None, "slot-a", trial=False, previous=None, floor=0)
    assert (target / slots.INCOMING).is_dir()
    with pytest.raises(BundleError, match=r"fall-back on pilot@drone was refused there: .*no slot on trial"):
        remote.step("fall-back", tmp_path)
    with pytest.raises(LinkError, match="is the same tubepilot installed there"):
        RemoteTarget("drone", str(target), "true").step("status", tmp_path)


@pytest.mark.usefixtures("ssh_to_this_machine")
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_broken_bundle_is_refused_on_the_other_machine(
    target: Path, bundle: Callable[[int], Path], tmp_path: Path
) -> None:
    remote = RemoteTarget("drone", str(target), sys.executable)
    with pytest.raises(BundleError, match="install on drone was refused there"):
        remote.flash(bundle(1), tmp_path, allow_rollback=False)
    assert slots.status(target).active is None
    with pytest.raises(BundleError, match="not a bundle directory"):
        remote.flash(tmp_path / "nothing", tmp_path, allow_rollback=False)


def test_an_unreachable_machine_is_a_link_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho no route >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(LinkError, match="no route"):
        RemoteTarget("drone", "slots", "python3").step("status", tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()))
    with pytest.raises(LinkError, match="not installed"):
        RemoteTarget("drone", "slots", "python3").step("status", tmp_path)
