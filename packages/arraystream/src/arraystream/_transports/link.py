"""What a stream transport offers to `send` and `receive`: bytes one way or both, with timeouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Link(Protocol):
    """One connection.  One thread may send while another one receives; `close` from any thread."""

    two_way: bool
    """Whether there is somebody to greet and to grant credit; a file has nobody."""

    def send(self, parts: Sequence[memoryview], timeout: float) -> None:
        """Send all parts, one after the other.

        Raises
        ------
        Stalled
            If nothing could be sent for `timeout` seconds.
        ConnectionFailed
            If the other side is gone.
        ConnectionClosed
            If `close` was called.
        """
        ...

    def receive_into(self, target: memoryview, timeout: float) -> int | None:
        """Fill some of `target`; return how much, 0 at the end, ``None`` if nothing came in time."""
        ...

    def finish(self) -> None:
        """Say that nothing more will be sent; receiving goes on."""
        ...

    def close(self) -> None:
        """Close; whoever waits gets `ConnectionClosed`.  Idempotent."""
        ...


class Listener(Protocol):
    """Waits for one consumer after the other."""

    @property
    def url(self) -> str:
        """Where it can be reached, with the real port."""
        ...

    def accept(self, timeout: float) -> Link | None:
        """Return the next connection, ``None`` if there was none in time."""
        ...

    def close(self) -> None:
        """Stop waiting.  Idempotent, from any thread."""
        ...


class StreamTransport(Protocol):
    """Entry point of the group ``arraystream.transports`` for streams."""

    def listen(self, url: str) -> Listener:
        """Be reachable at an address; the producer's end."""
        ...

    def connect(self, url: str, timeout: float) -> Link:
        """Reach an address; the consumer's end.

        Raises
        ------
        ConnectionFailed
            If there is nobody within `timeout` seconds.
        """
        ...
