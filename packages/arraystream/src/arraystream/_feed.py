"""How workers get at the items of one acquisition: join, pull, settle.

A `Feed` shares the chunks of one acquisition among its members; each chunk goes to one member.  A
member *settles* chunks when what it computed from them has been taken over.  If a member dies, all
chunks it had not settled go to another one, so every item counts exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ._chunk import FeedChunk, FeedEnd, FeedVerdict, ItemDescriptor


@dataclass(frozen=True, slots=True)
class Ticket:
    """Admits one member in another process of this machine.

    Pass `fds` with the ticket (``subprocess`` ``pass_fds`` or ``socket.send_fds``), replace them by
    the numbers they have in the other process, and call `redeem_ticket` there.  The holder of the
    original closes its `fds` once they have been sent.

    Parameters
    ----------
    transport
        Name in the entry-point group ``arraystream.transports``.
    member
        Number of the member, as `Feed.settle` wants it.
    info
        For the transport.
    fds
        File descriptors that belong to the ticket.
    """

    transport: str
    member: int
    info: bytes
    fds: tuple[int, ...]


@runtime_checkable
class Member(Protocol):
    """The worker's end of a feed.  Used by one thread at a time.

    A member may have an attribute ``leases_hold_memory``: whether memory of the feed is occupied until a
    lease is released, so that a worker must not keep many.  Without it that is so.
    """

    @property
    def number(self) -> int:
        """Names this member to `Feed.settle`."""
        ...

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        """Return the next chunk, the end, or ``None`` if neither came within `timeout` seconds.

        The GIL is released while waiting.  After `FeedEnd`, chunks may still follow if another
        member died; call again.

        Raises
        ------
        StreamError
            If the feed's owner is gone or closed the feed.
        """
        ...

    def close(self) -> None:
        """Leave the feed; unsettled chunks go to other members.  Idempotent."""
        ...


@runtime_checkable
class Feed(Protocol):
    """The owner's end: one acquisition, shared among members.  Thread-safe.

    A feed may have an attribute ``busy_threads``: how many threads of its own keep a core busy while the
    acquisition runs.  Without it that is 1, a receiver; executors leave so many cores free.
    """

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the items look like."""
        ...

    def join(self) -> Member:
        """Admit a member in this process."""
        ...

    def ticket(self) -> Ticket:
        """Admit a member in another process."""
        ...

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        """Mark chunks as done: they will not be given to anybody else.

        All or nothing.  ``False`` means that the member was taken for dead and its chunks were
        handed to others: what it computed must be forgotten.
        """
        ...

    def verdict(self) -> FeedVerdict | None:
        """Return how the acquisition ended, or ``None`` while it runs."""
        ...

    def close(self) -> None:
        """Leave the acquisition, early or not; the rest of it is discarded.  Idempotent."""
        ...
