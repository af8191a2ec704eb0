"""The feed of a live source whose chunks lie in a ring; knows arraystream, as `shmring.member` does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from arraystream import (
    FeedVerdict,
    ItemDescriptor,
    NativeReceiver,
    ReceivedAcquisition,
    StateError,
    Ticket,
)

from .member import RingMember


class RingFeed:
    """A feed over one acquisition in a receiver's ring (implements `arraystream.Feed`).  Thread-safe.

    Chunks hold items as the source sent them; the codec of the descriptor decodes them.

    Parameters
    ----------
    receiver
        Has the ring; ``receiver.attach`` is `shmring.Ring.attach`.
    acquisition
        The acquisition; its first item has arrived.
    on_close
        Called once, with the acquisition's number, when the feed is closed.

    Raises
    ------
    StateError
        If the first item has not arrived.
    """

    def __init__(
        self, receiver: NativeReceiver, acquisition: ReceivedAcquisition, on_close: Callable[[int], None]
    ) -> None:
        self._number = acquisition.pending.number
        if acquisition.descriptor is None:
            raise StateError(f"Acquisition {self._number} has no frame yet.")
        self._receiver = receiver
        self._acquisition = acquisition
        self._descriptor = acquisition.descriptor
        self._on_close = on_close
        self._lock = threading.Lock()
        self._closed = False

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the items look like."""
        return self._descriptor

    def join(self) -> RingMember:
        """Admit a member in this process."""
        consumer, fd = self._attach()
        return RingMember(fd, consumer)

    def ticket(self) -> Ticket:
        """Admit a member in another process of this machine."""
        consumer, fd = self._attach()
        return Ticket("shm", consumer, b"", (fd,))

    def _attach(self) -> tuple[int, int]:
        with self._lock:
            if self._closed:
                raise StateError(f"The feed of acquisition {self._number} is closed.")
            return self._receiver.attach(self._number)

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        """Mark chunks as done, all or nothing; see `arraystream.Feed.settle`."""
        return self._receiver.settle(member, list(tokens))

    def verdict(self) -> FeedVerdict | None:
        """Return how the acquisition ended, or ``None`` while it runs."""
        return self._acquisition.verdict

    def close(self) -> None:
        """Leave the acquisition, early or not; the rest of it is discarded.  Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._receiver.abandon(self._number)
        self._on_close(self._number)
