"""Messages of an ArduPilot DataFlash log as columns, read with pymavlink, with an account of what could not be read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.errors import LogFormatError, MissingExtraError
from tubepilot.firmware_bridge.types import Vector

from .gaps import in_order

TIME = "TimeUS"
"""Microseconds since boot, the stamp of every message (AP_Logger/LogStructure.h)."""
_HEADER = b"\xa3\x95"


class _Silence(io.TextIOBase):
    """Swallows what pymavlink prints for each bad byte; the count of unread bytes says it in one number."""

    def write(self, text: str) -> int:
        """Pretend that it was written."""
        return len(text)


class Messages:
    """Columns of the wanted messages of one log.

    Args:
        path: DataFlash log, binary.
        wanted: Message name to the fields that may be used; a message or field that the log lacks is left out.
        optional: Fields taken along where a message has them: instance and core numbers.

    Attributes:
        path: Where it was read from.
        params: Parameters that the log states, by name.
        unread_bytes: Bytes of the file that are not part of a whole message.

    Raises:
        LogFormatError: The file is absent or not a DataFlash log.
        MissingExtraError: pymavlink is not installed.

    Units as logged, after pymavlink applied the scale of the format character. Source: AP_Logger/LogStructure.h.
    """

    def __init__(self, path: Path, wanted: Mapping[str, Iterable[str]], optional: Iterable[str] = ()) -> None:
        self.path = path
        self.params: dict[str, float] = {}
        self.unread_bytes = 0
        self._columns: dict[str, dict[str, Vector]] = {}
        _check_beginning(path)
        try:
            from pymavlink.DFReader import DFReader_binary  # a third of a second that other logs need not pay
        except ImportError as error:
            raise MissingExtraError('reading ArduPilot logs needs pymavlink; install it: pip install "tubepilot[ardupilot]"') from error
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.redirect_stderr(_Silence()))
                stack.enter_context(contextlib.redirect_stdout(_Silence()))
                reader = stack.enter_context(contextlib.closing(DFReader_binary(str(path))))
                self._read(reader, {name: [TIME, *fields, *optional] for name, fields in wanted.items()})
        except Exception as error:  # pymavlink raises bare Exception for a format character that it does not know
            raise LogFormatError(f"{path}: cannot be read as a DataFlash log: {error}") from error

    def _read(self, reader: Any, wanted: Mapping[str, list[str]]) -> None:
        rows: dict[str, list[list[float]]] = {}
        fields: dict[str, list[str]] = {}
        while (message := reader.recv_match(type=list(wanted), strict=True)) is not None:
            name = message.get_type()
            if name not in fields:
                fields[name] = [field for field in wanted[name] if field in message.get_fieldnames()]
                rows[name] = []
            rows[name].append([float(getattr(message, field)) for field in fields[name]])
        for name, values in rows.items():
            self._columns[name] = dict(zip(fields[name], np.array(values, dtype=np.float64).T, strict=True))
        self.params = {str(name): float(value) for name, value in reader.params.items()}
        self.unread_bytes = reader.data_len - _whole_bytes(reader)

    def has(self, name: str, *fields: str) -> bool:
        """Whether a message with these fields was read at least twice."""
        columns = self._columns.get(name, {})
        return all(f in columns for f in (TIME, *fields)) and len(columns[TIME]) >= 2

    def count(self, name: str) -> int:
        """How many times a message was read."""
        return len(next(iter(self._columns.get(name, {"": np.zeros(0)}).values())))

    def read(self, name: str, fields: tuple[str, ...], **only: float) -> tuple[Vector, Vector, int]:
        """Usable samples of one message.

        Args:
            name: Message.
            fields: Its fields.
            only: Field to the value that rows must have, such as `C=0`; ignored where the message lacks the field.

        Returns:
            Time since boot, shape (T,) [s]; values, shape (T, n); number of rows dropped, because a value is not finite
            or the stamp is not later than all before. Fewer than two usable rows come back as they are.
        """
        columns = self._columns[name]
        chosen = np.ones(len(columns[TIME]), dtype=np.bool_)
        for field, value in only.items():
            if field in columns:
                chosen &= columns[field] == value
        stamp = columns[TIME][chosen] * 1e-6
        values = np.stack([columns[field][chosen] for field in fields], axis=1)
        finite = np.isfinite(values).all(axis=1)
        stamp, values = stamp[finite], values[finite]
        keep = in_order(stamp)
        return stamp[keep], values[keep], int(np.sum(~finite) + np.sum(~keep))

    def most_frequent(self, name: str, field: str) -> float | None:
        """The value a field has most often; None if the log lacks it."""
        if not self.has(name, field):
            return None
        values, counts = np.unique(self._columns[name][field], return_counts=True)
        return float(values[np.argmax(counts)])


def _check_beginning(path: Path) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise LogFormatError(f"{path}: cannot be read: {error}") from error
    if _HEADER not in beginning:
        raise LogFormatError(
            f"{path}: is not a binary DataFlash log: no message begins in its first 4096 bytes; give the .bin file as "
            f"downloaded from the vehicle"
        )


def _whole_bytes(reader: Any) -> int:
    """Bytes of all messages that end within the file."""
    total = 0
    for kind, layout in reader.formats.items():
        offsets = np.asarray(reader.offsets[kind], dtype=np.int64)
        total += int(layout.len * np.sum(offsets + layout.len <= reader.data_len))
    return total
