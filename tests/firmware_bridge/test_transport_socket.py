"""TCP and UDP carriers on the loopback: reaching, losing, coming back, and deafness to strangers."""

from __future__ import annotations

import contextlib
import select
import socket

import pytest

from tubepilot.firmware_bridge.errors import LinkError
from tubepilot.firmware_bridge.transport import Transport, make_transport
from tubepilot.firmware_bridge.transport_socket import TcpTransport, UdpTransport
from tubepilot.firmware_bridge.uri import parse_uri


def got(transport: Transport) -> bytes:
    select.select([transport.fileno()], [], [], 1.0)
    return transport.read()


def test_tcp_carries_loses_and_comes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        transport = make_transport(parse_uri(f"ardupilot+tcp://127.0.0.1:{port}"))
        assert isinstance(transport, TcpTransport)
        transport.open()
        peer = server.accept()[0]
        assert transport.read() == b""
        assert transport.write(b"to you")
        assert peer.recv(100) == b"to you"
        peer.sendall(b"x" * 100_000)
        data = b""
        while len(data) < 100_000:
            data += got(transport)
        peer.close()
        assert got(transport) == b""
        assert not transport.is_open
        assert transport.losses == 1
        assert "closed the connection" in transport.last_error
        assert not transport.write(b"into the void")
        assert transport.reopen()
        again = server.accept()[0]
        assert transport.write(b"again")
        assert again.recv(100) == b"again"
        again.close()
        transport.close()


def test_nobody_listens_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    transport = make_transport(parse_uri(f"px4+tcp://127.0.0.1:{port}"))
    with pytest.raises(LinkError, match="start the simulation first"):
        transport.open()
    assert not transport.is_open


def test_udp_answers_whoever_sent_first_and_nobody_else() -> None:
    with contextlib.ExitStack() as stack:
        free, first, stranger = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3))
        for made in (free, first, stranger):
            made.bind(("127.0.0.1", 0))
            made.settimeout(1.0)
        address = free.getsockname()
        free.close()
        transport = make_transport(parse_uri(f"px4+udp://127.0.0.1:{address[1]}"))
        assert isinstance(transport, UdpTransport)
        transport.open()
        stack.callback(transport.close)
        assert not transport.write(b"too early")
        assert transport.refused_writes == 1
        first.sendto(b"one", address)
        first.sendto(b"two", address)
        assert got(transport) == b"onetwo"
        stranger.sendto(b"me too", address)
        first.sendto(b"three", address)
        assert got(transport) == b"three"
        assert transport.write(b"answer")
        assert first.recv(100) == b"answer"
        with pytest.raises(LinkError, match="cannot listen on udp"):
            make_transport(parse_uri(f"px4+udp://127.0.0.1:{address[1]}")).open()
