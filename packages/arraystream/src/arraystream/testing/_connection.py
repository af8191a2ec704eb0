"""What every `Connection` must do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from arraystream import (
    Connection,
    ConnectionClosed,
    ConnectionState,
    Feed,
    FeedChunk,
    FeedVerdict,
    PendingAcquisition,
    Stalled,
    StreamError,
)

from ._expect import eventually, raises


class SourceHandle(Protocol):
    """The source behind a connection, as the tests play it."""

    def arm(self, n_items: int) -> None:
        """Announce an acquisition."""
        ...

    def trigger(self) -> None:
        """Send its items, all of them unless `lose` or `stall` was called before; may return at once."""
        ...

    def lose(self, first: int, stop: int) -> None:
        """At the next trigger, leave out items ``[first, stop)``."""
        ...

    def stall(self) -> None:
        """At the next trigger, send the first half of the items and then nothing; once."""
        ...

    def abort(self) -> None:
        """End the acquisition from the source's side."""
        ...

    def disconnect(self) -> None:
        """Cut the connection."""
        ...


class ConnectionConformance:
    """Subclass as ``class TestMyConnection(ConnectionConformance)`` and supply two fixtures.

    ``connection`` is an open connection, idle; ``source`` is the `SourceHandle` it is connected to.
    The stall timeout of the connection should be about a second for these tests.

    Attributes
    ----------
    n_items
        Items of each acquisition; an even number.
    timeout_s
        How long anything may take at most.
    """

    n_items: int = 64
    timeout_s: float = 30.0

    def test_without_an_acquisition_waiting_returns_none(
        self, connection: Connection, source: SourceHandle
    ) -> None:
        """A timeout is no error."""
        assert connection.wait_for_acquisition(0.05) is None
        assert connection.state is ConnectionState.IDLE

    def test_armed_and_first_item_are_two_events(self, connection: Connection, source: SourceHandle) -> None:
        """Armed is reported before there is any item."""
        source.arm(self.n_items)
        pending = self._pending(connection)
        assert pending.n_items in (None, self.n_items)
        assert connection.state is ConnectionState.ARMED
        with raises(Stalled):
            connection.wait_for_first_item(pending, 0.05)
        assert connection.state is ConnectionState.ARMED
        source.trigger()
        descriptor = connection.wait_for_first_item(pending, self.timeout_s)
        assert len(descriptor.item_shape) >= 1

    def test_every_item_arrives(self, connection: Connection, source: SourceHandle) -> None:
        """An undisturbed acquisition is complete, and the connection is idle again after it."""
        seen, verdict = self._acquire(connection, source)
        assert np.array_equal(seen, np.ones(self.n_items, int))
        assert (verdict.status, verdict.n_items, verdict.gaps) == ("complete", self.n_items, ())
        self._until(connection, ConnectionState.IDLE)

    def test_acquisitions_do_not_mix(self, connection: Connection, source: SourceHandle) -> None:
        """One acquisition after the other, each with its own number and all of its items."""
        numbers = set()
        for _ in range(3):
            source.arm(self.n_items)
            pending = self._pending(connection)
            numbers.add(pending.number)
            source.trigger()
            seen, verdict = self._receive(connection, pending)
            assert np.array_equal(seen, np.ones(self.n_items, int))
            assert verdict.status == "complete"
        assert len(numbers) == 3

    def test_lost_items_leave_a_marked_hole(self, connection: Connection, source: SourceHandle) -> None:
        """Lost items are a gap, and shift nothing."""
        first, stop = self.n_items // 4, self.n_items // 4 + 3
        source.lose(first, stop)
        seen, verdict = self._acquire(connection, source)
        expected = np.ones(self.n_items, int)
        expected[first:stop] = 0
        assert np.array_equal(seen, expected)
        assert verdict.status == "complete"
        lost = [index for gap in verdict.gaps for index in range(gap.first, gap.stop)]
        assert lost == list(range(first, stop))
        assert connection.statistics().n_lost == stop - first

    def test_leaving_early_does_not_disturb_the_next(
        self, connection: Connection, source: SourceHandle
    ) -> None:
        """A feed closed in the middle does not leak into the next acquisition."""
        source.arm(self.n_items)
        pending = self._pending(connection)
        source.trigger()
        connection.wait_for_first_item(pending, self.timeout_s)
        connection.feed(pending).close()
        self._until(connection, ConnectionState.IDLE)
        self._expect_complete(connection, source)

    def test_stall_fails_and_the_connection_recovers(
        self, connection: Connection, source: SourceHandle
    ) -> None:
        """Silence in the middle ends the acquisition as failed; the next one works."""
        feed = self._half_way(connection, source)
        verdict = self._verdict_of(feed)
        assert verdict.status in ("failed", "truncated")
        assert isinstance(verdict.error, Stalled)
        assert verdict.n_items <= self.n_items
        source.abort()
        self._until(connection, ConnectionState.IDLE)
        self._expect_complete(connection, source)

    def test_abort_by_the_source(self, connection: Connection, source: SourceHandle) -> None:
        """The source may end an acquisition early."""
        feed = self._half_way(connection, source)
        source.abort()
        assert self._verdict_of(feed).status == "aborted"
        self._expect_complete(connection, source)

    def test_abort_by_us_from_another_thread(self, connection: Connection, source: SourceHandle) -> None:
        """Abort works from any thread, and without an acquisition it does nothing."""
        connection.abort()
        feed = self._half_way(connection, source)
        thread = threading.Thread(target=connection.abort)
        thread.start()
        verdict = self._verdict_of(feed)
        thread.join(self.timeout_s)
        assert verdict.status == "aborted"
        source.abort()
        self._expect_complete(connection, source)

    def test_lost_connection_is_no_clean_end(self, connection: Connection, source: SourceHandle) -> None:
        """When the source goes away, the verdict says so and has an error to raise."""
        feed = self._half_way(connection, source)
        source.disconnect()
        verdict = self._verdict_of(feed)
        assert verdict.status in ("failed", "truncated")
        assert isinstance(verdict.error, StreamError)

    def test_close_interrupts_waiting_for_an_acquisition(
        self, connection: Connection, source: SourceHandle
    ) -> None:
        """Whoever waits is told that the connection was closed."""
        outcome = self._in_thread(lambda: connection.wait_for_acquisition(None), connection)
        assert isinstance(outcome, ConnectionClosed)

    def test_close_interrupts_waiting_for_the_first_item(
        self, connection: Connection, source: SourceHandle
    ) -> None:
        """Also if the source is armed."""
        source.arm(self.n_items)
        pending = self._pending(connection)
        outcome = self._in_thread(lambda: connection.wait_for_first_item(pending, None), connection)
        assert isinstance(outcome, ConnectionClosed)

    def test_close_in_the_middle_ends_the_feed(self, connection: Connection, source: SourceHandle) -> None:
        """Closing the connection leaves no feed without verdict."""
        feed = self._half_way(connection, source)
        connection.close()
        assert eventually(feed.verdict, self.timeout_s, "a verdict").status != "complete"

    def test_close_is_idempotent_and_final(self, connection: Connection, source: SourceHandle) -> None:
        """After close every wait raises; counters can still be read."""
        with connection:
            pass
        connection.close()
        assert connection.state is ConnectionState.CLOSED
        with raises(ConnectionClosed):
            connection.wait_for_acquisition(self.timeout_s)
        connection.abort()
        connection.statistics()

    def test_statistics_count(self, connection: Connection, source: SourceHandle) -> None:
        """Items and acquisitions are counted, times are in order."""
        self._expect_complete(connection, source)
        self._until(connection, ConnectionState.IDLE)
        statistics = connection.statistics()
        assert statistics.n_items == self.n_items
        assert statistics.n_acquisitions == 1
        assert statistics.first_item_time_s is not None
        assert statistics.last_item_time_s is not None
        assert statistics.first_item_time_s <= statistics.last_item_time_s
        assert 0 <= statistics.buffer_fill <= statistics.buffer_high_water <= 1

    def _pending(self, connection: Connection) -> PendingAcquisition:
        pending = connection.wait_for_acquisition(self.timeout_s)
        assert pending is not None, "no acquisition was announced"
        return pending

    def _acquire(
        self, connection: Connection, source: SourceHandle
    ) -> tuple[npt.NDArray[np.int_], FeedVerdict]:
        source.arm(self.n_items)
        pending = self._pending(connection)
        source.trigger()
        return self._receive(connection, pending)

    def _receive(
        self, connection: Connection, pending: PendingAcquisition
    ) -> tuple[npt.NDArray[np.int_], FeedVerdict]:
        connection.wait_for_first_item(pending, self.timeout_s)
        feed = connection.feed(pending)
        seen = np.zeros(self.n_items, int)
        verdict = self._verdict_of(feed, seen)
        feed.close()
        return seen, verdict

    def _expect_complete(self, connection: Connection, source: SourceHandle) -> None:
        seen, verdict = self._acquire(connection, source)
        assert verdict.status == "complete"
        assert np.array_equal(seen, np.ones(self.n_items, int))

    def _half_way(self, connection: Connection, source: SourceHandle) -> Feed:
        """Start an acquisition that stops in the middle."""
        source.stall()
        source.arm(self.n_items)
        pending = self._pending(connection)
        source.trigger()
        connection.wait_for_first_item(pending, self.timeout_s)
        return connection.feed(pending)

    def _verdict_of(self, feed: Feed, seen: npt.NDArray[np.int_] | None = None) -> FeedVerdict:
        """Take all there is until the verdict."""
        member = feed.join()

        def take() -> FeedVerdict | None:
            # The verdict first: what is still queued when it is there must be taken, too.
            verdict = feed.verdict()
            got = member.recv(0.01)
            if isinstance(got, FeedChunk):
                if seen is not None:
                    seen[got.first : got.first + got.n] += 1
                assert feed.settle(member.number, [got.lease.token])
                got.lease.release()
                return None
            return verdict

        verdict = eventually(take, self.timeout_s, "a verdict")
        assert isinstance(verdict, FeedVerdict)
        return verdict

    def _until(self, connection: Connection, state: ConnectionState) -> None:
        eventually(lambda: connection.state is state, self.timeout_s, f"state {state.name}")

    def _in_thread(self, wait: Callable[[], Any], connection: Connection) -> BaseException | None:
        """Run `wait` in a thread, close the connection, and return what `wait` raised."""
        outcome: list[BaseException] = []
        started = threading.Event()

        def run() -> None:
            started.set()
            try:
                wait()
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        started.wait(self.timeout_s)
        connection.close()
        thread.join(self.timeout_s)
        assert not thread.is_alive(), "close did not interrupt the wait"
        return outcome[0] if outcome else None
