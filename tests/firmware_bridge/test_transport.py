"""The serial port on real pseudo-terminals: exclusive, whole frames, vanishing and coming back."""

from __future__ import annotations

import os
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepilot.firmware_bridge import transport_serial
from tubepilot.firmware_bridge.errors import LinkError
from tubepilot.firmware_bridge.transport import WRITE_BACKLOG_LIMIT
from tubepilot.firmware_bridge.transport_serial import SerialTransport
from tubepilot.firmware_bridge.uri import VehicleUri


def make_terminal(link: Path) -> tuple[int, int]:
    """Master and slave of a raw pseudo-terminal behind a symbolic link."""
    master, slave = os.openpty()
    tty.setraw(slave)
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(slave))
    return master, slave


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "fc"


@pytest.fixture
def port(link: Path) -> Iterator[tuple[SerialTransport, int, int]]:
    master, slave = make_terminal(link)
    transport = SerialTransport(VehicleUri("px4", str(link), 921600))
    transport.open()
    yield transport, master, slave
    transport.close()
    for descriptor in (master, slave):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_reads_everything_and_never_waits(port: tuple[SerialTransport, int, int]) -> None:
    transport, master, _ = port
    assert transport.read() == b""
    data = bytes(range(256)) * 8
    os.write(master, data)
    found, end_s = b"", time.monotonic() + 5.0
    while len(found) < len(data) and time.monotonic() < end_s:  # the kernel hands them over when it gets to it
        transport.wait(0.1)
        found += transport.read()
    assert found == data
    assert transport.read() == b""
    assert transport.bytes_in == len(data)
    assert transport.low_latency is None


def test_an_empty_terminal_is_not_read(port: tuple[SerialTransport, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a read waits for the kernel's worker that hands bytes on."""
    transport, master, _ = port
    reads = []
    read = os.read
    monkeypatch.setattr(os, "read", lambda *given: reads.append(given) or read(*given))
    assert transport.read() == b""
    assert reads == []
    os.write(master, b"now")
    transport.wait(5.0)  # the kernel hands it on in its own time
    assert transport.read() == b"now"
    assert len(reads) == 1


def test_waiting_ends_with_the_first_byte_or_the_time(port: tuple[SerialTransport, int, int]) -> None:
    transport, master, _ = port
    start_s = time.monotonic()
    transport.wait(0.02)
    assert time.monotonic() - start_s >= 0.02
    sender = threading.Timer(0.02, os.write, (master, b"x"))
    sender.start()
    transport.wait(10.0)
    assert time.monotonic() - start_s < 5.0
    assert transport.read() == b"x"
    sender.join()


def test_writes_whole_frames_and_refuses_when_far_behind(port: tuple[SerialTransport, int, int]) -> None:
    transport, master, _ = port
    assert transport.write(b"hello")
    assert os.read(master, 100) == b"hello"
    frame = bytes(range(100))
    accepted = 0
    for _ in range(3000):
        accepted += transport.write(frame)
    assert transport.refused_writes == 3000 - accepted > 0
    assert len(transport._backlog) <= WRITE_BACKLOG_LIMIT + len(frame)
    os.set_blocking(master, False)
    received = b""
    while True:
        transport.flush()
        try:
            received += os.read(master, 65536)
        except BlockingIOError:
            break
    assert received == frame * accepted


def test_an_absent_device_and_a_busy_one_say_what_to_do(port: tuple[SerialTransport, int, int], link: Path) -> None:
    with pytest.raises(LinkError, match="no such device; check cable"):
        SerialTransport(VehicleUri("px4", str(link) + "x", 921600)).open()
    with pytest.raises(LinkError, match="another program has it open; find it with `fuser"):
        SerialTransport(VehicleUri("px4", str(link), 921600)).open()


def test_no_permission_says_which_group(link: Path, tmp_path: Path) -> None:
    error = PermissionError(13, "Permission denied")
    file = tmp_path / "device"
    file.touch()
    assert "dialout" in transport_serial._remedy(str(file), error)
    if os.geteuid() != 0:
        file.chmod(0)
        with pytest.raises(LinkError, match="dialout"):
            SerialTransport(VehicleUri("px4", str(file), 921600)).open()


def test_a_vanished_device_is_noticed_and_opened_again(port: tuple[SerialTransport, int, int], link: Path) -> None:
    transport, master, slave = port
    os.close(master)
    os.close(slave)
    transport.read()
    transport.write(b"x")
    assert not transport.is_open
    assert transport.losses == 1
    assert "vanished" in transport.last_error
    assert transport.read() == b""
    assert not transport.write(b"x")
    assert transport.fileno() == -1
    link.unlink()
    assert not transport.reopen()
    assert "no such device" in transport.last_error
    new_master, new_slave = make_terminal(link)
    transport._next_attempt_s = 0.0
    assert transport.reopen()
    os.write(new_master, b"back")
    transport.wait(5.0)
    assert transport.read() == b"back"
    transport.close()
    os.close(new_master)
    os.close(new_slave)
