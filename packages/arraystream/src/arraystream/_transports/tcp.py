"""Transport "tcp": ``tcp://host:port``.  The producer listens, on this machine only unless told else."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from urllib.parse import urlsplit

from arraystream._errors import ConnectionClosed, ConnectionFailed

from .socket_link import SocketLink

_RETRY_S = 0.1


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or port is None or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is no address for tcp; write it as tcp://host:port.")
    return parts.hostname or "127.0.0.1", port


def _url(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _tune(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A host that has vanished is noticed within half a minute, even if nobody has anything to say.
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class TcpListener:
    """A `Listener` on a TCP port."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=8)
        except OSError as error:
            raise ConnectionFailed(f"{_url(host, port)} can't be listened on: {error}.") from error
        self._socket.setblocking(False)
        self._url = _url(host, self._socket.getsockname()[1])
        self._closed = False
        self._accepting = threading.Lock()

    @property
    def url(self) -> str:
        """Where it can be reached, with the real port."""
        return self._url

    def accept(self, timeout: float) -> SocketLink | None:
        """Return the next connection, ``None`` if there was none in time."""
        with self._accepting:
            if self._closed:
                raise ConnectionClosed(f"{self._url} was closed on our side.")
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.poll(max(0.0, timeout) * 1000)
            try:
                connected, _ = self._socket.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if self._closed:
                    raise ConnectionClosed(f"{self._url} was closed on our side.") from error
                raise ConnectionFailed(f"{self._url} can't accept a connection: {error}.") from error
        _tune(connected)
        return SocketLink(connected, self._url)

    def close(self) -> None:
        """Stop waiting."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._accepting:
            self._socket.close()


class TcpTransport:
    """Streams over TCP."""

    def listen(self, url: str) -> TcpListener:
        """Listen on host and port of `url`; port 0 takes any free one."""
        return TcpListener(*_address(url))

    def connect(self, url: str, timeout: float) -> SocketLink:
        """Connect to a producer, trying again until it is there or `timeout` is over."""
        address = _address(url)
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                connected = socket.create_connection(address, timeout=max(left, 0.001))
            except OSError as error:
                if left <= _RETRY_S:
                    raise ConnectionFailed(
                        f"{url}: nobody answered within {timeout} s ({error}); is the producer running?"
                    ) from error
                time.sleep(_RETRY_S)
                continue
            _tune(connected)
            return SocketLink(connected, url)


transport = TcpTransport()
