"""Ring and flight recorder: exact round trip, drops, and survival of SIGKILL and of a cut at any byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.runtime.flight_log import TICK_DTYPE, TICK_HELP, read_flight, tick_schema
from tubepilot.runtime.recorder import EVENT_TEXT_BYTES, Recorder
from tubepilot.runtime.recorder_writer import LogFile
from tubepilot.runtime.ring import RingConsumer, RingProducer

FIRST_TICK = b'{"t_ns":1000000000,'
SMALL = np.dtype([("number", "<i8"), ("values", "<f8", (3,))])


def random_ticks(count: int, seed: int = 0) -> np.ndarray:
    """Records with random bits in every numeric field, 10 ms apart."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK_DTYPE)
    for name, (dtype, *_) in TICK_DTYPE.fields.items():
        shape = (count, *dtype.shape)
        if dtype.base.kind == "f":
            ticks[name] = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6)
        else:
            ticks[name] = rng.integers(0, 5, shape)
    ticks["t_ns"] = 1_000_000_000 + 10_000_000 * np.arange(count)
    return ticks


def assert_same(left: np.ndarray, right: np.ndarray) -> None:
    assert len(left) == len(right)
    for name in TICK_DTYPE.names:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def write_log(path: Path, ticks: np.ndarray) -> None:
    """The growing file exactly as the writer process leaves it when it is killed."""
    log = LogFile(path, {"format": 1, "tick_hz": 100}, 0)
    for tick in ticks:
        log.add_tick(tick)
    log.flush()
    log.close()


def test_ring_keeps_order_over_many_turns_and_counts_drops() -> None:
    producer = RingProducer(SMALL, capacity=4)
    consumer = RingConsumer(producer.address, SMALL)
    seen, expected = [], []
    for number in range(50):
        producer.begin()["number"] = number
        if producer.commit():
            expected.append(number)
        if number % 7 == 6:
            while (record := consumer.pop()) is not None:
                seen.append(int(record["number"]))
    while (record := consumer.pop()) is not None:
        seen.append(int(record["number"]))
    assert seen == expected
    assert producer.dropped == consumer.dropped == 50 - len(expected) > 0
    producer.close()


def test_ring_does_not_hand_out_a_record_that_is_not_all_there() -> None:
    producer = RingProducer(SMALL, capacity=2)
    consumer = RingConsumer(producer.address, SMALL)
    record = producer.begin()
    record["number"] = 5
    producer.commit()
    record["number"] = 6  # what aarch64 may show: the counter is visible, the record is not the committed one
    assert consumer.pop() is None
    record["number"] = 5
    assert int(consumer.pop()["number"]) == 5
    producer.close()


def test_ring_hands_out_zeroed_records_and_ignores_a_commit_without_begin() -> None:
    producer = RingProducer(SMALL, capacity=1)
    consumer = RingConsumer(producer.address, SMALL)
    producer.begin()["values"] = 7.0
    producer.commit()
    consumer.pop()
    assert producer.begin()["values"].tolist() == [0.0, 0.0, 0.0]
    assert producer.commit()
    assert not producer.commit()
    assert consumer.waiting == 1
    producer.close()


def test_ring_needs_a_slot() -> None:
    with pytest.raises(InputError, match="at least 1"):
        RingProducer(SMALL, capacity=0)


def test_every_field_has_a_unit_in_the_schema() -> None:
    properties = json.loads(tick_schema())["properties"]
    assert list(properties) == list(TICK_DTYPE.names) == list(TICK_HELP)
    assert all(entry["description"] for entry in properties.values())


def test_round_trip_is_exact(tmp_path: Path) -> None:
    ticks = random_ticks(300)
    ticks["margin"][7] = np.nan
    ticks["state"][9, 3] = np.nan
    path = tmp_path / "logs" / "flight.mcap"
    with Recorder(path, {"tick_hz": 100, "airframe": "quad", "wind_m_s": 3.5}) as recorder:
        recorder.event("armed \u2192 climb")
        for tick in ticks:
            record = recorder.tick()
            for name in TICK_DTYPE.names:
                record[name] = tick[name]
            recorder.commit()
    flight = read_flight(path)
    assert_same(flight.ticks, ticks)
    assert [event.text for event in flight.events] == ["armed \u2192 climb"]
    assert flight.meta == {"tick_hz": 100, "airframe": "quad", "wind_m_s": 3.5, "format": 1}
    assert flight.complete
    assert flight.dropped == 0


def test_finished_log_is_indexed_and_has_poses_for_viewers(tmp_path: Path) -> None:
    path = tmp_path / "flight.mcap"
    ticks = random_ticks(100)
    with Recorder(path, {}) as recorder:
        for tick in ticks:
            record = recorder.tick()
            record["t_ns"] = tick["t_ns"]
            record["measured"] = tick["measured"]
            recorder.commit()
    with path.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        counts = {summary.channels[k].topic: n for k, n in summary.statistics.channel_message_counts.items()}
        poses = [json.loads(m.data) for schema, _, m in reader.iter_messages("/pose") if schema]
    assert counts["/tick"] == 100
    assert counts["/pose"] == len(poses) == 25  # every fourth tick of 10 ms
    w, x, y, z = ticks["measured"][0, 6:10]
    assert poses[0]["pose"]["orientation"] == {"x": x, "y": y, "z": z, "w": w}


def test_an_event_is_cut_to_its_slot(tmp_path: Path) -> None:
    path = tmp_path / "flight.mcap"
    with Recorder(path, {}) as recorder:
        recorder.event("x" * 1000)
    assert [event.text for event in read_flight(path).events] == ["x" * EVENT_TEXT_BYTES]


def test_an_existing_log_and_an_impossible_path_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flight.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="never overwritten"):
        Recorder(path, {})
    assert path.read_bytes() == b"precious"
    with pytest.raises(InputError, match="cannot be made"):
        Recorder(path / "below" / "a" / "file.mcap", {})
    (tmp_path / "dangling.mcap").symlink_to(tmp_path / "nowhere" / "x.mcap")
    with pytest.raises(InputError, match="could not be opened"):
        Recorder(tmp_path / "dangling.mcap", {})


def test_killed_writer_costs_the_flight_nothing_but_its_log(tmp_path: Path) -> None:
    path = tmp_path / "flight.mcap"
    recorder = Recorder(path, {})
    os.kill(recorder._process.pid, signal.SIGKILL)
    recorder._process.wait()
    for _ in range(3000):
        recorder.tick()["t_ns"] = 1
        recorder.commit()
    assert not recorder.alive
    assert recorder.dropped == 3000 - 2048
    with pytest.raises(InputError, match="status -9"):
        recorder.close()
    assert not read_flight(path).complete


PRODUCER = """
import os, signal, sys, time
from pathlib import Path
from tubepilot.runtime.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), {"tick_hz": 100})
for number in range(5000):
    record = recorder.tick()
    record["t_ns"] = number
    recorder.commit()
    if number % 1000 == 999:
        while recorder._ticks.waiting:
            time.sleep(0.001)
recorder.event("about to die")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sigkill_of_the_flight_loses_no_tick(tmp_path: Path) -> None:
    path = tmp_path / "flight.mcap"
    done = subprocess.run([sys.executable, "-c", PRODUCER, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    limit = time.monotonic() + 30
    while not (flight := read_flight(path)).complete and time.monotonic() < limit:
        time.sleep(0.05)
    assert flight.complete
    np.testing.assert_array_equal(flight.ticks["t_ns"], np.arange(5000))
    assert [event.text for event in flight.events] == ["about to die"]


def test_a_log_cut_at_any_byte_reads_up_to_the_last_whole_record(tmp_path: Path) -> None:
    ticks = random_ticks(60)
    whole = tmp_path / "whole.mcap"
    write_log(whole, ticks)
    data = whole.read_bytes()
    first = data.index(FIRST_TICK)
    cut = tmp_path / "cut.mcap"
    size_per_tick = (len(data) - first) / len(ticks)
    for length in np.random.default_rng(1).integers(first, len(data), 60).tolist():
        cut.write_bytes(data[:length])
        flight = read_flight(cut)
        assert not flight.complete
        assert flight.dropped == -1
        assert len(flight.ticks) >= (length - first) / size_per_tick - 2.5
        assert_same(flight.ticks, ticks[: len(flight.ticks)])


def test_a_log_cut_inside_its_head_is_empty_or_refused(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mcap", tmp_path / "cut.mcap"
    write_log(whole, random_ticks(1))
    data = whole.read_bytes()
    for length in range(0, data.index(FIRST_TICK), 7):
        cut.write_bytes(data[:length])
        if length < 8:
            with pytest.raises(LogFormatError, match="not an MCAP file"):
                read_flight(cut)
        else:
            assert len(read_flight(cut).ticks) == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LogFormatError, match="is not there"):
        read_flight(tmp_path / "none.mcap")
    other = tmp_path / "other.mcap"
    other.write_bytes(b"no flight log at all")
    with pytest.raises(LogFormatError, match="not an MCAP file"):
        read_flight(other)
    LogFile(tmp_path / "old.mcap", {"format": 99}, 0).close()
    with pytest.raises(LogFormatError, match="log format 99"):
        read_flight(tmp_path / "old.mcap")
