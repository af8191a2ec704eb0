"""A ring as a transport of arraystream: the plug-in ``shm``.

Only this module and `shmring.feed` know arraystream, and only if that is installed.  An owner makes a
ticket with ``Ticket(transport="shm", member=number, info=b"", fds=(fd,))`` from `shmring.Ring.attach`.
"""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from arraystream import ConnectionClosed, ConnectionFailed, FeedChunk, FeedEnd, Lease, StreamError, Ticket

from ._errors import RingClosed, RingError
from ._shmring import Consumer, Stack


class RingMember:
    """A member of a feed whose chunks lie in a ring; implements ``arraystream.Member``.

    Parameters
    ----------
    fd
        From `shmring.Ring.attach`; belongs to the member from now on.
    number
        Names the member to ``Feed.settle``: the consumer's number in the ring.

    Raises
    ------
    ConnectionFailed
        If the owner is gone.
    StreamError
        If the descriptor is no ring's, or another version's.
    """

    def __init__(self, fd: int, number: int) -> None:
        self._number = number
        try:
            self._consumer = Consumer(fd)
        except (RingError, OSError, ValueError) as error:
            _raise_stream_error(error)

    @property
    def number(self) -> int:
        """Names this member to ``Feed.settle``."""
        return self._number

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        """Return the next chunk, the end, or ``None`` if neither came within `timeout` seconds.

        Raises
        ------
        ConnectionFailed
            If the owner's process is gone.
        ConnectionClosed
            If the owner closed the feed, or this member was closed.
        StreamError
            If the ring is broken otherwise.
        """
        try:
            received = self._consumer.recv(timeout)
        except RingError as error:
            _raise_stream_error(error)
        if isinstance(received, Stack):
            return _chunk(received)
        return None if received is None else FeedEnd()

    def close(self) -> None:
        """Leave the feed; unsettled chunks go to other members.  Idempotent."""
        self._consumer.close()


def _chunk(stack: Stack) -> FeedChunk:
    return FeedChunk(
        first=stack.item_first,
        n=stack.n_items,
        payload=stack.array,
        offsets=stack.meta,
        lease=Lease(token=stack.token, release=partial(stack.release, wait=False)),
        attempt=stack.attempt,
    )


def _raise_stream_error(error: Exception) -> NoReturn:
    if isinstance(error, RingClosed):
        kind = ConnectionFailed if error.owner_lost else ConnectionClosed
        raise kind(f"shared-memory ring: {error}") from error
    raise StreamError(f"shared-memory ring: {error}") from error


class RingTransport:
    """The plug-in object: redeems tickets."""

    def redeem(self, ticket: Ticket) -> RingMember:
        """Open the member that a ticket admits; takes the ticket's file descriptor over."""
        if len(ticket.fds) != 1:
            raise StreamError(
                f"a ticket of the transport shm has one file descriptor, this one has {len(ticket.fds)}; "
                "pass Ticket.fds to this process along with the ticket"
            )
        return RingMember(ticket.fds[0], ticket.member)


transport = RingTransport()
