"""The flight log: what one tick records, how it stands in an MCAP file, and how it is read back.

Four JSON channels: `/tick` (the full record), `/pose` (`foxglove.PoseInFrame`, for viewers), `/event` (text) and `/decision`
(`decision_log`, for replay). A
number that is not finite is written as null, since JSON has none, and read back as NaN. A log that was cut off (power,
SIGKILL, a full disk) is read up to its last whole record.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Footer, McapRecord, Message, Metadata
from mcap.stream_reader import StreamReader

from tubepilot.firmware_bridge.errors import LogFormatError

from .decision_log import DECISION_TOPIC

FORMAT = 1
TICK_TOPIC, POSE_TOPIC, EVENT_TOPIC = "/tick", "/pose", "/event"
META_RECORD, CLOSING_RECORD = "flight", "recorder"
SHIELD_OFF = 255
"""`verdict` of a tick in which the shield was not engaged."""

TICK_DTYPE: np.dtype[Any] = np.dtype(
    [
        ("t_ns", "<i8"),
        ("late_us", "<f4"),
        ("solve_us", "<f4"),
        ("tick_us", "<f4"),
        ("state_age_ms", "<f4"),
        ("state", "<f8", (14,)),
        ("measured", "<f8", (13,)),
        ("reference", "<f8", (9,)),
        ("disturbance", "<f4", (3,)),
        ("planned", "<f4", (4,)),
        ("sent", "<f4", (4,)),
        ("steps", "u1"),
        ("return_before", "<f4"),
        ("return_after", "<f4"),
        ("disagreement", "<f4"),
        ("verdict", "u1"),
        ("reason", "u1"),
        ("margin", "<f4"),
        ("phase", "u1"),
        ("overrun", "u1"),
        ("vehicle_mode", "u1"),
        ("armed", "u1"),
    ]
)

TICK_HELP: dict[str, str] = {
    "t_ns": "nominal instant of the tick, companion's CLOCK_MONOTONIC [ns]",
    "late_us": "how late the loop woke up [us]",
    "solve_us": "time the planner took [us]",
    "tick_us": "newest state read to set-point sent [us]",
    "state_age_ms": "age of the newest state at the tick [ms]",
    "state": "predicted to the tick: position [m], velocity [m/s], quaternion wxyz, rates [rad/s], thrust [m/s^2]",
    "measured": "newest state as received: position [m], velocity [m/s], quaternion wxyz, rates [rad/s]",
    "reference": "reference at the tick: position [m], velocity [m/s], acceleration [m/s^2]",
    "disturbance": "estimated disturbance acceleration, world ENU [m/s^2]",
    "planned": "the planner's set-point: body rates FLU [rad/s], collective thrust [m/s^2]",
    "sent": "the set-point sent: body rates FLU [rad/s], collective thrust [m/s^2]",
    "steps": "refinement steps done",
    "return_before": "return of the warm start, every tenth tick; not a number in the others",
    "return_after": "return of the refined plan",
    "disagreement": "ensemble disagreement of the chosen plan",
    "verdict": "the shield's verdict: 0 accept, 1 backup, 2 void, 255 shield not engaged",
    "reason": "the shield's reason (runtime.shield.Reason)",
    "margin": "margin to the invariant set, above 0 inside, dimensionless",
    "phase": "flight phase (runtime.phases)",
    "overrun": "1 if the tick missed its deadline",
    "vehicle_mode": "the flight controller's mode (firmware_bridge.types.FlightMode, by position)",
    "armed": "1 if armed",
}

_MAGIC = b"\x89MCAP0\r\n"
_BROKEN = (McapError, struct.error, UnicodeDecodeError, ValueError, RuntimeError, zstandard.ZstdError, zlib.error)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of text at one instant, CLOCK_MONOTONIC [ns]."""

    t_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class Flight:
    """A flight log in memory.

    Attributes:
        ticks: Records in the order flown, dtype `TICK_DTYPE`.
        events: What happened, in order.
        meta: What the recorder was given: configuration, bundle, airframe, tick_hz, ...
        complete: True if the recorder closed the log itself; False if it was cut off.
        dropped: Ticks that the recorder had to drop; -1 if unknown because the log was cut off.
        decisions: Messages of `/decision`, for `decision_log.decode`; empty if the flight recorded none.
    """

    ticks: npt.NDArray[np.void]
    events: tuple[Event, ...]
    meta: dict[str, str | float | int]
    complete: bool
    dropped: int
    decisions: tuple[bytes, ...] = ()


def _round_to_single(value: float) -> float:
    return float(f"{value:.9g}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def encode_tick(record: Any) -> bytes:
    """One record as JSON; float32 fields with the 9 digits and float64 ones with the 17 that give them back exactly."""
    fields: dict[str, object] = {}
    for name, (dtype, *_) in (TICK_DTYPE.fields or {}).items():
        value = record[name].tolist()
        if dtype.base == np.float32:
            value = [_round_to_single(v) for v in value] if dtype.shape else _round_to_single(value)
        fields[name] = value
    try:
        return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        for name, value in fields.items():
            if isinstance(value, float):
                fields[name] = _finite(value)
            elif isinstance(value, list):
                fields[name] = [_finite(v) for v in value]
        return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()


def tick_schema() -> bytes:
    """JSON schema of the `/tick` channel, with the unit of every field in its description."""
    properties: dict[str, object] = {}
    for name, (dtype, *_) in (TICK_DTYPE.fields or {}).items():
        kind: dict[str, object] = {"type": "integer" if dtype.base.kind in "iu" else ["number", "null"]}
        if dtype.shape:
            kind = {"type": "array", "items": kind, "minItems": dtype.shape[0], "maxItems": dtype.shape[0]}
        properties[name] = {**kind, "description": TICK_HELP[name]}
    return json.dumps({"title": "tubepilot.Tick", "type": "object", "properties": properties}).encode()


def _decode_tick(data: bytes, out: Any) -> None:
    fields = json.loads(data)
    for name, (dtype, *_) in (TICK_DTYPE.fields or {}).items():
        if name not in fields:
            raise LogFormatError(f"a /tick record lacks the field {name!r}; the log is not one of tubepilot's")
        value = fields[name]
        if dtype.base.kind == "f":
            value = np.array(value, dtype=np.float64)  # null becomes NaN
        out[name] = value


def records(path: Path) -> Iterator[McapRecord]:
    """Records of an MCAP file, indexed or not, up to the last whole one.

    Args:
        path: The file.

    Raises:
        LogFormatError: the file does not begin as an MCAP file.
    """
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise LogFormatError(f"{path} is not an MCAP file: its first 8 bytes are not MCAP's; give a flight log")
        stream.seek(0)
        iterator = iter(StreamReader(stream, record_size_limit=1 << 28).records)
        while True:
            try:
                record = next(iterator)
            except (StopIteration, *_BROKEN):
                return
            yield record


def read_flight(path: Path) -> Flight:
    """Read a flight log, also one that was cut off at any byte.

    Args:
        path: MCAP file that `tubepilot fly` wrote.

    Returns:
        Everything up to the last whole record; `complete` tells whether the end is there.

    Raises:
        LogFormatError: the file is absent, is not MCAP, or holds another format.
    """
    if not path.is_file():
        raise LogFormatError(f"{path} is not there; give the MCAP file that `tubepilot fly --log` wrote")
    topics: dict[int, str] = {}
    raw_ticks: list[bytes] = []
    decisions: list[bytes] = []
    events: list[Event] = []
    meta: dict[str, str | float | int] = {}
    dropped, complete = -1, False
    for record in records(path):
        if isinstance(record, Channel):
            topics[record.id] = record.topic
        elif isinstance(record, Message):
            topic = topics.get(record.channel_id)
            if topic == TICK_TOPIC:
                raw_ticks.append(record.data)
            elif topic == DECISION_TOPIC:
                decisions.append(record.data)
            elif topic == EVENT_TOPIC:
                event = json.loads(record.data)
                events.append(Event(int(event["t_ns"]), str(event["text"])))
        elif isinstance(record, Metadata) and record.name == META_RECORD:
            meta = json.loads(record.metadata["json"])
            if meta.get("format") != FORMAT:
                raise LogFormatError(f"{path} has log format {meta.get('format')!r}; this version reads {FORMAT}")
        elif isinstance(record, Metadata) and record.name == CLOSING_RECORD:
            dropped = int(record.metadata["ticks_dropped"])
        elif isinstance(record, Footer):
            complete = True
    ticks = np.zeros(len(raw_ticks), TICK_DTYPE)
    for index, data in enumerate(raw_ticks):
        _decode_tick(data, ticks[index])
    return Flight(ticks, tuple(events), meta, complete, dropped, tuple(decisions))
