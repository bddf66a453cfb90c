"""State files of a training stage: everything that its next iteration depends on, with a hash, the newest two kept.

A file is one line, format and SHA-256 of what follows, then an NPZ archive: the arrays, and a JSON header with the
iteration, the state of the random generator and what the stage was begun with. It holds no pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CheckpointError

from .atomic import write_file

FORMAT = 1
_MARK = b"tubepilot training state"
_HEADER = ("stage", "iteration", "generator", "structure", "run", "inputs", "machine")


@dataclass(frozen=True, slots=True)
class TrainingState:
    """One stage at one iteration.

    Attributes:
        stage: Name of the stage.
        iteration: Iterations done.
        generator: State of the numpy bit generator; empty if the stage draws nothing.
        structure: Tree structure of the arrays, as text.
        leaves: The arrays, in the order of `jax.tree.leaves`.
        run: Settings and flights of the run, name to value.
        inputs: Digest of the results of earlier stages that this one works on.
        machine: Devices and library.
    """

    stage: str
    iteration: int
    generator: dict[str, object]
    structure: str
    leaves: list[npt.NDArray[np.generic]]
    run: dict[str, str]
    inputs: str
    machine: str


class DamagedError(CheckpointError):
    """A state file is cut short or altered; the one before it is taken instead."""


def encode(state: TrainingState) -> bytes:
    """The content of a state file."""
    header = json.dumps({name: getattr(state, name) for name in _HEADER})
    buffer = io.BytesIO()
    arrays = {f"leaf_{k:04d}": leaf for k, leaf in enumerate(state.leaves)}
    np.savez(buffer, allow_pickle=False, header=np.array(header), **arrays)
    body = buffer.getvalue()
    return b"%s %d %s\n%s" % (_MARK, FORMAT, hashlib.sha256(body).hexdigest().encode(), body)


def decode(content: bytes) -> TrainingState:
    """Read what `encode` made.

    Raises:
        DamagedError: it does not match its hash, or is of another format.
    """
    first, _, body = content.partition(b"\n")
    if first != b"%s %d %s" % (_MARK, FORMAT, hashlib.sha256(body).hexdigest().encode()):
        raise DamagedError(f"does not match its hash or is not of format {FORMAT}")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            leaves = [archive[name] for name in sorted(archive.files) if name != "header"]
        return TrainingState(leaves=leaves, **{name: header[name] for name in _HEADER})
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, OSError, EOFError) as error:
        raise DamagedError(str(error)) from error


class StateFile:
    """The state file of one stage and the one before it: `<stage>.state` and `<stage>.previous`."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.newest = folder / f"{stage}.state"
        self.previous = folder / f"{stage}.previous"

    def write(self, state: TrainingState) -> None:
        """Write a state; whatever moment the process dies at, this one or the last one can be read.

        Raises:
            CheckpointError: the disk is full or does not take it.
        """
        try:
            if self.newest.exists():
                os.replace(self.newest, self.previous)
            write_file(self.newest, encode(state))
        except OSError as error:
            raise CheckpointError(
                f"{self.newest}: cannot be written: {error}; make room, then go on with --resume"
            ) from error

    def read(self) -> TrainingState | None:
        """The newest state that matches its hash; a damaged one is removed with one line said, None if there is none.

        Raises:
            CheckpointError: a file is there and cannot be read.
        """
        for path in (self.newest, self.previous):
            try:
                return decode(path.read_bytes())
            except FileNotFoundError:
                continue
            except DamagedError as error:
                print(f"{path}: {error}; left out, the state before it is used")
                path.unlink()
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be read: {error}") from error
        return None
