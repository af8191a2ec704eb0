"""Bytes over a connected stream socket, received straight into their final place."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Sequence

from arraystream._errors import ConnectionClosed, ConnectionFailed, Stalled

# Fewer than any system's IOV_MAX.
_MOST_PARTS = 512


class SocketLink:
    """A `Link` over a connected socket, which it takes over."""

    two_way = True

    def __init__(self, connected: socket.socket, name: str) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._name = name
        self._closed = False
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def send(self, parts: Sequence[memoryview], timeout: float) -> None:
        """Send all parts; see `Link.send`."""
        rest = list(parts)
        with self._sending:
            while rest:
                try:
                    sent = self._socket.sendmsg(rest[:_MOST_PARTS])
                except BlockingIOError:
                    if not self._wait(select.POLLOUT, timeout):
                        raise Stalled(
                            f"{self._name}: the other side has read nothing for {timeout} s."
                        ) from None
                    continue
                except OSError as error:
                    raise self._gone(error) from error
                rest = _without(rest, sent)

    def receive_into(self, target: memoryview, timeout: float) -> int | None:
        """Fill some of `target`; see `Link.receive_into`."""
        with self._receiving:
            while True:
                try:
                    received = self._socket.recv_into(target)
                except BlockingIOError:
                    if not self._wait(select.POLLIN, timeout):
                        return None
                    continue
                except OSError as error:
                    raise self._gone(error) from error
                if received == 0 and self._closed:
                    raise self._gone(None)
                return received

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close; whoever waits is woken up."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # Its number may be used again only when nobody polls it any more.
        with self._sending, self._receiving:
            self._socket.close()

    def _wait(self, event: int, timeout: float) -> bool:
        if self._closed:
            raise self._gone(None)
        poll = select.poll()
        poll.register(self._socket, event)
        return bool(poll.poll(max(0.0, timeout) * 1000))

    def _gone(self, error: OSError | None) -> ConnectionClosed | ConnectionFailed:
        if self._closed:
            return ConnectionClosed(f"{self._name} was closed on our side.")
        return ConnectionFailed(f"{self._name}: the other side is gone ({error}).")


def _without(parts: list[memoryview], n_bytes: int) -> list[memoryview]:
    """Return what is left of the parts behind their first `n_bytes`."""
    for index, part in enumerate(parts):
        if n_bytes < part.nbytes:
            return [part[n_bytes:], *parts[index + 1 :]]
        n_bytes -= part.nbytes
    return []
