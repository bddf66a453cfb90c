"""Flight recorder, the writer process: drains the rings into an MCAP file.

While flying the file is plain: each record is appended and handed to the kernel within `POLL_S`, so that a SIGKILL of
either process loses at most that, and to the disk every `SYNC_S`. When the flight is over the log is packed once into
indexed, compressed chunks in a second file that then takes the first one's name by rename(2): at every instant the name
stands for a readable log. Started by `recorder.Recorder`, never by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mcap.records import Channel, Message, Metadata, Schema
from mcap.writer import CompressionType, Writer

from . import decision_log
from .decision_log import DECISION_TOPIC
from .flight_log import (
    CLOSING_RECORD,
    EVENT_TOPIC,
    META_RECORD,
    POSE_TOPIC,
    TICK_DTYPE,
    TICK_TOPIC,
    encode_tick,
    records,
    tick_schema,
)
from .recorder import EVENT_DTYPE
from .ring import RingAddress, RingConsumer

POLL_S = 0.03
SYNC_S = 0.5
POSE_PERIOD_NS = 33_000_000
CHUNK_BYTES = 256 * 1024
LIBRARY = "tubepilot"

_EVENT_SCHEMA = {
    "title": "tubepilot.Event",
    "type": "object",
    "properties": {
        "t_ns": {"type": "integer", "description": "companion's CLOCK_MONOTONIC [ns]"},
        "text": {"type": "string"},
    },
}
_NUMBER = {"type": "number"}
_POSE_SCHEMA = {
    "title": "foxglove.PoseInFrame",
    "type": "object",
    "properties": {
        "timestamp": {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}},
        "frame_id": {"type": "string"},
        "pose": {
            "type": "object",
            "properties": {
                "position": {"type": "object", "properties": dict.fromkeys("xyz", _NUMBER)},
                "orientation": {"type": "object", "properties": dict.fromkeys("xyzw", _NUMBER)},
            },
        },
    },
}


class LogFile:
    """The MCAP file while it grows."""

    def __init__(self, path: Path, meta: dict[str, Any], realtime_offset_ns: int) -> None:
        """Create the file, refusing an existing one, and write the meta data and the channels."""
        self._stream = path.open("xb")
        self._writer = Writer(self._stream, use_chunking=False, compression=CompressionType.NONE)
        self._offset_ns = realtime_offset_ns
        self._next_pose_ns = 0
        self._last_sync_s = time.monotonic()
        self.ticks = 0
        self._writer.start(profile="", library=LIBRARY)
        readable = {key: str(value) for key, value in meta.items()}
        self._writer.add_metadata(META_RECORD, {**readable, "json": json.dumps(meta)})
        self._tick_channel = self._channel("tubepilot.Tick", TICK_TOPIC, tick_schema())
        self._pose_channel = self._channel("foxglove.PoseInFrame", POSE_TOPIC, json.dumps(_POSE_SCHEMA).encode())
        self._decision_channel: int | None = None
        if "horizon" in meta:
            self._decision_channel = self._channel("tubepilot.Decision", DECISION_TOPIC, decision_log.schema())
        self._event_channel = self._channel("tubepilot.Event", EVENT_TOPIC, json.dumps(_EVENT_SCHEMA).encode())
        self.flush()

    def _channel(self, schema: str, topic: str, data: bytes) -> int:
        number = self._writer.register_schema(schema, "jsonschema", data)
        return self._writer.register_channel(topic, "json", number)

    def _add(self, channel: int, t_ns: int, data: bytes, sequence: int = 0) -> None:
        stamp = max(0, t_ns + self._offset_ns)
        self._writer.add_message(channel, stamp, data, stamp, sequence)

    def add_tick(self, record: Any) -> None:
        """Append a tick, and its pose if one is due."""
        t_ns = int(record["t_ns"])
        self._add(self._tick_channel, t_ns, encode_tick(record), self.ticks & 0xFFFFFFFF)
        self.ticks += 1
        measured = record["measured"]
        if t_ns >= self._next_pose_ns and bool(np.isfinite(measured[:10]).all()):
            self._next_pose_ns = t_ns + POSE_PERIOD_NS
            self._add(self._pose_channel, t_ns, self._pose(t_ns, measured.tolist()))

    def _pose(self, t_ns: int, measured: list[float]) -> bytes:
        seconds, nanoseconds = divmod(max(0, t_ns + self._offset_ns), 1_000_000_000)
        w, x, y, z = measured[6:10]
        message = {
            "timestamp": {"sec": seconds, "nsec": nanoseconds},
            "frame_id": "world_enu",
            "pose": {
                "position": dict(zip("xyz", measured[:3], strict=True)),
                "orientation": {"x": x, "y": y, "z": z, "w": w},
            },
        }
        return json.dumps(message, separators=(",", ":")).encode()

    def add_decision(self, record: Any) -> None:
        """Append what a tick decided from."""
        if self._decision_channel is not None:
            self._add(self._decision_channel, int(record["t_ns"]), decision_log.encode(record))

    def add_event(self, t_ns: int, text: str) -> None:
        """Append a line of text."""
        self._add(self._event_channel, t_ns, json.dumps({"t_ns": t_ns, "text": text}).encode())

    def flush(self) -> None:
        """Hand everything to the kernel, and to the disk if `SYNC_S` has passed since the last time."""
        self._stream.flush()
        now_s = time.monotonic()
        if now_s - self._last_sync_s >= SYNC_S:
            self._last_sync_s = now_s
            os.fdatasync(self._stream.fileno())

    def finish(self, ticks_dropped: int, events_dropped: int) -> None:
        """Write the closing record, the summary and the footer."""
        counts = {"ticks": self.ticks, "ticks_dropped": ticks_dropped, "events_dropped": events_dropped}
        self._writer.add_metadata(CLOSING_RECORD, {key: str(value) for key, value in counts.items()})
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._stream.close()


def pack(path: Path) -> None:
    """Rewrite a finished log into indexed, compressed chunks; the name always stands for a whole log.

    Args:
        path: MCAP file, replaced by rename(2) once the packed copy is on disk.
    """
    packed = path.with_name(f".{path.name}.packing")
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    with packed.open("wb") as stream:
        writer = Writer(stream, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        writer.start(profile="", library=LIBRARY)
        for record in records(path):
            if isinstance(record, Schema) and record.id not in schemas:
                schemas[record.id] = writer.register_schema(record.name, record.encoding, record.data)
            elif isinstance(record, Channel) and record.id not in channels:
                channels[record.id] = writer.register_channel(
                    record.topic, record.message_encoding, schemas[record.schema_id], record.metadata
                )
            elif isinstance(record, Message):
                number = channels[record.channel_id]
                writer.add_message(number, record.log_time, record.data, record.publish_time, record.sequence)
            elif isinstance(record, Metadata):
                writer.add_metadata(record.name, record.metadata)
        writer.finish()  # type: ignore[no-untyped-call]
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(packed, path)


def _step_aside() -> None:
    """Leave the real-time class and the pinned core that the flight process may have handed down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _drain(log: LogFile, ticks: RingConsumer, events: RingConsumer, decisions: RingConsumer | None) -> None:
    while (event := events.pop()) is not None:
        text = event["text"][: int(event["length"])].tobytes().decode(errors="replace")
        log.add_event(int(event["t_ns"]), text)
    while (record := ticks.pop()) is not None:
        log.add_tick(record)
    while decisions is not None and (record := decisions.pop()) is not None:
        log.add_decision(record)


def main() -> int:
    """Read the settings from standard input, then write until that pipe ends."""
    _step_aside()
    pipe = sys.stdin.buffer
    settings = json.loads(pipe.readline())
    path = Path(settings["path"])
    try:
        log = LogFile(path, settings["meta"], settings["realtime_offset_ns"])
    except OSError as error:
        print(str(error), flush=True)
        return 1
    ticks = RingConsumer(RingAddress(*settings["ticks"]), TICK_DTYPE)
    events = RingConsumer(RingAddress(*settings["events"]), EVENT_DTYPE)
    decisions = None
    if "decisions" in settings:
        *address, horizon = settings["decisions"]
        decisions = RingConsumer(RingAddress(*address), decision_log.decision_dtype(horizon))
    print("ready", flush=True)
    reported, flying = 0, True
    while flying:
        readable, _, _ = select.select([pipe], [], [], POLL_S)
        flying = not (readable and not os.read(pipe.fileno(), 1))
        _drain(log, ticks, events, decisions)
        if ticks.dropped > reported:
            text = f"recorder: {ticks.dropped - reported} ticks dropped, the disk is too slow"
            log.add_event(time.monotonic_ns(), text)
            reported = ticks.dropped
        log.flush()
    log.finish(ticks.dropped, events.dropped)
    pack(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
