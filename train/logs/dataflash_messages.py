"""Messages of an ArduPilot DataFlash log as columns, with an account of what could not be read.

pymavlink finds the messages and their formats; its way of handing out one message after the other takes tens of
microseconds each, so the values are taken out of the file as arrays.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import LogFormatError, MissingExtraError
from tubepilot.firmware_bridge.types import Vector

from .gaps import in_order

TIME = "TimeUS"
"""Microseconds since boot, the stamp of every message (AP_Logger/LogStructure.h)."""
_HEADER = b"\xa3\x95"


class _Nowhere(io.TextIOBase):
    """Takes text and forgets it."""

    def write(self, text: str) -> int:
        """Pretend that it was written."""
        return len(text)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Swallow the line that pymavlink, partly from C, prints for each bad byte; `unread_bytes` says it in one number."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
        self._columns: dict[str, dict[str, npt.NDArray[Any]]] = {}
        _check_beginning(path)
        try:
            from pymavlink.DFReader import DFReader_binary  # a third of a second that other logs need not pay
        except ImportError as error:
            raise MissingExtraError('reading ArduPilot logs needs pymavlink; install it: pip install "tubepilot[ardupilot]"') from error
        try:
            with _silence(), contextlib.closing(DFReader_binary(str(path))) as reader:
                self._read(reader, {name: (TIME, *fields, *optional) for name, fields in wanted.items()})
        except Exception as error:  # pymavlink raises bare Exception for a format character that it does not know
            raise LogFormatError(f"{path}: cannot be read as a DataFlash log: {error}") from error

    def _read(self, reader: Any, wanted: Mapping[str, tuple[str, ...]]) -> None:
        content = np.fromfile(self.path, dtype=np.uint8)
        for name, fields in wanted.items():
            self._columns[name] = _columns(reader, content, name, fields)
        named = _columns(reader, content, "PARM", ("Name", "Value"))
        if len(named) == 2:
            texts = (bytes(text).decode(errors="replace") for text in named["Name"])
            self.params = dict(zip(texts, named["Value"].tolist(), strict=True))
        whole = sum(layout.len * len(_offsets(reader, layout)) for layout in reader.formats.values())
        self.unread_bytes = len(content) - whole

    def has(self, name: str, *fields: str) -> bool:
        """Whether a message with these fields was read at least twice."""
        columns = self._columns.get(name, {})
        return all(f in columns for f in (TIME, *fields)) and len(columns[TIME]) >= 2

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


def _offsets(reader: Any, layout: Any) -> npt.NDArray[np.int64]:
    """Where the messages of one format begin, of those that end within the file."""
    offsets = np.asarray(reader.offsets[layout.type], dtype=np.int64)
    whole: npt.NDArray[np.int64] = offsets[offsets + layout.len <= reader.data_len]
    return whole


def _columns(reader: Any, content: npt.NDArray[np.uint8], name: str, fields: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Those fields of a message that the log has: numbers as float64 after scaling, text as bytes."""
    from pymavlink.DFReader import FORMAT_TO_STRUCT

    result: dict[str, npt.NDArray[Any]] = {}
    if name not in reader.name_to_id:
        return result
    layout = reader.formats[reader.name_to_id[name]]
    begin, after_header = _offsets(reader, layout), 3
    for column, letter, factor in zip(layout.columns, layout.format, layout.msg_mults, strict=False):
        code = FORMAT_TO_STRUCT[letter][0]
        kind = np.dtype(f"S{code[:-1]}" if code.endswith("s") else f"<{code}")
        if column in fields:
            raw = content[begin[:, None] + np.arange(after_header, after_header + kind.itemsize)]
            values = np.ascontiguousarray(raw).view(kind).reshape(len(begin))
            result[column] = values if kind.kind == "S" else values.astype(np.float64) * (factor or 1.0)
        after_header += kind.itemsize
    if after_header != layout.len:
        raise ValueError(f"the format of {name} states {layout.len} bytes, its fields take {after_header}")
    return result
