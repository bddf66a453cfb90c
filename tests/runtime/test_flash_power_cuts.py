"""Power fails at every write, flush, rename, link, unlink and folder that `flash` makes: some slot always boots.

The bundle is a small stand-in whose check reads two files, so that every operation can be cut; the program is the real one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.runtime import slots
from tubepilot.runtime.slots_pointer import ACTIVE

KEYS = Path("keys")
OPERATIONS = ("fsync", "rename", "replace", "unlink", "symlink", "mkdir", "rmdir")


class PowerCutError(Exception):
    """Power failed."""


@dataclass(frozen=True)
class Facts:
    version: int
    manifest_sha256: str


def check(slot: Path, keys: Path | None, run_self_test: bool = True) -> Facts:
    """Whole if both files hold the same number, five hundred times."""
    try:
        first, second = ((slot / name).read_text() for name in ("first", "second"))
    except OSError as error:
        raise BundleError(f"{error.filename} is missing") from error
    words = first.split()
    if first != second or len(words) != 500 or len(set(words)) != 1:
        raise BundleError(f"{slot} is not whole")
    return Facts(int(words[0]), words[0])


class Supply:
    """Counts operations and fails at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, after: bool) -> None:
        self.count, self._at, self._after = 0, at, after
        for name in OPERATIONS:
            patch.setattr(os, name, self._cut(getattr(os, name)))
        patch.setattr(shutil, "copyfile", self._torn(shutil.copyfile))

    def _now(self) -> bool:
        self.count += 1
        return self.count == self._at

    def _cut(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            now = self._now()
            if now and not self._after:
                raise PowerCutError
            result = original(*arguments, **options)
            if now:
                raise PowerCutError
            return result

        return operation

    def _torn(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A copy that fails leaves half of the file."""

        def copy(source: Path, target: Path) -> Any:
            if self._now():
                content = Path(source).read_bytes()
                Path(target).write_bytes(content if self._after else content[: len(content) // 2])
                raise PowerCutError
            return original(source, target)

        return copy


def bundle(folder: Path, version: int) -> Path:
    made = folder / f"bundle{version}"
    made.mkdir(exist_ok=True)
    for name in ("first", "second"):
        (made / name).write_text(f"{version} " * 500)
    return made


def boot(target: Path) -> int:
    """Start as `fly` does, twice if the first start fails; the version that comes up."""
    for _ in range(2):
        slot, _said = slots.begin_start(target)
        try:
            version = check(slot, KEYS).version
        except BundleError:
            slots.end_start(target, False)
            continue
        slots.end_start(target, True)
        return version
    raise AssertionError("nothing boots")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("good", [False, True], ids=["trial", "good"])
def test_some_slot_boots_whatever_operation_was_the_last(
    after: bool, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "examine", check)
    cuts = 0
    for at in range(1, 200):
        folder = tmp_path / str(at)
        folder.mkdir()
        target = folder / "companion"
        for version in (1, 2):
            slots.flash(bundle(folder, version), target, KEYS)
            if version == 1 or good:
                slots.mark_good(target, KEYS)
        third = bundle(folder, 3)
        with pytest.MonkeyPatch.context() as patch:
            supply = Supply(patch, at, after)
            try:
                slots.flash(third, target, KEYS)
            except PowerCutError:
                cuts += 1
        booted = boot(target)
        assert booted in ({2, 3} if good else {1, 2, 3})
        assert slots.flash(bundle(folder, 4), target, KEYS) == 4, "the next flash finds its way"
        assert check(target / ACTIVE, KEYS).version == 4
        if supply.count < at:
            break
        shutil.rmtree(folder)
    print(f"{cuts} cuts, {'after' if after else 'before'} each operation, {'good' if good else 'on trial'}: always bootable")
    assert cuts > 20
