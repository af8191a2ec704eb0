"""Transport "memory": streams within one process, and tickets of a `RangeFeed`."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque

from arraystream._errors import ConnectionClosed, ConnectionFailed
from arraystream._feed import Member, Ticket
from arraystream._range_remote import redeem

from .socket_link import SocketLink


class MemoryListener:
    """A `Listener` that those in the same process find by name."""

    def __init__(self, transport: MemoryTransport, url: str) -> None:
        self._transport = transport
        self._url = url
        self._waiting: deque[SocketLink] = deque()
        self._closed = False

    @property
    def url(self) -> str:
        """The name it was opened with."""
        return self._url

    def accept(self, timeout: float) -> SocketLink | None:
        """Return the next connection, ``None`` if there was none in time."""
        changed = self._transport.changed
        with changed:
            changed.wait_for(lambda: self._closed or self._waiting, timeout)
            if self._closed:
                raise ConnectionClosed(f"{self._url} was closed on our side.")
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Stop waiting; who was not accepted finds the other side gone."""
        with self._transport.changed:
            self._closed = True
            self._transport.listeners.pop(self._url, None)
            waiting, self._waiting = self._waiting, deque()
            self._transport.changed.notify_all()
        for link in waiting:
            link.close()

    def join(self) -> SocketLink:
        """Make a connection and return its other end.  The caller holds ``changed``."""
        ours, theirs = socket.socketpair()
        self._waiting.append(SocketLink(ours, self._url))
        return SocketLink(theirs, self._url)


class MemoryTransport:
    """Streams by name within one process; redeems the tickets of a `RangeFeed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.listeners: dict[str, MemoryListener] = {}

    def listen(self, url: str) -> MemoryListener:
        """Be found under the name `url`."""
        with self.changed:
            if url in self.listeners:
                raise ConnectionFailed(f"{url} is taken in this process; choose another name.")
            listener = self.listeners[url] = MemoryListener(self, url)
            self.changed.notify_all()
            return listener

    def connect(self, url: str, timeout: float) -> SocketLink:
        """Find `url`, waiting until it is there or `timeout` is over."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while url not in self.listeners:
                if not self.changed.wait(max(0.0, deadline - time.monotonic())):
                    raise ConnectionFailed(f"{url}: nobody of that name in this process within {timeout} s.")
            link = self.listeners[url].join()
            self.changed.notify_all()
            return link

    def redeem(self, ticket: Ticket) -> Member:
        """Join the feed that made the ticket."""
        return redeem(ticket)


transport = MemoryTransport()
