"""A source without hardware: acquisitions that a test or a tutorial starts, loses, stalls and ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import (
    AcquisitionAborted,
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionState,
    ConnectionStateMachine,
    ConnectionStatistics,
    Controller,
    Feed,
    FeedChunk,
    FeedEnd,
    FeedGap,
    FeedVerdict,
    ItemDescriptor,
    Lease,
    PendingAcquisition,
    Stalled,
    StateError,
    Status,
    Ticket,
    TruncatedStream,
)


class SimulatedFeed:
    """A live feed within one process, filled by `push`.

    Parameters
    ----------
    descriptor
        What the items look like; codec ``raw``.
    """

    def __init__(self, descriptor: ItemDescriptor) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._queue: deque[FeedChunk] = deque()
        self._held: dict[int, dict[int, FeedChunk]] = {}
        self._gaps: list[FeedGap] = []
        self._next_item = 0
        self._next_token = 0
        self._next_member = 0
        self._verdict: FeedVerdict | None = None
        self._closed = False

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the items look like."""
        return self._descriptor

    def push(self, items: npt.NDArray[Any]) -> None:
        """Deliver the next items as one chunk; discarded if the feed has been closed."""
        payload = np.ascontiguousarray(items, self._descriptor.dtype).reshape(-1).view(np.uint8)
        payload.flags.writeable = False
        n, item_bytes = len(items), payload.nbytes // len(items)
        offsets = np.arange(n, dtype=np.uint64) * np.uint64(item_bytes)
        with self._changed:
            if self._verdict is not None:
                return
            lease = Lease(self._next_token, lambda: None)
            self._next_token += 1
            self._queue.append(FeedChunk(self._next_item, n, payload, offsets, lease))
            self._next_item += n
            self._changed.notify_all()

    def lose(self, n: int, reason: str = "detector") -> None:
        """Leave out the next items."""
        with self._changed:
            self._gaps.append(FeedGap(self._next_item, self._next_item + n, reason))
            self._next_item += n

    def end(self, status: Status, reason: str = "", error: Exception | None = None) -> None:
        """End the acquisition; only the first end counts."""
        with self._changed:
            if self._verdict is None:
                self._verdict = FeedVerdict(status, self._next_item, tuple(self._gaps), reason, error)
            self._changed.notify_all()

    def join(self) -> SimulatedMember:
        """Admit a member in this process."""
        with self._changed:
            number = self._next_member
            self._next_member += 1
            self._held[number] = {}
            return SimulatedMember(self, number)

    def ticket(self) -> Ticket:
        """Refuse: members in other processes are not possible."""
        raise StateError("A simulated feed has no members in other processes; use join().")

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        """Mark chunks as done; see `Feed.settle`."""
        with self._changed:
            held = self._held.get(member)
            if held is None:
                return False
            if any(token not in held for token in tokens):
                raise StateError(f"Member {member} does not hold all of the chunks {list(tokens)}.")
            for token in tokens:
                del held[token]
            return True

    def verdict(self) -> FeedVerdict | None:
        """Return how the acquisition ended."""
        with self._changed:
            return self._verdict if self._closed or not self._queue else None

    def close(self) -> None:
        """Leave the acquisition; see `Feed.close`."""
        self.end("aborted", "the feed was closed")
        with self._changed:
            if self._queue:
                n_items = min(chunk.first for chunk in self._queue)
                self._verdict = FeedVerdict("aborted", n_items, reason="the feed was closed before its end")
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def _leave(self, member: int) -> None:
        with self._changed:
            held = self._held.pop(member, {})
            if not self._closed:
                for chunk in reversed(held.values()):
                    lease = Lease(self._next_token, lambda: None)
                    self._next_token += 1
                    self._queue.appendleft(
                        FeedChunk(
                            chunk.first, chunk.n, chunk.payload, chunk.offsets, lease, chunk.attempt + 1
                        )
                    )
            self._changed.notify_all()

    def _next(self, member: int, may_end: bool, timeout: float) -> FeedChunk | FeedEnd | None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if self._closed or member not in self._held:
                    raise ConnectionClosed("The feed was closed, or the member has left it.")
                if self._queue:
                    chunk = self._queue.popleft()
                    self._held[member][chunk.lease.token] = chunk
                    return chunk
                if self._verdict is not None and may_end:
                    return FeedEnd()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)


class SimulatedMember:
    """A member of a `SimulatedFeed`."""

    def __init__(self, feed: SimulatedFeed, number: int) -> None:
        self._feed = feed
        self._number = number
        self._ended = False

    @property
    def number(self) -> int:
        """Names this member to `Feed.settle`."""
        return self._number

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        """Return the next chunk, the end (once), or ``None``."""
        got = self._feed._next(self._number, not self._ended, timeout)
        self._ended = isinstance(got, FeedEnd) or (self._ended and got is None)
        return got

    def close(self) -> None:
        """Leave the feed."""
        self._feed._leave(self._number)


class SimulatedConnection(Connection):
    """A connection to a `SimulatedSource`.

    Parameters
    ----------
    dtype, item_shape
        Of the items.
    """

    def __init__(self, dtype: npt.DTypeLike = np.uint16, item_shape: tuple[int, ...] = (8, 8)) -> None:
        self.machine = ConnectionStateMachine("simulated connection")
        self.machine.to(ConnectionState.CONNECTING)
        self.machine.to(ConnectionState.IDLE)
        self.counters = ConnectionStatistics()
        self._dtype, self._item_shape = np.dtype(dtype), item_shape
        self._lock = threading.Lock()
        self._newest: tuple[PendingAcquisition, SimulatedFeed] | None = None
        self._taken = -1

    @property
    def state(self) -> ConnectionState:
        """Where the connection is."""
        return self.machine.state

    def wait_for_acquisition(self, timeout: float | None = None) -> PendingAcquisition | None:
        """Wait until the source is armed; each acquisition is returned once."""
        states = {ConnectionState.ARMED, ConnectionState.RUNNING}
        while True:
            since = self.machine.last.serial
            with self._lock:
                if self._newest is not None and self._newest[0].number > self._taken:
                    self._taken = self._newest[0].number
                    return self._newest[0]
            if self.machine.wait_for(states, timeout, since=since) is None:
                return None

    def wait_for_first_item(
        self, pending: PendingAcquisition, timeout: float | None = None
    ) -> ItemDescriptor:
        """Wait until the source has been triggered."""
        feed = self._feed_of(pending)
        over = {ConnectionState.COMPLETE, ConnectionState.ABORTED, ConnectionState.IDLE}
        reached = self.machine.wait_for({ConnectionState.RUNNING, *over}, timeout)
        if reached is None:
            raise Stalled(f"Acquisition {pending.number}: no item within {timeout} s.")
        if reached is not ConnectionState.RUNNING and feed._next_item == 0:
            raise AcquisitionAborted(f"Acquisition {pending.number} ended before its first item.")
        return feed.descriptor

    def feed(self, pending: PendingAcquisition) -> Feed:
        """Return the items of the acquisition."""
        return self._feed_of(pending)

    def get_active_controller(self, **settings: Any) -> Controller:
        """Refuse: the test itself arms and triggers the source."""
        raise StateError("A simulated connection has no controller; use its SimulatedSource.")

    def abort(self) -> None:
        """End the acquisition."""
        self._end("aborted", "aborted by us", None, ConnectionState.ABORTED)

    def statistics(self) -> ConnectionStatistics:
        """Return the counters."""
        return self.counters

    def close(self) -> None:
        """Close; running feeds end as aborted."""
        with self._lock:
            newest = self._newest
        if newest is not None:
            newest[1].close()
        self.machine.close()

    def _feed_of(self, pending: PendingAcquisition) -> SimulatedFeed:
        with self._lock:
            if self._newest is None or self._newest[0].number != pending.number:
                raise StateError(f"Acquisition {pending.number} is over and gone.")
            return self._newest[1]

    def _begin(self, n_items: int) -> SimulatedFeed:
        descriptor = ItemDescriptor(self._dtype, self._item_shape, n_items=n_items)
        feed = SimulatedFeed(descriptor)
        with self._lock:
            number = 0 if self._newest is None else self._newest[0].number + 1
            self._newest = PendingAcquisition(number, n_items), feed
        self.counters.n_acquisitions += 1
        self.machine.to(ConnectionState.ARMED)
        return feed

    def _end(self, status: Status, reason: str, error: Exception | None, state: ConnectionState) -> None:
        with self._lock:
            newest = self._newest
        if newest is None or self.state not in (ConnectionState.ARMED, ConnectionState.RUNNING):
            return
        newest[1].end(status, reason, error)
        self.machine.to(state, reason=reason, error=error)
        if status != "truncated":
            self.machine.to(ConnectionState.IDLE)


class SimulatedSource:
    """The far end of a `SimulatedConnection`, as a `SourceHandle`.

    Parameters
    ----------
    connection
        What it is connected to.
    chunk_items
        Items sent at a time.
    stall_timeout_s
        After how much silence the connection gives an acquisition up.
    """

    def __init__(
        self, connection: SimulatedConnection, chunk_items: int = 4, stall_timeout_s: float = 1.0
    ) -> None:
        self._connection = connection
        self._chunk_items = chunk_items
        self._stall_timeout_s = stall_timeout_s
        self._timer: threading.Timer | None = None
        self._n_items = 0
        self._gap = range(0)
        self._stalling = False
        self._feed: SimulatedFeed | None = None

    def arm(self, n_items: int) -> None:
        """Announce an acquisition."""
        self._stop_timer()
        self._n_items = n_items
        self._feed = self._connection._begin(n_items)

    def trigger(self) -> None:
        """Send the items, all of them unless told otherwise before."""
        assert self._feed is not None
        descriptor, counters = self._feed.descriptor, self._connection.counters
        self._connection.machine.to(ConnectionState.RUNNING)
        counters.first_item_time_s = time.monotonic()
        stop = self._n_items // 2 if self._stalling else self._n_items
        at = 0
        while at < stop:
            if at in self._gap:
                self._feed.lose(len(self._gap))
                counters.n_lost += len(self._gap)
                at += len(self._gap)
                continue
            until = self._gap.start if at < self._gap.start else stop
            n = min(self._chunk_items, until - at)
            self._feed.push(np.stack([item(i, descriptor) for i in range(at, at + n)]))
            counters.n_items += n
            at += n
        counters.last_item_time_s = time.monotonic()
        if self._stalling:
            self._timer = threading.Timer(self._stall_timeout_s, self._notice_stall)
            self._timer.daemon = True
            self._timer.start()
        else:
            self._connection._end("complete", "", None, ConnectionState.COMPLETE)
        self._gap, self._stalling = range(0), False

    def lose(self, first: int, stop: int) -> None:
        """Leave out these items at the next trigger."""
        self._gap = range(first, stop)

    def stall(self) -> None:
        """Stop in the middle at the next trigger."""
        self._stalling = True

    def _notice_stall(self) -> None:
        error = Stalled("No item came for a while; is the scan running?")
        self._connection._end("failed", str(error), error, ConnectionState.FAILED)

    def abort(self) -> None:
        """End the acquisition from the far side."""
        self._stop_timer()
        self._connection._end("aborted", "aborted by the source", None, ConnectionState.ABORTED)

    def disconnect(self) -> None:
        """Go away."""
        self._stop_timer()
        error = TruncatedStream("The source went away in the middle of an acquisition.")
        failed = self._connection.state not in (ConnectionState.ARMED, ConnectionState.RUNNING)
        self._connection._end("truncated", str(error), error, ConnectionState.FAILED)
        if failed:
            gone = ConnectionFailed("The source went away.")
            self._connection.machine.to(ConnectionState.FAILED, error=gone)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def item(index: int, descriptor: ItemDescriptor) -> npt.NDArray[Any]:
    """Return the pixels of a simulated item: they count up from its index."""
    size = descriptor.item_size
    return ((np.arange(size) + index) % 100).astype(descriptor.dtype).reshape(descriptor.item_shape)
