"""TCP and UDP in place of a serial port, for firmware simulations: `px4+udp://127.0.0.1:14540`, `ardupilot+tcp://127.0.0.1:5760`.

Neither is for flight: nothing there keeps others out, and a radio network loses and delays what a cable does not. UDP listens;
whoever sends first is the flight controller, and nobody else is heard until the link is opened anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket

from .errors import LinkError
from .transport import READ_SIZE, Transport
from .uri import VehicleUri


class _SocketTransport(Transport):
    def __init__(self, uri: VehicleUri) -> None:
        super().__init__(uri)
        self._socket: socket.socket | None = None

    def _address(self) -> tuple[str, int]:
        host, _, port = self._uri.device.rpartition(":")
        return host.strip("[]"), int(port)

    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if self._uri.device.startswith("[") else socket.AF_INET

    def _release(self) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            with contextlib.suppress(OSError):
                made.close()


class TcpTransport(_SocketTransport):
    """A connection to a firmware that listens.

    Args:
        uri: Host and port.
    """

    streams = True

    def _connect(self, wait_s: float) -> int:
        made = socket.socket(self._family(), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket = made
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = made.connect_ex(self._address())
            if code == errno.EINPROGRESS:
                select.select([], [made], [], wait_s)
                code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                made.getpeername()  # refuses while nobody is there
        except OSError as error:
            code = error.errno or errno.EIO
        if code != 0:
            self._release()
            raise LinkError(
                f"cannot connect to tcp {self._uri.device}: {os.strerror(code)}; start the simulation first, and check its port"
            )
        return made.fileno()


class UdpTransport(_SocketTransport):
    """Datagrams from a firmware that sends to our port.

    Args:
        uri: Address of ours to listen on, and port.
    """

    datagrams = True

    def __init__(self, uri: VehicleUri) -> None:
        super().__init__(uri)
        self._known = False

    def _connect(self, wait_s: float) -> int:
        made = socket.socket(self._family(), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket, self._known = made, False
        try:
            made.bind(self._address())
        except OSError as error:
            self._release()
            raise LinkError(
                f"cannot listen on udp {self._uri.device}: {error.strerror}; stop the program that uses the port, or choose another"
            ) from error
        return made.fileno()

    def _receive(self) -> bytes:
        if self._known or self._socket is None:
            return super()._receive()
        data, sender = self._socket.recvfrom(READ_SIZE)
        self._socket.connect(sender)
        self._known = True
        return data

    def write(self, frame: bytes) -> bool:
        """As for every carrier; nothing is sent before the flight controller was heard."""
        if self._fd >= 0 and not self._known:
            self.refused_writes += 1
            return False
        return super().write(frame)
