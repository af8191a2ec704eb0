"""The frames of one live acquisition, shared among workers through the receiver's ring."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from arraystream import FeedVerdict, ItemDescriptor, StateError, Ticket
from shmring.member import RingMember

from ._acquisition import MerlinAcquisition
from ._merlin import Receiver


class MerlinFeed:
    """A feed over one acquisition (implements `arraystream.Feed`).  Thread-safe.

    Chunks hold messages as the detector sent them; their offsets point at each frame's pixels, and
    the codec of the descriptor decodes them.

    Parameters
    ----------
    receiver
        Has the ring.
    acquisition
        The acquisition; its first frame has arrived.
    on_close
        Called once when the feed is closed.
    """

    def __init__(
        self, receiver: Receiver, acquisition: MerlinAcquisition, on_close: Callable[[int], None]
    ) -> None:
        if acquisition.descriptor is None:
            raise StateError(f"Acquisition {acquisition.pending.number} has no frame yet.")
        self._receiver = receiver
        self._acquisition = acquisition
        self._descriptor = acquisition.descriptor
        self._on_close = on_close
        self._lock = threading.Lock()
        self._closed = False

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the frames look like."""
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
                raise StateError(f"The feed of acquisition {self._acquisition.pending.number} is closed.")
            return self._receiver.attach(self._acquisition.pending.number)

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
        self._receiver.abandon(self._acquisition.pending.number)
        self._on_close(self._acquisition.pending.number)
