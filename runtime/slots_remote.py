"""Slots on another machine: the same steps as `slots`, carried out there over the system's ssh and rsync."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError, LinkError

from .slots import INCOMING, Status

_REMOTE = re.compile(r"(?P<host>[^/:\s-][^/:\s]*):(?P<path>\S.*)")
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
STEP_TIMEOUT_S = 300.0
COPY_TIMEOUT_S = 600.0


def _run(command: list[str], timeout_s: float, what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise LinkError(f"{what} needs the program {command[0]!r}, which is not installed; install it") from error
    except subprocess.TimeoutExpired as error:
        raise LinkError(f"{what} took more than {timeout_s:g} s; check the network to the companion") from error
    if done.returncode == 255 or (done.returncode != 0 and command[0] != SSH[0]):
        raise LinkError(f"{what} failed: {done.stderr.strip()}; check `{shlex.join(command)}`")
    if done.returncode != 0:
        raise BundleError(f"{what} was refused there: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class RemoteTarget:
    """A target directory on another machine.

    Attributes:
        host: As ssh knows it, `user@host` or a name from its configuration.
        path: Directory there; relative to the home of the user if not absolute.
        python: The Python there in which tubepilot is installed.
    """

    host: str
    path: str
    python: str

    @classmethod
    def parse(cls, text: str, python: str) -> RemoteTarget | None:
        """Split `user@host:path`; None if the text is a local path.

        Args:
            text: What the user gave as TARGET.
            python: The Python there in which tubepilot is installed.
        """
        match = _REMOTE.fullmatch(text)
        return cls(match["host"], match["path"], python) if match else None

    def step(self, step: str, keys: Path | None, *options: str) -> Status:
        """Carry out one step of `tubepilot.runtime.slots` there.

        Args:
            step: status, prepare, install, mark-good or fall-back.
            keys: Folder of trusted public keys on that machine; the default one if None.
            options: Further options of the step.

        Returns:
            What the target holds afterwards.

        Raises:
            LinkError: the machine cannot be reached.
            BundleError: the step was refused there.
        """
        trusted = [] if keys is None else ["--keys", str(keys)]
        words = [self.python, "-m", "tubepilot.runtime.slots", step, self.path, *trusted, *options]
        output = _run([*SSH, self.host, shlex.join(words)], STEP_TIMEOUT_S, f"{step} on {self.host}")
        try:
            answer = json.loads(output.strip().splitlines()[-1])
            if answer.get("engine"):
                print(f"{self.host}: {answer['engine']}")
            return Status(**{name: answer[name] for name in Status.__dataclass_fields__})
        except (IndexError, KeyError, ValueError) as error:
            raise LinkError(f"{self.host} answered {output!r}; is the same tubepilot installed there?") from error

    def flash(self, bundle: Path, keys: Path | None, allow_rollback: bool) -> Status:
        """Copy a bundle there, check it there, put it into the inactive slot and activate it.

        Args:
            bundle: Local bundle directory.
            keys: Folder of trusted public keys on that machine; the default one if None.
            allow_rollback: Accept a version that is not above what flew before.

        Raises:
            LinkError: the machine cannot be reached.
            BundleError: a check failed there; both slots are as they were.
        """
        if not bundle.is_dir():
            raise BundleError(f"{bundle} is not a bundle directory; give what `tubepilot export` wrote")
        self.step("prepare", keys)
        destination = f"{self.host}:{self.path.rstrip('/')}/{INCOMING}/"
        copy = ["rsync", "-r", "--checksum", "--delete", "-e", shlex.join(SSH), f"{bundle}/", destination]
        _run(copy, COPY_TIMEOUT_S, f"copying to {self.host}")
        return self.step("install", keys, *(["--allow-rollback"] if allow_rollback else []))
