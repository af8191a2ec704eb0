"""A feed over data that can be read at any place: files and arrays in memory.

Members take ranges of items; who has which is in the `RangeLedger`.  Members of this process ask it
directly, those of other processes over a socket pair, all of them served by one thread.  Nothing but
32-byte messages crosses a socket: each member reads its data itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ._chunk import FeedChunk, FeedEnd, FeedVerdict, ItemDescriptor
from ._errors import ConnectionClosed
from ._feed import Ticket
from ._range_ledger import Loan, RangeLedger
from ._range_reader import RangeReader, read_loan
from ._range_remote import RangeServer, make_ticket


class RangeFeed:
    """Share the items of a random-access reader among members.

    Parameters
    ----------
    descriptor
        What the items look like.
    reader
        Gives the bytes.
    n_items
        How many items there are.
    chunk_items
        Items per chunk; the last chunk may be shorter.
    ends
        Where chunks end, ascending, the last one at `n_items`; instead of `chunk_items`.

    Examples
    --------
    >>> feed = open_memory(np.zeros((10, 4, 4))).feed(chunk_items=8)
    >>> member = feed.join()
    >>> chunk = member.recv(1.0)
    >>> (chunk.first, chunk.n)
    (0, 8)
    >>> feed.settle(member.number, [chunk.lease.token])
    True
    >>> feed.close()
    """

    busy_threads = 0
    """Members read by themselves, see `Feed`."""

    def __init__(
        self,
        descriptor: ItemDescriptor,
        reader: RangeReader,
        *,
        n_items: int,
        chunk_items: int = 1,
        ends: Sequence[int] | None = None,
    ) -> None:
        if n_items < 0 or chunk_items < 1:
            raise ValueError(f"n_items is {n_items}, chunk_items {chunk_items}; need >= 0 and >= 1.")
        if ends is not None and n_items and int(ends[-1]) != n_items:
            raise ValueError(f"the last chunk ends at {ends[-1]}, there are {n_items} items.")
        self._descriptor = descriptor
        self._reader = reader
        self._ledger = RangeLedger(n_items, chunk_items, ends)
        self._changed = threading.Condition()
        self._closed = False
        self._server: RangeServer | None = None

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the items look like."""
        return self._descriptor

    @property
    def reader(self) -> RangeReader:
        """Gives the bytes; a member that has it too needs to be told ranges only."""
        return self._reader

    def join(self) -> RangeMember:
        """Admit a member in this process."""
        with self._changed:
            self._check_open()
            return RangeMember(self, self._ledger.admit(), self._reader)

    def ticket(self) -> Ticket:
        """Admit a member in another process of this machine.

        The reader travels pickled in `Ticket.info`: hand tickets only to processes of your own.  The
        member counts as dead when all copies of ``fds[0]`` are closed, so close yours once sent.
        """
        with self._changed:
            self._check_open()
            if self._server is None:
                self._server = RangeServer(self._ledger, self._changed)
            server, member = self._server, self._ledger.admit()
        try:
            return make_ticket(server, member, self._reader)
        except BaseException:
            self._leave(member)
            raise

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        """Mark chunks as done, all or nothing; ``False`` if the member has left or died.

        Raises
        ------
        StateError
            If a living member names a chunk it does not hold; nothing is settled then.
        """
        with self._changed:
            return self._ledger.settle(member, tokens)

    def verdict(self) -> FeedVerdict | None:
        """Return ``complete`` once all chunks were handed out, ``aborted`` after an earlier close."""
        with self._changed:
            if self._ledger.all_handed:
                return FeedVerdict("complete", self._ledger.n_items)
            if self._closed:
                n_handed = self._ledger.n_handed
                reason = f"closed after {n_handed} of {self._ledger.n_items} items"
                return FeedVerdict("aborted", n_handed, reason=reason)
            return None

    def close(self) -> None:
        """Leave the acquisition; waiting members get `ConnectionClosed`.  Idempotent."""
        with self._changed:
            self._closed = True
            server, self._server = self._server, None
            self._changed.notify_all()
        if server is not None:
            server.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosed("The feed has been closed; open a new one with the source's feed().")

    def _leave(self, member: int) -> None:
        with self._changed:
            self._ledger.leave(member)
            self._changed.notify_all()
            if self._server is not None:
                self._server.wake()

    def _next(self, member: int, may_end: bool, timeout: float) -> Loan | FeedEnd | None:
        """Wait for a range for a member of this process."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                self._check_open()
                if not self._ledger.is_member(member):
                    raise ConnectionClosed(f"Member {member} has left the feed; join again.")
                loan = self._ledger.lend(member)
                if loan is not None:
                    return loan
                if may_end:
                    return FeedEnd()
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return None


class RangeMember:
    """A member in the feed's own process; from `RangeFeed.join`."""

    leases_hold_memory = False
    """The memory of a chunk goes with the last array that looks at it."""

    def __init__(self, feed: RangeFeed, number: int, reader: RangeReader) -> None:
        self._feed = feed
        self._number = number
        self._reader = reader
        self._ended = False

    @property
    def number(self) -> int:
        """Names this member to `Feed.settle`."""
        return self._number

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        """Return the next chunk, the end (once), or ``None`` after `timeout` seconds."""
        got = self.recv_range(timeout)
        return read_loan(self._reader, got) if isinstance(got, Loan) else got

    def recv_range(self, timeout: float) -> Loan | FeedEnd | None:
        """Do as `recv`, but read nothing: for a member elsewhere that reads the items itself."""
        got = self._feed._next(self._number, not self._ended, timeout)
        if isinstance(got, Loan):
            self._ended = False
        else:
            self._ended = self._ended or got is not None
        return got

    def close(self) -> None:
        """Leave the feed; unsettled chunks go to other members.  Idempotent."""
        self._feed._leave(self._number)
