"""Bytes over a connected stream socket, received straight into their final place.

The socket blocks in the kernel, with the kernel's own timeouts: a payload of megabytes is received by
one call instead of hundreds.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
from collections.abc import Sequence

from arraystream._errors import ConnectionClosed, ConnectionFailed, Stalled

# Fewer than any system's IOV_MAX.
_MOST_PARTS = 512
_SHORTEST_S = 0.001


class SocketLink:
    """A `Link` over a connected socket, which it takes over."""

    two_way = True

    def __init__(self, connected: socket.socket, name: str) -> None:
        connected.setblocking(True)
        self._socket = connected
        self._name = name
        self._closed = False
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._timeouts = {socket.SO_SNDTIMEO: math.inf, socket.SO_RCVTIMEO: math.inf}

    def send(self, parts: Sequence[memoryview], timeout: float) -> None:
        """Send all parts; see `Link.send`."""
        rest = list(parts)
        with self._sending:
            try:
                self._set_timeout(socket.SO_SNDTIMEO, timeout)
                while rest:
                    rest = _without(rest, self._socket.sendmsg(rest[:_MOST_PARTS]))
            except BlockingIOError:
                raise Stalled(f"{self._name}: the other side has read nothing for {timeout} s.") from None
            except OSError as error:
                raise self._gone(error) from error

    def receive_into(self, target: memoryview, timeout: float) -> int | None:
        """Fill some of `target`, waiting for all of it; see `Link.receive_into`."""
        with self._receiving:
            try:
                self._set_timeout(socket.SO_RCVTIMEO, timeout)
                received = self._socket.recv_into(target, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                return None
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
        # Its number may be used again only when nobody waits on it any more.
        with self._sending, self._receiving:
            self._socket.close()

    def _set_timeout(self, option: int, timeout: float) -> None:
        # To the kernel, zero means for ever.  Whole milliseconds, so that it is rarely set anew.
        timeout = max(math.ceil(timeout * 1000) / 1000, _SHORTEST_S)
        if timeout != self._timeouts[option]:
            seconds, rest = divmod(timeout, 1.0)
            self._socket.setsockopt(
                socket.SOL_SOCKET, option, struct.pack("@ll", int(seconds), int(rest * 1e6))
            )
            self._timeouts[option] = timeout

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
